/* A guest whose QEMU is ended and started anew beneath its record. */
#ifndef TEST_RESTART_H
#define TEST_RESTART_H

#include <kvm_hotplug.h>

#include "arguments.h"
#include "qemu.h"

/* Ends the QEMU, and starts another one by the same command at the same sockets, with one more NIC: `lan`,
 * where `nic` was, with this MAC address and no tap. */
void restart_with_nic(struct qemu *qemu, const struct arguments *command, const struct kvm_hotplug_device *nic,
                      const char *mac);

#endif
