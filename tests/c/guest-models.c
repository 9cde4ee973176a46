/* Emulated NICs in a booted guest: each comes, is what was asked for, and leaves. Packets go over the one
 * that the guest's kernel has a driver for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/guest.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/plug.h"
#include "support/view.h"

static const char *const models[] = {
    "e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "pcnet", "rtl8139", "vmxnet3",
};

static char bridge[IF_NAMESIZE];

/* Whether the guest's kernel shows a PCI device of this vendor and device; waits for it. */
static bool guest_has(struct qemu *qemu, const char *vendor, const char *device)
{
    char condition[256];

    snprintf(condition, sizeof condition,
             "for d in /sys/bus/pci/devices/*; do "
             "[ \"$(cat $d/vendor) $(cat $d/device)\" = '%s %s' ] && exit 0; done; exit 1",
             vendor, device);
    return guest_wait(qemu, condition, VIEW_MS);
}

static void comes_and_leaves(struct vm *vm, const char *model)
{
    struct kvm_hotplug_nic request = {.model = model, .bridge = bridge, .mac = "52:54:00:0e:10:00"};
    struct kvm_hotplug_device nic, again;

    works(add_nic(vm, &request, &nic));
    CHECK_TEXT(nic.model, model);
    CHECK(link_in_bridge(nic.ifname, bridge));
    request.id = nic.id;
    works(add_nic(vm, &request, &again));
    CHECK_NUMBER(again.slot, nic.slot);
    CHECK_NUMBER(recorded(vm), 1);
    works(unplug(vm, nic.id, 0));
    CHECK(link_goes(nic.ifname));
    check_gone(vm, nic.id);
    CHECK_NUMBER(recorded(vm), 0);
}

/* The kernel of Debian's cloud images has a driver for this one. */
static void carries_packets(struct vm *vm)
{
    struct kvm_hotplug_nic request = {.model = "vmxnet3", .bridge = bridge, .mac = "52:54:00:0e:10:01"};
    struct kvm_hotplug_device nic;
    char name[16];

    works(add_nic(vm, &request, &nic));
    if (guest_does(vm->qemu, "[ -d /sys/bus/pci/drivers/vmxnet3 ]") != 0) {
        works(unplug(vm, nic.id, 0));
        test_part_not_run("packets over vmxnet3", "the guest's kernel has no driver for it");
        return;
    }
    view_emulated_nic(vm->qemu, &nic, name);
    guest_prints(vm->qemu, "52:54:00:0e:10:01", "cat /sys/class/net/%s/address", name);
    CHECK_NUMBER(guest_does(vm->qemu, "ip link set %s up && ip addr add 198.18.1.2/24 dev %s", name, name), 0);
    CHECK(host_pings("198.18.1.2"));
    works(unplug(vm, nic.id, 0));
    CHECK(view_is_gone(vm->qemu, &nic));
}

/* Its virtual functions' slots stay free, on pc. QEMU before 8.0 does not know it. */
static void igb(struct vm *vm)
{
    struct kvm_hotplug_nic request = {.model = "igb", .bridge = bridge};
    struct kvm_hotplug_device nic, other;

    if (!qmp_contains(vm->qemu, "{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"igb\"}}",
                      "\"netdev\"")) {
        fails(add_nic(vm, &request, &nic), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
              "does not know the device model igb");
        CHECK_NUMBER(recorded(vm), 0);
        return;
    }
    works(add_nic(vm, &request, &nic));
    CHECK(guest_has(vm->qemu, "0x8086", "0x10c9"));
    if (!vm->qemu->q35) {
        struct kvm_hotplug_nic behind = {.bus = "pci.0", .slot = nic.slot + 16};
        fails(add_nic(vm, &behind, &other), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, nic.id);
        behind.slot++;
        fails(add_nic(vm, &behind, &other), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, nic.id);
    }
    works(unplug(vm, nic.id, 0));
    if (!vm->qemu->q35) {
        works(add_nic(vm, &(struct kvm_hotplug_nic){.bus = "pci.0", .slot = nic.slot + 16}, &other));
        works(unplug(vm, other.id, 0));
    }
    check_gone(vm, nic.id);
}

int main(void)
{
    struct vm vm;
    size_t i;

    test_begin("guest-models", 600);
    net_private();
    bridge_new(bridge);
    link_address(bridge, "198.18.1.1/24");
    vm_start(&vm, &(struct qemu_options){.guest = true});
    for (i = 0; i < sizeof models / sizeof *models; i++)
        comes_and_leaves(&vm, models[i]);
    carries_packets(&vm);
    igb(&vm);
    fails(add_nic(&vm, &(struct kvm_hotplug_nic){.model = "no-such-nic"}, NULL), -EOPNOTSUPP,
          KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "does not know the device model no-such-nic");
    invalid(add_nic(&vm, &(struct kvm_hotplug_nic){.model = "virtio-rng-pci"}, NULL), "is no NIC");
    vm_stop(&vm);
    return test_end();
}
