/* An agent is killed in the middle of something, and its guest is started anew by hand, with the same NIC
 * under another MAC address, before anybody opens it: what was meant for the QEMU that has ended is not
 * carried out on the fresh one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/arguments.h"
#include "support/files.h"
#include "support/library.h"
#include "support/restart.h"
#include "support/trace.h"

enum work { REMOVE, ASK, ADD, CHANGE, WORKS };

struct task {
    enum work work;
    struct cut cut;
    bool recorded; /* before the agent is killed */
};

static struct vm vm;
static const char mac[] = "52:54:00:00:00:09", other_mac[] = "52:54:00:00:00:0a";

static void succeed(int rc, int want)
{
    if (rc != want)
        exit(1);
}

static void add(void)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .mac = mac};

    succeed(kvmh_add_nic(vm.guest, &nic, NULL, NULL), KVM_HOTPLUG_ANSWER_DONE);
}

/* In the child, which is killed on the way. */
static void agent(void *argument)
{
    const struct task *task = argument;
    struct kvm_hotplug_del_options removal = {.id = "lan", .flags = KVM_HOTPLUG_NO_WAIT};

    trace_toggle();
    vm_open(&vm);
    trace_toggle();
    switch (task->work) {
    case ADD: add(); break;
    case CHANGE: succeed(kvm_hotplug_set_link(vm.guest, "lan", 0, 0, NULL), KVM_HOTPLUG_ANSWER_DONE); break;
    default: succeed(kvmh_del(vm.guest, &removal, NULL, NULL), KVM_HOTPLUG_ANSWER_PENDING); break;
    }
    _exit(0);
}

static void restarted(const struct task *task)
{
    struct arguments command = {.count = 0};
    struct kvm_hotplug_device nic = {.bus = "", .slot = 0};
    struct traced traced;
    char *before;

    memset(&vm, 0, sizeof vm);
    vm.qemu = qemu_compose(&(struct qemu_options){0}, &command);
    qemu_launch(vm.qemu, &(struct qemu_launch){.argv = (const char *const *)command.list});
    qemu_wait_firmware(vm.qemu, 0);
    snprintf(vm.path, sizeof vm.path, "%s/vm.runtime", vm.qemu->dir);
    works(kvmh_runtime_new(NULL, &vm.runtime, &failure));
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    kvm_runtime_free(vm.runtime);
    vm_open(&vm);
    vm_add_nic(&vm, "first");
    nic = vm_device(&vm, "first");
    answers(kvmh_del(vm.guest, &(struct kvm_hotplug_del_options){.id = "first", .flags = KVM_HOTPLUG_NO_WAIT}, NULL,
                     &failure),
            KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "first");
    if (task->recorded)
        add();
    vm_close(&vm);

    traced = trace(agent, (void *)task, &task->cut);
    CHECK(traced.killed == (task->cut.nth > 0));
    CHECK(vm_has_journal(&vm));

    restart_with_nic(vm.qemu, &command, &nic, other_mac);
    before = vm_picture(&vm);
    CHECK_PART(before, "lan");
    vm_open(&vm);
    CHECK_PICTURE(&vm, before);
    CHECK(!vm_has_journal(&vm));
    /* What was recorded is as the record says, and the guest's own NIC is nobody's. */
    CHECK(vm_records(&vm, "lan") == (task->work == CHANGE));
    /* QEMU since 7.2 refuses what it has been asked for already. */
    vm_observe(&vm, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"lan\"}}");
    vm_stop(&vm);
    free(before);
    arguments_free(&command);
}

int main(void)
{
    static const struct task tasks[] = {
        {REMOVE, {NULL, 0, false, 0}, true},
        /* The journal is there, and the request may be on its way. */
        {ASK, {"sendmsg", 1, false, 0}, true},
        /* In the guest, and not in the record. */
        {ADD, {"rename", 2, false, 0}, false},
        {CHANGE, {"rename", 2, false, 0}, true},
    };

    test_begin("qemu-restarted", 200);
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        restarted(&tasks[i]);
    return test_end();
}
