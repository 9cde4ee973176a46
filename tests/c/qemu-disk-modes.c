/* Every format, cache and aio mode reaches QEMU as asked for, through descriptors only, and nothing of it
 * stays. */
#include <stdlib.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/plug.h"

static struct vm vm;
static bool warm; /* what QEMU opens for each way of I/O on first use, it keeps */
static char directory[TEST_PATH], raw[TEST_PATH], cow[TEST_PATH], base[TEST_PATH];

static const char nodes[] = "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}";
static const char blocks[] = "{\"execute\":\"query-block\"}";

static void add(const struct kvm_hotplug_disk *disk)
{
    struct kvm_hotplug_device device;

    works(kvmh_add_disk(vm.guest, disk, &device, &failure));
    CHECK_TEXT(device.id, "data");
    CHECK_NUMBER(device.read_only, (disk->flags & KVM_HOTPLUG_DISK_READ_ONLY) != 0);
}

/* `part` is to be seen in QEMU's list of nodes while the disk is in. */
static void tried(const struct kvm_hotplug_disk *disk, const char *part)
{
    char *empty = vm_picture(&vm);
    int fds = process_fds(getpid()), qemu_fds = process_fds(vm.qemu->pid);

    add(disk);
    if (!qmp_contains(vm.qemu, nodes, part))
        FAIL("no %s in %s", part, qmp(vm.qemu, nodes));
    CHECK(qmp_contains(vm.qemu, nodes, "\"/dev/fdset/"));
    CHECK(!qmp_contains(vm.qemu, nodes, "\"file\":\"/var/"));
    CHECK_NUMBER(process_fds(getpid()), fds);
    unplug_by_reset(&vm, "data");
    CHECK_PICTURE(&vm, empty);
    if (warm)
        CHECK_NUMBER(process_fds(vm.qemu->pid), qemu_fds);
    free(empty);
}

static void caches(uint32_t format, const char *path)
{
    static const char *const expected[] = {
        [KVM_HOTPLUG_CACHE_WRITEBACK] = "\"cache\":{\"no-flush\":false,\"direct\":false,\"writeback\":true}",
        [KVM_HOTPLUG_CACHE_NONE] = "\"cache\":{\"no-flush\":false,\"direct\":true,\"writeback\":true}",
        [KVM_HOTPLUG_CACHE_WRITETHROUGH] = "\"cache\":{\"no-flush\":false,\"direct\":false,\"writeback\":true}",
        [KVM_HOTPLUG_CACHE_DIRECTSYNC] = "\"cache\":{\"no-flush\":false,\"direct\":true,\"writeback\":true}",
        [KVM_HOTPLUG_CACHE_UNSAFE] = "\"cache\":{\"no-flush\":true,\"direct\":false,\"writeback\":true}",
    };
    uint32_t cache;

    for (cache = KVM_HOTPLUG_CACHE_WRITEBACK; cache <= KVM_HOTPLUG_CACHE_UNSAFE; cache++) {
        struct kvm_hotplug_disk disk = {.id = "data", .path = path, .format = format, .cache = cache};

        tried(&disk, expected[cache]);
    }
}

static void others(void)
{
    tried(&(struct kvm_hotplug_disk){.id = "data",
                                     .path = raw,
                                     .aio = KVM_HOTPLUG_AIO_NATIVE,
                                     .cache = KVM_HOTPLUG_CACHE_NONE},
          "\"node-name\":\"data\"");
    tried(&(struct kvm_hotplug_disk){.id = "data", .path = raw, .flags = KVM_HOTPLUG_DISK_READ_ONLY}, "\"ro\":true");
    tried(&(struct kvm_hotplug_disk){.id = "data", .path = raw, .format = KVM_HOTPLUG_FORMAT_PROBE},
          "\"node-name\":\"data\"");
    tried(&(struct kvm_hotplug_disk){.id = "data", .path = cow, .format = KVM_HOTPLUG_FORMAT_PROBE},
          "\"drv\":\"qcow2\"");
    tried(&(struct kvm_hotplug_disk){.id = "data",
                                     .path = cow,
                                     .format = KVM_HOTPLUG_FORMAT_QCOW2,
                                     .flags = KVM_HOTPLUG_DISK_READ_ONLY},
          "\"backing_file\":\"/dev/fdset/2\"");
    tried(&(struct kvm_hotplug_disk){.id = "data",
                                     .path = raw,
                                     .discard = KVM_HOTPLUG_DISCARD_UNMAP,
                                     .detect_zeroes = KVM_HOTPLUG_DETECT_ZEROES_UNMAP},
          "\"detect_zeroes\":\"unmap\"");
}

static void every_mode(void)
{
    caches(KVM_HOTPLUG_FORMAT_RAW, raw);
    caches(KVM_HOTPLUG_FORMAT_QCOW2, cow);
    others();
}

/* The guest's side of the cache mode is a property of the device. */
static void write_cache(uint32_t cache, const char *expected)
{
    static const char question[] = "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/data\","
                                   "\"property\":\"write-cache\"}}";
    struct kvm_hotplug_disk disk =
        {.id = "data", .path = raw, .cache = cache, .logical_block_size = 4096, .queues = 3, .serial = "abc"};

    add(&disk);
    CHECK(qmp_contains(vm.qemu, question, expected));
    CHECK(qmp_contains(vm.qemu, blocks, "\"node-name\":\"data\""));
    unplug_by_reset(&vm, "data");
}

int main(void)
{
    test_begin("qemu-disk-modes", 120);
    directory_new(directory);
    path_in(raw, directory, "data.img");
    path_in(base, directory, "base.img");
    path_in(cow, directory, "data.qcow2");
    image_raw(raw, 1 << 20);
    image_raw(base, 1 << 20);
    image_qcow2(cow, "1M", base, "raw");
    vm_start(&vm, &(struct qemu_options){0});
    every_mode();
    warm = true;
    every_mode();
    write_cache(KVM_HOTPLUG_CACHE_WRITEBACK, "\"return\":\"auto\"");
    write_cache(KVM_HOTPLUG_CACHE_WRITETHROUGH, "\"return\":\"off\"");
    vm_stop(&vm);
    return test_end();
}
