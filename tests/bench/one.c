/* What one operation costs, beside the floor: the same operations by a client that does nothing but them, in
 * turns. */
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
#include "trace.h"

/* The slot that the library gets, so that both send the same. */
enum { FLOOR_SLOT = 4, DEL_ROUNDS = 15, WAIT_MS = 10000, WAYS = 5, REST_US = 20000 };

enum what {
    NIC_ROM,
    NIC_FLOOR,
    NIC_OURS,
    DISK_FLOOR,
    DISK_OURS,
    DEL_NIC_FLOOR,
    DEL_NIC_OURS,
    DEL_DISK_FLOOR,
    DEL_DISK_OURS,
    OPEN_FLOOR,
    OPEN_OURS,
    HOW_MANY,
};

static const char *const names[HOW_MANY] = {
    "NIC add, floor with option ROM",
    "NIC add, floor",
    "NIC add, library",
    "disk add, floor",
    "disk add, library",
    "NIC del, floor",
    "NIC del, library",
    "disk del, floor",
    "disk del, library",
    "open, floor",
    "open, library",
};

/* System calls of the library, about a tenth above the most that was counted: 42, 34, 80, 37, 44. An image is
 * looked at before it is opened, and which boot of the host its numbers are of is read. A NIC's removal looks
 * for its tap among QEMU's descriptors, of which other versions may have some more. */
static const long most_syscalls[HOW_MANY] = {
    [NIC_OURS] = 46, [DISK_OURS] = 37, [DEL_NIC_OURS] = 95, [DEL_DISK_OURS] = 41, [OPEN_OURS] = 48,
};

static struct vm vm;
static struct floor hand;
static struct samples times[HOW_MANY];
static struct cost costs[HOW_MANY];
static char bridge[IF_NAMESIZE], image[TEST_PATH], floor_path[TEST_PATH], watch_path[TEST_PATH];
static bool tracing;

static double started;

static void begin(enum what what)
{
    if (tracing)
        trace_begin((int)what);
    started = clock_ms();
}

static double end(void)
{
    double spent = clock_ms() - started;

    if (tracing)
        trace_end();
    return spent;
}

/* Lets go of the device in this slot of pci.0, as the guest's ACPI code does. */
static void eject(int slot)
{
    char json[160];

    qmp(vm.qemu, "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"o /w 0xae10 0\"}}");
    snprintf(json, sizeof json,
             "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"o /w 0xae08 0x%x\"}}",
             1u << slot);
    qmp(vm.qemu, json);
}

/* The library is told of what the floor has done, outside of what is measured. */
static void settle(void)
{
    if (kvm_hotplug_process(vm.guest, 0, &failure) < 0)
        FAIL("%s", kvm_hotplug_error_message(failure));
}

/* What is measured of a removal is the agent's part, not the guest's. */
static double floor_removal(enum what what, const char *type, bool counted)
{
    bool traced = tracing;
    double spent;

    tracing &= counted;

    begin(what);
    floor_ask(&hand, type, FLOOR_SLOT);
    spent = end();
    eject(FLOOR_SLOT);
    floor_wait(&hand);
    begin(what);
    if (what == DEL_NIC_FLOOR)
        floor_clear_nic(&hand, FLOOR_SLOT);
    else
        floor_clear_disk(&hand, FLOOR_SLOT);
    spent += end();
    tracing = traced;
    return spent;
}

static double library_removal(enum what what, const struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_del_options removal = {.id = device->id, .flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_event event;
    double spent;
    int events = 0;

    begin(what);
    int answer = kvmh_del(vm.guest, &removal, NULL, &failure);
    spent = end();
    answers(answer, KVM_HOTPLUG_ANSWER_PENDING);
    eject((int)device->slot);
    while (events == 0) {
        struct pollfd ready = {.fd = kvm_hotplug_get_fd(vm.guest, &failure), .events = POLLIN};

        if (poll(&ready, 1, WAIT_MS) != 1)
            FAIL("the guest does not let go of %s", device->id);
        begin(what);
        events = kvm_hotplug_process(vm.guest, 0, &failure);
        spent += end();
    }
    CHECK_NUMBER(kvmh_next_event(vm.guest, &event, &failure), 1);
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_REMOVED);
    return spent;
}

static void nic_of_floor(bool rom)
{
    enum what what = rom ? NIC_ROM : NIC_FLOOR;

    begin(what);
    floor_add_nic(&hand, FLOOR_SLOT, bridge, rom);
    sample(&times[what], end());
    sample(&times[DEL_NIC_FLOOR], floor_removal(DEL_NIC_FLOOR, "nic", !rom));
    settle();
}

static void nic_of_library(void)
{
    struct kvm_hotplug_nic nic = {.mac = "52:54:00:f0:00:09", .bridge = bridge, .vhost = KVM_HOTPLUG_VHOST_OFF};
    struct kvm_hotplug_device device;
    double spent;
    int rc;

    begin(NIC_OURS);
    rc = kvmh_add_nic(vm.guest, &nic, &device, &failure);
    spent = end();
    works(rc);
    sample(&times[NIC_OURS], spent);
    sample(&times[DEL_NIC_OURS], library_removal(DEL_NIC_OURS, &device));
}

static void disk_of_floor(void)
{
    begin(DISK_FLOOR);
    floor_add_disk(&hand, FLOOR_SLOT, image);
    sample(&times[DISK_FLOOR], end());
    sample(&times[DEL_DISK_FLOOR], floor_removal(DEL_DISK_FLOOR, "disk", true));
    settle();
}

static void disk_of_library(void)
{
    struct kvm_hotplug_disk disk = {.path = image};
    struct kvm_hotplug_device device;
    double spent;
    int rc;

    begin(DISK_OURS);
    rc = kvmh_add_disk(vm.guest, &disk, &device, &failure);
    spent = end();
    works(rc);
    sample(&times[DISK_OURS], spent);
    sample(&times[DEL_DISK_OURS], library_removal(DEL_DISK_OURS, &device));
}

static void opening(void)
{
    static struct floor other;
    int rc;

    kvm_hotplug_close(vm.guest);
    begin(OPEN_OURS);
    rc = kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &vm.guest, &failure);
    sample(&times[OPEN_OURS], end());
    works(rc);
    floor_close(&hand);
    begin(OPEN_FLOOR);
    floor_open(&other, floor_path, true);
    sample(&times[OPEN_FLOOR], end());
    hand = other;
}

/* As an agent begins: nothing is left to do for the kernel, which takes its time over a tap, and nothing to
 * read. */
static void rest(void)
{
    usleep(REST_US);
    settle();
    floor_drain(&hand);
    monitor_forget_events(vm.qemu->observer);
}

/* Each comes after each other one equally often in ten rounds, and is first as often as the others (a
 * Williams design): what was done before leaves caches, and the kernel at work on a tap that has gone. */
static void round_of_all(int round)
{
    static const int zigzag[WAYS] = {0, 1, 4, 2, 3};
    bool mirrored = round / WAYS % 2 == 1;
    int order[WAYS];

    for (int i = 0; i < WAYS; i++)
        order[i] = (zigzag[mirrored ? WAYS - 1 - i : i] + round) % WAYS;
    for (int i = 0; i < WAYS; i++) {
        rest();
        switch (order[i]) {
        case 0: nic_of_floor(true); break;
        case 1: nic_of_floor(false); break;
        case 2: nic_of_library(); break;
        case 3: disk_of_floor(); break;
        case 4: disk_of_library(); break;
        }
    }
    opening();
}

static void open_all(void)
{
    works(kvmh_runtime_new(NULL, &vm.runtime, &failure));
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &vm.guest, &failure));
    floor_open(&hand, floor_path, true);
}

static void close_all(void)
{
    vm_close(&vm);
    floor_close(&hand);
    unlink(vm.path);
}

static void traced(void)
{
    tracing = true;
    open_all();
    round_of_all(0);
    close_all();
}

/* The longest time that QEMU's main loop has answered nothing. */
static atomic_bool watching;
static double longest;

static void *watch(void *unused)
{
    static struct floor watcher;
    double last;

    floor_open(&watcher, watch_path, false);
    last = clock_ms();
    while (atomic_load(&watching)) {
        floor_status(&watcher);
        double now = clock_ms();
        if (now - last > longest)
            longest = now - last;
        last = now;
    }
    floor_close(&watcher);
    return unused;
}

static double gap_during(void (*removal)(void))
{
    pthread_t thread;

    longest = 0;
    atomic_store(&watching, true);
    if (pthread_create(&thread, NULL, watch, NULL) != 0)
        FAIL("no thread");
    usleep(2000);
    removal();
    atomic_store(&watching, false);
    pthread_join(thread, NULL);
    return longest;
}

static struct kvm_hotplug_device standing;

static void remove_by_library(void)
{
    library_removal(DEL_NIC_OURS, &standing);
}

static void remove_by_floor(void)
{
    floor_removal(DEL_NIC_FLOOR, "nic", false);
}

static void remove_bare(void)
{
    floor_ask(&hand, "nic", FLOOR_SLOT);
    eject(FLOOR_SLOT);
    floor_wait(&hand);
}

static void nothing(void)
{
    usleep(20000);
}

static void stalls(void)
{
    struct kvm_hotplug_nic nic = {.bridge = bridge, .vhost = KVM_HOTPLUG_VHOST_OFF};
    static struct samples idle, bare, floor, ours;

    for (int i = 0; i < DEL_ROUNDS; i++) {
        sample(&idle, gap_during(nothing));
        floor_add_bare(&hand, FLOOR_SLOT);
        sample(&bare, gap_during(remove_bare));
        floor_add_nic(&hand, FLOOR_SLOT, bridge, false);
        sample(&floor, gap_during(remove_by_floor));
        settle();
        works(kvmh_add_nic(vm.guest, &nic, &standing, &failure));
        sample(&ours, gap_during(remove_by_library));
    }
    printf(
        "\nlongest silence of QEMU's main loop around the removal of a NIC, seen on another monitor (medians of %d)\n",
        DEL_ROUNDS);
    printf("  nothing is done %.2f ms, a NIC with nothing behind it %.2f ms, floor %.2f ms, library %.2f ms\n",
           median(&idle), median(&bare), median(&floor), median(&ours));
    must_hold("stall of a NIC removal, library to floor", median(&ours) / median(&floor), 0.1);
    must_hold("the same, to a NIC with nothing behind it", median(&ours) / median(&bare), 1.5);
}

static void report_costs(enum what what)
{
    const struct cost *cost = &costs[what];

    printf("%-34s %9ld %8ld %7ld %12ld %9ld", names[what], cost->commands, cost->bytes, cost->writes, cost->round_trips,
           cost->syscalls);
}

static void heading(void)
{
    printf("\n%-34s %9s %8s %7s %12s %9s\n", "one operation", "commands", "bytes", "writes", "round trips", "syscalls");
}

static void report(int rounds)
{
    heading();
    for (int i = 0; i < HOW_MANY; i++) {
        report_costs(i);
        printf(" %6.2f ms\n", median(&times[i]));
    }
    printf("medians of %d, in turns on one idle guest (%s)\n\n", rounds, "QEMU without a system in it");
}

static double bytes(enum what ours, enum what floor)
{
    return (double)costs[ours].bytes / (double)costs[floor].bytes;
}

static void judge_times(void)
{
    must_hold("NIC add, time, library to floor with option ROM", median(&times[NIC_OURS]) / median(&times[NIC_ROM]),
              1.00);
    must_hold("NIC add, time, library to floor that sends the same",
              median(&times[NIC_OURS]) / median(&times[NIC_FLOOR]), 1.05);
    must_hold("disk add, time, library to floor", median(&times[DISK_OURS]) / median(&times[DISK_FLOOR]), 1.05);
}

/* What does not depend on the machine. */
static void judge_costs(void)
{
    must_hold("NIC add, bytes", bytes(NIC_OURS, NIC_FLOOR), 1.10);
    must_hold("disk add, bytes", bytes(DISK_OURS, DISK_FLOOR), 1.10);
    must_hold("NIC del, bytes", bytes(DEL_NIC_OURS, DEL_NIC_FLOOR), 1.10);
    must_hold("disk del, bytes", bytes(DEL_DISK_OURS, DEL_DISK_FLOOR), 1.10);
    for (int i = NIC_OURS; i <= DEL_DISK_OURS; i++) {
        if (i == NIC_OURS || i == DISK_OURS || i == DEL_NIC_OURS || i == DEL_DISK_OURS) {
            must_hold(names[i], (double)costs[i].commands / (double)costs[i - 1].commands, 1.00);
            must_hold("  the same, writes", (double)costs[i].writes / (double)costs[i - 1].writes, 1.00);
            must_hold("  the same, round trips", (double)costs[i].round_trips / (double)costs[i - 1].round_trips, 1.00);
        }
        if (most_syscalls[i] > 0)
            must_hold("  the same, system calls", (double)costs[i].syscalls, (double)most_syscalls[i]);
    }
    must_hold("open, round trips after the greeting", (double)costs[OPEN_OURS].round_trips, 2);
    must_hold("  the same, system calls", (double)costs[OPEN_OURS].syscalls, (double)most_syscalls[OPEN_OURS]);
}

static void begin_all(void)
{
    char directory[TEST_PATH], first[TEST_PATH + 32], second[TEST_PATH + 32];
    const char *const extra[] = {"-qmp", first, "-qmp", second, NULL};

    directory_new(directory);
    path_in(floor_path, directory, "floor");
    path_in(watch_path, directory, "watch");
    snprintf(first, sizeof first, "unix:%s,server=on,wait=off", floor_path);
    snprintf(second, sizeof second, "unix:%s,server=on,wait=off", watch_path);
    bridge_new(bridge);
    vm.qemu = qemu_start(&(struct qemu_options){.machine = "pc", .extra = extra});
    qemu_wait_firmware(vm.qemu, 0);
    path_in(image, vm.qemu->dir, "disk.img");
    image_raw(image, MEBIBYTE);
    snprintf(vm.path, sizeof vm.path, "%s/vm.runtime", vm.qemu->dir);
}

void bench_costs(void)
{
    begin_all();
    trace_run(traced, costs, HOW_MANY);
    heading();
    for (int i = 0; i < HOW_MANY; i++) {
        report_costs(i);
        printf("\n");
    }
    judge_costs();
    qemu_stop(vm.qemu);
}

void bench_work(int rounds)
{
    begin_all();
    open_all();
    for (int i = 0; i < rounds; i++) {
        nic_of_library();
        disk_of_library();
        opening();
    }
    close_all();
    qemu_stop(vm.qemu);
}

void bench_one(int rounds)
{
    begin_all();
    trace_run(traced, costs, HOW_MANY);
    memset(times, 0, sizeof times);
    open_all();
    for (int i = 0; i < rounds; i++)
        round_of_all(i);
    report(rounds);
    judge_times();
    judge_costs();
    stalls();
    close_all();
    qemu_stop(vm.qemu);
}
