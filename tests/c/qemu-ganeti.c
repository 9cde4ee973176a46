/* ctest: machine=pc */
/* Guests with the devices of Ganeti's eras, as its versions start them: removed by the ids that are in its
 * list, new ones added, and the list is one that Ganeti's own code goes on with. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"
#include "support/run.h"

/* Where Ganeti keeps the images: what its links lead to is of no interest here. */
static char image[2][TEST_PATH], more[TEST_PATH];

struct era {
    const char *list; /* in tests/data/ganeti */
    const char *nic[2], *disk[2];
    const char *bus[2];  /* of the disks */
    const char *slot[4]; /* of NICs, then disks; of a SCSI disk its target */
    bool nodes;          /* -blockdev, since 3.1; -drive until then */
    const char *controller;
};

static const struct era eras[] = {
    {.list = "4entry-pci-2.15.2",
     .nic = {"hotnic-003fc157-pci-6", "hotnic-9e7c85f6-pci-7"},
     .disk = {"hotdisk-7c079136-pci-4", "hotdisk-9f5c5bd4-pci-5"},
     .bus = {"pci.0", "pci.0"},
     .slot = {"0x6", "0x7", "0x4", "0x5"}},
    {.list = "4entry-hvinfo-3.0.2-scsi-hd",
     .nic = {"nic-003fc157-66a8-4e6d", NULL},
     .disk = {"disk-7c079136-2573-4112", "disk-9f5c5bd4-6f60-480b"},
     .bus = {"scsi.0", "scsi.0"},
     .slot = {"0xc", NULL, "0", "1"},
     .controller = "virtio-scsi-pci,id=scsi,addr=0x1e"},
    {.list = "4entry-hvinfo-3.1.0rc2-plain",
     .nic = {"nic-003fc157-66a8-4e6d", "nic-9e7c85f6-b6e5-4243"},
     .disk = {"disk-7c079136-2573-4112", "disk-9f5c5bd4-6f60-480b"},
     .bus = {"pci.0", "pci.0"},
     .slot = {"0xe", "0xf", "0xc", "0xd"},
     .nodes = true},
};

static struct vm vm;
static char bridge[IF_NAMESIZE];

/* The command of the era. There is no tap behind the NICs: what matters is how the netdev is called. */
static void start(const struct era *era)
{
    static char text[16][256];
    const char *extra[20];
    int count = 0, texts = 0, index;

    if (era->controller != NULL) {
        extra[count++] = "-device";
        extra[count++] = era->controller;
    }
    for (index = 0; index < 2 && era->nic[index] != NULL; index++) {
        snprintf(text[texts], sizeof *text, "hubport,id=%s,hubid=%d", era->nic[index], index);
        extra[count++] = "-netdev";
        extra[count++] = text[texts++];
        snprintf(text[texts], sizeof *text, "virtio-net-pci,id=%s,bus=pci.0,addr=%s,netdev=%s,mac=aa:00:00:00:01:0%d",
                 era->nic[index], era->slot[index], era->nic[index], index);
        extra[count++] = "-device";
        extra[count++] = text[texts++];
    }
    for (index = 0; index < 2; index++) {
        const char *id = era->disk[index];

        if (era->nodes)
            snprintf(text[texts], sizeof *text, "driver=raw,node-name=%s,file.driver=file,file.filename=%s", id,
                     image[index]);
        else
            snprintf(text[texts], sizeof *text, "file=%s,format=raw,if=none,id=%s", image[index], id);
        extra[count++] = era->nodes ? "-blockdev" : "-drive";
        extra[count++] = text[texts++];
        snprintf(text[texts], sizeof *text, "%s,id=%s,bus=%s,%s=%s,drive=%s",
                 era->controller == NULL ? "virtio-blk-pci" : "scsi-hd", id, era->bus[index],
                 era->controller == NULL ? "addr" : "scsi-id", era->slot[2 + index], id);
        extra[count++] = "-device";
        extra[count++] = text[texts++];
    }
    extra[count] = NULL;
    /* Not running: the boot ROMs, which Ganeti leaves to its NICs, would look for a server to boot from. */
    vm_start(&vm, &(struct qemu_options){.extra = extra, .stopped = true});
}

static void replace(char *text, const char *old, const char *new)
{
    char *at;

    while ((at = strstr(text, old)) != NULL) {
        CHECK(strlen(new) == strlen(old));
        memcpy(at, new, strlen(new));
    }
}

/* The era's list, for a host that need not have vhost-net, with the MAC addresses of the guest. */
static void write_list(const struct era *era)
{
    char path[TEST_PATH], *list;

    snprintf(path, sizeof path, "tests/data/ganeti/%s.json", era->list);
    list = file_read(path, NULL);
    if (list == NULL)
        FAIL("no %s", path);
    replace(list, "\"vhost_net\": true", "\"vhost_net\":false");
    replace(list, "aa:00:00:bf:2f:16", "aa:00:00:00:01:00");
    replace(list, "aa:00:00:35:ac:a5", "aa:00:00:00:01:01");
    replace(list, "aa:00:00:00:00:00", "aa:00:00:00:01:00");
    replace(list, "aa:00:00:00:00:01", "aa:00:00:00:01:01");
    file_write(vm.path, list, strlen(list));
    free(list);
}

/* What is said of the guest is what it has; its balloon and controller are in the command. */
static void nothing_differs(void)
{
    struct kvm_hotplug_difference differences[8];
    size_t count, index;

    works(kvmh_verify(vm.guest, 0, differences, 8, &count, &failure));
    for (index = 0; index < count; index++)
        if (differences[index].kind != KVM_HOTPLUG_DIFFERENCE_FOREIGN)
            FAIL("%s: %s, not %s", differences[index].id, differences[index].found, differences[index].recorded);
    CHECK(count <= 1);
}

static void unplug(const char *id)
{
    struct kvm_hotplug_del_options removal = {.id = id, .flags = KVM_HOTPLUG_NO_WAIT};

    answers(kvmh_del(vm.guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
}

/* A guest without a system lets go of a SCSI disk at once, and of others when it is reset. */
static void remove_one_of_each(const struct era *era)
{
    struct kvm_hotplug_del_options scsi = {.id = era->disk[0]};
    char *picture;

    if (era->controller != NULL) {
        works(kvmh_del(vm.guest, &scsi, NULL, &failure));
        unplug(era->nic[0]);
        vm_reset(&vm);
        vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, era->nic[0]);
    } else {
        unplug(era->disk[0]);
        vm_reset(&vm);
        vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, era->disk[0]);
        unplug(era->nic[0]);
        vm_reset(&vm);
        vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, era->nic[0]);
    }
    picture = vm_picture(&vm);
    CHECK(strstr(picture, era->nic[0]) == NULL);
    CHECK(strstr(picture, era->disk[0]) == NULL);
    CHECK(strstr(picture, era->disk[1]) != NULL);
    free(picture);
    CHECK(!vm_record_contains(&vm, "\"disk-7c079136-2573-4112\""));
    CHECK(!vm_has_journal(&vm));
}

/* Ganeti's versions load the list, and write it as after a change of theirs. */
static void ganeti_goes_on(void)
{
    static const char *const suites[] = {"bookworm", "trixie"};
    const char *const fetch[] = {"tests/bin/ganeti-code", suites[0], suites[1], NULL};
    char python[64];
    size_t index;

    if (run(fetch) != 0)
        FAIL("GANETI'S CODE IS NOT HERE: tests/bin/ganeti-code could not fetch it from Debian");
    for (index = 0; index < 2; index++) {
        const char *const check[] = {python, "tests/bin/ganeti-interop", "check", vm.path, NULL};
        const char *const resave[] = {python, "tests/bin/ganeti-interop", "resave", vm.path, NULL};

        snprintf(python, sizeof python, "build/ganeti/%s/python", suites[index]);
        ok(run(check));
        ok(run(resave));
    }
}

static void an_era(const struct era *era)
{
    struct kvm_hotplug_nic nic = {.bridge = bridge, .mac = "aa:00:00:00:01:77"};
    struct kvm_hotplug_disk disk = {.path = more, .model = era->controller == NULL ? NULL : "scsi-hd"};
    struct kvm_hotplug_device added[2];
    uint32_t format;

    fprintf(stderr, "%s\n", era->list);
    image_raw(more, MEBIBYTE);
    start(era);
    vm_close(&vm);
    write_list(era);
    vm_open(&vm);
    works(kvm_runtime_get_format(vm.runtime, &format, &failure));
    CHECK_NUMBER(format, KVM_RUNTIME_FORMAT_GANETI);
    CHECK_TEXT(vm_device(&vm, era->disk[1]).bus, era->bus[1]);
    nothing_differs();
    remove_one_of_each(era);
    works(kvmh_add_nic(vm.guest, &nic, &added[0], &failure));
    works(kvmh_add_disk(vm.guest, &disk, &added[1], &failure));
    CHECK(strncmp(added[0].id, "nic-", 4) == 0 && strlen(added[0].id) == strlen("nic-003fc157-66a8-4e6d"));
    CHECK_TEXT(added[1].bus, era->bus[0]);
    nothing_differs();
    vm_close(&vm);
    ganeti_goes_on();
    vm_open(&vm);
    nothing_differs();
    CHECK_PATH(vm.guest, added[1].id, more);
    CHECK_TEXT(vm_device(&vm, added[0].id).bridge, bridge);
    unplug(added[0].id);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, added[0].id);
    CHECK(!vm_record_contains(&vm, added[0].id));
    vm_stop(&vm);
}

/* Two devices of a list have one place, one of which Ganeti has forgotten to take out of it: the list is
 * loaded, the guest is managed, and what is wrong is told. What a later Ganeti has in a fifth entry stays. */
static void one_place_for_two(void)
{
    const struct era *era = &eras[0];
    struct kvm_hotplug_difference found[8];
    struct kvm_runtime_problem problems[8];
    struct kvm_boot *boot = NULL;
    char *list, *longer = NULL;
    size_t count = 0, i, missing = 0, places = 0;

    start(era);
    vm_close(&vm);
    write_list(era);
    list = file_read(vm.path, NULL);
    replace(list, "\"pci\": 6", "\"pci\": 4");
    CHECK(asprintf(&longer, "%.*s, {\"newer\": [1.50, null]}]\n", (int)(strrchr(list, ']') - list), list) > 0);
    file_write(vm.path, longer, strlen(longer));
    free(list);
    free(longer);
    vm_open(&vm);
    works(kvmh_verify(vm.guest, 0, found, 8, &count, &failure));
    for (i = 0; i < count; i++)
        missing += found[i].kind == KVM_HOTPLUG_DIFFERENCE_MISSING && strcmp(found[i].id, "hotnic-003fc157-pci-4") == 0;
    CHECK_NUMBER(missing, 1);
    works(kvmh_runtime_check(vm.runtime, 0, NULL, 0, problems, 8, &count, &failure));
    for (i = 0; i < count; i++)
        places += problems[i].kind == KVM_RUNTIME_PROBLEM_PLACE && strstr(problems[i].text, "pci.0 slot 4") != NULL;
    CHECK_NUMBER(places, 1);
    unplug(era->disk[0]);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, era->disk[0]);
    CHECK(!vm_record_contains(&vm, "disk0\""));
    CHECK(vm_record_contains(&vm, "{\"newer\": [1.5, null]}]"));
    CHECK(vm_record_contains(&vm, "hotnic-003fc157-pci-4"));
    vm_close(&vm);
    /* The same list with both again: no boot is made of it. */
    write_list(era);
    list = file_read(vm.path, NULL);
    replace(list, "\"pci\": 6", "\"pci\": 4");
    file_write(vm.path, list, strlen(list));
    free(list);
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    fails(kvmh_runtime_boot(vm.runtime, NULL, &boot, &failure), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, "slot 4");
    vm_stop(&vm);
}

int main(void)
{
    char directory[TEST_PATH];
    size_t index;

    test_begin("qemu-ganeti", 300);
    directory_new(directory);
    path_in(image[0], directory, "disk0");
    path_in(image[1], directory, "disk1");
    path_in(more, directory, "more");
    image_raw(image[0], MEBIBYTE);
    image_raw(image[1], MEBIBYTE);
    bridge_new(bridge);
    one_place_for_two();
    for (index = 0; index < sizeof eras / sizeof *eras; index++)
        an_era(&eras[index]);
    return test_end();
}
