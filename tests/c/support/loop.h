/* Block devices for tests: a file of the test's own behind a loop device. Needs root. */
#ifndef TEST_LOOP_H
#define TEST_LOOP_H

/* Makes one and returns a descriptor of it. The kernel takes it away when the last descriptor is closed,
 * QEMU's included. */
int loop_new(const char *file, char device[32]);

/* The same for one that the kernel has read-only. `blockdev --setro` would outlast it, and meet the next who
 * gets that device. */
int loop_new_read_only(const char *file, char device[32]);

/* Tells the device that its file has grown. */
void loop_grown(int loop);

#endif
