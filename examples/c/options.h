/* The command line, read once into the requests that the library takes. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kvm_hotplug.h>

enum command {
    COMMAND_INIT,
    COMMAND_MAP,
    COMMAND_LIST,
    COMMAND_ADD_NIC,
    COMMAND_ADD_DISK,
    COMMAND_DEL,
    COMMAND_WATCH,
};

struct options {
    enum command command;
    const char *socket;  /* QEMU's QMP socket; NULL where the record is enough */
    const char *runtime; /* the runtime file */
    const char *device;  /* del: which one */
    uint32_t timeout_ms; /* 0: the library's default */
    bool plain;
    bool no_wait;
    struct kvm_runtime_config config;
    struct kvm_hotplug_nic nic;
    struct kvm_hotplug_disk disk;
};

enum parsed { PARSED, PARSED_HELP, PARSED_WRONG };

/* The strings stay argv's. PARSED_HELP: help was asked for and printed; PARSED_WRONG: a complaint was printed. */
enum parsed options_parse(struct options *options, int argc, char **argv);

#endif
