/* ctest: machine=all */
/* Machines besides pc, q35 and Arm's virt: what works on them, and what the library says where nothing does.
 * Their guests do not run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/plug.h"
#include "support/run.h"

static char image[TEST_PATH];

/* Root ports take devices, the root bus does not; and the boot of the record is one of such a machine. */
static void has_ports(const char *machine, const char *const *extra)
{
    struct qemu_options options = {.machine = machine, .paused = true, .extra = extra};
    struct kvm_hotplug_disk disk = {.path = image}, on_root = {.path = image, .bus = "pcie.0", .slot = 3};
    struct kvm_hotplug_disk scsi = {.path = image, .model = "scsi-hd", .flags = KVM_HOTPLUG_DISK_SHARE_RW};
    struct kvm_hotplug_nic nic = {0};
    struct kvm_hotplug_device found;
    struct vm vm;

    disk.flags = KVM_HOTPLUG_DISK_SHARE_RW;
    vm_start(&vm, &options);
    works(add_nic(&vm, &nic, &found));
    CHECK_TEXT(found.id, "nic-pci-rp0");
    fails(add_disk(&vm, &on_root, NULL), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
          "these do: rp0, rp1, rp2, rp3");
    works(add_disk(&vm, &disk, &found));
    CHECK_TEXT(found.bus, "rp1");
    works(add_disk(&vm, &scsi, &found));
    CHECK_TEXT(found.bus, "scsi-pci-rp2.0");
    CHECK_VERIFIED(&vm);
    vm_stop(&vm);
    options.root_ports = -1;
    vm_start(&vm, &options);
    fails(add_nic(&vm, &nic, NULL), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "start the guest with more pcie-root-ports");
    vm_stop(&vm);
}

static void has_no_pci(void)
{
    struct kvm_hotplug_nic nic = {0};
    struct kvm_hotplug_disk disk = {.path = image};
    struct vm vm;

    vm_start(&vm, &(struct qemu_options){.machine = "microvm", .paused = true, .root_ports = -1});
    fails(add_nic(&vm, &nic, NULL), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "microvm with pcie=on");
    fails(add_disk(&vm, &disk, NULL), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "the guest shows no PCI bus");
    vm_stop(&vm);
}

int main(void)
{
    const char *const no_firmware[] = {"-bios", "none", NULL};
    const char *riscv = getenv("KVM_HOTPLUG_TEST_RISCV64");
    char directory[TEST_PATH];

    test_begin("qemu-machines", 120);
    net_private();
    directory_new(directory);
    path_in(image, directory, "data.img");
    image_raw(image, 1 << 20);
    has_ports("microvm,pcie=on", NULL);
    has_no_pci();
    riscv = riscv == NULL ? "qemu-system-riscv64" : riscv;
    if (run((const char *[]){riscv, "--version", NULL}) != 0) {
        test_part_not_run("virt of riscv64", "there is no qemu-system-riscv64 (apt-get install qemu-system-misc)");
        return test_end();
    }
    setenv("KVM_HOTPLUG_TEST_QEMU", riscv, 1);
    has_ports("virt", no_firmware);
    return test_end();
}
