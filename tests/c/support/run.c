#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void become(const char *const arguments[])
{
    /* ip is not on a plain user's PATH. */
    static const char *const folders[] = {"/usr/sbin", "/sbin"};
    char path[128];
    size_t i;

    /* exec does not change its arguments, its prototype is older than const. */
    execvp(arguments[0], (char *const *)(const void *)arguments);
    for (i = 0; errno == ENOENT && i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], arguments[0]);
        execv(path, (char *const *)(const void *)arguments);
    }
    fprintf(stderr, "cannot run %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

int run(const char *const arguments[])
{
    int status;
    pid_t child = fork();

    if (child == 0)
        become(arguments);
    if (child < 0)
        return 127;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
