/* A guest that is opened over a connection that the test has made: the library cannot make another one, says
 * so, and takes one that it is given. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/connection.h"
#include "support/files.h"
#include "support/library.h"

static struct vm vm;

static void open_over(int fd)
{
    vm_close(&vm);
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvmh_open_connection(vm.runtime, fd, NULL, &vm.guest, &failure));
}

static void loses_and_gets(int lost, int given)
{
    char *json = NULL;

    ok(shutdown(lost, SHUT_RDWR));
    ok(close(lost));
    for (int i = 0; i < 2; i++)
        fails(kvm_hotplug_describe(vm.guest, NULL, 0, &json, &failure), -ENOTCONN, KVM_HOTPLUG_ERROR_MONITOR_LOST,
              "kvm_hotplug_give_connection");
    /* What is recorded needs no monitor. */
    CHECK_NUMBER(vm_device(&vm, "first").state, KVM_HOTPLUG_STATE_LIVE);
    works(kvm_hotplug_give_connection(vm.guest, given, &failure));
    ok(close(given));
    vm_add_nic(&vm, "third");
}

static void refused(int fd, int error, const char *words)
{
    struct kvm_hotplug *none = NULL;

    fails(kvmh_open_connection(vm.runtime, fd, NULL, &none, &failure), -error, KVM_HOTPLUG_ERROR_INVALID, words);
    fails(kvm_hotplug_give_connection(vm.guest, fd, &failure), -error, KVM_HOTPLUG_ERROR_INVALID, words);
}

static void refuses_others(void)
{
    int ends[2], unconnected = socket(AF_UNIX, SOCK_STREAM, 0), datagram[2];

    ok(pipe(ends));
    ok(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram));
    refused(-1, EBADF, "no file descriptor");
    refused(ends[0], ENOTSOCK, "is not a socket");
    refused(unconnected, ENOTCONN, "is not connected");
    refused(datagram[0], EPROTOTYPE, "is no stream socket");
    for (int i = 0; i < 2; i++) {
        ok(close(ends[i]));
        ok(close(datagram[i]));
    }
    ok(close(unconnected));
}

int main(void)
{
    const char *extra[] = {"-chardev", "socket,id=port,host=127.0.0.1,port=4444,server=on,wait=off", "-mon",
                           "chardev=port,mode=control", NULL};
    struct kvm_hotplug_nic nic = {.id = "none"};
    char image[TEST_PATH];
    int fd, fds;

    test_begin("qemu-connected", 60);
    net_private_loopback();
    vm_start(&vm, &(struct qemu_options){.extra = extra});
    path_in(image, vm.qemu->dir, "image");
    image_raw(image, MEBIBYTE);
    fails(kvm_hotplug_give_connection(vm.guest, 0, &failure), -ENOTSOCK, KVM_HOTPLUG_ERROR_INVALID, "is not a socket");
    vm_close(&vm);
    fds = process_fds(getpid());

    fd = connect_path(vm.qemu->qmp_path);
    open_over(fd);
    refuses_others();
    vm_add_nic(&vm, "first");
    vm_add_disk(&vm, "second", image);
    loses_and_gets(fd, connect_path(vm.qemu->qmp_path));

    fd = connect_port(4444);
    open_over(fd);
    ok(close(fd));
    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
          "127.0.0.1:4444");
    works(kvm_hotplug_set_link(vm.guest, "first", 0, 0, &failure));
    CHECK(!vm_has_journal(&vm));
    vm_close(&vm);
    vm_open(&vm);
    fd = connect_port(4444);
    fails(kvm_hotplug_give_connection(vm.guest, fd, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "by the name");
    ok(close(fd));
    vm_close(&vm);
    CHECK_NUMBER(process_fds(getpid()), fds);
    vm_stop(&vm);
    return test_end();
}
