#include "plain.h"

#include <stdarg.h>
#include <string.h>

size_t plain_next(const char *text, uint32_t *character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    size_t length, i;

    *character = at[0];
    if (at[0] < 0x80)
        return at[0] != '\0';
    length = at[0] >= 0xf0 && at[0] < 0xf8 ? 4 : at[0] >= 0xe0 && at[0] < 0xf0 ? 3 : at[0] >= 0xc0 && at[0] < 0xe0 ? 2 : 0;
    *character = length > 0 ? at[0] & (0x7fu >> length) : 0;
    for (i = 1; i < length && (at[i] & 0xc0) == 0x80; i++)
        *character = *character << 6 | (at[i] & 0x3f);
    if (length == 0 || i < length || *character < smallest[length] || *character > 0x10ffff ||
        (*character >= 0xd800 && *character < 0xe000)) {
        *character = UINT32_MAX;
        return 1;
    }
    return length;
}

int plain_is(uint32_t character)
{
    static const struct {
        uint32_t first, last;
    } others[] = {
        {0, 0x1f},         {0x7f, 0x9f},     {0x61c, 0x61c},   {0x200e, 0x200f},       {0x2028, 0x202e},
        {0x2066, 0x206f},  {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {UINT32_MAX, UINT32_MAX},
    };
    size_t i;

    for (i = 0; i < sizeof others / sizeof *others; i++)
        if (character >= others[i].first && character <= others[i].last)
            return 0;
    return 1;
}

/* Up to most bytes of text; how many bytes were written. Nothing is if to is NULL. */
static int put(FILE *to, const char *text, size_t most)
{
    uint32_t character;
    size_t length;
    int written = 0;

    for (; (length = plain_next(text, &character)) > 0 && length <= most; text += length, most -= length) {
        char escape[16];
        int size = (int)length;

        if (plain_is(character)) {
            if (to != NULL)
                fwrite(text, 1, length, to);
        } else {
            if (character == UINT32_MAX)
                size = snprintf(escape, sizeof escape, "\\x%02x", (unsigned)(unsigned char)*text);
            else
                size = snprintf(escape, sizeof escape, "\\u%04x", (unsigned)character);
            if (to != NULL)
                fputs(escape, to);
        }
        written += size;
    }
    return written;
}

static int pad(FILE *to, int count)
{
    int i;

    for (i = 0; i < count; i++)
        fputc(' ', to);
    return count > 0 ? count : 0;
}

/* What stands between % and the letter of a conversion. */
struct spec {
    char text[32]; /* from the %, without the letter and the size */
    int left, width, precision; /* precision: -1 for none */
    int longs;     /* how many l; 3 for z */
};

static const char *read_spec(struct spec *spec, const char *at, va_list *values)
{
    size_t length = 0;
    int *number = &spec->width;

    *spec = (struct spec){.precision = -1};
    for (;; at++) {
        if (*at == '-') {
            spec->left = 1;
        } else if (*at == '.') {
            number = &spec->precision;
            *number = 0;
        } else if (*at == '*') {
            *number = va_arg(*values, int);
            length += (size_t)snprintf(spec->text + length, sizeof spec->text - length, "%d", *number);
            continue;
        } else if (*at >= '0' && *at <= '9') {
            *number = *number * 10 + (*at - '0');
        } else {
            break;
        }
        if (length + 12 < sizeof spec->text)
            spec->text[length++] = *at;
    }
    spec->text[length] = '\0';
    for (; *at == 'l' || *at == 'z'; at++)
        spec->longs += *at == 'z' ? 3 : 1;
    return at;
}

static int put_string(FILE *to, const struct spec *spec, const char *text)
{
    size_t most = spec->precision >= 0 ? (size_t)spec->precision : SIZE_MAX;
    int left = spec->left || spec->width < 0;
    int gap = (spec->width < 0 ? -spec->width : spec->width) - put(NULL, text, most);
    int written = left ? 0 : pad(to, gap);

    written += put(to, text, most);
    return written + (left ? pad(to, gap) : 0);
}

static int put_number(FILE *to, const struct spec *spec, char letter, va_list *values)
{
    char format[48];

    snprintf(format, sizeof format, "%%%sll%c", spec->text, letter);
    if (letter == 'd' || letter == 'i') {
        long long value = spec->longs == 0   ? va_arg(*values, int)
                          : spec->longs == 1 ? va_arg(*values, long)
                          : spec->longs == 2 ? va_arg(*values, long long)
                                             : (long long)va_arg(*values, size_t);
        return fprintf(to, format, value);
    } else {
        unsigned long long value = spec->longs == 0   ? va_arg(*values, unsigned)
                                   : spec->longs == 1 ? va_arg(*values, unsigned long)
                                   : spec->longs == 2 ? va_arg(*values, unsigned long long)
                                                      : va_arg(*values, size_t);
        return fprintf(to, format, value);
    }
}

static int print(FILE *to, const char *format, va_list *values)
{
    struct spec spec;
    int written = 0;

    for (; *format != '\0'; format++) {
        if (*format != '%') {
            fputc(*format, to);
            written++;
            continue;
        }
        format = read_spec(&spec, format + 1, values);
        if (*format == '\0')
            break;
        if (*format == 's')
            written += put_string(to, &spec, va_arg(*values, const char *));
        else if (*format == 'c')
            written += put_string(to, &spec, (char[2]){(char)va_arg(*values, int)});
        else if (*format == '%')
            written += fputc('%', to) == '%';
        else
            written += put_number(to, &spec, *format, values);
    }
    return written;
}

int plain_fprintf(FILE *to, const char *format, ...)
{
    va_list values;
    int written;

    va_start(values, format);
    written = print(to, format, &values);
    va_end(values);
    return written;
}

int plain_printf(const char *format, ...)
{
    va_list values;
    int written;

    va_start(values, format);
    written = print(stdout, format, &values);
    va_end(values);
    return written;
}

int plain_puts(const char *text)
{
    put(stdout, text, SIZE_MAX);
    return fputc('\n', stdout);
}

void plain_lines(FILE *to, const char *text)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");

        put(to, text, length);
        fputc('\n', to);
        text += length + (text[length] == '\n');
    }
}
