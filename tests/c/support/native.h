/* PCI Express's own hotplug, which q35 has before QEMU 6.1, seen from the guest's side. */
#ifndef TEST_NATIVE_H
#define TEST_NATIVE_H

#include <stdbool.h>

#include "qemu.h"

/* Whether it is at work. Removals take six seconds, only the guest's system completes them, and it differs
 * from ACPI's hotplug in what is lost. The firmware that came with it hangs when it is reset. */
bool has_native_hotplug(struct qemu *qemu);

/* Does what the system of a guest would do to let go of what is in this root port: switches the slot off. */
void native_switch_off(struct qemu *qemu, const char *port);

/* Where a root port sits on its bus: eight times the slot, plus the function. */
int port_devfn(struct qemu *qemu, const char *port);

#endif
