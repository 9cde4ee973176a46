/* Text that somebody else chose, for a terminal: names of QEMU's, ids and paths of a record, messages that quote them. A control
 * character is a command there, and an override of the writing direction makes a line read as another one, so both are written
 * as \u001b. */
#ifndef PLAIN_H
#define PLAIN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The character at text, and how many bytes it has; 0 bytes at the end. What is no UTF-8 is one byte, and UINT32_MAX. */
size_t plain_next(const char *text, uint32_t *character);

/* Whether it stands for itself. */
int plain_is(uint32_t character);

/* As fprintf(), printf() and puts() do, but that strings (%s, and the text) are made plain; the format is not. Of conversions
 * they know %c, %d, %u, %x and %s, with widths, precisions, and the sizes l, ll and z. */
int plain_fprintf(FILE *to, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));
int plain_printf(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
int plain_puts(const char *text);

/* Lines of text, each plain, with a line feed behind the last. */
void plain_lines(FILE *to, const char *text);

#endif
