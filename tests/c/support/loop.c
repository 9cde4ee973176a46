#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "check.h"

enum { TRIES = 100 };

static int make(const char *file, char device[32], unsigned flags)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int backing = open(file, O_RDWR | O_CLOEXEC);
    int loop = -1, tries;

    if (control < 0 || backing < 0)
        FAIL("a loop device over %s: %s (needs root and /dev/loop-control)", file, strerror(errno));
    /* Somebody else may take the free one first. */
    for (tries = 0; tries < TRIES; tries++) {
        struct loop_config config = {.fd = (unsigned)backing, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | flags}};
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        if (number < 0)
            FAIL("no free loop device: %s", strerror(errno));
        snprintf(device, 32, "/dev/loop%d", number);
        loop = open(device, O_RDWR | O_CLOEXEC);
        if (loop < 0)
            FAIL("open %s: %s", device, strerror(errno));
        if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
            break;
        if (errno != EBUSY)
            FAIL("set up %s: %s", device, strerror(errno));
        close(loop);
    }
    CHECK(tries < TRIES);
    close(control);
    close(backing);
    return loop;
}

void loop_grown(int loop)
{
    ok(ioctl(loop, LOOP_SET_CAPACITY));
}

int loop_new(const char *file, char device[32])
{
    return make(file, device, 0);
}

int loop_new_read_only(const char *file, char device[32])
{
    return make(file, device, LO_FLAGS_READ_ONLY);
}
