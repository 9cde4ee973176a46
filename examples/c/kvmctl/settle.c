/* settle: what an agent that died has left. */
#include <stdio.h>
#include <stdlib.h>

#include "kvmctl.h"
#include "report.h"

enum { MOST = 1024 };

static enum status print_pending(const struct ctl *ctl, const struct kvm_hotplug_device *devices, size_t count)
{
    struct json json;
    size_t i;

    if (ctl->options.json) {
        json = json_begin(stdout);
        json_array(&json, NULL);
        for (i = 0; i < count; i++)
            json_device(&json, NULL, &devices[i]);
        json_end(&json);
    } else if (count == 0) {
        puts("nothing is unfinished");
    } else {
        for (i = 0; i < count; i++)
            printf("%s: %s\n", devices[i].id, devices[i].reason_text);
    }
    return count == 0 ? STATUS_DONE : STATUS_PENDING;
}

/* Opening the guest has done the same; what is left waits for it. */
static enum status settle_guest(struct ctl *ctl)
{
    struct kvm_hotplug_device *devices = calloc(MOST, sizeof *devices);
    struct kvm_hotplug_error *error = NULL;
    enum status status;
    size_t count = 0;

    if (devices == NULL)
        return report_no_memory(ctl);
    if (kvm_hotplug_settle(ctl->guest, ctl->options.timeout_ms, devices, sizeof *devices, MOST, &count, &error) < 0)
        status = report_error(ctl, error);
    else
        status = print_pending(ctl, devices, count < MOST ? count : MOST);
    free(devices);
    return status;
}

enum status ctl_settle(struct ctl *ctl)
{
    struct kvm_hotplug_error *error = NULL;
    int settled;

    if (ctl->guest != NULL)
        return settle_guest(ctl);
    settled = kvm_runtime_settle(ctl->runtime, &error);
    if (settled < 0)
        return report_error(ctl, error);
    if (ctl->options.json)
        return print_pending(ctl, NULL, 0);
    if (settled == 0)
        puts("nothing is unfinished");
    else
        printf("settled by the record, as the guest is off: %d\n", settled);
    return STATUS_DONE;
}
