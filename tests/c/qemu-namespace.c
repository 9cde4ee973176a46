/* NICs whose taps and bridges are in another network namespace, which is named by a path or by a descriptor:
 * added, moved, looked at, removed and booted there, while the test stays where it is. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"
#include "support/run.h"

static struct vm vm;
static char namespace[TEST_PATH], home[64];

/* A namespace that has no process, mounted at a file of the test's own. */
static void namespace_new(const char *directory)
{
    char process[64], byte;
    int ready[2], end[2];
    pid_t child;

    path_in(namespace, directory, "blue");
    file_write(namespace, "", 0);
    ok(pipe(ready));
    ok(pipe(end));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (unshare(CLONE_NEWNET) != 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        _exit(read(end[0], &byte, 1) == 1 ? 0 : 1);
    }
    CHECK_NUMBER(read(ready[0], &byte, 1), 1);
    snprintf(process, sizeof process, "/proc/%d/ns/net", (int)child);
    ok(mount(process, namespace, NULL, MS_BIND, NULL));
    CHECK_NUMBER(write(end[1], "", 1), 1);
    CHECK_NUMBER(waitpid(child, NULL, 0), child);
    for (int i = 0; i < 2; i++) {
        ok(close(ready[i]));
        ok(close(end[i]));
    }
}

static int there(const char *command)
{
    char option[TEST_PATH + 16];

    snprintf(option, sizeof option, "--net=%s", namespace);
    return run((const char *[]){"nsenter", option, "sh", "-c", command, NULL});
}

static void bridge_there(const char *name)
{
    char command[128];

    snprintf(command, sizeof command, "ip link add %s type bridge && ip link set %s up", name, name);
    CHECK_NUMBER(there(command), 0);
}

static bool is_on_there(const char *tap, const char *bridge)
{
    char command[160];

    snprintf(command, sizeof command, "ip link show master %s | grep -q ' %s: .*UP'", bridge, tap);
    return there(command) == 0;
}

static bool is_there(const char *tap)
{
    char command[160];

    snprintf(command, sizeof command, "ip link show dev %s >/dev/null 2>&1", tap);
    return there(command) == 0;
}

/* The test, whatever the library's thread did. */
static void is_at_home(void)
{
    char now[64] = "";

    CHECK(readlink("/proc/thread-self/ns/net", now, sizeof now - 1) > 0);
    CHECK_TEXT(now, home);
    CHECK_NUMBER(directory_count("/proc/self/task"), 1);
}

static void refused(struct kvm_hotplug_nic nic, int error, int kind, const char *words)
{
    nic.id = "refused";
    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -error, kind, words);
    CHECK(!vm_has_journal(&vm));
    is_at_home();
}

static void refuses(void)
{
    char loose[64];
    const int32_t taps[] = {0};
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    refused((struct kvm_hotplug_nic){.netns = "blue"}, EINVAL, KVM_HOTPLUG_ERROR_INVALID, "does not begin with /");
    refused((struct kvm_hotplug_nic){.netns = "/run/kht-none"}, ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "/run/kht-none");
    refused((struct kvm_hotplug_nic){.netns = vm.path}, EINVAL, KVM_HOTPLUG_ERROR_HOST, vm.path);
    refused((struct kvm_hotplug_nic){.netns = namespace, .bridge = "here"}, ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND,
            "here");
    refused((struct kvm_hotplug_nic){.netns = namespace, .tap_fds = taps, .tap_fd_count = 1}, EINVAL,
            KVM_HOTPLUG_ERROR_INVALID, "tap_fds");
    snprintf(loose, sizeof loose, "/proc/self/fd/%d", fd);
    refused((struct kvm_hotplug_nic){.netns = loose}, EINVAL, KVM_HOTPLUG_ERROR_INVALID, "mounted nowhere");
    ok(close(fd));
}

static void moves(const char *tap)
{
    struct kvm_hotplug_difference differences[4];
    size_t count = 0;

    CHECK(is_on_there(tap, "blue0"));
    works(kvm_hotplug_set_bridge(vm.guest, "first", "blue1", 0, &failure));
    CHECK(is_on_there(tap, "blue1"));
    works(kvmh_verify(vm.guest, 0, differences, 4, &count, &failure));
    CHECK_NUMBER(count, 0);
}

static void goes(const char *tap)
{
    answers(kvmh_del(vm.guest, &(struct kvm_hotplug_del_options){.id = "first", .flags = KVM_HOTPLUG_NO_WAIT}, NULL,
                     &failure),
            KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "first");
    CHECK(!is_there(tap));
}

static void boots(const char *directory)
{
    const char *const command[] = {"qemu-system-x86_64"};
    struct kvm_runtime_config config = {.command = command, .command_count = 1};
    struct kvm_hotplug_nic nic = {.id = "lan", .netns = namespace, .bridge = "blue0", .ifname = "blue-tap"};
    struct kvm_runtime_problem problems[4];
    struct kvm_runtime *runtime = NULL;
    struct kvm_boot *boot = NULL;
    char path[TEST_PATH];
    size_t count = 0;

    path_in(path, directory, "boot.runtime");
    works(kvmh_runtime_new(&config, &runtime, &failure));
    works(kvm_runtime_save(runtime, path, &failure));
    works(kvmh_runtime_add_nic(runtime, &nic, NULL, &failure));
    works(kvmh_runtime_boot(runtime, NULL, &boot, &failure));
    CHECK(is_on_there("blue-tap", "blue0"));
    works(kvmh_runtime_check(runtime, 0, NULL, 0, problems, 4, &count, &failure));
    CHECK_NUMBER(count, 1);
    CHECK_PART(problems[0].text, "blue-tap exists");
    kvm_boot_free(boot);
    CHECK(!is_there("blue-tap"));
    ok(umount(namespace));
    ok(unlink(namespace));
    works(kvmh_runtime_check(runtime, 0, NULL, 0, problems, 4, &count, &failure));
    CHECK_NUMBER(count, 1);
    CHECK_PART(problems[0].text, namespace);
    CHECK_TEXT(problems[0].id, "lan");
    fails(kvmh_runtime_boot(runtime, NULL, &boot, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, namespace);
    kvm_runtime_free(runtime);
}

int main(void)
{
    struct kvm_hotplug_nic first = {.id = "first", .bridge = "blue0"}, second = {.id = "second"};
    struct kvm_hotplug_device device;
    char directory[TEST_PATH], path[64], tap[sizeof device.ifname];
    int interfaces, fd;

    test_begin("qemu-namespace", 90);
    net_private();
    directory_new(directory);
    namespace_new(directory);
    CHECK(readlink("/proc/thread-self/ns/net", home, sizeof home - 1) > 0);
    bridge_there("blue0");
    bridge_there("blue1");
    CHECK_NUMBER(run((const char *[]){"ip", "link", "add", "here", "type", "bridge", NULL}), 0);
    interfaces = link_count();
    vm_start(&vm, &(struct qemu_options){0});

    first.netns = namespace;
    works(kvmh_add_nic(vm.guest, &first, &device, &failure));
    snprintf(tap, sizeof tap, "%s", device.ifname);
    fd = open(namespace, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    second.netns = path;
    works(kvmh_add_nic(vm.guest, &second, &device, &failure));
    works(kvmh_add_nic(vm.guest, &second, &device, &failure));
    ok(close(fd));
    CHECK(is_there(device.ifname) && strcmp(device.ifname, tap) != 0);
    CHECK(!vm_record_contains(&vm, "/proc/self"));
    CHECK_NUMBER(link_count(), interfaces);
    is_at_home();
    second.netns = NULL;
    fails(kvmh_add_nic(vm.guest, &second, NULL, &failure), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "another netns");
    refuses();
    moves(tap);
    vm_close(&vm);
    vm_open(&vm);
    goes(tap);
    CHECK_NUMBER(link_count(), interfaces);
    vm_stop(&vm);
    boots(directory);
    is_at_home();
    return test_end();
}
