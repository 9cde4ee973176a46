/* A disk in a booted guest: it has the properties asked for, and what the guest writes is in the image on the
 * host. */
#include <stdio.h>

#include "support/plug.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/view.h"

static void removed(struct vm *vm, const struct kvm_hotplug_device *disk)
{
    works(unplug(vm, disk->id, 0));
    CHECK(view_is_gone(vm->qemu, disk));
    check_gone(vm, disk->id);
}

static void add(struct vm *vm, const struct kvm_hotplug_disk *request, struct kvm_hotplug_device *disk, char name[16])
{
    works(add_disk(vm, request, disk));
    view_disk(vm->qemu, disk, name);
}

static void raw(struct vm *vm)
{
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], name[16];

    path_in(path, vm->qemu->dir, "raw.img");
    image_raw(path, 16 * MEBIBYTE);
    image_write(path, MEBIBYTE, "from the host");
    add(vm, &(struct kvm_hotplug_disk){.path = path, .serial = "SERIAL-1"}, &disk, name);
    guest_prints(vm->qemu, "SERIAL-1", "cat /sys/block/%s/serial", name);
    guest_prints(vm->qemu, "32768", "cat /sys/block/%s/size", name);
    guest_prints(vm->qemu, "512", "cat /sys/block/%s/queue/logical_block_size", name);
    guest_prints(vm->qemu, "0", "cat /sys/block/%s/ro", name);
    guest_prints(vm->qemu, "from the host", "dd if=/dev/%s bs=1M skip=1 count=1 2>/dev/null | head -c 13", name);
    CHECK_NUMBER(guest_does(vm->qemu, "printf 'from the guest' | dd of=/dev/%s bs=1M seek=2 conv=fsync", name), 0);
    removed(vm, &disk);
    CHECK(image_has(path, "raw", MEBIBYTE, "from the host"));
    CHECK(image_has(path, "raw", 2 * MEBIBYTE, "from the guest"));
}

static void blocks_of_4096(struct vm *vm)
{
    struct kvm_hotplug_disk request = {.logical_block_size = 4096, .physical_block_size = 8192};
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], name[16];

    path_in(path, vm->qemu->dir, "4k.img");
    image_raw(path, 4 * MEBIBYTE);
    request.path = path;
    add(vm, &request, &disk, name);
    guest_prints(vm->qemu, "4096", "cat /sys/block/%s/queue/logical_block_size", name);
    guest_prints(vm->qemu, "8192", "cat /sys/block/%s/queue/physical_block_size", name);
    removed(vm, &disk);
}

static void read_only(struct vm *vm)
{
    struct kvm_hotplug_disk request = {.flags = KVM_HOTPLUG_DISK_READ_ONLY};
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], name[16];

    path_in(path, vm->qemu->dir, "ro.img");
    image_raw(path, 4 * MEBIBYTE);
    image_write(path, 0, "untouched");
    request.path = path;
    add(vm, &request, &disk, name);
    CHECK_NUMBER(disk.read_only, 1);
    guest_prints(vm->qemu, "1", "cat /sys/block/%s/ro", name);
    guest_prints(vm->qemu, "untouched", "head -c 9 /dev/%s", name);
    CHECK(guest_does(vm->qemu, "printf overwritten | dd of=/dev/%s conv=fsync", name) != 0);
    removed(vm, &disk);
    CHECK(image_has(path, "raw", 0, "untouched"));
}

/* The guest reads through to the backing file and writes into the image above it. */
static void qcow2(struct vm *vm)
{
    struct kvm_hotplug_disk request = {.format = KVM_HOTPLUG_FORMAT_QCOW2};
    struct kvm_hotplug_device disk;
    char base[TEST_PATH], path[TEST_PATH], name[16];

    path_in(base, vm->qemu->dir, "base.img");
    path_in(path, vm->qemu->dir, "top.qcow2");
    image_raw(base, 8 * MEBIBYTE);
    image_write(base, MEBIBYTE, "from below");
    image_qcow2(path, "8M", base, "raw");
    request.path = path;
    add(vm, &request, &disk, name);
    guest_prints(vm->qemu, "16384", "cat /sys/block/%s/size", name);
    guest_prints(vm->qemu, "from below", "dd if=/dev/%s bs=1M skip=1 count=1 2>/dev/null | head -c 10", name);
    CHECK_NUMBER(guest_does(vm->qemu, "printf 'on the top' | dd of=/dev/%s bs=1M seek=1 conv=fsync", name), 0);
    removed(vm, &disk);
    CHECK(image_has(path, "qcow2", MEBIBYTE, "on the top"));
    CHECK(image_has(base, "raw", MEBIBYTE, "from below"));
}

/* Fills a disk in the guest and discards it all; how many bytes the image has before and after. */
static void fill_and_discard(struct vm *vm, uint32_t discard, long long *full, long long *discarded)
{
    struct kvm_hotplug_disk request = {.discard = discard};
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], file[16], name[16];

    snprintf(file, sizeof file, "discard%u.img", discard);
    path_in(path, vm->qemu->dir, file);
    image_raw(path, 8 * MEBIBYTE);
    request.path = path;
    add(vm, &request, &disk, name);
    CHECK_NUMBER(guest_does(vm->qemu, "yes | dd of=/dev/%s bs=1M count=8 iflag=fullblock conv=fsync", name), 0);
    *full = image_allocated(path);
    CHECK_NUMBER(guest_does(vm->qemu, "blkdiscard /dev/%s", name), 0);
    removed(vm, &disk);
    *discarded = image_allocated(path);
}

static void discard(struct vm *vm)
{
    long long full, discarded;

    fill_and_discard(vm, KVM_HOTPLUG_DISCARD_UNMAP, &full, &discarded);
    CHECK(full >= 8 * MEBIBYTE);
    CHECK(discarded < MEBIBYTE);
    fill_and_discard(vm, KVM_HOTPLUG_DISCARD_IGNORE, &full, &discarded);
    CHECK_NUMBER(discarded, full);
}

/* The guest cannot keep a virtio disk it has mounted: Linux lets go without asking who uses it. What it had
 * synced is in the image; what it tries later fails in the guest, which lives on. */
static void mounted(struct vm *vm)
{
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], name[16];

    path_in(path, vm->qemu->dir, "mounted.img");
    image_ext4(path, 16 * MEBIBYTE);
    add(vm, &(struct kvm_hotplug_disk){.path = path}, &disk, name);
    CHECK_NUMBER(guest_does(vm->qemu, "mkdir /tmp/m && mount -t ext4 /dev/%s /tmp/m", name), 0);
    CHECK_NUMBER(guest_does(vm->qemu, "echo synced-before-removal >/tmp/m/file && sync"), 0);
    CHECK_NUMBER(guest_does(vm->qemu, "(exec 3</tmp/m/file; sleep 1000) >/dev/null 2>&1 & "), 0);
    removed(vm, &disk);
    CHECK(image_mentions(path, "synced-before-removal"));
    CHECK(guest_does(vm->qemu, "dd if=/dev/zero of=/tmp/m/more bs=64k count=16 conv=fsync") != 0);
    CHECK_NUMBER(guest_does(vm->qemu, "killall sleep; umount -l /tmp/m"), 0);
}

int main(void)
{
    struct vm vm;

    test_begin("guest-disk", 600);
    vm_start(&vm, &(struct qemu_options){.guest = true});
    raw(&vm);
    blocks_of_4096(&vm);
    read_only(&vm);
    qcow2(&vm);
    discard(&vm);
    mounted(&vm);
    CHECK_NUMBER(recorded(&vm), 0);
    vm_stop(&vm);
    return test_end();
}
