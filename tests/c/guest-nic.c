/* A NIC in a booted guest: what was asked for is what the guest has, and packets go both ways. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/plug.h"
#include "support/net.h"
#include "support/view.h"

static char bridge[IF_NAMESIZE];

static void romfile(struct vm *vm, const char *id, const char *want)
{
    char command[160];

    snprintf(command, sizeof command,
             "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/%s\",\"property\":\"romfile\"}}",
             id);
    CHECK(qmp_contains(vm->qemu, command, want));
}

static void reachable(struct qemu *qemu, const char *nic, int net)
{
    char host[32], guest[32];

    snprintf(host, sizeof host, "198.18.%d.1", net);
    snprintf(guest, sizeof guest, "198.18.%d.2", net);
    CHECK_NUMBER(guest_does(qemu, "ip link set %s up && { ip addr add %s/24 dev %s || true; }", nic, guest, nic), 0);
    CHECK(host_pings(guest));
    CHECK_NUMBER(guest_does(qemu, "ping -q -c 1 -W 3 %s", host), 0);
}

/* Removes a NIC and looks everywhere. */
static void leaves_nothing(struct vm *vm, const struct kvm_hotplug_device *nic)
{
    works(unplug(vm, nic->id, 0));
    CHECK(view_is_gone(vm->qemu, nic));
    CHECK(link_goes(nic->ifname));
    check_gone(vm, nic->id);
}

static void properties(struct vm *vm, uint32_t queues)
{
    struct kvm_hotplug_nic request = {.mac = "52:54:00:0a:0b:0c", .bridge = bridge, .queues = queues, .mtu = 1400};
    struct kvm_hotplug_device nic;
    struct qemu *qemu = vm->qemu;
    char name[16], wanted[16];

    works(add_nic(vm, &request, &nic));
    CHECK(link_in_bridge(nic.ifname, bridge));
    view_nic(qemu, &nic, name);
    guest_prints(qemu, "52:54:00:0a:0b:0c", "cat /sys/class/net/%s/address", name);
    guest_prints(qemu, "1400", "cat /sys/class/net/%s/mtu", name);
    snprintf(wanted, sizeof wanted, "%u", queues);
    guest_prints(qemu, wanted, "ls -d /sys/class/net/%s/queues/rx-* | wc -l", name);
    romfile(vm, nic.id, "{\"return\": \"\"}");
    reachable(qemu, name, 1);
    guest_prints(qemu, "1", "cat /sys/class/net/%s/carrier", name);
    leaves_nothing(vm, &nic);
    CHECK_NUMBER(recorded(vm), 0);
}

/* A second one comes, and the first goes on; the first goes, and the second goes on. */
static void two(struct vm *vm)
{
    static const char *const macs[] = {"52:54:00:00:00:01", "52:54:00:00:00:02"};
    char bridges[2][IF_NAMESIZE];
    struct kvm_hotplug_device nics[2];
    char names[2][16];
    int i;

    for (i = 0; i < 2; i++) {
        char address[32];
        snprintf(address, sizeof address, "198.18.%d.1/24", 10 + i);
        bridge_new(bridges[i]);
        link_address(bridges[i], address);
        works(add_nic(vm, &(struct kvm_hotplug_nic){.mac = macs[i], .bridge = bridges[i]}, &nics[i]));
        view_nic(vm->qemu, &nics[i], names[i]);
        guest_prints(vm->qemu, macs[i], "cat /sys/class/net/%s/address", names[i]);
        reachable(vm->qemu, names[i], 10 + i);
    }
    CHECK(host_pings("198.18.10.2"));
    leaves_nothing(vm, &nics[0]);
    CHECK_NUMBER(recorded(vm), 1);
    CHECK(host_pings("198.18.11.2"));
    leaves_nothing(vm, &nics[1]);
}

/* The caller keeps its own descriptors: the tap outlives the device, and goes with them. */
static void caller_s_tap(struct vm *vm)
{
    struct kvm_hotplug_tap request = {.ifname = "kht-own%d", .bridge = bridge, .queues = 2};
    struct kvm_hotplug_device nic;
    char name[16], tap[IF_NAMESIZE];
    int32_t fds[2];

    CHECK_NUMBER(kvmh_open_tap(&request, fds, 2, tap, NULL), 2);
    works(add_nic(vm, &(struct kvm_hotplug_nic){.tap_fds = fds, .tap_fd_count = 2}, &nic));
    CHECK_TEXT(nic.ifname, tap);
    view_nic(vm->qemu, &nic, name);
    guest_prints(vm->qemu, "2", "ls -d /sys/class/net/%s/queues/rx-* | wc -l", name);
    reachable(vm->qemu, name, 1);
    works(unplug(vm, nic.id, 0));
    check_gone(vm, nic.id);
    CHECK(link_exists(tap));
    close(fds[0]);
    close(fds[1]);
    CHECK(link_goes(tap));
}

static void owned_tap(struct vm *vm)
{
    struct kvm_hotplug_nic request = {.ifname = "kht-owned",
                                      .bridge = bridge,
                                      .tap_owner = 65534,
                                      .flags = KVM_HOTPLUG_TAP_OWNER};
    struct kvm_hotplug_device nic;
    char owner[16] = "";
    FILE *file;

    works(add_nic(vm, &request, &nic));
    file = fopen("/sys/class/net/kht-owned/owner", "r");
    CHECK(file != NULL && fgets(owner, sizeof owner, file) != NULL);
    fclose(file);
    CHECK_TEXT(owner, "65534\n");
    leaves_nothing(vm, &nic);
}

int main(void)
{
    struct vm vm;

    test_begin("guest-nic", 600);
    net_private();
    bridge_new(bridge);
    link_address(bridge, "198.18.1.1/24");
    /* The guest has as many queues as processors at most. */
    vm_start(&vm, &(struct qemu_options){.guest = true, .processors = 4});
    properties(&vm, 1);
    properties(&vm, 2);
    properties(&vm, 4);
    two(&vm);
    caller_s_tap(&vm);
    owned_tap(&vm);
    CHECK_NUMBER(recorded(&vm), 0);
    vm_stop(&vm);
    return test_end();
}
