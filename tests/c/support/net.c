#include "net.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/mount.h>
#include <unistd.h>

#include "check.h"
#include "files.h"
#include "reaper.h"
#include "run.h"

static void ip(const char *const arguments[])
{
    int status = run(arguments);

    if (status != 0)
        FAIL("\"ip link %s ... %s\" ended with status %d (interfaces need root)", arguments[2], arguments[3], status);
}

void net_private(void)
{
    mounts_private();
    if (unshare(CLONE_NEWNET) != 0)
        FAIL("cannot make a network namespace (needs root): %s", strerror(errno));
    /* The one that is there shows the interfaces of the namespace it was mounted in. */
    if (mount("sysfs", "/sys", "sysfs", 0, NULL) != 0)
        FAIL("cannot mount /sys: %s", strerror(errno));
}

int link_count(void)
{
    struct if_nameindex *list = if_nameindex();
    int count = 0;

    if (list == NULL)
        FAIL("cannot list the interfaces: %s", strerror(errno));
    while (list[count].if_index != 0)
        count++;
    if_freenameindex(list);
    return count;
}

void bridge_new(char name[IF_NAMESIZE])
{
    static atomic_uint made;

    /* A process id has at most 22 bits, so this has at most 13 of the 15 characters. */
    snprintf(name, IF_NAMESIZE, "kht%x-%x", (unsigned)getpid() & 0xffffff, atomic_fetch_add(&made, 1) & 0xfff);
    reaper_owns_link(name);
    ip((const char *[]){"ip", "link", "add", name, "type", "bridge", NULL});
    ip((const char *[]){"ip", "link", "set", name, "up", NULL});
}

void link_address(const char *name, const char *address)
{
    CHECK_NUMBER(run((const char *[]){"ip", "address", "add", address, "dev", name, NULL}), 0);
}

bool host_pings(const char *address)
{
    char command[96];
    int tries;

    snprintf(command, sizeof command, "exec ping -q -c 1 -W 1 %s >/dev/null", address);
    for (tries = 0; tries < 3; tries++)
        if (run((const char *[]){"sh", "-c", command, NULL}) == 0)
            return true;
    return false;
}

void link_delete(const char *name)
{
    ip((const char *[]){"ip", "link", "del", name, NULL});
}

bool link_exists(const char *name)
{
    return if_nametoindex(name) != 0;
}

bool link_goes(const char *name)
{
    for (int i = 0; i < 200 && link_exists(name); i++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    return !link_exists(name);
}

bool link_in_bridge(const char *name, const char *bridge)
{
    char path[96];

    snprintf(path, sizeof path, "/sys/class/net/%s/brif/%s", bridge, name);
    return access(path, F_OK) == 0;
}
