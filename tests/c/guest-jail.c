/* A QEMU in a chroot, as another user and under seccomp: the guest gets its NICs and disks, uses them, and
 * gives them up. */
#include "support/image.h"
#include "support/jail.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/view.h"

static void nic(struct vm *vm, const char *bridge)
{
    struct kvm_hotplug_device device;
    char name[16];

    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = bridge, .queues = 2}, &device));
    view_nic(vm->qemu, &device, name);
    CHECK_NUMBER(guest_does(vm->qemu, "ip addr add 198.18.1.2/24 dev %s && ip link set %s up", name, name), 0);
    CHECK(host_pings("198.18.1.2"));
    works(unplug(vm, device.id, 0));
    CHECK(view_is_gone(vm->qemu, &device));
    CHECK(link_goes(device.ifname));
    check_gone(vm, device.id);
}

static void disk(struct vm *vm, const char *path, uint32_t format, const char *format_name)
{
    struct kvm_hotplug_device device;
    char name[16];

    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = path, .format = format}, &device));
    view_disk(vm->qemu, &device, name);
    CHECK_NUMBER(guest_does(vm->qemu, "printf 'written in jail' | dd of=/dev/%s conv=fsync", name), 0);
    works(unplug(vm, device.id, 0));
    CHECK(view_is_gone(vm->qemu, &device));
    check_gone(vm, device.id);
    CHECK(image_has(path, format_name, 0, "written in jail"));
}

int main(void)
{
    char directory[TEST_PATH], raw[TEST_PATH], base[TEST_PATH], qcow2[TEST_PATH], bridge[IF_NAMESIZE];
    struct jail jail;
    struct vm vm;

    test_begin("guest-jail", 600);
    net_private();
    bridge_new(bridge);
    link_address(bridge, "198.18.1.1/24");
    directory_new(directory);
    path_in(raw, directory, "raw.img");
    path_in(base, directory, "base.img");
    path_in(qcow2, directory, "top.qcow2");
    image_raw(raw, MEBIBYTE);
    image_raw(base, MEBIBYTE);
    image_qcow2(qcow2, "1M", base, "raw");
    jail_new(&jail);
    vm_start(&vm, &(struct qemu_options){.guest = true, .extra = jail.arguments});
    jail_check(&jail, vm.qemu, raw);
    nic(&vm, bridge);
    disk(&vm, raw, KVM_HOTPLUG_FORMAT_RAW, "raw");
    disk(&vm, qcow2, KVM_HOTPLUG_FORMAT_QCOW2, "qcow2");
    CHECK_NUMBER(recorded(&vm), 0);
    vm_stop(&vm);
    return test_end();
}
