/* Further properties of devices: the guest sees what they do, at once and after it was started again from its
 * record, and record and guest agree. */
#include "support/boot.h"
#include "support/image.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/view.h"

static struct kvm_hotplug_device nic, disk, controller, scsi;

static void plug_all(struct vm *vm, const char *image, const char *scsi_image)
{
    struct kvm_hotplug_disk fast = {.path = image,
                                    .discard = KVM_HOTPLUG_DISCARD_UNMAP,
                                    .iothread = "io",
                                    .properties = "{\"queue-size\": \"64\", \"werror\": \"stop\", "
                                                  "\"discard_granularity\": 65536}"};
    struct kvm_hotplug_disk turning = {.path = scsi_image,
                                       .model = "scsi-hd",
                                       .properties = "{\"rotation_rate\": 1, \"vendor\": \"ACME\"}"};

    works(add_nic(vm, &(struct kvm_hotplug_nic){.properties = "{\"csum\": \"off\", \"rx_queue_size\": 512}"}, &nic));
    works(add_disk(vm, &fast, &disk));
    works(kvmh_add_controller(vm->guest,
                              &(struct kvm_hotplug_controller){.id = "scsi", .properties = "{\"max_sectors\": 512}"},
                              &controller, &failure));
    works(add_disk(vm, &turning, &scsi));
}

/* Bit 0 of a NIC's features is VIRTIO_NET_F_CSUM. */
static void look(struct vm *vm)
{
    unsigned major, minor;
    char name[16];

    view_nic(vm->qemu, &nic, name);
    guest_prints(vm->qemu, "0", "head -c 1 /sys/class/net/%s/device/features", name);
    view_disk(vm->qemu, &disk, name);
    qemu_version(NULL, &major, &minor);
    /* The guest of an older one does not see it. */
    if (major > 5)
        guest_prints(vm->qemu, "65536", "cat /sys/block/%s/queue/discard_granularity", name);
    view_scsi_disk(vm->qemu, &controller, &scsi, name);
    guest_prints(vm->qemu, "0", "cat /sys/block/%s/queue/rotational", name);
    guest_prints(vm->qemu, "ACME", "cat /sys/block/%s/device/vendor | tr -d ' '", name);
    CHECK_VERIFIED(vm);
}

static void refused(struct vm *vm, const char *image)
{
    struct kvm_hotplug_disk wanted = {.id = "other", .path = image};

    wanted.properties = "{\"queue-sizes\": 64}";
    invalid(kvmh_add_disk(vm->guest, &wanted, NULL, &failure), "queue-sizes", "virtio-blk-pci", "no such property");
    wanted.properties = "{\"queue-size\": true}";
    invalid(kvmh_add_disk(vm->guest, &wanted, NULL, &failure), "queue-size", "whole number");
    wanted.properties = "{\"file\": \"/etc/shadow\"}";
    invalid(kvmh_add_disk(vm->guest, &wanted, NULL, &failure), "file", "no such property");
    wanted.properties = "{\"bus\": \"pci.0\"}";
    invalid(kvmh_add_disk(vm->guest, &wanted, NULL, &failure), "bus", "set by the request itself");
}

int main(void)
{
    static const char *const thread[] = {"-object", "iothread,id=io", NULL};
    struct kvm_boot_options boot = {.spare_ports = 5};
    char image[TEST_PATH], scsi_image[TEST_PATH], other[TEST_PATH], directory[TEST_PATH];
    struct vm vm;

    test_begin("guest-properties", 300);
    net_private();
    directory_new(directory);
    path_in(image, directory, "disk.img");
    path_in(scsi_image, directory, "scsi.img");
    path_in(other, directory, "other.img");
    image_raw(image, 8 * MEBIBYTE);
    image_raw(scsi_image, 8 * MEBIBYTE);
    image_raw(other, MEBIBYTE);
    vm_prepare(&vm, &(struct qemu_options){.guest = true, .root_ports = -1, .extra = thread});
    for_version(&vm, &boot);
    vm_boot(&vm, &boot);
    plug_all(&vm, image, scsi_image);
    look(&vm);
    refused(&vm, other);

    vm_switch_off(&vm);
    vm_boot(&vm, &boot);
    CHECK_NUMBER(recorded(&vm), 4);
    look(&vm);
    vm_stop(&vm);
    return test_end();
}
