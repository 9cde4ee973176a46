/* Where devices sit: a pinned address is the address in the guest, ids follow from it, slots are used again,
 * and devices may go in another order than they came. Ten rounds, with the guest's view in each. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/plug.h"
#include "support/image.h"
#include "support/view.h"

enum { PLACES = 4, ROUNDS = 10 };

static char image[PLACES][TEST_PATH];

static void make_images(struct vm *vm)
{
    char name[16];
    int i;

    for (i = 0; i < PLACES; i++) {
        snprintf(name, sizeof name, "%d.img", i);
        path_in(image[i], vm->qemu->dir, name);
        image_raw(image[i], (i + 1) * MEBIBYTE);
    }
}

/* Even ones are NICs, odd ones disks; each can be told from the others in the guest. */
static void add(struct vm *vm, int number, struct kvm_hotplug_device *device)
{
    char mac[24];

    snprintf(mac, sizeof mac, "52:54:00:00:00:%02x", number);
    if (number % 2 == 0)
        works(add_nic(vm, &(struct kvm_hotplug_nic){.mac = mac}, device));
    else
        works(add_disk(vm, &(struct kvm_hotplug_disk){.path = image[number]}, device));
}

/* The guest has this device, and no other one, at its address. */
static void seen(struct vm *vm, int number, const struct kvm_hotplug_device *device)
{
    char name[16], want[24];

    if (number % 2 == 0) {
        snprintf(want, sizeof want, "52:54:00:00:00:%02x", number);
        view_nic(vm->qemu, device, name);
        guest_prints(vm->qemu, want, "cat /sys/class/net/%s/address", name);
    } else {
        snprintf(want, sizeof want, "%d", (number + 1) * 2048);
        view_disk(vm->qemu, device, name);
        guest_prints(vm->qemu, want, "cat /sys/block/%s/size", name);
    }
}

static void removed(struct vm *vm, const struct kvm_hotplug_device *device)
{
    works(unplug(vm, device->id, 0));
    CHECK(view_is_gone(vm->qemu, device));
    check_gone(vm, device->id);
}

/* All asked before the first one is waited for: PCI Express takes six seconds for each. */
static void all_removed(struct vm *vm, const struct kvm_hotplug_device *devices, int count)
{
    struct kvm_hotplug_del_options removal = {.flags = KVM_HOTPLUG_NO_WAIT};
    int i, answer;

    for (i = 0; i < count; i++) {
        removal.id = devices[i].id;
        answer = kvmh_del(vm->guest, &removal, NULL, NULL);
        CHECK(answer == KVM_HOTPLUG_ANSWER_PENDING || answer == KVM_HOTPLUG_ANSWER_DONE);
    }
    for (i = 0; i < count; i++) {
        answer = unplug(vm, devices[i].id, 0);
        CHECK(answer == KVM_HOTPLUG_ANSWER_DONE || answer == KVM_HOTPLUG_ANSWER_ABSENT);
        CHECK(view_is_gone(vm->qemu, &devices[i]));
        check_gone(vm, devices[i].id);
    }
    CHECK_NUMBER(recorded(vm), 0);
}

static void pinned(struct vm *vm)
{
    struct kvm_hotplug_nic nic = {.bus = "pci.0", .slot = 0x1d};
    struct kvm_hotplug_disk disk = {.path = image[0], .bus = "pci.0", .slot = 9};
    struct kvm_hotplug_device devices[2];
    bool q35 = vm->qemu->q35;
    char name[16];

    if (q35) {
        nic.bus = "rp3";
        disk.bus = "rp1";
        nic.slot = disk.slot = 0;
    }
    works(add_nic(vm, &nic, &devices[0]));
    works(add_disk(vm, &disk, &devices[1]));
    CHECK_TEXT(devices[0].id, q35 ? "nic-pci-rp3" : "nic-pci-29");
    CHECK_TEXT(devices[1].id, q35 ? "disk-pci-rp1" : "disk-pci-9");
    CHECK_TEXT(devices[1].bus, disk.bus);
    CHECK_NUMBER(devices[1].slot, disk.slot);
    view_nic(vm->qemu, &devices[0], name);
    view_disk(vm->qemu, &devices[1], name);
    all_removed(vm, devices, 2);
}

static bool same_place(const struct kvm_hotplug_device *one, const struct kvm_hotplug_device *other)
{
    return strcmp(one->bus, other->bus) == 0 && one->slot == other->slot;
}

static void other_order(struct vm *vm)
{
    static const int order[PLACES] = {2, 0, 3, 1};
    struct kvm_hotplug_device devices[PLACES], again;
    int i;

    for (i = 0; i < PLACES; i++)
        add(vm, i, &devices[i]);
    for (i = 0; i < PLACES; i++)
        seen(vm, i, &devices[i]);
    removed(vm, &devices[1]);
    add(vm, 1, &again);
    CHECK(same_place(&again, &devices[1]));
    CHECK_TEXT(again.id, devices[1].id);
    CHECK(again.generation != devices[1].generation);
    seen(vm, 1, &again);
    for (i = 0; i < PLACES; i++) {
        removed(vm, &devices[order[i]]);
        CHECK_NUMBER(recorded(vm), PLACES - 1 - i);
    }
}

/* q35 has as many places as it has root ports. */
static void full(struct vm *vm)
{
    struct kvm_hotplug_device devices[QEMU_ROOT_PORTS], over;
    int i;

    for (i = 0; i < QEMU_ROOT_PORTS; i++)
        add(vm, i, &devices[i]);
    fails(add_nic(vm, &(struct kvm_hotplug_nic){0}, &over), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "4 of 4 taken");
    all_removed(vm, devices, QEMU_ROOT_PORTS);
}

static void round_of_two(struct vm *vm)
{
    struct kvm_hotplug_device devices[2];

    add(vm, 0, &devices[0]);
    add(vm, 1, &devices[1]);
    seen(vm, 0, &devices[0]);
    seen(vm, 1, &devices[1]);
    all_removed(vm, devices, 2);
}

int main(void)
{
    struct vm vm;
    int i;

    test_begin("guest-places", 600);
    vm_start(&vm, &(struct qemu_options){.guest = true});
    make_images(&vm);
    pinned(&vm);
    other_order(&vm);
    if (vm.qemu->q35)
        full(&vm);
    for (i = 0; i < ROUNDS; i++)
        round_of_two(&vm);
    vm_stop(&vm);
    return test_end();
}
