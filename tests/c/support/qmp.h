/* A small QMP client with which a test looks at QEMU independently of the library it tests.
 *
 * Texts that are returned belong to the client and last until the next call of the same function on it.
 * A command without an answer, or a monitor that closes, ends the test.
 */
#ifndef TEST_QMP_H
#define TEST_QMP_H

#include <stdbool.h>
#include <sys/types.h>

struct monitor;

/* Connects and negotiates; NULL when the socket does not come up or its server dies. */
struct monitor *monitor_open(const char *path, pid_t server, int timeout_ms);
void monitor_close(struct monitor *monitor);

/* Sends one command as JSON text, returns the line that answers it. Events on the way are kept for
 * monitor_event(). */
const char *monitor_command(struct monitor *monitor, const char *json);

/* The first event, past or coming, of this name whose line has `part` (NULL: anything) in it; NULL when none
 * came in time. An event is found once; those in front of it stay. */
const char *monitor_event(struct monitor *monitor, const char *name, const char *part, int timeout_ms);

/* Forgets the events so far. */
void monitor_forget_events(struct monitor *monitor);

/* Whether `part` is in `line`, blanks outside strings aside: QEMU's versions space their JSON as they
 * like. */
bool json_contains(const char *line, const char *part);

#endif
