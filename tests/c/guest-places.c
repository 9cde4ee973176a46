/* Where devices sit: a pinned address is the address in the guest, ids follow from it, slots are used again, and devices
 * may go in another order than they came. Ten rounds, with the guest's view in each. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/agent.h"
#include "support/check.h"
#include "support/image.h"
#include "support/view.h"

enum { PLACES = 4, ROUNDS = 10 };

static char image[PLACES][96];

static void make_images(struct agent *agent)
{
    char name[16];
    int i;

    for (i = 0; i < PLACES; i++) {
        snprintf(name, sizeof name, "%d.img", i);
        agent_path(agent, name, image[i], sizeof image[i]);
        image_raw(image[i], (i + 1) * MEBIBYTE);
    }
}

/* Even ones are NICs, odd ones disks; each can be told from the others in the guest. */
static void add(struct agent *agent, int number, struct kvm_hotplug_device *device)
{
    char mac[24];

    snprintf(mac, sizeof mac, "52:54:00:00:00:%02x", number);
    if (number % 2 == 0)
        ok(add_nic(agent, &(struct kvm_hotplug_nic){.mac = mac}, device));
    else
        ok(add_disk(agent, &(struct kvm_hotplug_disk){.path = image[number]}, device));
}

/* The guest has this device, and no other one, at its address. */
static void seen(struct agent *agent, int number, const struct kvm_hotplug_device *device)
{
    char name[16], want[24];

    if (number % 2 == 0) {
        snprintf(want, sizeof want, "52:54:00:00:00:%02x", number);
        view_nic(agent->qemu, device, name);
        guest_prints(agent->qemu, want, "cat /sys/class/net/%s/address", name);
    } else {
        snprintf(want, sizeof want, "%d", (number + 1) * 2048);
        view_disk(agent->qemu, device, name);
        guest_prints(agent->qemu, want, "cat /sys/block/%s/size", name);
    }
}

static void removed(struct agent *agent, const struct kvm_hotplug_device *device)
{
    ok(unplug(agent, device->id, 0));
    CHECK(view_is_gone(agent->qemu, device));
    check_gone(agent, device->id);
}

/* All asked before the first one is waited for: PCI Express takes six seconds for each. */
static void all_removed(struct agent *agent, const struct kvm_hotplug_device *devices, int count)
{
    struct kvm_hotplug_removal removal = {.flags = KVM_HOTPLUG_NO_WAIT};
    int i, answer;

    for (i = 0; i < count; i++) {
        removal.id = devices[i].id;
        answer = kvm_hotplug_unplug(agent->guest, &removal, sizeof removal, NULL, 0, NULL);
        CHECK(answer == KVM_HOTPLUG_PENDING || answer == KVM_HOTPLUG_DONE);
    }
    for (i = 0; i < count; i++) {
        answer = unplug(agent, devices[i].id, 0);
        CHECK(answer == KVM_HOTPLUG_DONE || answer == KVM_HOTPLUG_ABSENT);
        CHECK(view_is_gone(agent->qemu, &devices[i]));
        check_gone(agent, devices[i].id);
    }
    CHECK_NUMBER(recorded(agent), 0);
}

static void pinned(struct agent *agent)
{
    struct kvm_hotplug_nic nic = {.bus = "pci.0", .slot = 0x1d};
    struct kvm_hotplug_disk disk = {.path = image[0], .bus = "pci.0", .slot = 9};
    struct kvm_hotplug_device devices[2];
    bool q35 = agent->qemu->q35;
    char name[16];

    if (q35) {
        nic.bus = "rp3";
        disk.bus = "rp1";
        nic.slot = disk.slot = 0;
    }
    ok(add_nic(agent, &nic, &devices[0]));
    ok(add_disk(agent, &disk, &devices[1]));
    CHECK_TEXT(devices[0].id, q35 ? "nic-pci-rp3" : "nic-pci-29");
    CHECK_TEXT(devices[1].id, q35 ? "disk-pci-rp1" : "disk-pci-9");
    CHECK_TEXT(devices[1].bus, disk.bus);
    CHECK_NUMBER(devices[1].slot, disk.slot);
    view_nic(agent->qemu, &devices[0], name);
    view_disk(agent->qemu, &devices[1], name);
    all_removed(agent, devices, 2);
}

static bool same_place(const struct kvm_hotplug_device *one, const struct kvm_hotplug_device *other)
{
    return strcmp(one->bus, other->bus) == 0 && one->slot == other->slot;
}

static void other_order(struct agent *agent)
{
    static const int order[PLACES] = {2, 0, 3, 1};
    struct kvm_hotplug_device devices[PLACES], again;
    int i;

    for (i = 0; i < PLACES; i++)
        add(agent, i, &devices[i]);
    for (i = 0; i < PLACES; i++)
        seen(agent, i, &devices[i]);
    removed(agent, &devices[1]);
    add(agent, 1, &again);
    CHECK(same_place(&again, &devices[1]));
    CHECK_TEXT(again.id, devices[1].id);
    CHECK(again.generation != devices[1].generation);
    seen(agent, 1, &again);
    for (i = 0; i < PLACES; i++) {
        removed(agent, &devices[order[i]]);
        CHECK_NUMBER(recorded(agent), PLACES - 1 - i);
    }
}

/* q35 has as many places as it has root ports. */
static void full(struct agent *agent)
{
    struct kvm_hotplug_device devices[QEMU_ROOT_PORTS], over;
    int i;

    for (i = 0; i < QEMU_ROOT_PORTS; i++)
        add(agent, i, &devices[i]);
    err(add_nic(agent, &(struct kvm_hotplug_nic){0}, &over), -ENOSPC);
    all_removed(agent, devices, QEMU_ROOT_PORTS);
}

static void round_of_two(struct agent *agent)
{
    struct kvm_hotplug_device devices[2];

    add(agent, 0, &devices[0]);
    add(agent, 1, &devices[1]);
    seen(agent, 0, &devices[0]);
    seen(agent, 1, &devices[1]);
    all_removed(agent, devices, 2);
}

int main(void)
{
    struct agent agent;
    int i;

    test_begin("guest-places", 300);
    agent_start(&agent, &(struct qemu_options){.guest = true});
    make_images(&agent);
    pinned(&agent);
    other_order(&agent);
    if (agent.qemu->q35)
        full(&agent);
    for (i = 0; i < ROUNDS; i++)
        round_of_two(&agent);
    agent_stop(&agent);
    return test_end();
}
