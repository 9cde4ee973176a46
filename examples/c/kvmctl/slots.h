/* The slots of every bus, as the guest's. */
#ifndef SLOTS_H
#define SLOTS_H

#include <stddef.h>

#include "kvmctl.h"

/* In memory to be freed by the caller. A bus more or less between two questions would be QEMU's doing; the array is never
 * overrun. */
enum status fetch_slots(const struct ctl *ctl, struct kvm_hotplug_slot **ret_slots, size_t *ret_count);

/* As a document on stdout. */
void json_slots(const struct kvm_hotplug_slot *slots, size_t count);

#endif
