#include "not_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

/* tests/CMakeLists.txt: SKIP_RETURN_CODE. */
enum { SKIPPED = 77 };

/* In one piece: tests beside this one write there too. */
static void append(const char *line)
{
    const char *path = getenv("KVM_HOTPLUG_NOT_RUN");
    int file =
        open(path != NULL && *path != '\0' ? path : TEST_NOT_RUN, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

    if (file < 0 || write(file, line, strlen(line)) != (ssize_t)strlen(line))
        FAIL("cannot write into the list of what was not run: %s", strerror(errno));
    close(file);
}

static void note(const char *part, const char *reason, va_list arguments)
{
    char text[400], line[600], *newline;

    vsnprintf(text, sizeof text, reason, arguments);
    while ((newline = strchr(text, '\n')) != NULL)
        *newline = ' ';
    snprintf(line, sizeof line, "%s%s%.100s: %s\n", test_own_name(), *part == '\0' ? "" : ", ", part, text);
    fprintf(stderr, "NOT RUN %s", line);
    append(line);
}

void test_part_not_run(const char *part, const char *reason, ...)
{
    va_list arguments;

    va_start(arguments, reason);
    note(part, reason, arguments);
    va_end(arguments);
}

void test_not_run(const char *reason, ...)
{
    va_list arguments;

    va_start(arguments, reason);
    note("", reason, arguments);
    va_end(arguments);
    test_ends_unrun();
    exit(SKIPPED);
}
