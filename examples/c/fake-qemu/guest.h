/* What the fake has in place of a guest: devices, what stands behind them, and how it takes to removals. */
#ifndef FAKE_GUEST_H
#define FAKE_GUEST_H

#include <stdbool.h>
#include <stdio.h>

#include "json.h"

enum { NAME = 64, MOST = 256, NETDEV_FDS = 16 };

struct device {
    char id[NAME];
    char driver[NAME];
    char bus[NAME];
    char netdev[NAME];
    char drive[NAME];
    char *arguments; /* of device_add */
    int slot, function; /* -1 on a SCSI bus */
    int vendor, number; /* PCI ids */
    bool asked;   /* to leave */
};

struct netdev {
    char id[NAME];
    int fds[NETDEV_FDS];
    int fd_count;
};

struct node {
    char name[NAME];
    int set; /* the fdset of its image, -1 for none */
    long long size;
};

/* A descriptor, by its name or by its set. */
struct handed {
    char name[NAME];
    char opaque[128];
    int set; /* -1: has a name */
    int fd;
};

/* What is to become of the removal of a device: its id, or "*" for any. */
struct manner {
    char id[NAME];
    bool refuses; /* once; otherwise it is held until it is granted */
};

struct guest {
    int major, minor, micro; /* QEMU's version */
    int ports;               /* root ports of a q35; 0 for a pc */
    char state[NAME];        /* run state */
    struct device devices[MOST];
    struct netdev netdevs[MOST];
    struct node nodes[MOST];
    struct handed handed[MOST];
    struct manner manners[MOST];
    int device_count, netdev_count, node_count, handed_count, manner_count;
    FILE *news; /* events, to be said after the reply */
};

void guest_build(struct guest *guest);

/* Runs a command and writes what it returns, JSON, to `reply`. False for an error, of which the class and text are written
 * there instead, a line each. `fd` is what came along, -1 for nothing; it is taken. */
bool guest_run(struct guest *guest, const char *command, struct slice arguments, int fd, FILE *reply);

void guest_event(struct guest *guest, const char *name, const char *data);

/* The guest lets go of a device, whether it was asked to or not. False if there is no such device. */
bool guest_grant(struct guest *guest, const char *id);

/* How it takes to requests to let go of a device. False if there is no room. */
bool guest_manner(struct guest *guest, const char *id, bool refuses);

/* Another run state: one that runs hears what it was asked meanwhile. */
void guest_state(struct guest *guest, const char *state);

#endif
