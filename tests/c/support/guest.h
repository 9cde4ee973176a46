/* Runs commands inside the Linux guest (tests/guest/init), so that a test asserts what the guest sees. */
#ifndef TEST_GUEST_H
#define TEST_GUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "qemu.h"

/* Waits for the guest's ready line: after starting paused, or after a reset. Ends the test when it does not
 * come within a minute. */
void guest_wait_boot(struct qemu *qemu);

/* Runs one line of shell and returns its exit status. What it printed, errors included, goes into `output`
 * (may be NULL), terminated, and cut off at `size`. A guest that reboots or says nothing for a minute
 * ends the test. */
int guest_run(struct qemu *qemu, const char *command, char *output, size_t size);

/* Repeats a command until it succeeds; false when it did not in time. */
bool guest_wait(struct qemu *qemu, const char *condition, int timeout_ms);

#endif
