/* For QEMU 5.2: a message to a client that is dead counts as sent. QEMU then learns from the thread of its
 * monitors alone that the client is gone. Otherwise its main thread takes the connection apart as well, goes
 * on to wait for it, and the guest ends with SIGSEGV (qio_channel_create_watch without a channel). Events
 * that come with the answer make it likely.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
    ssize_t size = syscall(SYS_sendmsg, socket, message, flags | MSG_NOSIGNAL);

    if (size >= 0 || errno != EPIPE)
        return size;
    size = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        size += (ssize_t)message->msg_iov[i].iov_len;
    return size;
}
