/* The harness must fail when it should, and leave nothing behind whatever way a test ends. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/clock.h"
#include "support/net.h"
#include "support/qemu.h"

/* What a test in a child process made, told through a pipe. */
struct made {
    pid_t qemu;
    char directory[64];
    char bridge[IF_NAMESIZE];
};

static void make_things(int tell)
{
    struct qemu *qemu = qemu_start(&(struct qemu_options){.paused = true});
    struct made made = {.qemu = qemu->pid};

    strcpy(made.directory, qemu->dir);
    bridge_new(made.bridge);
    CHECK(write(tell, &made, sizeof made) == (ssize_t)sizeof made);
    close(tell);
}

static void passes(int tell)
{
    make_things(tell);
    exit(test_end());
}

static void fails(int tell)
{
    make_things(tell);
    ok(-ENOENT);
}

static void leaves_early(int tell)
{
    make_things(tell);
    exit(0);
}

static void checks_nothing(int tell)
{
    (void)tell;
    exit(test_end());
}

static void is_killed(int tell)
{
    make_things(tell);
    raise(SIGKILL);
}

static void is_terminated(int tell)
{
    make_things(tell);
    raise(SIGTERM);
}

static void is_stuck(int tell)
{
    make_things(tell);
    for (;;)
        pause();
}

/* The zombie of a QEMU whose parent was killed may wait for init, so gone means not running. */
static bool runs(pid_t process)
{
    char path[64], state = 'Z';
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state != 'Z' && state != 'X';
}

static bool all_gone(const struct made *made)
{
    return access(made->directory, F_OK) != 0 && !link_exists(made->bridge) && !runs(made->qemu);
}

/* Runs one way to end in a child whose messages are of no interest; returns its wait status. */
static int end_by(void (*way)(int), struct made *made)
{
    int ends[2], status = 0;
    pid_t child;

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        test_begin("child", way == is_stuck ? 2 : 30);
        way(ends[1]);
        _exit(99);
    }
    close(ends[1]);
    memset(made, 0, sizeof *made);
    if (way != checks_nothing)
        CHECK(read(ends[0], made, sizeof *made) == (ssize_t)sizeof *made);
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void leaves_nothing(void (*way)(int), int exit_status, int signal)
{
    struct made made;
    long long end;
    int status = end_by(way, &made);

    if (signal != 0)
        CHECK_NUMBER(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal);
    else
        CHECK_NUMBER(WIFEXITED(status) ? WEXITSTATUS(status) : -1, exit_status);
    /* After a normal exit nothing is left already; a killed test cannot wait for its reaper. */
    for (end = now_ms() + (signal != 0 ? 5000 : 0); !all_gone(&made) && now_ms() < end;)
        sleep_ms(5);
    CHECK(all_gone(&made));
}

int main(void)
{
    test_begin("harness-cleanup", 60);
    leaves_nothing(passes, 0, 0);
    leaves_nothing(fails, 1, 0);
    leaves_nothing(leaves_early, 1, 0);
    leaves_nothing(checks_nothing, 1, 0);
    leaves_nothing(is_terminated, 0, SIGTERM);
    leaves_nothing(is_killed, 0, SIGKILL);
    leaves_nothing(is_stuck, 0, SIGKILL);
    return test_end();
}
