/* An agent is killed at every step of every operation on one device. */
#include "support/steps.h"

static const struct step_operation operations[] = {
    {STEP_ADD, CRASH_ONLY(CRASH_NIC), 0, 0, {0}, 0},
    {STEP_ADD, CRASH_ONLY(CRASH_WIDE_NIC), 0, 0, {0}, 0},
    {STEP_ADD, CRASH_ONLY(CRASH_RAW), 0, 0, {0}, 0},
    {STEP_ADD, CRASH_ONLY(CRASH_CHAIN), 0, 0, {0}, 0},
    {STEP_ADD, CRASH_ONLY(CRASH_READ_ONLY), 0, 0, {0}, 0},
    {STEP_BEGIN, CRASH_ONLY(CRASH_WIDE_NIC), 0, 0, {0}, 0},
    {STEP_BEGIN, CRASH_ONLY(CRASH_CHAIN), 0, 0, {0}, 0},
    {STEP_ASK, CRASH_ONLY(CRASH_NIC), 0, 0, {0}, 0},
    {STEP_ASK, CRASH_ONLY(CRASH_CHAIN), 0, 0, {0}, 0},
    {STEP_REMOVE, CRASH_ONLY(CRASH_WIDE_NIC), 0, 0, {0}, 0},
    {STEP_REMOVE, CRASH_ONLY(CRASH_RAW), 0, 0, {0}, 0},
    {STEP_REMOVE, CRASH_ONLY(CRASH_CHAIN), 0, 0, {0}, 0},
    /* With the controller that it needs, and that stays when it goes. */
    {STEP_ADD, CRASH_ONLY(CRASH_SCSI), 0, 0, {0}, 0},
    {STEP_REMOVE, CRASH_ONLY(CRASH_SCSI), 0, 0, {0}, 0},
    /* Descriptors have been sent, and no more. */
    {STEP_RECOVER, CRASH_ONLY(CRASH_WIDE_NIC), 0, STEP_ADD, {"sendmsg", 3, false, STEP_LINGER_MS}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_CHAIN), 0, STEP_ADD, {"sendmsg", 2, false, STEP_LINGER_MS}, 0},
    /* The device is in the guest and not in the record: the second file that is put in place is the
     * record. */
    {STEP_RECOVER, CRASH_ONLY(CRASH_WIDE_NIC), 0, STEP_ADD, {"rename", 2, false, 0}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_CHAIN), 0, STEP_ADD, {"rename", 2, false, 0}, 0},
    /* The guest has let go; its backend is there, or only the record still has it. */
    {STEP_RECOVER, CRASH_ONLY(CRASH_WIDE_NIC), 0, STEP_REMOVE, {"sendmsg", 2, false, 0}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_CHAIN), 0, STEP_REMOVE, {"sendmsg", 2, false, 0}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_WIDE_NIC), 0, STEP_REMOVE, {"rename", 2, false, 0}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_CHAIN), 0, STEP_REMOVE, {"rename", 2, false, 0}, 0},
    /* Controller and disk are there, or the controller alone may be. */
    {STEP_RECOVER, CRASH_ONLY(CRASH_SCSI), 0, STEP_ADD, {"rename", 2, false, 0}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_SCSI), 0, STEP_ADD, {"sendmsg", 2, false, STEP_LINGER_MS}, 0},
    /* The guest may have been asked. */
    {STEP_RECOVER, CRASH_ONLY(CRASH_RAW), 0, STEP_ASK, {"rename", 1, false, 0}, 0},
    {STEP_RECOVER, CRASH_ONLY(CRASH_RAW), 0, STEP_ASK, {"sendmsg", 2, true, STEP_LINGER_MS}, 0},
};

int main(void)
{
    crash_halts = true;
    return test_steps("qemu-crash-steps", operations, sizeof operations / sizeof *operations);
}
