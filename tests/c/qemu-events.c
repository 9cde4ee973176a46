/* News are heard through one descriptor that stays the same, in order, once, and not lost with the
 * connection. */
#include <poll.h>
#include <string.h>

#include "support/clock.h"
#include "support/library.h"
#include "support/native.h"

static struct vm vm;

static bool readable(int timeout_ms)
{
    struct pollfd fd = {.fd = kvm_hotplug_get_fd(vm.guest, &failure), .events = POLLIN};

    return poll(&fd, 1, timeout_ms) == 1;
}

static void nothing_to_fetch(void)
{
    vm_nothing_to_fetch(&vm);
    CHECK(!readable(0));
}

static void what_a_call_answers_is_no_event(void)
{
    vm_add_nic(&vm, "lan");
    nothing_to_fetch();
    answers(kvm_hotplug_del_nic(vm.guest, "lan", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    nothing_to_fetch();
}

static void late_removal(void)
{
    struct kvm_hotplug_event event;
    uint64_t generation = vm_device(&vm, "lan").generation;

    CHECK(!readable(0));
    vm_reset(&vm);
    CHECK(readable(test_patience(5000)));
    CHECK(vm_next_event(&vm, &event, 5000));
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_REMOVED);
    CHECK_NUMBER(event.device_type, KVM_HOTPLUG_DEVICE_NIC);
    CHECK_TEXT(event.id, "lan");
    CHECK_NUMBER(event.generation, generation);
    CHECK_PART(event.text, "gone");
    nothing_to_fetch();
}

/* The descriptor stays readable until the last one is fetched, also when the socket has been read. */
static void several(void)
{
    struct kvm_hotplug_event event;
    int i, removed = 0;
    /* Native hotplug takes no reset; several are one event as long as it is not fetched. */
    const int expected = has_native_hotplug(vm.qemu) ? 2 : 3;

    vm_add_nic(&vm, "one");
    vm_add_nic(&vm, "two");
    answers(kvm_hotplug_del_nic(vm.guest, "one", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    answers(kvm_hotplug_del_nic(vm.guest, "two", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    for (i = 0; i < 500 && kvm_hotplug_process(vm.guest, 0, &failure) < expected; i++)
        sleep_ms(10);
    answers(kvm_hotplug_process(vm.guest, 0, &failure), expected);
    for (i = 0; i < expected; i++) {
        CHECK(readable(0));
        answers(kvmh_next_event(vm.guest, &event, &failure), 1);
        removed += event.event_type == KVM_HOTPLUG_EVENT_REMOVED;
        if (event.event_type == KVM_HOTPLUG_EVENT_RESET) {
            CHECK_NUMBER(event.times, 2);
            CHECK_NUMBER(event.by_guest, 0);
        }
    }
    CHECK_NUMBER(removed, 2);
    nothing_to_fetch();
}

/* Somebody else takes a device of ours out: by a removal asked for on another monitor. */
static void by_the_guest(void)
{
    vm_add_nic(&vm, "lan");
    vm_observe(&vm, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"lan\"}}");
    if (has_native_hotplug(vm.qemu))
        native_switch_off(vm.qemu, vm_device(&vm, "lan").bus);
    else
        vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST, "lan");
    CHECK(!vm_records(&vm, "lan") && !vm_has_journal(&vm));
    nothing_to_fetch();
}

static void structs_of_other_versions(void)
{
    struct {
        struct kvm_hotplug_event event;
        unsigned char more[16];
    } newer;
    /* Its first version, and room behind it. */
    enum { OLDER = 344 };
    unsigned char older[OLDER + 32];

    memset(&newer, 0xff, sizeof newer);
    memset(older, 0xff, sizeof older);
    invalid(kvm_hotplug_next_event(vm.guest, &newer.event, 0, &failure), "ret_event", "size 0");
    fails(kvm_hotplug_next_event(vm.guest, NULL, sizeof newer, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID,
          "ret_event is NULL");
    answers(kvm_hotplug_next_event(vm.guest, &newer.event, sizeof newer, &failure), 0);
    CHECK_NUMBER(newer.more[0], 0xff);
    vm_add_nic(&vm, "one");
    vm_add_nic(&vm, "two");
    answers(kvm_hotplug_del_nic(vm.guest, "one", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    answers(kvm_hotplug_del_nic(vm.guest, "two", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    while (kvm_hotplug_process(vm.guest, 0, &failure) < 2 + !has_native_hotplug(vm.qemu))
        sleep_ms(10);
    do {
        memset(older, 0xff, sizeof older);
        answers(kvm_hotplug_next_event(vm.guest, (struct kvm_hotplug_event *)(void *)older, OLDER, &failure), 1);
    } while (older[0] == '\0');
    CHECK(memcmp(older, "one", 4) == 0 || memcmp(older, "two", 4) == 0);
    CHECK_NUMBER(older[31], 0);
    CHECK_NUMBER(older[OLDER], 0xff);
    /* That of a pointer never was right. */
    invalid(kvm_hotplug_next_event(vm.guest, &newer.event, sizeof(void *), &failure), "ret_event", "size 8");
    do {
        memset(&newer, 0xff, sizeof newer);
        answers(kvm_hotplug_next_event(vm.guest, &newer.event, sizeof newer, &failure), 1);
    } while (newer.event.event_type == KVM_HOTPLUG_EVENT_RESET);
    CHECK_NUMBER(newer.more[0], 0);
    CHECK_NUMBER(newer.more[15], 0);
}

static void qemu_goes(void)
{
    struct kvm_hotplug_event event;
    int fd = kvm_hotplug_get_fd(vm.guest, &failure);

    vm_observe(&vm, "{\"execute\":\"quit\"}");
    CHECK_NUMBER(qemu_wait(vm.qemu, 5000), 0);
    CHECK(readable(test_patience(5000)));
    fails(kvm_hotplug_process(vm.guest, 0, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, vm.qemu->qmp_path);
    answers(kvmh_next_event(vm.guest, &event, &failure), 1);
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_SHUTDOWN);
    CHECK_NUMBER(event.by_guest, 0);
    CHECK_TEXT(event.text, "host-qmp-quit");
    answers(kvmh_next_event(vm.guest, &event, &failure), 1);
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_MONITOR_LOST);
    CHECK_TEXT(event.id, "");
    CHECK_NUMBER(event.device_type, 0);
    answers(kvmh_next_event(vm.guest, &event, &failure), 0);
    CHECK_NUMBER(kvm_hotplug_get_fd(vm.guest, &failure), fd);
}

int main(void)
{
    test_begin("qemu-events", 60);
    vm_start(&vm, &(struct qemu_options){.stopped = true});
    nothing_to_fetch();
    what_a_call_answers_is_no_event();
    late_removal();
    several();
    by_the_guest();
    structs_of_other_versions();
    qemu_goes();
    vm_stop(&vm);
    return test_end();
}
