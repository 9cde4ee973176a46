#include "boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "files.h"
#include "guest.h"

enum { WAIT_MS = 10000, MAX_DIFFERENCES = 16 };

void vm_prepare(struct vm *vm, const struct qemu_options *options)
{
    struct arguments command = {.count = 0};
    struct kvm_runtime_config config = {.name = "boot"};

    memset(vm, 0, sizeof *vm);
    vm->qemu = qemu_compose(options, &command);
    snprintf(vm->path, sizeof vm->path, "%s/vm.runtime", vm->qemu->dir);
    config.command = (const char *const *)command.list;
    config.command_count = (uint64_t)command.count;
    works(kvmh_runtime_new(&config, &vm->runtime, &failure));
    works(kvm_runtime_save(vm->runtime, vm->path, &failure));
    arguments_free(&command);
}

static int inherit(const void *boot)
{
    return kvm_boot_inherit(boot);
}

void vm_launch(struct vm *vm, const struct kvm_boot_options *options)
{
    struct kvm_boot *boot = NULL;
    struct qemu_launch launch = {.prepare = inherit};

    works(kvmh_runtime_boot(vm->runtime, options, &boot, &failure));
    launch.argv = kvm_boot_argv(boot, NULL);
    launch.data = boot;
    qemu_launch(vm->qemu, &launch);
    kvm_boot_free(boot);
}

void vm_attach(struct vm *vm)
{
    works(kvm_hotplug_open(vm->runtime, vm->qemu->qmp_path, (uint32_t)test_patience(WAIT_MS), &vm->guest, &failure));
}

void vm_boot(struct vm *vm, const struct kvm_boot_options *options)
{
    bool boots =
        options == NULL || (options->incoming == KVM_BOOT_INCOMING_NONE && !(options->flags & KVM_BOOT_PAUSED));

    vm_launch(vm, options);
    if (boots && vm->qemu->guest)
        guest_wait_boot(vm->qemu);
    else if (boots)
        qemu_wait_firmware(vm->qemu, 0);
    vm_attach(vm);
}

void vm_switch_off(struct vm *vm)
{
    kvm_hotplug_close(vm->guest);
    vm->guest = NULL;
    qemu_end(vm->qemu);
}

void vm_copy(struct vm *vm, const struct vm *from)
{
    vm_copy_changed(vm, from, "", "");
}

/* Where the one place is that has the text. */
static const char *only(const char *record, const char *text)
{
    const char *at = strstr(record, text);

    if (at == NULL || (*text != '\0' && strstr(at + 1, text) != NULL))
        FAIL("\"%s\" is not in the record exactly once: %s", text, record);
    return at;
}

void vm_copy_changed(struct vm *vm, const struct vm *from, const char *old, const char *new)
{
    char *record = file_read(from->path, NULL), *changed = NULL;
    const char *at;

    CHECK(record != NULL);
    at = only(record, old);
    if (asprintf(&changed, "%.*s%s%s", (int)(at - record), record, new, at + strlen(old)) < 0)
        FAIL("out of memory");
    memset(vm, 0, sizeof *vm);
    vm->qemu = qemu_sibling(from->qemu);
    snprintf(vm->path, sizeof vm->path, "%s/vm.runtime", vm->qemu->dir);
    file_write(vm->path, changed, strlen(changed));
    free(record);
    free(changed);
    works(kvm_runtime_load(vm->path, &vm->runtime, &failure));
}

void vm_check_verified(const char *file, int line, struct vm *vm)
{
    struct kvm_hotplug_difference found[MAX_DIFFERENCES];
    size_t count = 0;

    works(kvmh_verify(vm->guest, (uint32_t)test_patience(WAIT_MS), found, MAX_DIFFERENCES, &count, &failure));
    if (count > 0)
        test_fail(file, line, "%zu differences, the first: %s", count, found[0].text);
    test_count_check();
}

void for_version(const struct vm *vm, struct kvm_boot_options *options)
{
    qemu_version(vm->qemu->program, &options->qemu_major, &options->qemu_minor);
}
