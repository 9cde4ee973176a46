/* A guest that is reached at a vsock port, behind which a child of the test stands between it and QEMU's own
 * socket, as socat would. */
/* ctest: machine=pc */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "support/connection.h"
#include "support/files.h"
#include "support/library.h"
#include "support/not_run.h"

enum { PORT = 44404, TRY_MS = 1000 };

static struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = PORT, .svm_cid = VMADDR_CID_ANY};

static int listening(void)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        test_not_run("no vsock: %s", strerror(errno));
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0)
        test_not_run("nobody can listen at a vsock port: %s", strerror(errno));
    return fd;
}

static void needs_loopback(int listener)
{
    struct sockaddr_vm local = address;
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), other;
    struct pollfd arrives = {.fd = listener, .events = POLLIN};

    local.svm_cid = VMADDR_CID_LOCAL;
    if (connect(fd, (struct sockaddr *)&local, sizeof local) != 0 && errno != EINPROGRESS)
        test_not_run("vsock has no loopback: %s", strerror(errno));
    if (poll(&arrives, 1, TRY_MS) != 1)
        test_not_run("vsock has no loopback: nothing arrives");
    other = accept(listener, NULL, NULL);
    ok(close(other));
    ok(close(fd));
}

/* Until either end hangs up. */
static void relay(int one, int other)
{
    struct pollfd ends[2] = {{.fd = one, .events = POLLIN}, {.fd = other, .events = POLLIN}};
    char bytes[4096];

    while (poll(ends, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            ssize_t count = ends[i].revents == 0 ? 0 : read(ends[i].fd, bytes, sizeof bytes);

            if (ends[i].revents != 0 && (count <= 0 || write(ends[1 - i].fd, bytes, (size_t)count) != count))
                return;
        }
}

int main(void)
{
    struct kvm_hotplug_nic nic = {.id = "refused"};
    static struct vm vm;
    char name[32];
    int listener, status;
    pid_t child;

    test_begin("qemu-vsock", 60);
    listener = listening();
    needs_loopback(listener);
    vm_start(&vm, &(struct qemu_options){0});
    vm_add_nic(&vm, "lan");
    vm_close(&vm);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        relay(accept(listener, NULL, NULL), connect_path(vm.qemu->qmp_path));
        _exit(0);
    }
    snprintf(name, sizeof name, "vsock:%u:%u", VMADDR_CID_LOCAL, PORT);
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvm_hotplug_open(vm.runtime, name, 0, &vm.guest, &failure));
    works(kvm_hotplug_set_link(vm.guest, "lan", 0, 0, &failure));
    fails(kvmh_add_nic(vm.guest, &nic, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, name);
    vm_close(&vm);
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ok(close(listener));
    vm_stop(&vm);
    return test_end();
}
