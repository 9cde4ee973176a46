/* An agent is killed at every step of a wanted list, with which some devices come and others go: those that
 * come are all there or none of them, and none has been asked to go before they are. */
#include "support/steps.h"

enum {
    OLD = CRASH_ONLY(CRASH_NIC) | CRASH_ONLY(CRASH_RAW),
    NEW = CRASH_ONLY(CRASH_OTHER_NIC) | CRASH_ONLY(CRASH_CHAIN),
};

static const struct step_operation operations[] = {
    {STEP_APPLY, OLD | NEW, 0, 0, {0}, NEW},
    /* Nothing goes, or nothing comes. */
    {STEP_APPLY, NEW, 0, 0, {0}, NEW},
    {STEP_APPLY, OLD, 0, 0, {0}, 0},
    /* Those that come are in the guest, and not in the record. */
    {STEP_RECOVER, OLD | NEW, 0, STEP_APPLY, {"rename", 2, false, 0}, NEW},
    /* They are in the record, and the removals have not begun. */
    {STEP_RECOVER, OLD | NEW, 0, STEP_APPLY, {"rename", 3, false, 0}, NEW},
    /* Some of them may be in the guest. */
    {STEP_RECOVER, OLD | NEW, 0, STEP_APPLY, {"sendmsg", 3, false, STEP_LINGER_MS}, NEW},
};

int main(void)
{
    crash_halts = true;
    return test_steps("qemu-crash-apply", operations, sizeof operations / sizeof *operations);
}
