/* Disks that a PC's firmware can boot from. */
#ifndef TEST_BOOT_SECTOR_H
#define TEST_BOOT_SECTOR_H

#include <stddef.h>

/* Makes a raw image whose program writes the text and a newline to the first serial port, and halts. The text is short. */
void boot_sector_says(const char *path, const char *text);

/* Makes a raw image with a program of the caller's, of 510 bytes at most. */
void boot_sector(const char *path, const void *program, size_t length);

#endif
