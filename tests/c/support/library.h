/* Checks for calls of the library under test, and the things of it that nearly every test needs.
 *
 *     works(kvm_runtime_load(path, &runtime, &failure));  // returns 0, else its message is printed
 *     answers(kvm_hotplug_del_nic(...), KVM_HOTPLUG_ANSWER_PENDING);  // returns this, else likewise
 *     fails(kvm_runtime_load("", &runtime, &failure), -EINVAL, KVM_HOTPLUG_ERROR_INVALID, "path is empty");
 *
 * The call passes &failure, which is one for each thread. fails() checks the return value, the kind, and that
 * the message contains all the texts: what was wrong, where, what to do.
 */
#ifndef TEST_LIBRARY_H
#define TEST_LIBRARY_H

#include <errno.h>
#include <stdbool.h>

#include <kvm_hotplug.h>

#include "check.h"
#include "qemu.h"

extern _Thread_local struct kvm_hotplug_error *failure;

/* What the macros expand to. */
int test_answers(const char *file, int line, const char *call, int got, int want);
void test_fails(const char *file, int line, const char *call, int got, int want, int kind, const char *const texts[]);

#define answers(call, want) ((void)test_answers(__FILE__, __LINE__, #call, (call), (want)))
#define works(call) answers(call, 0)
#define fails(call, want, kind, ...) \
    test_fails(__FILE__, __LINE__, #call, (call), (want), (kind), (const char *const[]){__VA_ARGS__, NULL})

/* The commonest failure. */
#define invalid(call, ...) fails(call, -EINVAL, KVM_HOTPLUG_ERROR_INVALID, __VA_ARGS__)

/* Whether the text is in there; ends the test when not. */
#define CHECK_PART(text, part) test_check_part(__FILE__, __LINE__, #text, (text), (part))
void test_check_part(const char *file, int line, const char *what, const char *text, const char *part);

/* The image of a disk is this one. */
#define CHECK_RECORDED_PATH(runtime, id, want) test_check_path(__FILE__, __LINE__, (runtime), NULL, (id), (want))
#define CHECK_PATH(guest, id, want) test_check_path(__FILE__, __LINE__, NULL, (guest), (id), (want))
void test_check_path(const char *file, int line, const struct kvm_runtime *runtime, const struct kvm_hotplug *guest,
                     const char *id, const char *want);

/* A guest and its record, opened. */
struct vm {
    struct qemu *qemu;
    char path[96]; /* of the runtime file, in QEMU's directory */
    struct kvm_runtime *runtime;
    struct kvm_hotplug *guest;
};

/* Starts QEMU, makes a record in a file, and opens the guest with it. */
void vm_start(struct vm *vm, const struct qemu_options *options);

/* Closes guest and record; QEMU runs on. */
void vm_close(struct vm *vm);

/* Loads the record and opens the guest again: what a new agent does. */
void vm_open(struct vm *vm);

/* Closes everything, and ends QEMU. */
void vm_stop(struct vm *vm);

/* Adds a NIC or disk with default settings, which must work; returns its id, valid until the next call. */
const char *vm_add_nic(struct vm *vm, const char *id);
const char *vm_add_disk(struct vm *vm, const char *id, const char *path);

/* The device, which must exist. */
struct kvm_hotplug_device vm_device(struct vm *vm, const char *id);

/* Completes every pending removal, as a guest without a system never does: QEMU takes the devices out when it
 * resets, and says so some milliseconds later. Returns when the firmware has run, if the guest does. With PCI
 * Express's own hotplug (native.h) a reset takes nothing out, and their slots are switched off instead. */
void vm_reset(struct vm *vm);

/* What QEMU shows of devices, netdevs, block nodes and fdsets, to be freed: the same before and after, or
 * something is left behind. */
char *vm_picture(struct vm *vm);
void vm_check_picture(const char *file, int line, struct vm *vm, const char *before);
#define CHECK_PICTURE(vm, before) vm_check_picture(__FILE__, __LINE__, (vm), (before))

/* Whether the journal has anything, and whether it or the record has this part. */
bool vm_has_journal(const struct vm *vm);
bool vm_journal_contains(const struct vm *vm, const char *part);
bool vm_record_contains(const struct vm *vm, const char *part);

/* Whether the record has a device with this id. It may mention one that it no longer has: QEMU has not said
 * that it is gone. */
bool vm_records(const struct vm *vm, const char *id);

/* Sends commands on the observer that must succeed. */
void vm_observe(struct vm *vm, const char *json);

/* The next event, waited for with poll() on the handle's descriptor; false when none comes. Resets, which
 * tests bring about themselves, are passed over. */
bool vm_next_event(struct vm *vm, struct kvm_hotplug_event *event, int timeout_ms);

/* Fetches everything there is, which must be nothing but resets. */
void vm_nothing_to_fetch(struct vm *vm);

/* The next event must come, and be this one. */
void vm_await(struct vm *vm, int event_type, const char *id);

#endif
