/* Connections to monitors that a test makes itself. */
#ifndef TEST_CONNECTION_H
#define TEST_CONNECTION_H

/* A network namespace of the test's own, with a loopback interface that works. While there is one thread. */
void net_private_loopback(void);

/* A stream socket that is connected to this path, or to this port of 127.0.0.1. */
int connect_path(const char *path);
int connect_port(int port);

#endif
