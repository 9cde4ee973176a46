#define _GNU_SOURCE
/* Completion for shells. */
#include <stdio.h>
#include <string.h>

#include "help.h"

static void print_names(uint64_t set)
{
    int i, printed = 0;

    for (i = 0; i < OPTIONS; i++)
        if (set & OPTION_BIT(i))
            printf("%s--%s", printed++ > 0 ? " " : "", option_table[i].name);
}

static void print_commands(const char *between)
{
    int i;

    for (i = 0; i < COMMANDS; i++)
        printf("%s%s", i > 0 ? between : "", command_table[i].name);
}

/* What may stand behind an option in bash. */
static void print_bash_values(const struct option_info *option)
{
    printf("    --%s)\n", option->name);
    if (strcmp(option->words, "@file") == 0)
        puts("        compopt -o filenames 2>/dev/null\n        COMPREPLY=($(compgen -f -- \"$cur\"))");
    else if (strcmp(option->words, "@interface") == 0)
        puts("        COMPREPLY=($(compgen -W \"$(ls /sys/class/net 2>/dev/null)\" -- \"$cur\"))");
    else
        printf("        COMPREPLY=($(compgen -W \"%s\" -- \"$cur\"))\n", option->words);
    puts("        return ;;");
}

/* Ids come from the record, which can be read while an agent owns it. */
static const char bash_devices[] =
    "_kvmctl_devices()\n"
    "{\n"
    "    local i runtime=$KVMCTL_RUNTIME\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        [ \"${COMP_WORDS[i]}\" != --runtime ] || runtime=${COMP_WORDS[i + 1]}\n"
    "    done\n"
    "    [ -z \"$runtime\" ] || env -u KVMCTL_SOCKET \"${COMP_WORDS[0]}\" --runtime \"$runtime\" list --plain 2>/dev/null |\n"
    "        sed -n '2,$s/ .*//p'\n"
    "}\n";

static void print_bash_command(const struct command_info *command)
{
    char words[128];
    char *word, *rest = words;

    printf("    %s) words=\"", command->name);
    print_names(command->allowed);
    snprintf(words, sizeof words, "%s", command->words);
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        if (strcmp(word, "@device") == 0)
            fputs(" $(_kvmctl_devices)", stdout);
        else if (strcmp(word, "@interface") == 0)
            fputs(" $(ls /sys/class/net 2>/dev/null)", stdout);
        else
            printf(" %s", word);
    }
    puts("\" ;;");
}

static void print_bash(void)
{
    int i;

    puts("# bash completion for kvmctl; made by `kvmctl completion bash`.");
    fputs(bash_devices, stdout);
    puts("_kvmctl()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= word words i");
    puts("    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in");
    fputs("        ", stdout);
    print_commands("|");
    puts(")\n            [ -n \"$command\" ] && [ \"$command\" != plan ] || command=${COMP_WORDS[i]} ;;\n        esac\n    done");
    puts("    case $prev in");
    for (i = 0; i < OPTIONS; i++)
        if (option_table[i].argument != NULL)
            print_bash_values(&option_table[i]);
    puts("    esac\n    case $command in");
    for (i = 0; i < COMMANDS; i++)
        print_bash_command(&command_table[i]);
    fputs("    *) words=\"", stdout);
    print_commands(" ");
    puts(" completion help --runtime --socket --timeout --json --plain --verbose --help --version\" ;;\n    esac");
    puts("    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -F _kvmctl kvmctl");
}

/* In single quotes of a shell. */
static void print_quoted(const char *text)
{
    const char *c;

    for (c = text; *c != '\0'; c++) {
        if (*c == '\'')
            fputs("'\\''", stdout);
        else if (*c == '[' || *c == ']' || *c == ':')
            printf("\\%c", *c);
        else
            putchar(*c);
    }
}

static void print_zsh_option(const struct option_info *option)
{
    fputs(" \\\n            '--", stdout);
    printf("%s[", option->name);
    print_quoted(option->what);
    putchar(']');
    if (option->argument != NULL) {
        printf(":%s:", option->argument);
        if (strcmp(option->words, "@file") == 0)
            fputs("_files", stdout);
        else if (strcmp(option->words, "@interface") == 0)
            fputs("_net_interfaces", stdout);
        else if (option->words[0] != '\0')
            printf("(%s)", option->words);
    }
    putchar('\'');
}

static void print_zsh(void)
{
    int i, j;

    puts("#compdef kvmctl\n# zsh completion; made by `kvmctl completion zsh`.\n_kvmctl()\n{\n    local command word");
    puts("    local -a commands=(");
    for (i = 0; i < COMMANDS; i++) {
        printf("        '%s:", command_table[i].name);
        print_quoted(command_table[i].what);
        puts("'");
    }
    puts("    )\n    for word in ${words[2,CURRENT-1]}; do\n        case $word in");
    fputs("        ", stdout);
    print_commands("|");
    puts(") [[ -n $command && $command != plan ]] || command=$word ;;\n        esac\n    done\n    case $command in");
    for (i = 0; i < COMMANDS; i++) {
        printf("    %s)\n        _arguments", command_table[i].name);
        for (j = 0; j < OPTIONS; j++)
            if (command_table[i].allowed & OPTION_BIT(j))
                print_zsh_option(&option_table[j]);
        puts(" \\\n            '*: :_default' ;;");
    }
    fputs("    *)\n        _arguments", stdout);
    print_zsh_option(&option_table[OPTION_RUNTIME]);
    print_zsh_option(&option_table[OPTION_SOCKET]);
    print_zsh_option(&option_table[OPTION_HELP]);
    puts(" \\\n            '*: :{_describe command commands}' ;;\n    esac\n}\n_kvmctl \"$@\"");
}

static void print_fish_string(const char *text)
{
    const char *c;

    putchar('\'');
    for (c = text; *c != '\0'; c++) {
        if (*c == '\'' || *c == '\\')
            putchar('\\');
        putchar(*c);
    }
    putchar('\'');
}

static void print_fish(void)
{
    int i, j;

    puts("# fish completion for kvmctl; made by `kvmctl completion fish`.\ncomplete -c kvmctl -f");
    for (i = 0; i < COMMANDS; i++) {
        printf("complete -c kvmctl -n __fish_use_subcommand -a %s -d ", command_table[i].name);
        print_fish_string(command_table[i].what);
        putchar('\n');
    }
    for (j = 0; j < OPTIONS; j++) {
        const struct option_info *option = &option_table[j];

        printf("complete -c kvmctl -l %s", option->name);
        if (j > OPTION_VERSION) {
            fputs(" -n '__fish_seen_subcommand_from", stdout);
            for (i = 0; i < COMMANDS; i++)
                if (command_table[i].allowed & OPTION_BIT(j))
                    printf(" %s", command_table[i].name);
            putchar('\'');
        }
        if (strcmp(option->words, "@file") == 0)
            fputs(" -rF", stdout);
        else if (strcmp(option->words, "@interface") == 0)
            fputs(" -xa '(ls /sys/class/net)'", stdout);
        else if (option->words[0] != '\0')
            printf(" -xa '%s'", option->words);
        else if (option->argument != NULL)
            fputs(" -x", stdout);
        fputs(" -d ", stdout);
        print_fish_string(option->what);
        putchar('\n');
    }
}

bool help_print_completion(const char *shell)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    size_t i;

    for (i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(shells[i].name, shell) == 0) {
            shells[i].print();
            return true;
        }
    }
    return false;
}
