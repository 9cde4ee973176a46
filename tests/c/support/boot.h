/* Guests that are started by the command the library makes for their record. */
#ifndef TEST_BOOT_H
#define TEST_BOOT_H

#include "library.h"

/* Makes a record in a file, with the command that `options` say (without paused and inherit); nothing runs
 * yet. */
void vm_prepare(struct vm *vm, const struct qemu_options *options);

/* Starts QEMU with the command that the library makes (NULL: a boot with defaults), waits until a guest has
 * booted, and opens it. A target of a migration is opened as it waits. */
void vm_boot(struct vm *vm, const struct kvm_boot_options *options);

/* The same, up to the open. */
void vm_launch(struct vm *vm, const struct kvm_boot_options *options);
void vm_attach(struct vm *vm);

/* Closes the guest and ends QEMU; record and directory stay, for another vm_boot(). */
void vm_switch_off(struct vm *vm);

/* Another host's copy of a guest that is prepared with `elsewhere`: a directory of its own with a copy of the
 * runtime file, which is loaded. */
void vm_copy(struct vm *vm, const struct vm *from);

/* The same with `old`, which is in the file once, replaced by `new`. */
void vm_copy_changed(struct vm *vm, const struct vm *from, const char *old, const char *new);

/* Record and guest agree in everything. */
void vm_check_verified(const char *file, int line, struct vm *vm);
#define CHECK_VERIFIED(vm) vm_check_verified(__FILE__, __LINE__, (vm))

/* Says which version the command is for. */
void for_version(const struct vm *vm, struct kvm_boot_options *options);

#endif
