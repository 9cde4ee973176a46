/* A guest whose every slot is taken by one list, is too full for one more, and gives all of them back to one
 * list. */
#include <stdio.h>
#include <string.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { MOST = 64, WAIT_MS = 60000 };

static struct vm vm;
static char bridge[IF_NAMESIZE];
static struct kvm_hotplug_nic nics[MOST];
static struct kvm_hotplug_device devices[MOST];

static int free_slots(void)
{
    static struct kvm_hotplug_slot slots[8 * MOST];
    size_t count;
    int free = 0;

    works(kvmh_slot_map(vm.guest, 0, slots, 8 * MOST, &count, &failure));
    for (size_t i = 0; i < count; i++)
        free += slots[i].state == KVM_HOTPLUG_SLOT_FREE;
    return free;
}

static int ports(void)
{
    char path[64];

    snprintf(path, sizeof path, "/sys/class/net/%s/brif", bridge);
    return directory_count(path);
}

/* That there are so many, for the record, the guest and the host. */
static void check_count(int count)
{
    size_t listed;

    works(kvmh_list(vm.guest, NULL, 0, &listed, &failure));
    CHECK_NUMBER((int)listed, count);
    CHECK_NUMBER(ports(), count);
}

static int add(int count)
{
    struct kvm_hotplug_add_batch batch = {.nics = nics,
                                          .nic_size = sizeof nics[0],
                                          .nic_count = (size_t)count,
                                          .timeout_ms = WAIT_MS};

    return kvmh_add_many(vm.guest, &batch, devices, &failure);
}

/* The list, asked for in one call; a reset takes out what is asked for. */
static void remove_all(int count)
{
    const char *ids[MOST];
    struct kvm_hotplug_del_batch batch = {.ids = ids, .id_count = (size_t)count, .flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_del_batch again = {.ids = ids, .id_count = (size_t)count, .timeout_ms = WAIT_MS};
    int each[MOST];

    for (int i = 0; i < count; i++)
        ids[i] = devices[i].id;
    answers(kvmh_del_many(vm.guest, &batch, NULL, each, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    for (int i = 0; i < count; i++)
        CHECK_NUMBER(each[i], KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    works(kvmh_del_many(vm.guest, &again, NULL, each, &failure));
}

int main(void)
{
    int room;

    test_begin("qemu-full", 120);
    bridge_new(bridge);
    vm_start(&vm, &(struct qemu_options){0});
    for (int i = 0; i < MOST; i++)
        nics[i] = (struct kvm_hotplug_nic){.bridge = bridge};
    room = free_slots();
    CHECK(room > 1 && room < MOST);
    fails(add(room + 1), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "of the list");
    check_count(0);
    CHECK_NUMBER(free_slots(), room);
    for (int round = 0; round < 2; round++) {
        works(add(room));
        check_count(room);
        CHECK_NUMBER(free_slots(), 0);
        fails(add(1), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "slot");
        check_count(room);
        /* A new agent finds them all, and does not take a slot for free. */
        vm_close(&vm);
        vm_open(&vm);
        CHECK_NUMBER(free_slots(), 0);
        remove_all(room);
        check_count(0);
        CHECK_NUMBER(free_slots(), room);
    }
    vm_stop(&vm);
    return test_end();
}
