/* An agent is killed at random moments while it plugs and unplugs; the next one must find everything in order.
 *
 * A child process adds and removes NICs and disks as fast as it can and is killed with SIGKILL. Then this process opens
 * the guest, and record, guest and host are compared completely. KVM_HOTPLUG_TEST_KILLS says how often (200),
 * KVM_HOTPLUG_TEST_SEED repeats a run.
 */
/* ctest: serial */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kvm_hotplug.h>

#include "support/check.h"
#include "support/native.h"
#include "support/net.h"
#include "support/qemu.h"

enum { NICS = 3, DISKS = 3, MAX_DEVICES = 64, LONGEST_LIFE_US = 40000, RESET_EVERY = 5, NAMES_EVERY = 5 };

struct scene {
    struct qemu *qemu;
    char bridge[IF_NAMESIZE];
    char runtime[128];
    char images[DISKS][128];
    unsigned seed;
};

struct agent {
    struct kvm_runtime *runtime;
    struct kvm_hotplug *guest;
};

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 16;
}

static void make_images(struct scene *scene)
{
    for (int i = 0; i < DISKS; i++) {
        snprintf(scene->images[i], sizeof scene->images[i], "%s/disk%d.img", scene->qemu->dir, i);
        FILE *file = fopen(scene->images[i], "w");
        CHECK(file != NULL);
        ok(ftruncate(fileno(file), 1 << 20));
        ok(fclose(file));
    }
}

static void make_record(struct scene *scene)
{
    struct kvm_runtime *runtime = NULL;

    snprintf(scene->runtime, sizeof scene->runtime, "%s/vm.runtime", scene->qemu->dir);
    ok(kvm_runtime_new(NULL, 0, &runtime, NULL));
    ok(kvm_runtime_save(runtime, scene->runtime, NULL));
    kvm_runtime_free(runtime);
}

/* In the child nothing is checked: whatever it was doing, it is going to be killed. */
static int agent_open(struct agent *agent, const struct scene *scene, struct kvm_hotplug_error **error)
{
    int rc = kvm_runtime_load(scene->runtime, &agent->runtime, error);

    return rc ? rc : kvm_hotplug_open(agent->runtime, scene->qemu->qmp_path, 10000, &agent->guest, error);
}

static void agent_close(struct agent *agent)
{
    kvm_hotplug_close(agent->guest);
    kvm_runtime_free(agent->runtime);
}

static void act(struct kvm_hotplug *guest, const struct scene *scene, unsigned *random)
{
    unsigned which = next_random(random) % (NICS + DISKS);
    char id[32];

    snprintf(id, sizeof id, which < NICS ? "nic%u" : "disk%u", which);
    if (next_random(random) % 2) {
        struct kvm_hotplug_removal removal = {.id = id, .flags = KVM_HOTPLUG_NO_WAIT};
        (void)!kvm_hotplug_unplug(guest, &removal, sizeof removal, NULL, 0, NULL);
    } else if (which < NICS) {
        struct kvm_hotplug_nic nic = {.id = id, .bridge = scene->bridge, .queues = 1 + which % 2 * 2};
        (void)!kvm_hotplug_add_nic(guest, &nic, sizeof nic, NULL, 0, NULL);
    } else {
        struct kvm_hotplug_disk disk = {.id = id, .path = scene->images[which - NICS]};
        (void)!kvm_hotplug_add_disk(guest, &disk, sizeof disk, NULL, 0, NULL);
    }
}

/* One life: from before the runtime file is opened to some moment in the middle of something. */
static void live_and_die(const struct scene *scene, unsigned *random)
{
    unsigned child_random = next_random(random);
    unsigned life = next_random(random) * 7u % LONGEST_LIFE_US;
    struct timespec pause = {.tv_nsec = life * 1000L};
    pid_t child = fork();

    if (child == 0) {
        struct agent agent = {0};
        if (agent_open(&agent, scene, NULL))
            _exit(1);
        for (;;)
            act(agent.guest, scene, &child_random);
    }
    CHECK(child > 0);
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    int status;
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
}

static int count_in_text(const char *text, const char *part)
{
    int count = 0;

    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

static int count_ports(const char *bridge)
{
    char path[64];
    int count = 0;

    snprintf(path, sizeof path, "/sys/class/net/%s/brif", bridge);
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* Nothing beside the runtime file but the journal of what is pending. */
static void check_files(const struct scene *scene, int pending)
{
    char path[160];

    ok(access(scene->runtime, R_OK));
    for (int i = 0; i < 3; i++) {
        static const char *const leftovers[] = {".new", ".journal.new", ".lock"};
        snprintf(path, sizeof path, "%s%s", scene->runtime, leftovers[i]);
        CHECK_NUMBER(access(path, F_OK), -1);
    }
    snprintf(path, sizeof path, "%s.journal", scene->runtime);
    CHECK_NUMBER(access(path, F_OK) == 0, pending > 0);
}

static void check_no_difference(struct kvm_hotplug *guest)
{
    struct kvm_hotplug_difference differences[8];
    struct kvm_hotplug_error *error = NULL;
    size_t count = 0;
    int rc = kvm_hotplug_verify(guest, 0, differences, sizeof differences[0], 8, &count, &error);

    if (rc)
        FAIL("verify: %s", kvm_hotplug_error_message(error));
    if (count)
        FAIL("%zu differences, the first: %s", count, differences[0].text);
    CHECK(rc == 0 && count == 0);
}

/* QEMU's and the host's own view against what the library says is there, in the guest or on its way out. */
static void check_world(const struct scene *scene, int nics, int disks)
{
    static const char network[] =
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info network\"}}";
    static const char nodes[] = "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}";
    const char *text = qmp(scene->qemu, network);

    /* One line for each device and one for each queue of what stands behind it. */
    int netdevs = 0;
    for (int i = 0; i < NICS; i++) {
        char peer[64];
        snprintf(peer, sizeof peer, "nic%d: index=0,type=tap", i);
        netdevs += count_in_text(text, peer);
    }
    CHECK_NUMBER(netdevs, nics);
    CHECK_NUMBER(count_in_text(qmp(scene->qemu, nodes), "\"node-name\": \"disk"), disks);
    /* A disk that QEMU has not let go of yet may have lost its fdset already. */
    CHECK(count_in_text(qmp(scene->qemu, "{\"execute\":\"query-fdsets\"}"), "kvm-hotplug:") <= disks);
    /* A tap goes when QEMU has closed it, which the kernel takes some milliseconds for. */
    for (int i = 0; i < 100 && count_ports(scene->bridge) != nics; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    CHECK_NUMBER(count_ports(scene->bridge), nics);
}

/* QEMU lists getfd names nowhere: closing one that is not there is refused. */
static void check_fd_names(const struct scene *scene)
{
    struct monitor *monitor = monitor_open(scene->qemu->qmp_path, scene->qemu->pid, 5000);
    char command[128];

    CHECK(monitor != NULL);
    for (int queue = 0; queue < 3; queue++) {
        char suffix[8] = "";
        if (queue)
            snprintf(suffix, sizeof suffix, "%d", queue);
        snprintf(command, sizeof command, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"kh%s\"}}", suffix);
        const char *answer = monitor_command(monitor, command);
        if (!strstr(answer, "not found"))
            FAIL("fd kh%s was left: %s", suffix, answer);
    }
    monitor_close(monitor);
}

/* As a guest without a system does: when it resets; or by switching the slots off, where a reset takes nothing out. */
static void complete_removals(const struct scene *scene, const struct agent *agent)
{
    struct kvm_hotplug_device devices[MAX_DEVICES];
    size_t count = 0;

    if (!has_native_hotplug(scene->qemu)) {
        qmp(scene->qemu, "{\"execute\":\"system_reset\"}");
        return;
    }
    ok(kvm_hotplug_list(agent->guest, devices, sizeof devices[0], MAX_DEVICES, &count, NULL));
    for (size_t i = 0; i < count; i++)
        if (devices[i].state == KVM_HOTPLUG_PENDING)
            native_switch_off(scene->qemu, devices[i].bus);
}

static void examine(const struct scene *scene, bool reset)
{
    struct kvm_hotplug_device devices[MAX_DEVICES];
    struct kvm_hotplug_error *error = NULL;
    struct agent agent = {0};
    size_t count = 0;
    int of[3] = {0}, pending = 0;

    if (agent_open(&agent, scene, &error))
        FAIL("open after a kill: %s", kvm_hotplug_error_message(error));
    if (reset) {
        complete_removals(scene, &agent);
        CHECK(kvm_hotplug_slot_map(agent.guest, 0, NULL, 0, 0, &count, NULL) == 0);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    if (kvm_hotplug_process(agent.guest, 0, &error) < 0)
        FAIL("process: %s", kvm_hotplug_error_message(error));
    check_no_difference(agent.guest);
    ok(kvm_hotplug_list(agent.guest, devices, sizeof devices[0], MAX_DEVICES, &count, NULL));
    for (size_t i = 0; i < count; i++) {
        of[devices[i].device_type]++;
        pending += devices[i].state == KVM_HOTPLUG_PENDING;
    }
    check_world(scene, of[KVM_HOTPLUG_NIC], of[KVM_HOTPLUG_DISK]);
    agent_close(&agent);
    check_files(scene, pending);
}

static unsigned number_from(const char *variable, unsigned fallback)
{
    const char *text = getenv(variable);

    return text ? (unsigned)strtoul(text, NULL, 10) : fallback;
}

int main(void)
{
    unsigned kills = number_from("KVM_HOTPLUG_TEST_KILLS", 200);
    struct scene scene = {.seed = number_from("KVM_HOTPLUG_TEST_SEED", (unsigned)time(NULL) ^ (unsigned)getpid())};
    unsigned random = scene.seed;

    test_begin("qemu-crash", 60 + (int)kills);
    printf("%u kills, KVM_HOTPLUG_TEST_SEED=%u\n", kills, scene.seed);
    bridge_new(scene.bridge);
    scene.qemu = qemu_start(&(struct qemu_options){.root_ports = 8});
    make_images(&scene);
    make_record(&scene);
    for (unsigned i = 1; i <= kills; i++) {
        live_and_die(&scene, &random);
        examine(&scene, i % RESET_EVERY == 0);
        if (i % NAMES_EVERY == 0)
            check_fd_names(&scene);
    }
    return test_end();
}
