/* What the library says that the guest calls a device is what the guest's sysfs has: the way on PCI, the
 * address and the number of the slot, from which udev makes its names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/guest.h"
#include "support/plug.h"
#include "support/view.h"

static char image[TEST_PATH], scsi_image[TEST_PATH];

/* The directory of the device that a link in the guest leads to. */
static void directory_of(struct vm *vm, const char *link, char path[256])
{
    char command[128];

    snprintf(command, sizeof command, "readlink -f %s", link);
    CHECK_NUMBER(guest_run(vm->qemu, command, path, 256), 0);
    path[strcspn(path, "\n")] = '\0';
}

/* "10.0/00.0" is the way to /sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0: bus numbers aside. */
static void same_way(const struct kvm_hotplug_device *device, const char *path)
{
    const char *way = device->pci_path, *at = strstr(path, "/pci0000:00/");
    char last[16] = "";

    CHECK(at != NULL && way[0] != '\0');
    at += strlen("/pci0000:00");
    for (; *way != '\0'; way += strspn(way, "/")) {
        size_t length = strcspn(way, "/");

        snprintf(last, sizeof last, "%.*s", 12, at + 1);
        if (strncmp(at, "/0000:", 6) != 0 || strncmp(at + 9, way, length) != 0 || at[9 + length] != '/')
            FAIL("%s is not the way of %s", device->pci_path, path);
        at += 9 + length;
        way += length;
    }
    CHECK(strncmp(at, "/virtio", 7) == 0);
    CHECK_TEXT(device->guest_address, last);
}

static void nic(struct vm *vm, const char *id)
{
    struct kvm_hotplug_device device = vm_device(vm, id);
    char name[16], link[64], path[256], wanted[32];
    unsigned bus, slot;

    view_nic(vm->qemu, &device, name);
    snprintf(link, sizeof link, "/sys/class/net/%s/device", name);
    directory_of(vm, link, path);
    same_way(&device, path);
    CHECK_NUMBER(sscanf(device.guest_address, "0000:%x:%x.0", &bus, &slot), 2);
    snprintf(wanted, sizeof wanted, "enp%us%u", bus, slot);
    CHECK_TEXT(device.guest_name, wanted);
    if (vm->qemu->q35) {
        CHECK_TEXT(device.guest_slot_name, "");
        return;
    }
    /* What udev takes the slot's name from. */
    snprintf(wanted, sizeof wanted, "ens%u", slot);
    CHECK_TEXT(device.guest_slot_name, wanted);
    snprintf(wanted, sizeof wanted, "%.10s", device.guest_address);
    guest_prints(vm->qemu, wanted, "cat /sys/bus/pci/slots/%u/address", slot);
}

static void disk(struct vm *vm, const char *id)
{
    struct kvm_hotplug_device device = vm_device(vm, id);
    char name[16], link[64], path[256], wanted[80];

    view_disk(vm->qemu, &device, name);
    snprintf(link, sizeof link, "/sys/block/%s/device", name);
    directory_of(vm, link, path);
    same_way(&device, path);
    snprintf(wanted, sizeof wanted, "/dev/disk/by-path/pci-%s", device.guest_address);
    CHECK_TEXT(device.guest_name, wanted);
}

/* The numbers behind the host's, which counts the controllers of the guest. */
static void scsi_disk(struct vm *vm, const char *id, const char *name, const char *numbers)
{
    struct kvm_hotplug_device device = vm_device(vm, id);
    char link[64], path[256], wanted[96];

    snprintf(link, sizeof link, "/sys/block/%s/device", name);
    directory_of(vm, link, path);
    same_way(&device, path);
    CHECK_TEXT(strchr(strrchr(path, '/'), ':') + 1, numbers);
    snprintf(wanted, sizeof wanted, "/dev/disk/by-path/pci-%s-scsi-0:%s", device.guest_address, numbers);
    CHECK_TEXT(device.guest_name, wanted);
}

static void scsi(struct vm *vm)
{
    struct kvm_hotplug_disk request = {.id = "s", .path = scsi_image, .model = "scsi-hd"};
    struct kvm_hotplug_device added, controller;
    char name[16];

    request.target = 3;
    request.lun = 300;
    request.flags = KVM_HOTPLUG_DISK_SCSI_ADDRESS;
    works(add_controller(vm, &(struct kvm_hotplug_controller){.id = "hba"}, &controller));
    request.bus = "hba.0";
    works(add_disk(vm, &request, &added));
    view_scsi_disk(vm->qemu, &controller, &added, name);
    /* Linux shows the bits of the addressing method with a large unit. */
    scsi_disk(vm, "s", name, "0:3:16684");
    controller = vm_device(vm, "hba");
    CHECK_TEXT(controller.guest_address, vm_device(vm, "s").guest_address);
    CHECK_TEXT(controller.guest_name, "");
}

/* Nothing has a number yet: only what no guest can change is known. */
static void before_the_firmware(struct vm *vm)
{
    struct kvm_hotplug_device device;
    char *json = NULL;

    works(add_nic(vm, &(struct kvm_hotplug_nic){.id = "first"}, NULL));
    device = vm_device(vm, "first");
    CHECK(device.pci_path[0] != '\0');
    if (vm->qemu->q35) {
        CHECK_TEXT(device.guest_address, "");
        CHECK_TEXT(device.guest_name, "");
    } else
        CHECK_TEXT(device.guest_address + 8, device.pci_path);
    vm_observe(vm, "{\"execute\":\"cont\"}");
    guest_wait_boot(vm->qemu);
    works(kvm_hotplug_describe(vm->guest, "first", 0, &json, &failure));
    device = vm_device(vm, "first");
    CHECK(device.guest_address[0] != '\0');
    CHECK_PART(json, device.pci_path);
    CHECK_PART(json, device.guest_address);
    CHECK_PART(json, device.guest_name);
    kvm_hotplug_text_free(json);
    nic(vm, "first");
}

/* A record says nothing of a guest. */
static void without_a_guest(struct vm *vm)
{
    struct kvm_hotplug_device devices[8];
    size_t count = 0;

    works(kvmh_runtime_list(vm->runtime, devices, 8, &count, &failure));
    CHECK(count > 3);
    for (size_t i = 0; i < count; i++) {
        CHECK_TEXT(devices[i].pci_path, "");
        CHECK_TEXT(devices[i].guest_name, "");
    }
}

int main(void)
{
    struct vm vm;

    test_begin("guest-names", 240);
    vm_start(&vm, &(struct qemu_options){.guest = true, .paused = true});
    path_in(image, vm.qemu->dir, "a.img");
    path_in(scsi_image, vm.qemu->dir, "s.img");
    image_raw(image, MEBIBYTE);
    image_raw(scsi_image, MEBIBYTE);
    before_the_firmware(&vm);
    works(add_nic(&vm, &(struct kvm_hotplug_nic){.id = "lan"}, NULL));
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.id = "data", .path = image}, NULL));
    nic(&vm, "lan");
    disk(&vm, "data");
    scsi(&vm);
    without_a_guest(&vm);
    vm_stop(&vm);
    return test_end();
}
