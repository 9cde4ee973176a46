/* Limits of a NIC as the guest and the host see them: how much gets through, beside a NIC without limits in
 * the same guest and the same run. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/clock.h"
#include "support/guest.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/plug.h"
#include "support/view.h"

/* What the limited NIC may have in a second and at once, for how long it is tried, and how much more the
 * other one has at least: some hundred times as much, where the machine does nothing else. */
enum { AVERAGE = 100000, BURST = 69632, SECONDS = 2, PACKET = 1400, MORE = 3, PORT = 5000 };

static struct vm vm;
static struct kvm_hotplug_device nics[2];
static char names[2][16];

static void plug(const struct kvm_hotplug_nic *limits)
{
    for (int i = 0; i < 2; i++) {
        char address[32], bridge[IF_NAMESIZE];
        struct kvm_hotplug_nic nic = {.id = i == 0 ? "slow" : "fast", .bridge = bridge};

        if (i == 0) {
            nic.inbound_average = limits->inbound_average;
            nic.inbound_burst = limits->inbound_burst;
            nic.outbound_average = limits->outbound_average;
            nic.outbound_burst = limits->outbound_burst;
        }
        bridge_new(bridge);
        snprintf(address, sizeof address, "198.18.%d.1/24", i);
        link_address(bridge, address);
        works(add_nic(&vm, &nic, &nics[i]));
    }
}

static void set_up(void)
{
    for (int i = 0; i < 2; i++) {
        nics[i] = vm_device(&vm, i == 0 ? "slow" : "fast");
        view_nic(vm.qemu, &nics[i], names[i]);
        CHECK_NUMBER(guest_does(vm.qemu, "ip link set %s up && ip addr add 198.18.%d.2/24 dev %s", names[i], i,
                                names[i]),
                     0);
    }
}

/* Neither direction blocks for longer than a tenth of a second. */
static void wait_little(int fd)
{
    struct timeval patience = {.tv_usec = 100000};

    ok(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience));
    ok(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
}

static long long guest_bytes(int i)
{
    char command[96], output[64];

    snprintf(command, sizeof command, "cat /sys/class/net/%s/statistics/rx_bytes", names[i]);
    CHECK_NUMBER(guest_run(vm.qemu, command, output, sizeof output), 0);
    return atoll(output);
}

/* Bytes that the guest gets over a NIC while the host sends as fast as it can. */
static long long received(int i)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    static const char packet[PACKET];
    long long end;
    long long before;
    char guest[32];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    wait_little(fd);
    snprintf(guest, sizeof guest, "198.18.%d.2", i);
    CHECK(host_pings(guest));
    CHECK_NUMBER(inet_pton(AF_INET, guest, &to.sin_addr), 1);
    /* What a burst allows is there again. */
    sleep(1);
    before = guest_bytes(i);
    end = now_ms() + SECONDS * 1000;
    while (now_ms() < end)
        if (sendto(fd, packet, sizeof packet, 0, (struct sockaddr *)&to, sizeof to) < 0 && errno != EAGAIN &&
            errno != ENOBUFS)
            FAIL("sendto %s: %s", guest, strerror(errno));
    close(fd);
    return guest_bytes(i) - before;
}

/* Bytes that the host gets from the guest while that sends as fast as it can. */
static long long sent(int i)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, fd;
    char host[32], buffer[65536];
    long long bytes = 0, end;

    snprintf(host, sizeof host, "198.18.%d.1", i);
    CHECK_NUMBER(inet_pton(AF_INET, host, &at.sin_addr), 1);
    CHECK(listener >= 0);
    ok(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    ok(bind(listener, (struct sockaddr *)&at, sizeof at));
    ok(listen(listener, 1));
    CHECK_NUMBER(guest_does(vm.qemu, "(nc %s %d </dev/zero) >/dev/null 2>&1 &", host, PORT), 0);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    wait_little(fd);
    end = now_ms() + SECONDS * 1000;
    while (now_ms() < end) {
        ssize_t length = recv(fd, buffer, sizeof buffer, 0);

        bytes += length > 0 ? length : 0;
    }
    close(fd);
    close(listener);
    guest_does(vm.qemu, "killall nc; true");
    return bytes;
}

/* Of the slow one no more than it may have, with a tenth for what clocks differ by and for what was under
 * way; the fast one has several times as much. */
static void limited(const char *what, long long (*throughput)(int), int seconds)
{
    long long slow = throughput(0), fast = throughput(1), most = BURST + (long long)AVERAGE * seconds * 11 / 10;

    printf("%s: %lld bytes with a limit, %lld without\n", what, slow, fast);
    if (slow > most || slow < AVERAGE / 4 || fast < MORE * slow)
        FAIL("%s: %lld bytes with a limit (at most %lld), %lld without", what, slow, most, fast);
    test_count_check();
}

/* The time of a command in the guest counts too, in which packets go on from the queue. */
static void check_inbound(const char *when)
{
    limited(when, received, SECONDS + 1);
}

static bool can_limit_outbound(void)
{
    int32_t fd;
    char tap[IF_NAMESIZE];
    char command[256];
    int status;

    CHECK_NUMBER(kvmh_open_tap(&(struct kvm_hotplug_tap){.ifname = "kht-try%d"}, &fd, 1, tap, NULL), 1);
    snprintf(command, sizeof command,
             "tc qdisc add dev %s ingress && tc filter add dev %s ingress protocol all u32 match u32 0 0 "
             "action police rate 1mbit burst 100k conform-exceed drop 2>/dev/null",
             tap, tap);
    status = system(command);
    close(fd);
    return status == 0;
}

int main(void)
{
    struct kvm_hotplug_nic limits = {.inbound_average = AVERAGE, .inbound_burst = BURST};
    struct kvm_hotplug_nic_limits none = {0}, inbound = {.inbound_average = AVERAGE, .inbound_burst = BURST};
    struct kvm_boot_options boot = {.spare_ports = 4};
    bool both;

    test_begin("guest-limits", 300);
    net_private();
    both = can_limit_outbound();
    if (both) {
        limits.outbound_average = AVERAGE;
        limits.outbound_burst = BURST;
    } else {
        test_part_not_run("limits of what a guest sends", "the kernel has no act_police");
    }
    vm_prepare(&vm, &(struct qemu_options){.guest = true, .root_ports = -1});
    for_version(&vm, &boot);
    vm_boot(&vm, &boot);
    plug(&limits);
    set_up();
    check_inbound("received");
    if (both)
        limited("sent", sent, SECONDS);
    CHECK_VERIFIED(&vm);
    if (!both) {
        CHECK(sent(1) > MORE * AVERAGE);
        struct kvm_hotplug_nic_limits outbound = {.outbound_average = AVERAGE};

        fails(kvmh_set_nic_limits(vm.guest, "slow", &outbound, 0, &failure), -ENODEV, KVM_HOTPLUG_ERROR_UNAVAILABLE,
              "outbound", "act_police");
        CHECK_VERIFIED(&vm);
    }

    /* The other way round while the guest runs. */
    works(kvmh_set_nic_limits(vm.guest, "slow", &none, 0, &failure));
    works(kvmh_set_nic_limits(vm.guest, "fast", &inbound, 0, &failure));
    {
        long long slow = received(0), fast = received(1);

        printf("changed: %lld and %lld bytes\n", slow, fast);
        CHECK(slow > MORE * fast && fast > AVERAGE / 4);
    }
    works(kvmh_set_nic_limits(vm.guest, "fast", &none, 0, &failure));
    works(kvmh_set_nic_limits(vm.guest, "slow", &inbound, 0, &failure));

    /* There again with the next start. */
    vm_switch_off(&vm);
    vm_boot(&vm, &boot);
    CHECK_NUMBER(recorded(&vm), 2);
    set_up();
    CHECK_VERIFIED(&vm);
    check_inbound("received after the next start");
    works(unplug(&vm, "slow", 0));
    check_gone(&vm, "slow");
    vm_stop(&vm);
    return test_end();
}
