/* add-nic, add-disk and add-scsi. */
#include <stdio.h>

#include "kvmctl.h"
#include "report.h"

/* The id comes first, so that a script has it with `read -r id rest`. */
static enum status added(const struct ctl *ctl, int answer, const struct kvm_hotplug_device *device)
{
    if (ctl->options.json) {
        report_answer(answer, device->id, device);
        return answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT ? STATUS_AFTER_REBOOT : STATUS_DONE;
    }
    if (answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT) {
        printf("%s is recorded, and comes with the next boot: %s\n", device->id, device->reason_text);
        return STATUS_AFTER_REBOOT;
    }
    if (ctl->options.cold) {
        printf("%s is recorded, and comes with the next boot, at %s\n", device->id, device_place(device).text);
        return STATUS_DONE;
    }
    printf("%s is in the guest, at %s", device->id, device_place(device).text);
    if (device->device_type == KVM_HOTPLUG_DEVICE_NIC)
        printf(", MAC %s, tap %s%s%s\n", device->mac, device->ifname, device->bridge[0] ? " on " : "", device->bridge);
    else if (device->device_type == KVM_HOTPLUG_DEVICE_DISK)
        printf(", %s\n", ctl_path(device));
    else
        putchar('\n');
    return STATUS_DONE;
}

enum status ctl_add_nic(struct ctl *ctl)
{
    const struct kvm_hotplug_nic *nic = &ctl->options.nic;
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = ctl->options.cold
                     ? kvm_runtime_add_nic(ctl->runtime, nic, sizeof *nic, &device, sizeof device, &error)
                     : kvm_hotplug_add_nic(ctl->guest, nic, sizeof *nic, &device, sizeof device, &error);

    return answer < 0 ? report_error(ctl, error) : added(ctl, answer, &device);
}

enum status ctl_add_disk(struct ctl *ctl)
{
    const struct kvm_hotplug_disk *disk = &ctl->options.disk;
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = ctl->options.cold
                     ? kvm_runtime_add_disk(ctl->runtime, disk, sizeof *disk, &device, sizeof device, &error)
                     : kvm_hotplug_add_disk(ctl->guest, disk, sizeof *disk, &device, sizeof device, &error);

    return answer < 0 ? report_error(ctl, error) : added(ctl, answer, &device);
}

enum status ctl_add_scsi(struct ctl *ctl)
{
    const struct kvm_hotplug_controller *controller = &ctl->options.controller;
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer =
        kvm_hotplug_add_controller(ctl->guest, controller, sizeof *controller, &device, sizeof device, &error);

    return answer < 0 ? report_error(ctl, error) : added(ctl, answer, &device);
}
