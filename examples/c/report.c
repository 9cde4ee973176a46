#include "report.h"

#include <stdlib.h>

enum status report_error(struct kvm_hotplug_error *error)
{
    const char *left = kvm_hotplug_error_left(error);

    fprintf(stderr, "agent: %s\n", kvm_hotplug_error_message(error));
    if (kvm_hotplug_error_undo(error) == KVM_HOTPLUG_UNDO_INCOMPLETE && left != NULL)
        fprintf(stderr, "left behind, until the next command on this guest settles it:\n%s\n", left);
    kvm_hotplug_error_free(error);
    return STATUS_FAILED;
}

enum status report_no_memory(void)
{
    fputs("agent: out of memory\n", stderr);
    return STATUS_FAILED;
}

static const char *event_words(uint32_t type)
{
    switch (type) {
    case KVM_HOTPLUG_EVENT_ADDED:
        return "is in the guest: an interrupted add was completed";
    case KVM_HOTPLUG_EVENT_REMOVED:
        return "is gone";
    case KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST:
        return "was given up by the guest itself, and is gone";
    case KVM_HOTPLUG_EVENT_REFUSED:
        return "stays: the guest refused to let it go";
    case KVM_HOTPLUG_EVENT_PENDING:
        return "is on its way out: an earlier agent asked for it";
    case KVM_HOTPLUG_EVENT_UNDONE:
        return "is not in the guest: an interrupted add was taken back";
    case KVM_HOTPLUG_EVENT_MONITOR_LOST:
        return "the connection to QEMU was lost";
    case KVM_HOTPLUG_EVENT_LOST:
        return "events were lost";
    default:
        return "something new happened";
    }
}

void report_event(FILE *to, const struct kvm_hotplug_event *event)
{
    const char *gap = event->id[0] == '\0' ? "" : " ";

    if (event->text[0] == '\0')
        fprintf(to, "%s%s%s\n", event->id, gap, event_words(event->event_type));
    else
        fprintf(to, "%s%s%s (%s)\n", event->id, gap, event_words(event->event_type), event->text);
}

struct place device_place(const struct kvm_hotplug_device *device)
{
    struct place place = {"-"};

    if (device->address_type == KVM_HOTPLUG_ADDRESS_PCI)
        snprintf(place.text, sizeof place.text, "%s:%02x", device->bus, device->slot);
    else if (device->address_type == KVM_HOTPLUG_ADDRESS_SCSI)
        snprintf(place.text, sizeof place.text, "%s:%u:%u", device->bus, device->target, device->lun);
    return place;
}

const char *device_state(const struct kvm_hotplug_device *device)
{
    switch (device->state) {
    case KVM_HOTPLUG_DONE:
        return "in the guest";
    case KVM_HOTPLUG_PENDING:
        return "leaving";
    case KVM_HOTPLUG_AFTER_REBOOT:
        return device->removed_after_reboot ? "until reboot" : "after reboot";
    default:
        return "?";
    }
}

static int list_devices(const struct agent *agent, struct kvm_hotplug_device *devices, size_t capacity, size_t *count,
                        struct kvm_hotplug_error **error)
{
    if (agent->guest != NULL)
        return kvm_hotplug_list(agent->guest, devices, sizeof *devices, capacity, count, error);
    return kvm_runtime_list(agent->runtime, devices, sizeof *devices, capacity, count, error);
}

/* This process is the only one that changes the record, so the second call finds what the first one counted. */
enum status fetch_devices(const struct agent *agent, struct kvm_hotplug_device **ret_devices, size_t *ret_count)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_hotplug_device *devices;
    size_t count = 0;

    if (list_devices(agent, NULL, 0, &count, &error) < 0)
        return report_error(error);
    devices = calloc(count + 1, sizeof *devices);
    if (devices == NULL)
        return report_no_memory();
    if (list_devices(agent, devices, count, &count, &error) < 0) {
        free(devices);
        return report_error(error);
    }
    *ret_devices = devices;
    *ret_count = count;
    return STATUS_DONE;
}
