/* The queues of a disk and of a SCSI controller, divided among iothreads: the guest reads through them, at
 * once and after it was started again from its record. A QEMU that would pass over the list is told from one
 * that takes it. */
#include "support/boot.h"
#include "support/files.h"
#include "support/image.h"
#include "support/plug.h"
#include "support/view.h"

#define GIVEN "[{\"iothread\": \"a\", \"vqs\": [0, 2]}, {\"iothread\": \"b\", \"vqs\": [1]}]"
#define IN_TURN "[{\"iothread\": \"b\"}, {\"iothread\": \"c\"}]"

static struct kvm_hotplug_device disk, controller, scsi;

static void reads(struct vm *vm)
{
    char name[16];

    view_disk(vm->qemu, &disk, name);
    guest_prints(vm->qemu, "1048576", "dd if=/dev/%s bs=64k count=16 2>/dev/null | wc -c", name);
    view_scsi_disk(vm->qemu, &controller, &scsi, name);
    guest_prints(vm->qemu, "1048576", "dd if=/dev/%s bs=64k count=16 2>/dev/null | wc -c", name);
    CHECK(has_object(vm->qemu, "a") && has_object(vm->qemu, "b") && has_object(vm->qemu, "c"));
    CHECK_VERIFIED(vm);
}

static void divided(struct vm *vm, const struct kvm_boot_options *boot, const char *image, const char *second)
{
    struct kvm_hotplug_disk three = {.path = image,
                                     .id = "three",
                                     .queues = 3,
                                     .iothread = GIVEN,
                                     .flags = KVM_HOTPLUG_MAKE_IOTHREAD};
    struct kvm_hotplug_controller two = {.id = "scsi",
                                         .queues = 2,
                                         .iothread = IN_TURN,
                                         .flags = KVM_HOTPLUG_MAKE_IOTHREAD};

    works(add_disk(vm, &three, &disk));
    works(kvmh_add_controller(vm->guest, &two, &controller, &failure));
    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = second, .model = "scsi-hd"}, &scsi));
    reads(vm);
    vm_switch_off(vm);
    vm_boot(vm, boot);
    reads(vm);
    works(unplug(vm, scsi.id, 0));
    works(unplug(vm, "scsi", 0));
    CHECK(has_object(vm->qemu, "b") && !has_object(vm->qemu, "c"));
    works(unplug(vm, "three", 0));
    CHECK(!has_object(vm->qemu, "a") && !has_object(vm->qemu, "b"));

    /* Each queue needs one, which QEMU says; and those that it has to have already are looked for. */
    three.queues = 4;
    fails(add_disk(vm, &three, NULL), -EREMOTEIO, KVM_HOTPLUG_ERROR_QMP, "missing vq 3");
    CHECK(!has_object(vm->qemu, "a") && !has_object(vm->qemu, "b"));
    three.flags = 0;
    fails(add_disk(vm, &three, NULL), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "no iothread a");
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = 4};
    struct kvm_hotplug_disk passed_over = {.iothread = IN_TURN, .flags = KVM_HOTPLUG_MAKE_IOTHREAD};
    char image[TEST_PATH], second[TEST_PATH], directory[TEST_PATH];
    unsigned major, minor;
    struct vm vm;

    test_begin("guest-queues", 200);
    directory_new(directory);
    path_in(image, directory, "a.img");
    path_in(second, directory, "b.img");
    image_raw(image, 2 * MEBIBYTE);
    image_raw(second, 2 * MEBIBYTE);
    vm_prepare(&vm, &(struct qemu_options){.guest = true, .root_ports = -1});
    for_version(&vm, &boot);
    vm_boot(&vm, &boot);
    qemu_version(NULL, &major, &minor);
    if (major > 9 || (major == 9 && minor >= 2)) {
        divided(&vm, &boot, image, second);
    } else {
        passed_over.path = image;
        fails(add_disk(&vm, &passed_over, NULL), -ENOTSUP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
              major < 9 ? "has no property iothread-vq-mapping" : "passes over such a list");
        CHECK(!has_object(vm.qemu, "b") && !has_object(vm.qemu, "c"));
    }
    invalid(add_disk(&vm, &(struct kvm_hotplug_disk){.path = image, .iothread = "[{\"iothread\": \"a\"}, 1]"}, NULL),
            "mapping of queues");
    CHECK_VERIFIED(&vm);
    vm_stop(&vm);
    return test_end();
}
