/* The QMP socket: one client at a time, commands in, replies and events out. */
#ifndef FAKE_MONITOR_H
#define FAKE_MONITOR_H

#include "guest.h"
#include "script.h"

enum { INPUT = 1 << 20, WAITING_FDS = 64 };

struct monitor {
    int listener;
    int client; /* -1 for none */
    bool negotiated;
    bool silent; /* hung: the command at the front of `input` is not done yet */
    char input[INPUT];
    size_t length;
    int fds[WAITING_FDS]; /* that came and belong to the commands in `input`, in their order */
    int fd_count;
    char *news; /* what guest->news has */
    size_t news_length;
};

/* Of a monitor that is all zeros. False with errno if it cannot listen there. */
bool monitor_listen(struct monitor *monitor, struct guest *guest, const char *path);

/* Somebody is at the door. */
void monitor_accept(struct monitor *monitor, const struct guest *guest);

/* Reads what there is. */
void monitor_read(struct monitor *monitor);

/* Does what can be done: commands that have been read, and events that are to be said. */
void monitor_work(struct monitor *monitor, struct guest *guest, struct script *script);

/* The client is left alone. */
void monitor_hang_up(struct monitor *monitor);

#endif
