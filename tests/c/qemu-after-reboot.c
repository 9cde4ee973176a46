/* What cannot be changed in a running guest is recorded for its next boot, or refused if it is to be live or
 * not at all; the guest is not touched. */
#include <stdlib.h>
#include <string.h>

#include "support/files.h"
#include "support/library.h"

static struct vm vm;
static struct kvm_hotplug_device device;
static char image[TEST_PATH];

static void a_nic(void)
{
    struct kvm_hotplug_nic nic = {.id = "old", .model = "ne2k_pci", .mac = "52:54:00:12:34:56"};
    struct kvm_hotplug_nic live = {.model = "ne2k_pci", .flags = KVM_HOTPLUG_LIVE_ONLY};

    fails(kvmh_add_nic(vm.guest, &live, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
          "NIC cannot be changed in the running guest", "no ne2k_pci into a running guest");
    CHECK(!vm_record_contains(&vm, "ne2k_pci"));
    answers(kvmh_add_nic(vm.guest, &nic, &device, &failure), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_TEXT(device.id, "old");
    CHECK_TEXT(device.bus, "");
    CHECK_TEXT(device.model, "ne2k_pci");
    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_AFTER_REBOOT);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_MODEL);
    CHECK_PART(device.reason_text, "no ne2k_pci into a running guest");
    CHECK_NUMBER(device.removed_after_reboot, 0);
    CHECK(vm_record_contains(&vm, "\"presence\":\"add-after-reboot\""));
    /* Again, and live only. */
    answers(kvmh_add_nic(vm.guest, &nic, NULL, &failure), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    nic.flags = KVM_HOTPLUG_LIVE_ONLY;
    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
          "cannot be changed in the running guest");
    /* Its MAC address is taken all the same. */
    nic = (struct kvm_hotplug_nic){.mac = "52:54:00:12:34:56"};
    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "used by old");
}

static void a_disk(void)
{
    struct kvm_hotplug_disk disk = {.path = image, .model = "ide-hd"};

    answers(kvmh_add_disk(vm.guest, &disk, &device, &failure), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_MODEL);
    CHECK_PATH(vm.guest, device.id, image);
    CHECK_PART(device.id, "disk-boot-");
}

/* An address that it is to have is kept free of others. */
static void with_a_place(void)
{
    const char *bus = vm.qemu->q35 ? "rp0" : "pci.0";
    struct kvm_hotplug_nic nic = {.id = "placed", .model = "ne2k_pci", .bus = bus, .slot = vm.qemu->q35 ? 0 : 4};

    answers(kvmh_add_nic(vm.guest, &nic, &device, &failure), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_TEXT(device.bus, bus);
    nic.id = "other";
    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN,
          "taken by placed");
}

/* What only is in the record goes from there, and that is all there is to it. */
static void removal(const char *id)
{
    struct kvm_hotplug_del_options request = {.id = id};

    works(kvmh_del(vm.guest, &request, NULL, &failure));
    CHECK(!vm_records(&vm, id));
    answers(kvmh_del(vm.guest, &request, NULL, &failure), KVM_HOTPLUG_ANSWER_ABSENT);
}

int main(void)
{
    char *picture, disk_id[32];

    test_begin("qemu-after-reboot", 60);
    vm_start(&vm, &(struct qemu_options){.paused = true});
    path_in(image, vm.qemu->dir, "data.img");
    image_raw(image, 1 << 20);
    picture = vm_picture(&vm);
    a_nic();
    a_disk();
    memcpy(disk_id, device.id, sizeof disk_id);
    with_a_place();
    vm_close(&vm);
    vm_open(&vm);
    device = vm_device(&vm, "old");
    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_AFTER_REBOOT);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_MODEL);
    CHECK_PART(device.reason_text, "no ne2k_pci into a running guest");
    CHECK_NUMBER(vm_device(&vm, "placed").slot, vm.qemu->q35 ? 0 : 4);
    CHECK_PICTURE(&vm, picture);
    removal("old");
    removal("placed");
    removal(disk_id);
    CHECK_PICTURE(&vm, picture);
    CHECK(!vm_has_journal(&vm));
    free(picture);
    vm_stop(&vm);
    return test_end();
}
