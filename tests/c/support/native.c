#include "native.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum {
    ADDRESS_PORT = 0xcf8,
    DATA_PORT = 0xcfc,
    COMMAND = 0x04,
    MEMORY_SPACE = 0x02,
    CAPABILITIES = 0x34,
    PCI_EXPRESS = 0x10,
    SLOT_CONTROL = 0x18,
    POWER_ON = 0x0100, /* and the indicator too */
    POWER_OFF = 0x0700,
};

bool has_native_hotplug(struct qemu *qemu)
{
    return qemu->q35 && qmp_contains(qemu, "{\"execute\":\"query-version\"}", "\"major\":5}");
}

static const char *monitor_line(struct qemu *qemu, const char *line)
{
    char json[192];

    snprintf(json, sizeof json, "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}",
             line);
    return qmp(qemu, json);
}

/* Points the data port at a register of the root port. */
static void select_register(struct qemu *qemu, int devfn, int offset)
{
    char line[64];

    snprintf(line, sizeof line, "o /w 0x%x 0x%x", ADDRESS_PORT, 0x80000000u | (unsigned)devfn << 8 | (unsigned)offset);
    monitor_line(qemu, line);
}

static unsigned read_register(struct qemu *qemu, int devfn, int offset)
{
    char line[64];
    const char *answer;

    select_register(qemu, devfn, offset);
    snprintf(line, sizeof line, "i /w 0x%x", DATA_PORT);
    answer = strstr(monitor_line(qemu, line), "= 0x");
    if (answer == NULL)
        FAIL("cannot read register 0x%x of the port at 0x%x", offset, devfn);
    return (unsigned)strtoul(answer + strlen("= "), NULL, 16);
}

static int express_capability(struct qemu *qemu, int devfn)
{
    int offset = (int)(read_register(qemu, devfn, CAPABILITIES) & 0xfc);

    while (offset != 0) {
        unsigned head = read_register(qemu, devfn, offset);
        if ((head & 0xff) == PCI_EXPRESS)
            return offset;
        offset = (int)(head >> 8 & 0xfc);
    }
    FAIL("the port at 0x%x is not PCI Express", devfn);
}

static void write_slot_control(struct qemu *qemu, int devfn, int capability, int value)
{
    char line[64];

    select_register(qemu, devfn, capability + SLOT_CONTROL);
    snprintf(line, sizeof line, "o /h 0x%x 0x%x", DATA_PORT, value);
    monitor_line(qemu, line);
}

/* Changes QEMU's memory map for nothing: it may keep the last reference to a device until then, and an idle
 * processor under TCG does not bring it about. */
static void rewrite_command(struct qemu *qemu, int devfn)
{
    unsigned command = read_register(qemu, devfn, COMMAND) & 0xffff;
    char line[64];

    snprintf(line, sizeof line, "o /h 0x%x 0x%x", DATA_PORT, command ^ MEMORY_SPACE);
    monitor_line(qemu, line);
    snprintf(line, sizeof line, "o /h 0x%x 0x%x", DATA_PORT, command);
    monitor_line(qemu, line);
}

int port_devfn(struct qemu *qemu, const char *port)
{
    char json[192];
    const char *answer;
    int devfn;

    snprintf(json, sizeof json,
             "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/%s\",\"property\":\"addr\"}}",
             port);
    answer = qmp(qemu, json);
    if (sscanf(answer, "{\"return\": %d}", &devfn) != 1)
        FAIL("where is the port %s? %s", port, answer);
    return devfn;
}

/* On first: QEMU acts on the change only, and a slot that was empty when it started is off. */
void native_switch_off(struct qemu *qemu, const char *port)
{
    int devfn = port_devfn(qemu, port);
    int capability = express_capability(qemu, devfn);

    write_slot_control(qemu, devfn, capability, POWER_ON);
    write_slot_control(qemu, devfn, capability, POWER_OFF);
    rewrite_command(qemu, devfn);
}
