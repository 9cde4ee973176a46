/* What changes while the guest runs, as the guest sees it: its cable, the bridge behind it, the size of its
 * disks. */
#include <stdio.h>
#include <unistd.h>

#include "support/guest.h"
#include "support/image.h"
#include "support/loop.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/view.h"

static struct vm vm;

static void carrier(const char *nic, int want)
{
    char condition[96];

    snprintf(condition, sizeof condition, "test \"$(cat /sys/class/net/%s/carrier)\" = %d", nic, want);
    if (!guest_wait(vm.qemu, condition, VIEW_MS))
        FAIL("the guest's %s has not carrier %d", nic, want);
    test_count_check();
}

static void pull(const char *id, int up)
{
    works(kvm_hotplug_set_link(vm.guest, id, up, 0, &failure));
    CHECK_NUMBER(vm_device(&vm, id).link_down, !up);
}

static void cable(uint32_t queues)
{
    struct kvm_hotplug_nic request = {.id = "lan", .queues = queues};
    struct kvm_hotplug_device nic;
    char name[16];

    works(add_nic(&vm, &request, &nic));
    view_nic(vm.qemu, &nic, name);
    CHECK_NUMBER(guest_does(vm.qemu, "ip link set %s up", name), 0);
    carrier(name, 1);
    pull("lan", 0);
    carrier(name, 0);
    pull("lan", 0);
    carrier(name, 0);
    pull("lan", 1);
    carrier(name, 1);
    works(unplug(&vm, "lan", 0));
    check_gone(&vm, "lan");

    request.flags = KVM_HOTPLUG_NIC_LINK_DOWN;
    works(add_nic(&vm, &request, &nic));
    CHECK_NUMBER(nic.link_down, 1);
    view_nic(vm.qemu, &nic, name);
    CHECK_NUMBER(guest_does(vm.qemu, "ip link set %s up", name), 0);
    carrier(name, 0);
    /* A QEMU that has just been started has it up. The next agent sets it down. */
    vm_close(&vm);
    vm_observe(&vm, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"lan\",\"up\":true}}");
    carrier(name, 1);
    vm_open(&vm);
    carrier(name, 0);
    pull("lan", 1);
    carrier(name, 1);
    works(unplug(&vm, "lan", 0));
    check_gone(&vm, "lan");
}

static void reachable(const char *nic, int net)
{
    char guest[32];

    snprintf(guest, sizeof guest, "198.18.%d.2", net);
    CHECK_NUMBER(guest_does(vm.qemu, "ip addr flush dev %s; ip addr add %s/24 dev %s", nic, guest, nic), 0);
    CHECK(host_pings(guest));
    CHECK_NUMBER(guest_does(vm.qemu, "ping -q -c 1 -W 3 198.18.%d.1", net), 0);
}

static void other_bridge(void)
{
    char bridges[2][IF_NAMESIZE], name[16];
    struct kvm_hotplug_nic request = {.id = "lan", .bridge = bridges[0], .mtu = 1400};
    struct kvm_hotplug_device nic;

    for (int i = 0; i < 2; i++) {
        char address[32];

        snprintf(address, sizeof address, "198.18.%d.1/24", 1 + i);
        bridge_new(bridges[i]);
        link_address(bridges[i], address);
    }
    works(add_nic(&vm, &request, &nic));
    view_nic(vm.qemu, &nic, name);
    CHECK_NUMBER(guest_does(vm.qemu, "ip link set %s up; cat /sys/class/net/%s/ifindex >/tmp/index", name, name), 0);
    reachable(name, 1);
    works(kvm_hotplug_set_bridge(vm.guest, "lan", bridges[1], 0, &failure));
    CHECK(!link_in_bridge(nic.ifname, bridges[0]) && link_in_bridge(nic.ifname, bridges[1]));
    CHECK_TEXT(vm_device(&vm, "lan").bridge, bridges[1]);
    CHECK(guest_does(vm.qemu, "ping -q -c 1 -W 1 198.18.1.1") != 0);
    reachable(name, 2);
    /* It is the same device, with everything it had. */
    guest_prints(vm.qemu, "1400", "cat /sys/class/net/%s/mtu", name);
    CHECK_NUMBER(guest_does(vm.qemu, "cmp /tmp/index /sys/class/net/%s/ifindex", name), 0);
    works(kvm_hotplug_set_bridge(vm.guest, "lan", bridges[0], 0, &failure));
    reachable(name, 1);
    works(unplug(&vm, "lan", 0));
    check_gone(&vm, "lan");
}

static void size_is(const char *disk, long long bytes)
{
    char condition[96];

    snprintf(condition, sizeof condition, "test \"$(cat /sys/block/%s/size)\" = %lld", disk, bytes / 512);
    if (!guest_wait(vm.qemu, condition, VIEW_MS))
        FAIL("the guest does not see %lld bytes of %s", bytes, disk);
    test_count_check();
}

static void grow(const struct kvm_hotplug_disk *request, const char *format)
{
    struct kvm_hotplug_device disk;
    char name[16];

    works(add_disk(&vm, request, &disk));
    view_disk(vm.qemu, &disk, name);
    size_is(name, 4 * MEBIBYTE);
    works(kvm_hotplug_resize_disk(vm.guest, disk.id, 8 * MEBIBYTE, 0, 0, NULL, &failure));
    size_is(name, 8 * MEBIBYTE);
    CHECK_NUMBER(guest_does(vm.qemu, "printf 'at the new end' | dd of=/dev/%s bs=1M seek=7 conv=fsync", name), 0);
    works(unplug(&vm, disk.id, 0));
    check_gone(&vm, disk.id);
    CHECK(image_has(request->path, format, 7 * MEBIBYTE, "at the new end"));
}

static void bigger_disks(void)
{
    char raw[TEST_PATH], qcow2[TEST_PATH], behind[TEST_PATH], device[32], name[16];
    struct kvm_hotplug_device disk;
    int loop;

    path_in(raw, vm.qemu->dir, "raw.img");
    image_raw(raw, 4 * MEBIBYTE);
    grow(&(struct kvm_hotplug_disk){.path = raw}, "raw");
    path_in(qcow2, vm.qemu->dir, "top.qcow2");
    image_qcow2(qcow2, "4M", NULL, NULL);
    grow(&(struct kvm_hotplug_disk){.path = qcow2, .format = KVM_HOTPLUG_FORMAT_QCOW2}, "qcow2");
    path_in(behind, vm.qemu->dir, "behind.img");
    image_raw(behind, 4 * MEBIBYTE);
    loop = loop_new(behind, device);
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.path = device}, &disk));
    view_disk(vm.qemu, &disk, name);
    ok(truncate(behind, 8 * MEBIBYTE));
    loop_grown(loop);
    works(kvm_hotplug_resize_disk(vm.guest, disk.id, 0, 0, 0, NULL, &failure));
    size_is(name, 8 * MEBIBYTE);
    works(unplug(&vm, disk.id, 0));
    close(loop);
}

int main(void)
{
    test_begin("guest-change", 180);
    net_private();
    vm_start(&vm, &(struct qemu_options){.guest = true, .processors = 2});
    cable(1);
    cable(2);
    other_bridge();
    bigger_disks();
    CHECK_NUMBER(recorded(&vm), 0);
    vm_stop(&vm);
    return test_end();
}
