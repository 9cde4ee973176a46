/* The harness itself: QEMU paused and with a booted guest, on both machines, and what the other tests rely
 * on. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "support/check.h"
#include "support/guest.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/qemu.h"

static const char status[] = "{\"execute\":\"query-status\"}";
static const char devices[] = "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}";

static void paused(const char *machine)
{
    struct qemu *qemu = qemu_start(&(struct qemu_options){.machine = machine, .paused = true});

    CHECK(qmp_contains(qemu, status, "\"status\":\"prelaunch\""));
    CHECK(qmp_contains(qemu, devices, "\"name\":\"rp3\"") == qemu->q35);
    CHECK(!qmp_contains(qemu, devices, "\"name\":\"rp4\""));
    CHECK(qmp_contains(qemu, "{\"execute\":\"no-such-command\"}", "\"class\":\"CommandNotFound\""));
    qmp(qemu, "{\"execute\":\"cont\"}");
    CHECK(qmp_wait_event(qemu, "RESUME", NULL, 1000) != NULL);
    CHECK(qmp_wait_event(qemu, "RESUME", NULL, 50) == NULL);
    qmp(qemu, "{\"execute\":\"quit\"}");
    CHECK_NUMBER(qemu_wait(qemu, 5000), 0);
    qemu_stop(qemu);
}

static void many_root_ports(void)
{
    struct qemu *qemu = qemu_start(&(struct qemu_options){.machine = "q35", .paused = true, .root_ports = 40});

    CHECK(qmp_contains(qemu, devices, "\"name\":\"rp39\""));
    qemu_stop(qemu);
}

static void commands(struct qemu *qemu)
{
    char output[8192];

    CHECK_NUMBER(guest_run(qemu, "echo hi", output, sizeof output), 0);
    CHECK_TEXT(output, "hi\n");
    CHECK_NUMBER(guest_run(qemu, "printf 'no newline'; exit 3", output, sizeof output), 3);
    CHECK_TEXT(output, "no newline");
    CHECK_NUMBER(guest_run(qemu, "no-such-program", output, sizeof output), 127);
    CHECK(strstr(output, "not found") != NULL);
    CHECK_NUMBER(guest_run(qemu, "seq 1000 2000", output, sizeof output), 0);
    CHECK_NUMBER(strlen(output), 1001 * 5);
    CHECK_NUMBER(guest_run(qemu, "seq 1000 2000", output, 10), 0);
    CHECK_TEXT(output, "1000\n1001");
    CHECK_NUMBER(guest_run(qemu, "ls /sys/class/net", output, sizeof output), 0);
    CHECK_TEXT(output, "lo\n");
    CHECK(!guest_wait(qemu, "false", 30));
}

/* By hand, what the library is going to do: the guest has the drivers, and a removal is granted. */
static void plug(struct qemu *qemu, const char *driver, const char *more, const char *appears)
{
    char command[256];

    snprintf(command, sizeof command,
             "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"%s\",\"id\":\"dut\",\"bus\":\"%s\"%s}}", driver,
             qemu->q35 ? "rp0" : "pci.0", more);
    CHECK(qmp_contains(qemu, command, "{\"return\":{}}"));
    CHECK(guest_wait(qemu, appears, 5000));
    CHECK(qmp_contains(qemu, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"dut\"}}", "\"return\""));
    CHECK(qmp_wait_event(qemu, "DEVICE_DELETED", "\"device\":\"dut\"", 30000) != NULL);
    snprintf(command, sizeof command, "! { %s; }", appears);
    CHECK(guest_wait(qemu, command, 5000));
}

static void reset(struct qemu *qemu)
{
    /* SeaBIOS 1.14, which came with it, no longer finds q35's host bridge then ("Unable to unlock ram"). */
    if (qemu->q35 && qmp_contains(qemu, "{\"execute\":\"query-version\"}", "\"major\":5}")) {
        test_part_not_run("a reset of q35", "the firmware of QEMU 5 hangs after one");
        return;
    }
    qmp(qemu, "{\"execute\":\"system_reset\"}");
    guest_wait_boot(qemu);
    CHECK_NUMBER(guest_run(qemu, "true", NULL, 0), 0);
}

static void booted(const char *machine)
{
    static const char *const disk[] = {"-blockdev", "driver=null-co,node-name=void,size=1048576,read-zeroes=on", NULL};
    struct qemu *qemu = qemu_start(&(struct qemu_options){.machine = machine, .guest = true, .extra = disk});

    printf("boot on %s: %d ms\n", machine, qemu->boot_ms);
    commands(qemu);
    plug(qemu, "virtio-net-pci", "", "test -e /sys/class/net/eth0");
    plug(qemu, "virtio-blk-pci", ",\"drive\":\"void\"", "test -b /dev/vda");
    reset(qemu);
    qemu_stop(qemu);
}

static void bridge(void)
{
    char first[IF_NAMESIZE], second[IF_NAMESIZE];

    bridge_new(first);
    bridge_new(second);
    CHECK(link_exists(first) && link_exists(second) && strcmp(first, second) != 0);
    CHECK(!link_in_bridge(first, second));
    link_delete(first);
    CHECK(!link_exists(first) && link_exists(second));
}

int main(void)
{
    test_begin("harness-boot", 120);
    paused("pc");
    paused("q35");
    many_root_ports();
    bridge();
    booted("pc");
    booted("q35");
    return test_end();
}
