#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

enum { CONNECT_AGAIN_MS = 2, CHUNK = 65536 };

/* Leaves the dead process to be waited for by its owner. */
static bool has_died(pid_t process)
{
    siginfo_t info = {0};

    return process > 0 && waitid(P_PID, (id_t)process, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

bool stream_connect(struct stream *stream, const char *path, pid_t server, int timeout_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    long long end = now_ms() + timeout_ms;

    if (strlen(path) >= sizeof address.sun_path)
        FAIL("socket path too long: %s", path);
    strcpy(address.sun_path, path);
    *stream = (struct stream){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (stream->fd < 0)
        FAIL("socket: %s", strerror(errno));
    while (connect(stream->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        if (now_ms() >= end || has_died(server)) {
            stream_close(stream);
            return false;
        }
        sleep_ms(CONNECT_AGAIN_MS);
    }
    return true;
}

static void make_room(struct stream *stream)
{
    char *bigger;

    if (stream->room - stream->length > CHUNK)
        return;
    bigger = realloc(stream->data, stream->room + 2 * CHUNK);
    if (bigger == NULL)
        FAIL("out of memory");
    stream->data = bigger;
    stream->room += 2 * CHUNK;
}

bool stream_read(struct stream *stream, long long end)
{
    struct pollfd readable = {.fd = stream->fd, .events = POLLIN};
    ssize_t got;

    make_room(stream);
    for (;;) {
        int ready = poll(&readable, 1, ms_until(end));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0) {
            errno = ETIMEDOUT;
            return false;
        }
        got = read(stream->fd, stream->data + stream->length, CHUNK);
        if (got > 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        errno = 0;
        return false;
    }
    stream->length += (size_t)got;
    stream->data[stream->length] = '\0';
    return true;
}

void stream_write(struct stream *stream, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t put = send(stream->fd, text, length, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            FAIL("cannot write to QEMU: %s", strerror(errno));
        text += put;
        length -= (size_t)put;
    }
}

void stream_consume(struct stream *stream, size_t length)
{
    stream->length -= length;
    memmove(stream->data, stream->data + length, stream->length + 1);
}

void stream_close(struct stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    free(stream->data);
    *stream = (struct stream){.fd = -1};
}
