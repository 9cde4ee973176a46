/* What the parts of kvmctl share: one guest, and how commands end. */
#ifndef KVMCTL_H
#define KVMCTL_H

#include <kvm_hotplug.h>

#include "options.h"
#include "printing.h"
#include "terminal.h"

/* Exit statuses, so that scripts can tell "not yet" from "no". help.c has the words. */
enum status {
    STATUS_DONE = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_AFTER_REBOOT = 3, /* recorded; the running guest is as it was */
    STATUS_PENDING = 4,      /* the guest has been asked to let a device go, and has not yet */
    STATUS_DIFFERENT = 5,    /* record and guest disagree, or something stands in the way of a start */
};

struct ctl {
    struct options options;
    struct terminal terminal;
    struct kvm_runtime *runtime;
    struct kvm_hotplug *guest; /* NULL in commands that work on the record alone */
    bool only_looks;           /* the guest was opened for looking */
};

/* Where the image of a disk is; valid until the next call. */
const char *ctl_path(const struct kvm_hotplug_device *disk);

/* The commands; each says what it did on stdout, as JSON if asked to, and what went wrong on stderr. */
enum status ctl_init(struct ctl *ctl);
enum status ctl_boot(struct ctl *ctl);
enum status ctl_plan_boot(struct ctl *ctl);
enum status ctl_check(struct ctl *ctl);
enum status ctl_convert(struct ctl *ctl);
enum status ctl_backing(struct ctl *ctl);
enum status ctl_accept(struct ctl *ctl);
enum status ctl_map(struct ctl *ctl);
enum status ctl_list(struct ctl *ctl);
enum status ctl_add_nic(struct ctl *ctl);
enum status ctl_add_disk(struct ctl *ctl);
enum status ctl_add_scsi(struct ctl *ctl);
enum status ctl_del(struct ctl *ctl);
enum status ctl_link(struct ctl *ctl);
enum status ctl_move(struct ctl *ctl);
enum status ctl_resize(struct ctl *ctl);
enum status ctl_plan(struct ctl *ctl);
enum status ctl_verify(struct ctl *ctl);
enum status ctl_settle(struct ctl *ctl);
enum status ctl_watch(struct ctl *ctl);
enum status ctl_qmp(struct ctl *ctl);

#endif
