#include "json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && isspace((unsigned char)*at))
        at++;
    return at;
}

/* Behind the closing quote. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at < end ? at + 1 : end;
}

static const char *skip_value(const char *at, const char *end)
{
    int depth = 0;

    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
        } else if (depth == 0 && (*at == ',' || *at == '}' || *at == ']')) {
            return at;
        } else {
            depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
            at++;
        }
        if (depth == 0 && at < end && (at[-1] == '"' || at[-1] == '}' || at[-1] == ']'))
            return at;
    }
    return end;
}

struct slice json_member(struct slice object, const char *key)
{
    struct slice none = {NULL, 0};
    const char *at = object.at, *end;
    size_t length = strlen(key);

    if (at == NULL)
        return none;
    end = at + object.length;
    at = skip_blanks(at, end);
    if (at == end || *at != '{')
        return none;
    for (at = skip_blanks(at + 1, end); at < end && *at == '"'; at = skip_blanks(at, end)) {
        const char *name = at + 1, *value;
        bool found;

        at = skip_string(at, end);
        found = (size_t)(at - 1 - name) == length && memcmp(name, key, length) == 0;
        at = skip_blanks(at, end);
        if (at == end || *at != ':')
            break;
        value = skip_blanks(at + 1, end);
        at = skip_value(value, end);
        if (found)
            return (struct slice){value, (size_t)(at - value)};
        at = skip_blanks(at, end);
        if (at < end && *at == ',')
            at++;
    }
    return none;
}

static char unescaped(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    default:
        return c;
    }
}

void json_text(struct slice value, char *out, size_t size)
{
    size_t used = 0, i;

    if (value.at != NULL && value.length >= 2 && value.at[0] == '"') {
        for (i = 1; i + 1 < value.length && used + 1 < size; i++) {
            bool escape = value.at[i] == '\\' && i + 2 < value.length;

            i += escape;
            out[used++] = escape ? unescaped(value.at[i]) : value.at[i];
        }
    }
    out[used] = '\0';
}

long long json_number(struct slice value)
{
    char text[24];
    char *end = NULL;
    long long number;

    if (value.at == NULL || value.length == 0 || value.length >= sizeof text)
        return -1;
    memcpy(text, value.at, value.length);
    text[value.length] = '\0';
    number = strtoll(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *skip_blanks(end, text + value.length) == '\0' ? number : -1;
}

size_t json_complete(const char *bytes, size_t length)
{
    const char *at = bytes, *end = bytes + length;
    int depth = 0;

    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
            continue;
        }
        depth += (*at == '{') - (*at == '}');
        at++;
        if (depth == 0 && at[-1] == '}')
            return (size_t)(at - bytes);
    }
    return 0;
}
