/* What the parts of the example agent share: one guest, and how its commands end. */
#ifndef AGENT_H
#define AGENT_H

#include <kvm_hotplug.h>

#include "options.h"
#include "terminal.h"

/* Exit statuses, so that scripts can tell "not yet" from "no". */
enum status {
    STATUS_DONE = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_AFTER_REBOOT = 3, /* recorded; the running guest is as it was */
    STATUS_PENDING = 4,      /* the guest has been asked to let a device go, and has not yet */
};

struct agent {
    struct options options;
    struct terminal terminal;
    struct kvm_runtime *runtime;
    struct kvm_hotplug *guest; /* NULL in commands that work on the record alone */
};

/* The commands; each says what it did on stdout and what went wrong on stderr. */
enum status agent_init(struct agent *agent);
enum status agent_map(struct agent *agent);
enum status agent_list(struct agent *agent);
enum status agent_add_nic(struct agent *agent);
enum status agent_add_disk(struct agent *agent);
enum status agent_del(struct agent *agent);
enum status agent_watch(struct agent *agent);

#endif
