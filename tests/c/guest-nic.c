/* A NIC in a booted guest: what was asked for is what the guest has, and packets go both ways. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/agent.h"
#include "support/check.h"
#include "support/net.h"
#include "support/own_network.h"
#include "support/view.h"

static char bridge[IF_NAMESIZE];

static void romfile(struct agent *agent, const char *id, const char *want)
{
    char command[160];

    snprintf(command, sizeof command,
             "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/%s\",\"property\":\"romfile\"}}", id);
    CHECK(qmp_contains(agent->qemu, command, want));
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
static void leaves_nothing(struct agent *agent, const struct kvm_hotplug_device *nic)
{
    ok(unplug(agent, nic->id, 0));
    CHECK(view_is_gone(agent->qemu, nic));
    CHECK(!link_exists(nic->ifname));
    check_gone(agent, nic->id);
}

static void properties(struct agent *agent, uint32_t queues)
{
    struct kvm_hotplug_nic request = {.mac = "52:54:00:0a:0b:0c", .bridge = bridge, .queues = queues, .mtu = 1400};
    struct kvm_hotplug_device nic;
    struct qemu *qemu = agent->qemu;
    char name[16], wanted[16];

    ok(add_nic(agent, &request, &nic));
    CHECK(link_in_bridge(nic.ifname, bridge));
    view_nic(qemu, &nic, name);
    guest_prints(qemu, "52:54:00:0a:0b:0c", "cat /sys/class/net/%s/address", name);
    guest_prints(qemu, "1400", "cat /sys/class/net/%s/mtu", name);
    snprintf(wanted, sizeof wanted, "%u", queues);
    guest_prints(qemu, wanted, "ls -d /sys/class/net/%s/queues/rx-* | wc -l", name);
    romfile(agent, nic.id, "{\"return\": \"\"}");
    reachable(qemu, name, 1);
    guest_prints(qemu, "1", "cat /sys/class/net/%s/carrier", name);
    leaves_nothing(agent, &nic);
    CHECK_NUMBER(recorded(agent), 0);
}

/* A second one comes, and the first goes on; the first goes, and the second goes on. */
static void two(struct agent *agent)
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
        ok(add_nic(agent, &(struct kvm_hotplug_nic){.mac = macs[i], .bridge = bridges[i]}, &nics[i]));
        view_nic(agent->qemu, &nics[i], names[i]);
        guest_prints(agent->qemu, macs[i], "cat /sys/class/net/%s/address", names[i]);
        reachable(agent->qemu, names[i], 10 + i);
    }
    CHECK(host_pings("198.18.10.2"));
    leaves_nothing(agent, &nics[0]);
    CHECK_NUMBER(recorded(agent), 1);
    CHECK(host_pings("198.18.11.2"));
    leaves_nothing(agent, &nics[1]);
}

/* The caller keeps its own descriptors: the tap outlives the device, and goes with them. */
static void caller_s_tap(struct agent *agent)
{
    struct kvm_hotplug_tap request = {.ifname = "kht-own%d", .bridge = bridge, .queues = 2};
    struct kvm_hotplug_device nic;
    char name[16], tap[IF_NAMESIZE];
    int32_t fds[2];

    CHECK_NUMBER(kvm_hotplug_open_tap(&request, sizeof request, fds, 2, tap, NULL), 2);
    ok(add_nic(agent, &(struct kvm_hotplug_nic){.tap_fds = fds, .tap_fd_count = 2}, &nic));
    CHECK_TEXT(nic.ifname, tap);
    view_nic(agent->qemu, &nic, name);
    guest_prints(agent->qemu, "2", "ls -d /sys/class/net/%s/queues/rx-* | wc -l", name);
    reachable(agent->qemu, name, 1);
    ok(unplug(agent, nic.id, 0));
    check_gone(agent, nic.id);
    CHECK(link_exists(tap));
    close(fds[0]);
    close(fds[1]);
    CHECK(!link_exists(tap));
}

static void owned_tap(struct agent *agent)
{
    struct kvm_hotplug_nic request = {
        .ifname = "kht-owned", .bridge = bridge, .tap_owner = 65534, .flags = KVM_HOTPLUG_TAP_OWNER};
    struct kvm_hotplug_device nic;
    char owner[16] = "";
    FILE *file;

    ok(add_nic(agent, &request, &nic));
    file = fopen("/sys/class/net/kht-owned/owner", "r");
    CHECK(file != NULL && fgets(owner, sizeof owner, file) != NULL);
    fclose(file);
    CHECK_TEXT(owner, "65534\n");
    leaves_nothing(agent, &nic);
}

int main(void)
{
    struct agent agent;

    test_begin("guest-nic", 120);
    own_network();
    bridge_new(bridge);
    link_address(bridge, "198.18.1.1/24");
    /* The guest has as many queues as processors at most. */
    agent_start(&agent, &(struct qemu_options){.guest = true, .extra = (const char *[]){"-smp", "4", NULL}});
    properties(&agent, 1);
    properties(&agent, 2);
    properties(&agent, 4);
    two(&agent);
    caller_s_tap(&agent);
    owned_tap(&agent);
    CHECK_NUMBER(recorded(&agent), 0);
    agent_stop(&agent);
    return test_end();
}
