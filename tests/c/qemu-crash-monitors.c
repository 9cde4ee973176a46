/* An agent is killed at every step, and the next one comes over another monitor of the same QEMU: names of
 * descriptors belong to the monitor that they came by, and what was sent over that may still be carried
 * out. */
#include "support/steps.h"

static const struct step_operation operations[] = {
    {STEP_ADD, CRASH_ONLY(CRASH_NIC), 0, 0, {0}, 0},
    {STEP_ADD, CRASH_ONLY(CRASH_WIDE_NIC), 0, 0, {0}, 0},
    {STEP_ADD, CRASH_ONLY(CRASH_RAW), 0, 0, {0}, 0},
    {STEP_BEGIN, CRASH_ONLY(CRASH_WIDE_NIC), 0, 0, {0}, 0},
    {STEP_ASK, CRASH_ONLY(CRASH_NIC), 0, 0, {0}, 0},
    {STEP_REMOVE, CRASH_ONLY(CRASH_NIC), 0, 0, {0}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_WIDE_NIC), 0, STEP_ADD, {"sendmsg", 3, false, STEP_LINGER_MS}, 0},
};

int main(void)
{
    crash_monitors = 2;
    return test_steps("qemu-crash-monitors", operations, sizeof operations / sizeof *operations);
}
