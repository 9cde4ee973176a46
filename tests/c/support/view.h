/* What the guest sees of a device. */
#ifndef TEST_VIEW_H
#define TEST_VIEW_H

#include <stdbool.h>

#include <kvm_hotplug.h>

#include "qemu.h"

enum { VIEW_MS = 60000 };

/* Where tests put a bridge with the id br1: slot 3 of pci.0, or on q35 behind the port rp3. */
enum { VIEW_BRIDGE_SLOT = 3, VIEW_BRIDGE_PORT = 3 };

/* The device's directory in the guest's sysfs, as a pattern for its shell: only bus numbers are open. */
void view_directory(struct qemu *qemu, const struct kvm_hotplug_device *device, char path[128]);

/* Wait until the driver in the guest has made an interface or a disk out of it, and say how it is called
 * there. */
void view_nic(struct qemu *qemu, const struct kvm_hotplug_device *device, char name[16]);
void view_emulated_nic(struct qemu *qemu, const struct kvm_hotplug_device *device, char name[16]);
void view_disk(struct qemu *qemu, const struct kvm_hotplug_device *device, char name[16]);

/* The same for a disk on a SCSI controller; and whether it is gone, with the controller still there. */
void view_scsi_disk(struct qemu *qemu, const struct kvm_hotplug_device *controller,
                    const struct kvm_hotplug_device *disk, char name[16]);
bool view_scsi_is_gone(struct qemu *qemu, const struct kvm_hotplug_device *controller,
                       const struct kvm_hotplug_device *disk);

/* Whether the guest has no such device any more; waits for it. */
bool view_is_gone(struct qemu *qemu, const struct kvm_hotplug_device *device);

/* Runs a command in the guest, checks that it succeeds, and what it prints apart from the last newline. */
void guest_prints(struct qemu *qemu, const char *want, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The command's exit status. */
int guest_does(struct qemu *qemu, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
