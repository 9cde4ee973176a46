/* NICs whose packets another process moves: refused where the guest's memory is not shared; there with their
 * chardev, and gone with it; there again after a boot from the record. The backend here says what QEMU asks,
 * and moves nothing. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/guest.h"
#include "support/netpeer.h"
#include "support/not_run.h"
#include "support/plug.h"
#include "support/view.h"

#define MEMORY "memory-backend-memfd,id=ram,size=256M,share="

static const char *const shared[] = {"-object", MEMORY "on", "-machine", "memory-backend=ram", NULL};
static char directory[TEST_PATH], path[TEST_PATH], netdev[512];

static bool has_chardev(struct vm *vm, const char *id)
{
    char part[64];

    snprintf(part, sizeof part, "\"label\": \"%s\"", id);
    return qmp_contains(vm->qemu, "{\"execute\":\"query-chardev\"}", part);
}

static void private_memory(void)
{
    static const char *const without[] = {"-object", MEMORY "off", "-machine", "memory-backend=ram", NULL};
    struct kvm_hotplug_nic nic = {.netdev = netdev};
    struct vm vm;

    vm_start(&vm, &(struct qemu_options){.halts = true, .memory_mb = 256, .extra = without});
    fails(add_nic(&vm, &nic, NULL), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "memory backend ram", "not shared",
          "share=on");
    vm_stop(&vm);
    vm_start(&vm, &(struct qemu_options){.halts = true});
    fails(add_nic(&vm, &nic, NULL), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "not shared", "share=on");
    CHECK_NUMBER(recorded(&vm), 0);
    vm_stop(&vm);
}

static void nobody_listens(struct vm *vm)
{
    struct kvm_hotplug_nic nic =
        {.id = "none",
         .netdev = "{\"type\": \"vhost-user\", \"addr\": {\"type\": \"unix\", \"path\": \"/not/there\"}}"};

    fails(add_nic(vm, &nic, NULL), -EREMOTEIO, KVM_HOTPLUG_ERROR_QMP, "chardev-add none", "/not/there");
    check_gone(vm, "none");
    CHECK(!has_chardev(vm, "none"));
}

static void carrier(struct vm *vm, const char *name, int up)
{
    char condition[96];

    snprintf(condition, sizeof condition, "grep -q %d /sys/class/net/%s/carrier", up, name);
    CHECK(guest_wait(vm->qemu, condition, VIEW_MS));
}

static void plug(struct vm *vm, const char *id, uint32_t queues)
{
    struct kvm_hotplug_nic nic = {.id = id, .mac = "52:54:00:00:00:07", .netdev = netdev, .queues = queues};
    struct kvm_hotplug_device device;
    char name[16], wanted[16];

    works(add_nic(vm, &nic, &device));
    CHECK(has_chardev(vm, id));
    CHECK(hmp_contains(vm->qemu, "info network", "type=vhost-user"));
    view_nic(vm->qemu, &device, name);
    guest_prints(vm->qemu, "52:54:00:00:00:07", "cat /sys/class/net/%s/address", name);
    snprintf(wanted, sizeof wanted, "%u", queues);
    guest_prints(vm->qemu, wanted, "ls -d /sys/class/net/%s/queues/rx-* | wc -l", name);
    CHECK_NUMBER(guest_does(vm->qemu, "ip link set %s up", name), 0);
    CHECK_VERIFIED(vm);
    works(add_nic(vm, &nic, NULL));
    works(kvm_hotplug_set_link(vm->guest, id, 0, 0, &failure));
    carrier(vm, name, 0);
    works(kvm_hotplug_set_link(vm->guest, id, 1, 0, &failure));
    carrier(vm, name, 1);
}

/* Everything up to the driver in the guest. */
static void without_driver(void)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .netdev = netdev, .queues = 2};
    struct vm vm;

    vm_start(&vm, &(struct qemu_options){.halts = true, .memory_mb = 256, .extra = shared});
    nobody_listens(&vm);
    works(add_nic(&vm, &nic, NULL));
    CHECK(has_chardev(&vm, "lan"));
    CHECK(hmp_contains(vm.qemu, "info network", "type=vhost-user"));
    CHECK_VERIFIED(&vm);
    works(add_nic(&vm, &nic, NULL));
    vm_close(&vm);
    vm_open(&vm);
    CHECK_VERIFIED(&vm);
    unplug_by_reset(&vm, "lan");
    check_gone(&vm, "lan");
    CHECK(!has_chardev(&vm, "lan"));
    vm_stop(&vm);
}

/* Without KVM, QEMU 5.2 and 7.2 die of a segmentation fault as the guest's driver sets up a NIC whose packets
 * another process moves. */
static bool may_have_driver(void)
{
    const char *accel = getenv("KVM_HOTPLUG_TEST_ACCEL");
    unsigned major, minor;

    qemu_version(NULL, &major, &minor);
    if (major >= 10 || (accel && strcmp(accel, "kvm") == 0))
        return true;
    test_part_not_run("a vhost-user that a guest sets up", "QEMU %u.%u dies of that without KVM", major, minor);
    return false;
}

static void unplugged(struct vm *vm, const char *id)
{
    works(unplug(vm, id, 0));
    check_gone(vm, id);
    CHECK(!has_chardev(vm, id));
}

static void with_guest(void)
{
    struct kvm_boot_options boot = {.spare_ports = 4};
    struct vm vm;

    vm_prepare(&vm, &(struct qemu_options){.guest = true,
                                           .processors = 2,
                                           .memory_mb = 256,
                                           .root_ports = -1,
                                           .extra = shared});
    for_version(&vm, &boot);
    vm_boot(&vm, &boot);
    nobody_listens(&vm);
    plug(&vm, "one", 1);
    unplugged(&vm, "one");
    plug(&vm, "two", 2);
    vm_switch_off(&vm);
    vm_boot(&vm, &boot);
    CHECK(has_chardev(&vm, "two"));
    CHECK_VERIFIED(&vm);
    unplugged(&vm, "two");
    vm_stop(&vm);
}

int main(void)
{
    pid_t peer;

    test_begin("guest-vhost-user", 200);
    directory_new(directory);
    path_in(path, directory, "switch.sock");
    snprintf(netdev, sizeof netdev, "{\"type\": \"vhost-user\", \"addr\": {\"type\": \"unix\", \"path\": \"%s\"}}",
             path);
    peer = netpeer_vhost_user(path, 4);
    private_memory();
    without_driver();
    if (may_have_driver())
        with_guest();
    CHECK_NUMBER(kill(peer, SIGKILL), 0);
    CHECK_NUMBER(waitpid(peer, NULL, 0), peer);
    return test_end();
}
