/* A guest that is started again from its record has the same devices in the same slots under the same names,
 * those that waited for it, and none of those that were to go. */
#include <stdio.h>
#include <string.h>

#include "support/boot.h"
#include "support/image.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/view.h"

enum { NICS = 2, DISKS = 3 };

static char bridge[IF_NAMESIZE];
static struct kvm_hotplug_device nics[NICS], disks[DISKS];
static char seen[NICS + DISKS][16];

/* The names that the guest gives to what it has. */
static void look(struct vm *vm, char names[][16])
{
    int i;

    for (i = 0; i < NICS; i++) {
        view_nic(vm->qemu, &nics[i], names[i]);
        guest_prints(vm->qemu, nics[i].mac, "cat /sys/class/net/%s/address", names[i]);
    }
    for (i = 0; i < DISKS; i++) {
        view_disk(vm->qemu, &disks[i], names[NICS + i]);
        guest_prints(vm->qemu, disks[i].serial, "cat /sys/block/%s/serial", names[NICS + i]);
    }
}

/* Plugged with a hole among them, and a device that came and went. */
static void plug_all(struct vm *vm, const char *directory)
{
    struct kvm_hotplug_disk disk = {0};
    char base[TEST_PATH], paths[DISKS][TEST_PATH], serial[16], name[16];
    int i;

    path_in(base, directory, "base.img");
    image_raw(base, 8 * MEBIBYTE);
    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = bridge, .queues = 2}, &nics[0]));
    for (i = 0; i < DISKS; i++) {
        snprintf(serial, sizeof serial, "s,=\"%d", i);
        path_in(paths[i], directory, serial);
        disk.path = paths[i];
        disk.serial = serial;
        disk.format = i == 1 ? KVM_HOTPLUG_FORMAT_QCOW2 : KVM_HOTPLUG_FORMAT_RAW;
        if (i == 1)
            image_qcow2(paths[i], "8M", base, "raw");
        else
            image_raw(paths[i], (i + 1) * MEBIBYTE);
        works(add_disk(vm, &disk, &disks[i]));
        /* One after the other, or the guest may name them in another order. */
        view_disk(vm->qemu, &disks[i], name);
    }
    works(add_nic(vm, &(struct kvm_hotplug_nic){.mtu = 1400}, &nics[1]));
    works(add_nic(vm, &(struct kvm_hotplug_nic){.id = "passing"}, NULL));
    works(unplug(vm, "passing", 0));
}

int main(void)
{
    char *path = NULL;
    struct kvm_boot_options boot = {.spare_ports = NICS + DISKS + 2};
    char directory[TEST_PATH], again[NICS + DISKS][16];
    struct kvm_hotplug_device device;
    struct vm vm;
    int i;

    test_begin("guest-reboot", 600);
    net_private();
    bridge_new(bridge);
    link_address(bridge, "198.18.1.1/24");
    directory_new(directory);
    vm_prepare(&vm, &(struct qemu_options){.guest = true, .root_ports = -1, .processors = 2});
    for_version(&vm, &boot);
    vm_boot(&vm, &boot);
    CHECK_NUMBER(recorded(&vm), 0);
    plug_all(&vm, directory);
    look(&vm, seen);
    answers(add_nic(&vm, &(struct kvm_hotplug_nic){.id = "waits", .model = "ne2k_pci", .mac = "52:54:00:00:00:77"},
                    NULL),
            KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_NUMBER(guest_does(vm.qemu, "printf 'kept over a reboot' | dd of=/dev/%s conv=fsync", seen[NICS + 1]), 0);
    /* Asked for, and never granted: the guest is switched off before. */
    vm_observe(&vm, "{\"execute\":\"stop\"}");
    answers(unplug(&vm, disks[2].id, 200), KVM_HOTPLUG_ANSWER_PENDING);
    vm_switch_off(&vm);
    CHECK(vm_has_journal(&vm));

    vm_boot(&vm, &boot);
    CHECK(!vm_has_journal(&vm));
    CHECK_VERIFIED(&vm);
    check_gone(&vm, disks[2].id);
    for (i = 0; i < NICS; i++)
        view_nic(vm.qemu, &nics[i], again[i]);
    for (i = 0; i < DISKS - 1; i++)
        view_disk(vm.qemu, &disks[i], again[NICS + i]);
    CHECK_TEXT(again[NICS], seen[NICS]);
    CHECK_TEXT(again[NICS + 1], seen[NICS + 1]);
    guest_prints(vm.qemu, nics[0].mac, "cat /sys/class/net/%s/address", again[0]);
    guest_prints(vm.qemu, "2", "ls -d /sys/class/net/%s/queues/rx-* | wc -l", again[0]);
    guest_prints(vm.qemu, "1400", "cat /sys/class/net/%s/mtu", again[1]);
    guest_prints(vm.qemu, "kept over a reboot", "head -c 18 /dev/%s", again[NICS + 1]);
    CHECK_NUMBER(guest_does(vm.qemu, "ip link set %s up && ip addr add 198.18.1.2/24 dev %s", again[0], again[0]), 0);
    CHECK(host_pings("198.18.1.2"));
    device = vm_device(&vm, "waits");
    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_LIVE);
    view_directory(vm.qemu, &device, directory);
    guest_prints(vm.qemu, "0x8029", "cat %s/device", directory);

    /* What was booted is taken out and put in like what was plugged, under the same id too. */
    works(unplug(&vm, nics[0].id, 0));
    CHECK(view_is_gone(vm.qemu, &nics[0]));
    check_gone(&vm, nics[0].id);
    works(kvm_hotplug_get_path(vm.guest, disks[1].id, &path, &failure));
    works(unplug(&vm, disks[1].id, 0));
    CHECK(view_is_gone(vm.qemu, &disks[1]));
    check_gone(&vm, disks[1].id);
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.path = path, .id = disks[1].id, .format = 1}, &device));
    kvm_hotplug_text_free(path);
    view_disk(vm.qemu, &device, again[0]);
    guest_prints(vm.qemu, "kept over a reboot", "head -c 18 /dev/%s", again[0]);
    CHECK_VERIFIED(&vm);
    vm_stop(&vm);
    return test_end();
}
