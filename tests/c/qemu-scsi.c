/* SCSI disks in a QEMU without a guest: places, controllers of the machine, refusals, plans, verifying both
 * ways, and what becomes of a controller whose disk could not be added. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/plug.h"

enum { MOST = 512, DIFFERENCES = 8, ROUNDS = 20 };

static struct vm vm;
static struct kvm_hotplug_device device;
static char image[4][TEST_PATH];

/* Where QEMU was started with a controller, scsi. */
static const char *const machine[] = {"-device", "virtio-scsi-pci,id=scsi,addr=0x3", "-device",
                                      "lsi53c895a,id=hba,addr=0x4", NULL};

static struct kvm_hotplug_disk scsi(const char *path)
{
    return (struct kvm_hotplug_disk){.path = path, .model = "scsi-hd"};
}

static struct kvm_hotplug_disk scsi_at(const char *path, const char *bus, uint32_t target, uint32_t lun)
{
    return (struct kvm_hotplug_disk){.path = path,
                                     .model = "scsi-hd",
                                     .bus = bus,
                                     .target = target,
                                     .lun = lun,
                                     .flags = KVM_HOTPLUG_DISK_SCSI_ADDRESS};
}

#define add(request) add_disk(&vm, &(request), &device)

static void check_place(const char *id, const char *bus, uint32_t target, uint32_t lun)
{
    CHECK_TEXT(device.id, id);
    CHECK_TEXT(device.bus, bus);
    CHECK_NUMBER(device.address_type, KVM_HOTPLUG_ADDRESS_SCSI);
    CHECK_NUMBER(device.channel, 0);
    CHECK_NUMBER(device.target, target);
    CHECK_NUMBER(device.lun, lun);
    CHECK_NUMBER(device.slot, 0);
}

static void qom_says(const char *id, const char *property, const char *value)
{
    char command[256], part[64];

    snprintf(command, sizeof command,
             "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/%s\",\"property\":\"%s\"}}", id,
             property);
    snprintf(part, sizeof part, "\"return\": %s", value);
    CHECK_PART(qmp(vm.qemu, command), part);
}

static size_t differences(struct kvm_hotplug_difference list[DIFFERENCES])
{
    size_t count = 0;

    works(kvmh_verify(vm.guest, 0, list, DIFFERENCES, &count, &failure));
    return count;
}

/* Nothing but the machine's own controllers, which these records do not have in their command. */
static void check_verified(size_t foreign)
{
    struct kvm_hotplug_difference list[DIFFERENCES];
    size_t count = differences(list), i;

    for (i = 0; i < count && i < DIFFERENCES; i++)
        CHECK_NUMBER(list[i].kind, KVM_HOTPLUG_DIFFERENCE_FOREIGN);
    CHECK_NUMBER(count, foreign);
}

/* What the recorded command has is no stranger. */
static void in_the_command(void)
{
    const char *const command[] = {"qemu", "-device", "virtio-scsi-pci,id=scsi", "-device",
                                   "{\"driver\":\"lsi53c895a\",\"id\":\"hba\"}"};
    struct kvm_runtime_config config = {.command = command, .command_count = 5};
    struct kvm_runtime *record = NULL;
    struct kvm_hotplug *guest = NULL;
    char path[TEST_PATH];
    size_t count = 9;

    check_verified(2);
    vm_close(&vm);
    path_in(path, vm.qemu->dir, "other.runtime");
    works(kvmh_runtime_new(&config, &record, &failure));
    works(kvm_runtime_save(record, path, &failure));
    works(kvm_hotplug_open(record, vm.qemu->qmp_path, 0, &guest, &failure));
    works(kvmh_verify(guest, 0, NULL, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
    kvm_hotplug_close(guest);
    kvm_runtime_free(record);
    vm_open(&vm);
}

/* The first disk brings its controller; every target after that; all of it leaves, round after round. */
static void come_and_go(void)
{
    char *picture = vm_picture(&vm), controller[40];
    struct kvm_hotplug_disk request;
    int round, i;

    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < 4; i++) {
            request = scsi(image[i]);
            works(add(request));
            CHECK_NUMBER(device.target, i);
        }
        snprintf(controller, sizeof controller, "%.*s", (int)(strlen(device.bus) - 2), device.bus);
        CHECK_TEXT(controller, vm.qemu->q35 ? "scsi-pci-rp0" : "scsi-pci-4");
        if (round == 0)
            check_verified(0);
        fails(kvm_hotplug_del_controller(vm.guest, controller, 0, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT,
              "has disks on it", "at target 0", "at target 3");
        for (i = 4; i-- > 0;) {
            char id[64];

            snprintf(id, sizeof id, "disk-%s-%d", controller, i);
            works(kvm_hotplug_del_disk(vm.guest, id, 0, &failure));
        }
        /* Nobody there to let go of the controller: a reset does. */
        answers(kvmh_del(vm.guest, &(struct kvm_hotplug_del_options){.id = controller, .flags = KVM_HOTPLUG_NO_WAIT},
                         NULL, &failure),
                KVM_HOTPLUG_ANSWER_PENDING);
        vm_reset(&vm);
        vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, controller);
        CHECK_NUMBER(recorded(&vm), 0);
    }
    works(kvmh_repair(vm.guest, 0, NULL, 0, &(size_t){0}, &failure));
    CHECK_PICTURE(&vm, picture);
    CHECK(!vm_has_journal(&vm));
    free(picture);
}

/* What QEMU gets is what was asked for. */
static void settings(void)
{
    struct kvm_hotplug_disk request = {.path = image[0],
                                       .id = "data",
                                       .model = "scsi-hd",
                                       .serial = "S 1",
                                       .cache = KVM_HOTPLUG_CACHE_WRITETHROUGH,
                                       .logical_block_size = 4096,
                                       .boot_index = 7,
                                       .flags = KVM_HOTPLUG_DISK_SHARE_RW | KVM_HOTPLUG_BOOT_INDEX,
                                       .wwn = 0x5000c50015ea71ac};

    works(add(request));
    CHECK_NUMBER(device.wwn, 0x5000c50015ea71ac);
    qom_says("data", "serial", "\"S 1\"");
    qom_says("data", "write-cache", "\"off\"");
    qom_says("data", "logical_block_size", "4096");
    qom_says("data", "physical_block_size", "4096");
    qom_says("data", "bootindex", "7");
    qom_says("data", "share-rw", "true");
    qom_says("data", "wwn", "5764824127192592812");
    check_verified(2);
    works(add(request));
    request.wwn = 1;
    fails(add(request), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "data exists with another wwn");
    works(unplug(&vm, "data", 0));
}

/* The controller of the machine is used where the record has none, and every place on it can be pinned. */
static void places(void)
{
    struct kvm_hotplug_slot slots[MOST];
    struct kvm_hotplug_disk request = scsi_at(image[0], "scsi.0", 255, 16383);
    size_t count = 0, i, shown = 0;

    works(add(request));
    check_place("disk-scsi-255.16383", "scsi.0", 255, 16383);
    request = scsi_at(image[1], "scsi.0", 255, 16383);
    fails(add(request), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, "scsi.0 target 255 lun 16383 is taken by");
    request = scsi_at(image[1], "nope.0", 0, 0);
    fails(add(request), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "nope.0: no such SCSI bus", "hba.0, scsi.0");
    request = scsi(image[1]), request.bus = "scsi.0";
    works(add(request));
    check_place("disk-scsi-0", "scsi.0", 0, 0);
    works(kvmh_slot_map(vm.guest, 0, slots, MOST, &count, &failure));
    for (i = 0; i < count && i < MOST; i++)
        if (slots[i].address_type == KVM_HOTPLUG_ADDRESS_SCSI) {
            static const struct {
                uint32_t state, target, lun;
                const char *occupant;
            } want[] = {{KVM_HOTPLUG_SLOT_TAKEN, 0, 0, "disk-scsi-0"},
                        {KVM_HOTPLUG_SLOT_FREE, 1, 0, ""},
                        {KVM_HOTPLUG_SLOT_TAKEN, 255, 16383, "disk-scsi-255.16383"}};

            CHECK(shown < 3);
            CHECK_TEXT(slots[i].bus, "scsi.0");
            CHECK_NUMBER(slots[i].state, want[shown].state);
            CHECK_NUMBER(slots[i].target, want[shown].target);
            CHECK_NUMBER(slots[i].lun, want[shown].lun);
            CHECK_TEXT(slots[i].occupant, want[shown].occupant);
            shown++;
        }
    CHECK_NUMBER(shown, 3);
    /* A model of which QEMU does not tell the guest about new disks. */
    request = scsi(image[2]), request.bus = "hba.0";
    answers(add(request), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_CONTROLLER);
    works(unplug(&vm, device.id, 0));
    works(unplug(&vm, "disk-scsi-255.16383", 0));
}

/* A device that somebody else put there is seen, passed over, shown by verifying, and left alone. */
static void foreign(void)
{
    struct kvm_hotplug_difference list[DIFFERENCES];
    struct kvm_hotplug_disk request = scsi(image[3]);
    size_t count, i, found = 0;

    vm_observe(&vm, "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"null-co\",\"node-name\":\"theirs\"}}");
    vm_observe(
        &vm, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-hd\",\"id\":\"theirs\",\"drive\":\"theirs\","
             "\"bus\":\"scsi.0\",\"channel\":0,\"scsi-id\":1,\"lun\":0}}");
    request.bus = "scsi.0";
    works(add(request));
    check_place("disk-scsi-2", "scsi.0", 2, 0);
    count = differences(list);
    for (i = 0; i < count && i < DIFFERENCES; i++)
        if (strcmp(list[i].id, "theirs") == 0) {
            CHECK_NUMBER(list[i].kind, KVM_HOTPLUG_DIFFERENCE_FOREIGN);
            CHECK_PART(list[i].text, "scsi.0 target 1 lun 0");
            found++;
        }
    CHECK_NUMBER(found, 1);
    fails(unplug(&vm, "theirs", 0), -EACCES, KVM_HOTPLUG_ERROR_FOREIGN,
          "theirs is in the guest, but not in its record");
    works(unplug(&vm, "disk-scsi-2", 0));
    works(unplug(&vm, "disk-scsi-0", 0));
}

static void refusals(void)
{
    struct kvm_hotplug_disk request = scsi(image[0]);
    char *picture = vm_picture(&vm);

    request.queues = 2;
    invalid(add(request), "queues with scsi-hd", "belong to the controller");
    request = scsi(image[0]), request.slot = 4;
    invalid(add(request), "slot is given for a SCSI disk");
    request = scsi(image[0]), request.target = 4;
    invalid(add(request), "count only with KVM_HOTPLUG_DISK_SCSI_ADDRESS");
    request = scsi_at(image[0], NULL, 4, 0);
    invalid(add(request), "without a bus");
    request = scsi_at(image[0], "scsi.0", 256, 0);
    invalid(add(request), "SCSI target 256 is out of range");
    request = scsi_at(image[0], "scsi.0", 0, 16384);
    invalid(add(request), "SCSI lun 16384", "0 to 16383");
    request = scsi_at(image[0], "scsi.0", 0, 0), request.model = NULL;
    invalid(add(request), "target and lun are for SCSI disks");
    request = scsi(image[0]), request.model = "scsi-block";
    invalid(add(request), image[0], "it is a regular file", "scsi-hd takes anything");
    request.serial = "x";
    invalid(add(request), "serial with scsi-block");
    request = (struct kvm_hotplug_disk){.path = image[0], .wwn = 5};
    invalid(add(request), "wwn with virtio-blk-pci");
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* A plan has the controller in it, and does nothing. */
static void plans(void)
{
    struct kvm_hotplug_disk request = scsi(image[0]);
    struct kvm_hotplug_controller controller = {.queues = 2};
    char *picture = vm_picture(&vm), *plan = NULL;
    const char *slot = vm.qemu->q35 ? "rp0" : "4";
    char part[160];

    works(kvmh_plan_disk(vm.guest, &request, &device, &plan, &failure));
    snprintf(part, sizeof part, "\"bus\":\"scsi-pci-%s.0\",\"channel\":0", slot);
    CHECK_PART(plan, part);
    snprintf(part, sizeof part, "\"driver\":\"virtio-scsi-pci\",\"id\":\"scsi-pci-%s\"}", slot);
    CHECK_PART(plan, part);
    kvm_hotplug_text_free(plan);
    works(kvmh_plan_controller(vm.guest, &controller, &device, &plan, &failure));
    CHECK_PART(plan, "\"num_queues\":2");
    CHECK_NUMBER(device.device_type, KVM_HOTPLUG_DEVICE_CONTROLLER);
    kvm_hotplug_text_free(plan);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* The disk cannot be added when its controller already is: another QEMU has the image. */
static void undone(void)
{
    struct vm other;
    struct kvm_hotplug_disk request = scsi(image[3]);
    struct kvm_hotplug_error *error = NULL;
    char *picture;

    vm_start(&other, &(struct qemu_options){.paused = true});
    works(add_disk(&other, &(struct kvm_hotplug_disk){.path = image[3]}, &device));
    picture = vm_picture(&vm);
    /* No guest lets go of the controller, which is said, and a reset ends it. */
    request.timeout_ms = (uint32_t)test_patience(3000);
    err(kvmh_add_disk(vm.guest, &request, NULL, &error), -EBUSY);
    CHECK_NUMBER(kvm_hotplug_error_kind(error), KVM_HOTPLUG_ERROR_IMAGE_LOCKED);
    CHECK_NUMBER(kvm_hotplug_error_undo(error), KVM_HOTPLUG_UNDO_INCOMPLETE);
    CHECK_PART(kvm_hotplug_error_residue(error), vm.qemu->q35 ? "device scsi-pci-rp0: its removal is pending"
                                                              : "device scsi-pci-4: its removal is pending");
    kvm_hotplug_error_free(error);
    CHECK(vm_has_journal(&vm));
    CHECK_NUMBER(recorded(&vm), 0);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_UNDONE, vm.qemu->q35 ? "scsi-pci-rp0" : "scsi-pci-4");
    CHECK(!vm_has_journal(&vm));
    works(kvmh_repair(vm.guest, 0, NULL, 0, &(size_t){0}, &failure));
    CHECK_PICTURE(&vm, picture);
    free(picture);
    vm_stop(&other);
    works(add(request));
}

/* What verifying finds when a disk is not where the record has it, and what mending makes of it. */
static void moved(void)
{
    struct kvm_hotplug_difference list[DIFFERENCES];
    char command[256], id[32], bus[64];
    size_t count = 0;

    snprintf(id, sizeof id, "%s", device.id);
    snprintf(bus, sizeof bus, "%s", device.bus);
    vm_close(&vm);
    snprintf(command, sizeof command, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"%s\"}}", id);
    vm_observe(&vm, command);
    qmp_wait_event(vm.qemu, "DEVICE_DELETED", id, 10000);
    snprintf(
        command, sizeof command,
        "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-hd\",\"id\":\"%s\",\"drive\":\"%s\",\"bus\":\"%s\","
        "\"channel\":0,\"scsi-id\":9,\"lun\":2}}",
        id, id, bus);
    vm_observe(&vm, command);
    vm_open(&vm);
    CHECK_NUMBER(differences(list), 1);
    CHECK_NUMBER(list[0].kind, KVM_HOTPLUG_DIFFERENCE_ADDRESS);
    CHECK_PART(list[0].recorded, "target 0 lun 0");
    CHECK_PART(list[0].found, "target 9 lun 2");
    works(kvmh_repair(vm.guest, 0, NULL, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
    device = vm_device(&vm, id);
    check_place(id, bus, 9, 2);
    works(unplug(&vm, id, 0));
}

int main(void)
{
    static const char *const names[] = {"a.img", "b.img", "c.img", "d.img"};
    int i;

    test_begin("qemu-scsi", 120);
    vm_start(&vm, &(struct qemu_options){.paused = false});
    for (i = 0; i < 4; i++) {
        path_in(image[i], vm.qemu->dir, names[i]);
        image_raw(image[i], MEBIBYTE);
    }
    come_and_go();
    plans();
    undone();
    moved();
    vm_stop(&vm);

    vm_start(&vm, &(struct qemu_options){.paused = true, .extra = machine});
    for (i = 0; i < 4; i++) {
        path_in(image[i], vm.qemu->dir, names[i]);
        image_raw(image[i], MEBIBYTE);
    }
    in_the_command();
    settings();
    refusals();
    places();
    foreign();
    vm_stop(&vm);
    return test_end();
}
