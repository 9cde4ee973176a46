/* Devices that QEMU has and the record has not: their agent was killed before it had recorded them, or
 * another program has plugged them in. With KVM_HOTPLUG_ADOPT an add of the same device records it; without,
 * or with another setting, the add is refused, and nothing changes. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/net.h"
#include "support/plug.h"

static const char mac[] = "52:54:00:00:00:31";
static struct vm vm;
static char image[TEST_PATH], other[TEST_PATH];

static struct kvm_hotplug_nic lan(void)
{
    return (struct kvm_hotplug_nic){.id = "lan", .mac = mac, .flags = KVM_HOTPLUG_ADOPT};
}

static struct kvm_hotplug_disk data(const char *id)
{
    return (struct kvm_hotplug_disk){.id = id, .path = image, .flags = KVM_HOTPLUG_ADOPT};
}

static void refuses_nic(struct kvm_hotplug_nic nic, int errno_of, int kind, const char *part)
{
    fails(add_nic(&vm, &nic, NULL), -errno_of, kind, part);
}

static void refuses_disk(struct kvm_hotplug_disk disk, const char *part)
{
    fails(add_disk(&vm, &disk, NULL), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, part);
}

/* The record is as it was before the adds: no agent has recorded them. */
static void killed(const char *record)
{
    vm_close(&vm);
    CHECK(!vm_has_journal(&vm));
    file_write(vm.path, record, strlen(record));
    vm_open(&vm);
    CHECK_NUMBER(recorded(&vm), 0);
}

static void refusals(void)
{
    char *picture = vm_picture(&vm);
    struct kvm_hotplug_nic nic = lan();
    struct kvm_hotplug_disk disk = data("data");

    nic.flags = 0;
    refuses_nic(nic, EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "KVM_HOTPLUG_ADOPT");
    nic = lan();
    nic.mac = NULL;
    refuses_nic(nic, EINVAL, KVM_HOTPLUG_ERROR_INVALID, "mac is needed");
    nic.id = NULL;
    refuses_nic(nic, EINVAL, KVM_HOTPLUG_ERROR_INVALID, "by its id only");
    nic = lan();
    nic.mac = "52:54:00:00:00:32";
    refuses_nic(nic, EEXIST, KVM_HOTPLUG_ERROR_CONFLICT,
                "lan is in the guest, but not in the record, and has another mac");
    nic = lan();
    nic.model = "e1000";
    refuses_nic(nic, EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "has another model");
    nic = lan();
    nic.bus = vm.qemu->q35 ? "rp3" : "pci.0";
    nic.slot = vm.qemu->q35 ? 0 : 20;
    refuses_nic(nic, EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "has another address");
    disk.flags = 0;
    refuses_disk(disk, "KVM_HOTPLUG_ADOPT");
    disk = data("data");
    disk.path = other;
    refuses_disk(disk, "data is in the guest, but not in the record, and has another path");
    disk = data("data");
    disk.cache = KVM_HOTPLUG_CACHE_NONE;
    refuses_disk(disk, "has another cache");
    disk = data("lan");
    refuses_disk(disk, "/machine/peripheral/lan");
    CHECK_PICTURE(&vm, picture);
    free(picture);
    CHECK_NUMBER(recorded(&vm), 0);
}

static void records_nic(const char *tap)
{
    struct kvm_hotplug_device found = {0};
    struct kvm_hotplug_nic nic = lan();
    char *picture = vm_picture(&vm);

    answers(add_nic(&vm, &nic, &found), KVM_HOTPLUG_ANSWER_DONE);
    CHECK_TEXT(found.id, "lan");
    CHECK_TEXT(found.ifname, tap);
    CHECK_NUMBER(found.state, KVM_HOTPLUG_STATE_LIVE);
    /* It is there now, for every call. */
    answers(add_nic(&vm, &nic, NULL), KVM_HOTPLUG_ANSWER_DONE);
    nic.flags = 0;
    answers(add_nic(&vm, &nic, NULL), KVM_HOTPLUG_ANSWER_DONE);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

static void records_disk(const char *id)
{
    struct kvm_hotplug_disk disk = data(id);
    char *picture = vm_picture(&vm);

    answers(add_disk(&vm, &disk, NULL), KVM_HOTPLUG_ANSWER_DONE);
    disk.flags = 0;
    answers(add_disk(&vm, &disk, NULL), KVM_HOTPLUG_ANSWER_DONE);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* An agent had added them. */
static void own(void)
{
    char *record, *before = vm_picture(&vm), tap[IF_NAMESIZE];

    record = file_read(vm.path, NULL);
    CHECK(record != NULL);
    struct kvm_hotplug_nic nic = lan();
    struct kvm_hotplug_disk disk = data("data");
    /* The guest has none of them yet: the flag changes nothing. */
    answers(add_nic(&vm, &nic, NULL), KVM_HOTPLUG_ANSWER_DONE);
    answers(add_disk(&vm, &disk, NULL), KVM_HOTPLUG_ANSWER_DONE);
    snprintf(tap, sizeof tap, "%s", vm_device(&vm, "lan").ifname);
    killed(record);
    refusals();
    records_nic(tap);
    records_disk("data");
    CHECK_VERIFIED(&vm);
    vm_close(&vm);
    vm_open(&vm);
    CHECK_NUMBER(recorded(&vm), 2);
    unplug_by_reset(&vm, "lan");
    unplug_by_reset(&vm, "data");
    CHECK(!link_exists(tap));
    CHECK_PICTURE(&vm, before);
    free(before);
    free(record);
}

/* Another program has plugged it in, with a node of its own. */
static void of_another_program(void)
{
    char command[TEST_PATH + 128];
    struct kvm_hotplug_disk disk = data("data");

    snprintf(command, sizeof command,
             "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"raw\",\"node-name\":\"format0\",\"file\":{"
             "\"driver\":\"file\",\"filename\":\"%s\"}}}",
             image);
    qmp(vm.qemu, command);
    snprintf(command, sizeof command,
             "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"id\":\"data\",\"drive\":"
             "\"format0\",\"bus\":\"%s\",\"addr\":\"0x%x\"}}",
             vm.qemu->q35 ? "rp2" : "pci.0", vm.qemu->q35 ? 0 : 9);
    qmp(vm.qemu, command);
    disk.path = other;
    refuses_disk(disk, "has another path");
    records_disk("data");
    CHECK(vm_record_contains(&vm, "\"format0\""));
    CHECK_VERIFIED(&vm);
    unplug_by_reset(&vm, "data");
    CHECK(qmp_contains(vm.qemu, "{\"execute\":\"query-named-block-nodes\"}", "{\"return\":[]}"));
}

/* As Ganeti's own hotplug plugs it in: a drive over a descriptor that is removed from its set at once, so
 * that a newer QEMU shows no descriptor of it. */
static void of_ganeti(void)
{
    char command[256];

    qmp(vm.qemu, "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":"
                 "\"drive_add 0 if=none,id=data,format=raw,auto-read-only=off,file=/dev/fdset/9\"}}");
    qmp(vm.qemu, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":9}}");
    snprintf(command, sizeof command,
             "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"id\":\"data\",\"drive\":"
             "\"data\",\"bus\":\"%s\",\"addr\":\"0x%x\"}}",
             vm.qemu->q35 ? "rp2" : "pci.0", vm.qemu->q35 ? 0 : 9);
    qmp(vm.qemu, command);
    struct kvm_hotplug_disk disk = data("data");
    disk.path = other;
    refuses_disk(disk, "data is in the guest");
    records_disk("data");
    CHECK(vm_record_contains(&vm, "\"drive\""));
    CHECK_RECORDED_PATH(vm.runtime, "data", image);
    CHECK_VERIFIED(&vm);
    unplug_by_reset(&vm, "data");
    CHECK(qmp_contains(vm.qemu, "{\"execute\":\"query-block\"}", "{\"return\":[]}"));
}

int main(void)
{
    const char *extra[] = {"-add-fd", "fd=20,set=9", NULL};
    const int inherit[] = {20, -1};
    char directory[TEST_PATH];

    test_begin("qemu-foreign", 180);
    net_private();
    directory_new(directory);
    path_in(image, directory, "data.img");
    path_in(other, directory, "other.img");
    image_raw(image, 1 << 20);
    image_raw(other, 1 << 20);
    CHECK_NUMBER(dup2(open(image, O_RDWR | O_CLOEXEC), inherit[0]), inherit[0]);
    vm_start(&vm, &(struct qemu_options){.extra = extra, .inherit = inherit});
    own();
    of_another_program();
    of_ganeti();
    vm_stop(&vm);
    return test_end();
}
