#include "json.h"

#include "plain.h"

struct json json_begin(FILE *to)
{
    return (struct json){.to = to};
}

static void put_text(FILE *to, const char *text)
{
    uint32_t character;
    size_t length;

    fputc('"', to);
    for (; (length = plain_next(text, &character)) > 0; text += length) {
        if (character == '"' || character == '\\')
            fprintf(to, "\\%c", (int)character);
        else if (character == UINT32_MAX)
            fputs("\\ufffd", to);
        else if (!plain_is(character))
            fprintf(to, "\\u%04x", (unsigned)character);
        else
            fwrite(text, 1, length, to);
    }
    fputc('"', to);
}

static void key(struct json *json, const char *name)
{
    if (json->begun[json->depth])
        fputc(',', json->to);
    json->begun[json->depth] = true;
    if (name != NULL) {
        put_text(json->to, name);
        fputc(':', json->to);
    }
}

static void open_level(struct json *json, const char *name, char open, char close)
{
    key(json, name);
    fputc(open, json->to);
    json->depth++;
    json->begun[json->depth] = false;
    json->close[json->depth] = close;
}

void json_object(struct json *json, const char *name)
{
    open_level(json, name, '{', '}');
}

void json_array(struct json *json, const char *name)
{
    open_level(json, name, '[', ']');
}

void json_end(struct json *json)
{
    fputc(json->close[json->depth], json->to);
    json->depth--;
    if (json->depth == 0) {
        json->begun[0] = false;
        fputc('\n', json->to);
    }
}

void json_text(struct json *json, const char *name, const char *text)
{
    key(json, name);
    if (text == NULL)
        fputs("null", json->to);
    else
        put_text(json->to, text);
}

void json_number(struct json *json, const char *name, long long number)
{
    key(json, name);
    fprintf(json->to, "%lld", number);
}

void json_bool(struct json *json, const char *name, bool value)
{
    key(json, name);
    fputs(value ? "true" : "false", json->to);
}

void json_raw(struct json *json, const char *name, const char *text)
{
    key(json, name);
    fputs(text, json->to);
}
