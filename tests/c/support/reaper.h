/* A process beside the test that cleans up after it, however it ends: passed, failed, crashed, killed or
 * stuck.
 *
 * It watches the test by pidfd, so even SIGKILL (ctest's own time limit) leaves nothing behind, and the test
 * needs no signal handlers, which the library under test must be free to find untouched. When the test did
 * not pass it prints the ends of the logs in the registered directories before it removes them.
 */
#ifndef TEST_JANITOR_H
#define TEST_JANITOR_H

#include <sys/types.h>

/* test_begin(), test_end() and the way out of the process call these. */
void reaper_start(const char *name, int seconds);
void reaper_test_passed(void);
void reaper_stop(void);

/* To be called before the thing is made; what is not there later is no error. Logs are files named *.log. */
void reaper_owns_directory(const char *path);
void reaper_owns_link(const char *interface);
void reaper_owns_module(const char *module);

/* To be called by the parent of the process, before it waits for it. */
void reaper_owns_process(pid_t process);

#endif
