#include "kvmctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "json.h"
#include "qmp.h"

struct said said;

void ctl(int status, const char *arguments, const char *const values[])
{
    char command[512];

    snprintf(command, sizeof command, "kvmctl %s", arguments);
    example_run(&said, command, values);
    if (said.status != status)
        FAIL("kvmctl %s ended with %d, not %d:\n%s%s", arguments, said.status, status, said.out, said.err);
    test_count_check();
}

void json(int status, const char *arguments, const char *const values[], const char *const parts[])
{
    char all[480];

    snprintf(all, sizeof all, "--json %s", arguments);
    ctl(status, all, values);
    if (!json_is_whole(said.out))
        FAIL("kvmctl %s says what is not JSON:\n%s", all, said.out);
    for (; *parts != NULL; parts++)
        if (strstr(said.out, *parts) == NULL && !json_contains(said.out, *parts))
            FAIL("kvmctl %s lacks %s:\n%s", all, *parts, said.out);
    CHECK_TEXT(said.err, "");
}

void says(const char *part)
{
    if (strstr(said.out, part) == NULL)
        FAIL("\"%s\" is not in:\n%s", part, said.out);
    test_count_check();
}

void complains(const char *part)
{
    if (strstr(said.err, part) == NULL)
        FAIL("\"%s\" is not in:\n%s", part, said.err);
    CHECK_TEXT(said.out, "");
}

/* What is left of a sequence of this kind, behind it; NULL if it is none. */
static const char *behind_sequence(const char *at, char last)
{
    if (strncmp(at, "\033[", 2) != 0)
        return NULL;
    at += 2 + strspn(at + 2, "0123456789;");
    return *at == last ? at + 1 : NULL;
}

void screen_after(const char *output, char *screen, size_t size)
{
    size_t start = 0, column = 0, end = 0; /* of the line in which the cursor is */
    const char *rest, *at = output;

    while (*at != '\0') {
        if ((rest = behind_sequence(at, 'm')) != NULL) {
            at = rest;
        } else if ((rest = behind_sequence(at, 'K')) != NULL) {
            at = rest;
            end = start + column;
        } else if (*at == '\033') {
            FAIL("a sequence that is neither a colour nor an erased line: %s", at);
        } else {
            CHECK(end + 2 < size);
            if (*at == '\n') {
                screen[end++] = '\n';
                start = end;
            } else if (*at != '\r') {
                screen[start + column++] = *at;
                if (start + column > end)
                    end = start + column;
            }
            if (*at == '\n' || *at == '\r')
                column = 0;
            at++;
        }
    }
    screen[end] = '\0';
}

char *kvmctl_record(void)
{
    example_run(
        &said,
        "cd $(dirname $KVMCTL_RUNTIME) && for file in $(find . -maxdepth 1 -type f -name \"$(basename $KVMCTL_RUNTIME)*\"); "
        "do ls -li --full-time $file && cat $file || exit 1; done",
        NULL);
    CHECK(said.status == 0 && said.out[0] != '\0');
    return strdup(said.out);
}

static void look(const char *command)
{
    example_run(&said, command, NULL);
    if (said.status != 0 && said.status != 5 && strstr(said.err, "the record has no command") == NULL &&
        strstr(said.err, "no free slot") == NULL)
        FAIL("%s ended with %d:\n%s%s", command, said.status, said.out, said.err);
}

void kvmctl_looks(bool runs)
{
    static const char *const always[] = {"boot --print", "check", "plan boot", "boot --print --incoming defer"};
    static const char *const running[] = {"list", "map", "verify", "plan add-nic", "plan del disk1"};
    char *before = kvmctl_record(), *after, command[160];
    size_t i;

    for (i = 0; i < sizeof always / sizeof *always; i++) {
        snprintf(command, sizeof command, "kvmctl %s", always[i]);
        look(command);
        snprintf(command, sizeof command, "env -u KVMCTL_SOCKET kvmctl %s", always[i]);
        look(command);
    }
    for (i = 0; runs && i < sizeof running / sizeof *running; i++) {
        snprintf(command, sizeof command, "kvmctl %s", running[i]);
        look(command);
    }
    after = kvmctl_record();
    CHECK_TEXT(after, before);
    free(before);
    free(after);
}
