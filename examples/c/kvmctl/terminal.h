/* What the terminal can show, and progress while something is waited for. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>

struct terminal {
    bool boxes;    /* the locale's characters include box drawing */
    bool colours;  /* stdout is a terminal, and nobody asked for none */
    bool progress; /* stderr is a terminal: a line there can be drawn again */
};

enum colour { COLOUR_NONE, COLOUR_NIC, COLOUR_DISK, COLOUR_PENDING, COLOUR_DIM };

struct terminal terminal_look(bool plain);

/* On stdout, in that colour if there are colours. */
void terminal_print(const struct terminal *terminal, enum colour colour, const char *text);

/* Milliseconds of a clock that only goes forward. */
long long now_ms(void);

/* A spinner on a terminal; elsewhere one line with a dot a second. Both on stderr, so that stdout has only results. */
struct progress {
    const struct terminal *terminal;
    const char *text;
    long long start;
    unsigned drawn;
};

struct progress progress_begin(const struct terminal *terminal, const char *text);
void progress_tick(struct progress *progress);
void progress_end(struct progress *progress);

#endif
