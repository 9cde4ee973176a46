#include "qmp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "stream.h"

enum { ANSWER_MS = 30000, MAX_EVENTS = 1024 };

struct monitor {
    struct stream stream;
    char *answer;
    char *event;
    char *kept[MAX_EVENTS];
    int count;
};

/* A copy without the blanks between tokens. */
static char *tightened(const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    char *to = copy;
    bool quoted = false;

    if (copy == NULL)
        FAIL("out of memory");
    for (; *text != '\0'; text++) {
        if (*text == '"')
            quoted = !quoted;
        if (!quoted && (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n'))
            continue;
        *to++ = *text;
        if (quoted && *text == '\\' && text[1] != '\0')
            *to++ = *++text;
    }
    *to = '\0';
    return copy;
}

bool json_contains(const char *line, const char *part)
{
    char *tight_line = tightened(line);
    char *tight_part = tightened(part);
    bool found = strstr(tight_line, tight_part) != NULL;

    free(tight_line);
    free(tight_part);
    return found;
}

/* Takes one complete line out of the stream; NULL until there is one. */
static char *next_line(struct monitor *monitor)
{
    struct stream *stream = &monitor->stream;
    char *newline = stream->length > 0 ? memchr(stream->data, '\n', stream->length) : NULL;
    char *line;

    if (newline == NULL)
        return NULL;
    line = strndup(stream->data, (size_t)(newline - stream->data));
    if (line == NULL)
        FAIL("out of memory");
    stream_consume(stream, (size_t)(newline - stream->data) + 1);
    return line;
}

static bool is_answer(const char *line)
{
    return json_contains(line, "{\"return\":") || json_contains(line, "{\"error\":");
}

/* An answer's payload may well contain the word, an event's line always has a time. */
static bool is_event(const char *line)
{
    return json_contains(line, "\"event\":") && json_contains(line, "\"timestamp\":");
}

static void keep_event(struct monitor *monitor, char *line)
{
    if (monitor->count == MAX_EVENTS)
        FAIL("more than %d events nobody waited for", MAX_EVENTS);
    monitor->kept[monitor->count++] = line;
}

/* The next line that is not an event; NULL when it does not come. */
static char *next_answer(struct monitor *monitor, long long end)
{
    char *line;

    for (;;) {
        while ((line = next_line(monitor)) != NULL) {
            if (!is_event(line))
                return line;
            keep_event(monitor, line);
        }
        if (!stream_read(&monitor->stream, end))
            return NULL;
    }
}

struct monitor *monitor_open(const char *path, pid_t server, int timeout_ms)
{
    struct monitor *monitor = calloc(1, sizeof *monitor);

    if (monitor == NULL)
        FAIL("out of memory");
    if (!stream_connect(&monitor->stream, path, server, timeout_ms)) {
        free(monitor);
        return NULL;
    }
    monitor->answer = next_answer(monitor, now_ms() + timeout_ms);
    if (monitor->answer == NULL || !json_contains(monitor->answer, "{\"QMP\":")) {
        monitor_close(monitor);
        return NULL;
    }
    monitor_command(monitor, "{\"execute\":\"qmp_capabilities\"}");
    return monitor;
}

void monitor_forget_events(struct monitor *monitor)
{
    while (monitor->count > 0)
        free(monitor->kept[--monitor->count]);
}

void monitor_close(struct monitor *monitor)
{
    if (monitor == NULL)
        return;
    monitor_forget_events(monitor);
    stream_close(&monitor->stream);
    free(monitor->answer);
    free(monitor->event);
    free(monitor);
}

const char *monitor_command(struct monitor *monitor, const char *json)
{
    char *line;
    int length = asprintf(&line, "%s\n", json);

    if (length < 0)
        FAIL("out of memory");
    /* In one piece: QEMU may be gone after "quit" before a second one. */
    stream_write(&monitor->stream, line, (size_t)length);
    free(line);
    free(monitor->answer);
    monitor->answer = next_answer(monitor, now_ms() + test_patience(ANSWER_MS));
    if (monitor->answer == NULL)
        FAIL("no answer to %s: %s", json, errno == 0 ? "QEMU closed its monitor" : "QEMU hangs");
    if (!is_answer(monitor->answer))
        FAIL("not an answer to %s: %s", json, monitor->answer);
    return monitor->answer;
}

/* Takes the first event that fits out of those kept. */
static char *take_event(struct monitor *monitor, const char *name, const char *part)
{
    char wanted[128];
    int i;

    snprintf(wanted, sizeof wanted, "\"event\":\"%s\"", name);
    for (i = 0; i < monitor->count; i++) {
        char *line = monitor->kept[i];
        if (json_contains(line, wanted) && (part == NULL || json_contains(line, part))) {
            memmove(&monitor->kept[i], &monitor->kept[i + 1], (size_t)(monitor->count - i - 1) * sizeof *monitor->kept);
            monitor->count--;
            return line;
        }
    }
    return NULL;
}

const char *monitor_event(struct monitor *monitor, const char *name, const char *part, int timeout_ms)
{
    long long end = now_ms() + timeout_ms;
    char *line;

    free(monitor->event);
    monitor->event = NULL;
    for (;;) {
        while ((line = next_line(monitor)) != NULL)
            keep_event(monitor, line);
        monitor->event = take_event(monitor, name, part);
        if (monitor->event != NULL || !stream_read(&monitor->stream, end))
            return monitor->event;
    }
}
