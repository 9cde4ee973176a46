/* Devices that the guest gives up by itself. Linux forgetting a device is not that; switching off its slot is, and the
 * library then clears up behind it unasked. */
#include <stdio.h>

#include "support/agent.h"
#include "support/check.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/net.h"
#include "support/view.h"

/* PCI Express takes its time: five seconds for the button nobody pressed. */
enum { EJECT_MS = 30000, QUIET_MS = 300 };

static void forget(struct agent *agent, const struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_event event;
    char path[128];

    view_directory(agent->qemu, device, path);
    CHECK_NUMBER(guest_does(agent->qemu, "echo 1 >$(ls -d %s)/remove", path), 0);
    CHECK(view_is_gone(agent->qemu, device));
    CHECK(!next_event(agent, &event, QUIET_MS));
    CHECK_NUMBER(kvm_hotplug_get_device(agent->guest, device->id, NULL, 0, NULL), KVM_HOTPLUG_DONE);
    CHECK_NUMBER(recorded(agent), 1);
    CHECK_NUMBER(guest_does(agent->qemu, "echo 1 >/sys/bus/pci/rescan"), 0);
}

/* The slot whose address is the device's, without its function. */
static void switch_off(struct agent *agent, const struct kvm_hotplug_device *device)
{
    char path[128];

    view_directory(agent->qemu, device, path);
    CHECK_NUMBER(guest_does(agent->qemu,
                            "a=$(basename $(ls -d %s)); "
                            "for s in /sys/bus/pci/slots/*; do [ $(cat $s/address) = ${a%%.*} ] && echo 0 >$s/power; done; true",
                            path), 0);
    expect_event(agent, KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST, device->id, EJECT_MS);
    CHECK(view_is_gone(agent->qemu, device));
    check_gone(agent, device->id);
    CHECK_NUMBER(recorded(agent), 0);
    CHECK_NUMBER(unplug(agent, device->id, 1000), KVM_HOTPLUG_ABSENT);
}

int main(void)
{
    struct kvm_hotplug_device nic, disk;
    struct agent agent;
    char image[96], name[16];

    test_begin("guest-eject", 120);
    agent_start(&agent, &(struct qemu_options){.guest = true});
    agent_path(&agent, "disk.img", image, sizeof image);
    image_raw(image, MEBIBYTE);
    ok(add_nic(&agent, &(struct kvm_hotplug_nic){0}, &nic));
    view_nic(agent.qemu, &nic, name);
    forget(&agent, &nic);
    view_nic(agent.qemu, &nic, name);
    switch_off(&agent, &nic);
    CHECK(!link_exists(nic.ifname));
    ok(add_disk(&agent, &(struct kvm_hotplug_disk){.path = image}, &disk));
    view_disk(agent.qemu, &disk, name);
    switch_off(&agent, &disk);
    agent_stop(&agent);
    return test_end();
}
