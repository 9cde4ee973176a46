/* An agent is killed at every step of calls about several devices at once: all of them are added, or none. */
#include "support/steps.h"

enum {
    /* With one and with several queues, with one and with several images. */
    MIXED = CRASH_ONLY(CRASH_NIC) | CRASH_ONLY(CRASH_WIDE_NIC) | CRASH_ONLY(CRASH_RAW) | CRASH_ONLY(CRASH_CHAIN),
    DISKS = CRASH_ONLY(CRASH_RAW) | CRASH_ONLY(CRASH_CHAIN),
    /* The disk brings a controller along. */
    WITH_SCSI = CRASH_ONLY(CRASH_OTHER_NIC) | CRASH_ONLY(CRASH_READ_ONLY) | CRASH_ONLY(CRASH_SCSI),
};

static const struct step_operation operations[] = {
    {STEP_ADD, MIXED, 0, 0, {0}, 0},
    {STEP_ADD, WITH_SCSI, 0, 0, {0}, 0},
    {STEP_REMOVE, MIXED, 0, 0, {0}, 0},
    /* Refused when some are in the guest, and taken back. */
    {STEP_FAIL, DISKS, CRASH_SAME_PLACE, 0, {0}, 0},
    /* Some are in the guest, and not the others. */
    {STEP_RECOVER, MIXED, 0, STEP_ADD, {"sendmsg", 5, false, STEP_LINGER_MS}, 0},
    /* All are in the guest, and none in the record. */
    {STEP_RECOVER, MIXED, 0, STEP_ADD, {"rename", 2, false, 0}, 0},
    /* All that QEMU took are in the guest, and are to go: before that is in the journal, and before they are
     * asked for. */
    {STEP_RECOVER, DISKS, CRASH_SAME_PLACE, STEP_FAIL, {"rename", 2, false, 0}, 0},
    {STEP_RECOVER, DISKS, CRASH_SAME_PLACE, STEP_FAIL, {"rename", 3, false, 0}, 0},
    /* The guest has let go; the backends are there, or only the record still has them. */
    {STEP_RECOVER, DISKS, 0, STEP_REMOVE, {"sendmsg", 2, false, 0}, 0},
    {STEP_RECOVER, DISKS, 0, STEP_REMOVE, {"rename", 2, false, 0}, 0},
};

int main(void)
{
    crash_halts = true;
    return test_steps("qemu-crash-lists", operations, sizeof operations / sizeof *operations);
}
