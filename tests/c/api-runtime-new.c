/* What a record begins with: structs of older and newer callers, limits, and what comes out of the file
 * again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/files.h"
#include "support/library.h"

static struct kvm_runtime *runtime;
static char directory[TEST_PATH], path[TEST_PATH];

static void forget(void)
{
    kvm_runtime_free(runtime);
    runtime = NULL;
    remove(path);
}

static void sizes(void)
{
    struct {
        struct kvm_runtime_config config;
        unsigned char more[8];
    } newer = {.config = {.name = "web1", .flags = KVM_RUNTIME_NEW_RESERVED_SLOTS, .reserved_slots = 99}};

    invalid(kvm_runtime_new(&newer.config, 0, &runtime, &failure), "config", "size 0", "pass its sizeof");
    invalid(kvm_runtime_new(&newer.config, 1 << 20, &runtime, &failure), "config", "size 1048576");
    /* Only the name is passed, as by a caller whose header had no more. */
    invalid(kvm_runtime_new(&newer.config, sizeof newer.config.name, &runtime, &failure), "config", "size 8",
            "pass its sizeof");
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    forget();
    newer.config.reserved_slots = 2;
    works(kvm_runtime_new(&newer.config, sizeof newer, &runtime, &failure));
    forget();
    newer.more[7] = 1;
    fails(kvm_runtime_new(&newer.config, sizeof newer, &runtime, &failure), -E2BIG, KVM_HOTPLUG_ERROR_VERSION, "config",
          "a field is set that this version of the library does not have");
    CHECK(runtime == NULL);
}

static void limits(void)
{
    struct kvm_runtime_config config = {.flags = 2};
    const char *command[1] = {"\xff"};
    char *endless = calloc(1, (128 << 10) + 2);

    CHECK(endless != NULL);
    memset(endless, 'x', (128 << 10) + 1);
    invalid(kvmh_runtime_new(&config, &runtime, &failure), "config flags", "unknown flag bits 0x2");
    config.flags = KVM_RUNTIME_NEW_RESERVED_SLOTS;
    config.reserved_slots = 33;
    fails(kvmh_runtime_new(&config, &runtime, &failure), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT, "reserved_slots is 33",
          "32 slots");
    config = (struct kvm_runtime_config){.name = "\xc3("};
    invalid(kvmh_runtime_new(&config, &runtime, &failure), "name is not UTF-8");
    config.name = endless;
    fails(kvmh_runtime_new(&config, &runtime, &failure), -EMSGSIZE, KVM_HOTPLUG_ERROR_LIMIT,
          "name has more than 131072 bytes");
    config = (struct kvm_runtime_config){.command = command, .command_count = 1};
    invalid(kvmh_runtime_new(&config, &runtime, &failure), "command[0] is not UTF-8");
    config.command_count = 65537;
    fails(kvmh_runtime_new(&config, &runtime, &failure), -EMSGSIZE, KVM_HOTPLUG_ERROR_LIMIT,
          "more than 65536 arguments");
    CHECK(runtime == NULL);
    free(endless);
}

static void reserved(uint32_t slots, uint32_t flags, const char *recorded)
{
    struct kvm_runtime_config config = {.reserved_slots = slots, .flags = flags};

    works(kvmh_runtime_new(&config, &runtime, &failure));
    works(kvm_runtime_save(runtime, path, &failure));
    CHECK(file_contains(path, recorded));
    forget();
}

static void everything_is_saved(void)
{
    const char *const command[] = {"/usr/bin/qemu-system-x86_64", "-name", "with \"quotes\" and \xe2\x82\xac"};
    struct kvm_runtime_config config = {.name = "web1", .command = command, .command_count = 3};
    size_t count = 99;

    works(kvmh_runtime_new(&config, &runtime, &failure));
    works(kvmh_runtime_list(runtime, NULL, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
    works(kvm_runtime_save(runtime, path, &failure));
    CHECK(file_contains(path, "\"web1\""));
    CHECK(file_contains(path, "\"with \\\"quotes\\\" and \xe2\x82\xac\""));
    forget();
}

int main(void)
{
    test_begin("api-runtime-new", 10);
    directory_new(directory);
    path_in(path, directory, "web1.runtime");
    sizes();
    limits();
    reserved(0, 0, "\"reserved_slots\": 4");
    reserved(7, 0, "\"reserved_slots\": 4");
    reserved(0, KVM_RUNTIME_NEW_RESERVED_SLOTS, "\"reserved_slots\": 0");
    reserved(32, KVM_RUNTIME_NEW_RESERVED_SLOTS, "\"reserved_slots\": 32");
    everything_is_saved();
    CHECK_NUMBER(directory_count(directory), 0);
    return test_end();
}
