/* What stands behind options, as numbers. Each is false after a complaint (usage.h). */
#ifndef VALUES_H
#define VALUES_H

#include <stdbool.h>
#include <stdint.h>

#include "table.h"

/* What is wrong with the text behind the option of this name. */
bool wrong(const char *what, const char *name, const char *text);

bool parse_number(enum option_id option, const char *text, uint32_t limit, uint32_t *result);

/* Seconds to milliseconds. */
bool parse_timeout(const char *text, uint32_t *result);

bool parse_wwn(const char *text, uint64_t *result);

/* One of the option's words. */
bool parse_word(enum option_id option, const char *text, uint32_t *result);

/* Bytes; 0 for "now". */
bool parse_size(const char *text, uint64_t *result);

#endif
