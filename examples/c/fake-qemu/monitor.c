#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* What is done is told on stdout, for a test to wait for. */
static void tell(const char *what, const char *command, const char *about)
{
    printf("%s %s%s%s\n", what, command, about[0] != '\0' ? " " : "", about);
    fflush(stdout);
}

bool monitor_listen(struct monitor *monitor, struct guest *guest, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    monitor->listener = monitor->client = -1;
    guest->news = open_memstream(&monitor->news, &monitor->news_length);
    if (guest->news == NULL)
        return false;
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    monitor->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    return monitor->listener >= 0 && bind(monitor->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
           listen(monitor->listener, 4) == 0;
}

void monitor_hang_up(struct monitor *monitor)
{
    int i;

    if (monitor->client < 0)
        return;
    close(monitor->client);
    for (i = 0; i < monitor->fd_count; i++)
        close(monitor->fds[i]);
    monitor->client = -1;
    monitor->fd_count = 0;
    monitor->length = 0;
    monitor->negotiated = false;
    tell("client", "gone", "");
}

/* A client that has gone is noticed when it is read from. */
static void say(const struct monitor *monitor, const char *text, size_t length)
{
    while (length > 0 && monitor->client >= 0) {
        ssize_t sent = send(monitor->client, text, length, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return;
        text += sent;
        length -= (size_t)sent;
    }
}

void monitor_accept(struct monitor *monitor, const struct guest *guest)
{
    char greeting[200];
    int length;

    monitor->client = accept4(monitor->listener, NULL, NULL, SOCK_CLOEXEC);
    if (monitor->client < 0)
        return;
    length = snprintf(greeting, sizeof greeting,
                      "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":%d,\"minor\":%d,\"major\":%d},\"package\":\"\"},"
                      "\"capabilities\":[\"oob\"]}}\r\n",
                      guest->micro, guest->minor, guest->major);
    tell("client", "come", "");
    say(monitor, greeting, (size_t)length);
}

static void keep_fds(struct monitor *monitor, struct msghdr *message)
{
    struct cmsghdr *control;

    for (control = CMSG_FIRSTHDR(message); control != NULL; control = CMSG_NXTHDR(message, control)) {
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int), i;

        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
            continue;
        for (i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
            if (monitor->fd_count < WAITING_FDS)
                monitor->fds[monitor->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

void monitor_read(struct monitor *monitor)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 16)];
        struct cmsghdr header;
    } control;
    struct iovec part = {.iov_base = monitor->input + monitor->length, .iov_len = INPUT - monitor->length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(monitor->client, &message, MSG_CMSG_CLOEXEC);

    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0) {
        monitor_hang_up(monitor);
        return;
    }
    keep_fds(monitor, &message);
    monitor->length += (size_t)got;
}

static int take_fd(struct monitor *monitor, const char *command)
{
    int fd;

    if (monitor->fd_count == 0 || (strcmp(command, "getfd") != 0 && strcmp(command, "add-fd") != 0))
        return -1;
    fd = monitor->fds[0];
    monitor->fd_count--;
    memmove(monitor->fds, monitor->fds + 1, (size_t)monitor->fd_count * sizeof fd);
    return fd;
}

static void write_string(FILE *out, const char *text)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putc('\\', out);
        putc((unsigned char)*text < ' ' ? ' ' : *text, out);
    }
    putc('"', out);
}

/* A reply of guest_run() as QEMU would say it. */
static void answer(const struct monitor *monitor, struct slice command, bool fine, char *result)
{
    struct slice id = json_member(command, "id");
    char *text = NULL, *desc;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    if (out == NULL)
        return;
    if (fine) {
        fprintf(out, "{\"return\":%s", result);
    } else {
        desc = strchr(result, '\n');
        fprintf(out, "{\"error\":{\"class\":\"%.*s\",\"desc\":", desc != NULL ? (int)(desc - result) : 0, result);
        write_string(out, desc != NULL ? desc + 1 : "");
        putc('}', out);
    }
    if (id.at != NULL)
        fprintf(out, ",\"id\":%.*s", (int)id.length, id.at);
    fputs("}\r\n", out);
    if (fclose(out) == 0)
        say(monitor, text, length);
    free(text);
}

/* Runs a command; the connection may be over then. */
static void run(struct monitor *monitor, struct guest *guest, const struct fault *fault, struct slice command)
{
    struct slice arguments = json_member(command, "arguments");
    char name[NAME], about[NAME], *result = NULL;
    size_t length = 0;
    FILE *reply = open_memstream(&result, &length);
    int fd;
    bool fine;

    if (reply == NULL)
        return;
    json_text(json_member(command, "execute"), name, sizeof name);
    json_text(json_member(arguments, "id"), about, sizeof about);
    if (fault->kind == FAULT_HANG_UP) {
        fclose(reply);
        free(result);
        monitor_hang_up(monitor);
        return;
    }
    fd = take_fd(monitor, name);
    if (fault->kind == FAULT_ERROR) {
        fine = false;
        fprintf(reply, "GenericError\n%s", fault->text);
        if (fd >= 0)
            close(fd);
    } else {
        fine = guest_run(guest, name, arguments, fd, reply);
    }
    if (fclose(reply) == 0 && fault->kind != FAULT_LOSE)
        answer(monitor, command, fine, result);
    tell(fine ? "done" : "refused", name, about);
    monitor->negotiated |= fine && strcmp(name, "qmp_capabilities") == 0;
    if (fault->kind == FAULT_LOSE)
        monitor_hang_up(monitor);
    free(result);
}

/* Events are for those who have left negotiation mode, and are not kept for others. */
static void say_news(struct monitor *monitor, struct guest *guest)
{
    if (fflush(guest->news) != 0 || monitor->news_length == 0)
        return;
    if (monitor->negotiated)
        say(monitor, monitor->news, monitor->news_length);
    fclose(guest->news);
    free(monitor->news);
    guest->news = open_memstream(&monitor->news, &monitor->news_length);
    if (guest->news == NULL)
        abort();
}

void monitor_work(struct monitor *monitor, struct guest *guest, struct script *script)
{
    struct fault fault = {.kind = FAULT_NONE};
    char name[NAME];
    size_t size;

    if (script->hang_up)
        monitor_hang_up(monitor);
    script->hang_up = false;
    if (monitor->silent && !script->speak)
        return;
    while (monitor->client >= 0 && (size = json_complete(monitor->input, monitor->length)) > 0) {
        struct slice command = {monitor->input, size};

        json_text(json_member(command, "execute"), name, sizeof name);
        if (!monitor->silent)
            fault = script_next(script, name);
        if (fault.kind == FAULT_SILENCE) {
            monitor->silent = true;
            script->speak = false;
            tell("silent", name, "");
            return;
        }
        monitor->silent = false;
        run(monitor, guest, &fault, command);
        if (monitor->client >= 0) {
            monitor->length -= size;
            memmove(monitor->input, monitor->input + size, monitor->length);
        }
        say_news(monitor, guest);
    }
    monitor->silent = false;
    say_news(monitor, guest);
    if (monitor->client >= 0 && monitor->length == INPUT)
        monitor_hang_up(monitor);
}
