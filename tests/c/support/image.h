/* What is in disk images; needs qemu-img and mkfs.ext4. files.h makes the plain ones. */
#ifndef TEST_IMAGE_H
#define TEST_IMAGE_H

#include <stdbool.h>

/* A raw image with an empty ext4. */
void image_ext4(const char *path, long long bytes);

/* Writes text into a raw image; whether it is there. `format` is "raw" or "qcow2". */
void image_write(const char *path, long long offset, const char *text);
bool image_has(const char *path, const char *format, long long offset, const char *text);

/* Whether the text is anywhere in a raw image, or another file. */
bool image_mentions(const char *path, const char *text);

/* Bytes of the host's storage that the file takes. */
long long image_allocated(const char *path);

#endif
