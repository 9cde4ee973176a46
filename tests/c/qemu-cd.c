/* CD drives and disks of NVM Express without a guest's system: the record has the present medium, and the
 * next boot and a migration target start with it; what QEMU shows is compared; kvmctl. */
#include <stdio.h>
#include <string.h>

#include "support/boot.h"
#include "support/image.h"
#include "support/plug.h"

enum { PATIENCE_MS = 20000 };

static char directory[TEST_PATH], first[TEST_PATH], second[TEST_PATH], fast[TEST_PATH];

static int change(struct vm *vm, const char *path)
{
    return kvmh_change_media(vm->guest, "cd", &(struct kvm_hotplug_medium){.path = path}, NULL, &failure);
}

static int add_cd(struct vm *vm, const char *id, const char *path)
{
    struct kvm_hotplug_disk request = {.id = id, .path = path, .model = "scsi-cd", .flags = KVM_HOTPLUG_DISK_READ_ONLY};

    return add_disk(vm, &request, NULL);
}

/* The drive has this node in it; NULL for none. */
static void has_node(struct vm *vm, const char *node)
{
    char part[96];

    snprintf(part, sizeof part, "\"%s\"", node == NULL ? "" : node);
    CHECK(qmp_contains(
        vm->qemu,
        "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/cd\",\"property\":\"drive\"}}", part));
}

/* QEMU may need a while to let go of a node under emulation, with a processor that does nothing. */
static void leaves(struct vm *vm, const char *id)
{
    if (unplug(vm, id, 0) == KVM_HOTPLUG_ANSWER_PENDING)
        expect_event(vm, KVM_HOTPLUG_EVENT_REMOVED, id, test_patience(PATIENCE_MS));
    check_gone(vm, id);
}

static void all_models(struct vm *vm)
{
    struct kvm_hotplug_disk nvme = {.id = "fast", .path = fast, .model = "nvme", .serial = "S1", .boot_index = 3};

    nvme.flags = KVM_HOTPLUG_BOOT_INDEX;
    if (qmp_contains(vm->qemu, "{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"nvme\"}}",
                     "\"bootindex\"")) {
        works(add_disk(vm, &nvme, NULL));
    } else {
        invalid(add_disk(vm, &nvme, NULL), "boot index with nvme", "leave it out");
        nvme.flags = 0;
        works(add_disk(vm, &nvme, NULL));
    }
    works(add_cd(vm, "cd", first));
    works(add_cd(vm, "empty", NULL));
    CHECK_VERIFIED(vm);
}

/* The node of a second medium has a name of its own until QEMU is started anew. */
static void boots_with_the_present_medium(void)
{
    struct kvm_boot_options options = {.spare_ports = 4};
    struct vm vm;

    vm_prepare(&vm, &(struct qemu_options){.root_ports = -1, .halts = true});
    for_version(&vm, &options);
    vm_boot(&vm, &options);
    all_models(&vm);
    has_node(&vm, "cd");
    works(change(&vm, second));
    CHECK(!qmp_contains(vm.qemu, "{\"execute\":\"query-named-block-nodes\"}", "\"node-name\": \"cd\""));
    CHECK_VERIFIED(&vm);
    works(change(&vm, second));
    vm_switch_off(&vm);
    vm_boot(&vm, &options);
    has_node(&vm, "cd");
    CHECK_PATH(vm.guest, "cd", second);
    CHECK_VERIFIED(&vm);
    works(change(&vm, NULL));
    has_node(&vm, NULL);
    CHECK_VERIFIED(&vm);
    vm_switch_off(&vm);
    vm_boot(&vm, &options);
    has_node(&vm, NULL);
    CHECK_VERIFIED(&vm);
    works(change(&vm, first));
    leaves(&vm, "cd");
    leaves(&vm, "empty");
    unplug_by_reset(&vm, "fast");
    CHECK_VERIFIED(&vm);
    vm_stop(&vm);
}

static void a_target_has_the_present_medium(void)
{
    struct kvm_boot_options boot = {.spare_ports = 4}, incoming = {.incoming = KVM_BOOT_INCOMING_UNIX};
    char path[TEST_PATH], command[512];
    struct vm from, to;

    vm_prepare(&from, &(struct qemu_options){.elsewhere = true, .root_ports = -1});
    for_version(&from, &boot);
    vm_boot(&from, &boot);
    works(add_cd(&from, "cd", first));
    works(add_cd(&from, "empty", NULL));
    works(change(&from, second));
    path_in(path, directory, "migration");
    incoming.incoming_address = path;
    vm_copy(&to, &from);
    for_version(&to, &incoming);
    vm_boot(&to, &incoming);
    CHECK_VERIFIED(&to);
    snprintf(command, sizeof command, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:%s\"}}", path);
    vm_observe(&from, command);
    CHECK(qmp_wait_contains(from.qemu, "{\"execute\":\"query-migrate\"}", "\"status\":\"completed\"",
                            test_patience(PATIENCE_MS)));
    CHECK(qmp_wait_contains(to.qemu, "{\"execute\":\"query-status\"}", "\"running\":true", test_patience(PATIENCE_MS)));
    vm_stop(&from);
    CHECK_PATH(to.guest, "cd", second);
    has_node(&to, "cd");
    works(change(&to, first));
    CHECK_VERIFIED(&to);
    vm_stop(&to);
}

/* A tray that is open when the guest is switched off: its medium is not in the drive of the next boot. */
static void an_ejected_medium_stays_out(void)
{
    struct kvm_boot_options options = {.spare_ports = 4};
    struct vm vm;

    vm_prepare(&vm, &(struct qemu_options){.root_ports = -1, .halts = true});
    for_version(&vm, &options);
    vm_boot(&vm, &options);
    works(add_cd(&vm, "cd", first));
    vm_observe(&vm, "{\"execute\":\"blockdev-open-tray\",\"arguments\":{\"id\":\"cd\"}}");
    expect_event(&vm, KVM_HOTPLUG_EVENT_TRAY_OPENED, "cd", test_patience(PATIENCE_MS));
    vm_observe(&vm, "{\"execute\":\"blockdev-close-tray\",\"arguments\":{\"id\":\"cd\"}}");
    expect_event(&vm, KVM_HOTPLUG_EVENT_TRAY_CLOSED, "cd", test_patience(PATIENCE_MS));
    vm_observe(&vm, "{\"execute\":\"blockdev-open-tray\",\"arguments\":{\"id\":\"cd\"}}");
    expect_event(&vm, KVM_HOTPLUG_EVENT_TRAY_OPENED, "cd", test_patience(PATIENCE_MS));
    CHECK_VERIFIED(&vm);
    vm_switch_off(&vm);
    vm_boot(&vm, &options);
    has_node(&vm, NULL);
    CHECK_PATH(vm.guest, "cd", "");
    CHECK_VERIFIED(&vm);
    vm_stop(&vm);
}

int main(void)
{
    test_begin("qemu-cd", 240);
    directory_new(directory);
    path_in(first, directory, "first.iso");
    path_in(second, directory, "second.iso");
    path_in(fast, directory, "fast.img");
    image_raw(first, MEBIBYTE);
    image_raw(second, 2 * MEBIBYTE);
    image_raw(fast, MEBIBYTE);
    boots_with_the_present_medium();
    a_target_has_the_present_medium();
    an_ejected_medium_stays_out();
    return test_end();
}
