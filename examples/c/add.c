/* add-nic and add-disk. */
#include <stdio.h>

#include "agent.h"
#include "report.h"

/* The id comes first, so that a script has it with `read -r id rest`. */
static enum status added(int answer, const struct kvm_hotplug_device *device)
{
    if (answer == KVM_HOTPLUG_AFTER_REBOOT) {
        printf("%s is recorded, and comes with the next boot: %s\n", device->id, device->reason_text);
        return STATUS_AFTER_REBOOT;
    }
    printf("%s is in the guest, at %s", device->id, device_place(device).text);
    if (device->device_type == KVM_HOTPLUG_NIC)
        printf(", MAC %s, tap %s%s%s\n", device->mac, device->ifname, device->bridge[0] ? " on " : "", device->bridge);
    else
        printf(", %s\n", device->path);
    return STATUS_DONE;
}

enum status agent_add_nic(struct agent *agent)
{
    const struct kvm_hotplug_nic *nic = &agent->options.nic;
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_add_nic(agent->guest, nic, sizeof *nic, &device, sizeof device, &error);

    return answer < 0 ? report_error(error) : added(answer, &device);
}

enum status agent_add_disk(struct agent *agent)
{
    const struct kvm_hotplug_disk *disk = &agent->options.disk;
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_add_disk(agent->guest, disk, sizeof *disk, &device, sizeof device, &error);

    return answer < 0 ? report_error(error) : added(answer, &device);
}
