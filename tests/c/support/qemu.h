/* Starts real QEMUs for a test, and ends them.
 *
 * What the environment decides, so that the same tests run against every version and machine:
 *
 *     KVM_HOTPLUG_TEST_QEMU      the program (qemu-system-x86_64; tests/bin/qemu-versions makes others)
 *     KVM_HOTPLUG_TEST_TARGET    another program, for the hosts that guests are migrated to (the same)
 *     KVM_HOTPLUG_TEST_MACHINE   pc, q35 or virt (Arm's), where the test does not choose (pc)
 *     KVM_HOTPLUG_TEST_ACCEL     tcg or kvm (tcg; tests/lib/accel.sh finds out)
 *     KVM_HOTPLUG_TEST_GUEST     the folder with the guest (build/guest, by tests/guest/build)
 *
 * Every QEMU has a directory of its own, removed when the test ends; qemu.log in it has what QEMU said,
 * console.log what the guest's kernel said, and both are printed when the test fails.
 */
#ifndef TEST_QEMU_H
#define TEST_QEMU_H

#include <stdbool.h>
#include <sys/types.h>

#include "qmp.h"
#include "stream.h"

/* Zero is the default everywhere. */
struct qemu_options {
    const char *machine; /* "pc" or "q35", with properties if need be, or "microvm,pcie=on"; NULL: by environment */
    bool paused;         /* -S: nothing runs until "cont" */
    bool halts;          /* instead of its firmware, a program that halts: resets cost no processor time */
    bool stopped;        /* started, and stopped before the firmware has done anything worth mentioning */
    bool guest;          /* boot the Linux guest of tests/guest; guest.h talks to it */
    bool sleeps;         /* the guest is put to sleep: not on virt */
    int root_ports;      /* q35: how many, rp0 and on; 0: QEMU_ROOT_PORTS, negative: none */
    int processors;      /* 0: one */
    int memory_mb;       /* 0: 256 with a guest, 32 without */
    const char *append;  /* more of the guest's kernel command line */
    const char *const *extra; /* more arguments, NULL at the end */
    const int *inherit;       /* fds QEMU shall have under the same numbers, -1 at the end */
    bool elsewhere; /* the command names nothing of this QEMU's own: another may run it in its own directory */
};

/* What a QEMU is run with, other than by itself. */
struct qemu_launch {
    const char *const *argv;
    const int *inherit;               /* as above */
    int (*prepare)(const void *data); /* in the child, last; 0 or a failure. NULL: nothing */
    const void *data;
};

enum { QEMU_ROOT_PORTS = 4, QEMU_MAX_ROOT_PORTS = 64 };

struct qemu {
    pid_t pid;
    char dir[64];
    char qmp_path[96];        /* the monitor for the library under test: free, nobody is connected */
    struct monitor *observer; /* the test's own */
    struct stream shell;      /* the guest's second serial port; fd -1 without a guest */
    bool q35;                 /* or virt or microvm: its slots are root ports */
    bool virt;                /* the machine of Arm and RISC-V */
    bool elsewhere;           /* runs in its directory, as ./qemu */
    char program[256];        /* what is run */
    bool stopped;             /* see qemu_options */
    bool halts;               /* see qemu_options */
    bool guest;               /* boots the Linux guest, or is one's next home */
    int boot_ms;              /* from start to the guest's ready line */
};

/* Returns when QEMU answers on its monitor and, with a guest that is not paused, when that has booted. */
struct qemu *qemu_start(const struct qemu_options *options);

/* The two halves of it. The command is made, in a directory of its own, and the caller frees it; QEMU is run
 * by that command or another, which has to have the same monitors. Waits for no guest. */
struct arguments;
struct qemu *qemu_compose(const struct qemu_options *options, struct arguments *command);
void qemu_launch(struct qemu *qemu, const struct qemu_launch *launch);

/* Which version `program` is; NULL: what qemu_start() runs. */
void qemu_version(const char *program, unsigned *ret_major, unsigned *ret_minor);

/* One for the same guest that nothing has been run for, with a directory of its own: the program is that of
 * targets. */
struct qemu *qemu_sibling(const struct qemu *qemu);

/* Starts it and stops it again: after -S, or a reset while it was stopped, it does not count as started
 * (`prelaunch`). */
void qemu_start_and_stop(struct qemu *qemu);

/* Makes it end, so that it can be launched again. */
void qemu_end(struct qemu *qemu);

/* Kills it, waits for its end and frees; its directory stays until the test ends. */
void qemu_stop(struct qemu *qemu);

/* Waits for an end that the test itself brought about; returns waitpid()'s status. Frees nothing. */
int qemu_wait(struct qemu *qemu, int timeout_ms);

/* Where there is no guest to boot: waits until the firmware has found that, again since `runs` times. Until
 * then it sets devices up, and takes them out when asked, as it happens to come by. */
void qemu_wait_firmware(struct qemu *qemu, int runs);
int qemu_firmware_runs(struct qemu *qemu);

/* On the observer's monitor: see monitor_command(), monitor_event(). */
const char *qmp(struct qemu *qemu, const char *json);
const char *qmp_wait_event(struct qemu *qemu, const char *name, const char *part, int timeout_ms);

/* Whether the answer to the command has this part in it; and until when it has, asking again and again. */
bool qmp_contains(struct qemu *qemu, const char *json, const char *part);
bool qmp_wait_contains(struct qemu *qemu, const char *json, const char *part, int timeout_ms);

#endif
