#include "qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.h"
#include "check.h"
#include "clock.h"
#include "files.h"
#include "guest.h"
#include "reaper.h"

enum { START_MS = 20000, ASK_AGAIN_MS = 10, FIRST_PORT_SLOT = 0x10, PORT_SLOTS = 14 };

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : otherwise;
}

static const char *machine_of_tests(void)
{
    return setting("KVM_HOTPLUG_TEST_MACHINE", "pc");
}

/* The machine of Arm's processors. */
static bool is_virt(const char *machine)
{
    return strncmp(machine, "virt", 4) == 0;
}

/* The machine of x86 that has PCI only if it is told to, one serial port, and no firmware to wait for. */
static bool is_microvm(const char *machine)
{
    return strncmp(machine, "microvm", 7) == 0;
}

static const char *program_of_tests(void)
{
    return setting("KVM_HOTPLUG_TEST_QEMU", is_virt(machine_of_tests()) ? "qemu-system-aarch64" : "qemu-system-x86_64");
}

static void make_directory(struct qemu *qemu)
{
    const char *base = setting("TMPDIR", "/tmp");

    /* A socket's path has 107 characters at most, and a test's own files in here should fit as well. */
    if (strlen(base) > 32)
        base = "/tmp";
    snprintf(qemu->dir, sizeof qemu->dir, "%s/kht-XXXXXX", base);
    if (mkdtemp(qemu->dir) == NULL)
        FAIL("cannot make the directory %s: %s", qemu->dir, strerror(errno));
    reaper_owns_directory(qemu->dir);
    snprintf(qemu->qmp_path, sizeof qemu->qmp_path, "%s/qmp", qemu->dir);
}

/* The same command is to run another program on another host. */
static void make_program(struct qemu *qemu)
{
    char path[TEST_PATH], script[512], *absolute = NULL;
    const char *program = qemu->program;

    if (strchr(program, '/') != NULL)
        program = absolute = realpath(program, NULL);
    if (program == NULL)
        FAIL("there is no %s", qemu->program);
    snprintf(script, sizeof script, "#!/bin/sh\nexec '%s' \"$@\"\n", program);
    path_in(path, qemu->dir, "qemu");
    file_write(path, script, strlen(script));
    ok(chmod(path, 0755));
    free(absolute);
}

static struct qemu *new_qemu(bool elsewhere, const char *program)
{
    struct qemu *qemu = calloc(1, sizeof *qemu);

    if (qemu == NULL)
        FAIL("out of memory");
    qemu->shell.fd = -1;
    qemu->elsewhere = elsewhere;
    snprintf(qemu->program, sizeof qemu->program, "%s", program);
    make_directory(qemu);
    if (elsewhere)
        make_program(qemu);
    return qemu;
}

static void add_processors(struct arguments *arguments, int processors)
{
    const char *accel = setting("KVM_HOTPLUG_TEST_ACCEL", "tcg");

    /* One thread for all: with several, QEMU 10.0 now and then loses an interrupt, so that a processor sleeps
     * on, or ends itself in iotlb_to_section(). */
    arguments_add(arguments, "-accel");
    arguments_add(arguments, "%s%s", accel, strcmp(accel, "tcg") == 0 && processors > 1 ? ",thread=single" : "");
    if (strcmp(accel, "kvm") == 0) {
        arguments_add(arguments, "-cpu");
        arguments_add(arguments, "host");
    }
    if (processors > 1) {
        arguments_add(arguments, "-smp");
        arguments_add(arguments, "%d", processors);
    }
}

/* One port a slot, in the upper half of the bus so that what QEMU places by itself goes below; beyond 14,
 * eight a slot. */
static void add_root_ports(struct arguments *arguments, int wanted)
{
    int count = wanted == 0 ? QEMU_ROOT_PORTS : wanted;
    int per_slot = count > PORT_SLOTS ? 8 : 1;
    int i;

    if (count > QEMU_MAX_ROOT_PORTS)
        FAIL("%d root ports, more than %d", count, QEMU_MAX_ROOT_PORTS);
    for (i = 0; i < count; i++) {
        arguments_add(arguments, "-device");
        arguments_add(arguments, "pcie-root-port,id=rp%d,bus=pcie.0,chassis=%d,slot=%d,addr=0x%x.%d%s", i, i + 1, i + 1,
                      FIRST_PORT_SLOT + i / per_slot, i % per_slot,
                      per_slot > 1 && i % per_slot == 0 ? ",multifunction=on" : "");
    }
}

/* Where the guest takes commands, beside its console. */
static void add_shell(struct arguments *arguments, const char *directory, const char *machine)
{
    if (is_microvm(machine)) {
        arguments_add(arguments, "-chardev");
        arguments_add(arguments, "socket,id=shell,path=%s/shell,server=on,wait=off", directory);
        arguments_add(arguments, "-device");
        arguments_add(arguments, "isa-serial,index=1,chardev=shell");
        return;
    }
    if (!is_virt(machine)) {
        arguments_add(arguments, "-serial");
        arguments_add(arguments, "unix:%s/shell,server=on,wait=off", directory);
        return;
    }
    /* There is one serial port only, and a device on a PCI bus would be one that the record does not have. */
    arguments_add(arguments, "-chardev");
    arguments_add(arguments, "socket,id=shell,path=%s/shell,server=on,wait=off", directory);
    arguments_add(arguments, "-device");
    arguments_add(arguments, "virtio-serial-device");
    arguments_add(arguments, "-device");
    arguments_add(arguments, "virtconsole,chardev=shell");
}

static void add_guest(struct arguments *arguments, const char *directory, const struct qemu_options *options,
                      const char *machine)
{
    bool virt = is_virt(machine);
    /* QEMU puts an unpacked kernel into memory at each reset. Waking up is one, and would be the guest's
     * end. On microvm QEMU 10.0 does not start one. */
    const char *file = options->sleeps || is_microvm(machine) ? "vmlinuz" : "kernel";
    const char *folder = setting("KVM_HOTPLUG_TEST_GUEST", virt ? "build/guest-arm64" : "build/guest");
    char *absolute = realpath(folder, NULL);
    char kernel[512];

    snprintf(kernel, sizeof kernel, "%s/%s", absolute == NULL ? folder : absolute, file);
    if (absolute == NULL || access(kernel, R_OK) != 0)
        FAIL("no guest to boot: %s is missing; run tests/guest/build, or set KVM_HOTPLUG_TEST_GUEST", kernel);
    arguments_add(arguments, "-kernel");
    arguments_add(arguments, "%s", kernel);
    arguments_add(arguments, "-initrd");
    arguments_add(arguments, "%s/initramfs", absolute);
    free(absolute);
    arguments_add(arguments, "-append");
    /* On a busy host the kernel finds its timer too slow under plain emulation, looks for another, and
     * hangs. */
    arguments_add(arguments, "%s quiet panic=-1 no_timer_check cryptomgr.notests %s",
                  virt ? "console=ttyAMA0 commands=hvc0" : "console=ttyS0",
                  options->append == NULL ? "" : options->append);
    arguments_add(arguments, "-serial");
    arguments_add(arguments, "file:%s/console.log", directory);
    add_shell(arguments, directory, machine);
}

static void add_monitor(struct arguments *arguments, const char *directory, const char *name)
{
    arguments_add(arguments, "-qmp");
    arguments_add(arguments, "unix:%s/%s,server=on,wait=off", directory, name);
}

/* SeaBIOS reports there; the file is no log to be printed when a test fails. */
static void add_firmware_output(struct arguments *arguments, const char *directory)
{
    arguments_add(arguments, "-chardev");
    arguments_add(arguments, "file,id=firmware,path=%s/firmware", directory);
    arguments_add(arguments, "-device");
    arguments_add(arguments, "isa-debugcon,iobase=0x402,chardev=firmware");
}

/* What the processor begins with is 16 bytes below 4 GiB. */
static void add_halting_firmware(struct arguments *arguments, const char *directory)
{
    static const unsigned char program[] = {0xfa, 0xf4, 0xeb, 0xfd}; /* cli; hlt; jmp to the hlt */
    enum { SIZE = 64 * 1024, START = SIZE - 16 };
    char path[128];
    int file;

    snprintf(path, sizeof path, "%s/halts", directory);
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, SIZE) != 0 ||
        pwrite(file, program, sizeof program, START) != (ssize_t)sizeof program)
        FAIL("cannot make %s: %s", path, strerror(errno));
    close(file);
    arguments_add(arguments, "-bios");
    arguments_add(arguments, "%s", path);
}

static void compose(struct arguments *arguments, struct qemu *qemu, const struct qemu_options *options)
{
    const char *machine = options->machine ? options->machine : machine_of_tests();
    const char *const *extra = options->extra;
    const char *directory = options->elsewhere ? "." : qemu->dir;

    qemu->guest = options->guest;
    qemu->stopped = options->stopped;
    qemu->halts = options->halts;
    qemu->virt = is_virt(machine);
    qemu->q35 =
        strncmp(machine, "q35", 3) == 0 || strstr(machine, "-q35-") != NULL || qemu->virt || is_microvm(machine);
    arguments_add(arguments, "%s", qemu->elsewhere ? "./qemu" : qemu->program);
    arguments_add(arguments, "-nodefaults");
    arguments_add(arguments, "-display");
    arguments_add(arguments, "none");
    arguments_add(arguments, "-machine");
    arguments_add(arguments, "%s", machine);
    add_processors(arguments, options->processors);
    if (is_virt(machine) && strstr(qemu->program, "riscv") == NULL) {
        arguments_add(arguments, "-cpu");
        arguments_add(arguments, "cortex-a57");
    }
    arguments_add(arguments, "-m");
    arguments_add(arguments, "%d", options->memory_mb > 0 ? options->memory_mb : options->guest ? 256 : 32);
    add_monitor(arguments, directory, "qmp");
    add_monitor(arguments, directory, "observer");
    if (options->paused || options->stopped)
        arguments_add(arguments, "-S");
    if (qemu->q35)
        add_root_ports(arguments, options->root_ports);
    if (options->halts)
        add_halting_firmware(arguments, qemu->dir);
    else if (options->guest)
        add_guest(arguments, directory, options, machine);
    else if (strcmp(machine, "none") != 0 && !is_virt(machine) && !is_microvm(machine))
        add_firmware_output(arguments, directory);
    for (; extra != NULL && *extra != NULL; extra++)
        arguments_add(arguments, "%s", *extra);
}

/* In the child: nothing that allocates, other threads of the test may have held its locks when it was
 * forked. */
static _Noreturn void become_qemu(const struct qemu_launch *launch, const char *directory, int log, pid_t parent)
{
    int null = open("/dev/null", O_RDONLY);
    const int *inherit = launch->inherit;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    for (; inherit != NULL && *inherit >= 0; inherit++)
        fcntl(*inherit, F_SETFD, 0);
    if (directory != NULL && chdir(directory) != 0)
        _exit(126);
    if (launch->prepare != NULL && launch->prepare(launch->data) != 0) {
        dprintf(STDERR_FILENO, "cannot prepare for %s\n", launch->argv[0]);
        _exit(126);
    }
    execvp(launch->argv[0], (char *const *)launch->argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", launch->argv[0], strerror(errno));
    _exit(127);
}

static void spawn(struct qemu *qemu, const struct qemu_launch *launch)
{
    char path[96];
    pid_t parent = getpid();
    int log;

    snprintf(path, sizeof path, "%s/qemu.log", qemu->dir);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        FAIL("cannot make %s: %s", path, strerror(errno));
    qemu->pid = fork();
    if (qemu->pid < 0)
        FAIL("fork: %s", strerror(errno));
    if (qemu->pid == 0)
        become_qemu(launch, qemu->elsewhere ? qemu->dir : NULL, log, parent);
    reaper_owns_process(qemu->pid);
    close(log);
}

static void connect_all(struct qemu *qemu)
{
    char path[96];

    snprintf(path, sizeof path, "%s/observer", qemu->dir);
    qemu->observer = monitor_open(path, qemu->pid, test_patience(START_MS));
    if (qemu->observer == NULL)
        FAIL("QEMU did not start; what it said follows");
    snprintf(path, sizeof path, "%s/shell", qemu->dir);
    if (qemu->guest && !stream_connect(&qemu->shell, path, qemu->pid, test_patience(START_MS)))
        FAIL("no connection to the guest's second serial port");
}

void qemu_version(const char *program, unsigned *ret_major, unsigned *ret_minor)
{
    char command[512], line[256] = "";
    const char *version;
    FILE *output;

    snprintf(command, sizeof command, "'%s' --version", program != NULL ? program : program_of_tests());
    output = popen(command, "re");
    CHECK(output != NULL && fgets(line, sizeof line, output) != NULL);
    pclose(output);
    version = strstr(line, "version ");
    CHECK(version != NULL && sscanf(version, "version %u.%u", ret_major, ret_minor) == 2);
}

struct qemu *qemu_sibling(const struct qemu *other)
{
    struct qemu *qemu = new_qemu(other->elsewhere, setting("KVM_HOTPLUG_TEST_TARGET", other->program));

    qemu->guest = other->guest;
    qemu->q35 = other->q35;
    qemu->virt = other->virt;
    return qemu;
}

struct qemu *qemu_compose(const struct qemu_options *options, struct arguments *command)
{
    struct qemu *qemu = new_qemu(options->elsewhere, program_of_tests());

    compose(command, qemu, options);
    return qemu;
}

void qemu_launch(struct qemu *qemu, const struct qemu_launch *launch)
{
    spawn(qemu, launch);
    connect_all(qemu);
}

void qemu_start_and_stop(struct qemu *qemu)
{
    qmp(qemu, "{\"execute\":\"cont\"}");
    qmp(qemu, "{\"execute\":\"stop\"}");
}

struct qemu *qemu_start(const struct qemu_options *options)
{
    struct arguments command = {.count = 0};
    long long start = now_ms();
    struct qemu *qemu = qemu_compose(options, &command);

    qemu_launch(qemu, &(struct qemu_launch){.argv = (const char *const *)command.list, .inherit = options->inherit});
    arguments_free(&command);
    if (options->stopped)
        qemu_start_and_stop(qemu);
    if (options->guest && !options->paused) {
        guest_wait_boot(qemu);
        qemu->boot_ms = (int)(now_ms() - start);
    }
    return qemu;
}

int qemu_wait(struct qemu *qemu, int timeout_ms)
{
    long long end = now_ms() + timeout_ms;
    int status = 0;

    while (waitpid(qemu->pid, &status, WNOHANG) == 0) {
        if (now_ms() >= end)
            FAIL("QEMU does not end");
        sleep_ms(2);
    }
    qemu->pid = 0;
    return status;
}

void qemu_end(struct qemu *qemu)
{
    if (qemu->pid > 0) {
        kill(qemu->pid, SIGKILL);
        qemu_wait(qemu, START_MS);
    }
    monitor_close(qemu->observer);
    qemu->observer = NULL;
    stream_close(&qemu->shell);
    qemu->shell.fd = -1;
}

void qemu_stop(struct qemu *qemu)
{
    if (qemu == NULL)
        return;
    qemu_end(qemu);
    free(qemu);
}

int qemu_firmware_runs(struct qemu *qemu)
{
    static const char last_words[] = "No bootable device";
    char path[TEST_PATH], *output, *at;
    int runs = 0;

    path_in(path, qemu->dir, "firmware");
    output = file_read(path, NULL);
    for (at = output; at != NULL && (at = strstr(at, last_words)) != NULL; at += sizeof last_words - 1)
        runs++;
    free(output);
    return runs;
}

void qemu_wait_firmware(struct qemu *qemu, int runs)
{
    long long end = now_ms() + test_patience(START_MS);

    if (qemu->halts)
        return;
    while (qemu_firmware_runs(qemu) <= runs) {
        if (now_ms() >= end)
            FAIL("the firmware does not come to its end");
        sleep_ms(ASK_AGAIN_MS);
    }
}

const char *qmp(struct qemu *qemu, const char *json)
{
    return monitor_command(qemu->observer, json);
}

const char *qmp_wait_event(struct qemu *qemu, const char *name, const char *part, int timeout_ms)
{
    return monitor_event(qemu->observer, name, part, timeout_ms);
}

bool qmp_contains(struct qemu *qemu, const char *json, const char *part)
{
    return json_contains(qmp(qemu, json), part);
}

bool qmp_wait_contains(struct qemu *qemu, const char *json, const char *part, int timeout_ms)
{
    long long end = now_ms() + timeout_ms;

    while (!qmp_contains(qemu, json, part)) {
        if (now_ms() >= end)
            return false;
        sleep_ms(ASK_AGAIN_MS);
    }
    return true;
}
