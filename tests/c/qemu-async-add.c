/* Adds that are not waited for, in a real QEMU: one for each of many guests at once from one thread,
 * refusals, a QEMU that ends meanwhile, and calls of several threads in between. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/boot.h"
#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { GUESTS = 4, ROOT_PORTS = 6, THREADS = 4, WAIT_MS = 20000 };

static char directory[TEST_PATH];

static struct kvm_hotplug_disk disk_of(const char *id, const char *path)
{
    return (struct kvm_hotplug_disk){.id = id, .path = path, .flags = KVM_HOTPLUG_NO_WAIT, .timeout_ms = WAIT_MS};
}

static void begin_disk(struct vm *vm, const char *id, const char *path)
{
    struct kvm_hotplug_disk disk = disk_of(id, path);
    struct kvm_hotplug_device device;

    answers(kvmh_add_disk(vm->guest, &disk, &device, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_TEXT(device.id, id);
    CHECK(device.bus[0] != '\0');
    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_PENDING);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_NOT_AWAITED);
}

static void image_for(char path[TEST_PATH], int guest)
{
    char name[32];

    snprintf(name, sizeof name, "disk%d", guest);
    path_in(path, directory, name);
}

/* Each guest gets a NIC with several queues and then a disk; nobody waits for one of them while another has
 * news. */
static void many_guests(void)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .queues = 3, .flags = KVM_HOTPLUG_NO_WAIT, .timeout_ms = WAIT_MS};
    struct pollfd ready[GUESTS];
    struct vm vms[GUESTS];
    int left = GUESTS;

    for (int i = 0; i < GUESTS; i++) {
        char path[TEST_PATH];

        vm_start(&vms[i], &(struct qemu_options){.root_ports = ROOT_PORTS, .stopped = true, .memory_mb = 64});
        image_for(path, i);
        image_raw(path, MEBIBYTE);
    }
    for (int i = 0; i < GUESTS; i++) {
        answers(kvmh_add_nic(vms[i].guest, &nic, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
        ready[i] = (struct pollfd){.fd = kvm_hotplug_get_fd(vms[i].guest, &failure), .events = POLLIN};
    }
    while (left > 0) {
        CHECK(poll(ready, GUESTS, test_patience(WAIT_MS)) > 0);
        for (int i = 0; i < GUESTS; i++) {
            struct kvm_hotplug_event event;
            char path[TEST_PATH];

            if (ready[i].revents == 0)
                continue;
            CHECK(kvm_hotplug_process(vms[i].guest, WAIT_MS, &failure) >= 0);
            if (kvmh_next_event(vms[i].guest, &event, &failure) == 0)
                continue;
            CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_ADDED);
            image_for(path, i);
            if (strcmp(event.id, "lan") == 0) {
                begin_disk(&vms[i], "data", path);
            } else {
                CHECK_TEXT(event.id, "data");
                ready[i].fd = -1;
                left--;
            }
        }
    }
    for (int i = 0; i < GUESTS; i++) {
        CHECK_VERIFIED(&vms[i]);
        CHECK_NUMBER(vm_device(&vms[i], "lan").queues, 3);
        vm_stop(&vms[i]);
    }
}

static struct kvm_hotplug_event next(struct vm *vm, uint32_t type, const char *id)
{
    struct kvm_hotplug_event event;

    CHECK(vm_next_event(vm, &event, test_patience(WAIT_MS)));
    if (event.event_type != type || strcmp(event.id, id) != 0)
        FAIL("event %u of \"%s\" (%s), not %u of \"%s\"", event.event_type, event.id, event.text, type, id);
    return event;
}

/* QEMU says no to the second of two disks with the same place in the boot order, which the library does not
 * look for. */
static void refused(struct vm *vm)
{
    struct kvm_hotplug_disk disk = disk_of("first", NULL);
    struct kvm_hotplug_event event;
    char first[TEST_PATH], second[TEST_PATH], *picture;

    image_for(first, 0);
    image_for(second, 1);
    disk.flags |= KVM_HOTPLUG_BOOT_INDEX;
    disk.path = first;
    answers(kvmh_add_disk(vm->guest, &disk, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    next(vm, KVM_HOTPLUG_EVENT_ADDED, "first");
    picture = vm_picture(vm);
    disk.id = "second";
    disk.path = second;
    answers(kvmh_add_disk(vm->guest, &disk, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    event = next(vm, KVM_HOTPLUG_EVENT_ADD_FAILED, "second");
    CHECK_NUMBER(event.error_kind, KVM_HOTPLUG_ERROR_QMP);
    CHECK_NUMBER(event.error_number, EREMOTEIO);
    CHECK(strstr(event.text, "device_add second") != NULL);
    CHECK_PICTURE(vm, picture);
    CHECK(!vm_has_journal(vm));
    free(picture);
}

struct adder {
    pthread_t thread;
    struct vm *vm;
    char id[16], path[TEST_PATH];
};

/* Whoever calls process takes in what any of them has begun. */
static void *add_and_look(void *argument)
{
    struct adder *adder = argument;
    struct kvm_hotplug_disk disk = disk_of(adder->id, adder->path);
    struct kvm_hotplug_device device;
    long long end = now_ms() + test_patience(WAIT_MS);

    answers(kvmh_add_disk(adder->vm->guest, &disk, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    while (kvmh_get_device(adder->vm->guest, adder->id, &device, NULL) != KVM_HOTPLUG_STATE_LIVE) {
        CHECK(ms_until(end) > 0);
        CHECK(kvm_hotplug_process(adder->vm->guest, WAIT_MS, &failure) >= 0);
        sleep_ms(1);
    }
    return NULL;
}

static void many_threads(struct vm *vm)
{
    struct adder adders[THREADS];

    for (int i = 0; i < THREADS; i++) {
        snprintf(adders[i].id, sizeof adders[i].id, "many%d", i);
        path_in(adders[i].path, directory, adders[i].id);
        image_raw(adders[i].path, MEBIBYTE);
        adders[i].vm = vm;
        CHECK_NUMBER(pthread_create(&adders[i].thread, NULL, add_and_look, &adders[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(adders[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK_NUMBER(vm_device(vm, adders[i].id).state, KVM_HOTPLUG_STATE_LIVE);
    CHECK_VERIFIED(vm);
}

/* What QEMU was at when it ended did not happen: nothing is in the record, and the next start finds nothing
 * to be settled. */
static void ended(struct vm *vm)
{
    struct kvm_hotplug_disk disk = disk_of("last", NULL);
    struct kvm_hotplug_event event = {0};
    char path[TEST_PATH];

    image_for(path, 2);
    disk.path = path;
    kill(vm->qemu->pid, SIGSTOP);
    answers(kvmh_add_disk(vm->guest, &disk, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    qemu_end(vm->qemu);
    CHECK(kvm_hotplug_process(vm->guest, WAIT_MS, &failure) < 0);
    while (event.event_type != KVM_HOTPLUG_EVENT_ADD_FAILED)
        CHECK_NUMBER(kvmh_next_event(vm->guest, &event, &failure), 1);
    CHECK_TEXT(event.id, "last");
    CHECK_NUMBER(event.error_kind, KVM_HOTPLUG_ERROR_MONITOR_LOST);
}

int main(void)
{
    struct vm vm;

    test_begin("qemu-async-add", 120);
    net_private();
    directory_new(directory);
    many_guests();
    vm_start(&vm, &(struct qemu_options){.root_ports = ROOT_PORTS});
    refused(&vm);
    many_threads(&vm);
    ended(&vm);
    vm_stop(&vm);
    return test_end();
}
