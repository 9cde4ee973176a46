/* Disks that a PC's firmware can boot from. */
#ifndef TEST_BOOT_SECTOR_H
#define TEST_BOOT_SECTOR_H

#include <stddef.h>

enum { BOOT_SECTOR_MOST = 510 };

/* Makes a raw image whose program writes the text and a newline to the first serial port, and halts. The text
 * is short. */
void boot_sector_says(const char *path, const char *text);

/* The same on a block device that is there. */
void boot_sector_says_on(const char *device, const char *text);

/* Makes a raw image with a program of the caller's, of BOOT_SECTOR_MOST bytes. */
void boot_sector(const char *path, const void *program, size_t length);

/* What programs have said on the first serial port, which QEMU writes into a file. */
struct serial_port {
    char path[128];
    size_t known; /* so much of it */
};

/* Waits until a program has said a whole line more, and checks which. */
void serial_says(struct serial_port *port, const char *line);

#endif
