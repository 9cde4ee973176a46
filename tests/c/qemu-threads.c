/* Many threads on one handle, and two handles at once: calls take turns, what one thread does the others see,
 * and no device, slot or event is lost. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"
#include "support/native.h"
#include "support/net.h"
#include "support/plug.h"

enum {
    WORKERS = 4,
    ROUNDS = 8,
    MAX_DEVICES = 64,
    WAIT_MS = 60000,
    LONG_MS = 60000,
    BRIEF_MS = 200,
    PAUSE_MS = 5,
    CANCEL_MS = 23,
    /* More than the disk of a busy machine takes for the syncs of the records of all threads. */
    CALL_MS = 30000
};

/* One that adds and removes a device of its own. */
struct worker {
    pthread_t thread;
    char id[16], image[TEST_PATH];
    bool nic;
    uint64_t generations[ROUNDS];
    int pending, removed; /* removals that were not done at once, and those that events told of */
};

static struct vm vm;
static struct worker workers[WORKERS];
static atomic_bool over;
static atomic_int inside, lines, cancelled;
static bool cancelling;

/* Called in the middle of a call, so two at once are two calls at once. */
static void log_line(void *unused, int level, const char *message)
{
    (void)unused, (void)level, (void)message;
    CHECK_NUMBER(atomic_fetch_add(&inside, 1), 0);
    sched_yield();
    atomic_fetch_sub(&inside, 1);
    atomic_fetch_add(&lines, 1);
}

/* Its turn included: all the others may be in front of it. */
static uint32_t call_ms(void)
{
    return (uint32_t)test_patience(CALL_MS);
}

/* Whether the call was ended by the canceller, which may hit anybody's, and is to be made again. */
static bool ended(int rc)
{
    bool by_canceller = rc == -ECANCELED && cancelling;

    if (rc < 0 && !by_canceller)
        FAIL("%s", kvm_hotplug_error_message(failure));
    atomic_fetch_add(&cancelled, by_canceller);
    kvm_hotplug_error_free(failure);
    failure = NULL;
    return by_canceller;
}

static int add(const struct worker *worker, struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_nic nic = {.id = worker->id, .timeout_ms = call_ms()};
    struct kvm_hotplug_disk disk = {.id = worker->id, .path = worker->image, .timeout_ms = call_ms()};
    int rc;

    do {
        rc = worker->nic ? kvmh_add_nic(vm.guest, &nic, device, &failure)
                         : kvmh_add_disk(vm.guest, &disk, device, &failure);
        /* A cancelled add that could not be undone at once is on its way out. */
        if (rc == -EEXIST && cancelling) {
            kvm_hotplug_error_free(failure);
            failure = NULL;
            sleep_ms(PAUSE_MS);
        }
    } while ((rc == -EEXIST && cancelling) || ended(rc));
    return rc;
}

static int state_of(const char *id)
{
    struct kvm_hotplug_device device;
    int state;

    do
        state = kvmh_get_device(vm.guest, id, &device, &failure);
    while (ended(state));
    return state;
}

/* Asked for once; the reset that another thread makes grants it, and any thread may be the one that hears of
 * it. */
static void remove_it(struct worker *worker)
{
    struct kvm_hotplug_del_options removal = {.id = worker->id, .flags = KVM_HOTPLUG_NO_WAIT};
    long long end = now_ms() + test_patience(WAIT_MS);
    int rc;

    do
        rc = kvmh_del(vm.guest, &removal, NULL, &failure);
    while (ended(rc));
    /* A reset may have come just then, and what a cancelled call has asked for may be done when it is made
     * again. */
    CHECK(rc == KVM_HOTPLUG_ANSWER_PENDING || rc == KVM_HOTPLUG_ANSWER_DONE ||
          (cancelling && rc == KVM_HOTPLUG_ANSWER_ABSENT));
    worker->pending += rc == KVM_HOTPLUG_ANSWER_PENDING;
    while (state_of(worker->id) != KVM_HOTPLUG_ANSWER_ABSENT) {
        CHECK(now_ms() < end);
        sleep_ms(PAUSE_MS);
        ended(kvm_hotplug_process(vm.guest, call_ms(), &failure));
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct kvm_hotplug_device device;
    int round;

    for (round = 0; round < ROUNDS; round++) {
        CHECK_NUMBER(add(worker, &device), KVM_HOTPLUG_ANSWER_DONE);
        CHECK_TEXT(device.id, worker->id);
        CHECK_NUMBER(state_of(worker->id), KVM_HOTPLUG_ANSWER_DONE);
        worker->generations[round] = device.generation;
        remove_it(worker);
    }
    return NULL;
}

/* No snapshot shows two devices in one place. */
static void check_places(const struct kvm_hotplug_device *devices, size_t count)
{
    size_t i, j;

    CHECK(count <= WORKERS);
    for (i = 0; i < count; i++)
        for (j = 0; j < i; j++)
            CHECK(strcmp(devices[i].bus, devices[j].bus) != 0 || devices[i].slot != devices[j].slot);
}

static void check_no_difference(void)
{
    struct kvm_hotplug_difference difference;
    size_t count = 0;
    int rc = kvmh_verify(vm.guest, call_ms(), &difference, 1, &count, &failure);

    if (!ended(rc) && count > 0)
        FAIL("%zu differences, the first: %s", count, difference.text);
}

static void *look(void *unused)
{
    struct kvm_hotplug_device *devices = calloc(MAX_DEVICES, sizeof *devices);
    size_t count = 0;

    CHECK(devices != NULL);
    while (!atomic_load(&over)) {
        if (!ended(kvmh_list(vm.guest, devices, MAX_DEVICES, &count, &failure)))
            check_places(devices, count);
        check_no_difference();
        ended(kvmh_slot_map(vm.guest, call_ms(), NULL, 0, &count, &failure));
        sleep_ms(PAUSE_MS);
    }
    free(devices);
    return unused;
}

static void note(const struct kvm_hotplug_event *event)
{
    int i;

    /* A call that is cancelled with half a command written leaves a connection that is past use. */
    if (event->event_type == KVM_HOTPLUG_EVENT_LOST ||
        (event->event_type == KVM_HOTPLUG_EVENT_MONITOR_LOST && !cancelling))
        FAIL("event %u: %s", event->event_type, event->text);
    for (i = 0; i < WORKERS; i++)
        if (strcmp(event->id, workers[i].id) == 0)
            workers[i].removed += event->event_type == KVM_HOTPLUG_EVENT_REMOVED;
}

static void *hear(void *unused)
{
    struct kvm_hotplug_event event;
    bool last;
    int rc;

    do {
        /* Before looking: what came between looking and the end would not be heard. */
        last = atomic_load(&over);
        rc = kvmh_next_event(vm.guest, &event, &failure);
        if (!ended(rc) && rc == 1)
            note(&event);
        else
            sleep_ms(PAUSE_MS);
    } while (rc != 0 || !last);
    return unused;
}

/* More and more seldom, so that every call comes to its end some time, however slow it is: QEMU 5.2 takes 50
 * ms for a disk. */
static void *cancel(void *unused)
{
    int pause = CANCEL_MS, hit;

    while (!atomic_load(&over)) {
        hit = kvm_hotplug_cancel(vm.guest, NULL);
        CHECK(hit >= 0);
        pause += hit > 0;
        sleep_ms(test_patience(pause));
    }
    return unused;
}

/* What a guest's system would do about a removal where a reset does nothing. Once for each: the slot may have
 * another device before anybody has said that this one is gone. */
static void switch_off(uint64_t done[WORKERS])
{
    struct kvm_hotplug_device device;
    int i, state;

    for (i = 0; i < WORKERS; i++) {
        do
            state = kvmh_get_device(vm.guest, workers[i].id, &device, &failure);
        while (ended(state));
        if (state == KVM_HOTPLUG_ANSWER_PENDING && device.generation != done[i]) {
            done[i] = device.generation;
            native_switch_off(vm.qemu, device.bus);
        }
    }
}

/* Without a system in it, a guest grants removals when it resets. The firmware need not come to its end, so
 * the handle sees the guest in every state. The observer is this thread's alone. */
static void *reset(void *unused)
{
    uint64_t done[WORKERS] = {0};

    while (!atomic_load(&over)) {
        monitor_forget_events(vm.qemu->observer);
        if (has_native_hotplug(vm.qemu))
            switch_off(done);
        else
            vm_observe(&vm, "{\"execute\":\"system_reset\"}");
        sleep_ms(4 * PAUSE_MS);
    }
    return unused;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Every attachment was one of its own. */
static void check_generations(void)
{
    uint64_t all[WORKERS * ROUNDS];
    int i;

    for (i = 0; i < WORKERS; i++)
        memcpy(all + i * ROUNDS, workers[i].generations, sizeof workers[i].generations);
    qsort(all, WORKERS * ROUNDS, sizeof *all, compare);
    for (i = 1; i < WORKERS * ROUNDS; i++)
        CHECK(all[i - 1] < all[i]);
}

static void one_handle(bool with_cancel)
{
    void *(*const others[])(void *) = {look, hear, reset, cancel};
    pthread_t threads[4];
    char *empty = vm_picture(&vm);
    int i, used = with_cancel ? 4 : 3;

    cancelling = with_cancel;
    atomic_store(&over, false);
    for (i = 0; i < used; i++)
        ok(pthread_create(&threads[i], NULL, others[i], NULL));
    for (i = 0; i < WORKERS; i++) {
        workers[i].pending = workers[i].removed = 0;
        ok(pthread_create(&workers[i].thread, NULL, work, &workers[i]));
    }
    for (i = 0; i < WORKERS; i++)
        ok(pthread_join(workers[i].thread, NULL));
    atomic_store(&over, true);
    for (i = 0; i < used; i++)
        ok(pthread_join(threads[i], NULL));
    check_generations();
    for (i = 0; i < WORKERS && !with_cancel; i++)
        CHECK_NUMBER(workers[i].removed, workers[i].pending);
    cancelling = false;
    check_no_difference();
    CHECK(!vm_has_journal(&vm));
    CHECK_PICTURE(&vm, empty);
    free(empty);
}

/* A guest and a handle of its own, used all the while. */
static void *use_other(void *argument)
{
    struct vm *other = argument;
    struct kvm_hotplug_device device;
    int state;

    do {
        vm_add_nic(other, "lan");
        request_unplug(other, "lan");
        vm_reset(other);
        do {
            sleep_ms(PAUSE_MS);
            CHECK(kvm_hotplug_process(other->guest, 0, &failure) >= 0);
        } while ((state = kvmh_get_device(other->guest, "lan", &device, &failure)) == KVM_HOTPLUG_ANSWER_PENDING);
        CHECK_NUMBER(state, KVM_HOTPLUG_ANSWER_ABSENT);
    } while (!atomic_load(&over));
    return NULL;
}

static void two_handles(struct vm *other)
{
    pthread_t thread;

    atomic_store(&over, false);
    ok(pthread_create(&thread, NULL, use_other, other));
    one_handle(false);
    ok(pthread_join(thread, NULL));
}

static void *ask_stopped(void *unused)
{
    size_t count;

    fails(kvmh_slot_map(vm.guest, LONG_MS, NULL, 0, &count, &failure), -ECANCELED, KVM_HOTPLUG_ERROR_CANCELED,
          "cancelled by another thread");
    return unused;
}

/* A call that hangs holds up its own handle, each waiting no longer than it wants to, and no other. */
static void independent(struct vm *other)
{
    long long end = now_ms() + test_patience(WAIT_MS);
    pthread_t thread;
    size_t count;

    ok(kill(vm.qemu->pid, SIGSTOP));
    ok(pthread_create(&thread, NULL, ask_stopped, NULL));
    sleep_ms(100);
    vm_add_nic(other, "wan");
    fails(kvmh_slot_map(vm.guest, BRIEF_MS, NULL, 0, &count, &failure), -ETIMEDOUT, KVM_HOTPLUG_ERROR_TIMEOUT,
          "another call on this handle is still running");
    while (kvm_hotplug_cancel(vm.guest, NULL) == 0)
        CHECK(now_ms() < end);
    ok(pthread_join(thread, NULL));
    CHECK(now_ms() < end);
    ok(kill(vm.qemu->pid, SIGCONT));
    works(kvmh_slot_map(vm.guest, 0, NULL, 0, &count, &failure));
}

static void make_workers(void)
{
    int i;

    for (i = 0; i < WORKERS; i++) {
        workers[i].nic = i % 2 == 0;
        snprintf(workers[i].id, sizeof workers[i].id, "%s%d", workers[i].nic ? "nic" : "disk", i);
        path_in(workers[i].image, vm.qemu->dir, workers[i].id);
        image_raw(workers[i].image, 1 << 20);
    }
}

int main(void)
{
    /* Not paused: QEMU would keep the fdsets that it is told to remove until it runs. */
    const struct qemu_options options = {.root_ports = 2 * WORKERS};
    struct vm other;

    test_begin("qemu-threads", 900);
    net_private();
    vm_start(&vm, &options);
    vm_start(&other, &options);
    make_workers();
    /* A handle logs to what its record says when it is opened. */
    kvm_hotplug_close(vm.guest);
    works(kvm_runtime_set_log(vm.runtime, KVM_HOTPLUG_LOG_DEBUG, log_line, NULL, NULL, &failure));
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, (uint32_t)test_patience(WAIT_MS), &vm.guest, &failure));
    one_handle(false);
    one_handle(true);
    CHECK(atomic_load(&cancelled) > 0);
    two_handles(&other);
    independent(&other);
    printf("%d log lines, %d calls cancelled\n", atomic_load(&lines), atomic_load(&cancelled));
    CHECK(atomic_load(&lines) > 0);
    vm_stop(&other);
    vm_stop(&vm);
    return test_end();
}
