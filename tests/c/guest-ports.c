/* Ports of a bridge as the guest sees them: two isolated NICs of it hear nothing of each other, and a third
 * one hears both. The same after a move to another bridge, a start from the record and a migration. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/guest.h"
#include "support/hosts.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/run.h"
#include "support/view.h"

enum { NICS = 3, FIRST = 0, SECOND = 1, OPEN = 2, PINGS = 3, TRIES = 10 };

static const char isolated[] = "{\"isolated\": true, \"learning\": true}";
static const char *const ids[NICS] = {"first", "second", "open"};
static struct kvm_hotplug_device nics[NICS];
static char names[NICS][16];

static void plug(struct vm *vm)
{
    int i;

    for (i = 0; i < NICS; i++) {
        struct kvm_hotplug_nic nic = {.id = ids[i], .bridge = HOSTS_BRIDGE, .port = i == OPEN ? NULL : isolated};

        works(add_nic(vm, &nic, &nics[i]));
        /* Again is the same. */
        works(kvmh_add_nic(vm->guest, &nic, NULL, &failure));
    }
    fails(kvmh_add_nic(vm->guest, &(struct kvm_hotplug_nic){.id = "first", .bridge = HOSTS_BRIDGE}, NULL, &failure),
          -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "another port");
    fails(kvmh_add_nic(vm->guest, &(struct kvm_hotplug_nic){.bridge = HOSTS_BRIDGE, .port = "{\"vlan\": 7}"}, NULL,
                       &failure),
          -ENOTSUP, KVM_HOTPLUG_ERROR_UNAVAILABLE, "does not tell VLANs apart");
    invalid(kvmh_add_nic(vm->guest, &(struct kvm_hotplug_nic){.port = isolated}, NULL, &failure),
            "port settings without a bridge");
}

static void set_up(struct vm *vm)
{
    int i;

    guest_run(vm->qemu, "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6", NULL, 0);
    for (i = 0; i < NICS; i++) {
        nics[i] = vm_device(vm, ids[i]);
        view_nic(vm->qemu, &nics[i], names[i]);
        CHECK_NUMBER(guest_does(vm->qemu, "ip link set %s up", names[i]), 0);
    }
    CHECK_NUMBER(guest_does(vm->qemu, "ip addr add 198.18.7.2/24 dev %s", names[FIRST]), 0);
}

static long heard(struct vm *vm, int i)
{
    char command[96], output[64];

    snprintf(command, sizeof command, "cat /sys/class/net/%s/statistics/rx_packets", names[i]);
    CHECK_NUMBER(guest_run(vm->qemu, command, output, sizeof output), 0);
    return atol(output);
}

/* The host's bridge may say something of itself, which each port hears. */
static void only_the_open_one_hears(struct vm *vm)
{
    long second, open;
    int tries = 0;

    do {
        CHECK(tries++ < TRIES);
        second = heard(vm, SECOND);
        open = heard(vm, OPEN);
        /* Nobody has this address: it is asked for. */
        guest_does(vm->qemu, "ping -c %d -W 1 198.18.7.99 >/dev/null 2>&1", PINGS);
        second = heard(vm, SECOND) - second;
        open = heard(vm, OPEN) - open;
    } while (second != 0 || open < PINGS - 1);
    CHECK_VERIFIED(vm);
}

static void is_told(struct vm *vm)
{
    char *json = NULL;

    works(kvm_hotplug_describe(vm->guest, "first", 0, &json, &failure));
    CHECK_PART(json, "\"port\":{\"isolated\":true}");
    CHECK_PART(json, "\"port\":{\"hairpin\":false,\"isolated\":true,\"learning\":true}");
    kvm_hotplug_text_free(json);
}

/* What somebody else changes is told. */
static void is_compared(struct vm *vm)
{
    struct kvm_hotplug_difference differences[4];
    size_t count = 0;

    ok(run((const char *const[]){"bridge", "link", "set", "dev", nics[FIRST].ifname, "isolated", "off", NULL}));
    works(kvmh_verify(vm->guest, 0, differences, 4, &count, &failure));
    CHECK_NUMBER(count, 1);
    CHECK_PART(differences[0].text, "isolated on");
    ok(run((const char *const[]){"bridge", "link", "set", "dev", nics[FIRST].ifname, "isolated", "on", NULL}));
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = 8};
    struct vm first, second;
    char other[IF_NAMESIZE];
    int i;

    test_begin("guest-ports", 240);
    hosts_new();
    bridge_new(other);
    vm_prepare(&first, &(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1});
    for_version(&first, &boot);
    vm_boot(&first, &boot);
    plug(&first);
    set_up(&first);
    only_the_open_one_hears(&first);
    is_told(&first);
    is_compared(&first);
    for (i = 0; i < NICS; i++)
        works(kvm_hotplug_set_bridge(first.guest, ids[i], other, 0, &failure));
    only_the_open_one_hears(&first);
    for (i = 0; i < NICS; i++)
        works(kvm_hotplug_set_bridge(first.guest, ids[i], HOSTS_BRIDGE, 0, &failure));
    vm_switch_off(&first);
    vm_boot(&first, &boot);
    set_up(&first);
    only_the_open_one_hears(&first);
    vm_migrate(&first, &second, &(struct migration){.to = 1});
    for (i = 0; i < NICS; i++)
        nics[i] = vm_device(&second, ids[i]);
    only_the_open_one_hears(&second);
    is_told(&second);
    vm_stop(&second);
    return test_end();
}
