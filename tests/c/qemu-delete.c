/* What there is of a guest on this host is deleted, unless its QEMU runs and its journal is open. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/image.h"
#include "support/plug.h"

static struct vm vm;

static int is_there(const char *suffix)
{
    char path[TEST_PATH + 32];

    snprintf(path, sizeof path, "%s%s", vm.path, suffix);
    return access(path, F_OK) == 0;
}

int main(void)
{
    struct kvm_hotplug_device disk;
    char image[TEST_PATH], process[32];

    test_begin("qemu-delete", 120);
    vm_start(&vm, &(struct qemu_options){0});
    path_in(image, vm.qemu->dir, "disk.img");
    image_raw(image, MEBIBYTE);
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.path = image}, &disk));
    fails(kvm_runtime_delete(vm.path, &failure), -EAGAIN, KVM_HOTPLUG_ERROR_LOCKED, vm.path);
    /* Its firmware lets go of nothing, so the removal stays in the journal. */
    answers(unplug(&vm, disk.id, 300), KVM_HOTPLUG_ANSWER_PENDING);
    vm_close(&vm);
    CHECK(is_there("") && is_there(".journal"));
    snprintf(process, sizeof process, "process %d", (int)vm.qemu->pid);
    fails(kvm_runtime_delete(vm.path, &failure), -EBUSY, KVM_HOTPLUG_ERROR_STATE, process, vm.path);
    CHECK(is_there("") && is_there(".journal") && !is_there(".lock"));
    qemu_end(vm.qemu);
    works(kvm_runtime_delete(vm.path, &failure));
    CHECK(!is_there("") && !is_there(".journal") && !is_there(".lock"));
    works(kvm_runtime_delete(vm.path, &failure));
    qemu_stop(vm.qemu);
    return test_end();
}
