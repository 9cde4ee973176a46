/* ctest: machine=pc */
/* A guest that was started as Ganeti did until 2.9: its list has three entries, its disk stands in the
 * command as -drive, its NICs have neither id nor place there. It takes devices, goes to another host and
 * back while it answers, takes devices there, and in the end its first NICs are devices like any other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/arguments.h"
#include "support/files.h"
#include "support/guest.h"
#include "support/hosts.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/run.h"
#include "support/view.h"

#define FIRST_MAC "aa:00:00:bf:2f:16"
#define SECOND_MAC "aa:00:00:35:ac:a5"
#define FIRST_ID "nic-003fc157-66a8-4e6d"

static char directory[TEST_PATH], cold_image[TEST_PATH], hot_image[TEST_PATH];
static struct kvm_hotplug_device nic, disk;

static void write_list(struct vm *vm, const struct arguments *command)
{
    FILE *list = fopen(vm->path, "we");
    int i;

    CHECK(list != NULL);
    for (i = 0; i < command->count; i++)
        fprintf(list, "%s\"%s\"", i == 0 ? "[[" : ", ", command->list[i]);
    fputs("], [{\"mac\": \"" FIRST_MAC "\", \"nicparams\": {\"link\": \"" HOSTS_BRIDGE "\", \"mode\": \"bridged\"}, "
          "\"uuid\": \"003fc157-66a8-4e6d-8b7e-ec4f69751396\"}, "
          "{\"mac\": \"" SECOND_MAC "\", \"nicparams\": {\"link\": \"" HOSTS_BRIDGE "\", \"mode\": \"bridged\"}, "
          "\"uuid\": \"9e7c85f6-b6e5-4243-b27d-680b78c6d203\"}], "
          "{\"nic_type\": \"paravirtual\", \"disk_type\": \"paravirtual\", \"vhost_net\": false, \"vnet_hdr\": true, "
          "\"use_chroot\": false, \"disk_cache\": \"default\", \"acpi\": true}]\n",
          list);
    CHECK_NUMBER(fclose(list), 0);
}

/* Ganeti's own way: the command, and a netdev and a device for each NIC. */
static void start_as_ganeti_did(struct vm *vm)
{
    struct arguments command = {.count = 0};
    struct qemu_launch launch = {.data = NULL};

    memset(vm, 0, sizeof *vm);
    vm->qemu = qemu_compose(&(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1}, &command);
    snprintf(vm->path, sizeof vm->path, "%s/vm.runtime", vm->qemu->dir);
    arguments_add(&command, "-device");
    arguments_add(&command, "virtio-balloon");
    arguments_add(&command, "-drive");
    arguments_add(&command, "file=%s,format=raw,if=virtio", cold_image);
    write_list(vm, &command);
    arguments_add(&command, "-netdev");
    arguments_add(&command, "type=tap,id=netdev0,ifname=ganeti0,script=no,downscript=no");
    arguments_add(&command, "-device");
    arguments_add(&command, "virtio-net-pci,mac=" FIRST_MAC ",netdev=netdev0");
    arguments_add(&command, "-netdev");
    arguments_add(&command, "type=tap,id=netdev1,ifname=ganeti1,script=no,downscript=no");
    arguments_add(&command, "-device");
    arguments_add(&command, "virtio-net-pci,mac=" SECOND_MAC ",netdev=netdev1");
    launch.argv = (const char *const *)command.list;
    qemu_launch(vm->qemu, &launch);
    arguments_free(&command);
    CHECK_NUMBER(run((const char *[]){"ip", "link", "set", "ganeti0", "master", HOSTS_BRIDGE, "up", NULL}), 0);
    CHECK_NUMBER(run((const char *[]){"ip", "link", "set", "ganeti1", "master", HOSTS_BRIDGE, "up", NULL}), 0);
    guest_wait_boot(vm->qemu);
    works(kvm_runtime_load(vm->path, &vm->runtime, &failure));
    vm_attach(vm);
}

static void check_answers(void)
{
    CHECK(host_pings("198.18.1.2"));
    CHECK(host_pings("198.18.1.3"));
}

/* An address for the NIC that has it, and one for a device that is plugged in. */
static void use(struct vm *vm)
{
    char name[16];

    CHECK_NUMBER(
        guest_does(vm->qemu,
                   "for nic in /sys/class/net/*; do grep -q %s $nic/address && nic=${nic##*/} && ip link set $nic up "
                   "&& ip addr add 198.18.1.3/25 dev $nic; done; ip addr | grep -q 198.18.1.3",
                   FIRST_MAC),
        0);
    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE}, &nic));
    works(add_disk(vm, &(struct kvm_hotplug_disk){.path = hot_image}, &disk));
    view_disk(vm->qemu, &disk, name);
    view_nic(vm->qemu, &nic, name);
    CHECK_NUMBER(guest_does(vm->qemu, "ip link set %s up && ip addr add 198.18.1.2/24 dev %s", name, name), 0);
    guest_prints(vm->qemu, "2", "ls -d /sys/block/vd? | wc -l");
    check_answers();
}

/* Where the guest has its NICs and disks, by what drives them. */
static void map_of(struct vm *vm, char *map, size_t size)
{
    CHECK_NUMBER(guest_run(vm->qemu, "cd /sys/bus/pci/devices && grep -H . */device */virtio*/device", map, size), 0);
}

static void arrived(struct vm *vm, const char *before)
{
    struct kvm_hotplug_device another;
    char map[4096], name[16];

    check_answers();
    map_of(vm, map, sizeof map);
    CHECK_TEXT(map, before);
    works(add_nic(vm, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE}, &another));
    view_nic(vm->qemu, &another, name);
    works(unplug(vm, another.id, 0));
    check_gone(vm, another.id);
    CHECK_VERIFIED(vm);
}

int main(void)
{
    struct vm first, second, third;
    struct kvm_runtime_problem problem;
    char map[4096];
    size_t count = 0;

    test_begin("guest-migrate-three", 240);
    hosts_new();
    directory_new(directory);
    path_in(cold_image, directory, "cold.img");
    path_in(hot_image, directory, "hot.img");
    image_raw(cold_image, MEBIBYTE);
    image_raw(hot_image, MEBIBYTE);
    start_as_ganeti_did(&first);
    CHECK_TEXT(vm_device(&first, FIRST_ID).bus, "");
    CHECK_VERIFIED(&first);
    use(&first);
    map_of(&first, map, sizeof map);
    hosts_enter(1);
    works(kvmh_runtime_check(first.runtime, KVM_RUNTIME_CHECK_INCOMING, NULL, 0, &problem, 1, &count, &failure));
    CHECK(count == 1 && problem.kind == KVM_RUNTIME_PROBLEM_MACHINE_NOT_PINNED);
    hosts_enter(0);
    vm_migrate(&first, &second, &(struct migration){.to = 1, .check_middle = true});
    arrived(&second, map);
    /* Started by the library, they have ids, and the record has the places that QEMU found for them. */
    CHECK_TEXT(vm_device(&second, FIRST_ID).bus, "pci.0");
    CHECK(vm_device(&second, FIRST_ID).slot < 12);
    vm_migrate(&second, &third, &(struct migration){.to = 0});
    arrived(&third, map);
    works(unplug(&third, nic.id, 0));
    works(unplug(&third, disk.id, 0));
    works(unplug(&third, FIRST_ID, 0));
    check_gone(&third, FIRST_ID);
    CHECK(!host_pings("198.18.1.3"));
    CHECK_VERIFIED(&third);
    vm_stop(&third);
    return test_end();
}
