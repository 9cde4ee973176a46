/* Taps of the caller's that come a second time. virtio-net leaves all queues but the first one detached when it goes, and a QEMU
 * that gets them so ends on an assertion, the guest with it: they are attached again. A tap that the guest has is refused. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/net.h"
#include "support/plug.h"

enum { QUEUES = 4, ROUNDS = 3 };

static struct vm vm;
static int32_t fds[QUEUES];
static char tap[IF_NAMESIZE];

static void open_tap(const char *name, uint32_t queues, int32_t *taps)
{
    struct kvm_hotplug_tap request = {.ifname = name, .queues = queues};

    answers(kvm_hotplug_open_tap(&request, sizeof request, taps, queues, tap, &failure), (int)queues);
}

static struct kvm_hotplug_nic over(const char *id, const int32_t *taps, uint32_t count)
{
    return (struct kvm_hotplug_nic){.id = id, .tap_fds = taps, .tap_fd_count = count};
}

static void add(const char *id, const int32_t *taps, uint32_t count)
{
    struct kvm_hotplug_nic nic = over(id, taps, count);

    works(add_nic(&vm, &nic, NULL));
}

static void refused(const char *id, const int32_t *taps, uint32_t count, const char *owner)
{
    struct kvm_hotplug_nic nic = over(id, taps, count);
    char *before = vm_picture(&vm);

    fails(add_nic(&vm, &nic, NULL), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, tap, owner);
    CHECK_PICTURE(&vm, before);
    free(before);
}

/* Firmware is not asked: with a reset QEMU lets go of it. */
static void del(const char *id)
{
    answers(kvm_hotplug_del_nic(vm.guest, id, (uint32_t)test_patience(100), &failure), KVM_HOTPLUG_PENDING);
    refused("other", fds, 1, id);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, id);
    check_gone(&vm, id);
}

static void lives(void)
{
    CHECK(qmp_contains(vm.qemu, "{\"execute\":\"query-status\"}", "running"));
}

static void again(void)
{
    int32_t last = fds[QUEUES - 1];

    for (int round = 0; round < ROUNDS; round++) {
        add("lan", fds, QUEUES);
        lives();
        refused("wan", fds, QUEUES, "lan");
        refused("wan", &last, 1, "lan");
        del("lan");
        lives();
    }
    /* One queue of several, and others than before. */
    add("lan", &last, 1);
    del("lan");
    add("lan", fds + 1, 2);
    lives();
    del("lan");
}

static void unawaited(void)
{
    struct kvm_hotplug_nic nic = over("lan", fds, QUEUES);

    nic.flags = KVM_HOTPLUG_NO_WAIT;
    answers(add_nic(&vm, &nic, NULL), KVM_HOTPLUG_PENDING);
    vm_await(&vm, KVM_HOTPLUG_EVENT_ADDED, "lan");
    lives();
    del("lan");
}

static void twice(void)
{
    int32_t pair[] = {fds[0], fds[0]}, copied[] = {fds[0], dup(fds[0])};

    invalid(add_nic(&vm, &(struct kvm_hotplug_nic){.tap_fds = pair, .tap_fd_count = 2}, NULL), "given twice");
    invalid(add_nic(&vm, &(struct kvm_hotplug_nic){.tap_fds = copied, .tap_fd_count = 2}, NULL), "given twice");
    close(copied[1]);
    lives();
}

/* Every network namespace has names of its own. */
static void elsewhere(void)
{
    int32_t here, there;

    open_tap("kht-same", 1, &here);
    ok(unshare(CLONE_NEWNET));
    open_tap("kht-same", 1, &there);
    add("here", &here, 1);
    refused("again", &here, 1, "here");
    add("there", &there, 1);
    refused("again", &here, 1, "here");
    refused("again", &there, 1, "there");
    CHECK_TEXT(vm_device(&vm, "here").ifname, "kht-same");
    CHECK_TEXT(vm_device(&vm, "there").ifname, "kht-same");
    close(here);
    close(there);
}

int main(void)
{
    int open_files;

    test_begin("qemu-taps", 120);
    net_private();
    vm_start(&vm, &(struct qemu_options){0});
    open_tap("kht-own%d", QUEUES, fds);
    open_files = process_fds(getpid());
    again();
    unawaited();
    twice();
    CHECK_NUMBER(process_fds(getpid()), open_files);
    elsewhere();
    vm_stop(&vm);
    return test_end();
}
