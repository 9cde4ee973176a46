/* A connected unix socket and what has been read from it: the bottom of qmp.c and guest.c. */
#ifndef TEST_STREAM_H
#define TEST_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct stream {
    int fd;
    char *data; /* always terminated */
    size_t length, room;
};

/* Tries until the socket is there; false after the time limit, or when `server` (0: nobody) has died
 * meanwhile. */
bool stream_connect(struct stream *stream, const char *path, pid_t server, int timeout_ms);

/* Appends what comes next. False when nothing came until `end` (clock.h); errno is 0 when the peer has
 * closed. */
bool stream_read(struct stream *stream, long long end);

void stream_write(struct stream *stream, const char *text, size_t length);

/* Drops the first bytes. */
void stream_consume(struct stream *stream, size_t length);

void stream_close(struct stream *stream);

#endif
