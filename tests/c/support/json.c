#include "json.h"

#include <ctype.h>
#include <string.h>

enum { DEPTH = 32 };

static bool value(const char **at, int depth);

static void blanks(const char **at)
{
    while (**at != '\0' && strchr(" \t\r\n", **at) != NULL)
        ++*at;
}

static bool take(const char **at, char wanted)
{
    blanks(at);
    if (**at != wanted)
        return false;
    ++*at;
    return true;
}

static bool string(const char **at)
{
    if (!take(at, '"'))
        return false;
    for (; **at != '"'; ++*at) {
        if ((unsigned char)**at < 0x20)
            return false;
        if (**at == '\\' && strchr("\"\\/bfnrtu", *++*at) == NULL)
            return false;
        if (**at == '\0')
            return false;
    }
    ++*at;
    return true;
}

static bool word(const char **at, const char *wanted)
{
    size_t length = strlen(wanted);

    if (strncmp(*at, wanted, length) != 0)
        return false;
    *at += length;
    return true;
}

static bool number(const char **at)
{
    const char *start = *at;

    *at += **at == '-';
    if (!isdigit((unsigned char)**at))
        return false;
    *at += strspn(*at, "0123456789.eE+-");
    return *at > start;
}

static bool list(const char **at, char close, bool keyed, int depth)
{
    ++*at;
    if (take(at, close))
        return true;
    do {
        if (keyed && !(string(at) && take(at, ':')))
            return false;
        if (!value(at, depth + 1))
            return false;
    } while (take(at, ','));
    return take(at, close);
}

static bool value(const char **at, int depth)
{
    blanks(at);
    if (depth > DEPTH)
        return false;
    switch (**at) {
    case '{': return list(at, '}', true, depth);
    case '[': return list(at, ']', false, depth);
    case '"': return string(at);
    case 't': return word(at, "true");
    case 'f': return word(at, "false");
    case 'n': return word(at, "null");
    default: return number(at);
    }
}

bool json_is_whole(const char *text)
{
    if (!value(&text, 0))
        return false;
    blanks(&text);
    return *text == '\0';
}
