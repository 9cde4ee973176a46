/* Plugging by the library in short, and what is to be seen of it on the host's side. */
#ifndef TEST_PLUG_H
#define TEST_PLUG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files.h"
#include "library.h"
#include "native.h"

/* The library's calls without their sizes; for works(), answers() and fails(). */
int add_nic(struct vm *vm, const struct kvm_hotplug_nic *nic, struct kvm_hotplug_device *ret_device);
int add_disk(struct vm *vm, const struct kvm_hotplug_disk *disk, struct kvm_hotplug_device *ret_device);
int add_controller(struct vm *vm, const struct kvm_hotplug_controller *controller,
                   struct kvm_hotplug_device *ret_device);

/* So does this; timeout 0 is as long as a guest that has booted may take on the busiest host. If it takes
 * longer, what it does instead is printed. */
int unplug(struct vm *vm, const char *id, uint32_t timeout_ms);

/* Asks the guest for a device, and does not wait: the removal is pending. */
void request_unplug(struct vm *vm, const char *id);

/* A removal in which firmware has no part: with a reset QEMU lets go of the device. */
void unplug_by_reset(struct vm *vm, const char *id);

/* What a booted guest that does not let go is doing, on stderr. */
void say_what_the_guest_does(struct qemu *qemu);

/* The next event, as vm_next_event(), but with kvm_hotplug_process() called every second also without news,
 * as agents do: it repeats requests that the guest may not have heard. */
bool next_event(struct vm *vm, struct kvm_hotplug_event *event, int timeout_ms);

/* The next event must come in this time, and be this one. */
void expect_event(struct vm *vm, uint32_t type, const char *id, int timeout_ms);

/* Why a removal is pending (enum kvm_hotplug_reason). */
uint32_t pending_reason(struct vm *vm, const char *id);

/* How many devices the runtime file has, read from disk. */
size_t recorded(const struct vm *vm);

/* Nothing is left of a device that was removed: not in QEMU (device, netdev, block node, fdset), not in the
 * record, not in the journal. */
void check_gone(struct vm *vm, const char *id);

/* Whether the answer to human-monitor-command has this part. */
bool hmp_contains(struct qemu *qemu, const char *command, const char *part);

/* Whether QEMU has an object of this name, such as an iothread. */
bool has_object(struct qemu *qemu, const char *name);

#endif
