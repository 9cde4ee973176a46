#include "reaper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "run.h"

enum { MAX_OWNED = 512, LOG_TAIL = 6000 };

enum kind { DIRECTORY, LINK, MODULE, PROCESS, PASSED };

struct message {
    enum kind kind;
    pid_t process;
    char text[108];
};

/* What the reaper's process knows. */
struct reaper {
    const char *test;
    int seconds;
    int socket;
    int parent; /* pidfd */
    bool passed;
    bool timed_out;
    int count;
    struct message owned[MAX_OWNED];
    int pidfds[MAX_OWNED];
};

/* The test's side. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int to_reaper = -1;
static pid_t reaper_process;

static int pidfd_open_(pid_t process)
{
    return (int)syscall(SYS_pidfd_open, process, 0);
}

static void pidfd_kill(int pidfd)
{
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static void print_tail(const char *path, const char *name)
{
    char text[LOG_TAIL + 1];
    ssize_t size;
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (fstat(fd, &status) == 0 && status.st_size > 0) {
        off_t from = status.st_size > LOG_TAIL ? status.st_size - LOG_TAIL : 0;
        size = pread(fd, text, LOG_TAIL, from);
        if (size > 0)
            fprintf(stderr, "--- %s%s ---\n%.*s\n", name, from > 0 ? " (its end)" : "", (int)size, text);
    }
    close(fd);
}

static void print_logs(const char *directory)
{
    char path[512];
    struct dirent *entry;
    DIR *listing = opendir(directory);

    if (listing == NULL)
        return;
    while ((entry = readdir(listing)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, ".log") == 0) {
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
            print_tail(path, entry->d_name);
        }
    }
    closedir(listing);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    if (remove(path) != 0)
        fprintf(stderr, "reaper: cannot remove %s: %s\n", path, strerror(errno));
    return 0;
}

static void remove_link(const char *interface)
{
    char path[160];

    snprintf(path, sizeof path, "/sys/class/net/%s", interface);
    if (access(path, F_OK) == 0 && run((const char *[]){"ip", "link", "del", interface, NULL}) != 0)
        fprintf(stderr, "reaper: cannot delete the interface %s\n", interface);
}

/* Who used it is dead by now. */
static void remove_module(const char *module)
{
    char path[160];

    snprintf(path, sizeof path, "/sys/module/%s", module);
    if (access(path, F_OK) == 0 && run((const char *[]){"modprobe", "-r", module, NULL}) != 0)
        fprintf(stderr, "reaper: cannot unload the kernel's module %s\n", module);
}

/* Killed and seen dead, so that nothing writes into a directory while it is removed. */
static void end_process(int pidfd)
{
    struct pollfd died = {.fd = pidfd, .events = POLLIN};

    if (pidfd < 0)
        return;
    pidfd_kill(pidfd);
    if (poll(&died, 1, 10000) != 1)
        fprintf(stderr, "reaper: a process does not die\n");
}

static void clean_up(struct reaper *reaper)
{
    int i;

    for (i = 0; i < reaper->count; i++)
        if (reaper->owned[i].kind == PROCESS)
            end_process(reaper->pidfds[i]);
    for (i = reaper->count - 1; i >= 0; i--) {
        const char *text = reaper->owned[i].text;
        if (reaper->owned[i].kind == LINK)
            remove_link(text);
        if (reaper->owned[i].kind == MODULE)
            remove_module(text);
        if (reaper->owned[i].kind != DIRECTORY)
            continue;
        if (!reaper->passed)
            print_logs(text);
        if (access(text, F_OK) == 0)
            nftw(text, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

/* False when the test has closed its end. */
static bool take_message(struct reaper *reaper)
{
    struct message message;

    if (recv(reaper->socket, &message, sizeof message, 0) != (ssize_t)sizeof message)
        return false;
    if (message.kind == PASSED) {
        reaper->passed = true;
    } else if (reaper->count < MAX_OWNED) {
        reaper->pidfds[reaper->count] = message.kind == PROCESS ? pidfd_open_(message.process) : -1;
        reaper->owned[reaper->count++] = message;
    } else {
        fprintf(stderr, "reaper: more than %d things to clean up\n", MAX_OWNED);
    }
    return send(reaper->socket, "", 1, MSG_NOSIGNAL) == 1;
}

static void watch(struct reaper *reaper)
{
    struct pollfd fds[2] = {{.fd = reaper->socket, .events = POLLIN}, {.fd = reaper->parent, .events = POLLIN}};
    long long end = now_ms() + reaper->seconds * 1000LL;
    int ready;

    for (;;) {
        ready = poll(fds, 2, ms_until(end));
        if (ready == 0) {
            reaper->timed_out = true;
            return;
        }
        if (ready > 0 && fds[0].revents != 0) {
            if (!take_message(reaper))
                return;
        } else if (ready > 0 && fds[1].revents != 0) {
            return;
        }
    }
}

static _Noreturn void reaper_main(const char *name, int seconds, int socket, pid_t parent)
{
    static struct reaper reaper;

    /* A Ctrl-C at the terminal ends the test, not its clean-up. */
    setsid();
    reaper.test = name;
    reaper.seconds = seconds;
    reaper.socket = socket;
    reaper.parent = pidfd_open_(parent);
    if (getppid() != parent)
        _exit(1);
    watch(&reaper);
    if (reaper.timed_out) {
        fprintf(stderr, "FAIL %s: not done after %d s, killed\n", name, seconds);
        reaper.passed = false;
        pidfd_kill(reaper.parent);
    }
    clean_up(&reaper);
    fflush(NULL);
    _exit(0);
}

void reaper_start(const char *name, int seconds)
{
    int ends[2];
    pid_t parent = getpid();

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        FAIL("socketpair: %s", strerror(errno));
    fflush(NULL);
    reaper_process = fork();
    if (reaper_process < 0)
        FAIL("fork: %s", strerror(errno));
    if (reaper_process == 0) {
        close(ends[0]);
        reaper_main(name, seconds, ends[1], parent);
    }
    close(ends[1]);
    to_reaper = ends[0];
}

/* Waits for the answer: what was told is known before anything can go wrong with it. */
static void tell(const struct message *message)
{
    char answer;
    bool heard;

    if (to_reaper < 0)
        FAIL("test_begin() comes first");
    pthread_mutex_lock(&one_at_a_time);
    heard = send(to_reaper, message, sizeof *message, MSG_NOSIGNAL) == (ssize_t)sizeof *message &&
            recv(to_reaper, &answer, 1, 0) == 1;
    pthread_mutex_unlock(&one_at_a_time);
    if (!heard)
        FAIL("the reaper does not answer");
}

static void tell_text(enum kind kind, const char *text)
{
    struct message message = {.kind = kind};

    if (strlen(text) >= sizeof message.text)
        FAIL("too long to clean up: %s", text);
    strcpy(message.text, text);
    tell(&message);
}

void reaper_owns_directory(const char *path)
{
    tell_text(DIRECTORY, path);
}

void reaper_owns_link(const char *interface)
{
    tell_text(LINK, interface);
}

void reaper_owns_module(const char *module)
{
    tell_text(MODULE, module);
}

void reaper_owns_process(pid_t process)
{
    tell(&(struct message){.kind = PROCESS, .process = process});
}

void reaper_test_passed(void)
{
    tell(&(struct message){.kind = PASSED});
}

void reaper_stop(void)
{
    if (to_reaper < 0)
        return;
    close(to_reaper);
    to_reaper = -1;
    while (waitpid(reaper_process, NULL, 0) < 0 && errno == EINTR)
        ;
}
