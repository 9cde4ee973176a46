/* What -nic and -drive if=virtio make has no id: it is shown with its path in QOM, and is removed by that
 * path where QEMU lets it go. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/json.h"
#include "support/kvmctl.h"
#include "support/plug.h"

static struct vm vm;
static char image[TEST_PATH];

static char *unrecorded(void)
{
    char *json = NULL;

    works(kvm_hotplug_describe_unrecorded(vm.guest, 0, &json, &failure));
    CHECK(json_is_whole(json));
    return json;
}

/* The path of the device of this model. */
static void path_of(const char *json, const char *model, char path[64])
{
    char wanted[64];
    const char *at;

    snprintf(wanted, sizeof wanted, "\"model\":\"%s\"", model);
    at = strstr(json, wanted);
    if (at == NULL)
        FAIL("no %s in %s", model, json);
    at = strstr(at, "\"path\":\"");
    CHECK(at != NULL);
    at += strlen("\"path\":\"");
    snprintf(path, 64, "%.*s", (int)strcspn(at, "\""), at);
}

static void shown(char nic[64], char disk[64])
{
    static const char stays[] = "its bus lets nothing go while the guest runs";
    char *json = unrecorded();

    path_of(json, "virtio-net-pci", nic);
    path_of(json, "virtio-blk-pci", disk);
    CHECK(strncmp(nic, "/machine/unattached/device[", 27) == 0);
    CHECK(strncmp(disk, "/machine/peripheral-anon/device[", 32) == 0);
    CHECK_PART(json, "\"mac\":\"52:54:00:00:00:77\"");
    CHECK_PART(json, "\"drive\":\"virtio0\"");
    CHECK_PART(json, "\"why\":\"it has no id, which the record needs\"");
    CHECK_NUMBER(strstr(json, stays) != NULL, vm.qemu->q35);
    CHECK(strstr(json, "\"model\":\"virtio-net-device\"") == NULL);
    kvm_hotplug_text_free(json);
}

static int del(const char *path, uint32_t flags, uint32_t timeout_ms, struct kvm_hotplug_device *device)
{
    struct kvm_hotplug_del_options options = {.id = path, .timeout_ms = timeout_ms, .flags = flags};

    memset(device, 0x55, sizeof *device);
    return kvm_hotplug_del(vm.guest, &options, sizeof options, device, sizeof *device, &failure);
}

static int is_there(const char *path)
{
    char *json = unrecorded();
    int found = strstr(json, path) != NULL;

    kvm_hotplug_text_free(json);
    return found;
}

static void is_shown(const char *path, int expected)
{
    CHECK_NUMBER(is_there(path), expected);
}

static void not_with_these(const char *nic)
{
    struct kvm_hotplug_device device;

    answers(kvm_hotplug_del_disk(vm.guest, "/machine/peripheral-anon/device[99]", 0, &failure),
            KVM_HOTPLUG_ANSWER_ABSENT);
    fails(kvm_hotplug_del_disk(vm.guest, nic, 0, &failure), -EINVAL, KVM_HOTPLUG_ERROR_INVALID, nic, "NIC", "disk");
    fails(kvm_hotplug_del_nic(vm.guest, "/machine/peripheral/lan", 0, &failure), -EINVAL, KVM_HOTPLUG_ERROR_INVALID,
          "/machine/peripheral-anon", "kvm_hotplug_describe_unrecorded", "lan");
    fails(del("/machine/unattached/device[0]", 0, 0, &device), -EINVAL, KVM_HOTPLUG_ERROR_INVALID, "device[0]",
          "neither a NIC nor a disk", "");
}

/* The firmware has no word on it: it is pending. */
static void pending(const char *path)
{
    struct kvm_hotplug_device device;

    is_shown(path, 1);
    answers(del(path, KVM_HOTPLUG_NO_WAIT, 0, &device), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_NOT_AWAITED);
    CHECK_TEXT(device.id, "");
    answers(del(path, 0, 300, &device), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_DEADLINE);
}

/* The reset lets go. The firmware may reset once more, and then what was asked for since leaves too. */
static void gone_after_reset(const char *path)
{
    vm_observe(&vm, "{\"execute\":\"system_reset\"}");
    while (is_there(path))
        sleep_ms(20);
    answers(kvm_hotplug_del_disk(vm.guest, path, 0, &failure), KVM_HOTPLUG_ANSWER_ABSENT);
}

static void stays(const char *path)
{
    struct kvm_hotplug_device device;

    fails(del(path, 0, 0, &device), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, path,
          "its bus lets nothing go while the guest runs");
    is_shown(path, 1);
}

/* QEMU asks no guest about a SCSI disk. The controller stays as long as it has one. */
static void scsi_by_path(void)
{
    char disk[64], controller[64], *json = unrecorded();
    struct kvm_hotplug_device device;

    path_of(json, "scsi-hd", disk);
    path_of(json, "virtio-scsi-pci", controller);
    kvm_hotplug_text_free(json);
    if (!vm.qemu->q35)
        fails(del(controller, 0, 0, &device), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, controller, disk);
    answers(del(disk, 0, 0, &device), KVM_HOTPLUG_ANSWER_DONE);
    CHECK_TEXT(device.id, "");
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_NONE);
    is_shown(disk, 0);
    answers(del(disk, 0, 0, &device), KVM_HOTPLUG_ANSWER_ABSENT);
    if (vm.qemu->q35) {
        stays(controller);
        return;
    }
    answers(del(controller, KVM_HOTPLUG_NO_WAIT, 0, &device), KVM_HOTPLUG_ANSWER_PENDING);
    gone_after_reset(controller);
}

/* A device with an id that another program has plugged in is shown too, one of the record is not. */
static void of_another_program(void)
{
    char *json;

    works(add_nic(&vm, &(struct kvm_hotplug_nic){.id = "own"}, NULL));
    if (!vm.qemu->q35)
        vm_observe(&vm, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-net-pci\",\"id\":\"theirs\"}}");
    json = unrecorded();
    CHECK(strstr(json, "\"own\"") == NULL);
    if (!vm.qemu->q35) {
        CHECK_PART(json, "\"id\":\"theirs\"");
        CHECK_PART(json, "\"why\":\"the record does not have it\"");
    }
    kvm_hotplug_text_free(json);
}

static void by_kvmctl(const char *nic)
{
    vm_close(&vm);
    ctl(0, "list --unrecorded --runtime $1 --socket $2", VALUES(vm.path, vm.qemu->qmp_path));
    says(nic);
    says("52:54:00:00:00:77");
    json(0, "list --unrecorded --runtime $1 --socket $2", VALUES(vm.path, vm.qemu->qmp_path), PARTS(nic));
    ctl(vm.qemu->q35 ? 1 : 0, "plan del $3 --runtime $1 --socket $2", VALUES(vm.path, vm.qemu->qmp_path, nic));
    if (vm.qemu->q35)
        complains("its bus lets nothing go while the guest runs");
    else
        says("\"execute\":\"device_del\"");
    if (!vm.qemu->q35) {
        ctl(4, "del $3 --timeout 1 --runtime $1 --socket $2", VALUES(vm.path, vm.qemu->qmp_path, nic));
        says("is not gone yet: the guest has not answered yet");
    }
    ctl(2, "list own --unrecorded --runtime $1 --socket $2", VALUES(vm.path, vm.qemu->qmp_path));
    ctl(2, "list --unrecorded --runtime $1", VALUES(vm.path));
    vm_open(&vm);
}

int main(void)
{
    static char drive[TEST_PATH + 64], scsi[TEST_PATH + 64], folder[TEST_PATH], other[TEST_PATH];
    const char *extra[] = {"-drive",  drive,
                           "-nic",    "user,model=virtio-net-pci,mac=52:54:00:00:00:77",
                           "-drive",  scsi,
                           "-device", "virtio-scsi-pci",
                           "-device", "scsi-hd,drive=other",
                           NULL};
    char nic[64], disk[64];

    test_begin("qemu-unrecorded", 120);
    unsetenv("KVMCTL_RUNTIME");
    unsetenv("KVMCTL_SOCKET");
    directory_new(folder);
    path_in(image, folder, "root.img");
    image_raw(image, MEBIBYTE);
    snprintf(drive, sizeof drive, "file=%s,format=raw,if=virtio", image);
    path_in(other, folder, "other.img");
    image_raw(other, MEBIBYTE);
    snprintf(scsi, sizeof scsi, "file=%s,format=raw,if=none,id=other", other);
    vm_start(&vm, &(struct qemu_options){.extra = extra});
    qemu_wait_firmware(vm.qemu, 0);
    shown(nic, disk);
    not_with_these(nic);
    of_another_program();
    by_kvmctl(nic);
    if (vm.qemu->q35) {
        stays(disk);
    } else {
        pending(disk);
        gone_after_reset(disk);
    }
    scsi_by_path();
    vm_stop(&vm);
    return test_end();
}
