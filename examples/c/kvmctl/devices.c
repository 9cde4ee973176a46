#include "devices.h"

#include <stdlib.h>
#include <string.h>

#include "report.h"

static int list_devices(const struct ctl *ctl, struct kvm_hotplug_device *devices, size_t capacity, size_t *count,
                        struct kvm_hotplug_error **error)
{
    if (ctl->guest != NULL)
        return kvm_hotplug_list(ctl->guest, devices, sizeof *devices, capacity, count, error);
    return kvm_runtime_list(ctl->runtime, devices, sizeof *devices, capacity, count, error);
}

/* A guest that was not opened for looking only has settled its journal, or lists what is left of it. */
static int list_unfinished(const struct ctl *ctl, struct kvm_hotplug_device *devices, size_t capacity, size_t *count,
                           struct kvm_hotplug_error **error)
{
    *count = 0;
    return ctl->guest != NULL && !ctl->only_looks
               ? 0
               : kvm_runtime_unfinished(ctl->runtime, devices, sizeof *devices, capacity, count, error);
}

static bool is_listed(const struct kvm_hotplug_device *devices, size_t count, const char *id)
{
    size_t i;

    for (i = 0; i < count; i++)
        if (strcmp(devices[i].id, id) == 0)
            return true;
    return false;
}

/* Leaves of those behind the first ones what is not among them and was being added. */
static size_t add_unlisted(struct kvm_hotplug_device *devices, size_t count, size_t more)
{
    size_t i, end = count;

    for (i = count; i < count + more; i++)
        if (devices[i].reason == KVM_HOTPLUG_REASON_ADD_UNFINISHED && !is_listed(devices, count, devices[i].id))
            devices[end++] = devices[i];
    return end;
}

/* Nobody changes the record that this process has in memory, so the second calls find what the first ones counted. */
enum status fetch_devices(const struct ctl *ctl, struct kvm_hotplug_device **ret_devices, size_t *ret_count)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_hotplug_device *devices;
    size_t count = 0, more = 0;

    if (list_devices(ctl, NULL, 0, &count, &error) < 0 || list_unfinished(ctl, NULL, 0, &more, &error) < 0)
        return report_error(ctl, error);
    devices = calloc(count + more + 1, sizeof *devices);
    if (devices == NULL)
        return report_no_memory(ctl);
    if (list_devices(ctl, devices, count, &count, &error) < 0 ||
        list_unfinished(ctl, devices + count, more, &more, &error) < 0) {
        free(devices);
        return report_error(ctl, error);
    }
    *ret_devices = devices;
    *ret_count = add_unlisted(devices, count, more);
    return STATUS_DONE;
}
