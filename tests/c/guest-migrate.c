/* A guest goes from one host to another while it writes, and back: each time to a QEMU that knows nothing but
 * its runtime file. It keeps its data, its interfaces answer on the other network, and plugging goes on
 * there. */
#include <stdio.h>
#include <string.h>

#include "support/guest.h"
#include "support/hosts.h"
#include "support/image.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/view.h"

enum { DISKS = 3 };

static char directory[TEST_PATH], system_image[TEST_PATH], paths[DISKS][TEST_PATH], names[DISKS][16];
static const char *const formats[DISKS] = {"raw", "qcow2", "raw"};
static struct kvm_hotplug_device disks[DISKS], passing, wide;

static void make_images(void)
{
    char base[TEST_PATH];

    path_in(base, directory, "base.img");
    path_in(system_image, directory, "system.img");
    image_raw(system_image, MEBIBYTE);
    image_write(system_image, 0, "from the start");
    path_in(paths[0], directory, "raw.img");
    path_in(paths[1], directory, "top.qcow2");
    path_in(paths[2], directory, "third.img");
    image_raw(base, 16 * MEBIBYTE);
    image_write(base, 8 * MEBIBYTE, "from below");
    image_raw(paths[0], 16 * MEBIBYTE);
    image_qcow2(paths[1], "16M", base, "raw");
    image_raw(paths[2], 16 * MEBIBYTE);
}

static void address(struct vm *vm, const struct kvm_hotplug_device *nic, int host)
{
    char name[16];

    view_nic(vm->qemu, nic, name);
    CHECK_NUMBER(guest_does(vm->qemu, "ip link set %s up && ip addr add 198.18.1.%d/24 dev %s", name, host, name), 0);
}

/* The controller has the name of the bus, without its number. */
static void view_on_controller(struct vm *vm, const struct kvm_hotplug_device *disk, char name[16])
{
    struct kvm_hotplug_device controller;
    char id[32];

    snprintf(id, sizeof id, "%.*s", (int)strcspn(disk->bus, "."), disk->bus);
    controller = vm_device(vm, id);
    view_scsi_disk(vm->qemu, &controller, disk, name);
}

static void plug_all(struct vm *vm)
{
    struct kvm_hotplug_disk disk = {0};
    int i;

    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE}, &passing));
    works(add_nic(vm,
                  &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE,
                                            .queues = 2,
                                            .mtu = 1400,
                                            .properties = "{\"csum\": false}"},
                  &wide));
    for (i = 0; i < DISKS; i++) {
        disk.path = paths[i];
        disk.model = i == 2 ? "scsi-hd" : NULL;
        disk.properties = i == 2 ? "{\"rotation_rate\": 1}" : "{\"werror\": \"stop\", \"queue-size\": 64}";
        disk.format = strcmp(formats[i], "raw") == 0 ? KVM_HOTPLUG_FORMAT_RAW : KVM_HOTPLUG_FORMAT_QCOW2;
        works(add_disk(vm, &disk, &disks[i]));
        if (i == 2)
            view_on_controller(vm, &disks[i], names[i]);
        else
            view_disk(vm->qemu, &disks[i], names[i]);
    }
    address(vm, &wide, 2);
    CHECK(host_pings("198.18.1.2"));
}

/* The guest numbers the sectors of two disks, one after the other, and says in a file how far it has come. */
static void start_writing(struct vm *vm)
{
    CHECK_NUMBER(guest_does(vm->qemu,
                            "(i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); for d in %s %s; do printf %%08d $i |"
                            " dd of=/dev/$d bs=512 seek=$i conv=fsync || echo $i >>/tmp/bad; done;"
                            " echo $i >/tmp/doing; mv /tmp/doing /tmp/done; done)"
                            " >/dev/null 2>&1 &",
                            names[1], names[2]),
                 0);
}

/* It has gone on since, and nothing was lost on either disk. */
static int check_written(struct vm *vm, int since)
{
    char text[64] = "";
    int count = 0, i;

    snprintf(text, sizeof text, "[ $(cat /tmp/done) -gt %d ]", since + 3);
    CHECK(guest_wait(vm->qemu, text, 20000));
    CHECK_NUMBER(guest_run(vm->qemu, "cat /tmp/done", text, sizeof text), 0);
    CHECK(sscanf(text, "%d", &count) == 1);
    CHECK_NUMBER(guest_does(vm->qemu, "[ ! -e /tmp/bad ]"), 0);
    for (i = 1; i < DISKS; i++)
        CHECK_NUMBER(
            guest_does(
                vm->qemu,
                "i=0; dd if=/dev/%s bs=512 skip=1 count=%d 2>/dev/null | tr -d '\\000' | sed 's/......../&\\n/g' |"
                " while read n; do i=$((i+1)); [ $n = $(printf %%08d $i) ] || exit 1; done",
                names[i], count),
            0);
    guest_prints(vm->qemu, "from below", "dd if=/dev/%s bs=1M skip=8 count=1 2>/dev/null | head -c 10", names[1]);
    return count;
}

/* What can be done with a guest anywhere can be done with it here. */
static void plug_here(struct vm *vm)
{
    struct kvm_hotplug_device nic, disk;
    char name[16];

    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE}, &nic));
    address(vm, &nic, 9);
    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = paths[0]}, &disk));
    view_disk(vm->qemu, &disk, name);
    works(unplug(vm, nic.id, 0));
    CHECK(view_is_gone(vm->qemu, &nic));
    check_gone(vm, nic.id);
    works(unplug(vm, disk.id, 0));
    CHECK(view_is_gone(vm->qemu, &disk));
    check_gone(vm, disk.id);
}

static int arrived(struct vm *vm, int written)
{
    struct kvm_hotplug_device device;
    char name[16];

    CHECK(host_pings("198.18.1.2"));
    device = vm_device(vm, "system");
    view_disk(vm->qemu, &device, name);
    guest_prints(vm->qemu, "from the start", "head -c 14 /dev/%s", name);
    view_nic(vm->qemu, &wide, name);
    guest_prints(vm->qemu, wide.mac, "cat /sys/class/net/%s/address", name);
    written = check_written(vm, written);
    plug_here(vm);
    CHECK_VERIFIED(vm);
    return check_written(vm, written);
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = 8};
    struct vm first, second, third;
    int written, i;

    test_begin("guest-migrate", 240);
    hosts_new();
    directory_new(directory);
    make_images();
    vm_prepare(&first, &(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1, .processors = 2});
    for_version(&first, &boot);
    works(kvmh_runtime_add_nic(first.runtime, &(struct kvm_hotplug_nic){.id = "cold", .bridge = HOSTS_BRIDGE}, NULL,
                               &failure));
    works(kvmh_runtime_add_disk(first.runtime,
                                &(struct kvm_hotplug_disk){.id = "system", .path = system_image, .serial = "SYS"}, NULL,
                                &failure));
    vm_boot(&first, &boot);
    plug_all(&first);
    works(unplug(&first, passing.id, 0));
    works(unplug(&first, disks[0].id, 0));
    start_writing(&first);
    written = check_written(&first, 0);
    vm_migrate(&first, &second, &(struct migration){.to = 1, .check_middle = true});
    written = arrived(&second, written);
    vm_migrate(&second, &third, &(struct migration){.to = 0});
    written = arrived(&third, written);
    CHECK_NUMBER(guest_does(third.qemu, "touch /tmp/stop; sleep 1"), 0);
    works(unplug(&third, wide.id, 0));
    for (i = 1; i < DISKS; i++) {
        works(unplug(&third, disks[i].id, 0));
        check_gone(&third, disks[i].id);
    }
    vm_stop(&third);
    for (i = 1; i < DISKS; i++)
        CHECK(image_has(paths[i], formats[i], 512, "00000001"));
    return test_end();
}
