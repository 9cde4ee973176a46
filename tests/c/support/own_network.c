#include "own_network.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "check.h"
#include "run.h"

/* /sys/class/net shows the namespace it was mounted in, so /sys is mounted anew, for this process only. */
void own_network(void)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
        FAIL("unshare: %s (a network of one's own needs root)", strerror(errno));
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        FAIL("make the mounts private: %s", strerror(errno));
    if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        FAIL("mount /sys: %s", strerror(errno));
    CHECK_NUMBER(run((const char *[]){"ip", "link", "set", "lo", "up", NULL}), 0);
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
