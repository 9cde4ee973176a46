/* Whether a text is JSON. */
#ifndef TEST_JSON_H
#define TEST_JSON_H

#include <stdbool.h>

/* One document with nothing but white space around it. */
bool json_is_whole(const char *text);

#endif
