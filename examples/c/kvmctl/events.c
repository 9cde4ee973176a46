#define _GNU_SOURCE
#include "events.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "report.h"

enum { WATCH_TICK_MS = 1000 };

enum status await_news(struct ctl *ctl, long long wait_ms)
{
    struct kvm_hotplug_error *error = NULL;
    struct pollfd news = {.fd = kvm_hotplug_get_fd(ctl->guest, &error), .events = POLLIN};

    if (news.fd < 0)
        return report_error(ctl, error);
    if (poll(&news, 1, wait_ms > 0 ? (int)wait_ms : 0) < 0 && errno != EINTR)
        return report_failure(ctl, KVM_HOTPLUG_ERROR_HOST, errno, "wait for the guest: %s", strerror(errno));
    /* Also without news: a guest that did not hear a request while it booted is asked again. */
    if (kvm_hotplug_process(ctl->guest, 0, &error) < 0)
        return report_error(ctl, error);
    return STATUS_DONE;
}

int take_event(struct ctl *ctl, struct kvm_hotplug_event *event)
{
    struct kvm_hotplug_error *error = NULL;
    int got = kvm_hotplug_next_event(ctl->guest, event, sizeof *event, &error);

    if (got < 0)
        report_error(ctl, error);
    return got < 0 ? -1 : got;
}

/* A list says by itself which devices are on their way out. */
static bool is_told_anyway(const struct ctl *ctl, const struct kvm_hotplug_event *event)
{
    return ctl->options.command == COMMAND_LIST && event->event_type == KVM_HOTPLUG_EVENT_PENDING;
}

enum status print_events(struct ctl *ctl, FILE *to)
{
    struct kvm_hotplug_event event;
    int got;

    while ((got = take_event(ctl, &event)) > 0)
        if (!is_told_anyway(ctl, &event))
            report_event(ctl, to, &event);
    fflush(to);
    return got < 0 ? STATUS_FAILED : STATUS_DONE;
}

/* One event as text or as a line of JSON; how many there were, negative for a failure. The fixed struct has not room for
 * all of a QMP event. */
static int show_event(struct ctl *ctl)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_hotplug_event event;
    char *text = NULL;
    int got;

    if (!ctl->options.json) {
        got = take_event(ctl, &event);
        if (got > 0)
            report_event(ctl, stdout, &event);
        return got;
    }
    got = kvm_hotplug_next_event_json(ctl->guest, &text, &error);
    if (got < 0)
        report_error(ctl, error);
    else if (got > 0)
        puts(text);
    kvm_hotplug_text_free(text);
    return got;
}

/* False when enough were shown. */
static bool show_events(struct ctl *ctl, uint32_t *left)
{
    bool counted = ctl->options.count != 0;

    while (!counted || *left > 0) {
        if (show_event(ctl) <= 0)
            break;
        if (counted)
            --*left;
    }
    fflush(stdout);
    return !counted || *left > 0;
}

enum status ctl_watch(struct ctl *ctl)
{
    long long end = now_ms() + ctl->options.timeout_ms;
    bool forever = ctl->options.timeout_ms == 0;
    struct kvm_hotplug_error *error = NULL;
    uint32_t left = ctl->options.count;

    if (ctl->options.qmp_events && kvm_hotplug_forward_qmp_events(ctl->guest, 1, &error) < 0)
        return report_error(ctl, error);
    while (show_events(ctl, &left) && (forever || now_ms() < end)) {
        long long wait = forever ? WATCH_TICK_MS : end - now_ms();

        /* The last words of a QEMU that ends are shown all the same. */
        if (await_news(ctl, wait < WATCH_TICK_MS ? wait : WATCH_TICK_MS) != STATUS_DONE) {
            show_events(ctl, &left);
            return STATUS_FAILED;
        }
    }
    return STATUS_DONE;
}
