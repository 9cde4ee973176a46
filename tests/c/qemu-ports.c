/* A guest that is reached at a TCP port, by an address or a name: what needs no descriptor works, and what
 * does is refused before anything is done. What has the form of a port and is a file is that file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/connection.h"
#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

static struct vm vm;
static char image[TEST_PATH];

static void reopen(const char *name)
{
    vm_close(&vm);
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvm_hotplug_open(vm.runtime, name, 0, &vm.guest, &failure));
}

static void refuses_descriptors(const char *name)
{
    char *before = vm_picture(&vm);
    int interfaces = link_count();
    struct kvm_hotplug_nic nic = {.id = "refused"};
    struct kvm_hotplug_disk disk = {.id = "refused", .path = image};

    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "descriptor",
          name);
    fails(kvmh_add_disk(vm.guest, &disk, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "descriptor",
          name);
    CHECK_NUMBER(link_count(), interfaces);
    CHECK_PICTURE(&vm, before);
    CHECK(!vm_has_journal(&vm));
    free(before);
}

static void works_otherwise(void)
{
    struct kvm_hotplug_controller controller = {.id = "scsi"};
    struct kvm_hotplug_difference differences[4];
    size_t count = 0;

    works(kvmh_add_controller(vm.guest, &controller, NULL, &failure));
    CHECK_NUMBER(vm_device(&vm, "scsi").state, KVM_HOTPLUG_STATE_LIVE);
    works(kvm_hotplug_set_link(vm.guest, "lan", 0, 0, &failure));
    CHECK_NUMBER(vm_device(&vm, "lan").link_down, 1);
    works(kvmh_verify(vm.guest, 0, differences, 4, &count, &failure));
    CHECK_NUMBER(count, 0);
    answers(kvmh_del(vm.guest, &(struct kvm_hotplug_del_options){.id = "lan", .flags = KVM_HOTPLUG_NO_WAIT}, NULL,
                     &failure),
            KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "lan");
    CHECK(!vm_has_journal(&vm));
}

int main(void)
{
    const char *extra[] = {"-chardev", "socket,id=v4,host=127.0.0.1,port=4444,server=on,wait=off",
                           "-mon",     "chardev=v4,mode=control",
                           "-chardev", "socket,id=v6,host=::1,port=4445,server=on,wait=off",
                           "-mon",     "chardev=v6,mode=control",
                           NULL};
    struct kvm_hotplug *none = NULL;
    int fd;

    test_begin("qemu-ports", 90);
    net_private_loopback();
    vm_start(&vm, &(struct qemu_options){.extra = extra});
    path_in(image, vm.qemu->dir, "image");
    image_raw(image, MEBIBYTE);
    vm_add_nic(&vm, "lan");
    vm_add_disk(&vm, "data", image);

    reopen("[::1]:4445");
    path_in(image, vm.qemu->dir, "other");
    image_raw(image, MEBIBYTE);
    refuses_descriptors("[::1]:4445");
    reopen("localhost:4444");
    refuses_descriptors("localhost:4444");
    works_otherwise();

    vm_close(&vm);
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    fails(kvm_hotplug_open(vm.runtime, "127.0.0.1:4446", 0, &none, &failure), -ECONNREFUSED, KVM_HOTPLUG_ERROR_HOST,
          "connect to the monitor at 127.0.0.1:4446");
    fails(kvm_hotplug_open(vm.runtime, "no-such-host.invalid:1", 0, &none, &failure), -ENOENT,
          KVM_HOTPLUG_ERROR_NOT_FOUND, "no-such-host.invalid");
    fails(kvmh_open_with(vm.runtime, "127.0.0.1:4444",
                         &(struct kvm_hotplug_open_options){.flags = KVM_HOTPLUG_OPEN_PEER_PID,
                                                            .peer_pid = vm.qemu->pid},
                         &none, &failure),
          -EPERM, KVM_HOTPLUG_ERROR_UNTRUSTED, "127.0.0.1:4444", "cannot be told");
    /* Somebody else has it. */
    fd = connect_port(4444);
    usleep(200 * 1000);
    fails(kvm_hotplug_open(vm.runtime, "127.0.0.1:4444", 300, &none, &failure), -EBUSY, KVM_HOTPLUG_ERROR_MONITOR_BUSY,
          "127.0.0.1:4444");
    ok(close(fd));

    ok(chdir(vm.qemu->dir));
    ok(symlink("qmp", "127.0.0.1:4444"));
    works(kvm_hotplug_open(vm.runtime, "127.0.0.1:4444", 0, &vm.guest, &failure));
    vm_add_nic(&vm, "passed");
    ok(unlink("127.0.0.1:4444"));
    ok(chdir("/"));
    vm_stop(&vm);
    return test_end();
}
