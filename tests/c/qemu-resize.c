/* Disks of every kind get another size in a real QEMU, or keep theirs with a reason. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/image.h"
#include "support/loop.h"
#include "support/plug.h"

static struct vm vm;

static long long length(const char *path)
{
    struct stat status;

    ok(stat(path, &status));
    return status.st_size;
}

/* The size as the library describes it, which is what QEMU shows the guest. */
static void described(const char *id, long long bytes)
{
    char size[48], *text = NULL;

    snprintf(size, sizeof size, "\"size\":%lld", bytes);
    works(kvm_hotplug_describe(vm.guest, id, 0, &text, &failure));
    CHECK_PART(text, size);
    kvm_hotplug_text_free(text);
}

static void resized(const char *id, long long bytes, uint32_t flags, long long want)
{
    uint64_t now = 0;

    works(kvm_hotplug_resize_disk(vm.guest, id, (uint64_t)bytes, flags, 0, &now, &failure));
    CHECK_NUMBER(now, want);
    described(id, want);
}

static void raw(void)
{
    char path[TEST_PATH];

    path_in(path, vm.qemu->dir, "raw.img");
    image_raw(path, 4 * MEBIBYTE);
    vm_add_disk(&vm, "raw", path);
    resized("raw", 8 * MEBIBYTE, 0, 8 * MEBIBYTE);
    CHECK_NUMBER(length(path), 8 * MEBIBYTE);
    resized("raw", 8 * MEBIBYTE, 0, 8 * MEBIBYTE);
    resized("raw", 0, 0, 8 * MEBIBYTE);
    /* Grown from outside. */
    ok(truncate(path, 12 * MEBIBYTE));
    described("raw", 8 * MEBIBYTE);
    invalid(kvm_hotplug_resize_disk(vm.guest, "raw", 10 * MEBIBYTE, 0, 0, NULL, &failure), "has 12582912 bytes");
    resized("raw", 0, 0, 12 * MEBIBYTE);
    /* Smaller only when that is wanted. */
    invalid(kvm_hotplug_resize_disk(vm.guest, "raw", 4 * MEBIBYTE, 0, 0, NULL, &failure), "loses what lies behind");
    described("raw", 12 * MEBIBYTE);
    resized("raw", 4 * MEBIBYTE, KVM_HOTPLUG_RESIZE_SHRINK, 4 * MEBIBYTE);
    CHECK_NUMBER(length(path), 4 * MEBIBYTE);
    invalid(kvm_hotplug_resize_disk(vm.guest, "raw", 4 * MEBIBYTE + 1, 0, 0, NULL, &failure), "multiple of 512");
}

static void qcow2(void)
{
    struct kvm_hotplug_disk request = {.id = "layered", .format = KVM_HOTPLUG_FORMAT_QCOW2};
    struct kvm_hotplug_device disk;
    char base[TEST_PATH], path[TEST_PATH];

    path_in(base, vm.qemu->dir, "base.img");
    path_in(path, vm.qemu->dir, "top.qcow2");
    image_raw(base, 4 * MEBIBYTE);
    image_qcow2(path, "4M", base, "raw");
    request.path = path;
    works(add_disk(&vm, &request, &disk));
    resized("layered", 16 * MEBIBYTE, 0, 16 * MEBIBYTE);
    CHECK_NUMBER(length(base), 4 * MEBIBYTE);
    resized("layered", 0, 0, 16 * MEBIBYTE);
    resized("layered", 8 * MEBIBYTE, KVM_HOTPLUG_RESIZE_SHRINK, 8 * MEBIBYTE);
}

/* The device is resized first, and QEMU told then. */
static void block_device(void)
{
    char file[TEST_PATH], device[32];
    int loop;

    path_in(file, vm.qemu->dir, "behind.img");
    image_raw(file, 4 * MEBIBYTE);
    loop = loop_new(file, device);
    vm_add_disk(&vm, "device", device);
    described("device", 4 * MEBIBYTE);
    invalid(kvm_hotplug_resize_disk(vm.guest, "device", 8 * MEBIBYTE, 0, 0, NULL, &failure), "resize the device first");
    ok(truncate(file, 8 * MEBIBYTE));
    loop_grown(loop);
    resized("device", 0, 0, 8 * MEBIBYTE);
    ok(truncate(file, 16 * MEBIBYTE));
    loop_grown(loop);
    resized("device", 16 * MEBIBYTE, 0, 16 * MEBIBYTE);
    answers(kvm_hotplug_del_disk(vm.guest, "device", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "device");
    close(loop);
}

static void what_cannot_be(void)
{
    struct kvm_hotplug_disk request = {.id = "frozen", .flags = KVM_HOTPLUG_DISK_READ_ONLY};
    struct kvm_hotplug_device disk;
    char path[TEST_PATH];

    path_in(path, vm.qemu->dir, "frozen.img");
    image_raw(path, 4 * MEBIBYTE);
    request.path = path;
    works(add_disk(&vm, &request, &disk));
    fails(kvm_hotplug_resize_disk(vm.guest, "frozen", 8 * MEBIBYTE, 0, 0, NULL, &failure), -EOPNOTSUPP,
          KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "read-only");
    fails(kvm_hotplug_resize_disk(vm.guest, "nobody", 512, 0, 0, NULL, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND,
          "no disk \"nobody\"");
    vm_add_nic(&vm, "lan");
    invalid(kvm_hotplug_resize_disk(vm.guest, "lan", 512, 0, 0, NULL, &failure), "lan is a NIC");
    CHECK_NUMBER(length(path), 4 * MEBIBYTE);
}

/* More than its file system holds: QEMU refuses, and the disk is as it was. */
static void no_room(void)
{
    uint64_t now = 7;

    CHECK_NUMBER(kvm_hotplug_resize_disk(vm.guest, "raw", INT64_MAX / 512 * 512, 0, 0, &now, &failure), -EREMOTEIO);
    CHECK_NUMBER(kvm_hotplug_error_kind(failure), KVM_HOTPLUG_ERROR_QMP);
    CHECK_NUMBER(kvm_hotplug_error_undo(failure), KVM_HOTPLUG_UNDO_NOTHING);
    CHECK_PART(kvm_hotplug_error_message(failure), "resize raw");
    kvm_hotplug_error_free(failure);
    failure = NULL;
    CHECK_NUMBER(now, 7);
    described("raw", 4 * MEBIBYTE);
}

int main(void)
{
    test_begin("qemu-resize", 60);
    vm_start(&vm, &(struct qemu_options){.stopped = true});
    raw();
    qcow2();
    block_device();
    what_cannot_be();
    no_room();
    vm_stop(&vm);
    return test_end();
}
