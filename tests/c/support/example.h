/* Runs the programs of examples/c, which are built beside the tests. */
#ifndef TEST_EXAMPLE_H
#define TEST_EXAMPLE_H

#include <sys/types.h>

/* What a program said, and how it ended. */
struct said {
    int status;
    char out[65536];
    char err[8192];
};

/* Runs `command` in a shell, in which the name of an example stands for the example, and $1 and on for
 * `values` (NULL at the end). What it says is cut at the buffers' ends. */
void example_run(struct said *said, const char *command, const char *const values[]);

/* The same beside the test: two pipes to talk to it. Ends with its input. */
struct talk {
    pid_t pid;
    int in;  /* its input */
    int out; /* its output, non-blocking */
    char said[8192];
};

void example_start(struct talk *talk, const char *command, const char *const values[]);

/* Waits until it has said this since the last call. */
void example_says(struct talk *talk, const char *part, int timeout_ms);

/* Closes its input and waits for its end; its exit status. */
int example_end(struct talk *talk);

#endif
