/* QEMU in a chroot, as user nobody and under seccomp. */
#ifndef TEST_JAIL_H
#define TEST_JAIL_H

#include "files.h"

struct jail {
    char directory[TEST_PATH]; /* the new root: empty */
    char run_with[TEST_PATH + 64];
    const char *arguments[8]; /* for struct qemu_options */
};

/* Makes the directory, and the arguments as this QEMU spells them. */
void jail_new(struct jail *jail);

/* That QEMU really is locked up: its root, its user, its filter, and that it cannot open this file by
 * itself. */
struct qemu;
void jail_check(const struct jail *jail, struct qemu *qemu, const char *file);

#endif
