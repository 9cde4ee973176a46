/* ctest: machine=all */
/* A guest on the machine microvm, with pcie=on and root ports: NIC and disk come and go, as on q35. */
#include <stdio.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/guest.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/view.h"

int main(void)
{
    struct kvm_hotplug_nic request = {.mac = "52:54:00:0a:0b:0c"};
    struct kvm_hotplug_disk disk = {.id = "data"};
    struct kvm_hotplug_device nic;
    char directory[TEST_PATH], image[TEST_PATH], name[16];
    /* The machine has nothing by which an emulated processor's clock could be measured, and its ACPI tables
     * do not give hotplug of the ports to Linux. */
    const char *append = "tsc_early_khz=1000000 lpj=4000000 pcie_ports=native";
    struct vm vm;

    test_begin("guest-microvm", 240);
    net_private();
    directory_new(directory);
    path_in(image, directory, "data.img");
    image_raw(image, 1 << 20);
    vm_start(&vm, &(struct qemu_options){.guest = true, .machine = "microvm,pcie=on", .append = append});
    works(add_nic(&vm, &request, &nic));
    view_nic(vm.qemu, &nic, name);
    disk.path = image;
    works(add_disk(&vm, &disk, NULL));
    CHECK(guest_wait(vm.qemu, "test -b /dev/vda", test_patience(10000)));
    CHECK_VERIFIED(&vm);
    works(unplug(&vm, "data", 0));
    works(unplug(&vm, nic.id, 0));
    CHECK(view_is_gone(vm.qemu, &nic));
    CHECK(guest_wait(vm.qemu, "test ! -b /dev/vda", test_patience(10000)));
    CHECK_NUMBER(recorded(&vm), 0);
    CHECK_VERIFIED(&vm);
    vm_stop(&vm);
    return test_end();
}
