/* Files of a test, and what the system knows of a process. Paths are inside a directory that is removed with
 * the test. */
#ifndef TEST_FILES_H
#define TEST_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { TEST_PATH = 128, MEBIBYTE = 1 << 20 };

/* A directory of the test's own. */
void directory_new(char path[TEST_PATH]);

/* "directory/name", or FAIL. */
void path_in(char path[TEST_PATH], const char *directory, const char *name);

void file_write(const char *path, const void *content, size_t length);

/* The content with a NUL behind it, to be freed; NULL when there is no such file. */
char *file_read(const char *path, size_t *ret_length);

bool file_exists(const char *path);
bool file_contains(const char *path, const char *part);

/* How many entries the directory has. */
int directory_count(const char *path);

/* From here on, mounts are seen by this process and its children only. To be called while there is one
 * thread. */
void mounts_private(void);

/* After that: makes the directory read-only, for root as well. */
void directory_read_only(const char *path);

/* Replaces /dev, for this process and its children, by one that has only null,
 * urandom and net/tun, and in which the test may make what nodes it likes. `directory` is where it is put
 * together. */
void devices_private(const char *directory);

/* A sparse file of zeros. */
void image_raw(const char *path, long long bytes);

/* By qemu-img; backing (of format backing_format) may be NULL. */
void image_qcow2(const char *path, const char *size, const char *backing, const char *backing_format);

/* Open file descriptors of a process, and how much of its heap is in memory. */
int process_fds(pid_t process);
long process_heap_kb(pid_t process);

#endif
