/* A node agent in small: one thread, one epoll, one guest, and no call that waits for QEMU or the guest.
 *
 *     loop RUNTIME QMP
 *
 * Reads commands from stdin: "nic [BRIDGE]", "disk PATH", "del ID", "list", "quit"; says on stdout what became of them and
 * what else happens to the guest. Neither QEMU nor the guest is waited for: the library's descriptor tells when QEMU has
 * added something, and when the guest has granted a removal. A command that comes while QEMU is still at an add waits for it;
 * for a QEMU that hangs, every call has a timeout.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <kvm_hotplug.h>

enum { TIMEOUT_MS = 2000, TICK_SECONDS = 5, LINE = 4352 };

enum source { GUEST, TICK, SIGNAL, INPUT };

struct agent {
    struct kvm_runtime *runtime;
    struct kvm_hotplug *guest;
    int loop;
    bool over;
    char line[LINE];
    size_t length;
};

static void complain(struct kvm_hotplug_error *error)
{
    printf("failed: %s\n", kvm_hotplug_error_message(error));
    kvm_hotplug_error_free(error);
}

static void show_event(const struct kvm_hotplug_event *event)
{
    switch (event->event_type) {
    case KVM_HOTPLUG_EVENT_REMOVED:
    case KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST: printf("%s is gone\n", event->id); break;
    case KVM_HOTPLUG_EVENT_ADDED: printf("%s is in the guest\n", event->id); break;
    case KVM_HOTPLUG_EVENT_ADD_FAILED: printf("failed: %s\n", event->text); break;
    case KVM_HOTPLUG_EVENT_REFUSED: printf("%s stays: the guest refused\n", event->id); break;
    default:
        /* Kinds that this program does not know have a text as well. */
        printf("event %u %s: %s\n", event->event_type, event->id, event->text);
    }
}

/* Whenever the descriptor is readable, and every few seconds besides: requests that a booting guest did not hear are
 * repeated then. */
static void process(struct agent *agent)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_hotplug_event event;

    /* QEMU may have ended, or be about to come back: what it said last is fetched all the same. */
    if (kvm_hotplug_process(agent->guest, TIMEOUT_MS, &error) < 0)
        complain(error);
    error = NULL;
    while (kvmh_next_event(agent->guest, &event, &error) > 0)
        show_event(&event);
    kvm_hotplug_error_free(error);
}

static void plugged(int answer, const struct kvm_hotplug_device *device, struct kvm_hotplug_error *error)
{
    switch (answer) {
    case KVM_HOTPLUG_ANSWER_DONE: printf("%s is in the guest\n", device->id); break;
    case KVM_HOTPLUG_ANSWER_PENDING: printf("%s is on its way\n", device->id); break;
    case KVM_HOTPLUG_ANSWER_AFTER_REBOOT: printf("%s is recorded for the next boot\n", device->id); break;
    default: complain(error);
    }
}

static void add_nic(struct agent *agent, const char *bridge)
{
    struct kvm_hotplug_nic nic = {.bridge = *bridge != '\0' ? bridge : NULL,
                                  .timeout_ms = TIMEOUT_MS,
                                  .flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = kvmh_add_nic(agent->guest, &nic, &device, &error);

    plugged(answer, &device, error);
}

static void add_disk(struct agent *agent, const char *path)
{
    struct kvm_hotplug_disk disk = {.path = path, .timeout_ms = TIMEOUT_MS, .flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    int answer = kvmh_add_disk(agent->guest, &disk, &device, &error);

    plugged(answer, &device, error);
}

static void del(struct agent *agent, const char *id)
{
    struct kvm_hotplug_del_options removal = {.id = id, .timeout_ms = TIMEOUT_MS, .flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_error *error = NULL;

    switch (kvmh_del(agent->guest, &removal, NULL, &error)) {
    case KVM_HOTPLUG_ANSWER_DONE: printf("%s is gone\n", id); break;
    case KVM_HOTPLUG_ANSWER_ABSENT: printf("%s is not there\n", id); break;
    case KVM_HOTPLUG_ANSWER_AFTER_REBOOT: printf("%s goes with the next boot\n", id); break;
    case KVM_HOTPLUG_ANSWER_PENDING: printf("%s is asked to leave\n", id); break;
    default: complain(error);
    }
}

static void list(struct agent *agent)
{
    struct kvm_hotplug_device devices[64];
    struct kvm_hotplug_error *error = NULL;
    size_t count = 0, i;

    if (kvmh_list(agent->guest, devices, 64, &count, &error) < 0) {
        complain(error);
        return;
    }
    printf("%zu devices\n", count);
    for (i = 0; i < count && i < 64; i++)
        printf("  %s at %s slot %u\n", devices[i].id, devices[i].bus, devices[i].slot);
}

static void command(struct agent *agent, char *line)
{
    char *argument = strchr(line, ' ');

    if (argument != NULL)
        *argument++ = '\0';
    else
        argument = line + strlen(line);
    if (strcmp(line, "nic") == 0)
        add_nic(agent, argument);
    else if (strcmp(line, "disk") == 0)
        add_disk(agent, argument);
    else if (strcmp(line, "del") == 0)
        del(agent, argument);
    else if (strcmp(line, "list") == 0)
        list(agent);
    else if (strcmp(line, "quit") == 0)
        agent->over = true;
    else
        printf("there is no command \"%s\"\n", line);
}

static void read_input(struct agent *agent)
{
    ssize_t got = read(STDIN_FILENO, agent->line + agent->length, sizeof agent->line - 1 - agent->length);
    char *start = agent->line, *end;

    if (got <= 0) {
        agent->over = got == 0 || (errno != EAGAIN && errno != EINTR);
        return;
    }
    agent->length += (size_t)got;
    agent->line[agent->length] = '\0';
    while (!agent->over && (end = strchr(start, '\n')) != NULL) {
        *end = '\0';
        command(agent, start);
        start = end + 1;
    }
    agent->length -= (size_t)(start - agent->line);
    memmove(agent->line, start, agent->length);
    /* No command is that long. */
    if (agent->length == sizeof agent->line - 1)
        agent->length = 0;
}

static bool watch(struct agent *agent, int fd, enum source source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = source};

    return fd >= 0 && epoll_ctl(agent->loop, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool prepare(struct agent *agent, int *tick, int *signals)
{
    struct itimerspec every = {.it_interval.tv_sec = TICK_SECONDS, .it_value.tv_sec = TICK_SECONDS};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    agent->loop = epoll_create1(EPOLL_CLOEXEC);
    *tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    *signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return agent->loop >= 0 && timerfd_settime(*tick, 0, &every, NULL) == 0 &&
           watch(agent, kvm_hotplug_get_fd(agent->guest, NULL), GUEST) && watch(agent, *tick, TICK) &&
           watch(agent, *signals, SIGNAL) && watch(agent, STDIN_FILENO, INPUT);
}

static void run(struct agent *agent, int tick)
{
    struct epoll_event event;
    uint64_t expired;

    while (!agent->over) {
        if (epoll_wait(agent->loop, &event, 1, -1) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        switch (event.data.u32) {
        case TICK:
            if (read(tick, &expired, sizeof expired) < 0)
                break;
            process(agent);
            break;
        case GUEST: process(agent); break;
        case INPUT: read_input(agent); break;
        default: agent->over = true;
        }
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct agent agent = {.loop = -1};
    struct kvm_hotplug_error *error = NULL;
    int tick = -1, signals = -1, status = 1;

    if (argc != 3) {
        fputs("usage: loop RUNTIME QMP\n", stderr);
        return 2;
    }
    if (kvm_runtime_load(argv[1], &agent.runtime, &error) < 0 ||
        kvm_hotplug_open(agent.runtime, argv[2], TIMEOUT_MS, &agent.guest, &error) < 0) {
        complain(error);
    } else if (!prepare(&agent, &tick, &signals)) {
        perror("loop");
    } else {
        puts("ready");
        fflush(stdout);
        /* What opening has settled is news as well. */
        process(&agent);
        fflush(stdout);
        run(&agent, tick);
        status = 0;
    }
    kvm_hotplug_close(agent.guest);
    kvm_runtime_free(agent.runtime);
    return status;
}
