/* Behind a PCI bridge that the guest was started with: pinned there, and chosen once the better places are
 * full. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/not_run.h"
#include "support/plug.h"
#include "support/view.h"

enum { MOST_PLACES = 40, PINNED_SLOT = 7 };

static void comes_and_goes(struct vm *vm, const struct kvm_hotplug_device *nic)
{
    char name[16];

    view_nic(vm->qemu, nic, name);
    guest_prints(vm->qemu, nic->mac, "cat /sys/class/net/%s/address", name);
    works(unplug(vm, nic->id, 0));
    CHECK(view_is_gone(vm->qemu, nic));
    check_gone(vm, nic->id);
}

static void pinned(struct vm *vm)
{
    struct kvm_hotplug_device nic;

    works(add_nic(vm, &(struct kvm_hotplug_nic){.bus = "br1", .slot = PINNED_SLOT}, &nic));
    CHECK_TEXT(nic.id, "nic-pci-br1.7");
    comes_and_goes(vm, &nic);
}

/* QEMU 5.2 has only the bridge's own hot-plug controller for this, and Debian's small kernel has no driver
 * for that: the guest never sees the device. QEMU takes it out without asking, since the slot was never
 * switched on. */
static void unseen(struct vm *vm)
{
    struct kvm_hotplug_device nic;
    char path[128];

    test_part_not_run("a guest that sees what comes behind pcie-pci-bridge",
                      "QEMU 5.2, and any on virt, has SHPC there, and the guest's kernel no driver for it");
    works(add_nic(vm, &(struct kvm_hotplug_nic){.bus = "br1", .slot = PINNED_SLOT}, &nic));
    view_directory(vm->qemu, &nic, path);
    CHECK(guest_does(vm->qemu, "ls -d %s", path) != 0);
    works(unplug(vm, nic.id, 0));
    check_gone(vm, nic.id);
}

static void overflowing(struct vm *vm)
{
    struct kvm_hotplug_device nic = {0};
    int count;

    for (count = 0; strcmp(nic.bus, "br1") != 0; count++) {
        CHECK(count < MOST_PLACES);
        works(add_nic(vm, &(struct kvm_hotplug_nic){0}, &nic));
    }
    /* Slot 0 belongs to the bridge's hot-plug controller. */
    CHECK_TEXT(nic.id, "nic-pci-br1.1");
    comes_and_goes(vm, &nic);
    CHECK_NUMBER(recorded(vm), count - 1);
}

int main(void)
{
    static const char *const pc[] = {"-device", "pci-bridge,id=br1,chassis_nr=1,bus=pci.0,addr=3", NULL};
    static const char *const q35[] = {"-device", "pcie-pci-bridge,id=br1,bus=rp3", NULL};
    const char *machine = getenv("KVM_HOTPLUG_TEST_MACHINE");
    struct vm vm;

    test_begin("guest-bridge", 600);
    vm_start(&vm,
             &(struct qemu_options){.guest = true, .extra = machine != NULL && strcmp(machine, "pc") != 0 ? q35 : pc});
    /* Debian's kernel for Arm knows nothing of the bridge's hot-plug controller. */
    if (has_native_hotplug(vm.qemu) || vm.qemu->virt) {
        unseen(&vm);
    } else {
        pinned(&vm);
        overflowing(&vm);
    }
    vm_stop(&vm);
    return test_end();
}
