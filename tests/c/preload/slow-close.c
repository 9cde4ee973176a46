/* For QEMU: who has received a descriptor and closes it takes a second and a half for that, as the kernel
 * takes its time when it is the last one of a tap. QEMU receives them in the thread of its monitors, and
 * closes them there only if the client goes before they are taken, in another thread.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NUMBERS = 4096 };

/* The thread that received each descriptor; 0 for all others. */
static atomic_long receivers[NUMBERS];

static void take_time(void)
{
    struct timespec pause = {.tv_sec = 1, .tv_nsec = 500 * 1000 * 1000};

    while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
        ;
}

static void note(const struct cmsghdr *control)
{
    int fd;

    for (size_t at = 0; at + CMSG_LEN(sizeof fd) <= control->cmsg_len; at += sizeof fd) {
        memcpy(&fd, CMSG_DATA(control) + at, sizeof fd);
        if (fd >= 0 && fd < NUMBERS)
            receivers[fd] = syscall(SYS_gettid);
    }
}

ssize_t recvmsg(int socket, struct msghdr *message, int flags)
{
    ssize_t size = syscall(SYS_recvmsg, socket, message, flags);
    struct cmsghdr *control = size < 0 || message->msg_controllen == 0 ? NULL : CMSG_FIRSTHDR(message);

    for (; control != NULL; control = CMSG_NXTHDR(message, control))
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
            note(control);
    return size;
}

int close(int fd)
{
    long receiver = fd >= 0 && fd < NUMBERS ? atomic_exchange(&receivers[fd], 0) : 0;
    int result = (int)syscall(SYS_close, fd), reason = errno;

    if (receiver != 0 && receiver == syscall(SYS_gettid))
        take_time();
    errno = reason;
    return result;
}
