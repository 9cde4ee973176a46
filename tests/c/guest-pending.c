/* Removals that the guest cannot grant now: the answer is PENDING at once and says why, nothing behind the
 * device is touched, and when the guest goes on, an event arrives and everything is cleared. */
#include <stdio.h>
#include <string.h>

#include "support/plug.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/view.h"

enum { AT_ONCE_MS = 1000, GRANTED_MS = 40000 };

static char image[TEST_PATH];

static void add_both(struct vm *vm, struct kvm_hotplug_device *nic, struct kvm_hotplug_device *disk)
{
    char name[16];

    works(add_nic(vm, &(struct kvm_hotplug_nic){0}, nic));
    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = image}, disk));
    view_nic(vm->qemu, nic, name);
    view_disk(vm->qemu, disk, name);
}

/* Asks with plenty of time, which is not used. */
static void pending_at_once(struct vm *vm, const char *id, uint32_t reason)
{
    long long start = now_ms();

    answers(unplug(vm, id, 20000), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK(now_ms() - start < AT_ONCE_MS);
    CHECK_NUMBER(pending_reason(vm, id), reason);
}

static void all_there(struct vm *vm, const struct kvm_hotplug_device *nic, const struct kvm_hotplug_device *disk)
{
    struct qemu *qemu = vm->qemu;

    CHECK(hmp_contains(qemu, "info network", nic->id));
    CHECK(qmp_contains(qemu, "{\"execute\":\"query-named-block-nodes\"}", disk->id));
    CHECK(qmp_contains(qemu, "{\"execute\":\"query-pci\"}", nic->id));
    CHECK_NUMBER(recorded(vm), 2);
}

/* Two events in any order, and nothing left on the host's side. */
static void both_finish(struct vm *vm, const struct kvm_hotplug_device *nic, const struct kvm_hotplug_device *disk)
{
    struct kvm_hotplug_event events[2] = {0};
    int i;

    for (i = 0; i < 2; i++) {
        CHECK(next_event(vm, &events[i], GRANTED_MS));
        CHECK_NUMBER(events[i].event_type, KVM_HOTPLUG_EVENT_REMOVED);
    }
    CHECK(strcmp(events[0].id, events[1].id) != 0);
    check_gone(vm, nic->id);
    check_gone(vm, disk->id);
    answers(unplug(vm, nic->id, 1000), KVM_HOTPLUG_ANSWER_ABSENT);
    CHECK_NUMBER(recorded(vm), 0);
}

static void paused(struct vm *vm)
{
    struct kvm_hotplug_device nic, disk;

    add_both(vm, &nic, &disk);
    qmp(vm->qemu, "{\"execute\":\"stop\"}");
    pending_at_once(vm, nic.id, KVM_HOTPLUG_REASON_PAUSED);
    pending_at_once(vm, disk.id, KVM_HOTPLUG_REASON_PAUSED);
    pending_at_once(vm, disk.id, KVM_HOTPLUG_REASON_PAUSED);
    all_there(vm, &nic, &disk);
    qmp(vm->qemu, "{\"execute\":\"cont\"}");
    both_finish(vm, &nic, &disk);
    CHECK(view_is_gone(vm->qemu, &nic));
    CHECK(view_is_gone(vm->qemu, &disk));
}

/* Linux on q35 never hears of ACPI hotplug again after it was asleep (seen with QEMU 7.2, 10.0 and 11.1), so
 * only a reset takes the devices out. Until then they work. */
static void not_asked_after_sleep(struct vm *vm, const struct kvm_hotplug_device *nic,
                                  const struct kvm_hotplug_device *disk, const char *name)
{
    char console[TEST_PATH];
    long long end = now_ms() + 20000;

    /* Its serial port loses what is said to it before, and a few letters even then. */
    path_in(console, vm->qemu->dir, "console.log");
    while (!image_mentions(console, "awake again") && now_ms() < end)
        sleep_ms(10);
    CHECK(guest_wait(vm->qemu, "test woken = woken", 5000));
    CHECK_NUMBER(guest_does(vm->qemu, "cat /dev/%s >/dev/null", name), 0);
    qmp(vm->qemu, "{\"execute\":\"system_reset\"}");
    both_finish(vm, nic, disk);
}

/* A guest that had kept stale copies of the old devices would hang on the new ones. */
static void go_on(struct vm *vm, struct kvm_hotplug_device *nic, struct kvm_hotplug_device *disk)
{
    char name[16];

    both_finish(vm, nic, disk);
    CHECK(view_is_gone(vm->qemu, nic));
    CHECK(view_is_gone(vm->qemu, disk));
    add_both(vm, nic, disk);
    view_disk(vm->qemu, disk, name);
    CHECK_NUMBER(guest_does(vm->qemu, "cat /dev/%s >/dev/null", name), 0);
    works(unplug(vm, nic->id, 0));
    works(unplug(vm, disk->id, 0));
}

/* Waking up is a reset to QEMU, and a reset completes removals: a guest that were asked while it sleeps would
 * lose the devices without a chance to let go of them. */
static void asleep(struct vm *vm)
{
    struct kvm_hotplug_device nic, disk;
    char name[16];

    add_both(vm, &nic, &disk);
    view_disk(vm->qemu, &disk, name);
    CHECK_NUMBER(guest_does(vm->qemu, "(sleep 0.1; echo mem >/sys/power/state; "
                                      "echo '<0>awake again' >/dev/kmsg) >/dev/null 2>&1 &"),
                 0);
    CHECK(qmp_wait_event(vm->qemu, "SUSPEND", NULL, 20000) != NULL);
    /* QEMU tells one monitor after another; by its next answer it has told all. */
    qmp(vm->qemu, "{\"execute\":\"query-status\"}");
    pending_at_once(vm, nic.id, KVM_HOTPLUG_REASON_ASLEEP);
    pending_at_once(vm, disk.id, KVM_HOTPLUG_REASON_ASLEEP);
    all_there(vm, &nic, &disk);
    qmp(vm->qemu, "{\"execute\":\"system_wakeup\"}");
    if (vm->qemu->q35 && !has_native_hotplug(vm->qemu))
        not_asked_after_sleep(vm, &nic, &disk, name);
    else
        go_on(vm, &nic, &disk);
}

int main(void)
{
    struct vm vm;

    test_begin("guest-pending", 600);
    vm_start(&vm, &(struct qemu_options){.guest = true, .sleeps = true});
    path_in(image, vm.qemu->dir, "disk.img");
    image_raw(image, MEBIBYTE);
    paused(&vm);
    /* The last one: it may leave a reset guest. Arm's machine without firmware knows no sleep. */
    if (!vm.qemu->virt)
        asleep(&vm);
    vm_stop(&vm);
    return test_end();
}
