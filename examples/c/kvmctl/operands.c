#include "operands.h"

#include <stdio.h>
#include <string.h>

#include "help.h"
#include "usage.h"
#include "values.h"

bool find_command(const char *name, enum command *result)
{
    int i;

    for (i = 0; i < COMMANDS; i++) {
        if (strcmp(command_table[i].name, name) == 0) {
            *result = (enum command)i;
            return true;
        }
    }
    return complain_no_command(name);
}

static bool take_state(struct options *options, const char *word)
{
    options->up = strcmp(word, "up") == 0;
    return options->up || strcmp(word, "down") == 0 || complain("link: %s is neither up nor down", word);
}

static bool take_format(struct options *options, const char *word)
{
    int number = word_number(command_table[COMMAND_CONVERT].words, word);

    if (number < 0)
        return complain("convert: %s is none of: %s", word, command_table[COMMAND_CONVERT].words);
    options->format = KVM_RUNTIME_FORMAT_NATIVE + (uint32_t)number;
    return true;
}

bool take_backing(struct options *options, const char *text)
{
    static const char *const words[] = {"default", "own-directory", "forbidden", "file:", "dir:"};
    uint32_t rule = 0;

    while (rule < 5 && (rule < KVM_HOTPLUG_BACKING_FILES ? strcmp(words[rule], text) != 0
                                                         : strncmp(words[rule], text, strlen(words[rule])) != 0))
        rule++;
    if (rule == 5)
        return wrong("not one of: own-directory forbidden file:PATH dir:PATH", "backing", text);
    if (options->backing != KVM_HOTPLUG_BACKING_DEFAULT && options->backing != rule)
        return wrong("another rule is given before; only file:PATH, or only dir:PATH, can be repeated", "backing", text);
    options->backing = options->disk.backing = rule;
    if (rule < KVM_HOTPLUG_BACKING_FILES)
        return true;
    if (options->backing_count == MAX_BACKING_PATHS)
        return wrong("more than 64 paths", "backing", text);
    options->backing_paths[options->backing_count++] = text + strlen(words[rule]);
    options->disk.backing_paths = options->backing_paths;
    options->disk.backing_count = options->backing_count;
    return true;
}

bool take_operands(struct options *options, char **operands, int count, uint64_t given)
{
    const struct command_info *command = &command_table[options->command];
    bool nowhere = given & OPTION_BIT(OPTION_NO_BRIDGE);
    int wanted = 0, i;

    switch (options->command) {
    case COMMAND_INIT:
        options->config.command = (const char *const *)operands;
        options->config.command_count = (uint64_t)count;
        return true;
    case COMMAND_DEL:
        options->devices = (const char *const *)operands;
        options->device_count = (size_t)count;
        wanted = options->plan || count == 0 ? 1 : count;
        break;
    case COMMAND_LIST:
        wanted = count == 1 ? 1 : 0;
        break;
    case COMMAND_MOVE:
        wanted = nowhere ? 1 : 2;
        break;
    case COMMAND_BACKING:
        wanted = count == 0 ? 1 : count;
        break;
    case COMMAND_ACCEPT:
        wanted = 1;
        break;
    case COMMAND_LINK:
    case COMMAND_RESIZE:
    case COMMAND_CONVERT:
        wanted = 2;
        break;
    case COMMAND_QMP:
        wanted = count == 2 ? 2 : 1;
        break;
    default:
        break;
    }
    if (count != wanted)
        return complain("%s: too %s arguments%s%s; see kvmctl %s --help", command->name, count < wanted ? "few" : "many",
                        command->operands[0] != '\0' ? "; it takes " : "", command->operands, command->name);
    options->device = count > 0 ? operands[0] : NULL;
    switch (options->command) {
    case COMMAND_LINK:
        return take_state(options, operands[1]);
    case COMMAND_MOVE:
        options->bridge = nowhere ? NULL : operands[1];
        return true;
    case COMMAND_BACKING:
        for (i = 0; i < count; i++)
            if (!take_backing(options, operands[i]))
                return false;
        return true;
    case COMMAND_CONVERT:
        options->file = operands[1];
        return take_format(options, operands[0]);
    case COMMAND_RESIZE:
        return parse_size(operands[1], &options->bytes);
    case COMMAND_QMP:
        options->qmp.execute = operands[0];
        options->qmp.arguments = count == 2 ? operands[1] : NULL;
        return true;
    default:
        return true;
    }
}

bool take_plan(struct options *options, char ***operands, int *count)
{
    if (*count == 0 || word_number(command_table[COMMAND_PLAN].words, (*operands)[0]) < 0)
        return complain("plan: of what? add-nic, add-disk, add-scsi, del or boot");
    options->plan = true;
    ++*operands;
    --*count;
    return find_command((*operands)[-1], &options->command);
}

enum parsed about(char **words, int count, uint64_t given)
{
    enum command command;

    if (given & OPTION_BIT(OPTION_VERSION)) {
        printf("kvmctl, kvm-hotplug %s\n", kvm_hotplug_version());
    } else if (count >= 2 && strcmp(words[0], "help") == 0 && strcmp(words[1], "--man") == 0) {
        help_print_manual();
    } else if (count >= 1 && strcmp(words[0], "completion") == 0) {
        if (count == 2 && help_print_completion(words[1]))
            return PARSED_HELP;
        complain("completion for which shell? bash, zsh or fish");
        return PARSED_WRONG;
    } else {
        int at = count >= 1 && strcmp(words[0], "help") == 0;

        if (at >= count)
            help_print();
        else if (find_command(words[at], &command))
            help_print_command(command);
        else
            return PARSED_WRONG;
    }
    return PARSED_HELP;
}

/* Where the value of a required option may come from beside the command line. */
static const char *variable_of(int option)
{
    switch (option) {
    case OPTION_RUNTIME:
        return " or $KVMCTL_RUNTIME";
    case OPTION_SOCKET:
        return " or $KVMCTL_SOCKET";
    default:
        return "";
    }
}

bool check_given(const struct command_info *command, uint64_t given)
{
    bool cold = given & OPTION_BIT(OPTION_COLD);
    uint64_t required = command->required & ~(cold ? OPTION_BIT(OPTION_SOCKET) : 0);
    int i;

    for (i = 0; i < OPTIONS; i++)
        if (given & ~command->allowed & OPTION_BIT(i))
            return complain("%s takes no --%s; see kvmctl %s --help", command->name, option_table[i].name, command->name);
    for (i = 0; i < OPTIONS; i++)
        if (required & ~given & OPTION_BIT(i))
            return complain("%s needs --%s%s; see kvmctl %s --help", command->name, option_table[i].name, variable_of(i),
                            command->name);
    return true;
}
