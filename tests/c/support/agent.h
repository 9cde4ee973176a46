/* An agent with one guest: a QEMU, its record, and the library's handle on it. */
#ifndef TEST_AGENT_H
#define TEST_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kvm_hotplug.h>

#include "qemu.h"

struct agent {
    struct qemu *qemu;
    struct kvm_runtime *runtime;
    struct kvm_hotplug *guest;
    char record[96]; /* path of the runtime file */
};

/* Starts a guest, makes a record of it and opens it. */
void agent_start(struct agent *agent, const struct qemu_options *options);

/* The second half of agent_start(), for a QEMU that the test started itself. */
void agent_open(struct agent *agent, struct qemu *qemu);

void agent_stop(struct agent *agent);

/* The library's calls in short. They return its answer; an error is also printed. */
int add_nic(struct agent *agent, const struct kvm_hotplug_nic *nic, struct kvm_hotplug_device *ret_device);
int add_disk(struct agent *agent, const struct kvm_hotplug_disk *disk, struct kvm_hotplug_device *ret_device);
int unplug(struct agent *agent, const char *id, uint32_t timeout_ms);

/* Waits with poll() until the library has an event, and takes the first one; false when there was none in time. */
bool next_event(struct agent *agent, struct kvm_hotplug_event *event, int timeout_ms);

/* The same, and checks what it is and about which device. */
void expect_event(struct agent *agent, uint32_t type, const char *id, int timeout_ms);

/* Why a removal is pending (enum kvm_hotplug_reason). */
uint32_t pending_reason(struct agent *agent, const char *id);

/* How many devices the runtime file has, read from disk. */
size_t recorded(const struct agent *agent);

/* Nothing is left of a device that was removed: not in QEMU (device, netdev, block node, fdset), not in the record, not in
 * the journal. */
void check_gone(struct agent *agent, const char *id);

/* A path below the QEMU's directory, which goes with the test. */
void agent_path(const struct agent *agent, const char *name, char *path, size_t size);

/* Whether PCI Express's own hotplug is at work, as on q35 before QEMU 6.1: removals take six seconds, and it differs from
 * ACPI's in what is lost. */
bool has_native_hotplug(struct qemu *qemu);

/* Whether the answer to human-monitor-command has this part. */
bool hmp_contains(struct qemu *qemu, const char *command, const char *part);

#endif
