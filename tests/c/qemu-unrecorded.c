/* What -nic and -drive if=virtio make has no id: it is shown with its path in QOM, a removal of it is refused
 * with what to do, and that works. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void refused(const char *path)
{
    fails(kvm_hotplug_del_disk(vm.guest, path, 0, &failure), -EACCES, KVM_HOTPLUG_ERROR_FOREIGN, path, "without an id",
          "device_del");
    answers(kvm_hotplug_del_disk(vm.guest, "/machine/peripheral-anon/device[99]", 0, &failure),
            KVM_HOTPLUG_ANSWER_ABSENT);
}

static void taken_out_by_its_path(const char *path)
{
    char arguments[96], *json;
    struct kvm_hotplug_command command = {.execute = "device_del",
                                          .arguments = arguments,
                                          .flags = KVM_HOTPLUG_QMP_FORCE};

    snprintf(arguments, sizeof arguments, "{\"id\":\"%s\"}", path);
    works(kvm_hotplug_qmp(vm.guest, &command, sizeof command, NULL, &failure));
    vm_observe(&vm, "{\"execute\":\"system_reset\"}");
    CHECK(qmp_wait_event(vm.qemu, "DEVICE_DELETED", path, 10000) != NULL);
    json = unrecorded();
    CHECK(strstr(json, path) == NULL);
    kvm_hotplug_text_free(json);
    answers(kvm_hotplug_del_disk(vm.guest, path, 0, &failure), KVM_HOTPLUG_ANSWER_ABSENT);
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
    ctl(1, "del $3 --runtime $1 --socket $2", VALUES(vm.path, vm.qemu->qmp_path, nic));
    complains("which the record cannot have");
    ctl(2, "list own --unrecorded --runtime $1 --socket $2", VALUES(vm.path, vm.qemu->qmp_path));
    ctl(2, "list --unrecorded --runtime $1", VALUES(vm.path));
    vm_open(&vm);
}

int main(void)
{
    static char drive[TEST_PATH + 64], folder[TEST_PATH];
    const char *extra[] = {"-drive", drive, "-nic", "user,model=virtio-net-pci,mac=52:54:00:00:00:77", NULL};
    char nic[64], disk[64];

    test_begin("qemu-unrecorded", 120);
    unsetenv("KVMCTL_RUNTIME");
    unsetenv("KVMCTL_SOCKET");
    directory_new(folder);
    path_in(image, folder, "root.img");
    image_raw(image, MEBIBYTE);
    snprintf(drive, sizeof drive, "file=%s,format=raw,if=virtio", image);
    vm_start(&vm, &(struct qemu_options){.extra = extra});
    qemu_wait_firmware(vm.qemu, 0);
    shown(nic, disk);
    refused(disk);
    refused(nic);
    of_another_program();
    by_kvmctl(nic);
    if (!vm.qemu->q35)
        taken_out_by_its_path(disk);
    vm_stop(&vm);
    return test_end();
}
