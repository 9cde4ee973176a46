#include "values.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usage.h"

enum { MAX_TIMEOUT_SECONDS = 86400 };

bool wrong(const char *what, const char *name, const char *text)
{
    return complain("--%s %s: %s", name, text, what);
}

bool parse_number(enum option_id option, const char *text, uint32_t limit, uint32_t *result)
{
    char what[64];
    char *end = NULL;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > limit) {
        snprintf(what, sizeof what, "not a number from 0 to %u", limit);
        return wrong(what, option_table[option].name, text);
    }
    *result = (uint32_t)value;
    return true;
}

bool parse_timeout(const char *text, uint32_t *result)
{
    if (!parse_number(OPTION_TIMEOUT, text, MAX_TIMEOUT_SECONDS, result))
        return false;
    *result *= 1000;
    return true;
}

bool parse_wwn(const char *text, uint64_t *result)
{
    char *end = NULL;

    errno = 0;
    *result = strtoull(text, &end, 0);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0)
        return wrong("not a number of 64 bits", "wwn", text);
    return true;
}

/* The words stand in the order of the library's numbers. */
bool parse_word(enum option_id option, const char *text, uint32_t *result)
{
    char what[96];
    int number = word_number(option_table[option].words, text);

    if (number < 0) {
        snprintf(what, sizeof what, "not one of: %s", option_table[option].words);
        return wrong(what, option_table[option].name, text);
    }
    *result = (uint32_t)number;
    return true;
}

bool parse_size(const char *text, uint64_t *result)
{
    static const char units[] = "KMGT";
    unsigned long long value;
    ptrdiff_t steps;
    const char *unit;
    char *end = NULL;

    if (strcmp(text, "now") == 0) {
        *result = 0;
        return true;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    unit = *end != '\0' ? strchr(units, *end) : NULL;
    if (*text < '0' || *text > '9' || errno != 0 || value == 0 || (*end != '\0' && (unit == NULL || end[1] != '\0')))
        return complain("resize: %s is no size; it is a number of bytes, one with K, M, G or T, or \"now\"", text);
    for (steps = unit != NULL ? unit - units + 1 : 0; steps > 0; steps--) {
        if (value > UINT64_MAX / 1024)
            return complain("resize: %s is too large", text);
        value *= 1024;
    }
    *result = value;
    return true;
}
