/* A guest that somebody else has started is adopted by the C interface: the report, a dry run, a record in a
 * file, changes, and a start from it. tests/adopt_qemu.rs has the command lines of other programs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/boot.h"
#include "support/clock.h"
#include "support/files.h"
#include "support/json.h"
#include "support/net.h"
#include "support/plug.h"

enum { WAIT_MS = 10000 };

static struct vm vm;
static char folder[TEST_PATH], root[TEST_PATH], more[TEST_PATH];

static struct kvm_runtime_adopt_options options(void)
{
    return (struct kvm_runtime_adopt_options){.qmp_path = vm.qemu->qmp_path,
                                              .timeout_ms = (uint32_t)test_patience(WAIT_MS)};
}

static void start(void)
{
    const char *machine = getenv("KVM_HOTPLUG_TEST_MACHINE");
    bool q35 = machine != NULL && strcmp(machine, "q35") == 0;
    static char drive[TEST_PATH + 64], disk[128], nic[128];
    const char *extra[] = {"-name",   "web",
                           "-netdev", "tap,id=hostnet0,ifname=lan0,script=no,downscript=no",
                           "-device", nic,
                           "-drive",  drive,
                           "-device", disk,
                           "-device", "virtio-rng-pci,id=rng0",
                           "-device", "usb-ehci,id=usb",
                           NULL};

    snprintf(drive, sizeof drive, "file=%s,format=raw,if=none,id=drive0,cache=none", root);
    snprintf(disk, sizeof disk, "virtio-blk-pci,drive=drive0,id=root%s", q35 ? ",bus=rp1" : "");
    snprintf(nic, sizeof nic, "virtio-net-pci,netdev=hostnet0,id=lan,romfile=,mac=52:54:00:00:00:01%s",
             q35 ? ",bus=rp0" : "");
    vm.qemu = qemu_start(&(struct qemu_options){.extra = extra});
    qemu_wait_firmware(vm.qemu, 0);
    snprintf(vm.path, sizeof vm.path, "%s/vm.runtime", vm.qemu->dir);
}

/* The report by itself; nothing is made, and nothing in the guest changes. */
static void dry_run(void)
{
    struct kvm_runtime_adopt_options request = options();
    char *picture = vm_picture(&vm), *report = NULL;

    works(kvmh_runtime_adopt(&request, NULL, &report, &failure));
    CHECK(json_is_whole(report));
    CHECK_PART(report, "\"id\":\"lan\",\"model\":\"virtio-net-pci\",\"type\":\"nic\"");
    CHECK_PART(report, "\"id\":\"root\",\"model\":\"virtio-blk-pci\",\"type\":\"disk\"");
    CHECK_PART(report, "the record has no place for a virtio-rng-pci");
    CHECK_PART(report, "\"what\":\"usb\"");
    kvm_hotplug_text_free(report);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

static void refusals(void)
{
    struct kvm_runtime_adopt_options request = options();
    const char *const empty[] = {"qemu"};

    request.pid = -1;
    invalid(kvmh_runtime_adopt(&request, &vm.runtime, NULL, &failure), "pid -1");
    request.pid = 0;
    request.flags = KVM_RUNTIME_OPEN_READ_ONLY;
    invalid(kvmh_runtime_adopt(&request, &vm.runtime, NULL, &failure), "flags");
    request.flags = KVM_RUNTIME_NEW_RESERVED_SLOTS;
    request.reserved_slots = 33;
    fails(kvmh_runtime_adopt(&request, &vm.runtime, NULL, &failure), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT,
          "reserved_slots is 33");
    request = options();
    request.qmp_path = "/nowhere";
    fails(kvmh_runtime_adopt(&request, &vm.runtime, NULL, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "/nowhere");
    CHECK(vm.runtime == NULL);
    /* A command that is given counts, whatever the process's is. */
    request = options();
    request.name = "other";
    request.command = empty;
    request.command_count = 1;
    works(kvmh_runtime_adopt(&request, &vm.runtime, NULL, &failure));
    kvm_runtime_free(vm.runtime);
    vm.runtime = NULL;
}

/* Without a file, for the time of one handle. */
static void in_memory(void)
{
    struct kvm_runtime_adopt_options request = options();
    struct kvm_hotplug_open_options how = {.flags = KVM_HOTPLUG_OPEN_IN_MEMORY};

    works(kvmh_runtime_adopt(&request, &vm.runtime, NULL, &failure));
    fails(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &vm.guest, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE,
          "no file yet");
    works(kvmh_open_with(vm.runtime, vm.qemu->qmp_path, &how, &vm.guest, &failure));
    CHECK_VERIFIED(&vm);
    vm_add_nic(&vm, "wan");
    CHECK_VERIFIED(&vm);
    fails(kvm_runtime_save(vm.runtime, vm.path, &failure), -EBUSY, KVM_HOTPLUG_ERROR_STATE, "close it first");
    vm_close(&vm);
    CHECK(!file_exists(vm.path));
}

static struct kvm_hotplug_device recorded_device(const char *id)
{
    struct kvm_hotplug_device devices[4];
    size_t count = 0;

    works(kvmh_runtime_list(vm.runtime, devices, 4, &count, &failure));
    CHECK_NUMBER(count, 3);
    for (size_t i = 0; i < count; i++)
        if (strcmp(devices[i].id, id) == 0)
            return devices[i];
    FAIL("%s is not recorded", id);
}

static void adopt(void)
{
    struct kvm_runtime_adopt_options request = options();
    struct kvm_hotplug_open_options how = {.flags = KVM_HOTPLUG_OPEN_IN_MEMORY};

    works(kvmh_runtime_adopt(&request, &vm.runtime, NULL, &failure));
    CHECK_TEXT(recorded_device("lan").mac, "52:54:00:00:00:01");
    CHECK_TEXT(recorded_device("lan").ifname, "lan0");
    CHECK_NUMBER(recorded_device("root").cache, KVM_HOTPLUG_CACHE_NONE);
    CHECK_TEXT(recorded_device("wan").model, "virtio-net-pci");
    CHECK_RECORDED_PATH(vm.runtime, "root", root);
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    fails(kvmh_open_with(vm.runtime, vm.qemu->qmp_path, &how, &vm.guest, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE,
          "has a file");
    vm_attach(&vm);
    CHECK_VERIFIED(&vm);
}

static void change(void)
{
    vm_add_disk(&vm, "more", more);
    unplug_by_reset(&vm, "lan");
    CHECK(!link_exists("lan0"));
    CHECK_VERIFIED(&vm);
    CHECK_NUMBER(recorded(&vm), 3);
}

/* The guest that is started from the record is the one that was left. */
static void boot(void)
{
    struct kvm_hotplug_device before[] = {vm_device(&vm, "root"), vm_device(&vm, "wan"), vm_device(&vm, "more")};

    vm_switch_off(&vm);
    vm_boot(&vm, NULL);
    CHECK_VERIFIED(&vm);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        struct kvm_hotplug_device now = vm_device(&vm, before[i].id);
        CHECK_TEXT(now.bus, before[i].bus);
        CHECK_NUMBER(now.slot, before[i].slot);
    }
    CHECK(hmp_contains(vm.qemu, "info qtree", "dev: virtio-rng-pci, id \\\"rng0\\\""));
    unplug_by_reset(&vm, "root");
    CHECK_VERIFIED(&vm);
}

int main(void)
{
    test_begin("qemu-adopt", 120);
    net_private();
    directory_new(folder);
    path_in(root, folder, "root.img");
    path_in(more, folder, "more.img");
    image_raw(root, MEBIBYTE);
    image_raw(more, MEBIBYTE);
    start();
    refusals();
    dry_run();
    in_memory();
    adopt();
    change();
    boot();
    vm_stop(&vm);
    return test_end();
}
