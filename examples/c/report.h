/* What the library says, for people. */
#ifndef REPORT_H
#define REPORT_H

#include <stdio.h>

#include "agent.h"

/* Prints the error and frees it; STATUS_FAILED, so that a command can end with `return report_error(err)`. */
enum status report_error(struct kvm_hotplug_error *error);
enum status report_no_memory(void);

/* One line. */
void report_event(FILE *to, const struct kvm_hotplug_event *event);

/* "pci.0:05", "rp0:00"; "-" without a place. */
struct place {
    char text[80];
};
struct place device_place(const struct kvm_hotplug_device *device);

/* "in the guest", "after reboot", "leaving". */
const char *device_state(const struct kvm_hotplug_device *device);

/* All devices, in memory to be freed by the caller; from the guest if it is open, else from the record. */
enum status fetch_devices(const struct agent *agent, struct kvm_hotplug_device **ret_devices, size_t *ret_count);

#endif
