/* A removal asked for before the guest can hear it: the answer is PENDING and says so, or, with enough time,
 * the request is repeated and granted once the guest is up. */
#include <stdio.h>

#include "support/plug.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/view.h"

enum { GRANTED_MS = 60000 };

/* QEMU 5.2 refuses to ask a second time ("already in the process of unplug"), and with PCI Express's own
 * hotplug the first request is lost on a guest that boots; not even a reset takes the device out. It stays as
 * it is, and is said to. */
static void never_granted(struct vm *vm, const char *id)
{
    answers(unplug(vm, id, 12000), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(recorded(vm), 2);
    CHECK(qmp_contains(vm->qemu, "{\"execute\":\"query-pci\"}", id));
    CHECK_NUMBER(kvmh_get_device(vm->guest, id, NULL, NULL), KVM_HOTPLUG_STATE_PENDING);
}

static void granted_after_boot(struct vm *vm, const struct kvm_hotplug_device *devices)
{
    long long start = now_ms();
    int answer;

    answer = unplug(vm, devices[1].id, GRANTED_MS);
    if (answer != KVM_HOTPLUG_ANSWER_DONE) {
        guest_wait_boot(vm->qemu);
        say_what_the_guest_does(vm->qemu);
    }
    answers(answer, KVM_HOTPLUG_ANSWER_DONE);
    answers(unplug(vm, devices[0].id, GRANTED_MS), KVM_HOTPLUG_ANSWER_DONE);
    printf("both gone after %lld ms of booting\n", now_ms() - start);
    guest_wait_boot(vm->qemu);
    CHECK(view_is_gone(vm->qemu, &devices[0]));
    CHECK(view_is_gone(vm->qemu, &devices[1]));
    check_gone(vm, devices[0].id);
    check_gone(vm, devices[1].id);
    CHECK_NUMBER(recorded(vm), 0);
}

static void ask_too_early(struct vm *vm, struct kvm_hotplug_device *devices)
{
    uint32_t reason;

    /* One device alone: a request for any other would make the guest look at this one as well. */
    answers(unplug(vm, devices[1].id, 20000), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(pending_reason(vm, devices[1].id), KVM_HOTPLUG_REASON_NOT_STARTED);
    qmp(vm->qemu, "{\"execute\":\"cont\"}");
    answers(unplug(vm, devices[1].id, 500), KVM_HOTPLUG_ANSWER_PENDING);
    /* The firmware sets up what it finds, so whether the guest has booted cannot be told for long. */
    reason = pending_reason(vm, devices[1].id);
    CHECK(reason == KVM_HOTPLUG_REASON_NOT_BOOTED || reason == KVM_HOTPLUG_REASON_DEADLINE);
}

int main(void)
{
    struct kvm_hotplug_device devices[2];
    struct vm vm;
    char image[TEST_PATH];

    test_begin("guest-booting", 600);
    vm_start(&vm, &(struct qemu_options){.guest = true, .paused = true});
    path_in(image, vm.qemu->dir, "disk.img");
    image_raw(image, MEBIBYTE);
    works(add_nic(&vm, &(struct kvm_hotplug_nic){0}, &devices[0]));
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.path = image}, &devices[1]));
    if (vm.qemu->virt) {
        /* Nobody has switched the port on, so QEMU asks nobody. */
        qmp(vm.qemu, "{\"execute\":\"cont\"}");
        answers(unplug(&vm, devices[1].id, 0), KVM_HOTPLUG_ANSWER_DONE);
        vm_stop(&vm);
        return test_end();
    }
    ask_too_early(&vm, devices);
    if (has_native_hotplug(vm.qemu))
        never_granted(&vm, devices[1].id);
    else
        granted_after_boot(&vm, devices);
    vm_stop(&vm);
    return test_end();
}
