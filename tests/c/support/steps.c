#include "steps.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

enum { MOST_STEPS = 400, MOST_TRIES = 50, EVENT_MS = 10000, AGAIN_MS = 40, LIST_MS = 400 };

static const char *const verbs[] = {"add", "begin to add", "fail to add", "ask for", "remove", "apply", "recover from"};

struct task {
    struct scene *scene;
    const struct step_operation *operation;
    enum step_verb verb;
};

/* How the devices of an operation are: sets. */
struct found {
    unsigned there, leaving;
};

static bool is_list(unsigned set)
{
    return (set & (set - 1)) != 0;
}

static enum crash_device first_of(unsigned set)
{
    int which = 0;

    while (which < CRASH_CONTROLLER && (set & CRASH_ONLY(which)) == 0)
        which++;
    return which;
}

static void succeed(int rc, int want)
{
    if (rc != want) {
        dprintf(STDERR_FILENO, "the agent's call answered %d, not %d: %s\n", rc, want,
                rc < 0 ? kvm_hotplug_error_message(failure) : "");
        _exit(1);
    }
}

static int add(struct scene *scene, unsigned set, enum crash_flaw flaw)
{
    return is_list(set) ? scene_add_many(scene, set, flaw, flaw == CRASH_SOUND ? 0 : test_patience(LIST_MS))
                        : scene_add(scene, first_of(set));
}

static void ask(struct scene *scene, unsigned set)
{
    int answer = is_list(set) ? scene_ask_many(scene, set) : scene_ask(scene, first_of(set));

    /* A SCSI disk goes without the guest, and firmware that runs may let go of anything at once. */
    if (answer != KVM_HOTPLUG_ANSWER_DONE)
        succeed(answer, KVM_HOTPLUG_ANSWER_PENDING);
}

static void apply(struct scene *scene, unsigned wanted)
{
    int answer = scene_apply(scene, wanted);

    if (answer != KVM_HOTPLUG_ANSWER_DONE)
        succeed(answer, KVM_HOTPLUG_ANSWER_PENDING);
}

static bool is_anything_there(struct scene *scene, unsigned set)
{
    struct kvm_hotplug_device device;

    for (int which = 0; which < CRASH_DEVICES; which++)
        if ((set & CRASH_ONLY(which)) &&
            kvmh_get_device(scene->vm.guest, crash_ids[which], &device, NULL) != KVM_HOTPLUG_ANSWER_ABSENT)
            return true;
    return false;
}

/* Until the guest has let go and the library has cleared up. Only the library's own steps are counted. */
static void wait_until_gone(struct scene *scene, unsigned set)
{
    long long end = now_ms() + test_patience(EVENT_MS), again = 0;

    trace_toggle();
    while (is_anything_there(scene, set)) {
        if (now_ms() >= end)
            FAIL("the guest does not let go of %s", crash_ids[first_of(set)]);
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

/* Until the add is over; the guest may have been reset before. Only the library's own steps are counted. */
static void wait_until_added(struct scene *scene)
{
    struct pollfd ready = {.fd = kvm_hotplug_get_fd(scene->vm.guest, NULL), .events = POLLIN};
    struct kvm_hotplug_event event = {0};

    while (event.event_type != KVM_HOTPLUG_EVENT_ADDED) {
        if (kvmh_next_event(scene->vm.guest, &event, &failure) == 1) {
            if (event.event_type == KVM_HOTPLUG_EVENT_ADD_FAILED)
                FAIL("%s", event.text);
            continue;
        }
        trace_toggle();
        if (poll(&ready, 1, test_patience(EVENT_MS)) != 1)
            FAIL("QEMU does not answer");
        trace_toggle();
        int events = kvm_hotplug_process(scene->vm.guest, 0, &failure);
        succeed(events < 0 ? events : 0, 0);
    }
}

static void do_task(void *argument)
{
    const struct task *task = argument;
    struct scene *scene = task->scene;
    unsigned set = task->operation->set;

    /* Opening is what an agent that recovers does, and there every step of it is tried. */
    if (task->verb != STEP_RECOVER)
        trace_toggle();
    succeed(scene_open(scene), 0);
    if (task->verb != STEP_RECOVER)
        trace_toggle();
    if (task->verb == STEP_ADD)
        succeed(add(scene, set, CRASH_SOUND), 0);
    if (task->verb == STEP_BEGIN) {
        scene->no_wait = true;
        succeed(add(scene, set, CRASH_SOUND), KVM_HOTPLUG_ANSWER_PENDING);
        wait_until_added(scene);
    }
    if (task->verb == STEP_FAIL)
        succeed(add(scene, set, task->operation->flaw) < 0, true);
    if (task->verb == STEP_ASK || task->verb == STEP_REMOVE)
        ask(scene, set);
    if (task->verb == STEP_REMOVE)
        wait_until_gone(scene, set);
    if (task->verb == STEP_APPLY)
        apply(scene, task->operation->wanted);
    vm_close(&scene->vm);
}

/* Which devices are there before the operation. */
static unsigned there_before(enum step_verb verb, const struct step_operation *operation)
{
    if (verb == STEP_APPLY)
        return operation->set & ~operation->wanted;
    return verb == STEP_ADD || verb == STEP_BEGIN || verb == STEP_FAIL ? 0 : operation->set;
}

/* Those that come are there, all of them or none; those that go stay until then. */
static bool may_be_applied(const struct step_operation *operation, const struct found *found, bool cut_off)
{
    unsigned come = operation->wanted, go = operation->set & ~come, there = found->there;

    if (cut_off && (there & come) == 0 && there == go)
        return (found->leaving & go) == 0;
    return (there & come) == come && (found->leaving & come) == 0 && (cut_off || (there & go) == 0);
}

/* Whether an operation, cut off or not, may have left the devices so. Who asks may be given at once. */
static bool may_be(enum step_verb verb, const struct step_operation *operation, const struct found *found, bool cut_off)
{
    unsigned set = operation->set;

    switch (verb) {
    case STEP_APPLY: return may_be_applied(operation, found, cut_off);
    case STEP_ADD:
    case STEP_BEGIN:
        /* All or none; of a list, those that are in the guest alone have to leave. */
        return found->leaving == 0 ? found->there == set || (cut_off && found->there == 0)
                                   : cut_off && is_list(set) && found->there == 0;
    case STEP_FAIL: return found->there == 0;
    default: return cut_off || (found->there == 0 && (verb == STEP_ASK || found->leaving == 0));
    }
}

static void check_last_event(const char *id, uint32_t type, int state)
{
    switch (type) {
    case 0: break;
    case KVM_HOTPLUG_EVENT_ADDED: CHECK_NUMBER(state, KVM_HOTPLUG_ANSWER_DONE); break;
    case KVM_HOTPLUG_EVENT_PENDING: CHECK_NUMBER(state, KVM_HOTPLUG_ANSWER_PENDING); break;
    case KVM_HOTPLUG_EVENT_UNDONE:
    case KVM_HOTPLUG_EVENT_REMOVED: CHECK_NUMBER(state, KVM_HOTPLUG_ANSWER_ABSENT); break;
    default: FAIL("event %u of %s", type, id);
    }
}

/* What the next agent says it has done agrees with what there is. A device that is asked for while the
 * firmware runs may go at once. */
static void check_events(struct scene *scene, const struct step_operation *operation, const struct states *states)
{
    struct kvm_hotplug_event event = {0};
    uint32_t last[CRASH_DEVICES] = {0};

    while (kvmh_next_event(scene->vm.guest, &event, NULL) == 1) {
        enum crash_device which = crash_find(event.id);
        /* Resets are this test's; a controller comes and goes as its disk needs it. */
        if (event.event_type == KVM_HOTPLUG_EVENT_RESET ||
            ((operation->set & CRASH_ONLY(CRASH_SCSI)) && event.device_type == KVM_HOTPLUG_DEVICE_CONTROLLER))
            continue;
        if (which == CRASH_DEVICES || (operation->set & CRASH_ONLY(which)) == 0)
            FAIL("an event of %s: %s", event.id, event.text);
        CHECK(event.generation > 0);
        CHECK(last[which] == 0 || (last[which] == KVM_HOTPLUG_EVENT_PENDING &&
                                   (event.event_type == KVM_HOTPLUG_EVENT_REMOVED ||
                                    (is_list(operation->set) && event.event_type == KVM_HOTPLUG_EVENT_UNDONE))));
        last[which] = event.event_type;
    }
    for (int which = 0; which < CRASH_DEVICES; which++)
        check_last_event(crash_ids[which], last[which], states->of[which]);
}

static struct found find(const struct states *states, unsigned set)
{
    struct found found = {0};

    for (int which = 0; which < CRASH_DEVICES; which++) {
        if ((set & CRASH_ONLY(which)) && states->of[which] == KVM_HOTPLUG_ANSWER_DONE)
            found.there |= CRASH_ONLY(which);
        if ((set & CRASH_ONLY(which)) && states->of[which] == KVM_HOTPLUG_ANSWER_PENDING)
            found.leaving |= CRASH_ONLY(which);
    }
    return found;
}

/* The next agent: all is in order, and each device is there, or on its way out, or not there. */
static struct found examine(struct scene *scene, const struct step_operation *operation)
{
    unsigned expected = operation->set;
    struct states states;

    if (expected & CRASH_ONLY(CRASH_SCSI))
        expected |= CRASH_ONLY(CRASH_CONTROLLER);
    scene_reopen(scene);
    scene_compare(scene, &states);
    for (int i = 0; i < CRASH_DEVICES; i++)
        CHECK((expected & CRASH_ONLY(i)) || states.of[i] == KVM_HOTPLUG_ANSWER_ABSENT);
    check_events(scene, operation, &states);
    vm_close(&scene->vm);
    scene_compare_files(scene, &states);
    return find(&states, operation->set);
}

static void take_out(struct scene *scene, unsigned set)
{
    ask(scene, set);
    scene_grant(scene);
}

/* Brings these of the devices in and the others out, by whole operations, and takes out a controller that is
 * not needed for it. */
static void bring(struct scene *scene, unsigned set, const struct found *found, unsigned in)
{
    bool done = found->leaving == 0 && found->there == in;
    struct states states;

    if (done && (set & CRASH_ONLY(CRASH_SCSI)) == 0)
        return;
    scene_reopen(scene);
    scene_grant(scene);
    if (!done && found->there != 0)
        take_out(scene, found->there);
    scene_compare(scene, &states);
    if (in == 0 && states.of[CRASH_CONTROLLER] != KVM_HOTPLUG_ANSWER_ABSENT)
        take_out(scene, CRASH_ONLY(CRASH_CONTROLLER));
    if (!done && in != 0)
        works(add(scene, in, CRASH_SOUND));
    scene_compare(scene, &states);
    CHECK_NUMBER(find(&states, set).there, in);
    vm_close(&scene->vm);
}

/* Kills the agent at the step that the next one is to recover from. A list that is refused is taken out
 * again, and firmware that still runs, after a reset, may let go of it at once, so that it does not come to
 * that step.
 */
static void interrupt(struct scene *scene, const struct step_operation *operation, enum step_verb begun,
                      struct found *found)
{
    struct task task = {scene, operation, begun};

    for (int tries = 1; !trace(do_task, &task, &operation->cut).killed; tries++) {
        CHECK(begun == STEP_FAIL && tries < MOST_TRIES);
        *found = examine(scene, operation);
        bring(scene, operation->set, found, there_before(begun, operation));
    }
}

/* Kills the agent at this step, if there is one. `found` is how the devices are, before and after. */
static struct traced try_step(struct scene *scene, const struct step_operation *operation, const struct cut *cut,
                              struct found *found)
{
    enum step_verb begun = operation->verb == STEP_RECOVER ? operation->interrupted : operation->verb;
    struct task task = {scene, operation, operation->verb};
    struct traced traced;

    monitor_forget_events(scene->vm.qemu->observer);
    bring(scene, operation->set, found, there_before(begun, operation));
    if (operation->verb == STEP_RECOVER)
        interrupt(scene, operation, begun, found);
    traced = trace(do_task, &task, cut);
    *found = examine(scene, operation);
    if (!may_be(begun, operation, found, traced.killed || operation->verb == STEP_RECOVER))
        FAIL("of 0x%x, 0x%x are there after that, and 0x%x are leaving", operation->set, found->there, found->leaving);
    return traced;
}

/* The steps at which the agent is killed: every `stride`th. */
struct steps {
    int first, stride;
};

/* One step in three, others with another KVM_HOTPLUG_TEST_SEED: all of them take minutes. With
 * KVM_HOTPLUG_TEST_STEPS=pc it is every step on pc, and with "all" on q35 too, where the library does the
 * same by other names of places. */
static struct steps choose_steps(const struct qemu *qemu)
{
    const char *wish = getenv("KVM_HOTPLUG_TEST_STEPS"), *seed = getenv("KVM_HOTPLUG_TEST_SEED");
    struct steps steps = {1, 1};

    CHECK(wish == NULL || strcmp(wish, "all") == 0 || strcmp(wish, "pc") == 0);
    if (wish == NULL || (qemu->q35 && strcmp(wish, "pc") == 0)) {
        unsigned long number = seed != NULL ? strtoul(seed, NULL, 10) : (unsigned long)time(NULL);
        steps = (struct steps){1 + (int)(number % 3), 3};
        printf("at one step in three, KVM_HOTPLUG_TEST_SEED=%lu\n", number);
    }
    return steps;
}

/* Where it fails, the last line says at which step. */
static int try_steps(struct scene *scene, const struct step_operation *operation, struct steps steps)
{
    struct found found = {0};
    struct traced traced;
    int kills = 0;

    for (int nth = steps.first; nth == steps.first || traced.killed; nth += steps.stride) {
        CHECK(nth <= MOST_STEPS);
        traced = try_step(scene, operation, &(struct cut){.nth = nth}, &found);
        kills += traced.killed;
        if (traced.waited) {
            printf(" (wait)");
            kills += try_step(scene, operation, &(struct cut){.nth = nth, .waiting = true}, &found).killed;
            kills += try_step(scene, operation, &(struct cut){NULL, nth, true, test_patience(STEP_LINGER_MS)}, &found)
                         .killed;
        }
        if (traced.killed)
            printf(" %s", traced.call);
        fflush(stdout);
    }
    bring(scene, operation->set, &found, 0);
    return kills;
}

static void print_title(const struct step_operation *operation)
{
    printf("%s", verbs[operation->verb]);
    if (operation->verb == STEP_RECOVER)
        printf(" %s", verbs[operation->interrupted]);
    for (int which = 0; which < CRASH_DEVICES; which++)
        if (operation->set & CRASH_ONLY(which))
            printf(" %s", crash_ids[which]);
    printf(":");
}

/* A controller has a port of its own. */
static int most_devices(const struct step_operation operations[], size_t count)
{
    int most = 0;

    for (size_t i = 0; i < count; i++) {
        unsigned set = operations[i].set | operations[i].wanted;
        int devices = 0;
        for (int which = 0; which < CRASH_DEVICES; which++)
            devices += (set & CRASH_ONLY(which)) != 0;
        most = devices > most ? devices : most;
    }
    return most;
}

int test_steps(const char *name, const struct step_operation operations[], size_t count)
{
    static struct scene scene;
    struct steps steps;
    int kills = 0;

    test_begin(name, 600);
    /* One more, for a port whose device is not gone yet. */
    crash_ports = most_devices(operations, count) + 1;
    scene_start(&scene);
    steps = choose_steps(scene.vm.qemu);
    for (size_t i = 0; i < count; i++) {
        print_title(&operations[i]);
        kills += try_steps(&scene, &operations[i], steps);
        printf("\n");
    }
    printf("killed %d times\n", kills);
    vm_stop(&scene.vm);
    return test_end();
}
