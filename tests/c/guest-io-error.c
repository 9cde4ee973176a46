/* A disk whose storage runs full stops the guest, the agent hears which disk and why, makes room, and lets it
 * go on. */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "support/guest.h"
#include "support/image.h"
#include "support/plug.h"
#include "support/view.h"

static struct vm vm;

static int status_has(const char *part)
{
    struct kvm_hotplug_command command = {.execute = "query-status"};
    char *reply = NULL;
    int has;

    works(kvmh_qmp(vm.guest, &command, &reply, &failure));
    has = strstr(reply, part) != NULL;
    kvm_hotplug_text_free(reply);
    return has;
}

int main(void)
{
    struct kvm_hotplug_command go_on = {.execute = "cont"};
    struct kvm_hotplug_event event;
    struct kvm_hotplug_device disk;
    char store[TEST_PATH], path[TEST_PATH], name[16];

    test_begin("guest-io-error", 120);
    mounts_private();
    vm_start(&vm, &(struct qemu_options){.guest = true});
    path_in(store, vm.qemu->dir, "store");
    ok(mkdir(store, 0700));
    ok(mount("small", store, "tmpfs", 0, "size=2M"));
    path_in(path, store, "thin.img");
    image_raw(path, 16 * MEBIBYTE);
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.path = path, .id = "thin"}, &disk));
    view_disk(vm.qemu, &disk, name);
    CHECK_NUMBER(guest_does(vm.qemu,
                            "(yes | dd of=/dev/%s bs=64k count=128 iflag=fullblock conv=fsync && "
                            "echo written >/tmp/done) >/dev/null 2>&1 &",
                            name),
                 0);

    CHECK(vm_next_event(&vm, &event, test_patience(30000)));
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_IO_ERROR);
    CHECK_TEXT(event.id, "thin");
    CHECK_NUMBER(event.device_type, KVM_HOTPLUG_DEVICE_DISK);
    CHECK_NUMBER(event.generation, disk.generation);
    CHECK_NUMBER(event.action, KVM_HOTPLUG_IO_ACTION_STOP);
    CHECK_NUMBER(event.write, 1);
    CHECK_NUMBER(event.no_space, 1);
    CHECK(event.times >= 1);
    CHECK_PART(event.text, "No space left on device");
    CHECK(status_has("\"io-error\""));

    ok(mount("small", store, "tmpfs", MS_REMOUNT, "size=32M"));
    works(kvmh_qmp(vm.guest, &go_on, NULL, &failure));
    CHECK(guest_wait(vm.qemu, "grep written /tmp/done", 30000));
    CHECK(status_has("\"running\":true"));
    CHECK(image_allocated(path) >= 8 * MEBIBYTE);
    works(unplug(&vm, "thin", 0));
    check_gone(&vm, "thin");
    vm_stop(&vm);
    return test_end();
}
