/* Limits of disks, as the guest feels them: a limited disk is slower than another one, at once, after a
 * change, and after the guest was started again from its record. And iothreads, which come and go with their
 * devices. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/boot.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/plug.h"
#include "support/view.h"

/* A quarter of a mebibyte each second, and eight times as much to read. */
#define SLOW "{\"bps-total\": 262144}"

static struct kvm_hotplug_device limited, free_one, controller;

/* Milliseconds that the guest takes to read the start of a disk from the host. */
static long long reads(struct vm *vm, const struct kvm_hotplug_device *disk)
{
    char name[16];
    long long begin;

    view_disk(vm->qemu, disk, name);
    CHECK_NUMBER(guest_does(vm->qemu, "echo 3 >/proc/sys/vm/drop_caches"), 0);
    begin = now_ms();
    CHECK_NUMBER(guest_does(vm->qemu, "dd if=/dev/%s of=/dev/null bs=64k count=32 2>/dev/null", name), 0);
    return now_ms() - begin + 1;
}

static void is_slower(struct vm *vm, const struct kvm_hotplug_device *slow, const struct kvm_hotplug_device *fast)
{
    long long fast_ms = reads(vm, fast), slow_ms = reads(vm, slow);

    if (slow_ms < 2 * fast_ms)
        FAIL("%s took %lld ms and %s took %lld ms", slow->id, slow_ms, fast->id, fast_ms);
}

static void set(struct vm *vm, const struct kvm_hotplug_device *disk, const char *limits)
{
    works(kvm_hotplug_set_disk_limits(vm->guest, disk->id, limits, 0, &failure));
    CHECK_VERIFIED(vm);
}

static void change(struct vm *vm)
{
    long long limited_ms, free_ms;
    uint64_t size = 0;

    is_slower(vm, &limited, &free_one);
    limited_ms = reads(vm, &limited);
    set(vm, &limited, NULL);
    free_ms = reads(vm, &limited);
    if (limited_ms < 2 * free_ms)
        FAIL("%lld ms with limits, %lld ms without", limited_ms, free_ms);
    /* One that was added without. */
    set(vm, &free_one, SLOW);
    is_slower(vm, &free_one, &limited);
    works(kvm_hotplug_resize_disk(vm->guest, limited.id, 16 * MEBIBYTE, 0, 0, &size, &failure));
    CHECK_NUMBER(size, 16 * MEBIBYTE);
    CHECK_VERIFIED(vm);
    invalid(kvm_hotplug_set_disk_limits(vm->guest, limited.id, "{\"bps\": 1}", 0, &failure), "bps",
            "QEMU has no such limit");
    invalid(kvm_hotplug_set_disk_limits(vm->guest, free_one.id, "{\"group\": \"g\", \"bps-read\": 1}", 0, &failure),
            "keeps the group");
}

static void in_a_group(struct vm *vm, const char *one, const char *two)
{
    static const char together[] = "{\"iops-total\": 500, \"group\": \"tenant\"}";

    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = one, .id = "one", .limits = together}, NULL));
    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = two, .id = "two", .limits = together}, NULL));
    works(kvm_hotplug_set_disk_limits(vm->guest, "one", "{\"bps-write\": 1048576}", 0, &failure));
    CHECK_VERIFIED(vm);
    works(unplug(vm, "one", 0));
    CHECK(has_object(vm->qemu, "tenant"));
    works(unplug(vm, "two", 0));
    CHECK(!has_object(vm->qemu, "tenant"));
}

static void threads(struct vm *vm, const char *image)
{
    struct kvm_hotplug_controller own = {.id = "scsi", .flags = KVM_HOTPLUG_MAKE_IOTHREAD};
    struct kvm_hotplug_disk shared = {.path = image, .id = "shared", .iothread = "io"};

    works(kvmh_add_controller(vm->guest, &own, &controller, &failure));
    CHECK(has_object(vm->qemu, "scsi-iothread"));
    fails(kvmh_add_disk(vm->guest, &shared, NULL, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "no iothread io");
    shared.flags = KVM_HOTPLUG_MAKE_IOTHREAD;
    works(add_disk(vm, &shared, NULL));
    CHECK(has_object(vm->qemu, "io"));
    CHECK_VERIFIED(vm);
    works(unplug(vm, "shared", 0));
    works(unplug(vm, "scsi", 0));
    CHECK(!has_object(vm->qemu, "io") && !has_object(vm->qemu, "scsi-iothread"));
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = 6};
    char images[4][TEST_PATH], directory[TEST_PATH], name[16];
    struct kvm_hotplug_disk slow = {.limits = SLOW, .discard = KVM_HOTPLUG_DISCARD_UNMAP};
    unsigned major, minor;
    struct vm vm;

    test_begin("guest-disk-limits", 400);
    directory_new(directory);
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        snprintf(name, sizeof name, "%zu.img", i);
        path_in(images[i], directory, name);
        image_raw(images[i], 8 * MEBIBYTE);
    }
    vm_prepare(&vm, &(struct qemu_options){.guest = true, .root_ports = -1});
    for_version(&vm, &boot);
    vm_boot(&vm, &boot);
    slow.path = images[0];
    /* An older one cannot resize a disk that has one. */
    qemu_version(NULL, &major, &minor);
    if (major > 5)
        slow.flags = KVM_HOTPLUG_MAKE_IOTHREAD;
    works(add_disk(&vm, &slow, &limited));
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.path = images[1]}, &free_one));
    CHECK_VERIFIED(&vm);
    change(&vm);
    in_a_group(&vm, images[2], images[3]);
    threads(&vm, images[2]);

    vm_switch_off(&vm);
    vm_boot(&vm, &boot);
    CHECK_NUMBER(recorded(&vm), 2);
    CHECK_VERIFIED(&vm);
    is_slower(&vm, &free_one, &limited);
    works(unplug(&vm, free_one.id, 0));
    works(unplug(&vm, limited.id, 0));
    check_gone(&vm, free_one.id);
    vm_stop(&vm);
    return test_end();
}
