/* del: asks the guest to let a device go, and shows that it is waited for. */
#include <stdio.h>
#include <string.h>

#include "kvmctl.h"
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
static enum outcome read_news(struct ctl *ctl, const struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_event event;
    enum outcome outcome = WAIT_ON;
    int got;

    while ((got = take_event(ctl, &event)) > 0) {
        if (is_about(&event, device))
            outcome = meaning_of(&event);
        else
            report_event(stderr, &event);
    }
    return got < 0 ? BROKEN : outcome;
}

static enum outcome await_removal(struct ctl *ctl, const struct kvm_hotplug_device *device)
{
    uint32_t patience = ctl->options.timeout_ms;
    long long end = now_ms() + (patience != 0 ? patience : KVM_HOTPLUG_DEFAULT_REMOVAL_TIMEOUT_MS);
    struct progress progress = progress_begin(&ctl->terminal, "waiting for the guest to let go");
    enum outcome outcome = WAIT_ON;

    while (outcome == WAIT_ON) {
        long long left = end - now_ms();

        progress_tick(&progress);
        if (await_news(ctl, left < TICK_MS ? left : TICK_MS) != STATUS_DONE)
            outcome = BROKEN;
        else
            outcome = read_news(ctl, device);
        if (outcome == WAIT_ON && left <= 0)
            outcome = LATE;
    }
    progress_end(&progress);
    return outcome;
}

static enum status gone(const struct ctl *ctl, const char *id)
{
    if (ctl->options.json)
        report_answer(KVM_HOTPLUG_DONE, id, NULL);
    else
        printf("%s is gone\n", id);
    return STATUS_DONE;
}

static enum status not_gone_yet(const struct ctl *ctl, const struct kvm_hotplug_device *device)
{
    if (ctl->options.json) {
        report_answer(KVM_HOTPLUG_PENDING, device->id, device);
        return STATUS_PENDING;
    }
    printf("%s is not gone yet: %s. Its backend stays; a later command finishes the removal.\n", device->id,
           device->reason_text);
    return STATUS_PENDING;
}

static enum status refused(const struct ctl *ctl, const char *id)
{
    struct json json = json_begin(stdout);

    if (ctl->options.json) {
        json_object(&json, NULL);
        json_text(&json, "answer", "refused");
        json_text(&json, "id", id);
        json_end(&json);
    } else {
        fprintf(stderr, "kvmctl: the guest refused to let %s go; it stays\n", id);
    }
    return STATUS_FAILED;
}

/* Once more, and waiting a moment: the library then looks into what keeps the guest. */
static enum status find_reason(struct ctl *ctl, const char *id)
{
    struct kvm_hotplug_removal removal = {.id = id, .timeout_ms = REASON_MS};
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_unplug(ctl->guest, &removal, sizeof removal, &device, sizeof device, &error);

    if (answer < 0)
        return report_error(ctl, error);
    return answer == KVM_HOTPLUG_PENDING ? not_gone_yet(ctl, &device) : gone(ctl, id);
}

static enum status wait_for_guest(struct ctl *ctl, const struct kvm_hotplug_device *device)
{
    switch (await_removal(ctl, device)) {
    case GONE:
        return gone(ctl, device->id);
    case REFUSED:
        return refused(ctl, device->id);
    case LATE:
        return find_reason(ctl, device->id);
    default:
        return STATUS_FAILED;
    }
}

enum status ctl_del(struct ctl *ctl)
{
    const char *id = ctl->options.device;
    struct kvm_hotplug_removal removal = {.id = id, .timeout_ms = ctl->options.timeout_ms};
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;

    removal.flags = KVM_HOTPLUG_NO_WAIT | (ctl->options.live_only ? KVM_HOTPLUG_LIVE_ONLY : 0);
    switch (kvm_hotplug_unplug(ctl->guest, &removal, sizeof removal, &device, sizeof device, &error)) {
    case KVM_HOTPLUG_DONE:
        return gone(ctl, id);
    case KVM_HOTPLUG_ABSENT:
        if (ctl->options.json)
            report_answer(KVM_HOTPLUG_ABSENT, id, NULL);
        else
            printf("%s is not there\n", id);
        return STATUS_DONE;
    case KVM_HOTPLUG_AFTER_REBOOT:
        if (ctl->options.json)
            report_answer(KVM_HOTPLUG_AFTER_REBOOT, id, &device);
        else
            printf("%s goes with the next boot: %s\n", id, device.reason_text);
        return STATUS_AFTER_REBOOT;
    case KVM_HOTPLUG_PENDING:
        /* A guest that is paused, say, lets go of nothing: no use in waiting. */
        if (ctl->options.no_wait || device.reason != KVM_HOTPLUG_REASON_NOT_AWAITED)
            return not_gone_yet(ctl, &device);
        return wait_for_guest(ctl, &device);
    default:
        return report_error(ctl, error);
    }
}
