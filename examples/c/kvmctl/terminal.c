#define _GNU_SOURCE
#include "terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "printing.h"

/* One that does nothing but show text is called "dumb"; without a name nothing is known of it. */
static bool takes_sequences(void)
{
    const char *term = getenv("TERM");

    return term != NULL && *term != '\0' && strcmp(term, "dumb") != 0;
}

struct terminal terminal_look(bool plain)
{
    struct terminal terminal = {.boxes = false};
    const char *no_colour = getenv("NO_COLOR");
    bool screen = isatty(STDOUT_FILENO) && !plain;

    /* Only the character set: numbers stay in the C locale. */
    setlocale(LC_CTYPE, "");
    terminal.boxes = screen && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    terminal.colours = screen && takes_sequences() && (no_colour == NULL || *no_colour == '\0');
    terminal.progress = screen && takes_sequences() && isatty(STDERR_FILENO);
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
        fputs(sequences[colour], stdout);
    fputs(text, stdout);
    if (terminal->colours && colour != COLOUR_NONE)
        fputs("\033[0m", stdout);
}

void terminal_clear_line(const struct terminal *terminal)
{
    struct progress *progress = terminal->shown;

    if (progress == NULL || !progress->drawn)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->drawn = false;
}

long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

void progress_begin(struct progress *progress, struct terminal *terminal, const char *text)
{
    *progress = (struct progress){.terminal = terminal, .text = text, .start = now_ms()};
    terminal->shown = progress;
}

/* One column stays free: a line that fills the last one may have wrapped, and cannot be taken back as one. */
static int room(void)
{
    struct winsize size = {.ws_col = 0};

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 79;
    return size.ws_col - 1;
}

void progress_tick(struct progress *progress)
{
    static const char wheel[] = "|/-\\";
    long long passed = now_ms() - progress->start;
    char line[128];

    if (!progress->terminal->progress)
        return;
    snprintf(line, sizeof line, "%c %s %lld.%lld s", wheel[progress->turns % 4], progress->text, passed / 1000,
             passed / 100 % 10);
    fprintf(stderr, "\r%.*s\033[K", room(), line);
    fflush(stderr);
    progress->turns++;
    progress->drawn = true;
}

void progress_end(struct progress *progress)
{
    terminal_clear_line(progress->terminal);
    progress->terminal->shown = NULL;
}
