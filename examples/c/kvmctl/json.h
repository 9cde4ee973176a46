/* Writes JSON, one document after the other. Members have a key, elements of an array and the document itself NULL. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdio.h>

enum { JSON_DEPTH = 8 };

struct json {
    FILE *to;
    int depth;
    bool begun[JSON_DEPTH]; /* something stands there already */
    char close[JSON_DEPTH];
};

struct json json_begin(FILE *to);
void json_object(struct json *json, const char *key);
void json_array(struct json *json, const char *key);
/* Ends the innermost object or array; the outermost one ends the line. */
void json_end(struct json *json);

/* NULL is null. */
void json_text(struct json *json, const char *key, const char *text);
void json_number(struct json *json, const char *key, long long number);
void json_bool(struct json *json, const char *key, bool value);
/* What is JSON already. */
void json_raw(struct json *json, const char *key, const char *text);

#endif
