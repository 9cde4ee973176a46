/* From a QEMU that a person has started by hand to a second one beside it: the record of a process, a copy of
 * it, a monitor of its own for the second start, and an open that waits for it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/example.h"
#include "support/files.h"
#include "support/kvmctl.h"
#include "support/library.h"

enum { BRIEF_MS = 300 };

static struct qemu *qemu;
static char folder[TEST_PATH], runtime[TEST_PATH], copy[TEST_PATH], second[TEST_PATH];

static void record_of_a_process(void)
{
    char pid[16];

    snprintf(pid, sizeof pid, "%d", (int)qemu->pid);
    ctl(0, "init --runtime $1 --from-pid $2", VALUES(runtime, pid));
    says("is a new record");
    CHECK(strstr(said.err, "kvmctl adopt records them as devices") != NULL);
    CHECK(file_contains(runtime, qemu->qmp_path) && file_contains(runtime, "\"name\": \"by-hand\""));
    ctl(0, "list --runtime $1 --socket $2", VALUES(runtime, qemu->qmp_path));
    says("no NICs and no disks");
    ctl(1, "init --runtime $1 --from-pid 2147483647", VALUES(copy));
    complains("/proc/2147483647/cmdline");
    ctl(2, "init --runtime $1 --from-pid 1 -- qemu", VALUES(copy));
    CHECK(!file_exists(copy));
}

static void copy_of_a_record(void)
{
    ctl(0, "copy $1 --runtime $2", VALUES(copy, runtime));
    says("is a copy of");
    ctl(1, "copy $1 --runtime $2", VALUES(copy, runtime));
    complains("exists already");
    example_run(&said, "diff $1 $2", VALUES(runtime, copy));
    CHECK_NUMBER(said.status, 0);
}

static void monitor_of_a_start(void)
{
    char wanted[256];

    ctl(0, "boot --print --monitor $1 --runtime $2", VALUES(second, copy));
    snprintf(wanted, sizeof wanted, "-qmp\nunix:%s,server=on,wait=off\n", second);
    says(wanted);
    CHECK(strstr(said.out, qemu->qmp_path) == NULL);
    ctl(0, "boot --print --runtime $1", VALUES(copy));
    says(qemu->qmp_path);
    ctl(1, "boot --print --monitor relative --runtime $1", VALUES(copy));
    complains("the monitor's path relative: must be absolute");
    /* The path of the first one is taken. */
    ctl(1, "boot --incoming defer --monitor $1 --runtime $2", VALUES(qemu->qmp_path, copy));
    complains("the guest runs already");
}

static void options_that_contradict(void)
{
    struct kvm_boot_options options = {.flags = KVM_BOOT_SET_MONITOR | KVM_BOOT_DRY_RUN};
    struct kvm_runtime *record = NULL, *other = NULL;
    struct kvm_boot *boot = NULL;

    works(kvm_runtime_load(copy, &record, &failure));
    invalid(kvm_runtime_boot(record, &options, sizeof options, &boot, &failure), "qmp_path is NULL");
    options.qmp_path = second;
    works(kvm_runtime_boot(record, &options, sizeof options, &boot, &failure));
    kvm_boot_free(boot);
    works(kvm_runtime_copy(record, &other, &failure));
    fails(kvm_runtime_save(other, copy, &failure), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "exists already");
    fails(kvm_runtime_copy(record, NULL, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID, "ret_runtime");
    kvm_runtime_free(other);
    kvm_runtime_free(record);
}

/* Nobody listens yet: by default that is an error at once, with the flag one at the end, or none if a QEMU
 * comes. */
static void open_waits(void)
{
    struct kvm_hotplug_open_options options = {.timeout_ms = BRIEF_MS};
    struct kvm_runtime *record = NULL;
    struct kvm_hotplug *guest = NULL;
    struct talk talk;
    long long start = now_ms();

    works(kvm_runtime_load(copy, &record, &failure));
    fails(kvm_hotplug_open_with(record, second, &options, sizeof options, &guest, &failure), -ENOENT,
          KVM_HOTPLUG_ERROR_NOT_FOUND, second);
    CHECK(now_ms() - start < BRIEF_MS);
    options.flags = KVM_HOTPLUG_OPEN_STARTING;
    start = now_ms();
    fails(kvm_hotplug_open_with(record, second, &options, sizeof options, &guest, &failure), -ETIMEDOUT,
          KVM_HOTPLUG_ERROR_TIMEOUT, "did not begin to listen before the deadline", second);
    CHECK(now_ms() - start >= BRIEF_MS);
    /* What is left of an earlier QEMU. */
    file_write(second, "", 0);
    fails(kvm_hotplug_open_with(record, second, &options, sizeof options, &guest, &failure), -ETIMEDOUT,
          KVM_HOTPLUG_ERROR_TIMEOUT, "did not begin to listen", "refused");
    ok(unlink(second));
    example_start(
        &talk, "sleep 0.5; exec $1 -nodefaults -display none -S -machine pc -accel tcg -qmp unix:$2,server=on,wait=off",
        VALUES(qemu->program, second));
    options.timeout_ms = 20000;
    works(kvm_hotplug_open_with(record, second, &options, sizeof options, &guest, &failure));
    works(kvm_hotplug_qmp(guest, &(struct kvm_hotplug_command){.execute = "quit", .flags = KVM_HOTPLUG_QMP_FORCE},
                          sizeof(struct kvm_hotplug_command), NULL, &failure));
    kvm_hotplug_close(guest);
    kvm_runtime_free(record);
    CHECK_NUMBER(example_end(&talk), 0);
    ctl(1, "list --starting --timeout 1 --socket $1 --runtime $2 --json", VALUES(second, copy));
}

int main(void)
{
    static char drive[TEST_PATH + 64], image[TEST_PATH];
    const char *extra[] = {"-name", "by-hand", "-drive", drive, NULL};

    test_begin("qemu-first-minutes", 120);
    directory_new(folder);
    path_in(runtime, folder, "runtime");
    path_in(copy, folder, "copy");
    path_in(second, folder, "second");
    path_in(image, folder, "root.img");
    image_raw(image, MEBIBYTE);
    snprintf(drive, sizeof drive, "file=%s,format=raw,if=none,id=drive0", image);
    unsetenv("KVMCTL_RUNTIME");
    unsetenv("KVMCTL_SOCKET");
    qemu = qemu_start(&(struct qemu_options){.extra = extra, .halts = true});
    record_of_a_process();
    copy_of_a_record();
    monitor_of_a_start();
    options_that_contradict();
    open_waits();
    qemu_stop(qemu);
    return test_end();
}
