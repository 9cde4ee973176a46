/* Looking at a guest leaves everything as it is: the record is another agent's, its journal is open, and not
 * a byte of either changes, whichever command looks. A record has one owner and a monitor one client, so the
 * agent is away for the moment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/example.h"
#include "support/files.h"
#include "support/kvmctl.h"
#include "support/plug.h"

enum { MOST = 8 };

static struct vm vm;
static char image[TEST_PATH], journal[TEST_PATH];

struct files {
    char *record, *journal;
};

static struct files read_files(void)
{
    return (struct files){.record = file_read(vm.path, NULL), .journal = file_read(journal, NULL)};
}

static void check_files(const struct files *before)
{
    struct files now = read_files();

    CHECK_TEXT(now.record, before->record);
    CHECK_TEXT(now.journal, before->journal);
    free(now.record);
    free(now.journal);
}

/* Two devices in the guest, one of which has been asked to leave, and an agent that has gone. */
static void leave_unfinished(void)
{
    struct kvm_hotplug_del_options removal = {.id = "leaves", .flags = KVM_HOTPLUG_NO_WAIT};

    vm_add_nic(&vm, "leaves");
    vm_add_disk(&vm, "stays", image);
    answers(kvmh_del(vm.guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_close(&vm);
}

static void look(void)
{
    struct kvm_hotplug_open_options listener = {.flags = KVM_HOTPLUG_OPEN_LOOK_ONLY};
    struct kvm_hotplug_del_options removal = {.id = "stays"};
    struct kvm_hotplug_difference found[MOST];
    struct kvm_hotplug_device device;
    struct kvm_runtime *owned, *copy;
    struct kvm_hotplug *guest;
    size_t count = 1;

    works(kvm_runtime_load(vm.path, &owned, &failure));
    works(kvm_runtime_load_readonly(vm.path, &copy, &failure));
    works(kvmh_open_with(copy, vm.qemu->qmp_path, &listener, &guest, &failure));
    kvm_runtime_free(copy);
    answers(kvmh_get_device(guest, "leaves", &device, &failure), KVM_HOTPLUG_STATE_PENDING);
    answers(kvmh_get_device(guest, "stays", &device, &failure), KVM_HOTPLUG_STATE_LIVE);
    works(kvmh_verify(guest, 0, found, MOST, &count, &failure));
    CHECK_NUMBER(count, 0);
    fails(kvmh_del(guest, &removal, NULL, &failure), -EROFS, KVM_HOTPLUG_ERROR_STATE, "opened for looking only");
    fails(kvmh_repair(guest, 0, found, MOST, &count, &failure), -EROFS, KVM_HOTPLUG_ERROR_STATE,
          "opened for looking only");
    kvm_hotplug_close(guest);
    kvm_runtime_free(owned);
}

/* A program that owns the record is in nobody's way. */
static void commands(void)
{
    struct kvm_runtime *owned;

    works(kvm_runtime_load(vm.path, &owned, &failure));
    setenv("KVMCTL_RUNTIME", vm.path, 1);
    setenv("KVMCTL_SOCKET", vm.qemu->qmp_path, 1);
    kvmctl_looks(true);
    ctl(0, "list", NULL);
    says("leaves");
    ctl(0, "map", NULL);
    ctl(0, "plan del stays", NULL);
    kvm_runtime_free(owned);
}

int main(void)
{
    struct files before;
    char *picture;

    test_begin("qemu-look", 60);
    vm_start(&vm, &(struct qemu_options){.root_ports = 4});
    path_in(image, vm.qemu->dir, "stays.img");
    image_raw(image, MEBIBYTE);
    snprintf(journal, sizeof journal, "%s.journal", vm.path);
    leave_unfinished();
    picture = vm_picture(&vm);
    before = read_files();
    CHECK_PART(before.journal, "leaves");
    look();
    check_files(&before);
    commands();
    check_files(&before);
    CHECK_PICTURE(&vm, picture);
    free(picture);
    free(before.record);
    free(before.journal);
    vm_open(&vm);
    vm_stop(&vm);
    return test_end();
}
