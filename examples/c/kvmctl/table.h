/* What commands and options there are: the one place that parsing, help, manual page and completion are made from. */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum command {
    COMMAND_INIT,
    COMMAND_BOOT,
    COMMAND_CHECK,
    COMMAND_CONVERT,
    COMMAND_BACKING,
    COMMAND_ACCEPT,
    COMMAND_MAP,
    COMMAND_LIST,
    COMMAND_ADD_NIC,
    COMMAND_ADD_DISK,
    COMMAND_ADD_SCSI,
    COMMAND_DEL,
    COMMAND_LINK,
    COMMAND_MOVE,
    COMMAND_RESIZE,
    COMMAND_PLAN,
    COMMAND_VERIFY,
    COMMAND_SETTLE,
    COMMAND_WATCH,
    COMMAND_QMP,
    COMMANDS,
};

enum option_id {
    OPTION_RUNTIME,
    OPTION_SOCKET,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_PLAIN,
    OPTION_HELP,
    OPTION_VERBOSE,
    OPTION_VERSION,
    OPTION_NAME,
    OPTION_PRINT,
    OPTION_PORTS,
    OPTION_PAUSED,
    OPTION_INCOMING,
    OPTION_MIGRATION,
    OPTION_ID,
    OPTION_BUS,
    OPTION_SLOT,
    OPTION_MODEL,
    OPTION_BOOT_INDEX,
    OPTION_LIVE_ONLY,
    OPTION_COLD,
    OPTION_BRIDGE,
    OPTION_MAC,
    OPTION_QUEUES,
    OPTION_MTU,
    OPTION_TAP,
    OPTION_TAP_OWNER,
    OPTION_VHOST,
    OPTION_LINK_DOWN,
    OPTION_PATH,
    OPTION_FORMAT,
    OPTION_BACKING,
    OPTION_ACCEPT_CHAIN,
    OPTION_SERIAL,
    OPTION_READ_ONLY,
    OPTION_SHARE_RW,
    OPTION_CACHE,
    OPTION_AIO,
    OPTION_DISCARD,
    OPTION_DETECT_ZEROES,
    OPTION_BLOCK_SIZE,
    OPTION_PHYSICAL_SIZE,
    OPTION_TARGET,
    OPTION_LUN,
    OPTION_WWN,
    OPTION_LEAVE_OVERLAY,
    OPTION_NO_WAIT,
    OPTION_NO_BRIDGE,
    OPTION_SHRINK,
    OPTION_MEND,
    OPTION_QMP,
    OPTION_COUNT,
    OPTION_FORCE,
    OPTION_FD,
    OPTION_TRUST,
    OPTION_PEER_UID,
    OPTION_PEER_PID,
    OPTION_ACCEPT_PEER,
    OPTIONS,
};

_Static_assert(OPTIONS <= 64, "a set of options has 64 bits");

/* A set of options. */
#define OPTION_BIT(option) (UINT64_C(1) << (option))

struct option_info {
    const char *name;
    const char *argument; /* its name in help; NULL for a switch */
    const char *words;    /* what it may be, for completion; "@file", "@interface" and "@socket" stand for all of a kind */
    const char *what;
};

struct command_info {
    const char *name;
    const char *operands; /* "" for none */
    const char *words;    /* what the operands may be, for completion; "@device" stands for the record's ids */
    const char *what;     /* in one line */
    const char *more;     /* in sentences; "" for nothing to add */
    uint64_t required;
    uint64_t allowed;
};

extern const struct option_info option_table[OPTIONS];
extern const struct command_info command_table[COMMANDS];

struct exit_info {
    int status;
    const char *what;
};

extern const struct exit_info exit_table[];
extern const int exit_count;

/* Where the words of an enumeration's numbers stand: "raw qcow2", 0 for the first. -1 if it is none of them. */
int word_number(const char *words, const char *word);

#endif
