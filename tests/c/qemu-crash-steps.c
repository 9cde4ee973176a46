/* An agent is killed at every step of every operation, once each; the next one must find everything in order.
 *
 * A step is a system call with which the library changes something. For each operation, a child
 * process does it and is killed just before its first step, then before its second, until it comes to its end. Where it waits
 * for QEMU in between it is killed as well: at once, and when QEMU has got on with what it was sent. The agent that finishes
 * or undoes what a killed one has left is killed at each of its own steps, too.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/crash.h"
#include "support/clock.h"
#include "support/trace.h"

enum { MOST_STEPS = 400, LINGER_MS = 10, EVENT_MS = 10000, AGAIN_MS = 40 };

enum verb { ADD, ASK, REMOVE, RECOVER };

static const char *const verbs[] = {"add", "ask for", "remove", "recover from"};

struct operation {
    enum verb verb;
    enum crash_device which;
    /* RECOVER: from this operation, killed there. */
    enum verb interrupted;
    struct cut cut;
};

static const struct operation operations[] = {
    {ADD, CRASH_NIC, 0, {0}},
    {ADD, CRASH_WIDE_NIC, 0, {0}},
    {ADD, CRASH_RAW, 0, {0}},
    {ADD, CRASH_CHAIN, 0, {0}},
    {ADD, CRASH_READ_ONLY, 0, {0}},
    {ASK, CRASH_NIC, 0, {0}},
    {ASK, CRASH_CHAIN, 0, {0}},
    {REMOVE, CRASH_WIDE_NIC, 0, {0}},
    {REMOVE, CRASH_RAW, 0, {0}},
    {REMOVE, CRASH_CHAIN, 0, {0}},
    /* With the controller that it needs, and that stays when it goes. */
    {ADD, CRASH_SCSI, 0, {0}},
    {REMOVE, CRASH_SCSI, 0, {0}},
    /* Descriptors have been sent, and no more. */
    {RECOVER, CRASH_WIDE_NIC, ADD, {"sendmsg", 3, false, LINGER_MS}},
    {RECOVER, CRASH_CHAIN, ADD, {"sendmsg", 2, false, LINGER_MS}},
    /* The device is in the guest and not in the record: the second file that is put in place is the record. */
    {RECOVER, CRASH_WIDE_NIC, ADD, {"rename", 2, false, 0}},
    {RECOVER, CRASH_CHAIN, ADD, {"rename", 2, false, 0}},
    /* The guest has let go; what stood behind the device is there, or only the record still has it. */
    {RECOVER, CRASH_WIDE_NIC, REMOVE, {"sendmsg", 2, false, 0}},
    {RECOVER, CRASH_CHAIN, REMOVE, {"sendmsg", 2, false, 0}},
    {RECOVER, CRASH_WIDE_NIC, REMOVE, {"rename", 2, false, 0}},
    {RECOVER, CRASH_CHAIN, REMOVE, {"rename", 2, false, 0}},
    /* Controller and disk are there, or the controller alone may be. */
    {RECOVER, CRASH_SCSI, ADD, {"rename", 2, false, 0}},
    {RECOVER, CRASH_SCSI, ADD, {"sendmsg", 2, false, LINGER_MS}},
    /* The guest may have been asked. */
    {RECOVER, CRASH_RAW, ASK, {"rename", 1, false, 0}},
    {RECOVER, CRASH_RAW, ASK, {"sendmsg", 2, true, LINGER_MS}},
};

struct task {
    struct scene *scene;
    enum verb verb;
    enum crash_device which;
};

static void succeed(int rc, int want)
{
    if (rc != want) {
        dprintf(STDERR_FILENO, "the agent's call answered %d, not %d: %s\n", rc, want,
                rc < 0 ? kvm_hotplug_error_message(failure) : "");
        _exit(1);
    }
}

static void ask(struct scene *scene, enum crash_device which)
{
    int answer = scene_ask(scene, which);

    /* A SCSI disk goes without the guest, and firmware that runs may let go of anything at once. */
    if (answer != KVM_HOTPLUG_DONE)
        succeed(answer, KVM_HOTPLUG_PENDING);
}

/* Until the guest has let go and the library has cleared up. Only the library's own steps are counted. */
static void wait_until_gone(struct scene *scene, enum crash_device which)
{
    long long end = now_ms() + test_patience(EVENT_MS), again = 0;
    struct kvm_hotplug_device device;

    trace_toggle();
    while (kvm_hotplug_get_device(scene->vm.guest, crash_ids[which], &device, sizeof device, NULL) != KVM_HOTPLUG_ABSENT) {
        if (now_ms() >= end)
            FAIL("the guest does not let go of %s", crash_ids[which]);
        if (now_ms() >= again) {
            scene_let_go(scene);
            again = now_ms() + test_patience(AGAIN_MS);
        }
        sleep_ms(1);
        trace_toggle();
        int events = kvm_hotplug_process(scene->vm.guest, 0, &failure);
        trace_toggle();
        succeed(events < 0 ? events : 0, 0);
    }
    trace_toggle();
}

static void do_task(void *argument)
{
    const struct task *task = argument;
    struct scene *scene = task->scene;

    /* Opening is what an agent that recovers does, and there every step of it is tried. */
    if (task->verb != RECOVER)
        trace_toggle();
    succeed(scene_open(scene), 0);
    if (task->verb != RECOVER)
        trace_toggle();
    if (task->verb == ADD)
        succeed(scene_add(scene, task->which), 0);
    if (task->verb == ASK || task->verb == REMOVE)
        ask(scene, task->which);
    if (task->verb == REMOVE)
        wait_until_gone(scene, task->which);
    vm_close(&scene->vm);
}

/* How the device was before the operation. */
static int state_before(enum verb verb)
{
    return verb == ADD ? KVM_HOTPLUG_ABSENT : KVM_HOTPLUG_DONE;
}

/* Whether an operation, cut off or not, may have left the device so. Who asks may be given at once. */
static bool may_be(enum verb verb, int state, bool cut_off)
{
    if (state == state_before(verb))
        return cut_off;
    if (verb == ADD)
        return state == KVM_HOTPLUG_DONE;
    return state == KVM_HOTPLUG_ABSENT || (state == KVM_HOTPLUG_PENDING && (cut_off || verb == ASK));
}

/* What the next agent says it has done agrees with what there is. A device that is asked for while the firmware runs may go
 * at once. */
static void check_events(struct scene *scene, enum crash_device which, int state)
{
    struct kvm_hotplug_event event = {0};
    uint32_t last = 0;

    while (kvm_hotplug_next_event(scene->vm.guest, &event, sizeof event, NULL) == 1) {
        /* Resets are this test's; a controller comes and goes as its disk needs it. */
        if (event.event_type == KVM_HOTPLUG_EVENT_RESET ||
            (which == CRASH_SCSI && event.device_type == KVM_HOTPLUG_CONTROLLER))
            continue;
        CHECK_TEXT(event.id, crash_ids[which]);
        CHECK(event.generation > 0);
        CHECK(last == 0 || (last == KVM_HOTPLUG_EVENT_PENDING && event.event_type == KVM_HOTPLUG_EVENT_REMOVED));
        last = event.event_type;
    }
    switch (last) {
    case 0:
        break;
    case KVM_HOTPLUG_EVENT_ADDED:
        CHECK_NUMBER(state, KVM_HOTPLUG_DONE);
        break;
    case KVM_HOTPLUG_EVENT_PENDING:
        CHECK_NUMBER(state, KVM_HOTPLUG_PENDING);
        break;
    case KVM_HOTPLUG_EVENT_UNDONE:
    case KVM_HOTPLUG_EVENT_REMOVED:
        CHECK_NUMBER(state, KVM_HOTPLUG_ABSENT);
        break;
    default:
        FAIL("event %u of %s: %s", event.event_type, event.id, event.text);
    }
}

/* The next agent: all is in order, and the device is there, or on its way out, or not there. */
static int examine(struct scene *scene, enum crash_device which)
{
    struct states states;

    works(scene_open(scene));
    scene_compare(scene, &states);
    for (int i = 0; i < CRASH_DEVICES; i++)
        CHECK(i == (int)which || states.of[i] == KVM_HOTPLUG_ABSENT || (which == CRASH_SCSI && i == CRASH_CONTROLLER));
    check_events(scene, which, states.of[which]);
    vm_close(&scene->vm);
    scene_compare_files(scene, &states);
    return states.of[which];
}

static void take_out(struct scene *scene, enum crash_device which)
{
    ask(scene, which);
    scene_grant(scene);
}

/* Brings the device into a state, by whole operations, and takes out a controller that is not needed for it. */
static void bring_to(struct scene *scene, enum crash_device which, int from, int to)
{
    struct states states;

    if (from == to && which != CRASH_SCSI)
        return;
    works(scene_open(scene));
    scene_grant(scene);
    if (from != to && from == KVM_HOTPLUG_DONE)
        take_out(scene, which);
    scene_compare(scene, &states);
    if (to == KVM_HOTPLUG_ABSENT && states.of[CRASH_CONTROLLER] != KVM_HOTPLUG_ABSENT)
        take_out(scene, CRASH_CONTROLLER);
    if (from != to && to == KVM_HOTPLUG_DONE)
        works(scene_add(scene, which));
    scene_compare(scene, &states);
    CHECK_NUMBER(states.of[which], to);
    vm_close(&scene->vm);
}

/* Kills the agent at this step, if there is one. `state` is that of the device, before and after. */
static struct traced try_step(struct scene *scene, const struct operation *operation, const struct cut *cut, int *state)
{
    struct task task = {scene, operation->verb, operation->which};
    enum verb begun = operation->verb == RECOVER ? operation->interrupted : operation->verb;
    struct traced traced;

    monitor_forget_events(scene->vm.qemu->observer);
    bring_to(scene, task.which, *state, state_before(begun));
    if (operation->verb == RECOVER) {
        struct task first = {scene, begun, task.which};
        CHECK(trace(do_task, &first, &operation->cut).killed);
    }
    traced = trace(do_task, &task, cut);
    *state = examine(scene, task.which);
    if (!may_be(begun, *state, traced.killed || operation->verb == RECOVER))
        FAIL("%s is in state %d after that", crash_ids[task.which], *state);
    return traced;
}

/* Where it fails, the last line says at which step. */
static int try_all_steps(struct scene *scene, const struct operation *operation)
{
    int state = KVM_HOTPLUG_ABSENT, kills = 0;
    struct traced traced;

    for (int nth = 1; nth == 1 || traced.killed; nth++) {
        CHECK(nth <= MOST_STEPS);
        traced = try_step(scene, operation, &(struct cut){.nth = nth}, &state);
        kills += traced.killed;
        if (traced.waited) {
            printf(" (wait)");
            kills += try_step(scene, operation, &(struct cut){.nth = nth, .waiting = true}, &state).killed;
            kills += try_step(scene, operation, &(struct cut){NULL, nth, true, test_patience(LINGER_MS)}, &state).killed;
        }
        if (traced.killed)
            printf(" %s", traced.call);
        fflush(stdout);
    }
    bring_to(scene, operation->which, state, KVM_HOTPLUG_ABSENT);
    scene_check_fd_names(scene);
    return kills;
}

int main(void)
{
    static struct scene scene;
    int kills = 0;

    test_begin("qemu-crash-steps", 600);
    scene_start(&scene);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        const struct operation *operation = &operations[i];
        printf("%s %s:", verbs[operation->verb], crash_ids[operation->which]);
        kills += try_all_steps(&scene, operation);
        printf("\n");
    }
    printf("killed %d times\n", kills);
    vm_stop(&scene.vm);
    return test_end();
}
