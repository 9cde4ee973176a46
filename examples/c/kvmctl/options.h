/* The command line, read once into the requests that the library takes. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kvm_hotplug.h>

#include "table.h"

enum { MAX_BACKING_PATHS = 64 };

struct options {
    enum command command;
    bool plan;           /* say what the command would do */
    const char *socket;  /* QEMU's QMP socket; NULL where the record is enough */
    const char *runtime; /* the runtime file */
    const char *device;  /* which one */
    const char *const *devices; /* del: all that are named; device is the first of them */
    size_t device_count;
    uint32_t timeout_ms; /* 0: the library's default */
    uint32_t count;      /* watch: events until the end; 0: no end. boot: spare ports */
    bool plain;
    bool json;
    bool no_wait;
    bool live_only;
    bool leave_overlay;  /* del */
    bool up;             /* link */
    const char *bridge;  /* move; NULL for none */
    uint64_t bytes;      /* resize; 0 for what the image has now */
    bool shrink;
    bool mend;
    bool qmp_events;
    bool print;
    bool cold;           /* the guest does not run: its record alone */
    bool paused;         /* boot */
    bool migration;      /* check */
    bool verbose;
    uint32_t incoming;   /* boot: one of enum kvm_boot_incoming, and from where */
    const char *incoming_address;
    uint32_t format;     /* convert: one of enum kvm_runtime_format, and where to */
    const char *file;
    uint32_t backing;    /* one of enum kvm_hotplug_backing, and what it names */
    const char *backing_paths[MAX_BACKING_PATHS];
    uint32_t backing_count;
    struct kvm_hotplug_command qmp;
    struct kvm_runtime_config config;
    struct kvm_hotplug_open_options listener;
    struct kvm_hotplug_nic nic;
    struct kvm_hotplug_disk disk;
    struct kvm_hotplug_controller controller;
};

enum parsed { PARSED, PARSED_HELP, PARSED_WRONG };

/* Of struct kvm_hotplug_del_options, as the options say. */
uint32_t removal_flags(const struct options *options);

/* The strings stay argv's. PARSED_HELP: what was asked for is printed; PARSED_WRONG: there is a complaint (usage.h), and
 * options->json says how it is to be told. */
enum parsed options_parse(struct options *options, int argc, char **argv);

#endif
