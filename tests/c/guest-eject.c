/* Devices that the guest gives up by itself. Linux forgetting a device is not that; switching off its slot
 * is, and the library then clears up behind it unasked. */
#include <stdio.h>

#include "support/plug.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/net.h"
#include "support/view.h"

/* PCI Express takes its time: five seconds for the button nobody pressed. */
enum { EJECT_MS = 30000, QUIET_MS = 300 };

static void forget(struct vm *vm, const struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_event event;
    char path[128];

    view_directory(vm->qemu, device, path);
    CHECK_NUMBER(guest_does(vm->qemu, "echo 1 >$(ls -d %s)/remove", path), 0);
    CHECK(view_is_gone(vm->qemu, device));
    CHECK(!next_event(vm, &event, QUIET_MS));
    CHECK_NUMBER(kvmh_get_device(vm->guest, device->id, NULL, NULL), KVM_HOTPLUG_STATE_LIVE);
    CHECK_NUMBER(recorded(vm), 1);
    CHECK_NUMBER(guest_does(vm->qemu, "echo 1 >/sys/bus/pci/rescan"), 0);
}

/* The slot whose address is the device's, without its function. */
static void switch_off(struct vm *vm, const struct kvm_hotplug_device *device)
{
    char path[128];

    view_directory(vm->qemu, device, path);
    CHECK_NUMBER(
        guest_does(vm->qemu,
                   "a=$(basename $(ls -d %s)); "
                   "for s in /sys/bus/pci/slots/*; do [ $(cat $s/address) = ${a%%.*} ] && echo 0 >$s/power; done; true",
                   path),
        0);
    expect_event(vm, KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST, device->id, EJECT_MS);
    CHECK(view_is_gone(vm->qemu, device));
    check_gone(vm, device->id);
    CHECK_NUMBER(recorded(vm), 0);
    answers(unplug(vm, device->id, 1000), KVM_HOTPLUG_ANSWER_ABSENT);
}

int main(void)
{
    struct kvm_hotplug_device nic, disk;
    struct vm vm;
    char image[TEST_PATH], name[16];

    test_begin("guest-eject", 600);
    vm_start(&vm, &(struct qemu_options){.guest = true});
    path_in(image, vm.qemu->dir, "disk.img");
    image_raw(image, MEBIBYTE);
    works(add_nic(&vm, &(struct kvm_hotplug_nic){0}, &nic));
    view_nic(vm.qemu, &nic, name);
    forget(&vm, &nic);
    view_nic(vm.qemu, &nic, name);
    switch_off(&vm, &nic);
    CHECK(link_goes(nic.ifname));
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.path = image}, &disk));
    view_disk(vm.qemu, &disk, name);
    switch_off(&vm, &disk);
    vm_stop(&vm);
    return test_end();
}
