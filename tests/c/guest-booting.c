/* A removal asked for before the guest can hear it: the answer is PENDING and says so, or, with enough time, the request
 * is repeated and granted once the guest is up. */
#include <stdio.h>

#include "support/agent.h"
#include "support/check.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/view.h"

enum { BOOT_MS = 60000, GRANTED_MS = 60000 };

/* QEMU 5.2 refuses to ask a second time ("already in the process of unplug"), and with PCI Express's own hotplug the first
 * request is lost on a guest that boots; not even a reset takes the device out. It stays as it is, and is said to. */
static void never_granted(struct agent *agent, const struct kvm_hotplug_device *devices)
{
    int i;

    CHECK_NUMBER(unplug(agent, devices[1].id, 12000), KVM_HOTPLUG_PENDING);
    CHECK_NUMBER(recorded(agent), 2);
    for (i = 0; i < 2; i++) {
        CHECK(qmp_contains(agent->qemu, "{\"execute\":\"query-pci\"}", devices[i].id));
        CHECK_NUMBER(kvm_hotplug_get_device(agent->guest, devices[i].id, NULL, 0, NULL), KVM_HOTPLUG_PENDING);
    }
}

static void granted_after_boot(struct agent *agent, const struct kvm_hotplug_device *devices)
{
    long long start = now_ms();
    int answer;

    ok(unplug(agent, devices[1].id, GRANTED_MS));
    answer = unplug(agent, devices[0].id, GRANTED_MS);
    CHECK(answer == KVM_HOTPLUG_DONE || answer == KVM_HOTPLUG_ABSENT);
    printf("both gone after %lld ms of booting\n", now_ms() - start);
    guest_wait_boot(agent->qemu, BOOT_MS);
    CHECK(view_is_gone(agent->qemu, &devices[0]));
    CHECK(view_is_gone(agent->qemu, &devices[1]));
    check_gone(agent, devices[0].id);
    check_gone(agent, devices[1].id);
    CHECK_NUMBER(recorded(agent), 0);
}

static void ask_too_early(struct agent *agent, struct kvm_hotplug_device *devices)
{
    uint32_t reason;

    CHECK_NUMBER(unplug(agent, devices[0].id, 20000), KVM_HOTPLUG_PENDING);
    CHECK_NUMBER(pending_reason(agent, devices[0].id), KVM_HOTPLUG_REASON_NOT_STARTED);
    qmp(agent->qemu, "{\"execute\":\"cont\"}");
    CHECK_NUMBER(unplug(agent, devices[1].id, 50), KVM_HOTPLUG_PENDING);
    /* The firmware sets up what it finds, so whether the guest has booted cannot be told for long. */
    reason = pending_reason(agent, devices[1].id);
    CHECK(reason == KVM_HOTPLUG_REASON_NOT_BOOTED || reason == KVM_HOTPLUG_REASON_DEADLINE);
}

int main(void)
{
    struct kvm_hotplug_device devices[2];
    struct agent agent;
    char image[96];

    test_begin("guest-booting", 200);
    agent_start(&agent, &(struct qemu_options){.guest = true, .paused = true});
    agent_path(&agent, "disk.img", image, sizeof image);
    image_raw(image, MEBIBYTE);
    ok(add_nic(&agent, &(struct kvm_hotplug_nic){0}, &devices[0]));
    ok(add_disk(&agent, &(struct kvm_hotplug_disk){.path = image}, &devices[1]));
    ask_too_early(&agent, devices);
    if (has_native_hotplug(agent.qemu))
        never_granted(&agent, devices);
    else
        granted_after_boot(&agent, devices);
    agent_stop(&agent);
    return test_end();
}
