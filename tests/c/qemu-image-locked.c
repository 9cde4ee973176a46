/* An image that another QEMU uses is refused as such, by QEMU's own lock, and can be had when that one lets
 * go. */
#include <stdlib.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"

int main(void)
{
    struct vm owner, other;
    char image[TEST_PATH], *picture;
    struct kvm_hotplug_disk disk = {.id = "data", .path = image}, shared = {.id = "data", .path = image};
    int fds;

    test_begin("qemu-image-locked", 60);
    vm_start(&owner, &(struct qemu_options){.stopped = true});
    vm_start(&other, &(struct qemu_options){0});
    path_in(image, owner.qemu->dir, "data.img");
    image_raw(image, 1 << 20);
    vm_add_disk(&owner, "data", image);
    picture = vm_picture(&other);
    fds = process_fds(getpid());
    fails(kvmh_add_disk(other.guest, &disk, NULL, &failure), -EBUSY, KVM_HOTPLUG_ERROR_IMAGE_LOCKED, "data",
          "in use by another QEMU");
    CHECK_PICTURE(&other, picture);
    CHECK(!vm_has_journal(&other) && !vm_record_contains(&other, "data"));
    CHECK_NUMBER(process_fds(getpid()), fds);

    answers(kvm_hotplug_del_disk(owner.guest, "data", 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    fails(kvmh_add_disk(other.guest, &disk, NULL, &failure), -EBUSY, KVM_HOTPLUG_ERROR_IMAGE_LOCKED,
          "in use by another QEMU");
    vm_reset(&owner);
    vm_await(&owner, KVM_HOTPLUG_EVENT_REMOVED, "data");
    works(kvmh_add_disk(other.guest, &disk, NULL, &failure));
    fails(kvmh_add_disk(owner.guest, &disk, NULL, &failure), -EBUSY, KVM_HOTPLUG_ERROR_IMAGE_LOCKED,
          "in use by another QEMU");
    answers(kvm_hotplug_del_disk(other.guest, "data", 1000, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&other);
    vm_await(&other, KVM_HOTPLUG_EVENT_REMOVED, "data");

    /* Guests that both say so share it. */
    shared.flags = KVM_HOTPLUG_DISK_SHARE_RW;
    works(kvmh_add_disk(owner.guest, &shared, NULL, &failure));
    works(kvmh_add_disk(other.guest, &shared, NULL, &failure));
    free(picture);
    vm_stop(&owner);
    vm_stop(&other);
    return test_end();
}
