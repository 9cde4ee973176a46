/* ctest: serial */
/* Every slot is filled, one more is refused with the counts, every slot is emptied again: twenty times, and
 * nothing grows, neither in QEMU nor here. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { ROUNDS = 20, PORTS = 8, FIRST_SLOT = 4, PC_SLOTS = 28, WAIT_MS = 20000 };
/* Of QEMU's heap up to 30 MB are memory maps that it made anew and has not freed yet. */
enum { MORE_CALLER_KB = 128, MORE_QEMU_KB = 48 << 10 };

static struct vm vm;
static int slots;
static char bridge[IF_NAMESIZE];
static char images[PC_SLOTS][TEST_PATH];
static struct kvm_hotplug_device devices[PC_SLOTS];

static int add(int i, struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_nic nic = {.bridge = bridge};
    struct kvm_hotplug_disk disk = {.path = images[i]};

    return i % 2 == 0 ? kvmh_add_nic(vm.guest, &nic, device, &failure)
                      : kvmh_add_disk(vm.guest, &disk, device, &failure);
}

/* In order, and named after it. */
static void check_place(int i)
{
    const char *type = i % 2 == 0 ? "nic" : "disk";
    char bus[16] = "pci.0", id[32];

    if (vm.qemu->q35)
        snprintf(bus, sizeof bus, "rp%d", i);
    CHECK_TEXT(devices[i].bus, bus);
    CHECK_NUMBER(devices[i].slot, vm.qemu->q35 ? 0 : FIRST_SLOT + i);
    if (vm.qemu->q35)
        snprintf(id, sizeof id, "%s-pci-rp%d", type, i);
    else
        snprintf(id, sizeof id, "%s-pci-%d", type, FIRST_SLOT + i);
    CHECK_TEXT(devices[i].id, id);
}

static void fill(void)
{
    int i;

    for (i = 0; i < slots; i++) {
        works(add(i, &devices[i]));
        check_place(i);
    }
}

/* Neither kind has a place, and nothing is left of the attempt. */
static void no_more(const char *counts, const char *advice)
{
    char image[TEST_PATH];
    struct kvm_hotplug_nic nic = {.bridge = bridge};
    struct kvm_hotplug_disk disk = {.path = image};
    int links = link_count(), fds = process_fds(getpid());

    path_in(image, vm.qemu->dir, "more.img");
    image_raw(image, 1 << 20);
    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "no free slot", counts,
          advice);
    fails(kvmh_add_disk(vm.guest, &disk, NULL, &failure), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "no free slot", counts,
          advice);
    CHECK_NUMBER(link_count(), links);
    CHECK_NUMBER(process_fds(getpid()), fds);
    CHECK(!vm_has_journal(&vm) || !vm_journal_contains(&vm, "\"verb\":\"add\""));
}

static void ask_all(void)
{
    int i;

    for (i = 0; i < slots; i++) {
        struct kvm_hotplug_del_options removal = {.id = devices[i].id, .flags = KVM_HOTPLUG_NO_WAIT};

        answers(kvmh_del(vm.guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    }
}

static void all_go(void)
{
    struct kvm_hotplug_event event;
    int i, at;
    bool gone[PC_SLOTS] = {false};

    vm_reset(&vm);
    for (i = 0; i < slots; i++) {
        CHECK(vm_next_event(&vm, &event, test_patience(WAIT_MS)));
        CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_REMOVED);
        for (at = 0; at < slots && strcmp(event.id, devices[at].id) != 0; at++)
            ;
        CHECK(at < slots && !gone[at]);
        gone[at] = true;
    }
    vm_nothing_to_fetch(&vm);
    CHECK(!vm_has_journal(&vm));
}

static void run_round(void)
{
    char full[64], pending[64];

    snprintf(full, sizeof full, "%d of %d taken (0 quarantined)", slots, slots);
    snprintf(pending, sizeof pending, "(%d quarantined)", slots);
    fill();
    no_more(full, "remove a device, or start the guest with");
    ask_all();
    no_more(pending, "wait for the pending removals");
    all_go();
}

/* The least of several rounds: memory comes and goes with what else is going on. */
struct memory {
    long caller, qemu;
};

static void take_least(struct memory *least)
{
    long caller = (long)mallinfo2().uordblks / 1024;
    long qemu = process_heap_kb(vm.qemu->pid);

    least->caller = least->caller == 0 || caller < least->caller ? caller : least->caller;
    least->qemu = least->qemu == 0 || qemu < least->qemu ? qemu : least->qemu;
}

static void check_memory(const struct memory *early, const struct memory *late)
{
    printf("in use early and late: caller %ld and %ld KB, QEMU's heap %ld and %ld KB\n", early->caller, late->caller,
           early->qemu, late->qemu);
    CHECK(late->caller - early->caller < MORE_CALLER_KB);
    CHECK(late->qemu - early->qemu < MORE_QEMU_KB);
}

static void rounds(void)
{
    char *empty = vm_picture(&vm);
    int own_fds = process_fds(getpid()), qemu_fds = process_fds(vm.qemu->pid), links = link_count();
    struct memory early = {0}, late = {0};
    int round;

    for (round = 0; round < ROUNDS; round++) {
        run_round();
        CHECK_PICTURE(&vm, empty);
        CHECK_NUMBER(process_fds(getpid()), own_fds);
        CHECK_NUMBER(process_fds(vm.qemu->pid), qemu_fds);
        CHECK_NUMBER(link_count(), links);
        take_least(round < ROUNDS / 2 ? &early : &late);
    }
    check_memory(&early, &late);
    free(empty);
}

int main(void)
{
    int i;

    test_begin("qemu-exhaustion", 300);
    net_private();
    bridge_new(bridge);
    vm_start(&vm, &(struct qemu_options){.root_ports = PORTS});
    slots = vm.qemu->q35 ? PORTS : PC_SLOTS;
    for (i = 0; i < slots; i++) {
        snprintf(images[i], TEST_PATH, "%s/%d.img", vm.qemu->dir, i);
        image_raw(images[i], 1 << 20);
    }
    rounds();
    vm_stop(&vm);
    return test_end();
}
