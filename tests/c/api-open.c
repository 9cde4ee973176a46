/* Nobody, or nobody useful, is behind the socket: the reason is told, nothing is left, and the record can be
 * used again. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"

enum { BRIEF_MS = 200 };

static struct kvm_runtime *runtime;
static struct kvm_hotplug *guest;
static char directory[TEST_PATH], path[TEST_PATH], socket_path[TEST_PATH];

#define open_guest() kvm_hotplug_open(runtime, socket_path, BRIEF_MS, &guest, &failure)

static void records_that_cannot(void)
{
    struct kvm_runtime *other = NULL;

    works(kvmh_runtime_new(NULL, &other, &failure));
    fails(kvm_hotplug_open(other, socket_path, BRIEF_MS, &guest, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE,
          "has no file yet", "save it");
    kvm_runtime_free(other);
    works(kvm_runtime_load_readonly(path, &other, &failure));
    fails(kvm_hotplug_open(other, socket_path, BRIEF_MS, &guest, &failure), -EROFS, KVM_HOTPLUG_ERROR_STATE,
          "for reading only");
    kvm_runtime_free(other);
}

static void paths(void)
{
    char path_of[110];

    memset(path_of, 'x', sizeof path_of);
    path_of[0] = '/';
    path_of[108] = '\0';
    fails(kvm_hotplug_open(runtime, path_of, BRIEF_MS, &guest, &failure), -ENAMETOOLONG, KVM_HOTPLUG_ERROR_INVALID,
          "the last part of the monitor socket path", "too long", "use a shorter one");
    path_of[107] = '\0';
    fails(kvm_hotplug_open(runtime, path_of, BRIEF_MS, &guest, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND,
          path_of);
    fails(kvm_hotplug_open(runtime, "@kvm-hotplug-nobody", BRIEF_MS, &guest, &failure), -ECONNREFUSED,
          KVM_HOTPLUG_ERROR_HOST, "@kvm-hotplug-nobody");
    invalid(kvm_hotplug_open(runtime, "", BRIEF_MS, &guest, &failure), "socket_path is empty");
    invalid(kvm_hotplug_open(runtime, "/\xff", BRIEF_MS, &guest, &failure), "socket_path is not UTF-8");
    fails(open_guest(), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "connect to the monitor at", socket_path);
    fails(kvm_hotplug_open(runtime, path, BRIEF_MS, &guest, &failure), -ECONNREFUSED, KVM_HOTPLUG_ERROR_HOST, path);
}

static int listen_there(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    strcpy(address.sun_path, socket_path);
    ok(bind(fd, (struct sockaddr *)&address, sizeof address));
    ok(listen(fd, 1));
    return fd;
}

/* Accepts one client after the other, says its line, and hangs up when the client has said something. */
struct speaker {
    int listener;
    const char *line;
};

static void *speak(void *argument)
{
    const struct speaker *speaker = argument;
    char heard[512];
    int fd = accept4(speaker->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0 && send(fd, speaker->line, strlen(speaker->line), MSG_NOSIGNAL) > 0)
        (void)recv(fd, heard, sizeof heard, 0);
    close(fd);
    return NULL;
}

static void speaks(int listener, const char *line, int errno_, int kind, const char *text)
{
    struct speaker speaker = {listener, line};
    pthread_t thread;

    ok(pthread_create(&thread, NULL, speak, &speaker));
    fails(kvm_hotplug_open(runtime, socket_path, 5000, &guest, &failure), -errno_, kind, socket_path, text);
    ok(pthread_join(thread, NULL));
}

static void no_qmp(void)
{
    static const char greeting[] = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "
                                   "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
    int listener = listen_there();

    speaks(listener, "SSH-2.0-OpenSSH_9.2\r\n", EPROTO, KVM_HOTPLUG_ERROR_PROTOCOL, "does not speak QMP");
    speaks(listener, "{\"jsonrpc\": \"2.0\"}\r\n", EPROTO, KVM_HOTPLUG_ERROR_PROTOCOL, "");
    speaks(listener, greeting, ECONNRESET, KVM_HOTPLUG_ERROR_MONITOR_LOST, "QEMU may have exited");
    close(listener);
    ok(remove(socket_path));
}

/* QEMU takes the connection of a second client and answers when the first one has left. */
static void silence(void)
{
    int listener = listen_there();
    long long start = now_ms();

    fails(open_guest(), -EBUSY, KVM_HOTPLUG_ERROR_MONITOR_BUSY, socket_path, "no greeting before the deadline",
          "another client", "one client at a time");
    CHECK(now_ms() - start >= BRIEF_MS && now_ms() - start < BRIEF_MS + 2000);
    close(listener);
    fails(open_guest(), -ECONNREFUSED, KVM_HOTPLUG_ERROR_HOST, socket_path);
}

int main(void)
{
    int open_files;

    test_begin("api-open", 60);
    directory_new(directory);
    path_in(path, directory, "web1.runtime");
    path_in(socket_path, directory, "qmp");
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    works(kvm_runtime_save(runtime, path, &failure));
    open_files = process_fds(getpid());
    records_that_cannot();
    paths();
    no_qmp();
    silence();
    CHECK(guest == NULL);
    CHECK_NUMBER(process_fds(getpid()), open_files);
    kvm_runtime_free(runtime);
    return test_end();
}
