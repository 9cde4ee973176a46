/* NICs and disks in the record of a guest that does not run, up to the command that boots it. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

static char directory[TEST_PATH];

static int nic(struct kvm_runtime *runtime, const struct kvm_hotplug_nic *request, struct kvm_hotplug_device *device)
{
    return kvmh_runtime_add_nic(runtime, request, device, &failure);
}

static int disk(struct kvm_runtime *runtime, const struct kvm_hotplug_disk *request, struct kvm_hotplug_device *device)
{
    return kvmh_runtime_add_disk(runtime, request, device, &failure);
}

static int take_out(struct kvm_runtime *runtime, const char *id)
{
    struct kvm_hotplug_del_options removal = {.id = id};

    return kvmh_runtime_del(runtime, &removal, NULL, &failure);
}

static struct kvm_runtime *new_record(const char *name, const char *machine, char path[TEST_PATH])
{
    const char *const command[] = {"qemu", "-machine", machine};
    struct kvm_runtime_config config = {.command = command, .command_count = 3};
    struct kvm_runtime *runtime = NULL;

    path_in(path, directory, name);
    works(kvmh_runtime_new(&config, &runtime, &failure));
    works(kvm_runtime_save(runtime, path, &failure));
    return runtime;
}

static struct kvm_hotplug_device find(struct kvm_runtime *runtime, const char *id)
{
    struct kvm_hotplug_device devices[16];
    size_t count = 0, i;

    works(kvmh_runtime_list(runtime, devices, 16, &count, &failure));
    for (i = 0; i < count; i++)
        if (strcmp(devices[i].id, id) == 0)
            return devices[i];
    FAIL("there is no %s", id);
}

static size_t count_of(struct kvm_runtime *runtime)
{
    size_t count = 0;

    works(kvmh_runtime_list(runtime, NULL, 0, &count, &failure));
    return count;
}

/* The next boot, up to its command. */
static void boot(struct kvm_runtime *runtime)
{
    struct kvm_boot *made = NULL;

    works(kvmh_runtime_boot(runtime, NULL, &made, &failure));
    kvm_boot_free(made);
}

static void adding(void)
{
    struct kvm_hotplug_device device = {0}, other = {0};
    char path[TEST_PATH], image[TEST_PATH];
    struct kvm_runtime *runtime = new_record("pc", "pc", path);
    struct kvm_hotplug_nic lan = {.id = "lan", .mac = "52:54:00:00:00:01", .queues = 2};
    struct kvm_hotplug_disk data = {.path = image};
    int32_t fd = 1;

    path_in(image, directory, "data.img");
    fails(disk(runtime, &data, &device), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "data.img");
    image_raw(image, MEBIBYTE);
    works(nic(runtime, &(struct kvm_hotplug_nic){0}, &device));
    CHECK_TEXT(device.id, "nic-pci-4");
    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_AFTER_REBOOT);
    CHECK_PART(device.mac, "52:54:00:");
    works(nic(runtime, &lan, &device));
    CHECK_NUMBER(device.slot, 5);
    works(nic(runtime, &lan, &other));
    CHECK(memcmp(&device, &other, sizeof device) == 0);
    works(disk(runtime, &data, &device));
    CHECK_TEXT(device.id, "disk-pci-6");
    CHECK(file_contains(path, "\"add-after-reboot\""));

    lan.queues = 3;
    fails(nic(runtime, &lan, NULL), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "lan exists with another queues");
    fails(nic(runtime, &(struct kvm_hotplug_nic){.mac = "52:54:00:00:00:01"}, NULL), -EEXIST,
          KVM_HOTPLUG_ERROR_CONFLICT, "is used by lan");
    fails(disk(runtime, &data, NULL), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "is used by disk-pci-6");
    fails(nic(runtime, &(struct kvm_hotplug_nic){.bus = "pci.0", .slot = 6}, NULL), -EADDRINUSE,
          KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, "taken by disk-pci-6");
    invalid(nic(runtime, &(struct kvm_hotplug_nic){.tap_fds = &fd, .tap_fd_count = 1}, NULL), "when it is started");
    fails(nic(runtime, &(struct kvm_hotplug_nic){.model = "usb-net"}, NULL), -EOPNOTSUPP,
          KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "no PCI device");
    CHECK_NUMBER(count_of(runtime), 3);
    /* A model that no running guest could be given, at a place that is its own. */
    works(nic(runtime, &(struct kvm_hotplug_nic){.model = "e1000", .bus = "pci.0", .slot = 3}, &device));
    CHECK_NUMBER(device.slot, 3);
    boot(runtime);
    CHECK_NUMBER(find(runtime, "lan").state, KVM_HOTPLUG_STATE_LIVE);
    CHECK_NUMBER(find(runtime, "lan").slot, 5);
    CHECK(!file_contains(path, "after-reboot"));
    kvm_runtime_free(runtime);
}

static void ports_and_controllers(void)
{
    struct kvm_hotplug_device device = {0};
    char path[TEST_PATH], image[TEST_PATH];
    struct kvm_runtime *runtime = new_record("q35", "q35", path);

    path_in(image, directory, "scsi.img");
    image_raw(image, MEBIBYTE);
    works(nic(runtime, &(struct kvm_hotplug_nic){0}, &device));
    CHECK_TEXT(device.bus, "rp1");
    CHECK_TEXT(device.id, "nic-pci-rp1");
    works(disk(runtime, &(struct kvm_hotplug_disk){.path = image, .model = "scsi-hd"}, &device));
    CHECK_TEXT(device.bus, "scsi-pci-rp2.0");
    CHECK_NUMBER(count_of(runtime), 3);
    CHECK_NUMBER(find(runtime, "scsi-pci-rp2").state, KVM_HOTPLUG_STATE_AFTER_REBOOT);
    fails(take_out(runtime, "scsi-pci-rp2"), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, device.id);
    boot(runtime);
    CHECK_NUMBER(find(runtime, "scsi-pci-rp2").state, KVM_HOTPLUG_STATE_LIVE);
    works(take_out(runtime, device.id));
    works(take_out(runtime, "scsi-pci-rp2"));
    boot(runtime);
    CHECK_NUMBER(count_of(runtime), 1);
    kvm_runtime_free(runtime);
}

/* What goes makes room for what comes, before the boot that does both. */
static void replacing(void)
{
    struct kvm_hotplug_device device = {0};
    char path[TEST_PATH], image[TEST_PATH];
    struct kvm_runtime *runtime = new_record("replacing", "pc", path), *copy = NULL;
    struct kvm_hotplug_nic lan = {.id = "lan", .mac = "52:54:00:00:00:01"};
    struct kvm_hotplug_disk data = {.id = "data", .path = image, .serial = "S1"};

    path_in(image, directory, "replacing.img");
    image_raw(image, MEBIBYTE);
    works(nic(runtime, &lan, &device));
    works(disk(runtime, &data, &device));
    /* Never in the guest: gone at once. */
    works(take_out(runtime, "lan"));
    CHECK_NUMBER(count_of(runtime), 1);
    answers(take_out(runtime, "lan"), KVM_HOTPLUG_ANSWER_ABSENT);
    works(nic(runtime, &lan, &device));
    boot(runtime);

    works(take_out(runtime, "lan"));
    works(take_out(runtime, "lan"));
    works(take_out(runtime, "data"));
    CHECK_NUMBER(find(runtime, "lan").removed_after_reboot, 1);
    fails(nic(runtime, &lan, NULL), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "to be removed with the next boot");
    lan.id = "other";
    lan.model = "e1000";
    works(nic(runtime, &lan, &device));
    data.id = "more";
    works(disk(runtime, &data, &device));
    CHECK_NUMBER(count_of(runtime), 4);
    /* It is a record like any other. */
    works(kvm_runtime_load_readonly(path, &copy, &failure));
    CHECK_NUMBER(count_of(copy), 4);
    fails(nic(copy, &(struct kvm_hotplug_nic){0}, NULL), -EROFS, KVM_HOTPLUG_ERROR_STATE, "reading only");
    invalid(nic(runtime, &(struct kvm_hotplug_nic){.flags = KVM_HOTPLUG_LIVE_ONLY}, NULL), "nic flags", "0x1");
    invalid(disk(runtime, &(struct kvm_hotplug_disk){.path = image, .flags = KVM_HOTPLUG_NO_WAIT}, NULL), "disk flags",
            "0x8");
    fails(take_out(copy, "more"), -EROFS, KVM_HOTPLUG_ERROR_STATE, "reading only");
    kvm_runtime_free(copy);
    boot(runtime);
    CHECK_NUMBER(count_of(runtime), 2);
    CHECK_TEXT(find(runtime, "other").mac, "52:54:00:00:00:01");
    kvm_runtime_free(runtime);
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    fails(nic(runtime, &(struct kvm_hotplug_nic){0}, NULL), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "no file yet");
    kvm_runtime_free(runtime);
}

/* The struct has a path whole or not at all. */
static void long_paths(void)
{
    struct kvm_hotplug_device device = {0};
    char path[TEST_PATH], folder[TEST_PATH], image[2 * TEST_PATH];
    struct kvm_runtime *runtime = new_record("paths", "pc", path);

    path_in(folder, directory, "paths.d");
    CHECK_NUMBER(mkdir(folder, 0700), 0);
    for (size_t length = 255; length <= 256; length++) {
        int begin = snprintf(image, sizeof image, "%s/", folder);

        CHECK(begin > 0 && (size_t)begin < length && length - (size_t)begin < 256);
        memset(image + begin, 'i', length - (size_t)begin);
        image[length] = '\0';
        image_raw(image, MEBIBYTE);
        works(kvmh_runtime_add_disk(runtime, &(struct kvm_hotplug_disk){.path = image}, &device, &failure));
        CHECK_TEXT(device.path, length == 255 ? image : "");
        CHECK_RECORDED_PATH(runtime, device.id, image);
    }
    works(nic(runtime, &(struct kvm_hotplug_nic){.id = "lan"}, &device));
    char *text = NULL;
    invalid(kvm_runtime_get_path(runtime, "lan", &text, &failure), "lan is no disk");
    fails(kvm_runtime_get_path(runtime, "nowhere", &text, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND,
          "no device nowhere");
    CHECK(text == NULL);
    kvm_runtime_free(runtime);
}

static uint32_t slot_of_next_nic(struct kvm_runtime *runtime, const char *id)
{
    struct kvm_hotplug_device device = {0};

    works(nic(runtime, &(struct kvm_hotplug_nic){.id = id}, &device));
    return device.slot;
}

static void rules_for_slots(void)
{
    const uint32_t nics = 1 << KVM_HOTPLUG_DEVICE_NIC, controllers = 1 << KVM_HOTPLUG_DEVICE_CONTROLLER;
    char path[TEST_PATH];
    struct kvm_runtime *runtime = new_record("slots", "pc", path);

    works(kvm_runtime_reserve_slots(runtime, "pci.0", 4, 6, 0, &failure));
    works(kvm_runtime_reserve_slots(runtime, "pci.0", 7, 8, controllers, &failure));
    works(kvm_runtime_reserve_slots(runtime, "pci.0", 9, 9, nics | controllers, &failure));
    CHECK_NUMBER(slot_of_next_nic(runtime, "a"), 9);
    CHECK_NUMBER(slot_of_next_nic(runtime, "b"), 10);
    works(kvm_runtime_reserve_slots(runtime, "pci.0", 7, 8, nics, &failure));
    CHECK_NUMBER(slot_of_next_nic(runtime, "c"), 7);
    invalid(kvm_runtime_reserve_slots(runtime, "pci.0", 4, 32, 0, &failure), "last is 32; slots are 0 to 31");
    invalid(kvm_runtime_reserve_slots(runtime, "pci.0", 4, 5, 1, &failure), "bits of no device type");
    fails(kvm_runtime_reserve_slots(runtime, "pci.0", 5, 4, 0, &failure), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT,
          "first is above last");
    invalid(kvm_runtime_set_slot_policy(runtime, 2, &failure), "policy 2 does not exist");
    works(kvm_runtime_set_slot_policy(runtime, KVM_RUNTIME_SLOT_POLICY_LONGEST_FREE, &failure));
    invalid(kvm_runtime_set_when_full(runtime, 2, &failure), "when_full 2 does not exist");
    works(kvm_runtime_set_when_full(runtime, KVM_RUNTIME_WHEN_FULL_NEXT_BOOT, &failure));
    CHECK(file_contains(path, "next-boot"));
    works(kvm_runtime_set_when_full(runtime, KVM_RUNTIME_WHEN_FULL_REFUSE, &failure));
    CHECK(!file_contains(path, "next-boot"));
    works(kvm_runtime_release_slots(runtime, "pci.1", &failure));
    works(kvmh_runtime_del(runtime, &(struct kvm_hotplug_del_options){.id = "c"}, NULL, &failure));
    CHECK_NUMBER(slot_of_next_nic(runtime, "d"), 8);
    works(kvm_runtime_release_slots(runtime, NULL, &failure));
    works(kvm_runtime_set_slot_policy(runtime, KVM_RUNTIME_SLOT_POLICY_FIRST_FREE, &failure));
    works(kvm_runtime_set_slot_policy(runtime, KVM_RUNTIME_SLOT_POLICY_LONGEST_FREE, &failure));
    CHECK_NUMBER(slot_of_next_nic(runtime, "e"), 4);
    CHECK(file_contains(path, "longest-free"));
    kvm_runtime_free(runtime);
    works(kvm_runtime_load(path, &runtime, &failure));
    works(kvmh_runtime_del(runtime, &(struct kvm_hotplug_del_options){.id = "e"}, NULL, &failure));
    CHECK_NUMBER(slot_of_next_nic(runtime, "f"), 5);
    kvm_runtime_free(runtime);
}

int main(void)
{
    test_begin("api-cold", 60);
    net_private();
    directory_new(directory);
    adding();
    ports_and_controllers();
    replacing();
    long_paths();
    rules_for_slots();
    return test_end();
}
