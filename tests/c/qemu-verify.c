/* Record and guest are compared both ways: each thing they can disagree about is found, named and told in
 * words. Mending does what is safe, and touches nothing that is not ours. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/plug.h"

enum { MOST = 8, TRIES = 30, AGAIN_MS = 300 };

static struct vm vm;
static char image[TEST_PATH], other[TEST_PATH];
static struct kvm_hotplug_difference found[MOST];

static size_t verify(void)
{
    size_t count = 0;

    works(kvmh_verify(vm.guest, 0, found, MOST, &count, &failure));
    return count;
}

static size_t mend(void)
{
    size_t count = 0;

    works(kvmh_repair(vm.guest, 0, found, MOST, &count, &failure));
    return count;
}

/* Of those found, the one of this kind about this id. */
static const struct kvm_hotplug_difference *difference(size_t count, uint32_t mismatch, const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (found[i].kind == mismatch && strcmp(found[i].id, id) == 0)
            return &found[i];
    FAIL("of %zu differences (the first: %s) none is a %u about %s", count, count ? found[0].text : "", mismatch, id);
}

/* Puts another text into the runtime file while nobody has the guest open; answers what was there before. */
static char *rewrite(const char *from, const char *to)
{
    char *record, *at, *changed;

    vm_close(&vm);
    record = file_read(vm.path, NULL);
    at = strstr(record, from);
    if (at == NULL)
        FAIL("%s is not in %s", from, record);
    changed = malloc(strlen(record) + strlen(to) + 1);
    CHECK(changed != NULL);
    sprintf(changed, "%.*s%s%s", (int)(at - record), record, to, at + strlen(from));
    file_write(vm.path, changed, strlen(changed));
    free(changed);
    vm_open(&vm);
    return record;
}

static void put_back(char *record)
{
    vm_close(&vm);
    file_write(vm.path, record, strlen(record));
    free(record);
    vm_open(&vm);
    CHECK_NUMBER(verify(), 0);
}

/* One setting at a time; none of them can be mended without a decision. */
static void settings(void)
{
    static const struct {
        const char *from, *to, *id;
        uint32_t kind;
        const char *recorded, *there;
    } table[] = {
        {"\"mac\": \"52:54:00:12:34:56\"", "\"mac\": \"52:54:00:12:34:57\"", "lan", KVM_HOTPLUG_DIFFERENCE_MAC,
         "52:54:00:12:34:57", "52:54:00:12:34:56"},
        {"\"queues\": 2", "\"queues\": 3", "lan", KVM_HOTPLUG_DIFFERENCE_QUEUES, "8", "6"},
        {"\"mtu\": 1400", "\"vhost\": true, \"mtu\": 1400", "lan", KVM_HOTPLUG_DIFFERENCE_SETTING, "vhost on",
         "vhost off"},
        {"\"mtu\": 1400", "\"mtu\": 1300", "lan", KVM_HOTPLUG_DIFFERENCE_MTU, "1300", "1400"},
        {"\"model\": \"virtio-net-pci-transitional\"", "\"model\": \"virtio-net-pci-non-transitional\"", "lan",
         KVM_HOTPLUG_DIFFERENCE_MODEL, "non-transitional", "virtio-net-pci-transitional"},
        {"\"serial\": \"abc\"", "\"serial\": \"abd\"", "data", KVM_HOTPLUG_DIFFERENCE_SERIAL, "abd", "abc"},
        {"\"boot_index\": 3", "\"boot_index\": 4", "data", KVM_HOTPLUG_DIFFERENCE_SETTING, "4", "3"},
        {"\"read_only\": true", "\"read_only\": false", "cd", KVM_HOTPLUG_DIFFERENCE_READ_ONLY, "writable",
         "read-only"},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *record = rewrite(table[i].from, table[i].to), *picture = vm_picture(&vm);
        const struct kvm_hotplug_difference *one = difference(verify(), table[i].kind, table[i].id);
        CHECK_PART(one->recorded, table[i].recorded);
        CHECK_PART(one->found, table[i].there);
        CHECK_PART(one->text, table[i].id);
        CHECK_PART(one->text, table[i].recorded);
        CHECK_NUMBER(one->repairable, 0);
        difference(mend(), table[i].kind, table[i].id);
        CHECK_PICTURE(&vm, picture);
        free(picture);
        put_back(record);
    }
}

/* The image has grown behind QEMU's back. */
static void size(void)
{
    image_raw(image, 2 * MEBIBYTE);
    const struct kvm_hotplug_difference *one = difference(verify(), KVM_HOTPLUG_DIFFERENCE_SIZE, "data");
    CHECK_PART(one->recorded, "2097152");
    CHECK_PART(one->found, "1048576");
    CHECK_NUMBER(one->repairable, 0);
    image_raw(image, MEBIBYTE);
    CHECK_NUMBER(verify(), 0);
}

/* Another file is at its path by now, which the next boot would open. */
static void chain(void)
{
    char old[TEST_PATH + 8];

    snprintf(old, sizeof old, "%s.old", image);
    CHECK_NUMBER(rename(image, old), 0);
    image_raw(image, MEBIBYTE);
    const struct kvm_hotplug_difference *one = difference(verify(), KVM_HOTPLUG_DIFFERENCE_CHAIN, "data");
    CHECK_PART(one->recorded, image);
    CHECK_PART(one->found, "not the one that was recorded");
    CHECK_NUMBER(one->repairable, 0);
    CHECK_NUMBER(rename(old, image), 0);
    CHECK_NUMBER(verify(), 0);
}

/* By an agent that has not opened the guest yet. */
static void accept_chain(const char *id)
{
    vm_close(&vm);
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvm_runtime_accept_chain(vm.runtime, id, KVM_HOTPLUG_BACKING_DEFAULT, NULL, 0, &failure));
    kvm_runtime_free(vm.runtime);
    vm_open(&vm);
}

/* What QEMU shows of the block node, and the file that it has open: another one has come to the path by
 * now. */
static void nodes(void)
{
    static const struct {
        const char *from, *to, *recorded, *there;
    } table[] = {
        {"\"cache\": \"unsafe\"", "\"cache\": \"writeback\"", "no-flush false", "no-flush true"},
        {"\"detect_zeroes\": \"on\"", "\"detect_zeroes\": \"off\"", "detect-zeroes off", "detect-zeroes on"},
    };
    struct kvm_hotplug_disk disk = {.id = "tuned",
                                    .cache = KVM_HOTPLUG_CACHE_UNSAFE,
                                    .detect_zeroes = KVM_HOTPLUG_DETECT_ZEROES_ON};
    char path[TEST_PATH], away[TEST_PATH];

    path_in(path, vm.qemu->dir, "tuned.img");
    path_in(away, vm.qemu->dir, "away.img");
    image_raw(path, MEBIBYTE);
    disk.path = path;
    works(add_disk(&vm, &disk, NULL));
    CHECK_NUMBER(verify(), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *record = rewrite(table[i].from, table[i].to);
        const struct kvm_hotplug_difference *one = difference(verify(), KVM_HOTPLUG_DIFFERENCE_SETTING, "tuned");
        CHECK_PART(one->recorded, table[i].recorded);
        CHECK_PART(one->found, table[i].there);
        put_back(record);
    }
    ok(rename(path, away));
    image_raw(path, MEBIBYTE);
    CHECK_PART(difference(verify(), KVM_HOTPLUG_DIFFERENCE_CHAIN, "tuned")->recorded, path);
    /* Somebody says that the new one is right; the guest goes on with the old one. */
    accept_chain("tuned");
    const struct kvm_hotplug_difference *file = difference(verify(), KVM_HOTPLUG_DIFFERENCE_BACKEND, "tuned");
    CHECK_PART(file->recorded, path);
    CHECK_PART(file->found, away);
    ok(rename(away, path));
    accept_chain("tuned");
    CHECK_NUMBER(verify(), 0);
}

/* A node of ours without device, set or record. */
static void stray(void)
{
    vm_observe(&vm,
               "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"null-co\",\"node-name\":\"disk-pci-77\"}}");
    CHECK_NUMBER(difference(verify(), KVM_HOTPLUG_DIFFERENCE_ORPHAN_NODE, "disk-pci-77")->repairable, 1);
    CHECK_NUMBER(mend(), 0);
    CHECK(!qmp_contains(vm.qemu, "{\"execute\":\"query-named-block-nodes\"}", "disk-pci-77"));
}

/* Recorded where it does not sit: mending records where it does. */
static void address(void)
{
    struct kvm_hotplug_device device = vm_device(&vm, "data");
    char from[96], to[64], *picture = vm_picture(&vm);

    if (vm.qemu->q35)
        snprintf(from, sizeof from, "\"bus\": \"%s\"", device.bus), strcpy(to, "\"bus\": \"rp7\"");
    else
        snprintf(from, sizeof from, "\"slot\": %u", device.slot), strcpy(to, "\"slot\": 20");
    free(rewrite(from, to));
    CHECK_NUMBER(difference(verify(), KVM_HOTPLUG_DIFFERENCE_ADDRESS, "data")->repairable, 1);
    CHECK_NUMBER(mend(), 0);
    CHECK_TEXT(vm_device(&vm, "data").bus, device.bus);
    CHECK_NUMBER(vm_device(&vm, "data").slot, device.slot);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* Somebody else's device is told of, and left alone. */
static void foreign(void)
{
    char *picture;

    vm_observe(
        &vm,
        vm.qemu->q35
            ? "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng-pci\",\"id\":\"theirs\",\"bus\":\"rp6\"}}"
            : "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng-pci\",\"id\":\"theirs\"}}");
    picture = vm_picture(&vm);
    const struct kvm_hotplug_difference *one = difference(verify(), KVM_HOTPLUG_DIFFERENCE_FOREIGN, "theirs");
    CHECK_NUMBER(one->repairable, 0);
    CHECK_PART(one->text, "theirs");
    CHECK_NUMBER(mend(), 1);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* A record without a device that the guest has: it is not ours then, nor is its backend. */
static void unknown(void)
{
    char *record = rewrite("\"id\": \"cd\"", "\"id\": \"dc\""), *picture = vm_picture(&vm);
    size_t count = verify();

    CHECK_NUMBER(difference(count, KVM_HOTPLUG_DIFFERENCE_FOREIGN, "cd")->repairable, 0);
    CHECK_NUMBER(difference(count, KVM_HOTPLUG_DIFFERENCE_MISSING, "dc")->repairable, 1);
    mend();
    CHECK_PICTURE(&vm, picture);
    CHECK(!vm_records(&vm, "dc"));
    free(picture);
    vm_close(&vm);
    file_write(vm.path, record, strlen(record));
    free(record);
    vm_open(&vm);
}

/* What was asked for goes when QEMU resets, and QEMU 7.2 says so when its memory map changes once more. */
static void leaves(const char *id, const char *port)
{
    char part[64];

    snprintf(part, sizeof part, "\"device\":\"%s\"", id);
    for (int tries = 0; tries < TRIES; tries++) {
        if (has_native_hotplug(vm.qemu))
            native_switch_off(vm.qemu, port);
        else
            vm_observe(&vm, "{\"execute\":\"system_reset\"}");
        if (qmp_wait_event(vm.qemu, "DEVICE_DELETED", part, test_patience(AGAIN_MS)) != NULL)
            return;
    }
    FAIL("QEMU does not let go of %s", id);
}

/* A device that left while the record did not hear of it: a repair takes down its backend, and
 * tells. */
static void missing(void)
{
    char port[sizeof vm_device(&vm, "data").bus];
    size_t count;

    strcpy(port, vm_device(&vm, "data").bus);
    free(rewrite("\"id\": \"data\"", "\"id\": \"atad\""));
    vm_observe(&vm, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"data\"}}");
    leaves("data", port);
    count = verify();
    CHECK_NUMBER(difference(count, KVM_HOTPLUG_DIFFERENCE_MISSING, "atad")->repairable, 1);
    CHECK_NUMBER(difference(count, KVM_HOTPLUG_DIFFERENCE_ORPHAN_NODE, "data")->repairable, 1);
    CHECK_NUMBER(difference(count, KVM_HOTPLUG_DIFFERENCE_ORPHAN_FDSET, "data")->repairable, 1);
    /* What is left is the other one's. */
    CHECK_NUMBER(mend(), 1);
    difference(1, KVM_HOTPLUG_DIFFERENCE_FOREIGN, "theirs");
    CHECK(!qmp_contains(vm.qemu, "{\"execute\":\"query-named-block-nodes\"}", "\"node-name\":\"data\""));
    CHECK(!qmp_contains(vm.qemu, "{\"execute\":\"query-fdsets\"}", "kh:data"));
    CHECK(!vm_records(&vm, "atad"));
    CHECK_NUMBER(mend(), 1);
}

/* Also one that has no id, of which only its place can be told. */
static void nameless(void)
{
    char *picture;

    vm_observe(&vm, vm.qemu->q35
                        ? "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng-pci\",\"bus\":\"rp5\"}}"
                        : "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-rng-pci\",\"addr\":\"19\"}}");
    picture = vm_picture(&vm);
    const struct kvm_hotplug_difference *one = difference(verify(), KVM_HOTPLUG_DIFFERENCE_FOREIGN, "");
    CHECK_NUMBER(one->repairable, 0);
    CHECK_PART(one->text, vm.qemu->q35 ? "rp5 slot 0.0 (virtio-rng-pci)" : "pci.0 slot 25.0 (virtio-rng-pci)");
    CHECK_PART(one->text, "without an id");
    CHECK_NUMBER(mend(), 2);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

int main(void)
{
    struct kvm_hotplug_nic nic = {.id = "lan",
                                  .mac = "52:54:00:12:34:56",
                                  .queues = 2,
                                  .mtu = 1400,
                                  .model = "virtio-net-pci-transitional"};
    struct kvm_hotplug_disk disk = {.id = "data",
                                    .path = image,
                                    .serial = "abc",
                                    .boot_index = 3,
                                    .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_disk cd = {.id = "cd", .path = other, .flags = KVM_HOTPLUG_DISK_READ_ONLY};

    test_begin("qemu-verify", 120);
    vm_start(&vm, &(struct qemu_options){.root_ports = 8});
    path_in(image, vm.qemu->dir, "data.img");
    path_in(other, vm.qemu->dir, "other.img");
    image_raw(image, MEBIBYTE);
    image_raw(other, MEBIBYTE);
    works(add_nic(&vm, &nic, NULL));
    works(add_disk(&vm, &disk, NULL));
    works(add_disk(&vm, &cd, NULL));
    CHECK_NUMBER(verify(), 0);
    settings();
    size();
    nodes();
    stray();
    chain();
    address();
    foreign();
    unknown();
    missing();
    nameless();
    vm_stop(&vm);
    return test_end();
}
