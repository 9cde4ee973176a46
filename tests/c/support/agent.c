#include "agent.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"

enum { TICK_MS = 1000 };

/* Prints and frees an error; returns what it got, so that calls can be wrapped in it. */
static int told(const char *call, int answer, struct kvm_hotplug_error *error)
{
    if (answer < 0)
        fprintf(stderr, "%s: %s\n", call, kvm_hotplug_error_message(error));
    kvm_hotplug_error_free(error);
    return answer;
}

void agent_open(struct agent *agent, struct qemu *qemu)
{
    struct kvm_hotplug_error *error = NULL;

    *agent = (struct agent){.qemu = qemu};
    agent_path(agent, "guest.runtime", agent->record, sizeof agent->record);
    ok(told("new", kvm_runtime_new(NULL, 0, &agent->runtime, &error), error));
    ok(told("save", kvm_runtime_save(agent->runtime, agent->record, &error), error));
    ok(told("open", kvm_hotplug_open(agent->runtime, qemu->qmp_path, 0, &agent->guest, &error), error));
}

void agent_start(struct agent *agent, const struct qemu_options *options)
{
    agent_open(agent, qemu_start(options));
}

void agent_stop(struct agent *agent)
{
    kvm_hotplug_close(agent->guest);
    kvm_runtime_free(agent->runtime);
    qemu_stop(agent->qemu);
    *agent = (struct agent){0};
}

int add_nic(struct agent *agent, const struct kvm_hotplug_nic *nic, struct kvm_hotplug_device *ret_device)
{
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_add_nic(agent->guest, nic, sizeof *nic, ret_device, sizeof *ret_device, &error);

    return told("add_nic", answer, error);
}

int add_disk(struct agent *agent, const struct kvm_hotplug_disk *disk, struct kvm_hotplug_device *ret_device)
{
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_add_disk(agent->guest, disk, sizeof *disk, ret_device, sizeof *ret_device, &error);

    return told("add_disk", answer, error);
}

int unplug(struct agent *agent, const char *id, uint32_t timeout_ms)
{
    struct kvm_hotplug_removal removal = {.id = id, .timeout_ms = timeout_ms};
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_unplug(agent->guest, &removal, sizeof removal, NULL, 0, &error);

    return told("unplug", answer, error);
}

/* Now and then also without news, as agents do: process() repeats requests that the guest may not have heard. */
bool next_event(struct agent *agent, struct kvm_hotplug_event *event, int timeout_ms)
{
    struct pollfd news = {.fd = kvm_hotplug_get_fd(agent->guest, NULL), .events = POLLIN};
    long long end = now_ms() + timeout_ms;
    struct kvm_hotplug_error *error = NULL;

    while (now_ms() < end) {
        poll(&news, 1, ms_until(end) < TICK_MS ? ms_until(end) : TICK_MS);
        CHECK(told("process", kvm_hotplug_process(agent->guest, 0, &error), error) >= 0);
        if (kvm_hotplug_next_event(agent->guest, event, sizeof *event, NULL) == 1)
            return true;
    }
    return false;
}

void expect_event(struct agent *agent, uint32_t type, const char *id, int timeout_ms)
{
    struct kvm_hotplug_event event = {0};

    if (!next_event(agent, &event, timeout_ms))
        FAIL("no event for %s within %d ms", id, timeout_ms);
    if (event.event_type != type || strcmp(event.id, id) != 0)
        FAIL("event %u for \"%s\" (%s), not %u for %s", event.event_type, event.id, event.text, type, id);
}

uint32_t pending_reason(struct agent *agent, const char *id)
{
    struct kvm_hotplug_device device = {0};

    CHECK_NUMBER(kvm_hotplug_get_device(agent->guest, id, &device, sizeof device, NULL), KVM_HOTPLUG_PENDING);
    return device.reason;
}

size_t recorded(const struct agent *agent)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *copy = NULL;
    size_t count = 0;

    ok(told("read", kvm_runtime_read(agent->record, &copy, &error), error));
    ok(told("list", kvm_runtime_list(copy, NULL, 0, 0, &count, &error), error));
    kvm_runtime_free(copy);
    return count;
}

static bool file_names(const char *path, const char *text)
{
    char content[16384];
    FILE *file = fopen(path, "r");
    size_t size;

    if (file == NULL)
        return false;
    size = fread(content, 1, sizeof content - 1, file);
    content[size] = '\0';
    fclose(file);
    return strstr(content, text) != NULL;
}

static bool in_files(const struct agent *agent, const char *id)
{
    char journal[128];
    char quoted[48];

    snprintf(journal, sizeof journal, "%s.journal", agent->record);
    snprintf(quoted, sizeof quoted, "\"%s\"", id);
    return file_names(agent->record, quoted) || file_names(journal, quoted);
}

void check_gone(struct agent *agent, const char *id)
{
    struct qemu *qemu = agent->qemu;
    char quoted[48];

    snprintf(quoted, sizeof quoted, "\"%s\"", id);
    CHECK(!qmp_contains(qemu, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}", quoted));
    CHECK(!qmp_contains(qemu, "{\"execute\":\"query-pci\"}", quoted));
    CHECK(!qmp_contains(qemu, "{\"execute\":\"query-named-block-nodes\"}", quoted));
    CHECK(!qmp_contains(qemu, "{\"execute\":\"query-fdsets\"}", id));
    CHECK(!hmp_contains(qemu, "info network", id));
    CHECK(!in_files(agent, id));
    CHECK_NUMBER(kvm_hotplug_get_device(agent->guest, id, NULL, 0, NULL), KVM_HOTPLUG_ABSENT);
}

void agent_path(const struct agent *agent, const char *name, char *path, size_t size)
{
    int length = snprintf(path, size, "%s/%s", agent->qemu->dir, name);

    if (length < 0 || (size_t)length >= size)
        FAIL("path too long: %s/%s", agent->qemu->dir, name);
}

bool has_native_hotplug(struct qemu *qemu)
{
    return qemu->q35 && qmp_contains(qemu, "{\"execute\":\"query-version\"}", "\"major\":5}");
}

bool hmp_contains(struct qemu *qemu, const char *command, const char *part)
{
    char json[256];

    snprintf(json, sizeof json, "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}", command);
    return strstr(qmp(qemu, json), part) != NULL;
}
