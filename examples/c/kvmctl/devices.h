/* The devices of the guest or of its record. */
#ifndef DEVICES_H
#define DEVICES_H

#include <stddef.h>

#include "kvmctl.h"

/* All devices, in memory to be freed by the caller; from the guest if it is open, else from the record. */
enum status fetch_devices(const struct ctl *ctl, struct kvm_hotplug_device **ret_devices, size_t *ret_count);

#endif
