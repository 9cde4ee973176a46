#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <linux/sockios.h>

#include "support/check.h"

#define SYSTEM(call) ((call) < 0 ? FAIL("%s: %s", #call, strerror(errno)) : (void)0)

/* The fd, if there is one, goes with the first byte. */
static void send_all(struct floor *floor, const char *text, int fd)
{
    struct iovec part = {.iov_base = (char *)text, .iov_len = strlen(text)};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
    }
    if (sendmsg(floor->fd, &message, MSG_NOSIGNAL) != (ssize_t)part.iov_len)
        FAIL("the monitor took only part of a message: %s", strerror(errno));
}

/* Answers and events come one a line. */
int floor_read(struct floor *floor)
{
    ssize_t got = recv(floor->fd, floor->text + floor->used, sizeof floor->text - 1 - floor->used, 0);
    char *line = floor->text, *end;
    int answers = 0;

    if (got <= 0)
        FAIL("the monitor has gone: %s", got < 0 ? strerror(errno) : "end of file");
    floor->used += (size_t)got;
    floor->text[floor->used] = '\0';
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strncmp(line, "{\"error\"", 8) == 0)
            FAIL("the floor's command failed: %s", line);
        answers += strncmp(line, "{\"return\"", 9) == 0 || strncmp(line, "{\"QMP\"", 6) == 0;
        floor->deleted |= strstr(line, "DEVICE_DELETED") != NULL && strstr(line, "\"device\"") != NULL;
    }
    floor->used -= (size_t)(line - floor->text);
    memmove(floor->text, line, floor->used);
    return answers;
}

void floor_drain(struct floor *floor)
{
    struct pollfd ready = {.fd = floor->fd, .events = POLLIN};

    while (poll(&ready, 1, 0) > 0)
        floor_read(floor);
}

void floor_await(struct floor *floor, int answers)
{
    while (answers > 0)
        answers -= floor_read(floor);
}

void floor_open(struct floor *floor, const char *path, bool look)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    floor->used = 0;
    SYSTEM(floor->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    SYSTEM(connect(floor->fd, (struct sockaddr *)&address, sizeof address));
    floor_await(floor, 1);
    send_all(floor,
             look ? "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-pci\"}"
                  : "{\"execute\":\"qmp_capabilities\"}",
             -1);
    floor_await(floor, look ? 2 : 1);
}

void floor_close(struct floor *floor)
{
    close(floor->fd);
    floor->fd = -1;
}

static int tap_open(const char *bridge)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    struct ifreq port;
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    int control = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    SYSTEM(tap);
    SYSTEM(control);
    SYSTEM(ioctl(tap, TUNSETIFF, &request));
    SYSTEM(ioctl(control, SIOCGIFINDEX, &request));
    memset(&port, 0, sizeof port);
    snprintf(port.ifr_name, sizeof port.ifr_name, "%s", bridge);
    port.ifr_ifindex = request.ifr_ifindex;
    SYSTEM(ioctl(control, SIOCBRADDIF, &port));
    request.ifr_flags = IFF_UP;
    SYSTEM(ioctl(control, SIOCSIFFLAGS, &request));
    close(control);
    return tap;
}

void floor_send_nic(struct floor *floor, int slot, const char *bridge, bool rom)
{
    char text[512];
    int tap = tap_open(bridge);

    snprintf(
        text, sizeof text,
        "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"f\"}}"
        "{\"execute\":\"netdev_add\",\"arguments\":{\"type\":\"tap\",\"id\":\"nic-pci-%d\",\"fd\":\"f\"}}"
        "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-net-pci\",\"id\":\"nic-pci-%d\",\"bus\":\"pci.0\","
        "\"addr\":\"%x\",\"netdev\":\"nic-pci-%d\",\"mac\":\"52:54:00:f0:00:%02x\"%s}}",
        slot, slot, slot, slot, slot, rom ? "" : ",\"romfile\":\"\"");
    send_all(floor, text, tap);
    close(tap);
}

void floor_add_nic(struct floor *floor, int slot, const char *bridge, bool rom)
{
    floor_send_nic(floor, slot, bridge, rom);
    floor_await(floor, 3);
}

void floor_add_bare(struct floor *floor, int slot)
{
    char text[192];

    snprintf(
        text, sizeof text,
        "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-net-pci\",\"id\":\"nic-pci-%d\",\"bus\":\"pci.0\","
        "\"addr\":\"%x\",\"romfile\":\"\"}}",
        slot, slot);
    send_all(floor, text, -1);
    floor_await(floor, 1);
}

void floor_add_disk(struct floor *floor, int slot, const char *path)
{
    char text[512];
    int image = open(path, O_RDWR | O_CLOEXEC);

    SYSTEM(image);
    snprintf(
        text, sizeof text,
        "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":9}}"
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"disk-pci-%d\","
        "\"filename\":\"/dev/fdset/9\"}}"
        "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"id\":\"disk-pci-%d\",\"bus\":\"pci.0\","
        "\"addr\":\"%x\",\"drive\":\"disk-pci-%d\"}}",
        slot, slot, slot, slot);
    send_all(floor, text, image);
    close(image);
    floor_await(floor, 3);
}

void floor_ask(struct floor *floor, const char *type, int slot)
{
    char text[128];

    floor->deleted = false;
    /* Whether somebody has put another image over the disk's. */
    if (strcmp(type, "disk") == 0) {
        send_all(floor, "{\"execute\":\"x-debug-query-block-graph\"}", -1);
        floor_await(floor, 1);
    }
    snprintf(text, sizeof text, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"%s-pci-%d\"}}", type, slot);
    send_all(floor, text, -1);
    floor_await(floor, 1);
}

void floor_wait(struct floor *floor)
{
    while (!floor->deleted)
        floor_read(floor);
}

/* Whether the event was about the device that has the id now, and not about an earlier one. */
static void confirm_gone(struct floor *floor)
{
    send_all(floor, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}", -1);
    floor_await(floor, 1);
}

void floor_clear_nic(struct floor *floor, int slot)
{
    char text[128];

    confirm_gone(floor);
    snprintf(text, sizeof text, "{\"execute\":\"netdev_del\",\"arguments\":{\"id\":\"nic-pci-%d\"}}", slot);
    send_all(floor, text, -1);
    floor_await(floor, 1);
}

void floor_clear_disk(struct floor *floor, int slot)
{
    char text[192];

    confirm_gone(floor);
    snprintf(text, sizeof text,
             "{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"disk-pci-%d\"}}"
             "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":9}}",
             slot);
    send_all(floor, text, -1);
    floor_await(floor, 2);
}

void floor_status(struct floor *floor)
{
    send_all(floor, "{\"execute\":\"query-status\"}", -1);
    floor_await(floor, 1);
}
