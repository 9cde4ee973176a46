/* The floor: what plugging takes at least. A QMP client written by hand that sends the fewest commands and
 * bytes, keeps no record, chooses nothing, and takes every answer for a good one except an error. What the
 * library is measured against.
 *
 * It gives devices and netdevs the ids that the library gives them, because the ids are part of what is asked
 * for; fd names have one letter, commands no ids.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stdbool.h>
#include <stddef.h>

struct floor {
    int fd;
    size_t used;  /* of the answers that have been read and not looked at */
    bool deleted; /* a DEVICE_DELETED with an id has been seen since this was cleared */
    char text[1 << 16];
};

/* Connects, and returns when the capabilities are negotiated and, with `look`, query-pci is answered. */
void floor_open(struct floor *floor, const char *path, bool look);
void floor_close(struct floor *floor);

/* A tap, made, put into the bridge and set up, behind a virtio-net-pci in this slot of pci.0; with or without
 * the option ROM. It is the kernel's tap%d. */
void floor_add_nic(struct floor *floor, int slot, const char *bridge, bool rom);

/* A virtio-net-pci with nothing behind it: what of a removal is QEMU's own. */
void floor_add_bare(struct floor *floor, int slot);

/* A raw image behind a virtio-blk-pci, passed by fd in an fdset. */
void floor_add_disk(struct floor *floor, int slot, const char *path);

/* Asks for the device in this slot; waits until QEMU says that it is gone; takes down its backend. */
void floor_ask(struct floor *floor, const char *type, int slot);
void floor_wait(struct floor *floor);
void floor_clear_nic(struct floor *floor, int slot);
void floor_clear_disk(struct floor *floor, int slot);

/* One question, to see whether QEMU answers. */
void floor_status(struct floor *floor);

/* The parts, for a program that waits for many at once. floor_send_nic() sends and does not wait: three
 * answers come. */
void floor_send_nic(struct floor *floor, int slot, const char *bridge, bool rom);

/* Reads once; returns how many answers were complete. */
int floor_read(struct floor *floor);
void floor_await(struct floor *floor, int answers);

/* Reads the events that are there. */
void floor_drain(struct floor *floor);

#endif
