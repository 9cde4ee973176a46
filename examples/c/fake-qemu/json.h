/* Reads the JSON of commands in place: no tree, nothing to free. */
#ifndef FAKE_JSON_H
#define FAKE_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* Part of a text; `at` is NULL if there is none. */
struct slice {
    const char *at;
    size_t length;
};

/* The value of a member, as it is written. */
struct slice json_member(struct slice object, const char *key);

/* A string as what it says, cut at `size`; empty if it is none. */
void json_text(struct slice value, char *out, size_t size);

/* -1 if it is no whole number of that range. */
long long json_number(struct slice value);

/* The length of the first complete object in these bytes, blanks before it included; 0 if it goes on. */
size_t json_complete(const char *bytes, size_t length);

#endif
