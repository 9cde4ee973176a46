/* Two disks that a guest could take for one, or of which one would destroy the other, are refused; serials as
 * long as the model has room for; and a bus by itself means any free slot of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/files.h"
#include "support/library.h"
#include "support/plug.h"

#define UUID "0a1b2c3d-1111-2222-3333-444455556666"

static struct vm vm;
static char base[TEST_PATH], top[TEST_PATH], other[TEST_PATH], third[TEST_PATH];

static int add(struct kvm_hotplug_disk disk)
{
    return add_disk(&vm, &disk, NULL);
}

#define disk(...) add((struct kvm_hotplug_disk){__VA_ARGS__})

static void names(void)
{
    works(disk(.id = "s1", .path = other, .model = "scsi-hd", .wwn = 0x5000c50015ea71aa, .serial = UUID));
    CHECK_TEXT(vm_device(&vm, "s1").serial, UUID);
    CHECK(qmp_contains(
        vm.qemu,
        "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/s1\",\"property\":\"serial\"}}", UUID));
    fails(disk(.id = "s2", .path = third, .model = "scsi-hd", .wwn = 0x5000c50015ea71aa), -EEXIST,
          KVM_HOTPLUG_ERROR_CONFLICT, "wwn 0x5000c50015ea71aa", "s1", "multipath");
    fails(disk(.id = "s2", .path = third, .model = "scsi-hd", .serial = "0a1b2c3d-1111-2222-3999"), -EEXIST,
          KVM_HOTPLUG_ERROR_CONFLICT, "serial", "s1");
    invalid(disk(.id = "s2", .path = third, .model = "scsi-hd", .serial = UUID "7"), "1 to 36 characters", "scsi-hd");
    invalid(disk(.id = "s2", .path = third, .serial = "123456789012345678901"), "1 to 20 characters", "virtio-blk-pci");
    works(disk(.id = "s2", .path = third, .model = "scsi-hd", .wwn = 0x5000c50015ea71ab));
}

/* In one call, too. */
static void names_in_a_list(void)
{
    struct kvm_hotplug_disk disks[] =
        {{.id = "a", .path = base, .model = "scsi-hd", .wwn = 7},
         {.id = "b", .path = top, .model = "scsi-hd", .wwn = 7, .format = KVM_HOTPLUG_FORMAT_QCOW2}};
    struct kvm_hotplug_add_batch batch = {.disks = disks, .disk_size = sizeof disks[0], .disk_count = 2};

    fails(kvmh_add_many(vm.guest, &batch, NULL, &failure), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "wwn");
}

static void backing_files(void)
{
    works(disk(.id = "top", .path = top, .format = KVM_HOTPLUG_FORMAT_QCOW2));
    fails(disk(.id = "base", .path = base), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, base, "backing file", "top",
          "read_only");
    works(disk(.id = "base", .path = base, .flags = KVM_HOTPLUG_DISK_READ_ONLY));
    answers(kvm_hotplug_del_disk(vm.guest, "top", 1000, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    answers(kvm_hotplug_del_disk(vm.guest, "base", 1000, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    while (vm_records(&vm, "top") || vm_records(&vm, "base"))
        CHECK(kvm_hotplug_process(vm.guest, 0, &failure) >= 0);
    works(disk(.id = "base", .path = base));
    fails(disk(.id = "top", .path = top, .format = KVM_HOTPLUG_FORMAT_QCOW2), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, base,
          "backing file", "base of this guest writes to it");
}

static void any_slot(const char *bus)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .bus = bus};
    struct kvm_hotplug_device device;

    works(add_nic(&vm, &nic, &device));
    CHECK_TEXT(device.bus, bus);
    CHECK(vm.qemu->q35 == (device.slot == 0));
    works(add_nic(&vm, &nic, &device));
    nic.id = "wan";
    if (vm.qemu->q35) {
        fails(add_nic(&vm, &nic, NULL), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, bus, "lan");
    } else {
        works(add_nic(&vm, &nic, &device));
        CHECK_TEXT(device.bus, bus);
    }
}

int main(void)
{
    static const char *const bridge[] = {"-device", "pci-bridge,id=br1,chassis_nr=1", NULL};

    test_begin("qemu-alike", 120);
    vm_start(&vm, &(struct qemu_options){.root_ports = 8});
    path_in(base, vm.qemu->dir, "base.img");
    path_in(top, vm.qemu->dir, "top.qcow2");
    path_in(other, vm.qemu->dir, "other.img");
    path_in(third, vm.qemu->dir, "third.img");
    image_raw(base, MEBIBYTE);
    image_raw(other, MEBIBYTE);
    image_raw(third, MEBIBYTE);
    image_qcow2(top, "1M", base, "raw");
    names();
    names_in_a_list();
    any_slot(vm.qemu->q35 ? "rp7" : "pci.0");
    backing_files();
    vm_stop(&vm);
    vm_start(&vm, &(struct qemu_options){.machine = "pc", .extra = bridge});
    any_slot("br1");
    vm_stop(&vm);
    return test_end();
}
