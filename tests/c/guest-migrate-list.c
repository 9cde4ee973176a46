/* ctest: machine=pc */
/* A guest whose record is a list of Ganeti's goes from one host to another and back, while it writes: nothing
 * but the list goes with it, as Ganeti sends it, and not what stands in the file beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/guest.h"
#include "support/hosts.h"
#include "support/image.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/view.h"

static char directory[TEST_PATH], cold_image[TEST_PATH], hot_image[TEST_PATH], hot_name[16];
static struct kvm_hotplug_device nic, disk;

static void add_cold(struct vm *vm)
{
    works(kvmh_runtime_add_nic(vm->runtime, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE}, NULL, &failure));
    works(kvmh_runtime_add_disk(vm->runtime, &(struct kvm_hotplug_disk){.path = cold_image}, NULL, &failure));
}

/* Its record is a list from here on. */
static void become_a_list(struct vm *vm)
{
    struct kvm_runtime *list = NULL;

    works(kvm_runtime_convert(vm->runtime, KVM_RUNTIME_FORMAT_GANETI, &list, &failure));
    kvm_runtime_free(vm->runtime);
    ok(unlink(vm->path));
    works(kvm_runtime_save(list, vm->path, &failure));
    vm->runtime = list;
}

static void check_is_a_list(struct vm *vm)
{
    uint32_t format = 0;

    works(kvm_runtime_get_format(vm->runtime, &format, &failure));
    CHECK_NUMBER(format, KVM_RUNTIME_FORMAT_GANETI);
}

static void plug_hot(struct vm *vm)
{
    char name[16];

    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE}, &nic));
    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = hot_image}, &disk));
    view_nic(vm->qemu, &nic, name);
    view_disk(vm->qemu, &disk, hot_name);
    CHECK_NUMBER(guest_does(vm->qemu, "ip link set %s up && ip addr add 198.18.1.2/24 dev %s", name, name), 0);
    CHECK(host_pings("198.18.1.2"));
}

static void start_writing(struct vm *vm)
{
    CHECK_NUMBER(guest_does(vm->qemu,
                            "(i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); printf %%08d $i |"
                            " dd of=/dev/%s bs=512 seek=$i conv=fsync || echo $i >>/tmp/bad; echo $i >/tmp/done; done)"
                            " >/dev/null 2>&1 &",
                            hot_name),
                 0);
}

/* It has gone on, its NIC answers, and plugging goes on as well, with what stands beside no list here. */
static void arrived(struct vm *vm)
{
    struct kvm_hotplug_device another;
    char name[16];
    int since, written;
    char text[64];

    check_is_a_list(vm);
    CHECK(host_pings("198.18.1.2"));
    CHECK_NUMBER(guest_run(vm->qemu, "cat /tmp/done", text, sizeof text), 0);
    since = atoi(text);
    snprintf(text, sizeof text, "[ $(cat /tmp/done) -gt %d ]", since + 3);
    CHECK(guest_wait(vm->qemu, text, 20000));
    CHECK_NUMBER(guest_run(vm->qemu, "cat /tmp/done", text, sizeof text), 0);
    written = atoi(text);
    CHECK(written > since);
    CHECK_NUMBER(guest_does(vm->qemu, "[ ! -e /tmp/bad ]"), 0);
    guest_prints(vm->qemu, "00000001", "dd if=/dev/%s bs=512 skip=1 count=1 2>/dev/null | head -c 8", hot_name);
    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE}, &another));
    view_nic(vm->qemu, &another, name);
    works(unplug(vm, another.id, 0));
    check_gone(vm, another.id);
    CHECK_VERIFIED(vm);
}

int main(void)
{
    struct kvm_boot_options boot = {0};
    struct vm first, second, third;

    test_begin("guest-migrate-list", 240);
    hosts_new();
    directory_new(directory);
    path_in(cold_image, directory, "cold.img");
    path_in(hot_image, directory, "hot.img");
    image_raw(cold_image, MEBIBYTE);
    image_raw(hot_image, 16 * MEBIBYTE);
    vm_prepare(&first, &(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1});
    for_version(&first, &boot);
    add_cold(&first);
    become_a_list(&first);
    vm_boot(&first, &boot);
    check_is_a_list(&first);
    plug_hot(&first);
    start_writing(&first);
    vm_migrate(&first, &second, &(struct migration){.to = 1, .check_middle = true});
    arrived(&second);
    vm_migrate(&second, &third, &(struct migration){.to = 0});
    arrived(&third);
    CHECK_NUMBER(guest_does(third.qemu, "touch /tmp/stop; sleep 1"), 0);
    works(unplug(&third, nic.id, 0));
    works(unplug(&third, disk.id, 0));
    check_gone(&third, disk.id);
    vm_stop(&third);
    CHECK(image_has(hot_image, "raw", 512, "00000001"));
    return test_end();
}
