#include "plug.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "guest.h"

enum { TICK_MS = 1000, GRANTED_MS = 60000 };

int add_nic(struct vm *vm, const struct kvm_hotplug_nic *nic, struct kvm_hotplug_device *ret_device)
{
    return kvmh_add_nic(vm->guest, nic, ret_device, &failure);
}

int add_disk(struct vm *vm, const struct kvm_hotplug_disk *disk, struct kvm_hotplug_device *ret_device)
{
    return kvmh_add_disk(vm->guest, disk, ret_device, &failure);
}

int add_controller(struct vm *vm, const struct kvm_hotplug_controller *controller,
                   struct kvm_hotplug_device *ret_device)
{
    return kvmh_add_controller(vm->guest, controller, ret_device, &failure);
}

int unplug(struct vm *vm, const char *id, uint32_t timeout_ms)
{
    bool generous = timeout_ms == 0 && vm->qemu->guest;
    struct kvm_hotplug_del_options removal = {.id = id, .timeout_ms = generous ? GRANTED_MS : timeout_ms};
    int answer = kvmh_del(vm->guest, &removal, NULL, &failure);

    if (answer == KVM_HOTPLUG_ANSWER_PENDING && generous)
        say_what_the_guest_does(vm->qemu);
    return answer;
}

void request_unplug(struct vm *vm, const char *id)
{
    struct kvm_hotplug_del_options removal = {.id = id, .flags = KVM_HOTPLUG_NO_WAIT};

    answers(kvmh_del(vm->guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
}

void unplug_by_reset(struct vm *vm, const char *id)
{
    request_unplug(vm, id);
    vm_reset(vm);
    vm_await(vm, KVM_HOTPLUG_EVENT_REMOVED, id);
}

void say_what_the_guest_does(struct qemu *qemu)
{
    static const char *const questions[] = {
        "{\"execute\":\"query-status\"}",
        "{\"execute\":\"query-pci\"}",
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info registers -a\"}}",
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info pic\"}}",
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info lapic\"}}",
    };
    static char text[32768];
    size_t i;

    for (i = 0; i < sizeof questions / sizeof *questions; i++)
        fprintf(stderr, "%s: %s\n", questions[i], qmp(qemu, questions[i]));
    guest_run(qemu,
              "dmesg | tail -n 40; grep -i acpi /proc/interrupts; grep . /sys/firmware/acpi/interrupts/gpe0[0-3]; "
              "for p in /proc/[0-9]*; do cat $p/comm $p/stack; done",
              text, sizeof text);
    fprintf(stderr, "%s\n", text);
}

bool next_event(struct vm *vm, struct kvm_hotplug_event *event, int timeout_ms)
{
    long long end = now_ms() + timeout_ms;

    while (now_ms() < end) {
        if (vm_next_event(vm, event, ms_until(end) < TICK_MS ? ms_until(end) : TICK_MS))
            return true;
        if (kvm_hotplug_process(vm->guest, 0, &failure) < 0)
            FAIL("kvm_hotplug_process: %s", kvm_hotplug_error_message(failure));
    }
    return false;
}

void expect_event(struct vm *vm, uint32_t type, const char *id, int timeout_ms)
{
    struct kvm_hotplug_event event = {0};

    if (!next_event(vm, &event, timeout_ms))
        FAIL("no event for %s within %d ms", id, timeout_ms);
    if (event.event_type != type || strcmp(event.id, id) != 0)
        FAIL("event %u for \"%s\" (%s), not %u for %s", event.event_type, event.id, event.text, type, id);
    test_count_check();
}

uint32_t pending_reason(struct vm *vm, const char *id)
{
    struct kvm_hotplug_device device = vm_device(vm, id);

    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_PENDING);
    return device.reason;
}

size_t recorded(const struct vm *vm)
{
    struct kvm_runtime *copy = NULL;
    size_t count = 0;

    works(kvm_runtime_load_readonly(vm->path, &copy, &failure));
    works(kvmh_runtime_list(copy, NULL, 0, &count, &failure));
    kvm_runtime_free(copy);
    return count;
}

void check_gone(struct vm *vm, const char *id)
{
    struct qemu *qemu = vm->qemu;
    char quoted[48];

    snprintf(quoted, sizeof quoted, "\"%s\"", id);
    CHECK(!qmp_contains(qemu, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}", quoted));
    CHECK(!qmp_contains(qemu, "{\"execute\":\"query-pci\"}", quoted));
    CHECK(!qmp_contains(qemu, "{\"execute\":\"query-named-block-nodes\"}", quoted));
    CHECK(!qmp_contains(qemu, "{\"execute\":\"query-fdsets\"}", id));
    CHECK(!hmp_contains(qemu, "info network", id));
    CHECK(!vm_records(vm, id));
    CHECK(!vm_journal_contains(vm, quoted));
    answers(kvmh_get_device(vm->guest, id, NULL, &failure), KVM_HOTPLUG_STATE_ABSENT);
}

bool hmp_contains(struct qemu *qemu, const char *command, const char *part)
{
    char json[256];

    snprintf(json, sizeof json, "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}",
             command);
    return strstr(qmp(qemu, json), part) != NULL;
}

bool has_object(struct qemu *qemu, const char *name)
{
    char part[64];

    snprintf(part, sizeof part, "\"name\": \"%s\"", name);
    return qmp_contains(qemu, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/objects\"}}", part);
}
