/* A network of the test's own. */
#ifndef TEST_OWN_NETWORK_H
#define TEST_OWN_NETWORK_H

#include <stdbool.h>

#include <net/if.h>

/* Moves this process, and what it starts from now on, into a new network namespace: addresses collide with nobody's, and
 * whatever is made there goes with the last process. To be called while there is one thread only; needs root. */
void own_network(void);

/* Gives an interface an IPv4 address, written with its prefix length ("198.18.0.1/24"). */
void link_address(const char *name, const char *address);

/* Whether one of three pings is answered, each within a second. */
bool host_pings(const char *address);

#endif
