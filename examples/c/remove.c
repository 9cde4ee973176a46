/* del: asks the guest to let a device go, and shows that it is waited for. */
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "events.h"
#include "report.h"

enum { TICK_MS = 100, REASON_MS = 200 };

/* How the wait ended; WAIT_ON while it has not. */
enum outcome { WAIT_ON, GONE, REFUSED, LATE, BROKEN };

/* The generation tells this attachment from an earlier or later one of the same id. */
static bool is_about(const struct kvm_hotplug_event *event, const struct kvm_hotplug_device *device)
{
    return strcmp(event->id, device->id) == 0 && event->generation == device->generation;
}

static enum outcome meaning_of(const struct kvm_hotplug_event *event)
{
    switch (event->event_type) {
    case KVM_HOTPLUG_EVENT_REMOVED:
    case KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST:
        return GONE;
    case KVM_HOTPLUG_EVENT_REFUSED:
        return REFUSED;
    default:
        return WAIT_ON;
    }
}

/* News about other devices is told, not swallowed. */
static enum outcome read_news(struct agent *agent, const struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_event event;
    enum outcome outcome = WAIT_ON;
    int got;

    while ((got = take_event(agent, &event)) > 0) {
        if (is_about(&event, device))
            outcome = meaning_of(&event);
        else
            report_event(stderr, &event);
    }
    return got < 0 ? BROKEN : outcome;
}

static enum outcome await_removal(struct agent *agent, const struct kvm_hotplug_device *device)
{
    uint32_t patience = agent->options.timeout_ms;
    long long end = now_ms() + (patience != 0 ? patience : KVM_HOTPLUG_DEFAULT_REMOVAL_TIMEOUT_MS);
    struct progress progress = progress_begin(&agent->terminal, "waiting for the guest to let go");
    enum outcome outcome = WAIT_ON;

    while (outcome == WAIT_ON) {
        long long left = end - now_ms();

        progress_tick(&progress);
        if (await_news(agent, left < TICK_MS ? left : TICK_MS) != STATUS_DONE)
            outcome = BROKEN;
        else
            outcome = read_news(agent, device);
        if (outcome == WAIT_ON && left <= 0)
            outcome = LATE;
    }
    progress_end(&progress);
    return outcome;
}

static enum status gone(const char *id)
{
    printf("%s is gone\n", id);
    return STATUS_DONE;
}

static enum status not_gone_yet(const struct kvm_hotplug_device *device)
{
    printf("%s is not gone yet: %s. Its backend stays; a later command finishes the removal.\n", device->id,
           device->reason_text);
    return STATUS_PENDING;
}

/* Once more, and waiting a moment: the library then looks into what keeps the guest. */
static enum status find_reason(struct agent *agent, const char *id)
{
    struct kvm_hotplug_removal removal = {.id = id, .timeout_ms = REASON_MS};
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_unplug(agent->guest, &removal, sizeof removal, &device, sizeof device, &error);

    if (answer < 0)
        return report_error(error);
    return answer == KVM_HOTPLUG_PENDING ? not_gone_yet(&device) : gone(id);
}

static enum status wait_for_guest(struct agent *agent, const struct kvm_hotplug_device *device)
{
    switch (await_removal(agent, device)) {
    case GONE:
        return gone(device->id);
    case REFUSED:
        fprintf(stderr, "agent: the guest refused to let %s go; it stays\n", device->id);
        return STATUS_FAILED;
    case LATE:
        return find_reason(agent, device->id);
    default:
        return STATUS_FAILED;
    }
}

enum status agent_del(struct agent *agent)
{
    const char *id = agent->options.device;
    struct kvm_hotplug_removal removal = {.id = id, .timeout_ms = agent->options.timeout_ms};
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;

    removal.flags = KVM_HOTPLUG_NO_WAIT;
    switch (kvm_hotplug_unplug(agent->guest, &removal, sizeof removal, &device, sizeof device, &error)) {
    case KVM_HOTPLUG_DONE:
        return gone(id);
    case KVM_HOTPLUG_ABSENT:
        printf("%s is not there\n", id);
        return STATUS_DONE;
    case KVM_HOTPLUG_AFTER_REBOOT:
        printf("%s goes with the next boot: %s\n", id, device.reason_text);
        return STATUS_AFTER_REBOOT;
    case KVM_HOTPLUG_PENDING:
        /* A guest that is paused, say, lets go of nothing: no use in waiting. */
        if (agent->options.no_wait || device.reason != KVM_HOTPLUG_REASON_NOT_AWAITED)
            return not_gone_yet(&device);
        return wait_for_guest(agent, &device);
    default:
        return report_error(error);
    }
}
