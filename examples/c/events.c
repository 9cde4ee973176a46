#define _GNU_SOURCE
#include "events.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "report.h"

enum { WATCH_TICK_MS = 1000 };

enum status await_news(struct agent *agent, long long wait_ms)
{
    struct kvm_hotplug_error *error = NULL;
    struct pollfd news = {.fd = kvm_hotplug_get_fd(agent->guest, &error), .events = POLLIN};

    if (news.fd < 0)
        return report_error(error);
    if (poll(&news, 1, wait_ms > 0 ? (int)wait_ms : 0) < 0 && errno != EINTR) {
        fprintf(stderr, "agent: poll: %s\n", strerror(errno));
        return STATUS_FAILED;
    }
    /* Also without news: a guest that did not hear a request while it booted is asked again. */
    if (kvm_hotplug_process(agent->guest, 0, &error) < 0)
        return report_error(error);
    return STATUS_DONE;
}

int take_event(struct agent *agent, struct kvm_hotplug_event *event)
{
    struct kvm_hotplug_error *error = NULL;
    int got = kvm_hotplug_next_event(agent->guest, event, sizeof *event, &error);

    if (got < 0)
        report_error(error);
    return got < 0 ? -1 : got;
}

enum status print_events(struct agent *agent, FILE *to)
{
    struct kvm_hotplug_event event;
    int got;

    while ((got = take_event(agent, &event)) > 0)
        report_event(to, &event);
    fflush(to);
    return got < 0 ? STATUS_FAILED : STATUS_DONE;
}

enum status agent_watch(struct agent *agent)
{
    long long end = now_ms() + agent->options.timeout_ms;
    bool forever = agent->options.timeout_ms == 0;

    while (forever || now_ms() < end) {
        long long left = forever ? WATCH_TICK_MS : end - now_ms();

        if (await_news(agent, left < WATCH_TICK_MS ? left : WATCH_TICK_MS) != STATUS_DONE ||
            print_events(agent, stdout) != STATUS_DONE)
            return STATUS_FAILED;
    }
    return STATUS_DONE;
}
