/* What is at the other end of a NIC without a tap: a process that answers ARP and pings at 198.18.9.1, over a
 * Unix socket; and one that QEMU takes for the backend of a vhost-user. Each ends with the test, or when its
 * process is killed. */
#ifndef TEST_NETPEER_H
#define TEST_NETPEER_H

#include <sys/types.h>

#define NETPEER_ADDRESS "198.18.9.1"

/* Takes connections: each frame has its length before it, in four bytes. */
pid_t netpeer_stream(const char *path);

/* Binds `own`, and answers to where a frame came from: frames are datagrams. */
pid_t netpeer_dgram(const char *own);

/* Says to QEMU what it has to be told, and moves no packets. */
pid_t netpeer_vhost_user(const char *path, unsigned queues);

#endif
