/* A guest that another program has started, with names of that program's own for netdev, block nodes and
 * drives. A record that says them is enough: the library verifies the devices, takes them out with everything
 * behind them, and starts the guest anew with names of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/arguments.h"
#include "support/boot.h"
#include "support/files.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/reaper.h"
#include "support/run.h"

enum { DEVICES = 4, FIRST_SLOT = 5, MOST_TEXT = 8192 };

static const char tap[] = "kht-adopted";
static const char *const ids[DEVICES] = {"net0", "virtio-disk0", "vd0", "vd1"};
/* What is behind them in QEMU. */
static const char *const backends[] = {"hostnet0", "format0", "storage0", "drive0", "drive1"};

static char directory[TEST_PATH], raw[TEST_PATH], cow[TEST_PATH], base[TEST_PATH], layered[TEST_PATH];
static struct vm vm;

/* Where a device is: a slot of pci.0, or a root port. */
static void place(int number, char bus[16], int *ret_slot)
{
    snprintf(bus, 16, vm.qemu->q35 ? "rp%d" : "pci.0", number);
    *ret_slot = vm.qemu->q35 ? 0 : FIRST_SLOT + number;
}

static void add_device(struct arguments *command, int number, const char *what)
{
    char bus[16];
    int slot;

    place(number, bus, &slot);
    arguments_add(command, "-device");
    arguments_add(command, "%s,id=%s,bus=%s,addr=0x%x", what, ids[number], bus, slot);
}

/* As the other program has started it. */
static void add_devices(struct arguments *command)
{
    arguments_add(command, "-netdev");
    arguments_add(command, "tap,id=hostnet0,ifname=%s,script=no,downscript=no", tap);
    add_device(command, 0, "virtio-net-pci,netdev=hostnet0,mac=52:54:00:00:00:11,romfile=");
    arguments_add(command, "-blockdev");
    arguments_add(command, "driver=file,node-name=storage0,filename=%s", cow);
    arguments_add(command, "-blockdev");
    arguments_add(command, "driver=qcow2,node-name=format0,file=storage0");
    add_device(command, 1, "virtio-blk-pci,drive=format0");
    arguments_add(command, "-drive");
    arguments_add(command, "if=none,id=drive0,file=%s,format=raw", raw);
    add_device(command, 2, "virtio-blk-pci,drive=drive0");
    arguments_add(command, "-drive");
    arguments_add(command, "if=none,id=drive1,file=%s,format=qcow2", layered);
    add_device(command, 3, "virtio-blk-pci,drive=drive1");
}

/* The object of a device in the record. */
static int describe(char *text, int number, const char *more)
{
    char bus[16];
    int slot;

    place(number, bus, &slot);
    return sprintf(text, "{\"id\":\"%s\",\"generation\":%d,\"address\":{\"bus\":\"%s\",\"slot\":%d},%s}", ids[number],
                   number + 1, bus, slot, more);
}

static void describe_disk(char *text, int number, const char *path, const char *format, const char *backend)
{
    char more[TEST_PATH * 2];

    snprintf(more, sizeof more, "\"path\":\"%s\",\"format\":\"%s\",\"backend\":%s", path, format, backend);
    text += describe(text, number, more);
    strcpy(text, number + 1 < DEVICES ? "," : "");
}

/* Puts the devices into the record, whose lists are empty. */
static void record_devices(void)
{
    static const char empty[] = "\"nics\": [],\n  \"disks\": []";
    char nic[512], disks[3][512], text[MOST_TEXT];
    char *record = file_read(vm.path, NULL), *at;

    CHECK(record != NULL);
    at = strstr(record, empty);
    if (at == NULL)
        FAIL("there are no empty lists in %s", record);
    snprintf(text, sizeof text, "\"mac\":\"52:54:00:00:00:11\",\"ifname\":\"%s\",\"backend\":{\"netdev\":\"hostnet0\"}",
             tap);
    describe(nic, 0, text);
    describe_disk(disks[0], 1, cow, "qcow2", "{\"nodes\":[\"format0\",\"storage0\"]}");
    describe_disk(disks[1], 2, raw, "raw", "{\"drive\":\"drive0\"}");
    describe_disk(disks[2], 3, layered, "qcow2", "{\"drive\":\"drive1\"}");
    CHECK(snprintf(text, sizeof text, "%.*s\"nics\":[%s],\"disks\":[%s%s%s]%s", (int)(at - record), record, nic,
                   disks[0], disks[1], disks[2], at + strlen(empty)) < MOST_TEXT);
    file_write(vm.path, text, strlen(text));
    free(record);
}

/* The guest runs, and the library has its record. */
static void adopt(void)
{
    struct arguments command = {.count = 0};
    struct kvm_runtime_config config = {.name = "adopted"};

    image_raw(raw, MEBIBYTE);
    image_raw(base, MEBIBYTE);
    image_qcow2(cow, "1M", NULL, NULL);
    image_qcow2(layered, "1M", base, "raw");
    memset(&vm, 0, sizeof vm);
    vm.qemu = qemu_compose(&(struct qemu_options){0}, &command);
    snprintf(vm.path, sizeof vm.path, "%s/vm.runtime", vm.qemu->dir);
    config.command = (const char *const *)command.list;
    config.command_count = (uint64_t)command.count;
    works(kvmh_runtime_new(&config, &vm.runtime, &failure));
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    kvm_runtime_free(vm.runtime);
    record_devices();
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvm_runtime_accept_chain(vm.runtime, "vd1", 0, NULL, 0, &failure));
    kvm_runtime_free(vm.runtime);
    add_devices(&command);
    qemu_launch(vm.qemu, &(struct qemu_launch){.argv = (const char *const *)command.list});
    arguments_free(&command);
    qemu_wait_firmware(vm.qemu, 0);
    vm_open(&vm);
}

static void check_nothing_behind(void)
{
    char *picture = vm_picture(&vm);

    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strstr(picture, backends[i]) != NULL)
            FAIL("%s is still there: %s", backends[i], picture);
    free(picture);
    CHECK(qmp_contains(vm.qemu, "{\"execute\":\"query-named-block-nodes\"}", "{\"return\":[]}"));
    CHECK(qmp_contains(vm.qemu, "{\"execute\":\"query-block\"}", "{\"return\":[]}"));
    CHECK(!vm_has_journal(&vm));
    CHECK_NUMBER(recorded(&vm), 0);
}

static void leaves(void)
{
    struct kvm_hotplug_device found[DEVICES + 1];
    size_t count = 0;

    adopt();
    works(kvmh_list(vm.guest, found, DEVICES + 1, &count, &failure));
    CHECK_NUMBER(count, DEVICES);
    for (int i = 0; i < DEVICES; i++) {
        CHECK_TEXT(found[i].id, ids[i]);
        CHECK_NUMBER(found[i].state, KVM_HOTPLUG_STATE_LIVE);
    }
    CHECK_VERIFIED(&vm);
    answers(kvm_hotplug_set_link(vm.guest, "net0", 0, 0, &failure), KVM_HOTPLUG_ANSWER_DONE);
    answers(kvm_hotplug_set_link(vm.guest, "net0", 1, 0, &failure), KVM_HOTPLUG_ANSWER_DONE);
    for (int i = 0; i < DEVICES; i++) {
        unplug_by_reset(&vm, ids[i]);
        check_gone(&vm, ids[i]);
        CHECK_VERIFIED(&vm);
    }
    check_nothing_behind();
    CHECK(link_exists(tap));
    /* They come again, as the library's own. */
    vm_add_nic(&vm, ids[0]);
    vm_add_disk(&vm, ids[1], raw);
    CHECK_VERIFIED(&vm);
    CHECK(!vm_record_contains(&vm, "\"backend\""));
    unplug_by_reset(&vm, ids[0]);
    unplug_by_reset(&vm, ids[1]);
    check_nothing_behind();
    vm_stop(&vm);
}

/* Whether an argument of the command that boots the record has this part. */
static bool boots_with(const char *part)
{
    struct kvm_boot *boot = NULL;
    bool found = false;

    works(kvmh_runtime_boot(vm.runtime, &(struct kvm_boot_options){.flags = KVM_BOOT_DRY_RUN}, &boot, &failure));
    for (const char *const *argv = kvm_boot_argv(boot, NULL); *argv != NULL; argv++)
        found = found || strstr(*argv, part) != NULL;
    kvm_boot_free(boot);
    return found;
}

static void boots_anew(void)
{
    struct kvm_hotplug_del_options net0 = {.id = ids[0]};
    char part[64];

    adopt();
    CHECK(vm_record_contains(&vm, "\"format0\""));
    vm_switch_off(&vm);
    /* Its tap is another program's. */
    works(kvmh_runtime_del(vm.runtime, &net0, NULL, &failure));
    for (int i = 1; i < DEVICES; i++) {
        snprintf(part, sizeof part, "drive=%s,", ids[i]);
        CHECK(boots_with(part));
    }
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        CHECK(!boots_with(backends[i]));
    CHECK(vm_record_contains(&vm, "\"format0\""));
    vm_boot(&vm, NULL);
    CHECK_VERIFIED(&vm);
    CHECK(!vm_record_contains(&vm, "\"backend\""));
    for (int i = 1; i < DEVICES; i++)
        unplug_by_reset(&vm, ids[i]);
    check_nothing_behind();
    vm_stop(&vm);
}

int main(void)
{
    test_begin("qemu-adopted-names", 120);
    net_private();
    reaper_owns_link(tap);
    CHECK_NUMBER(run((const char *[]){"ip", "tuntap", "add", "dev", tap, "mode", "tap", NULL}), 0);
    directory_new(directory);
    path_in(raw, directory, "x.img");
    path_in(base, directory, "base.img");
    path_in(cow, directory, "y.qcow2");
    path_in(layered, directory, "z.qcow2");
    leaves();
    boots_anew();
    return test_end();
}
