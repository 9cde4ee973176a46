#define _GNU_SOURCE
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Plugs network cards and disks into a running QEMU guest, and takes them out again.\n"
    "\n"
    "usage: agent --runtime FILE init [--name NAME] [-- QEMU ARGUMENT...]\n"
    "       agent --runtime FILE list\n"
    "       agent --runtime FILE --socket QMP COMMAND [OPTION...]\n"
    "\n"
    "commands\n"
    "  init      make a new runtime file, the record of one guest\n"
    "  map       draw which slots are free, and what is in the others\n"
    "  list      list the devices; without --socket from the record alone, also while an agent owns it\n"
    "  add-nic   plug a NIC: a tap is opened and handed to QEMU\n"
    "              --bridge NAME   attach the tap to this bridge\n"
    "              --mac ADDRESS   (default: a random one)\n"
    "              --queues N      queue pairs, 1 to 8\n"
    "              --mtu BYTES     announced to the guest and set on the tap\n"
    "  add-disk  plug a disk\n"
    "              --path FILE     absolute path of an image or block device\n"
    "              --format NAME   raw (default) or qcow2\n"
    "              --serial TEXT   serial number the guest sees\n"
    "              --read-only     the guest cannot write\n"
    "              --scsi          as a SCSI disk; the first brings its controller\n"
    "  del ID    take a device out, and wait until the guest has let go of it\n"
    "              --no-wait       only ask\n"
    "  watch     print what happens, until interrupted or the timeout\n"
    "\n"
    "options\n"
    "  --socket QMP       QMP socket of the running QEMU; it serves one client at a time\n"
    "  --runtime FILE     the guest's runtime file\n"
    "  --id ID            add-nic, add-disk: the device's id (default: from its slot, as in nic-pci-5)\n"
    "  --timeout SECONDS  for all of it\n"
    "  --plain            no colours, box characters or spinner; the default when stdout is no terminal\n"
    "  --help\n"
    "\n"
    "exit status: 0 done, 1 failed, 2 wrong usage, 3 recorded for the next boot only, 4 the guest has not let go yet\n";

enum {
    OPTION_SOCKET,
    OPTION_RUNTIME,
    OPTION_TIMEOUT,
    OPTION_PLAIN,
    OPTION_HELP,
    OPTION_NAME,
    OPTION_ID,
    OPTION_BRIDGE,
    OPTION_MAC,
    OPTION_QUEUES,
    OPTION_MTU,
    OPTION_PATH,
    OPTION_FORMAT,
    OPTION_SERIAL,
    OPTION_READ_ONLY,
    OPTION_SCSI,
    OPTION_NO_WAIT,
};

#define BIT(option) (1u << (option))
#define ANYWHERE (BIT(OPTION_RUNTIME) | BIT(OPTION_PLAIN) | BIT(OPTION_HELP))
#define LIVE (ANYWHERE | BIT(OPTION_SOCKET) | BIT(OPTION_TIMEOUT))

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"runtime", required_argument, NULL, OPTION_RUNTIME},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"plain", no_argument, NULL, OPTION_PLAIN},
    {"help", no_argument, NULL, OPTION_HELP},
    {"name", required_argument, NULL, OPTION_NAME},
    {"id", required_argument, NULL, OPTION_ID},
    {"bridge", required_argument, NULL, OPTION_BRIDGE},
    {"mac", required_argument, NULL, OPTION_MAC},
    {"queues", required_argument, NULL, OPTION_QUEUES},
    {"mtu", required_argument, NULL, OPTION_MTU},
    {"path", required_argument, NULL, OPTION_PATH},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"serial", required_argument, NULL, OPTION_SERIAL},
    {"read-only", no_argument, NULL, OPTION_READ_ONLY},
    {"scsi", no_argument, NULL, OPTION_SCSI},
    {"no-wait", no_argument, NULL, OPTION_NO_WAIT},
    {NULL, 0, NULL, 0},
};

/* Indexed by enum command. An option that a command does not know is refused, not ignored. */
static const struct rule {
    const char *name;
    unsigned required;
    unsigned allowed;
} rules[] = {
    [COMMAND_INIT] = {"init", BIT(OPTION_RUNTIME), ANYWHERE | BIT(OPTION_NAME)},
    [COMMAND_MAP] = {"map", BIT(OPTION_RUNTIME) | BIT(OPTION_SOCKET), LIVE},
    [COMMAND_LIST] = {"list", BIT(OPTION_RUNTIME), LIVE},
    [COMMAND_ADD_NIC] = {"add-nic", BIT(OPTION_RUNTIME) | BIT(OPTION_SOCKET),
                         LIVE | BIT(OPTION_ID) | BIT(OPTION_BRIDGE) | BIT(OPTION_MAC) | BIT(OPTION_QUEUES) |
                             BIT(OPTION_MTU)},
    [COMMAND_ADD_DISK] = {"add-disk", BIT(OPTION_RUNTIME) | BIT(OPTION_SOCKET) | BIT(OPTION_PATH),
                          LIVE | BIT(OPTION_ID) | BIT(OPTION_PATH) | BIT(OPTION_FORMAT) | BIT(OPTION_SERIAL) |
                              BIT(OPTION_READ_ONLY) | BIT(OPTION_SCSI)},
    [COMMAND_DEL] = {"del", BIT(OPTION_RUNTIME) | BIT(OPTION_SOCKET), LIVE | BIT(OPTION_NO_WAIT)},
    [COMMAND_WATCH] = {"watch", BIT(OPTION_RUNTIME) | BIT(OPTION_SOCKET), LIVE},
};

enum { COMMANDS = sizeof rules / sizeof rules[0], MAX_TIMEOUT_SECONDS = 86400 };

static bool parse_number(const char *name, const char *text, uint32_t limit, uint32_t *result)
{
    char *end = NULL;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > limit) {
        fprintf(stderr, "agent: --%s %s: not a number from 0 to %u\n", name, text, limit);
        return false;
    }
    *result = (uint32_t)value;
    return true;
}

static bool parse_timeout(const char *text, uint32_t *result)
{
    if (!parse_number("timeout", text, MAX_TIMEOUT_SECONDS, result))
        return false;
    *result *= 1000;
    return true;
}

static bool parse_format(const char *text, uint32_t *result)
{
    if (strcmp(text, "raw") == 0)
        *result = KVM_HOTPLUG_FORMAT_RAW;
    else if (strcmp(text, "qcow2") == 0)
        *result = KVM_HOTPLUG_FORMAT_QCOW2;
    else {
        fprintf(stderr, "agent: --format %s: not raw or qcow2\n", text);
        return false;
    }
    return true;
}

/* Ranges are the library's business: its errors say more than this could. */
static bool take_option(struct options *options, int option, const char *value)
{
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
    case OPTION_NAME:
        options->config.name = value;
        return true;
    case OPTION_ID:
        options->nic.id = options->disk.id = value;
        return true;
    case OPTION_BRIDGE:
        options->nic.bridge = value;
        return true;
    case OPTION_MAC:
        options->nic.mac = value;
        return true;
    case OPTION_QUEUES:
        return parse_number("queues", value, UINT32_MAX, &options->nic.queues);
    case OPTION_MTU:
        return parse_number("mtu", value, UINT32_MAX, &options->nic.mtu);
    case OPTION_PATH:
        options->disk.path = value;
        return true;
    case OPTION_FORMAT:
        return parse_format(value, &options->disk.format);
    case OPTION_SERIAL:
        options->disk.serial = value;
        return true;
    case OPTION_READ_ONLY:
        options->disk.flags |= KVM_HOTPLUG_READ_ONLY;
        return true;
    case OPTION_SCSI:
        options->disk.model = "scsi-hd";
        return true;
    case OPTION_NO_WAIT:
        return options->no_wait = true;
    default:
        return false; /* getopt has complained */
    }
}

static bool find_command(const char *name, enum command *result)
{
    int i;

    for (i = 0; i < COMMANDS; i++) {
        if (strcmp(rules[i].name, name) == 0) {
            *result = (enum command)i;
            return true;
        }
    }
    fprintf(stderr, "agent: there is no command \"%s\"; see agent --help\n", name);
    return false;
}

static bool check_given(const struct rule *rule, unsigned given)
{
    const struct option *option;

    for (option = long_options; option->name != NULL; option++) {
        if (rule->required & ~given & BIT(option->val)) {
            fprintf(stderr, "agent: %s needs --%s; see agent --help\n", rule->name, option->name);
            return false;
        }
        if (given & ~rule->allowed & BIT(option->val)) {
            fprintf(stderr, "agent: %s takes no --%s; see agent --help\n", rule->name, option->name);
            return false;
        }
    }
    return true;
}

/* What follows the command: del has one device, init has QEMU's own command line. */
static bool take_operands(struct options *options, char **operands, int count)
{
    bool right = count == 0;

    if (options->command == COMMAND_DEL) {
        options->device = operands[0];
        right = count == 1;
    } else if (options->command == COMMAND_INIT && count > 0) {
        options->config.command = (const char *const *)operands;
        options->config.command_count = (uint64_t)count;
        right = true;
    }
    if (!right)
        fprintf(stderr, "agent: %s: %s\n", rules[options->command].name,
                count == 0 ? "which device? Its id is missing" : "too many arguments");
    return right;
}

enum parsed options_parse(struct options *options, int argc, char **argv)
{
    unsigned given = 0;
    int option;

    *options = (struct options){.timeout_ms = 0};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
        if (option == OPTION_HELP)
            return fputs(help, stdout) == EOF ? PARSED_WRONG : PARSED_HELP;
        if (!take_option(options, option, optarg))
            return PARSED_WRONG;
        given |= BIT(option);
    }
    if (optind >= argc) {
        fputs("agent: which command? See agent --help\n", stderr);
        return PARSED_WRONG;
    }
    if (!find_command(argv[optind], &options->command) || !check_given(&rules[options->command], given) ||
        !take_operands(options, argv + optind + 1, argc - optind - 1))
        return PARSED_WRONG;
    options->nic.timeout_ms = options->disk.timeout_ms = options->timeout_ms;
    return PARSED;
}
