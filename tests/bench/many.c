/* Many devices in one guest: whether the last costs what the first does, and what a list costs in one
 * call. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "measure.h"
#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { MOST = 27, EDGE = 5, WAIT_MS = 10000 };

static struct vm vm;
static char bridge[IF_NAMESIZE];
static struct kvm_hotplug_device devices[MOST];

/* Lets go of all devices of pci.0 that are asked for, as the guest's ACPI code does. */
static void eject_all(int count)
{
    char json[160];
    unsigned slots = 0;

    for (int i = 0; i < count; i++)
        slots |= 1u << devices[i].slot;
    qmp(vm.qemu, "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"o /w 0xae10 0\"}}");
    for (int slot = 0; slot < 32; slot++) {
        if ((slots >> slot & 1) == 0)
            continue;
        snprintf(json, sizeof json,
                 "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"o /w 0xae08 0x%x\"}}",
                 1u << slot);
        qmp(vm.qemu, json);
    }
}

static void remove_all(int count)
{
    const char *ids[MOST];
    struct kvm_hotplug_del_batch batch = {.ids = ids, .id_count = (size_t)count, .flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_event event;
    int gone = 0;

    for (int i = 0; i < count; i++)
        ids[i] = devices[i].id;
    answers(kvmh_del_many(vm.guest, &batch, NULL, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    eject_all(count);
    while (gone < count) {
        struct pollfd ready = {.fd = kvm_hotplug_get_fd(vm.guest, &failure), .events = POLLIN};

        if (poll(&ready, 1, WAIT_MS) != 1)
            FAIL("%d of %d devices are gone, the others do not go", gone, count);
        if (kvm_hotplug_process(vm.guest, 0, &failure) < 0)
            FAIL("%s", kvm_hotplug_error_message(failure));
        while (kvmh_next_event(vm.guest, &event, &failure) == 1)
            gone += event.event_type == KVM_HOTPLUG_EVENT_REMOVED;
    }
    monitor_forget_events(vm.qemu->observer);
}

static double one_by_one(struct samples *first, struct samples *last)
{
    struct kvm_hotplug_nic nic = {.bridge = bridge, .vhost = KVM_HOTPLUG_VHOST_OFF};
    double all = 0;

    for (int i = 0; i < MOST; i++) {
        double start = clock_ms(), spent;
        int rc = kvmh_add_nic(vm.guest, &nic, &devices[i], &failure);

        spent = clock_ms() - start;
        works(rc);
        all += spent;
        if (i < EDGE)
            sample(first, spent);
        else if (i >= MOST - EDGE)
            sample(last, spent);
    }
    return all;
}

static double all_at_once(void)
{
    struct kvm_hotplug_nic nics[MOST];
    struct kvm_hotplug_add_batch batch = {.nics = nics, .nic_size = sizeof nics[0], .nic_count = MOST};
    double start;
    int rc;

    for (int i = 0; i < MOST; i++)
        nics[i] = (struct kvm_hotplug_nic){.bridge = bridge, .vhost = KVM_HOTPLUG_VHOST_OFF};
    start = clock_ms();
    rc = kvmh_add_many(vm.guest, &batch, devices, &failure);
    start = clock_ms() - start;
    works(rc);
    return start;
}

void bench_many(int rounds)
{
    static struct samples first, last, single, batch;

    bridge_new(bridge);
    vm_start(&vm, &(struct qemu_options){.machine = "pc"});
    if (rounds > MOST_SAMPLES / EDGE)
        rounds = MOST_SAMPLES / EDGE;
    for (int i = 0; i < rounds; i++) {
        sample(&single, one_by_one(&first, &last) / MOST);
        remove_all(MOST);
        sample(&batch, all_at_once() / MOST);
        remove_all(MOST);
    }
    printf("\n%d NICs in one guest, medians of %d rounds, for each NIC\n", MOST, rounds);
    printf("  the first %d %.2f ms, the last %d %.2f ms; one by one %.2f ms, as one list %.2f ms\n", EDGE,
           median(&first), EDGE, median(&last), median(&single), median(&batch));
    must_hold("the last NICs to the first", median(&last) / median(&first), 1.25);
    must_hold("a list to the same one by one", median(&batch) / median(&single), 1.00);
    vm_stop(&vm);
}
