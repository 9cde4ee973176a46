#include "arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

void arguments_add(struct arguments *arguments, const char *format, ...)
{
    va_list values;
    int length;

    if (arguments->count == MAX_ARGUMENTS)
        FAIL("more than %d arguments", MAX_ARGUMENTS);
    va_start(values, format);
    length = vasprintf(&arguments->list[arguments->count], format, values);
    va_end(values);
    if (length < 0)
        FAIL("out of memory");
    arguments->list[++arguments->count] = NULL;
}

void arguments_free(struct arguments *arguments)
{
    while (arguments->count > 0)
        free(arguments->list[--arguments->count]);
}
