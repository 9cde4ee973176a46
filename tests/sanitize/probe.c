/* Does on purpose what the tools are there to find: a tool that lets this pass is not on. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int shared;

static int use_after_free(void)
{
    volatile char *gone = malloc(16);

    free((void *)gone);
    return gone[3];
}

static void leak(void)
{
    void *volatile lost = malloc(64);

    lost = NULL;
}

static void *count(void *unused)
{
    int i;

    for (i = 0; i < 1000; i++)
        (*(volatile int *)&shared)++;
    return unused;
}

static void race(void)
{
    pthread_t threads[2];
    int i;

    for (i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* No fault: whether the tool passes on what the library asks the kernel for. */
static int asks_for_a_process(void)
{
    return syscall(SYS_pidfd_open, getpid(), 0) >= 0 && syscall(SYS_openat2, -1, NULL, NULL, 0) < 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "use-after-free") == 0)
        use_after_free();
    else if (strcmp(what, "leak") == 0)
        leak();
    else if (strcmp(what, "race") == 0)
        race();
    else if (strcmp(what, "system-calls") == 0)
        return asks_for_a_process() ? 0 : 1;
    return 0;
}
