/* ctest: machine=pc */
/* vhost-net is taken where the host has it: a descriptor for every queue goes to QEMU, and goes with
 * everything else when QEMU refuses it. The device for that is a stand-in that opens and can do nothing, so
 * that QEMU tries it, and fails, on every host. A host that has vhost-net also plugs in a NIC with it. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/plug.h"

static const char vhost[] = "/dev/vhost-net";
/* What QEMU says when it has tried (5.2 to 11.1): not of a descriptor that is missing, nor of an option that
 * it does not have. */
static const char tried[] = "vhost-net requested but could not be initialized";
static struct vm vm;

static int add_lan(uint32_t mode, uint32_t queues, struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .vhost = mode, .queues = queues};

    return kvmh_add_nic(vm.guest, &nic, device, &failure);
}

/* What the guest, the host and the record had before, they have. */
static void unchanged(const char *picture, const char *record, int links, int fds, int qemu_fds)
{
    char *now = file_read(vm.path, NULL);

    CHECK_PICTURE(&vm, picture);
    CHECK_TEXT(now, record);
    CHECK(!vm_has_journal(&vm));
    CHECK_NUMBER(link_count(), links);
    CHECK_NUMBER(process_fds(getpid()), fds);
    CHECK_NUMBER(process_fds(vm.qemu->pid), qemu_fds);
    free(now);
}

/* Behind the node nobody answers, so the host has none. */
static void not_there(struct kvm_hotplug_device *device)
{
    fails(add_lan(KVM_HOTPLUG_VHOST_REQUIRED, 1, device), -ENODEV, KVM_HOTPLUG_ERROR_UNAVAILABLE, "vhost is required",
          vhost, "modprobe vhost_net");
    works(add_lan(KVM_HOTPLUG_VHOST_AUTO, 1, device));
    CHECK_NUMBER(device->vhost, 0);
    /* The same request, whatever the host has by now. */
    works(add_lan(KVM_HOTPLUG_VHOST_OFF, 1, device));
    fails(add_lan(KVM_HOTPLUG_VHOST_REQUIRED, 1, device), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "another vhost");
    unplug_by_reset(&vm, "lan");
}

/* QEMU has got the descriptors, and found out that there is no vhost behind them. */
static void fails_to_start(uint32_t mode, uint32_t queues)
{
    struct kvm_hotplug_device device = {0};

    CHECK_NUMBER(add_lan(mode, queues, &device), -EREMOTEIO);
    CHECK_NUMBER(kvm_hotplug_error_kind(failure), KVM_HOTPLUG_ERROR_QMP);
    CHECK_TEXT(kvm_hotplug_error_step(failure), "netdev_add lan");
    CHECK_TEXT(kvm_hotplug_error_qmp_desc(failure), tried);
    kvm_hotplug_error_free(failure);
    failure = NULL;
}

/* The real thing, for as many queues as the guest may have. */
static void on_this_host(void)
{
    static const uint32_t queues[] = {1, 4};
    struct kvm_hotplug_device device = {0};
    int fd = open(vhost, O_RDWR | O_CLOEXEC), qemu_fds = process_fds(vm.qemu->pid);
    size_t i, count = 0;

    if (fd < 0) {
        test_part_not_run("a NIC with vhost-net", "%s: %s", vhost, strerror(errno));
        return;
    }
    close(fd);
    for (i = 0; i < 2; i++) {
        works(add_lan(KVM_HOTPLUG_VHOST_REQUIRED, queues[i], &device));
        CHECK_NUMBER(device.vhost, 1);
        CHECK_NUMBER(process_fds(vm.qemu->pid) >= qemu_fds + 2 * (int)queues[i], 1);
        works(kvmh_verify(vm.guest, 0, NULL, 0, &count, &failure));
        CHECK_NUMBER(count, 0);
        unplug_by_reset(&vm, "lan");
    }
}

static void refused(void)
{
    static const uint32_t modes[] = {KVM_HOTPLUG_VHOST_AUTO, KVM_HOTPLUG_VHOST_REQUIRED}, queues[] = {1, 4};
    struct kvm_hotplug_device device = {0};
    char *picture, *record = file_read(vm.path, NULL);
    int links = link_count(), fds = process_fds(getpid()), qemu_fds = process_fds(vm.qemu->pid);
    size_t i;

    /* With QEMU 5.2 the first time leaves an empty hub. */
    fails_to_start(modes[0], queues[0]);
    picture = vm_picture(&vm);
    CHECK(strstr(picture, "lan") == NULL);
    for (i = 0; i < 4; i++) {
        fails_to_start(modes[i / 2], queues[i % 2]);
        unchanged(picture, record, links, fds, qemu_fds);
    }
    works(add_lan(KVM_HOTPLUG_VHOST_OFF, 4, &device));
    CHECK_NUMBER(device.vhost, 0);
    free(picture);
    free(record);
}

int main(void)
{
    struct kvm_hotplug_device device = {0};

    test_begin("qemu-vhost", 60);
    net_private();
    vm_start(&vm, &(struct qemu_options){0});
    on_this_host();
    devices_private(vm.qemu->dir);
    not_there(&device);
    ok(mknod(vhost, S_IFCHR | 0600, makedev(10, 77)));
    not_there(&device);
    ok(unlink(vhost));
    ok(mknod(vhost, S_IFCHR | 0600, makedev(1, 3)));
    refused();
    vm_stop(&vm);
    return test_end();
}
