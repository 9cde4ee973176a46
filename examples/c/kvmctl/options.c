#define _GNU_SOURCE
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "help.h"

enum { MAX_TIMEOUT_SECONDS = 86400 };

static bool wrong(const char *what, const char *name, const char *text)
{
    fprintf(stderr, "kvmctl: --%s %s: %s\n", name, text, what);
    return false;
}

static bool parse_number(enum option_id option, const char *text, uint32_t limit, uint32_t *result)
{
    char what[64];
    char *end = NULL;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > limit) {
        snprintf(what, sizeof what, "not a number from 0 to %u", limit);
        return wrong(what, option_table[option].name, text);
    }
    *result = (uint32_t)value;
    return true;
}

static bool parse_timeout(const char *text, uint32_t *result)
{
    if (!parse_number(OPTION_TIMEOUT, text, MAX_TIMEOUT_SECONDS, result))
        return false;
    *result *= 1000;
    return true;
}

static bool parse_wwn(const char *text, uint64_t *result)
{
    char *end = NULL;

    errno = 0;
    *result = strtoull(text, &end, 0);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0)
        return wrong("not a number of 64 bits", "wwn", text);
    return true;
}

/* The words stand in the order of the library's numbers. */
static bool parse_word(enum option_id option, const char *text, uint32_t *result)
{
    char what[96];
    int number = word_number(option_table[option].words, text);

    if (number < 0) {
        snprintf(what, sizeof what, "not one of: %s", option_table[option].words);
        return wrong(what, option_table[option].name, text);
    }
    *result = (uint32_t)number;
    return true;
}

static bool parse_incoming(const char *text, struct options *options)
{
    if (strcmp(text, "defer") == 0) {
        options->incoming = KVM_BOOT_INCOMING_DEFER;
    } else if (strncmp(text, "tcp:", 4) == 0) {
        options->incoming = KVM_BOOT_INCOMING_TCP;
        options->incoming_address = text + 4;
    } else if (strncmp(text, "unix:", 5) == 0) {
        options->incoming = KVM_BOOT_INCOMING_UNIX;
        options->incoming_address = text + 5;
    } else {
        return wrong("neither \"defer\" nor tcp:HOST:PORT nor unix:PATH", "incoming", text);
    }
    return true;
}

static bool parse_size(const char *text, uint64_t *result)
{
    static const char units[] = "KMGT";
    unsigned long long value;
    ptrdiff_t steps;
    const char *unit;
    char *end = NULL;

    if (strcmp(text, "now") == 0) {
        *result = 0;
        return true;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    unit = *end != '\0' ? strchr(units, *end) : NULL;
    if (*text < '0' || *text > '9' || errno != 0 || value == 0 || (*end != '\0' && (unit == NULL || end[1] != '\0'))) {
        fprintf(stderr, "kvmctl: resize: %s is no size; it is a number of bytes, one with K, M, G or T, or \"now\"\n", text);
        return false;
    }
    for (steps = unit != NULL ? unit - units + 1 : 0; steps > 0; steps--) {
        if (value > UINT64_MAX / 1024) {
            fprintf(stderr, "kvmctl: resize: %s is too large\n", text);
            return false;
        }
        value *= 1024;
    }
    *result = value;
    return true;
}

static bool take_device_option(struct options *options, enum option_id option, const char *value)
{
    struct kvm_hotplug_nic *nic = &options->nic;
    struct kvm_hotplug_disk *disk = &options->disk;
    struct kvm_hotplug_controller *scsi = &options->controller;

    switch (option) {
    case OPTION_ID:
        nic->id = disk->id = scsi->id = value;
        return true;
    case OPTION_BUS:
        nic->bus = disk->bus = scsi->bus = value;
        return true;
    case OPTION_SLOT:
        return parse_number(option, value, UINT32_MAX, &nic->slot) && (disk->slot = scsi->slot = nic->slot, true);
    case OPTION_MODEL:
        nic->model = disk->model = scsi->model = value;
        return true;
    case OPTION_BOOT_INDEX:
        nic->flags |= KVM_HOTPLUG_BOOT_INDEX;
        disk->flags |= KVM_HOTPLUG_BOOT_INDEX;
        return parse_number(option, value, UINT32_MAX, &nic->boot_index) && (disk->boot_index = nic->boot_index, true);
    case OPTION_QUEUES:
        return parse_number(option, value, UINT32_MAX, &nic->queues) && (disk->queues = scsi->queues = nic->queues, true);
    case OPTION_BRIDGE:
        nic->bridge = value;
        return true;
    case OPTION_MAC:
        nic->mac = value;
        return true;
    case OPTION_MTU:
        return parse_number(option, value, UINT32_MAX, &nic->mtu);
    case OPTION_TAP:
        nic->ifname = value;
        return true;
    case OPTION_TAP_OWNER:
        nic->flags |= KVM_HOTPLUG_TAP_OWNER;
        return parse_number(option, value, UINT32_MAX, &nic->tap_owner);
    case OPTION_VHOST:
        return parse_word(option, value, &nic->vhost);
    case OPTION_LINK_DOWN:
        nic->flags |= KVM_HOTPLUG_LINK_DOWN;
        return true;
    case OPTION_PATH:
        disk->path = value;
        return true;
    case OPTION_FORMAT:
        return parse_word(option, value, &disk->format);
    case OPTION_SERIAL:
        disk->serial = value;
        return true;
    case OPTION_READ_ONLY:
        disk->flags |= KVM_HOTPLUG_READ_ONLY;
        return true;
    case OPTION_SHARE_RW:
        disk->flags |= KVM_HOTPLUG_SHARE_RW;
        return true;
    case OPTION_CACHE:
        return parse_word(option, value, &disk->cache);
    case OPTION_AIO:
        return parse_word(option, value, &disk->aio);
    case OPTION_DISCARD:
        return parse_word(option, value, &disk->discard);
    case OPTION_DETECT_ZEROES:
        return parse_word(option, value, &disk->detect_zeroes);
    case OPTION_TARGET:
        disk->flags |= KVM_HOTPLUG_SCSI_ADDRESS;
        return parse_number(option, value, UINT32_MAX, &disk->target);
    case OPTION_LUN:
        disk->flags |= KVM_HOTPLUG_SCSI_ADDRESS;
        return parse_number(option, value, UINT32_MAX, &disk->lun);
    case OPTION_WWN:
        return parse_wwn(value, &disk->wwn);
    case OPTION_BLOCK_SIZE:
        return parse_number(option, value, UINT32_MAX, &disk->logical_block_size);
    case OPTION_PHYSICAL_SIZE:
        return parse_number(option, value, UINT32_MAX, &disk->physical_block_size);
    default:
        return false; /* getopt has complained */
    }
}

/* Ranges are the library's business: its errors say more than this could. */
static bool take_option(struct options *options, enum option_id option, const char *value)
{
    uint32_t fd = 0;

    switch (option) {
    case OPTION_SOCKET:
        options->socket = value;
        return true;
    case OPTION_RUNTIME:
        options->runtime = value;
        return true;
    case OPTION_TIMEOUT:
        return parse_timeout(value, &options->timeout_ms);
    case OPTION_PLAIN:
        return options->plain = true;
    case OPTION_JSON:
        return options->json = true;
    case OPTION_NAME:
        options->config.name = value;
        return true;
    case OPTION_PRINT:
        return options->print = true;
    case OPTION_VERBOSE:
        return options->verbose = true;
    case OPTION_PAUSED:
        return options->paused = true;
    case OPTION_INCOMING:
        return parse_incoming(value, options);
    case OPTION_MIGRATION:
        return options->migration = true;
    case OPTION_COLD:
        return options->cold = true;
    case OPTION_PORTS:
    case OPTION_COUNT:
        return parse_number(option, value, UINT32_MAX, &options->count);
    case OPTION_LIVE_ONLY:
        options->nic.flags |= KVM_HOTPLUG_LIVE_ONLY;
        options->disk.flags |= KVM_HOTPLUG_LIVE_ONLY;
        options->controller.flags |= KVM_HOTPLUG_LIVE_ONLY;
        return options->live_only = true;
    case OPTION_NO_WAIT:
        return options->no_wait = true;
    case OPTION_NO_BRIDGE:
        return true;
    case OPTION_SHRINK:
        return options->shrink = true;
    case OPTION_MEND:
        return options->mend = true;
    case OPTION_QMP:
        return options->qmp_events = true;
    case OPTION_FORCE:
        options->qmp.flags |= KVM_HOTPLUG_FORCE;
        return true;
    case OPTION_FD:
        options->qmp.flags |= KVM_HOTPLUG_PASS_FD;
        return parse_number(option, value, INT32_MAX, &fd) && (options->qmp.fd = (int32_t)fd, true);
    default:
        return take_device_option(options, option, value);
    }
}

static bool find_command(const char *name, enum command *result)
{
    int i;

    for (i = 0; i < COMMANDS; i++) {
        if (strcmp(command_table[i].name, name) == 0) {
            *result = (enum command)i;
            return true;
        }
    }
    fprintf(stderr, "kvmctl: there is no command \"%s\"; see kvmctl --help\n", name);
    return false;
}

static bool check_given(const struct command_info *command, uint64_t given)
{
    bool cold = given & OPTION_BIT(OPTION_COLD);
    uint64_t required = command->required & ~(cold ? OPTION_BIT(OPTION_SOCKET) : 0);
    int i;

    for (i = 0; i < OPTIONS; i++) {
        if (given & ~command->allowed & OPTION_BIT(i)) {
            fprintf(stderr, "kvmctl: %s takes no --%s; see kvmctl %s --help\n", command->name, option_table[i].name,
                    command->name);
            return false;
        }
    }
    for (i = 0; i < OPTIONS; i++) {
        if (required & ~given & OPTION_BIT(i)) {
            fprintf(stderr, "kvmctl: %s needs --%s; see kvmctl %s --help\n", command->name, option_table[i].name,
                    command->name);
            return false;
        }
    }
    return true;
}

static bool take_state(struct options *options, const char *word)
{
    options->up = strcmp(word, "up") == 0;
    if (!options->up && strcmp(word, "down") != 0) {
        fprintf(stderr, "kvmctl: link: %s is neither up nor down\n", word);
        return false;
    }
    return true;
}

static bool take_format(struct options *options, const char *word)
{
    int number = word_number(command_table[COMMAND_CONVERT].words, word);

    if (number < 0) {
        fprintf(stderr, "kvmctl: convert: %s is none of: %s\n", word, command_table[COMMAND_CONVERT].words);
        return false;
    }
    options->format = KVM_RUNTIME_FORMAT_NATIVE + (uint32_t)number;
    return true;
}

/* What follows the command: which device, and what to do with it; init has QEMU's own command line. */
static bool take_operands(struct options *options, char **operands, int count, uint64_t given)
{
    const struct command_info *command = &command_table[options->command];
    bool nowhere = given & OPTION_BIT(OPTION_NO_BRIDGE);
    int wanted = 0;

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
    if (count != wanted) {
        fprintf(stderr, "kvmctl: %s: too %s arguments; see kvmctl %s --help\n", command->name,
                count < wanted ? "few" : "many", command->name);
        return false;
    }
    options->device = count > 0 ? operands[0] : NULL;
    switch (options->command) {
    case COMMAND_LINK:
        return take_state(options, operands[1]);
    case COMMAND_MOVE:
        options->bridge = nowhere ? NULL : operands[1];
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

/* "plan" stands before the command that it is about. */
static bool take_plan(struct options *options, char ***operands, int *count)
{
    if (*count == 0 || word_number(command_table[COMMAND_PLAN].words, (*operands)[0]) < 0) {
        fputs("kvmctl: plan: of what? add-nic, add-disk, add-scsi, del or boot\n", stderr);
        return false;
    }
    options->plan = true;
    ++*operands;
    --*count;
    return find_command((*operands)[-1], &options->command);
}

/* The commands that are about kvmctl itself. */
static enum parsed about(char **words, int count, uint64_t given)
{
    enum command command;

    if (given & OPTION_BIT(OPTION_VERSION)) {
        printf("kvmctl, kvm-hotplug %s\n", kvm_hotplug_version());
    } else if (count >= 2 && strcmp(words[0], "help") == 0 && strcmp(words[1], "--man") == 0) {
        help_print_manual();
    } else if (count >= 1 && strcmp(words[0], "completion") == 0) {
        if (count == 2 && help_print_completion(words[1]))
            return PARSED_HELP;
        fputs("kvmctl: completion for which shell? bash, zsh or fish\n", stderr);
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

/* That of the running guest is of no use where it is not to run. */
static bool takes_socket(const struct options *options)
{
    return command_table[options->command].allowed & OPTION_BIT(OPTION_SOCKET) && options->command != COMMAND_CHECK &&
           !options->cold;
}

static void from_environment(struct options *options, uint64_t *given)
{
    const char *runtime = getenv("KVMCTL_RUNTIME"), *socket = getenv("KVMCTL_SOCKET");

    if (options->runtime == NULL && runtime != NULL) {
        options->runtime = runtime;
        *given |= OPTION_BIT(OPTION_RUNTIME);
    }
    if (options->socket == NULL && socket != NULL && takes_socket(options)) {
        options->socket = socket;
        *given |= OPTION_BIT(OPTION_SOCKET);
    }
}

static bool is_about_itself(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "completion") == 0;
}

enum parsed options_parse(struct options *options, int argc, char **argv)
{
    struct option long_options[OPTIONS + 1] = {{.name = NULL}};
    uint64_t given = 0;
    char **words;
    int option, count, i;

    for (i = 0; i < OPTIONS; i++)
        long_options[i] = (struct option){.name = option_table[i].name,
                                          .has_arg = option_table[i].argument != NULL ? required_argument : no_argument,
                                          .val = i};
    *options = (struct options){.timeout_ms = 0};
    /* For the manual, which make and packagers ask for. */
    if (argc == 3 && strcmp(argv[1], "help") == 0 && strcmp(argv[2], "--man") == 0)
        return about(argv + 1, 2, 0);
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
        given |= option < OPTIONS ? OPTION_BIT(option) : 0;
        if (option != OPTION_HELP && option != OPTION_VERSION && !take_option(options, (enum option_id)option, optarg))
            return PARSED_WRONG;
    }
    words = argv + optind;
    count = argc - optind;
    if (given & (OPTION_BIT(OPTION_HELP) | OPTION_BIT(OPTION_VERSION)) || (count > 0 && is_about_itself(words[0])))
        return about(words, count, given);
    if (count == 0) {
        fputs("kvmctl: which command? See kvmctl --help\n", stderr);
        return PARSED_WRONG;
    }
    if (!find_command(words[0], &options->command))
        return PARSED_WRONG;
    words++;
    count--;
    if (options->command == COMMAND_PLAN && !take_plan(options, &words, &count))
        return PARSED_WRONG;
    from_environment(options, &given);
    if (options->cold && (options->plan || options->socket != NULL)) {
        fprintf(stderr, "kvmctl: --cold does not go with %s\n", options->plan ? "plan" : "--socket");
        return PARSED_WRONG;
    }
    if (!check_given(&command_table[options->command], given) || !take_operands(options, words, count, given))
        return PARSED_WRONG;
    options->nic.timeout_ms = options->disk.timeout_ms = options->controller.timeout_ms = options->qmp.timeout_ms = options->timeout_ms;
    return PARSED;
}
