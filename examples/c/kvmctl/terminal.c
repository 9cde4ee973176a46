#define _GNU_SOURCE
#include "terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct terminal terminal_look(bool plain)
{
    struct terminal terminal = {.boxes = false};
    const char *no_colour = getenv("NO_COLOR");
    bool screen = isatty(STDOUT_FILENO) && !plain;

    /* Only the character set: numbers stay in the C locale. */
    setlocale(LC_CTYPE, "");
    terminal.boxes = screen && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    terminal.colours = screen && (no_colour == NULL || *no_colour == '\0');
    terminal.progress = isatty(STDERR_FILENO) && !plain;
    return terminal;
}

void terminal_print(const struct terminal *terminal, enum colour colour, const char *text)
{
    static const char *const sequences[] = {
        [COLOUR_NIC] = "\033[1;32m",
        [COLOUR_DISK] = "\033[1;36m",
        [COLOUR_PENDING] = "\033[1;33m",
        [COLOUR_DIM] = "\033[2m",
    };

    if (terminal->colours && colour != COLOUR_NONE)
        printf("%s%s\033[0m", sequences[colour], text);
    else
        fputs(text, stdout);
}

long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

struct progress progress_begin(const struct terminal *terminal, const char *text)
{
    return (struct progress){.terminal = terminal, .text = text, .start = now_ms()};
}

void progress_tick(struct progress *progress)
{
    static const char wheel[] = "|/-\\";
    long long passed = now_ms() - progress->start;

    if (progress->terminal->progress) {
        fprintf(stderr, "\r%c %s %lld.%lld s", wheel[progress->drawn % 4], progress->text, passed / 1000,
                passed / 100 % 10);
        progress->drawn++;
    } else if (passed / 1000 >= progress->drawn) {
        fprintf(stderr, progress->drawn == 0 ? "%s " : ".", progress->text);
        progress->drawn++;
    }
    fflush(stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->drawn > 0)
        fputs(progress->terminal->progress ? "\r\033[K" : "\n", stderr);
    progress->drawn = 0;
}
