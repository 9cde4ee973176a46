/* What the terminal can show, and a line while something is waited for. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>

struct progress;

struct terminal {
    bool boxes;    /* the locale's characters include box drawing */
    bool colours;  /* stdout is a terminal that has them, and nobody asked for none */
    bool progress; /* a line on stderr can be drawn again, and is seen by who sees stdout */
    struct progress *shown; /* the line that is waited with; NULL for none */
};

enum colour { COLOUR_NONE, COLOUR_NIC, COLOUR_DISK, COLOUR_PENDING, COLOUR_DIM };

struct terminal terminal_look(bool plain);

/* On stdout, in that colour if there are colours. */
void terminal_print(const struct terminal *terminal, enum colour colour, const char *text);

/* Takes a line that is waited with off the screen, before anything else is written there. The next tick draws it again. */
void terminal_clear_line(const struct terminal *terminal);

/* Milliseconds of a clock that only goes forward. */
long long now_ms(void);

/* What is waited for: a line on stderr that is drawn again and again, where a terminal shows it. Nothing elsewhere. */
struct progress {
    struct terminal *terminal;
    const char *text;
    long long start;
    unsigned turns;
    bool drawn; /* the line is on the screen */
};

void progress_begin(struct progress *progress, struct terminal *terminal, const char *text);
void progress_tick(struct progress *progress);
void progress_end(struct progress *progress);

#endif
