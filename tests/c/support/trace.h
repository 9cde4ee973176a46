/* Kills a process at a chosen step: just before its nth system call of those that change something, or while
 * it waits after the one before. How often it waits, and reads, depends on others; what it does with what it
 * learns does not.
 */
#ifndef TEST_TRACE_H
#define TEST_TRACE_H

#include <stdbool.h>

/* Where to kill. */
struct cut {
    const char *call; /* the name of a system call, counted by itself; NULL: all of them are counted */
    int nth;          /* counted from 1; 0: nowhere, the process comes to its end */
    bool waiting;     /* before the first time that it waits or reads on the way there, if it does */
    int linger_ms;    /* how long the process is held there before it is killed, so that others get on */
};

/* What became of it. */
struct traced {
    bool killed;      /* or it came to its end before, with status 0; with another one the test fails */
    bool waited;      /* it waited or read between the nth call and the one before */
    const char *call; /* that it did not get to make */
};

/* Runs the work in a child process. */
struct traced trace(void (*work)(void *), void *argument, const struct cut *cut);

/* In the work: from here on calls are not counted, or counted again. At first they are. */
void trace_toggle(void);

#endif
