/* Two hosts: network namespaces of the test's own, joined by a cable, each with a bridge of the same name and
 * address for its guests. Files are on storage that both have. */
#ifndef TEST_HOSTS_H
#define TEST_HOSTS_H

#include "boot.h"

#define HOSTS_BRIDGE "br0"

/* The calling thread is on the first of them afterwards. To be called while there is one thread. */
void hosts_new(void);

/* What this thread does from here on, it does on that host: 0 or 1. */
void hosts_enter(int host);

/* What a migration goes through before its end. */
struct migration {
    int to;            /* host */
    bool stopped;      /* its processors do not run, and do not afterwards */
    bool check_middle; /* hold it in its middle, and see that nothing can be plugged */
};

/* Migrates a guest to a QEMU that is started there from a copy of its runtime file, which is verified before.
 * The one that has been left is ended, and the thread is on the other host. */
void vm_migrate(struct vm *from, struct vm *to, const struct migration *migration);

/* The two halves of it: everything up to the start, and the rest. */
void vm_make_target(struct vm *from, struct vm *to, int host);
void vm_move(struct vm *from, struct vm *to, const struct migration *migration);

#endif
