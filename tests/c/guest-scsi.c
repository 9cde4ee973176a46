/* SCSI disks in a booted guest: the first brings its controller, each has the properties asked for, what the
 * guest writes is in the image on the host, and disks and controller leave without a trace, round after
 * round. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/image.h"
#include "support/plug.h"
#include "support/view.h"

enum { ROUNDS = 5, MOST = 16 };

static void make(const struct vm *vm, const char *name, char path[TEST_PATH])
{
    path_in(path, vm->qemu->dir, name);
    image_raw(path, 16 * MEBIBYTE);
}

/* The only controller that is recorded. */
static struct kvm_hotplug_device controller_of(struct vm *vm)
{
    struct kvm_hotplug_device devices[MOST], found = {0};
    size_t count = 0, i;

    works(kvmh_list(vm->guest, devices, MOST, &count, &failure));
    for (i = 0; i < count; i++)
        if (devices[i].device_type == KVM_HOTPLUG_DEVICE_CONTROLLER) {
            CHECK_TEXT(found.id, "");
            found = devices[i];
        }
    CHECK(found.id[0] != '\0');
    return found;
}

static void add_scsi(struct vm *vm, struct kvm_hotplug_disk request, struct kvm_hotplug_device *disk, char name[16])
{
    struct kvm_hotplug_device controller;

    request.model = "scsi-hd";
    works(add_disk(vm, &request, disk));
    CHECK_NUMBER(disk->address_type, KVM_HOTPLUG_ADDRESS_SCSI);
    controller = controller_of(vm);
    view_scsi_disk(vm->qemu, &controller, disk, name);
}

static void remove_scsi(struct vm *vm, const struct kvm_hotplug_device *disk)
{
    struct kvm_hotplug_device controller = controller_of(vm);

    works(unplug(vm, disk->id, 0));
    CHECK(view_scsi_is_gone(vm->qemu, &controller, disk));
    check_gone(vm, disk->id);
}

static void remove_controller(struct vm *vm)
{
    struct kvm_hotplug_device controller = controller_of(vm);

    works(kvm_hotplug_del_controller(vm->guest, controller.id, 0, &failure));
    CHECK(view_is_gone(vm->qemu, &controller));
    check_gone(vm, controller.id);
}

static void reads_and_writes(struct vm *vm)
{
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], name[16];

    make(vm, "a.img", path);
    image_write(path, MEBIBYTE, "from the host");
    add_scsi(vm, (struct kvm_hotplug_disk){.path = path, .serial = "SERIAL-1", .wwn = 0x5000c50015ea71ac}, &disk, name);
    CHECK(strncmp(name, "sd", 2) == 0);
    guest_prints(vm->qemu, "32768", "cat /sys/block/%s/size", name);
    guest_prints(vm->qemu, "512", "cat /sys/block/%s/queue/logical_block_size", name);
    guest_prints(vm->qemu, "naa.5000c50015ea71ac", "cat /sys/block/%s/device/wwid", name);
    /* Page 0x80 of the vital product data: four bytes, then the serial. */
    guest_prints(vm->qemu, "SERIAL-1", "tail -c +5 /sys/block/%s/device/vpd_pg80", name);
    guest_prints(vm->qemu, "from the host", "dd if=/dev/%s bs=1M skip=1 count=1 2>/dev/null | head -c 13", name);
    CHECK_NUMBER(guest_does(vm->qemu, "printf 'from the guest' | dd of=/dev/%s bs=1M seek=2 conv=fsync", name), 0);
    remove_scsi(vm, &disk);
    CHECK(image_has(path, "raw", MEBIBYTE, "from the host"));
    CHECK(image_has(path, "raw", 2 * MEBIBYTE, "from the guest"));
}

static void settings(struct vm *vm)
{
    struct kvm_hotplug_disk request = {.logical_block_size = 4096, .physical_block_size = 8192};
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], base[TEST_PATH], name[16];

    make(vm, "4k.img", path);
    request.path = path;
    add_scsi(vm, request, &disk, name);
    guest_prints(vm->qemu, "4096", "cat /sys/block/%s/queue/logical_block_size", name);
    guest_prints(vm->qemu, "8192", "cat /sys/block/%s/queue/physical_block_size", name);
    guest_prints(vm->qemu, "write back", "cat /sys/block/%s/queue/write_cache", name);
    remove_scsi(vm, &disk);

    request = (struct kvm_hotplug_disk){.path = path,
                                        .flags = KVM_HOTPLUG_DISK_READ_ONLY,
                                        .cache = KVM_HOTPLUG_CACHE_WRITETHROUGH};
    add_scsi(vm, request, &disk, name);
    guest_prints(vm->qemu, "1", "cat /sys/block/%s/ro", name);
    guest_prints(vm->qemu, "write through", "cat /sys/block/%s/queue/write_cache", name);
    CHECK(guest_does(vm->qemu, "printf overwritten | dd of=/dev/%s conv=fsync", name) != 0);
    remove_scsi(vm, &disk);

    path_in(base, vm->qemu->dir, "base.img");
    path_in(path, vm->qemu->dir, "top.qcow2");
    image_raw(base, 8 * MEBIBYTE);
    image_write(base, MEBIBYTE, "from below");
    image_qcow2(path, "8M", base, "raw");
    add_scsi(vm, (struct kvm_hotplug_disk){.path = path, .format = KVM_HOTPLUG_FORMAT_QCOW2}, &disk, name);
    guest_prints(vm->qemu, "from below", "dd if=/dev/%s bs=1M skip=1 count=1 2>/dev/null | head -c 10", name);
    remove_scsi(vm, &disk);
}

/* Units of one target, and the last place of all. */
static void places(struct vm *vm)
{
    static const struct {
        uint32_t target, lun;
    } at[] = {{9, 0}, {9, 1}, {255, 0}, {3, 16383}};
    struct kvm_hotplug_device disks[4], controller = controller_of(vm);
    char path[TEST_PATH], bus[40], file[16], name[16];
    size_t i;

    snprintf(bus, sizeof bus, "%s.0", controller.id);
    for (i = 0; i < 4; i++) {
        struct kvm_hotplug_disk request = {.path = path,
                                           .bus = bus,
                                           .target = at[i].target,
                                           .lun = at[i].lun,
                                           .flags = KVM_HOTPLUG_DISK_SCSI_ADDRESS};

        snprintf(file, sizeof file, "p%zu.img", i);
        make(vm, file, path);
        image_write(path, 0, file);
        add_scsi(vm, request, &disks[i], name);
        CHECK_NUMBER(disks[i].target, at[i].target);
        CHECK_NUMBER(disks[i].lun, at[i].lun);
        guest_prints(vm->qemu, file, "head -c %zu /dev/%s", strlen(file), name);
    }
    for (i = 4; i-- > 0;)
        remove_scsi(vm, &disks[i]);
}

/* The guest is not asked: a disk that is mounted goes all the same, and the guest lives on. */
static void mounted(struct vm *vm)
{
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], name[16];

    path_in(path, vm->qemu->dir, "mounted.img");
    image_ext4(path, 16 * MEBIBYTE);
    add_scsi(vm, (struct kvm_hotplug_disk){.path = path}, &disk, name);
    CHECK_NUMBER(guest_does(vm->qemu, "mkdir -p /tmp/m && mount -t ext4 /dev/%s /tmp/m", name), 0);
    CHECK_NUMBER(guest_does(vm->qemu, "echo synced-before-removal >/tmp/m/file && sync"), 0);
    remove_scsi(vm, &disk);
    CHECK(image_mentions(path, "synced-before-removal"));
    CHECK(guest_does(vm->qemu, "dd if=/dev/zero of=/tmp/m/more bs=64k count=16 conv=fsync") != 0);
    CHECK_NUMBER(guest_does(vm->qemu, "umount -l /tmp/m"), 0);
}

/* A paused guest loses a disk too, and sees so when it goes on; a controller waits for it. */
static void paused(struct vm *vm)
{
    struct kvm_hotplug_device disk, controller;
    char path[TEST_PATH], name[16];
    size_t differences = 0;

    make(vm, "paused.img", path);
    add_scsi(vm, (struct kvm_hotplug_disk){.path = path}, &disk, name);
    controller = controller_of(vm);
    vm_observe(vm, "{\"execute\":\"stop\"}");
    works(unplug(vm, disk.id, 0));
    answers(kvm_hotplug_del_controller(vm->guest, controller.id, 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(pending_reason(vm, controller.id), KVM_HOTPLUG_REASON_PAUSED);
    vm_observe(vm, "{\"execute\":\"cont\"}");
    expect_event(vm, KVM_HOTPLUG_EVENT_REMOVED, controller.id, 60000);
    CHECK(view_is_gone(vm->qemu, &controller));
    /* Before 9.1, QEMU forgets no fdset while the guest is paused. Mending takes out what is left. */
    works(kvmh_repair(vm->guest, 0, NULL, 0, &differences, &failure));
    CHECK_NUMBER(differences, 0);
    check_gone(vm, disk.id);
    check_gone(vm, controller.id);
}

/* A new agent finds the disk where it was, and verifying finds nothing. */
static void a_new_agent(struct vm *vm)
{
    struct kvm_hotplug_device disk, again;
    char path[TEST_PATH], name[16];
    size_t differences = 0;

    make(vm, "again.img", path);
    add_scsi(vm, (struct kvm_hotplug_disk){.path = path, .id = "again", .serial = "S"}, &disk, name);
    works(kvmh_verify(vm->guest, 0, NULL, 0, &differences, &failure));
    CHECK_NUMBER(differences, 0);
    vm_close(vm);
    vm_open(vm);
    again = vm_device(vm, "again");
    CHECK(memcmp(&disk, &again, offsetof(struct kvm_hotplug_device, pci_path)) == 0);
    works(kvmh_verify(vm->guest, 0, NULL, 0, &differences, &failure));
    CHECK_NUMBER(differences, 0);
    remove_scsi(vm, &disk);
}

static void rounds(struct vm *vm)
{
    struct kvm_hotplug_device disks[2];
    char path[2][TEST_PATH], name[16];
    int round;

    make(vm, "r0.img", path[0]);
    make(vm, "r1.img", path[1]);
    for (round = 0; round < ROUNDS; round++) {
        add_scsi(vm, (struct kvm_hotplug_disk){.path = path[0]}, &disks[0], name);
        add_scsi(vm, (struct kvm_hotplug_disk){.path = path[1]}, &disks[1], name);
        CHECK_NUMBER(disks[1].target, 1);
        CHECK_NUMBER(guest_does(vm->qemu, "dd if=/dev/zero of=/dev/%s bs=64k count=4 conv=fsync", name), 0);
        remove_scsi(vm, &disks[0]);
        remove_scsi(vm, &disks[1]);
        remove_controller(vm);
        CHECK_NUMBER(recorded(vm), 0);
    }
}

/* Linux is told that the size has changed, and looks when it is asked to. */
static void bigger(struct vm *vm)
{
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], name[16];

    path_in(path, vm->qemu->dir, "bigger.img");
    image_raw(path, 4 * MEBIBYTE);
    add_scsi(vm, (struct kvm_hotplug_disk){.path = path}, &disk, name);
    guest_prints(vm->qemu, "8192", "cat /sys/block/%s/size", name);
    works(kvm_hotplug_resize_disk(vm->guest, disk.id, 8 * MEBIBYTE, 0, 0, NULL, &failure));
    CHECK_NUMBER(guest_does(vm->qemu, "echo 1 >/sys/block/%s/device/rescan", name), 0);
    guest_prints(vm->qemu, "16384", "cat /sys/block/%s/size", name);
    remove_scsi(vm, &disk);
}

int main(void)
{
    struct vm vm;
    char *picture;

    test_begin("guest-scsi", 240);
    vm_start(&vm, &(struct qemu_options){.guest = true});
    picture = vm_picture(&vm);
    reads_and_writes(&vm);
    settings(&vm);
    bigger(&vm);
    places(&vm);
    mounted(&vm);
    a_new_agent(&vm);
    paused(&vm);
    rounds(&vm);
    CHECK_PICTURE(&vm, picture);
    CHECK(!vm_has_journal(&vm));
    free(picture);
    vm_stop(&vm);
    return test_end();
}
