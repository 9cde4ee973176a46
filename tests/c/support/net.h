/* Network interfaces of the host for the tests; needs CAP_NET_ADMIN. All are deleted when the test ends. */
#ifndef TEST_NET_H
#define TEST_NET_H

#include <stdbool.h>

#include <net/if.h>

/* Leaves the host's interfaces behind for a namespace of the test's own, so that it can count them and take
 * any name. To be called while there is one thread. */
void net_private(void);

/* Gives an interface an IPv4 address, written with its prefix length ("198.18.0.1/24"). */
void link_address(const char *name, const char *address);

/* Whether one of three pings is answered, each within a second. */
bool host_pings(const char *address);

/* How many interfaces there are. */
int link_count(void);

/* Makes a bridge, up, under a name that no other running test has. */
void bridge_new(char name[IF_NAMESIZE]);

/* Deletes an interface now. */
void link_delete(const char *name);

bool link_exists(const char *name);

/* Whether it goes within two seconds: the kernel takes a tap away when the last process has closed it. */
bool link_goes(const char *name);

/* Whether the interface is a port of this bridge. */
bool link_in_bridge(const char *name, const char *bridge);

#endif
