#include "usage.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "table.h"

enum { LONGEST_WORD = 32, MOST_MEANT = 4 };

static char kept[512];

bool complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(kept, sizeof kept, format, arguments);
    va_end(arguments);
    return false;
}

const char *complaint(void)
{
    return kept;
}

static int least(int a, int b, int c)
{
    int smaller = a < b ? a : b;

    return smaller < c ? smaller : c;
}

/* How many letters have to be put in, left out, replaced, or swapped with the next one to come from one word to the other. */
static int distance(const char *from, const char *to)
{
    int rows[LONGEST_WORD + 1][LONGEST_WORD + 1];
    int height = (int)strlen(from), width = (int)strlen(to), i, j;

    if (height > LONGEST_WORD || width > LONGEST_WORD)
        return LONGEST_WORD;
    for (i = 0; i <= height; i++)
        rows[i][0] = i;
    for (j = 0; j <= width; j++)
        rows[0][j] = j;
    for (i = 1; i <= height; i++) {
        for (j = 1; j <= width; j++) {
            rows[i][j] = least(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (from[i - 1] != to[j - 1]));
            if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] && rows[i - 2][j - 2] + 1 < rows[i][j])
                rows[i][j] = rows[i - 2][j - 2] + 1;
        }
    }
    return rows[height][width];
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* A slip of the fingers, or a word that is not whole ("add") or too long ("delete"). */
static bool may_mean(const char *word, const char *name)
{
    size_t length = strlen(word);

    if (length >= 2 && (begins_with(name, word) || begins_with(word, name)))
        return true;
    return distance(word, name) <= (length > 4 ? 2 : 1);
}

/* The names that may have been meant, in a text that follows a complaint. */
struct meant {
    char text[192];
    int count;
};

static void add_meant(struct meant *meant, const char *dashes, const char *name)
{
    size_t length = strlen(meant->text);

    if (meant->count < MOST_MEANT)
        snprintf(meant->text + length, sizeof meant->text - length, "%s%s%s",
                 meant->count == 0 ? "; did you mean " : " or ", dashes, name);
    meant->count++;
}

/* So many of them are of no help. */
static void end_meant(struct meant *meant)
{
    size_t length = strlen(meant->text);

    if (meant->count == 0 || meant->count > MOST_MEANT)
        snprintf(meant->text, sizeof meant->text, "; see");
    else
        snprintf(meant->text + length, sizeof meant->text - length, "? See");
}

bool complain_no_command(const char *word)
{
    struct meant meant = {.count = 0};
    int i;

    for (i = 0; i < COMMANDS; i++)
        if (may_mean(word, command_table[i].name))
            add_meant(&meant, "", command_table[i].name);
    end_meant(&meant);
    return complain("there is no command \"%s\"%s kvmctl --help", word, meant.text);
}

bool complain_no_option(const char *word, const char *command)
{
    const char *name = begins_with(word, "--") ? word + 2 : word;
    const char *hint = "";
    struct meant meant = {.count = 0};
    int i;

    for (i = 0; i < OPTIONS; i++)
        if (may_mean(name, option_table[i].name))
            add_meant(&meant, "--", option_table[i].name);
    end_meant(&meant);
    if (command != NULL && strcmp(command, command_table[COMMAND_INIT].name) == 0)
        hint = " (QEMU's own command line stands behind \"--\")";
    return complain("there is no option %s%s%s %s", word, hint, meant.text, help_hint(command).text);
}

struct help_hint help_hint(const char *command)
{
    struct help_hint hint = {"kvmctl --help"};
    int i;

    for (i = 0; command != NULL && i < COMMANDS; i++)
        if (strcmp(command_table[i].name, command) == 0)
            snprintf(hint.text, sizeof hint.text, "kvmctl %s --help", command);
    return hint;
}
