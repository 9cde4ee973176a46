/* A monitor for the test's own: QEMU greets there, serves it beside the library's, and deletes it when it is
 * hung up. A NIC is not added over it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"

static struct vm vm;

static bool is_lent(void)
{
    return qmp_contains(vm.qemu, "{\"execute\":\"query-chardev\"}", "kvm-hotplug-lent");
}

static void serves(int fd)
{
    static const char command[] = "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-status\"}";
    char heard[4096] = "";
    size_t length = 0;

    CHECK_NUMBER(write(fd, command, sizeof command - 1), sizeof command - 1);
    while (strstr(heard, "running") == NULL) {
        ssize_t count = read(fd, heard + length, sizeof heard - 1 - length);

        if (count <= 0)
            FAIL("the monitor has ended after: %s", heard);
        length += (size_t)count;
        heard[length] = '\0';
    }
    CHECK_PART(heard, "QMP");
}

static void has_a_guest(int fd, const char *image)
{
    struct kvm_hotplug_open_options options = {.flags = KVM_HOTPLUG_OPEN_IN_MEMORY};
    struct vm lent = {.qemu = vm.qemu};
    struct kvm_hotplug_nic nic = {.id = "nic"};
    char *before;

    works(kvmh_runtime_new(NULL, &lent.runtime, &failure));
    works(kvmh_open_connection(lent.runtime, fd, &options, &lent.guest, &failure));
    ok(close(fd));
    before = vm_picture(&lent);
    fails(kvmh_add_nic(lent.guest, &nic, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
          "kvm_hotplug_lend_monitor");
    CHECK_PICTURE(&lent, before);
    vm_add_disk(&lent, "disk", image);
    CHECK(is_lent());
    vm_close(&lent);
    free(before);
}

static void goes(void)
{
    for (int i = 0; i < 500 && is_lent(); i++)
        usleep(10 * 1000);
    CHECK(!is_lent());
    CHECK(
        !qmp_contains(vm.qemu, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/objects\"}}", "kvm-hotplug-lent"));
}

int main(void)
{
    char image[TEST_PATH];
    int first = -1, second = -1, rc, fds;

    test_begin("qemu-lent-monitor", 60);
    vm_start(&vm, &(struct qemu_options){0});
    path_in(image, vm.qemu->dir, "image");
    image_raw(image, MEBIBYTE);
    fds = process_fds(vm.qemu->pid);
    rc = kvm_hotplug_lend_monitor(vm.guest, 0, &first, &failure);
    if (!qmp_contains(vm.qemu, "{\"execute\":\"query-qmp-schema\"}", "\"monitor-qmp\"")) {
        fails(rc, -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "11.1.0");
        CHECK_NUMBER(first, -1);
        CHECK_NUMBER(process_fds(vm.qemu->pid), fds);
        vm_stop(&vm);
        return test_end();
    }
    answers(rc, 0);
    works(kvm_hotplug_lend_monitor(vm.guest, 0, &second, &failure));
    serves(first);
    vm_add_nic(&vm, "lan");
    fails(kvm_hotplug_lend_monitor(vm.guest, 0, NULL, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID, "ret_fd");
    ok(close(first));
    has_a_guest(second, image);
    goes();
    vm_stop(&vm);
    return test_end();
}
