/* A QEMU in a chroot, as another user and under seccomp gets NICs and disks as any other: it opens nothing by
 * itself. */
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/files.h"
#include "support/jail.h"
#include "support/library.h"
#include "support/net.h"

enum { WAIT_MS = 10000 };

static struct vm vm;
static int deleted_first;

/* Which of the two ways a tap goes: held here until QEMU has closed it, or deleted under QEMU. */
static void log_line(void *unused, int level, const char *message)
{
    (void)unused, (void)level;
    deleted_first += strstr(message, "is deleted first") != NULL;
}

static void log_from_now_on(void)
{
    kvm_hotplug_close(vm.guest);
    works(kvm_runtime_set_log(vm.runtime, KVM_HOTPLUG_LOG_DEBUG, log_line, NULL, NULL, &failure));
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, (uint32_t)test_patience(WAIT_MS), &vm.guest, &failure));
}

/* Whether descriptors of other processes can be had at all: valgrind does not know the call. */
static bool processes_can_be_opened(void)
{
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* QEMU is another user's: without this right its descriptors are out of reach. */
static void lose_right_to_trace(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct rights[_LINUX_CAPABILITY_U32S_3];

    ok((int)syscall(SYS_capget, &header, rights));
    rights[CAP_TO_INDEX(CAP_SYS_PTRACE)].effective &= ~CAP_TO_MASK(CAP_SYS_PTRACE);
    ok((int)syscall(SYS_capset, &header, rights));
}

static void take_out(const char *id)
{
    struct kvm_hotplug_del_options removal = {.id = id, .flags = KVM_HOTPLUG_NO_WAIT};

    answers(kvmh_del(vm.guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, id);
}

static void devices(const char *image, const char *cow, const char *bridge)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .bridge = bridge, .queues = 2};
    struct kvm_hotplug_disk layered = {.id = "layered", .path = cow, .format = KVM_HOTPLUG_FORMAT_QCOW2};
    char *empty = vm_picture(&vm);

    works(kvmh_add_nic(vm.guest, &nic, NULL, &failure));
    vm_add_disk(&vm, "data", image);
    works(kvmh_add_disk(vm.guest, &layered, NULL, &failure));
    /* The socket is where it was, for the next agent as well. */
    vm_close(&vm);
    vm_open(&vm);
    CHECK_NUMBER(vm_device(&vm, "data").state, KVM_HOTPLUG_STATE_LIVE);
    take_out("data");
    take_out("layered");
    log_from_now_on();
    take_out("lan");
    CHECK_NUMBER(deleted_first, processes_can_be_opened() ? 0 : 1);
    deleted_first = 0;
    works(kvmh_add_nic(vm.guest, &nic, NULL, &failure));
    lose_right_to_trace();
    take_out("lan");
    CHECK_NUMBER(deleted_first, 1);
    CHECK_PICTURE(&vm, empty);
    free(empty);
}

int main(void)
{
    struct jail jail;
    char directory[TEST_PATH], image[TEST_PATH], base[TEST_PATH], cow[TEST_PATH], bridge[IF_NAMESIZE];
    int links;

    test_begin("qemu-sandbox", 60);
    net_private();
    bridge_new(bridge);
    directory_new(directory);
    jail_new(&jail);
    path_in(image, directory, "data.img");
    path_in(base, directory, "base.img");
    path_in(cow, directory, "data.qcow2");
    image_raw(image, 1 << 20);
    image_raw(base, 1 << 20);
    image_qcow2(cow, "1M", base, "raw");
    vm_start(&vm, &(struct qemu_options){.extra = jail.arguments});
    links = link_count();
    jail_check(&jail, vm.qemu, image);
    devices(image, cow, bridge);
    CHECK_NUMBER(directory_count(jail.directory), 0);
    CHECK_NUMBER(link_count(), links);
    vm_stop(&vm);
    return test_end();
}
