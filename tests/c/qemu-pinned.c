/* A pinned address is what the device gets, reserved or not, unless somebody is there; the slot map says
 * who. */
#include <string.h>

#include "support/library.h"

enum { MOST = 64 };

static const char addr_of_high[] =
    "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/high\",\"property\":\"addr\"}}";

static struct vm vm;
static struct kvm_hotplug_slot slots[MOST];
static size_t count;

static const struct kvm_hotplug_slot *find(const char *bus, uint32_t slot)
{
    size_t i;

    works(kvmh_slot_map(vm.guest, 0, slots, MOST, &count, &failure));
    for (i = 0; i < count && i < MOST; i++)
        if (strcmp(slots[i].bus, bus) == 0 && slots[i].slot == slot)
            return &slots[i];
    FAIL("the slot map does not have %s slot %u", bus, slot);
}

static void check_slot(const char *bus, uint32_t slot, uint32_t state, const char *occupant)
{
    const struct kvm_hotplug_slot *found = find(bus, slot);

    CHECK_NUMBER(found->state, state);
    if (occupant != NULL)
        CHECK_TEXT(found->occupant, occupant);
}

static int pin(const char *id, const char *bus, uint32_t slot)
{
    struct kvm_hotplug_nic nic = {.id = id, .bus = bus, .slot = slot};
    struct kvm_hotplug_device device;
    int result = kvmh_add_nic(vm.guest, &nic, &device, &failure);

    if (result == 0) {
        CHECK_TEXT(device.bus, bus);
        CHECK_NUMBER(device.slot, slot);
    }
    return result;
}

static void leave(const char *id)
{
    answers(kvm_hotplug_del_nic(vm.guest, id, 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
}

/* On either machine: `bus` and `slot` are free. */
static void one_place(const char *bus, uint32_t slot)
{
    check_slot(bus, slot, KVM_HOTPLUG_SLOT_FREE, "");
    works(pin("here", bus, slot));
    check_slot(bus, slot, KVM_HOTPLUG_SLOT_TAKEN, "here");
    fails(pin("there", bus, slot), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, bus, "is taken by here",
          "pin another");
    leave("here");
    check_slot(bus, slot, KVM_HOTPLUG_SLOT_QUARANTINED, "here");
    fails(pin("there", bus, slot), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, bus, "still belongs to here",
          "its removal is pending", "wait for it or pin another");
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "here");
    check_slot(bus, slot, KVM_HOTPLUG_SLOT_FREE, "");
    works(pin("there", bus, slot));
    CHECK(vm_record_contains(&vm, "\"there\""));
}

/* Slots are numbers, addresses in QEMU hexadecimal text. */
static void on_pc(void)
{
    check_slot("pci.0", 2, KVM_HOTPLUG_SLOT_RESERVED, "");
    works(pin("low", "pci.0", 2));
    works(pin("high", "pci.0", 31));
    CHECK(qmp_contains(vm.qemu, addr_of_high, "\"return\":248")); /* 31 << 3 */
    check_slot("pci.0", 0, KVM_HOTPLUG_SLOT_TAKEN, NULL);
    check_slot("pci.0", 1, KVM_HOTPLUG_SLOT_TAKEN, NULL);
    /* One that somebody else plugs in is seen before it is in the way. */
    vm_observe(&vm, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng-pci\",\"id\":\"other\","
                    "\"bus\":\"pci.0\",\"addr\":\"4\"}}");
    check_slot("pci.0", 4, KVM_HOTPLUG_SLOT_TAKEN, "other");
    CHECK_TEXT(vm_add_nic(&vm, NULL), "nic-pci-5");
}

/* The picture is wrong until it is asked for: a slot that turns out to be taken is no reason to fail. */
static void behind_our_back(void)
{
    vm_observe(&vm, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng-pci\",\"id\":\"another\","
                    "\"bus\":\"pci.0\",\"addr\":\"6\"}}");
    CHECK_TEXT(vm_add_nic(&vm, NULL), "nic-pci-7");
    fails(kvm_hotplug_del_nic(vm.guest, "another", 0, &failure), -EACCES, KVM_HOTPLUG_ERROR_FOREIGN, "another",
          "not in its record", "left alone");
}

static void counting_only(void)
{
    size_t all = 0;

    works(kvmh_slot_map(vm.guest, 0, NULL, 0, &all, &failure));
    memset(slots, 0xff, sizeof slots);
    works(kvmh_slot_map(vm.guest, 0, slots, 3, &count, &failure));
    CHECK_NUMBER(count, all);
    CHECK(all > 3);
    CHECK_NUMBER(slots[3].state, 0xffffffff);
    invalid(kvm_hotplug_slot_map(vm.guest, 0, slots, 0, 3, &count, &failure), "size 0");
    fails(kvmh_slot_map(vm.guest, 0, slots, 3, NULL, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID,
          "ret_count is NULL");
}

int main(void)
{
    test_begin("qemu-pinned", 60);
    vm_start(&vm, &(struct qemu_options){.stopped = true});
    if (vm.qemu->q35) {
        one_place("rp2", 0);
        CHECK_TEXT(vm_add_nic(&vm, NULL), "nic-pci-rp0");
    } else {
        one_place("pci.0", 20);
        on_pc();
        behind_our_back();
    }
    counting_only();
    vm_stop(&vm);
    return test_end();
}
