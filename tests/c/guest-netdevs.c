/* NICs without a tap: QEMU's own network, and sockets. The guest gets an address and reaches the other end,
 * the host reaches a port of the guest; all of it again after the guest was started from its record, and on
 * another host. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/guest.h"
#include "support/hosts.h"
#include "support/netpeer.h"
#include "support/plug.h"
#include "support/view.h"

enum { USER, STREAM, DGRAM, NICS, PORT = 2222 };

static const char *const ids[NICS] = {"user", "stream", "dgram"};
static char netdevs[NICS][512], names[NICS][16], directory[TEST_PATH], switches[TEST_PATH];
static struct kvm_hotplug_device nics[NICS];
static pid_t peers[NICS];
static int count = NICS;

static void describe(void)
{
    char datagrams[TEST_PATH], own[TEST_PATH];
    unsigned major, minor;

    directory_new(directory);
    path_in(switches, directory, "stream.sock");
    path_in(datagrams, directory, "dgram.sock");
    path_in(own, directory, "qemu.sock");
    snprintf(netdevs[USER], sizeof netdevs[USER],
             "{\"type\": \"user\", \"restrict\": true, \"hostfwd\": [{\"str\": \"tcp::%d-10.0.2.15:23\"}]}", PORT);
    snprintf(netdevs[STREAM], sizeof netdevs[STREAM],
             "{\"type\": \"stream\", \"server\": false, \"addr\": {\"type\": \"unix\", \"path\": \"%s\"}}", switches);
    snprintf(netdevs[DGRAM], sizeof netdevs[DGRAM],
             "{\"type\": \"dgram\", \"local\": {\"type\": \"unix\", \"path\": \"%s\"}, "
             "\"remote\": {\"type\": \"unix\", \"path\": \"%s\"}}",
             own, datagrams);
    peers[STREAM] = netpeer_stream(switches);
    peers[DGRAM] = netpeer_dgram(datagrams);
    qemu_version(NULL, &major, &minor);
    if (major * 100 + minor < 702)
        count = STREAM;
}

/* Those that this QEMU does not have are refused by name. */
static void plug_all(struct vm *vm)
{
    struct kvm_hotplug_nic bad = {.netdev = netdevs[USER], .bridge = HOSTS_BRIDGE};
    int i;

    invalid(add_nic(vm, &bad, NULL), "bridge was given together with a netdev");
    bad = (struct kvm_hotplug_nic){.netdev = "{\"type\": \"user\", \"colour\": 1}"};
    /* Which of two members that it does not know QEMU names, is chance: the question has one as well. */
    CHECK(add_nic(vm, &bad, NULL) < 0);
    bad.netdev = "{\"type\": \"user\", \"hostfwd\": [{\"str\": \"nonsense\"}]}";
    fails(add_nic(vm, &bad, NULL), -EREMOTEIO, KVM_HOTPLUG_ERROR_QMP, "Invalid host forwarding rule");
    CHECK_NUMBER(recorded(vm), 0);
    for (i = 0; i < NICS; i++) {
        struct kvm_hotplug_nic nic = {.id = ids[i], .netdev = netdevs[i], .mtu = 1400};

        if (i >= count) {
            fails(add_nic(vm, &nic, NULL), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
                  "does not have netdevs of type", ids[i]);
            continue;
        }
        works(add_nic(vm, &nic, &nics[i]));
        CHECK_TEXT(nics[i].ifname, "");
        /* Again is the same. */
        works(add_nic(vm, &nic, NULL));
    }
    CHECK_NUMBER(recorded(vm), count);
    invalid(kvm_hotplug_set_bridge(vm->guest, "user", HOSTS_BRIDGE, 0, &failure), "no tap, so it has no bridge");
}

/* An address by DHCP, the gateway, and a connection from the host. */
static void check_user(struct vm *vm)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    long long end = now_ms() + VIEW_MS;
    char text[16] = "";
    int fd;

    CHECK_NUMBER(
        guest_does(vm->qemu,
                   "printf '#!/bin/sh\\n[ \"$1\" != bound ] || ip addr add $ip/24 dev $interface\\n' >/tmp/dhcp &&"
                   " chmod +x /tmp/dhcp && { modprobe af_packet; ip link set %s up; } &&"
                   " { ip addr show %s | grep -q 10.0.2.15/24 || udhcpc -n -q -f -i %s -s /tmp/dhcp; }",
                   names[USER], names[USER], names[USER]),
        0);
    guest_prints(vm->qemu, "10.0.2.15/24", "ip -4 addr show %s | awk '/inet/ {print $2}'", names[USER]);
    CHECK_NUMBER(guest_does(vm->qemu, "ping -q -c 1 -W 5 10.0.2.2"), 0);
    CHECK_NUMBER(guest_does(vm->qemu, "(echo hello | nc -l -p 23) >/dev/null 2>&1 &"), 0);
    CHECK_NUMBER(inet_pton(AF_INET, "127.0.0.1", &at.sin_addr), 1);
    /* QEMU takes the connection before the guest does. */
    while (strcmp(text, "hello\n") != 0) {
        ssize_t length;

        CHECK(now_ms() < end);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        ok(connect(fd, (struct sockaddr *)&at, sizeof at));
        length = recv(fd, text, sizeof text - 1, 0);
        text[length > 0 ? length : 0] = '\0';
        close(fd);
        sleep_ms(100);
    }
}

static void check_socket(struct vm *vm, int nic)
{
    CHECK_NUMBER(guest_does(vm->qemu,
                            "ip link set %s up && { ip addr add 198.18.9.2/24 dev %s 2>/dev/null || true; } && "
                            "ping -q -c 1 -W 5 " NETPEER_ADDRESS " && ip addr flush dev %s",
                            names[nic], names[nic], names[nic]),
                 0);
}

static void look(struct vm *vm)
{
    int i;

    for (i = 0; i < count; i++)
        view_nic(vm->qemu, &nics[i], names[i]);
    check_user(vm);
    for (i = STREAM; i < count; i++)
        check_socket(vm, i);
    CHECK_VERIFIED(vm);
}

static void links(struct vm *vm)
{
    works(kvm_hotplug_set_link(vm->guest, "user", 0, 0, &failure));
    CHECK(guest_wait(vm->qemu, "[ $(cat /sys/class/net/*/carrier 2>/dev/null | grep -c 0) = 1 ]", VIEW_MS));
    works(kvm_hotplug_set_link(vm->guest, "user", 1, 0, &failure));
    CHECK(guest_wait(vm->qemu, "! cat /sys/class/net/*/carrier 2>/dev/null | grep -q 0", VIEW_MS));
}

/* QEMU plugs a NIC whose stream leads nowhere; verifying tells. */
static void leads_nowhere(struct vm *vm)
{
    struct kvm_hotplug_nic nic = {
        .id = "nowhere",
        .netdev =
            "{\"type\": \"stream\", \"server\": false, \"addr\": {\"type\": \"unix\", \"path\": \"/not/there.sock\"}}"};
    struct kvm_hotplug_difference found[4];
    size_t differences = 0;

    if (count <= STREAM)
        return;
    works(add_nic(vm, &nic, NULL));
    sleep_ms(500);
    works(kvmh_verify(vm->guest, 0, found, 4, &differences, &failure));
    CHECK_NUMBER(differences, 1);
    CHECK_PART(found[0].text, "error");
    works(unplug(vm, "nowhere", 0));
    check_gone(vm, "nowhere");
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = 8};
    struct vm first, second;
    int i;

    test_begin("guest-netdevs", 300);
    hosts_new();
    describe();
    vm_prepare(&first, &(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1});
    for_version(&first, &boot);
    vm_boot(&first, &boot);
    plug_all(&first);
    look(&first);
    links(&first);
    leads_nowhere(&first);
    vm_switch_off(&first);
    vm_boot(&first, &boot);
    look(&first);
    vm_migrate(&first, &second, &(struct migration){.to = 1});
    look(&second);
    for (i = 0; i < count; i++) {
        works(unplug(&second, ids[i], 0));
        CHECK(view_is_gone(second.qemu, &nics[i]));
        check_gone(&second, ids[i]);
    }
    vm_stop(&second);
    for (i = STREAM; i < NICS; i++) {
        CHECK_NUMBER(kill(peers[i], SIGKILL), 0);
        CHECK_NUMBER(waitpid(peers[i], NULL, 0), peers[i]);
    }
    return test_end();
}
