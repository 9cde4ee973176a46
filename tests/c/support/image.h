/* Disk images for the tests; needs qemu-img and mkfs.ext4. They belong into a directory that goes with the test. */
#ifndef TEST_IMAGE_H
#define TEST_IMAGE_H

#include <stdbool.h>

enum { MEBIBYTE = 1 << 20 };

/* A sparse raw image. */
void image_raw(const char *path, long long size);

/* A raw image with an empty ext4. */
void image_ext4(const char *path, long long size);

/* A qcow2 image of this size in MiB, or with the size of its raw backing file if that is given. */
void image_qcow2(const char *path, int size_mib, const char *raw_backing);

/* Writes text into a raw image; whether it is there. `format` is "raw" or "qcow2". */
void image_write(const char *path, long long offset, const char *text);
bool image_has(const char *path, const char *format, long long offset, const char *text);

/* Whether the text is anywhere in a raw image, or another file. */
bool image_mentions(const char *path, const char *text);

/* Bytes of the host's storage that the file takes. */
long long image_allocated(const char *path);

#endif
