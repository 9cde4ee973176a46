/* Many guests in one process: open all, a NIC for each, from one thread, from eight, and from one that waits
 * for none of them, beside the floor. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "floor.h"
#include "measure.h"
#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { MOST_GUESTS = 400, THREADS = 8, FLOOR_SLOT = 9, KIB_EACH = 32, TIMED = 100, WAIT_MS = 60000 };

struct guest {
    struct vm vm;
    struct floor *hand;
    char floor_path[TEST_PATH];
    struct kvm_hotplug_device device;
};

static struct guest *guests;
static int guest_count;
static char bridge[IF_NAMESIZE];

static void start_all(void)
{
    char directory[TEST_PATH], name[32], monitor[TEST_PATH + 32];
    const char *const extra[] = {"-qmp", monitor, NULL};

    directory_new(directory);
    for (int i = 0; i < guest_count; i++) {
        struct guest *guest = &guests[i];

        snprintf(name, sizeof name, "floor%d", i);
        path_in(guest->floor_path, directory, name);
        snprintf(monitor, sizeof monitor, "unix:%s,server=on,wait=off", guest->floor_path);
        guest->vm.qemu =
            qemu_start(&(struct qemu_options){.machine = "pc", .stopped = true, .memory_mb = 64, .extra = extra});
        snprintf(guest->vm.path, sizeof guest->vm.path, "%s/vm.runtime", guest->vm.qemu->dir);
        works(kvmh_runtime_new(NULL, &guest->vm.runtime, &failure));
        works(kvm_runtime_save(guest->vm.runtime, guest->vm.path, &failure));
    }
}

static double open_all(long *kib_each)
{
    long after_first = 0;
    double start = clock_ms();

    for (int i = 0; i < guest_count; i++) {
        struct vm *vm = &guests[i].vm;

        works(kvm_hotplug_open(vm->runtime, vm->qemu->qmp_path, WAIT_MS, &vm->guest, &failure));
        if (i == 0)
            after_first = process_heap_kb(getpid());
    }
    *kib_each = guest_count > 1 ? (process_heap_kb(getpid()) - after_first) / (guest_count - 1) : 0;
    return clock_ms() - start;
}

static void add_one(struct guest *guest)
{
    struct kvm_hotplug_nic nic = {.bridge = bridge, .vhost = KVM_HOTPLUG_VHOST_OFF, .timeout_ms = WAIT_MS};

    works(kvmh_add_nic(guest->vm.guest, &nic, &guest->device, &failure));
}

static atomic_int next_guest;

static void *add_some(void *unused)
{
    for (int i; (i = atomic_fetch_add(&next_guest, 1)) < guest_count;)
        add_one(&guests[i]);
    return unused;
}

static double add_by_threads(int count)
{
    pthread_t threads[THREADS];
    double start = clock_ms();

    atomic_store(&next_guest, 0);
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, add_some, NULL) != 0)
            FAIL("no thread");
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return clock_ms() - start;
}

static void begin_add(struct guest *guest)
{
    struct kvm_hotplug_nic nic = {.bridge = bridge,
                                  .vhost = KVM_HOTPLUG_VHOST_OFF,
                                  .timeout_ms = WAIT_MS,
                                  .flags = KVM_HOTPLUG_NO_WAIT};

    answers(kvmh_add_nic(guest->vm.guest, &nic, &guest->device, &failure), KVM_HOTPLUG_ANSWER_PENDING);
}

/* Takes in what there is; whether the NIC is there now. */
static bool has_arrived(struct guest *guest)
{
    struct kvm_hotplug_event event;

    if (kvm_hotplug_process(guest->vm.guest, WAIT_MS, &failure) < 0)
        FAIL("%s", kvm_hotplug_error_message(failure));
    while (kvmh_next_event(guest->vm.guest, &event, &failure) == 1) {
        if (event.event_type == KVM_HOTPLUG_EVENT_ADDED)
            return true;
        if (event.event_type == KVM_HOTPLUG_EVENT_ADD_FAILED)
            FAIL("%s", event.text);
    }
    return false;
}

/* All guests at once, from one thread. */
static double add_by_poll(void)
{
    struct pollfd *ready = calloc((size_t)guest_count, sizeof *ready);
    int open = guest_count;
    double start = clock_ms();

    for (int i = 0; i < guest_count; i++) {
        begin_add(&guests[i]);
        ready[i] = (struct pollfd){.fd = kvm_hotplug_get_fd(guests[i].vm.guest, &failure), .events = POLLIN};
    }
    while (open > 0) {
        if (poll(ready, (nfds_t)guest_count, WAIT_MS) < 1)
            FAIL("%d guests do not answer", open);
        for (int i = 0; i < guest_count; i++)
            if (ready[i].revents != 0 && has_arrived(&guests[i])) {
                ready[i].fd = -1;
                open--;
            }
    }
    start = clock_ms() - start;
    free(ready);
    return start;
}

/* Other news, such as that of the reset, is passed over. */
static void wait_removed(struct vm *vm)
{
    struct kvm_hotplug_event event = {0};

    while (event.event_type != KVM_HOTPLUG_EVENT_REMOVED) {
        struct pollfd ready = {.fd = kvm_hotplug_get_fd(vm->guest, &failure), .events = POLLIN};

        if (kvmh_next_event(vm->guest, &event, &failure) == 1)
            continue;
        if (poll(&ready, 1, WAIT_MS) != 1)
            FAIL("a guest does not let go");
        if (kvm_hotplug_process(vm->guest, WAIT_MS, &failure) < 0)
            FAIL("%s", kvm_hotplug_error_message(failure));
    }
}

/* A reset takes out what is asked for, also of a guest that does not run, but not of one that was never
 * started. */
static double remove_all(void)
{
    double start;

    for (int i = 0; i < guest_count; i++)
        qemu_start_and_stop(guests[i].vm.qemu);
    start = clock_ms();
    for (int i = 0; i < guest_count; i++) {
        struct guest *guest = &guests[i];
        struct kvm_hotplug_del_options removal = {.id = guest->device.id, .flags = KVM_HOTPLUG_NO_WAIT};

        answers(kvmh_del(guest->vm.guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
        qmp(guest->vm.qemu, "{\"execute\":\"system_reset\"}");
        wait_removed(&guest->vm);
    }
    return clock_ms() - start;
}

/* All at once, with poll(): what an agent written for this alone would do. */
static double floor_adds(void)
{
    struct pollfd *ready = calloc((size_t)guest_count, sizeof *ready);
    int *missing = calloc((size_t)guest_count, sizeof *missing);
    int open = guest_count;
    double start = clock_ms();

    for (int i = 0; i < guest_count; i++) {
        floor_send_nic(guests[i].hand, FLOOR_SLOT, bridge, false);
        ready[i] = (struct pollfd){.fd = guests[i].hand->fd, .events = POLLIN};
        missing[i] = 3;
    }
    while (open > 0) {
        if (poll(ready, (nfds_t)guest_count, WAIT_MS) < 1)
            FAIL("%d guests do not answer", open);
        for (int i = 0; i < guest_count; i++) {
            if (ready[i].revents == 0)
                continue;
            missing[i] -= floor_read(guests[i].hand);
            if (missing[i] == 0) {
                ready[i].fd = -1;
                open--;
            }
        }
    }
    start = clock_ms() - start;
    free(ready);
    free(missing);
    return start;
}

static int threads_of_process(void)
{
    return directory_count("/proc/self/task");
}

void bench_guests(int count)
{
    double opened, alone, together, polled, removed, floor;
    long kib_each;
    int threads, fds;

    if (count < 2 || count > MOST_GUESTS)
        FAIL("%d guests: 2 to %d", count, MOST_GUESTS);
    guest_count = count;
    guests = calloc((size_t)count, sizeof *guests);
    bridge_new(bridge);
    start_all();
    threads = threads_of_process();
    fds = process_fds(getpid());
    opened = open_all(&kib_each) / count;
    fds = process_fds(getpid()) - fds;
    CHECK_NUMBER(threads_of_process(), threads);
    alone = add_by_threads(1) / count;
    removed = remove_all() / count;
    together = add_by_threads(THREADS) / count;
    remove_all();
    polled = add_by_poll() / count;
    CHECK_NUMBER(threads_of_process(), threads);
    remove_all();
    for (int i = 0; i < count; i++) {
        guests[i].hand = calloc(1, sizeof *guests[i].hand);
        floor_open(guests[i].hand, guests[i].floor_path, true);
    }
    floor = floor_adds() / count;
    printf("\n%d guests in one process, for each guest\n", count);
    printf(
        "  open %.2f ms; NIC add: one thread %.2f ms, %d threads %.2f ms, one thread with poll() %.2f ms, floor with poll() %.2f ms; "
        "removal %.2f ms\n",
        opened, alone, THREADS, together, polled, floor, removed);
    printf("  memory %ld KiB, descriptors %.1f, threads of the library 0\n", kib_each, (double)fds / count);
    must_hold("memory for each open guest beyond the first, in KiB", (double)kib_each, KIB_EACH);
    /* A handful is over before it says anything about time. */
    if (count >= TIMED) {
        must_hold("NIC add, 8 threads to the floor with poll()", together / floor, 1.25);
        must_hold("NIC add, one thread with poll() to the floor", polled / floor, 1.35);
    }
    for (int i = 0; i < count; i++) {
        floor_close(guests[i].hand);
        free(guests[i].hand);
        vm_stop(&guests[i].vm);
    }
    free(guests);
}
