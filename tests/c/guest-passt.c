/* A NIC over passt: the guest gets its address from it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/clock.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/plug.h"
#include "support/reaper.h"
#include "support/view.h"

static pid_t serve(const char *path, const char *interface)
{
    long long end = now_ms() + VIEW_MS;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        execlp("passt", "passt", "--quiet", "--foreground", "--socket", path, "--runas", "0", "-4", "-i", interface,
               "-a", "198.18.7.2", "-n", "24", "-g", "198.18.7.1", (char *)NULL);
        _exit(127);
    }
    reaper_owns_process(child);
    while (access(path, F_OK) != 0) {
        CHECK(now_ms() < end && waitpid(child, NULL, WNOHANG) == 0);
        sleep_ms(10);
    }
    return child;
}

int main(void)
{
    char directory[TEST_PATH], path[TEST_PATH], bridge[IF_NAMESIZE], netdev[512], name[16];
    struct kvm_hotplug_nic nic = {.id = "lan", .netdev = netdev};
    struct kvm_hotplug_device device;
    unsigned major, minor;
    struct vm vm;
    pid_t passt;

    test_begin("guest-passt", 200);
    if (system("command -v passt >/dev/null") != 0)
        test_not_run("passt is not installed");
    qemu_version(NULL, &major, &minor);
    if (major * 100 + minor < 702)
        test_not_run("QEMU %u.%u has no netdev of type stream", major, minor);
    net_private();
    bridge_new(bridge);
    link_address(bridge, "198.19.0.1/24");
    directory_new(directory);
    path_in(path, directory, "passt.sock");
    snprintf(netdev, sizeof netdev,
             "{\"type\": \"stream\", \"server\": false, \"addr\": {\"type\": \"unix\", \"path\": \"%s\"}}", path);
    passt = serve(path, bridge);
    vm_start(&vm, &(struct qemu_options){.guest = true});
    works(add_nic(&vm, &nic, &device));
    view_nic(vm.qemu, &device, name);
    CHECK_NUMBER(
        guest_does(vm.qemu,
                   "printf '#!/bin/sh\\n[ \"$1\" != bound ] || ip addr add $ip/24 dev $interface\\n' >/tmp/dhcp &&"
                   " chmod +x /tmp/dhcp && { modprobe af_packet; ip link set %s up; } &&"
                   " udhcpc -n -q -f -i %s -s /tmp/dhcp",
                   name, name),
        0);
    guest_prints(vm.qemu, "198.18.7.2/24", "ip -4 addr show %s | awk '/inet/ {print $2}'", name);
    CHECK_VERIFIED(&vm);
    works(unplug(&vm, "lan", 0));
    check_gone(&vm, "lan");
    vm_stop(&vm);
    kill(passt, SIGKILL);
    CHECK_NUMBER(waitpid(passt, NULL, 0), passt);
    return test_end();
}
