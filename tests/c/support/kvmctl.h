/* Runs kvmctl, and looks at what it says and how it ends. What it said last is in `said`. */
#ifndef TEST_KVMCTL_H
#define TEST_KVMCTL_H

#include <stdbool.h>

#include "example.h"

extern struct said said;

/* With $1 and on for the values (NULL at the end), checks how it ends. */
void ctl(int status, const char *arguments, const char *const values[]);

/* The same with --json: one whole document and nothing else, with these parts in it. */
void json(int status, const char *arguments, const char *const values[], const char *const parts[]);

#define VALUES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* This is part of what it said on stdout; or on stderr, and nothing on stdout. */
void says(const char *part);
void complains(const char *part);

/* The files of the record at $KVMCTL_RUNTIME, to be freed: inodes, sizes, times, contents. */
char *kvmctl_record(void);

/* Runs all commands that only look, those for a guest that runs as well if it does: they change no file, also
 * where something is unfinished. */
void kvmctl_looks(bool runs);

/* The screen that a terminal shows after this: lines are drawn over and erased. Sequences other than "erase
 * the line" and colours end the test. */
void screen_after(const char *output, char *screen, size_t size);

#endif
