#include "help.h"

#include <stdio.h>
#include <string.h>

#include <kvm_hotplug.h>

enum { WIDTH = 78 };

#define COMMON \
    (OPTION_BIT(OPTION_RUNTIME) | OPTION_BIT(OPTION_SOCKET) | OPTION_BIT(OPTION_TIMEOUT) | OPTION_BIT(OPTION_JSON) | \
     OPTION_BIT(OPTION_PLAIN) | OPTION_BIT(OPTION_VERBOSE) | OPTION_BIT(OPTION_HELP))

static const char intro[] = "Plugs network cards and disks into a running QEMU guest, changes them, and takes them out again.";

/* Words, broken between them, with `indent` blanks before each line but the first. */
static void print_wrapped(const char *text, int column, int indent)
{
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");

        if (column > indent && column + 1 + length > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", length, text);
        column += length;
        text += length + (text[length] == ' ');
    }
    putchar('\n');
}

static void print_option(int option)
{
    const struct option_info *info = &option_table[option];
    int column = printf("  --%s%s%s", info->name, info->argument != NULL ? " " : "",
                        info->argument != NULL ? info->argument : "");

    printf("%*s", column < 24 ? 24 - column : 1, "");
    print_wrapped(info->what, column < 24 ? 24 : column + 1, 24);
    if (info->words[0] != '\0' && info->words[0] != '@') {
        printf("%*s", 24, "");
        print_wrapped(info->words, 24, 24);
    }
}

static void print_options(uint64_t set)
{
    int i;

    for (i = 0; i < OPTIONS; i++)
        if (set & OPTION_BIT(i))
            print_option(i);
}

static void print_usage(const struct command_info *command)
{
    int i;

    printf("usage: kvmctl %s", command->name);
    for (i = 0; i < OPTIONS; i++)
        if (command->required & OPTION_BIT(i))
            printf(" --%s %s", option_table[i].name, option_table[i].argument);
    printf(" [OPTION...]%s%s\n", command->operands[0] != '\0' ? " " : "", command->operands);
}

void help_print_command(enum command command)
{
    const struct command_info *info = &command_table[command];

    print_usage(info);
    printf("\nTo %s.\n", info->what);
    if (info->more[0] != '\0')
        print_wrapped(info->more, 0, 0);
    if (info->allowed & ~COMMON) {
        puts("\noptions");
        print_options(info->allowed & ~COMMON);
    }
    puts("\ncommon options");
    print_options(info->allowed & COMMON);
}

void help_print(void)
{
    int i;

    puts(intro);
    puts("\nusage: kvmctl --runtime FILE --socket QMP COMMAND [OPTION...] [ARGUMENT...]\n\ncommands");
    for (i = 0; i < COMMANDS; i++) {
        const struct command_info *command = &command_table[i];
        int column = printf("  %s%s%s", command->name, command->operands[0] != '\0' ? " " : "", command->operands);

        if (column > 30) {
            putchar('\n');
            column = 0;
        }
        printf("%*s", 31 - column, "");
        print_wrapped(command->what, 31, 31);
    }
    puts("\nkvmctl COMMAND --help says more about each of them.\n\noptions");
    print_options(COMMON | OPTION_BIT(OPTION_VERSION));
    puts("\nkvmctl completion bash, zsh or fish prints the completion for that shell.\n\nexit status");
    for (i = 0; i < exit_count; i++)
        printf("  %d  %s\n", exit_table[i].status, exit_table[i].what);
}

/* roff takes a hyphen for a dash, and a dot or quote at the start of a line for a request. */
static void print_roff(const char *text)
{
    const char *c;

    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (c = text; *c != '\0'; c++) {
        if (*c == '-')
            fputs("\\-", stdout);
        else if (*c == '\\')
            fputs("\\e", stdout);
        else
            putchar(*c);
    }
}

static void print_roff_option(int option)
{
    const struct option_info *info = &option_table[option];

    fputs(".TP\n.B ", stdout);
    print_roff("--");
    print_roff(info->name);
    if (info->argument != NULL)
        printf(" \\fI%s\\fR", info->argument);
    putchar('\n');
    print_roff(info->what);
    if (info->words[0] != '\0' && info->words[0] != '@') {
        fputs(": ", stdout);
        print_roff(info->words);
    }
    putchar('\n');
}

static void print_roff_options(uint64_t set)
{
    int i;

    for (i = 0; i < OPTIONS; i++)
        if (set & OPTION_BIT(i))
            print_roff_option(i);
}

void help_print_manual(void)
{
    int i;

    printf(".TH KVMCTL 1 \"\" \"kvm\\-hotplug %s\"\n.SH NAME\nkvmctl \\- hot\\-plug NICs and disks of QEMU guests\n",
           kvm_hotplug_version());
    puts(".SH SYNOPSIS\n.B kvmctl\n.BI \\-\\-runtime \" FILE\"\n.BI \\-\\-socket \" QMP\"\n.I COMMAND\n"
         "[\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n.SH DESCRIPTION");
    print_roff(intro);
    puts("\n.SH COMMANDS");
    for (i = 0; i < COMMANDS; i++) {
        const struct command_info *command = &command_table[i];

        fputs(".SS ", stdout);
        print_roff(command->name);
        putchar(' ');
        print_roff(command->operands);
        fputs("\nTo ", stdout);
        print_roff(command->what);
        puts(".");
        print_roff(command->more);
        if (command->more[0] != '\0')
            putchar('\n');
        print_roff_options(command->allowed & ~COMMON);
    }
    puts(".SH OPTIONS");
    print_roff_options(COMMON | OPTION_BIT(OPTION_VERSION));
    puts(".SH EXIT STATUS");
    for (i = 0; i < exit_count; i++) {
        printf(".TP\n%d\n", exit_table[i].status);
        print_roff(exit_table[i].what);
        putchar('\n');
    }
    puts(".SH ENVIRONMENT\n.TP\n.B KVMCTL_RUNTIME\nThe runtime file, where \\-\\-runtime is not given.\n"
         ".TP\n.B KVMCTL_SOCKET\nThe QMP socket, where \\-\\-socket is not given.\n"
         ".TP\n.B NO_COLOR\nIf set, no colours.\n"
         ".TP\n.B TERM\nIf it is not set, or \"dumb\": no colours, and no line while something is waited for.\n.SH SEE ALSO\n.BR kvm_hotplug (7),\n.BR qemu (1)");
}
