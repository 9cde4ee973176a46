#include "netpeer.h"

#include <arpa/inet.h>
#include <net/if_arp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "reaper.h"

enum { FRAME = 65536, CLIENTS = 8, ETHERNET = 14, ARP = 28, IP = 20 };

static const unsigned char own_mac[6] = {0x52, 0x54, 0, 0xfe, 0xfe, 1};

static int socket_at(int type, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && strlen(path) < sizeof at.sun_path);
    strcpy(at.sun_path, path);
    unlink(path);
    ok(bind(fd, (struct sockaddr *)&at, sizeof at));
    if (type == SOCK_STREAM)
        ok(listen(fd, CLIENTS));
    return fd;
}

/* Whether the frame, which it becomes, is to be answered. */
static bool answer_arp(unsigned char *frame, size_t length)
{
    unsigned char *arp = frame + ETHERNET, target[4];

    if (length < ETHERNET + ARP || arp[7] != ARPOP_REQUEST)
        return false;
    CHECK_NUMBER(inet_pton(AF_INET, NETPEER_ADDRESS, target), 1);
    if (memcmp(arp + 24, target, 4) != 0)
        return false;
    arp[7] = ARPOP_REPLY;
    memcpy(arp + 18, arp + 8, 10);
    memcpy(arp + 8, own_mac, 6);
    memcpy(arp + 14, target, 4);
    return true;
}

/* An echo request differs from its reply by 8 in one byte, and so does the checksum. */
static bool answer_ping(unsigned char *frame, size_t length)
{
    unsigned char *ip = frame + ETHERNET, *icmp = ip + IP, address[4];
    unsigned sum;

    if (length < ETHERNET + IP + 8 || ip[9] != IPPROTO_ICMP || icmp[0] != 8)
        return false;
    memcpy(address, ip + 12, 4);
    memcpy(ip + 12, ip + 16, 4);
    memcpy(ip + 16, address, 4);
    icmp[0] = 0;
    sum = (unsigned)(icmp[2] << 8 | icmp[3]) + 0x800;
    sum = (sum & 0xffff) + (sum >> 16);
    icmp[2] = (unsigned char)(sum >> 8);
    icmp[3] = (unsigned char)sum;
    return true;
}

static bool answer(unsigned char *frame, size_t length)
{
    bool is_answered;

    if (length < ETHERNET || frame[12] != 8)
        return false;
    is_answered = frame[13] == 6 ? answer_arp(frame, length) : frame[13] == 0 && answer_ping(frame, length);
    memcpy(frame, frame + 6, 6);
    memcpy(frame + 6, own_mac, 6);
    return is_answered;
}

static bool receive(int fd, void *data, size_t length)
{
    return recv(fd, data, length, MSG_WAITALL) == (ssize_t)length;
}

static bool serve_frame(int fd)
{
    static unsigned char frame[FRAME];
    uint32_t length, in_order;

    if (!receive(fd, &in_order, sizeof in_order))
        return false;
    length = ntohl(in_order);
    if (length > sizeof frame || !receive(fd, frame, length))
        return false;
    if (!answer(frame, length))
        return true;
    return send(fd, &in_order, sizeof in_order, MSG_NOSIGNAL) == sizeof in_order &&
           send(fd, frame, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Takes connections, and has each of them served until that says no. */
static _Noreturn void serve_all(int listener, bool (*serve)(int fd))
{
    struct pollfd fds[1 + CLIENTS] = {{.fd = listener, .events = POLLIN}};
    int i, count = 1;

    for (;;) {
        if (poll(fds, (nfds_t)count, -1) < 0)
            _exit(1);
        for (i = count - 1; i > 0; i--)
            if (fds[i].revents && !serve(fds[i].fd)) {
                close(fds[i].fd);
                fds[i] = fds[--count];
            }
        if (fds[0].revents && count <= CLIENTS)
            fds[count++] = (struct pollfd){.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), .events = POLLIN};
    }
}

static _Noreturn void serve_datagrams(int fd)
{
    static unsigned char frame[FRAME];

    for (;;) {
        struct sockaddr_un from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);

        if (length > 0 && answer(frame, (size_t)length))
            sendto(fd, frame, (size_t)length, 0, (struct sockaddr *)&from, size);
    }
}

/* A message of vhost-user, as far as this peer knows any. */
struct message {
    uint32_t request, flags, size;
    uint8_t payload[4096];
};

enum { HEADER = 12, VERSION = 1, REPLY = 4, NEEDS_REPLY = 8 };
enum { GET_FEATURES = 1, GET_VRING_BASE = 11, GET_PROTOCOL_FEATURES = 15, GET_QUEUE_NUM = 17 };

static uint64_t vhost_user_queues;

static bool reply(int fd, struct message *message, uint64_t value)
{
    message->flags = VERSION | REPLY;
    if (message->request != GET_VRING_BASE) {
        memcpy(message->payload, &value, sizeof value);
        message->size = sizeof value;
    }
    return send(fd, message, HEADER + message->size, MSG_NOSIGNAL) == (ssize_t)(HEADER + message->size);
}

/* Descriptors that come with it are closed: nobody asks for them here. */
static bool receive_header(int fd, struct message *message)
{
    char control[CMSG_SPACE(16 * sizeof(int))];
    struct iovec part = {.iov_base = message, .iov_len = HEADER};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof control};
    struct cmsghdr *each;

    if (recvmsg(fd, &header, MSG_WAITALL | MSG_CMSG_CLOEXEC) != HEADER)
        return false;
    for (each = CMSG_FIRSTHDR(&header); each; each = CMSG_NXTHDR(&header, each)) {
        size_t i, count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        int fds[16];

        memcpy(fds, CMSG_DATA(each), count * sizeof(int));
        for (i = 0; i < count; i++)
            close(fds[i]);
    }
    return true;
}

static bool serve_vhost_user(int fd)
{
    struct message message;

    if (!receive_header(fd, &message) || message.size > sizeof message.payload ||
        (message.size > 0 && !receive(fd, message.payload, message.size)))
        return false;
    switch (message.request) {
    case GET_FEATURES: /* VIRTIO_NET_F_CTRL_VQ and MQ, VHOST_USER_F_PROTOCOL_FEATURES, VIRTIO_F_VERSION_1 */
        return reply(fd, &message, 1ULL << 17 | 1ULL << 22 | 1ULL << 30 | 1ULL << 32);
    case GET_PROTOCOL_FEATURES: /* several queues, replies that are asked for */
        return reply(fd, &message, 1 << 0 | 1 << 3);
    case GET_QUEUE_NUM: return reply(fd, &message, vhost_user_queues);
    case GET_VRING_BASE: return reply(fd, &message, 0);
    default: return message.flags & NEEDS_REPLY ? reply(fd, &message, 0) : true;
    }
}

/* Has nothing of the test's but this: what watches the test would wait for it. */
static void keep_only(int fd)
{
    int other;

    ok(prctl(PR_SET_PDEATHSIG, SIGKILL));
    for (other = 3; other < 1024; other++)
        if (other != fd)
            close(other);
}

static pid_t parent_of(pid_t child)
{
    CHECK(child >= 0);
    reaper_owns_process(child);
    return child;
}

pid_t netpeer_stream(const char *path)
{
    int listener = socket_at(SOCK_STREAM, path);
    pid_t child = fork();

    if (child == 0) {
        keep_only(listener);
        serve_all(listener, serve_frame);
    }
    close(listener);
    return parent_of(child);
}

pid_t netpeer_dgram(const char *own)
{
    int fd = socket_at(SOCK_DGRAM, own);
    pid_t child = fork();

    if (child == 0) {
        keep_only(fd);
        serve_datagrams(fd);
    }
    close(fd);
    return parent_of(child);
}

pid_t netpeer_vhost_user(const char *path, unsigned queues)
{
    int listener = socket_at(SOCK_STREAM, path);
    pid_t child;

    vhost_user_queues = queues;
    child = fork();
    if (child == 0) {
        keep_only(listener);
        serve_all(listener, serve_vhost_user);
    }
    close(listener);
    return parent_of(child);
}
