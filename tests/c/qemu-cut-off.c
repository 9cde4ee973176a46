/* An agent is killed while QEMU takes a descriptor from it: what QEMU keeps then may be a number that belongs
 * to nothing, and to the next file that it opens. Nobody may close that.
 *
 * QEMU is kept busy, so that the command which brings the descriptor waits, and its monitors close slowly
 * (preload/slow-close.c), so that the command is run while they do. Files that QEMU opens afterwards get the
 * number, and have to be open as long as they are wanted.
 */
#include <dirent.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/crash.h"

enum {
    TRIES = 10,
    WANTED = 5,
    BUSY_MS = 500,
    BEYOND = 32 << 20,
    SAMPLE = 8 << 20,
    LATER_MS = 10,
    OPEN_MS = 10000,
    GENERATIONS = 200
};

static struct scene scene;
static char folder[TEST_PATH];

/* Reads memory that the guest does not have: it has 32 MiB, and what is beyond takes longer. */
static void read_nothing(long long size)
{
    char command[160];

    snprintf(command, sizeof command,
             "{\"execute\":\"pmemsave\",\"arguments\":{\"val\":%d,\"size\":%lld,\"filename\":\"/dev/null\"}}", BEYOND,
             size);
    vm_observe(&scene.vm, command);
}

/* How much keeps QEMU busy for BUSY_MS, which has to end before its monitors have closed: that depends on the
 * host's other load. */
static long long busy_size(void)
{
    long long start = now_ms(), took;

    read_nothing(SAMPLE);
    took = now_ms() - start;
    return (long long)SAMPLE * BUSY_MS / (took > 0 ? took : 1);
}

static void signal_other(int pipe)
{
    ok(write(pipe, "", 1) == 1 ? 0 : -1);
}

static void await_other(int pipe)
{
    char byte;

    ok(read(pipe, &byte, 1) == 1 ? 0 : -1);
}

static void end(pid_t child, bool killed)
{
    int status;

    if (killed)
        kill(child, SIGKILL);
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK(killed ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Whether the command that keeps QEMU busy has been answered. */
static bool has_ended(pid_t child)
{
    siginfo_t info = {.si_pid = 0};

    ok(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT));
    return info.si_pid == child;
}

/* Until QEMU has so many, or is not busy any more. */
static void await_descriptors(int count, pid_t busy_client)
{
    while (process_fds(scene.vm.qemu->pid) < count && !has_ended(busy_client))
        sleep_ms(1);
}

/* False if QEMU may have come to more than the descriptor before the agent was killed. */
static bool cut_off(enum crash_device which)
{
    long long size = busy_size();
    int ready[2], go[2], before;
    pid_t agent, other;
    bool was_busy;

    ok(pipe(ready) + pipe(go));
    agent = fork();
    if (agent == 0) {
        size_t count;

        /* Which buses take devices is asked once, and before QEMU is busy: the descriptor is to be what the
         * agent sends next. */
        if (scene_open(&scene) != 0 || kvmh_slot_map(scene.vm.guest, 0, NULL, 0, &count, NULL) != 0)
            _exit(1);
        signal_other(ready[1]);
        await_other(go[0]);
        (void)!scene_add(&scene, which);
        for (;;)
            pause();
    }
    CHECK(agent > 0);
    await_other(ready[0]);
    before = process_fds(scene.vm.qemu->pid);
    other = fork();
    if (other == 0) {
        read_nothing(size);
        _exit(0);
    }
    CHECK(other > 0);
    /* The file that is written to. */
    await_descriptors(before + 1, other);
    signal_other(go[1]);
    await_descriptors(before + 2, other);
    sleep_ms(LATER_MS);
    end(agent, true);
    was_busy = !has_ended(other);
    end(other, false);
    for (int i = 0; i < 2; i++)
        ok(close(ready[i]) + close(go[i]));
    return was_busy;
}

/* Files that QEMU opens by itself. They get the lowest numbers that are free. */
static void open_wanted(void)
{
    char command[512];

    for (int i = 0; i < WANTED; i++) {
        snprintf(command, sizeof command,
                 "{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"wanted%d\",\"backend\":"
                 "{\"type\":\"file\",\"data\":{\"out\":\"%s/wanted%d\"}}}}",
                 i, folder, i);
        vm_observe(&scene.vm, command);
    }
}

static void close_wanted(void)
{
    char command[128];

    for (int i = 0; i < WANTED; i++) {
        snprintf(command, sizeof command, "{\"execute\":\"chardev-remove\",\"arguments\":{\"id\":\"wanted%d\"}}", i);
        vm_observe(&scene.vm, command);
    }
}

static int count_wanted(void)
{
    char path[64], file[320], target[TEST_PATH + 32];
    struct dirent *entry;
    int count = 0;
    DIR *listing;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)scene.vm.qemu->pid);
    listing = opendir(path);
    CHECK(listing != NULL);
    while ((entry = readdir(listing)) != NULL) {
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        ssize_t length = readlink(file, target, sizeof target - 1);
        count += length > 0 && strncmp(target, folder, strlen(folder)) == 0;
    }
    closedir(listing);
    return count;
}

/* How many names of descriptors QEMU still has. Each is closed by that, whatever it is of. */
static int close_names(void)
{
    struct monitor *monitor = monitor_open(scene.vm.qemu->qmp_path, scene.vm.qemu->pid, test_patience(OPEN_MS));
    char command[128];
    int count = 0;

    CHECK(monitor != NULL);
    for (int i = 0; i < 2 * GENERATIONS; i++) {
        snprintf(command, sizeof command, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"k%d%s\"}}", i / 2,
                 i % 2 ? ".1" : "");
        count += strstr(monitor_command(monitor, command), "not found") == NULL;
    }
    monitor_close(monitor);
    return count;
}

static bool is_disk(enum crash_device which)
{
    return which >= CRASH_RAW;
}

/* Processes of others cannot be looked into without this right. */
static void have_right_to_trace(bool have)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct rights[_LINUX_CAPABILITY_U32S_3];
    __u32 mask = CAP_TO_MASK(CAP_SYS_PTRACE), *effective = &rights[CAP_TO_INDEX(CAP_SYS_PTRACE)].effective;

    ok((int)syscall(SYS_capget, &header, rights));
    *effective = have ? *effective | mask : *effective & ~mask;
    ok((int)syscall(SYS_capset, &header, rights));
}

static int count_lost_sets(void)
{
    const char *text = qmp(scene.vm.qemu, "{\"execute\":\"query-fdsets\"}");
    int count = 0;

    while ((text = strstr(text, "kh-lost")) != NULL) {
        text++;
        count++;
    }
    return count;
}

/* Takes out what the killed agent has added after all. */
static void take_out_again(enum crash_device which)
{
    struct states states;

    scene_reopen(&scene);
    scene_compare(&scene, &states);
    if (states.of[which] != KVM_HOTPLUG_STATE_ABSENT)
        (void)!scene_ask(&scene, which);
    scene_grant(&scene);
    scene_compare(&scene, &states);
    vm_close(&scene.vm);
}

/* Whether QEMU was left with a number that is another file's; if it was, that file has survived all that
 * agents do. */
static bool survives(enum crash_device which, bool blind)
{
    struct states states;
    int lost_before = count_lost_sets(), lost;

    if (!cut_off(which)) {
        take_out_again(which);
        return false;
    }
    open_wanted();
    CHECK_NUMBER(count_wanted(), WANTED);
    have_right_to_trace(!blind);
    scene_reopen(&scene);
    have_right_to_trace(true);
    CHECK_NUMBER(count_wanted(), WANTED);
    scene_compare(&scene, &states);
    if (states.of[which] == KVM_HOTPLUG_STATE_LIVE) {
        /* QEMU was free again before the agent died, and the client that kept it busy had not been run
         * since. */
        vm_close(&scene.vm);
        close_wanted();
        take_out_again(which);
        return false;
    }
    CHECK_NUMBER(states.of[which], KVM_HOTPLUG_STATE_ABSENT);
    works(scene_add(&scene, which));
    answers(scene_ask(&scene, which), KVM_HOTPLUG_ANSWER_PENDING);
    scene_grant(&scene);
    scene_compare(&scene, &states);
    vm_close(&scene.vm);
    CHECK_NUMBER(count_wanted(), WANTED);
    lost = count_lost_sets() - lost_before;
    if (!is_disk(which)) {
        CHECK_NUMBER(lost, 0);
        lost = close_names();
        CHECK_NUMBER(count_wanted(), WANTED - lost);
    }
    close_wanted();
    return lost > 0;
}

static void test_device(enum crash_device which, bool blind)
{
    int tries = 1;

    while (!survives(which, blind)) {
        printf("%s: QEMU was quicker\n", crash_ids[which]);
        CHECK(++tries <= TRIES);
    }
}

int main(void)
{
    static const enum crash_device devices[] = {CRASH_NIC, CRASH_WIDE_NIC, CRASH_RAW, CRASH_CHAIN};

    test_begin("qemu-cut-off", 300);
    directory_new(folder);
    ok(setenv("LD_PRELOAD", SLOW_CLOSE, 1));
    scene_start(&scene);
    ok(unsetenv("LD_PRELOAD"));
    for (int blind = 0; blind < 2; blind++)
        for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
            test_device(devices[i], blind);
    vm_stop(&scene.vm);
    return test_end();
}
