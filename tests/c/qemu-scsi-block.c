/* A SCSI device of the host that is handed through: the guest's commands go to the device itself. The device
 * is one of the kernel's module scsi_debug, which not every machine has. */
/* ctest: machine=all */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/boot_sector.h"
#include "support/clock.h"
#include "support/reaper.h"
#include "support/not_run.h"
#include "support/plug.h"
#include "support/run.h"

static char directory[TEST_PATH], node[TEST_PATH];
static struct serial_port serial;

static void load_module(void)
{
    if (file_exists("/sys/module/scsi_debug"))
        test_not_run("the kernel's module scsi_debug is in use by somebody else");
    reaper_owns_module("scsi_debug");
    if (run((const char *[]){"modprobe", "scsi_debug", "dev_size_mb=8", "add_host=1", "num_tgts=1", "max_luns=1",
                             NULL}) != 0)
        test_not_run("the kernel's module scsi_debug cannot be loaded");
}

/* A node of the test's own for the one device that the module makes; /dev may have none, and udev may be late
 * with it. */
static void find_device(void)
{
    static const char pattern[] = "/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*/dev";
    unsigned major_number = 0, minor_number = 0;
    glob_t found = {.gl_pathc = 0};
    char *numbers;

    for (int i = 0; i < 500 && glob(pattern, 0, NULL, &found) != 0; i++)
        sleep_ms(10);
    CHECK_NUMBER(found.gl_pathc, 1);
    numbers = file_read(found.gl_pathv[0], NULL);
    CHECK(numbers != NULL && sscanf(numbers, "%u:%u", &major_number, &minor_number) == 2);
    free(numbers);
    globfree(&found);
    path_in(node, directory, "device");
    ok(mknod(node, S_IFBLK | 0600, makedev(major_number, minor_number)));
}

/* The firmware reads the device by the commands that it is sent, and what it reads runs. */
static void handed_through(const char *machine)
{
    char option[TEST_PATH + 8];
    const char *const extra[] = {"-serial", option, NULL};
    struct kvm_hotplug_disk disk = {.id = "through",
                                    .path = node,
                                    .model = "scsi-block",
                                    .boot_index = 1,
                                    .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_device device;
    struct vm vm;

    serial.known = 0;
    path_in(serial.path, directory, machine);
    snprintf(option, sizeof option, "file:%s", serial.path);
    boot_sector_says_on(node, machine);
    vm_start(&vm, &(struct qemu_options){.machine = machine, .extra = extra, .memory_mb = 64});
    works(add_disk(&vm, &disk, &device));
    CHECK_NUMBER(device.address_type, KVM_HOTPLUG_ADDRESS_SCSI);
    CHECK_TEXT(device.model, "scsi-block");
    CHECK_PART(qmp(vm.qemu, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/through\","
                            "\"property\":\"type\"}}"),
               "\"scsi-block\"");
    CHECK_VERIFIED(&vm);
    if (has_native_hotplug(vm.qemu)) {
        test_part_not_run("starting from the device", "the firmware of this QEMU hangs when a q35 is reset");
    } else {
        qmp(vm.qemu, "{\"execute\":\"system_reset\"}");
        serial_says(&serial, machine);
    }
    /* The same again is the same; another one over it is refused. */
    works(add_disk(&vm, &disk, &device));
    disk.id = "other";
    fails(add_disk(&vm, &disk, NULL), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "through");
    works(unplug(&vm, "through", 0));
    check_gone(&vm, "through");
    vm_stop(&vm);
}

int main(void)
{
    static const char *const machines[] = {"pc", "q35"};

    test_begin("qemu-scsi-block", 180);
    directory_new(directory);
    load_module();
    find_device();
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        handed_through(machines[i]);
    return test_end();
}
