/* Removals that the guest cannot grant now: the answer is PENDING at once and says why, nothing behind the device is
 * touched, and when the guest goes on, an event arrives and everything is cleared. */
#include <stdio.h>
#include <string.h>

#include "support/agent.h"
#include "support/check.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/view.h"

enum { AT_ONCE_MS = 1000, GRANTED_MS = 40000 };

static char image[96];

static void add_both(struct agent *agent, struct kvm_hotplug_device *nic, struct kvm_hotplug_device *disk)
{
    char name[16];

    ok(add_nic(agent, &(struct kvm_hotplug_nic){0}, nic));
    ok(add_disk(agent, &(struct kvm_hotplug_disk){.path = image}, disk));
    view_nic(agent->qemu, nic, name);
    view_disk(agent->qemu, disk, name);
}

/* Asks with plenty of time, which is not used. */
static void pending_at_once(struct agent *agent, const char *id, uint32_t reason)
{
    long long start = now_ms();

    CHECK_NUMBER(unplug(agent, id, 20000), KVM_HOTPLUG_PENDING);
    CHECK(now_ms() - start < AT_ONCE_MS);
    CHECK_NUMBER(pending_reason(agent, id), reason);
}

static void all_there(struct agent *agent, const struct kvm_hotplug_device *nic, const struct kvm_hotplug_device *disk)
{
    struct qemu *qemu = agent->qemu;

    CHECK(hmp_contains(qemu, "info network", nic->id));
    CHECK(qmp_contains(qemu, "{\"execute\":\"query-named-block-nodes\"}", disk->id));
    CHECK(qmp_contains(qemu, "{\"execute\":\"query-pci\"}", nic->id));
    CHECK_NUMBER(recorded(agent), 2);
}

/* Two events in any order, and nothing left on the host's side. */
static void both_finish(struct agent *agent, const struct kvm_hotplug_device *nic, const struct kvm_hotplug_device *disk)
{
    struct kvm_hotplug_event events[2] = {0};
    int i;

    for (i = 0; i < 2; i++) {
        CHECK(next_event(agent, &events[i], GRANTED_MS));
        CHECK_NUMBER(events[i].event_type, KVM_HOTPLUG_EVENT_REMOVED);
    }
    CHECK(strcmp(events[0].id, events[1].id) != 0);
    check_gone(agent, nic->id);
    check_gone(agent, disk->id);
    CHECK_NUMBER(unplug(agent, nic->id, 1000), KVM_HOTPLUG_ABSENT);
    CHECK_NUMBER(recorded(agent), 0);
}

static void paused(struct agent *agent)
{
    struct kvm_hotplug_device nic, disk;

    add_both(agent, &nic, &disk);
    qmp(agent->qemu, "{\"execute\":\"stop\"}");
    pending_at_once(agent, nic.id, KVM_HOTPLUG_REASON_PAUSED);
    pending_at_once(agent, disk.id, KVM_HOTPLUG_REASON_PAUSED);
    pending_at_once(agent, disk.id, KVM_HOTPLUG_REASON_PAUSED);
    all_there(agent, &nic, &disk);
    qmp(agent->qemu, "{\"execute\":\"cont\"}");
    both_finish(agent, &nic, &disk);
    CHECK(view_is_gone(agent->qemu, &nic));
    CHECK(view_is_gone(agent->qemu, &disk));
}

/* Linux on q35 never hears of ACPI hotplug again after it was asleep (seen with QEMU 7.2, 10.0 and 11.1), so only a reset
 * takes the devices out. Until then they work. */
static void deaf_after_sleep(struct agent *agent, const struct kvm_hotplug_device *nic,
                             const struct kvm_hotplug_device *disk, const char *name)
{
    char console[96];
    long long end = now_ms() + 20000;

    /* Its serial port loses what is said to it before. */
    agent_path(agent, "console.log", console, sizeof console);
    while (!image_mentions(console, "awake again") && now_ms() < end)
        sleep_ms(10);
    CHECK_NUMBER(guest_does(agent->qemu, "cat /dev/%s >/dev/null", name), 0);
    qmp(agent->qemu, "{\"execute\":\"system_reset\"}");
    both_finish(agent, nic, disk);
}

/* A guest that had kept ghosts of the old devices would hang on the new ones. */
static void go_on(struct agent *agent, struct kvm_hotplug_device *nic, struct kvm_hotplug_device *disk)
{
    char name[16];

    both_finish(agent, nic, disk);
    CHECK(view_is_gone(agent->qemu, nic));
    CHECK(view_is_gone(agent->qemu, disk));
    add_both(agent, nic, disk);
    view_disk(agent->qemu, disk, name);
    CHECK_NUMBER(guest_does(agent->qemu, "cat /dev/%s >/dev/null", name), 0);
    ok(unplug(agent, nic->id, 0));
    ok(unplug(agent, disk->id, 0));
}

/* Waking up is a reset to QEMU, and a reset completes removals: a guest that were asked while it sleeps would lose the
 * devices without a chance to let go of them. */
static void asleep(struct agent *agent)
{
    struct kvm_hotplug_device nic, disk;
    char name[16];

    add_both(agent, &nic, &disk);
    view_disk(agent->qemu, &disk, name);
    CHECK_NUMBER(guest_does(agent->qemu, "(sleep 0.1; echo mem >/sys/power/state; "
                                          "echo '<0>awake again' >/dev/kmsg) >/dev/null 2>&1 &"), 0);
    CHECK(qmp_wait_event(agent->qemu, "SUSPEND", NULL, 20000) != NULL);
    pending_at_once(agent, nic.id, KVM_HOTPLUG_REASON_ASLEEP);
    pending_at_once(agent, disk.id, KVM_HOTPLUG_REASON_ASLEEP);
    all_there(agent, &nic, &disk);
    qmp(agent->qemu, "{\"execute\":\"system_wakeup\"}");
    if (agent->qemu->q35 && !has_native_hotplug(agent->qemu))
        deaf_after_sleep(agent, &nic, &disk, name);
    else
        go_on(agent, &nic, &disk);
}

int main(void)
{
    struct agent agent;

    test_begin("guest-pending", 200);
    agent_start(&agent, &(struct qemu_options){.guest = true});
    agent_path(&agent, "disk.img", image, sizeof image);
    image_raw(image, MEBIBYTE);
    paused(&agent);
    /* The last one: it may leave a reset guest. */
    asleep(&agent);
    agent_stop(&agent);
    return test_end();
}
