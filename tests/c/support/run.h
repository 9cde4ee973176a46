/* Runs another program, without a shell. */
#ifndef TEST_RUN_H
#define TEST_RUN_H

/* Its exit status, 128 + the signal that ended it, or 127 when it cannot be run. Searched in PATH and the
 * sbin folders. */
int run(const char *const arguments[]);

#endif
