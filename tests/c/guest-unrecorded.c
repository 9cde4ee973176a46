/* Linux lets go of a NIC and a disk that have no id: the call by their path in QOM waits for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/files.h"
#include "support/view.h"
#include "support/image.h"
#include "support/plug.h"

static struct vm vm;

static void path_of(const char *model, char path[64])
{
    char *json = NULL, wanted[64];
    const char *at;

    works(kvm_hotplug_describe_unrecorded(vm.guest, 0, &json, &failure));
    snprintf(wanted, sizeof wanted, "\"model\":\"%s\"", model);
    at = strstr(json, wanted);
    CHECK(at != NULL);
    at = strstr(at, "\"path\":\"");
    CHECK(at != NULL);
    at += strlen("\"path\":\"");
    snprintf(path, 64, "%.*s", (int)strcspn(at, "\""), at);
    kvm_hotplug_text_free(json);
}

static void leaves(const char *model, const char *folder)
{
    char path[64];

    path_of(model, path);
    CHECK_NUMBER(guest_does(vm.qemu, "test -n \"$(ls %s)\"", folder), 0);
    answers(unplug(&vm, path, 0), KVM_HOTPLUG_ANSWER_DONE);
    CHECK_NUMBER(guest_does(vm.qemu, "test -z \"$(ls %s)\"", folder), 0);
    answers(unplug(&vm, path, 0), KVM_HOTPLUG_ANSWER_ABSENT);
}

int main(void)
{
    static char folder[TEST_PATH], image[TEST_PATH], drive[TEST_PATH + 64], nic[64], disk[64];
    const char *extra[] = {"-netdev", "user,id=net0", "-device", nic, "-drive", drive, "-device", disk, NULL};
    const char *machine = getenv("KVM_HOTPLUG_TEST_MACHINE");
    bool has_ports = machine != NULL && strcmp(machine, "pc") != 0;

    test_begin("guest-unrecorded", 300);
    directory_new(folder);
    path_in(image, folder, "root.img");
    image_raw(image, MEBIBYTE);
    snprintf(drive, sizeof drive, "file=%s,format=raw,if=none,id=drive0", image);
    snprintf(nic, sizeof nic, "virtio-net-pci,netdev=net0%s", has_ports ? ",bus=rp0" : "");
    snprintf(disk, sizeof disk, "virtio-blk-pci,drive=drive0%s", has_ports ? ",bus=rp1" : "");
    vm_start(&vm, &(struct qemu_options){.guest = true, .extra = extra});
    leaves("virtio-net-pci", "/sys/class/net | grep -v ^lo$");
    leaves("virtio-blk-pci", "/sys/block | grep ^vd");
    CHECK_NUMBER(recorded(&vm), 0);
    vm_stop(&vm);
    return test_end();
}
