/* A guest says no to a removal (tests/guest/refuse.S). QEMU has no way to hear that of a PCI device, so it
 * looks like a guest that takes its time: pending, until it lets go after all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/boot_sector.h"
#include "support/clock.h"
#include "support/not_run.h"
#include "support/plug.h"

static struct vm vm;
static struct stream serial;

static void says(const char *line)
{
    long long end = now_ms() + test_patience(30000);
    char *at;

    while ((at = serial.length > 0 ? strstr(serial.data, line) : NULL) == NULL)
        if (!stream_read(&serial, end))
            FAIL("the guest does not say \"%s\"", line);
    stream_consume(&serial, (size_t)(at - serial.data) + strlen(line));
    test_count_check();
}

static void start_the_guest(void)
{
    struct kvm_hotplug_disk disk = {.id = "system", .boot_index = 1, .flags = KVM_HOTPLUG_BOOT_INDEX};
    char path[TEST_PATH], *program;
    size_t length;

    program = file_read(vm.qemu->q35 ? REFUSE "q35" : REFUSE "pc", &length);
    CHECK(program != NULL);
    path_in(path, vm.qemu->dir, "system.img");
    boot_sector(path, program, length);
    free(program);
    disk.path = path;
    works(add_disk(&vm, &disk, NULL));
    qmp(vm.qemu, "{\"execute\":\"system_reset\"}");
    says("ready\n");
}

/* How often it is in the table in which the firmware has what the machine's hardware can do. */
static int count_in_dsdt(const char *word)
{
    char path[TEST_PATH], command[256], *memory, *at, *end;
    size_t length, table;
    int count = 0;

    path_in(path, vm.qemu->dir, "memory");
    snprintf(command, sizeof command,
             "{\"execute\":\"pmemsave\",\"arguments\":{\"val\":0,\"size\":%d,\"filename\":\"%s\"}}", 64 * MEBIBYTE,
             path);
    vm_observe(&vm, command);
    memory = file_read(path, &length);
    CHECK(memory != NULL);
    end = memory + length;
    for (at = memory; (at = memmem(at, (size_t)(end - at), "DSDT", 4)) != NULL; at++)
        if (end - at > 36 && memcmp(at + 10, "BOCHS ", 6) == 0)
            break;
    if (at == NULL)
        FAIL("there is no DSDT in the guest's memory");
    table = (unsigned char)at[4] | (size_t)(unsigned char)at[5] << 8 | (size_t)(unsigned char)at[6] << 16;
    CHECK(table > 1000 && table < (size_t)(end - at));
    end = at + table;
    for (; (at = memmem(at, (size_t)(end - at), word, 4)) != NULL; at++)
        count++;
    free(memory);
    return count;
}

/* Each slot can be ejected, and of none can be said how that went: the one method for it is that of the
 * processor. */
static void has_no_words_for_it(void)
{
    CHECK(count_in_dsdt("_EJ0") > 2);
    CHECK_NUMBER(count_in_dsdt("_OST"), 1);
}

static void refuses(void)
{
    struct kvm_hotplug_device device;
    char path[TEST_PATH];

    path_in(path, vm.qemu->dir, "payload.img");
    image_raw(path, MEBIBYTE);
    vm_add_disk(&vm, "payload", path);
    answers(unplug(&vm, "payload", 1000), KVM_HOTPLUG_ANSWER_PENDING);
    says("asked\n");
    says("refused\n");
    /* What it says of a processor is handed on, ... */
    CHECK(qmp_wait_event(vm.qemu, "ACPI_DEVICE_OST", "\"source\": 3", test_patience(10000)) != NULL);
    /* ... and nothing of the device. */
    CHECK(kvm_hotplug_process(vm.guest, 0, &failure) >= 0);
    vm_nothing_to_fetch(&vm);
    device = vm_device(&vm, "payload");
    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_PENDING);
    answers(unplug(&vm, "payload", 1000), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK(vm_has_journal(&vm));
}

static void lets_go_after_all(void)
{
    stream_write(&serial, "x", 1);
    says("let go\n");
    expect_event(&vm, KVM_HOTPLUG_EVENT_REMOVED, "payload", test_patience(10000));
    check_gone(&vm, "payload");
}

int main(void)
{
    char directory[TEST_PATH], path[TEST_PATH], option[TEST_PATH + 32];
    const char *const extra[] = {"-serial", option, NULL};

    test_begin("qemu-refusal", 120);
    directory_new(directory);
    path_in(path, directory, "serial");
    snprintf(option, sizeof option, "unix:%s,server=on,wait=off", path);
    vm_start(&vm, &(struct qemu_options){.extra = extra, .memory_mb = 64});
    if (has_native_hotplug(vm.qemu))
        test_not_run("a q35 before QEMU 6.1 has PCI Express's own hotplug");
    CHECK(stream_connect(&serial, path, vm.qemu->pid, test_patience(10000)));
    start_the_guest();
    has_no_words_for_it();
    refuses();
    lets_go_after_all();
    stream_close(&serial);
    vm_stop(&vm);
    return test_end();
}
