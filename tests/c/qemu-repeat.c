/* The same call again succeeds and does nothing; the same id with other settings is refused, and the setting
 * is named. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

static struct vm vm;
static struct kvm_hotplug_device device;
static char bridge[IF_NAMESIZE], image[TEST_PATH], other[TEST_PATH];

#define add_nic(nic) kvm_hotplug_add_nic(vm.guest, (nic), sizeof *(nic), &device, sizeof device, &failure)
#define add_disk(disk) kvm_hotplug_add_disk(vm.guest, (disk), sizeof *(disk), &device, sizeof device, &failure)
#define conflict(call, what) \
    fails(call, -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, what, "remove it first, or take another id")

/* Every setting by itself, with the rest as it was. */
static void nics(void)
{
    const struct kvm_hotplug_nic first = {.id = "lan",
                                          .mac = "52:54:00:12:34:56",
                                          .bridge = bridge,
                                          .queues = 2,
                                          .mtu = 1400,
                                          .boot_index = 3,
                                          .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_nic nic = first;
    char *picture, ifname[16];
    uint64_t generation;
    int links, fds;

    works(add_nic(&nic));
    memcpy(ifname, device.ifname, sizeof ifname);
    generation = device.generation;
    picture = vm_picture(&vm);
    links = link_count();
    fds = process_fds(getpid());
    works(add_nic(&nic));
    CHECK_TEXT(device.ifname, ifname);
    CHECK_NUMBER(device.generation, generation);
    nic.mac = NULL;
    works(add_nic(&nic));
    CHECK_TEXT(device.mac, "52:54:00:12:34:56");
    nic = first, nic.mac = "52:54:00:12:34:57";
    conflict(add_nic(&nic), "lan exists with another mac");
    nic = first, nic.bridge = NULL;
    conflict(add_nic(&nic), "lan exists with another bridge");
    nic = first, nic.queues = 3;
    conflict(add_nic(&nic), "lan exists with another queues");
    nic = first, nic.mtu = 0;
    conflict(add_nic(&nic), "lan exists with another mtu");
    nic = first, nic.boot_index = 4;
    conflict(add_nic(&nic), "lan exists with another boot_index");
    nic = first, nic.model = "virtio-net-pci-non-transitional";
    conflict(add_nic(&nic), "lan exists with another model");
    nic = first, nic.bus = vm.qemu->q35 ? "rp3" : "pci.0", nic.slot = vm.qemu->q35 ? 0 : 20;
    conflict(add_nic(&nic), "lan exists at another address");
    CHECK_PICTURE(&vm, picture);
    CHECK_NUMBER(link_count(), links);
    CHECK_NUMBER(process_fds(getpid()), fds);
    free(picture);
}

static void disks(void)
{
    const struct kvm_hotplug_disk first = {.id = "data", .path = image, .serial = "abc"};
    struct kvm_hotplug_disk disk = first;
    char *picture;

    works(add_disk(&disk));
    picture = vm_picture(&vm);
    works(add_disk(&disk));
    disk.format = KVM_HOTPLUG_FORMAT_PROBE;
    works(add_disk(&disk));
    disk = first, disk.path = other;
    conflict(add_disk(&disk), "data exists with another path");
    disk = first, disk.format = KVM_HOTPLUG_FORMAT_QCOW2;
    conflict(add_disk(&disk), "data exists with another format");
    disk = first, disk.flags = KVM_HOTPLUG_DISK_READ_ONLY;
    conflict(add_disk(&disk), "data exists with another read_only");
    disk = first, disk.flags = KVM_HOTPLUG_DISK_SHARE_RW;
    conflict(add_disk(&disk), "data exists with another share_rw");
    disk = first, disk.serial = NULL;
    conflict(add_disk(&disk), "data exists with another serial");
    disk = first, disk.cache = KVM_HOTPLUG_CACHE_UNSAFE;
    conflict(add_disk(&disk), "data exists with another cache");
    disk = first, disk.aio = KVM_HOTPLUG_AIO_IO_URING;
    conflict(add_disk(&disk), "data exists with another aio");
    disk = first, disk.discard = KVM_HOTPLUG_DISCARD_UNMAP;
    conflict(add_disk(&disk), "data exists with another discard");
    disk = first, disk.detect_zeroes = KVM_HOTPLUG_DETECT_ZEROES_ON;
    conflict(add_disk(&disk), "data exists with another detect_zeroes");
    disk = first, disk.flags = KVM_HOTPLUG_BOOT_INDEX;
    conflict(add_disk(&disk), "data exists with another boot_index");
    disk = first, disk.model = "virtio-blk-pci-transitional";
    conflict(add_disk(&disk), "data exists with another model");
    disk = first, disk.logical_block_size = 4096;
    conflict(add_disk(&disk), "data exists with another logical_block_size");
    disk = first, disk.physical_block_size = 4096;
    conflict(add_disk(&disk), "data exists with another physical_block_size");
    disk = first, disk.queues = 2;
    conflict(add_disk(&disk), "data exists with another queues");
    disk = first, disk.id = "lan";
    conflict(add_disk(&disk), "lan exists with another type");
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* Under another id it is another device, and what it would share is taken. */
static void taken(void)
{
    struct kvm_hotplug_nic nic = {.mac = "52:54:00:12:34:56"};
    struct kvm_hotplug_disk disk = {.path = image};
    char link[TEST_PATH];

    fails(add_nic(&nic), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "MAC address 52:54:00:12:34:56 is used by lan",
          "take another one");
    fails(add_disk(&disk), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, image, "is used by data", "set share_rw or read_only");
    path_in(link, vm.qemu->dir, "link.img");
    ok(symlink(image, link));
    disk.path = link;
    fails(add_disk(&disk), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, link, "is used by data");
    disk = (struct kvm_hotplug_disk){.path = other, .serial = "abc"};
    fails(add_disk(&disk), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "serial \"abc\" is used by data");
}

static void removals(void)
{
    answers(kvm_hotplug_del_nic(vm.guest, "nobody", 0, &failure), KVM_HOTPLUG_ANSWER_ABSENT);
    answers(kvm_hotplug_del_disk(vm.guest, "nobody", 0, &failure), KVM_HOTPLUG_ANSWER_ABSENT);
    invalid(kvm_hotplug_del_nic(vm.guest, "data", 0, &failure), "data is a disk, not a NIC");
    invalid(kvm_hotplug_del_disk(vm.guest, "lan", 0, &failure), "lan is a NIC, not a disk");
    /* Paused, so it is pending at once, as often as it is asked. */
    answers(kvm_hotplug_del_nic(vm.guest, "lan", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    answers(kvm_hotplug_del_nic(vm.guest, "lan", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    fails(add_nic((&(struct kvm_hotplug_nic){.id = "lan"})), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT,
          "lan is being removed", "wait until it is gone, or take another id");
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "lan");
    answers(kvm_hotplug_del_nic(vm.guest, "lan", 0, &failure), KVM_HOTPLUG_ANSWER_ABSENT);
    works(add_nic((&(struct kvm_hotplug_nic){.id = "lan"})));
}

int main(void)
{
    test_begin("qemu-repeat", 60);
    net_private();
    bridge_new(bridge);
    vm_start(&vm, &(struct qemu_options){.stopped = true});
    path_in(image, vm.qemu->dir, "data.img");
    path_in(other, vm.qemu->dir, "other.img");
    image_raw(image, 1 << 20);
    image_raw(other, 1 << 20);
    nics();
    disks();
    taken();
    removals();
    vm_stop(&vm);
    return test_end();
}
