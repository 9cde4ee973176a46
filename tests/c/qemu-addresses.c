/* Monitors whose path a socket's address has no room for, and those with an abstract name: each takes what
 * the others do, and knows what was done over the others. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/image.h"
#include "support/library.h"

static struct vm vm;

static void reopen(const char *address)
{
    vm_close(&vm);
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvm_hotplug_open(vm.runtime, address, 0, &vm.guest, &failure));
}

/* The monitor's path with a detour that leads nowhere. */
static void lengthen(char *path, size_t size)
{
    snprintf(path, size, "%s", vm.qemu->dir);
    while (strlen(path) < 400)
        strcat(path, "/.");
    strcat(path, "/qmp");
}

static void takes_descriptors(const char *address, const char *id)
{
    char image[TEST_PATH];

    path_in(image, vm.qemu->dir, id);
    image_raw(image, MEBIBYTE);
    reopen(address);
    vm_add_disk(&vm, id, image);
    CHECK_NUMBER(vm_device(&vm, id).state, KVM_HOTPLUG_STATE_LIVE);
}

int main(void)
{
    char name[64], chardev[160], path[512];
    const char *extra[] = {"-chardev", chardev, "-mon", "chardev=second,mode=control", NULL};
    struct kvm_hotplug_device devices[4];
    size_t count = 0;

    test_begin("qemu-addresses", 60);
    snprintf(name, sizeof name, "@kvm-hotplug-test-%d", getpid());
    snprintf(chardev, sizeof chardev, "socket,id=second,path=%s,abstract=on,server=on,wait=off", name + 1);
    vm_start(&vm, &(struct qemu_options){.extra = extra});
    lengthen(path, sizeof path);
    takes_descriptors(name, "first");
    takes_descriptors(path, "second");
    reopen(name);
    works(kvmh_list(vm.guest, devices, 4, &count, &failure));
    CHECK_NUMBER(count, 2);
    vm_stop(&vm);
    return test_end();
}
