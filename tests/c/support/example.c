#include "example.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "reaper.h"

enum { MAX_VALUES = 16 };

static void put_in_path(void)
{
    char path[1024];

    snprintf(path, sizeof path, "%s:%s", TEST_PROGRAMS, getenv("PATH"));
    setenv("PATH", path, 1);
}

/* The child between fork and exec. */
static _Noreturn void become(const char *command, const char *const values[], int in, int out, int err)
{
    const char *argv[MAX_VALUES + 5] = {"sh", "-c", command, "sh"};
    int count = 4;

    for (; values != NULL && *values != NULL && count < MAX_VALUES + 4; values++)
        argv[count++] = *values;
    put_in_path();
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    if (err >= 0)
        dup2(err, STDERR_FILENO);
    execv("/bin/sh", (char *const *)argv);
    _exit(127);
}

/* False at the end. */
static bool take(int fd, char *buffer, size_t size)
{
    size_t length = strlen(buffer);
    char rest[4096];
    char *to = length + 1 < size ? buffer + length : rest;
    ssize_t got = read(fd, to, to == rest ? sizeof rest : size - 1 - length);

    if (got > 0 && to != rest)
        buffer[length + (size_t)got] = '\0';
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static int status_of(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void example_run(struct said *said, const char *command, const char *const values[])
{
    int out[2], err[2], nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct pollfd fds[2];
    pid_t pid;

    memset(said, 0, sizeof *said);
    ok(pipe2(out, O_CLOEXEC));
    ok(pipe2(err, O_CLOEXEC));
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        become(command, values, nothing, out[1], err[1]);
    reaper_owns_process(pid);
    close(out[1]);
    close(err[1]);
    close(nothing);
    fds[0] = (struct pollfd){.fd = out[0], .events = POLLIN};
    fds[1] = (struct pollfd){.fd = err[0], .events = POLLIN};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        CHECK(poll(fds, 2, -1) > 0);
        if (fds[0].revents != 0 && !take(out[0], said->out, sizeof said->out))
            fds[0].fd = -1;
        if (fds[1].revents != 0 && !take(err[0], said->err, sizeof said->err))
            fds[1].fd = -1;
    }
    close(out[0]);
    close(err[0]);
    said->status = status_of(pid);
}

void example_start(struct talk *talk, const char *command, const char *const values[])
{
    int in[2], out[2];

    memset(talk, 0, sizeof *talk);
    ok(pipe2(in, O_CLOEXEC));
    ok(pipe2(out, O_CLOEXEC));
    talk->pid = fork();
    CHECK(talk->pid >= 0);
    if (talk->pid == 0)
        become(command, values, in[0], out[1], -1);
    reaper_owns_process(talk->pid);
    close(in[0]);
    close(out[1]);
    talk->in = in[1];
    talk->out = out[0];
    ok(fcntl(talk->out, F_SETFL, O_NONBLOCK));
}

void example_says(struct talk *talk, const char *part, int timeout_ms)
{
    long long end = now_ms() + timeout_ms;
    struct pollfd fd = {.fd = talk->out, .events = POLLIN};
    char *found;

    while ((found = strstr(talk->said, part)) == NULL) {
        if (poll(&fd, 1, ms_until(end)) <= 0 || !take(talk->out, talk->said, sizeof talk->said))
            FAIL("it did not say \"%s\", only \"%s\"", part, talk->said);
    }
    found += strlen(part);
    memmove(talk->said, found, strlen(found) + 1);
    test_count_check();
}

int example_end(struct talk *talk)
{
    close(talk->in);
    close(talk->out);
    return status_of(talk->pid);
}
