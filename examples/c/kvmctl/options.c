#define _GNU_SOURCE
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operands.h"
#include "usage.h"
#include "values.h"

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
        nic->flags |= KVM_HOTPLUG_NIC_LINK_DOWN;
        return true;
    case OPTION_PATH:
        disk->path = value;
        return true;
    case OPTION_FORMAT:
        return parse_word(option, value, &disk->format);
    case OPTION_BACKING:
        return take_backing(options, value);
    case OPTION_ACCEPT_CHAIN:
        disk->flags |= KVM_HOTPLUG_DISK_ACCEPT_CHAIN;
        return true;
    case OPTION_SERIAL:
        disk->serial = value;
        return true;
    case OPTION_READ_ONLY:
        disk->flags |= KVM_HOTPLUG_DISK_READ_ONLY;
        return true;
    case OPTION_SHARE_RW:
        disk->flags |= KVM_HOTPLUG_DISK_SHARE_RW;
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
        disk->flags |= KVM_HOTPLUG_DISK_SCSI_ADDRESS;
        return parse_number(option, value, UINT32_MAX, &disk->target);
    case OPTION_LUN:
        disk->flags |= KVM_HOTPLUG_DISK_SCSI_ADDRESS;
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
    uint32_t fd = 0, pid = 0;

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
    case OPTION_LEAVE_OVERLAY:
        return options->leave_overlay = true;
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
        options->qmp.flags |= KVM_HOTPLUG_QMP_FORCE;
        return true;
    case OPTION_TRUST:
        options->config.flags |= KVM_RUNTIME_OPEN_TRUST;
        return true;
    case OPTION_PEER_UID:
        options->listener.flags |= KVM_HOTPLUG_OPEN_PEER_UID;
        return parse_number(option, value, UINT32_MAX, &options->listener.peer_uid);
    case OPTION_PEER_PID:
        options->listener.flags |= KVM_HOTPLUG_OPEN_PEER_PID;
        return parse_number(option, value, INT32_MAX, &pid) && (options->listener.peer_pid = (int32_t)pid, true);
    case OPTION_ACCEPT_PEER:
        options->listener.flags |= KVM_HOTPLUG_OPEN_ACCEPT_PEER;
        return true;
    case OPTION_FD:
        options->qmp.flags |= KVM_HOTPLUG_QMP_PASS_FD;
        return parse_number(option, value, INT32_MAX, &fd) && (options->qmp.fd = (int32_t)fd, true);
    default:
        return take_device_option(options, option, value);
    }
}

uint32_t removal_flags(const struct options *options)
{
    return (options->live_only ? KVM_HOTPLUG_LIVE_ONLY : 0) | (options->leave_overlay ? KVM_HOTPLUG_DEL_LEAVE_OVERLAY : 0);
}

/* That of the running guest is of no use where it is not to run. */
static bool takes_socket(const struct options *options)
{
    return command_table[options->command].allowed & OPTION_BIT(OPTION_SOCKET) && options->command != COMMAND_CHECK &&
           !options->cold;
}

/* An empty variable is as good as none. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : NULL;
}

static void from_environment(struct options *options, uint64_t *given)
{
    const char *runtime = variable("KVMCTL_RUNTIME"), *socket = variable("KVMCTL_SOCKET");

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

/* What getopt answers for an option: its number, and this much more, which keeps it apart from characters. */
enum { FIRST = 256 };

struct line {
    int argc;
    char **argv;
    struct option table[OPTIONS + 1];
    const char *command; /* the word that stands where the command does, or NULL */
};

static int next_option(struct line *line)
{
    return getopt_long(line->argc, line->argv, ":h", line->table, NULL);
}

/* Goes through the whole line once, to know how its errors are to be told. getopt sorts it, which is done to a copy: where
 * a value is missing, words would change places. */
static bool look_through(struct options *options, struct line *line)
{
    struct line copy = *line;
    int option;

    copy.argv = calloc((size_t)line->argc + 1, sizeof *copy.argv);
    if (copy.argv == NULL)
        return complain("out of memory");
    memcpy(copy.argv, line->argv, (size_t)line->argc * sizeof *copy.argv);
    while ((option = next_option(&copy)) >= 0)
        options->json |= option == FIRST + OPTION_JSON;
    line->command = optind < line->argc ? copy.argv[optind] : NULL;
    free(copy.argv);
    optind = 0;
    return true;
}

/* What getopt could not make sense of. */
static bool complain_option(const struct line *line, int answer)
{
    const char *word = line->argv[optind > 0 ? optind - 1 : 0];
    char letter[3] = {'-', (char)optopt, '\0'};

    if (answer == ':')
        return complain("--%s needs a value: %s; see %s", option_table[optopt - FIRST].name,
                        option_table[optopt - FIRST].argument, help_hint(line->command).text);
    if (optopt >= FIRST)
        return complain("--%s takes no value; see %s", option_table[optopt - FIRST].name, help_hint(line->command).text);
    return complain_no_option(optopt != 0 ? letter : word, line->command);
}

static bool take_options(struct options *options, struct line *line, uint64_t *given)
{
    int option;

    while ((option = next_option(line)) >= 0) {
        enum option_id id = option == 'h' ? OPTION_HELP : (enum option_id)(option - FIRST);

        if (option == ':' || option == '?')
            return complain_option(line, option);
        *given |= OPTION_BIT(id);
        if (id != OPTION_HELP && id != OPTION_VERSION && !take_option(options, id, optarg))
            return false;
    }
    return true;
}

static bool take_words(struct options *options, char **words, int count, uint64_t *given)
{
    if (count == 0)
        return complain("which command? See kvmctl --help");
    if (!find_command(words[0], &options->command))
        return false;
    words++;
    count--;
    if (options->command == COMMAND_PLAN && !take_plan(options, &words, &count))
        return false;
    from_environment(options, given);
    if (options->cold && (options->plan || options->socket != NULL))
        return complain("--cold does not go with %s", options->plan ? "plan" : "--socket");
    return check_given(&command_table[options->command], *given) && take_operands(options, words, count, *given);
}

enum parsed options_parse(struct options *options, int argc, char **argv)
{
    struct line line = {.argc = argc, .argv = argv};
    uint64_t given = 0;
    char **words;
    int count, i;

    for (i = 0; i < OPTIONS; i++)
        line.table[i] = (struct option){.name = option_table[i].name,
                                        .has_arg = option_table[i].argument != NULL ? required_argument : no_argument,
                                        .val = FIRST + i};
    opterr = 0;
    *options = (struct options){.timeout_ms = 0};
    /* For the manual, which make and packagers ask for. */
    if (argc == 3 && strcmp(argv[1], "help") == 0 && strcmp(argv[2], "--man") == 0)
        return about(argv + 1, 2, 0);
    if (!look_through(options, &line) || !take_options(options, &line, &given))
        return PARSED_WRONG;
    words = argv + optind;
    count = argc - optind;
    if (given & (OPTION_BIT(OPTION_HELP) | OPTION_BIT(OPTION_VERSION)) || (count > 0 && is_about_itself(words[0])))
        return about(words, count, given);
    if (!take_words(options, words, count, &given))
        return PARSED_WRONG;
    options->nic.timeout_ms = options->disk.timeout_ms = options->controller.timeout_ms = options->qmp.timeout_ms = options->listener.timeout_ms = options->timeout_ms;
    return PARSED;
}
