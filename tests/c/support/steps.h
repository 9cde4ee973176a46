/* Kills an agent at every step of an operation, once each; the next one must find everything in order.
 *
 * A step is a system call with which the library changes something. For each operation, a child process does
 * it and is killed just before its first step, then before its second, until it comes to its end. Where it
 * waits for QEMU in between it is killed as well: at once, and when QEMU has got on with what it was sent.
 * The agent that finishes or undoes what a killed one has left is killed at each of its own steps, too.
 */
#ifndef TEST_STEPS_H
#define TEST_STEPS_H

#include "crash.h"
#include "trace.h"

enum { STEP_LINGER_MS = 10 };

/* STEP_BEGIN: an add that is not waited for, until it is over. STEP_APPLY: a wanted list, with which some of
 * the devices come and the others go. */
enum step_verb { STEP_ADD, STEP_BEGIN, STEP_FAIL, STEP_ASK, STEP_REMOVE, STEP_APPLY, STEP_RECOVER };

struct step_operation {
    enum step_verb verb;
    unsigned set;         /* of one device, or of several that one call is about */
    enum crash_flaw flaw; /* STEP_FAIL, or recovering from it */
    /* STEP_RECOVER: from this operation, killed there. */
    enum step_verb interrupted;
    struct cut cut;
    unsigned wanted; /* STEP_APPLY, or recovering from it: those of the set that come */
};

/* All of a test. */
int test_steps(const char *name, const struct step_operation operations[], size_t count);

#endif
