/* ctest: machine=pc */
/* With a guest that is open: what is missing, too short or too long is told, and nothing is written outside
 * of what was given, nor at all on failure. */
#include <string.h>

#include "support/files.h"
#include "support/library.h"

#define null(call, what) fails(call, -EFAULT, KVM_HOTPLUG_ERROR_INVALID, what " is NULL")

static struct vm vm;
static char image[TEST_PATH];

/* A device struct with guard bytes behind it, as a newer caller's. */
struct guarded {
    struct kvm_hotplug_device device;
    unsigned char more[32];
};

static bool untouched(const void *memory, size_t length)
{
    const unsigned char *bytes = memory;

    while (length > 0)
        if (bytes[--length] != 0xee)
            return false;
    return true;
}

static void nothing_missing(void)
{
    struct kvm_hotplug_nic nic = {.queues = 1};
    struct kvm_hotplug_disk disk = {.path = NULL};
    struct kvm_hotplug_del_options removal = {.id = NULL};
    struct kvm_hotplug_command command = {.execute = NULL};
    char *plan = NULL;
    size_t count;

    null(kvm_hotplug_add_nic(vm.guest, NULL, sizeof nic, NULL, 0, &failure), "nic");
    null(kvm_hotplug_add_disk(vm.guest, NULL, sizeof disk, NULL, 0, &failure), "disk");
    null(kvm_hotplug_add_disk(vm.guest, &disk, sizeof disk, NULL, 0, &failure), "path");
    null(kvm_hotplug_add_controller(vm.guest, NULL, 8, NULL, 0, &failure), "controller");
    null(kvm_hotplug_del(vm.guest, NULL, sizeof removal, NULL, 0, &failure), "options");
    null(kvm_hotplug_del(vm.guest, &removal, sizeof removal, NULL, 0, &failure), "id");
    null(kvm_hotplug_del_nic(vm.guest, NULL, 0, &failure), "id");
    null(kvm_hotplug_del_disk(vm.guest, NULL, 0, &failure), "id");
    null(kvm_hotplug_del_controller(vm.guest, NULL, 0, &failure), "id");
    null(kvm_hotplug_get_device(vm.guest, NULL, NULL, 0, &failure), "id");
    null(kvm_hotplug_next_event(vm.guest, NULL, 8, &failure), "ret_event");
    null(kvm_hotplug_list(vm.guest, NULL, 0, 0, NULL, &failure), "ret_count");
    null(kvm_hotplug_slot_map(vm.guest, 0, NULL, 0, 0, NULL, &failure), "ret_count");
    null(kvm_hotplug_set_link(vm.guest, NULL, 1, 0, &failure), "id");
    null(kvm_hotplug_set_bridge(vm.guest, NULL, "br0", 0, &failure), "id");
    null(kvm_hotplug_resize_disk(vm.guest, NULL, 512, 0, 0, NULL, &failure), "id");
    null(kvm_hotplug_settle(vm.guest, 0, NULL, 0, 0, NULL, &failure), "ret_count");
    null(kvm_hotplug_qmp(vm.guest, NULL, sizeof command, NULL, &failure), "command");
    null(kvm_hotplug_qmp(vm.guest, &command, sizeof command, NULL, &failure), "execute");
    null(kvm_hotplug_next_event_json(vm.guest, NULL, &failure), "ret_json");
    null(kvm_hotplug_describe(vm.guest, NULL, 0, NULL, &failure), "ret_json");
    null(kvm_hotplug_describe_unrecorded(vm.guest, 0, NULL, &failure), "ret_json");
    null(kvm_hotplug_get_capabilities(vm.guest, 0, NULL, &failure), "ret_json");
    null(kvm_hotplug_give_capabilities(vm.guest, NULL, 0, &failure), "json");
    invalid(kvm_hotplug_give_capabilities(vm.guest, "{}", 0, &failure), "member qemu is missing");
    invalid(kvm_hotplug_set_link(vm.guest, "x", 2, 0, &failure), "up is 2");
    invalid(kvm_hotplug_forward_qmp_events(vm.guest, -1, &failure), "on is -1");
    invalid(kvm_hotplug_resize_disk(vm.guest, "x", 512, 2, 0, NULL, &failure), "resize flags", "0x2");
    invalid(kvm_hotplug_set_bridge(vm.guest, "x", "a/b", 0, &failure), "interface name");
    null(kvm_hotplug_plan_nic(vm.guest, NULL, sizeof nic, NULL, 0, &plan, &failure), "nic");
    null(kvm_hotplug_plan_disk(vm.guest, NULL, sizeof disk, NULL, 0, &plan, &failure), "disk");
    null(kvm_hotplug_plan_disk(vm.guest, &disk, sizeof disk, NULL, 0, &plan, &failure), "path");
    null(kvm_hotplug_plan_controller(vm.guest, NULL, 8, NULL, 0, &plan, &failure), "controller");
    null(kvm_hotplug_plan_del(vm.guest, NULL, sizeof removal, NULL, 0, &plan, &failure), "options");
    null(kvm_hotplug_plan_del(vm.guest, &removal, sizeof removal, NULL, 0, &plan, &failure), "id");
    null(kvm_hotplug_verify(vm.guest, 0, NULL, 0, 0, NULL, &failure), "ret_count");
    null(kvm_hotplug_repair(vm.guest, 0, NULL, 0, 0, NULL, &failure), "ret_count");
    CHECK(plan == NULL);
    works(kvm_hotplug_list(vm.guest, NULL, 0, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
}

static void requests(void)
{
    struct {
        struct kvm_hotplug_disk disk;
        unsigned char more[8];
    } disk = {.disk = {.path = image, .id = "data", .flags = KVM_HOTPLUG_DISK_READ_ONLY}, .more = {[0] = 1}};
    struct {
        struct kvm_hotplug_del_options removal;
        unsigned char more[8];
    } removal = {.removal = {.id = "data", .flags = KVM_HOTPLUG_NO_WAIT}, .more = {[7] = 1}};

    invalid(kvm_hotplug_add_disk(vm.guest, &disk.disk, 0, NULL, 0, &failure), "disk", "size 0", "pass its sizeof");
    fails(kvm_hotplug_add_disk(vm.guest, &disk.disk, sizeof disk, NULL, 0, &failure), -E2BIG, KVM_HOTPLUG_ERROR_VERSION,
          "disk", "does not have");
    disk.more[0] = 0;
    works(kvm_hotplug_add_disk(vm.guest, &disk.disk, sizeof disk, NULL, 0, &failure));
    CHECK_NUMBER(vm_device(&vm, "data").read_only, 1);
    /* It never ended before the flags, so nothing that was asked for is left out. */
    invalid(kvm_hotplug_add_disk(vm.guest, &disk.disk, offsetof(struct kvm_hotplug_disk, flags), NULL, 0, &failure),
            "disk", "size 84", "pass its sizeof");
    invalid(kvm_hotplug_del(vm.guest, &removal.removal, 0, NULL, 0, &failure), "options", "size 0");
    fails(kvm_hotplug_del(vm.guest, &removal.removal, sizeof removal, NULL, 0, &failure), -E2BIG,
          KVM_HOTPLUG_ERROR_VERSION, "options", "does not have");
    removal.removal.flags = KVM_HOTPLUG_BOOT_INDEX;
    removal.more[7] = 0;
    invalid(kvm_hotplug_del(vm.guest, &removal.removal, sizeof removal, NULL, 0, &failure), "options: flags", "0x2");
    CHECK_NUMBER(vm_device(&vm, "data").state, KVM_HOTPLUG_STATE_LIVE);
}

static void commands(void)
{
    struct {
        struct kvm_hotplug_command command;
        unsigned char more[8];
    } command = {.command = {.execute = "query-status"}, .more = {[3] = 1}};
    char *reply = NULL;

    fails(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, &reply, &failure), -E2BIG,
          KVM_HOTPLUG_ERROR_VERSION, "command", "does not have");
    command.more[3] = 0;
    works(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, &reply, &failure));
    CHECK_PART(reply, "prelaunch");
    kvm_hotplug_text_free(reply);
    works(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, NULL, &failure));
    command.command.arguments = "[]";
    invalid(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, NULL, &failure), "not a JSON object");
    command.command.arguments = "{\"a\":";
    invalid(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, NULL, &failure), "not JSON", "column 5");
    command.command.arguments = NULL;
    command.command.fd = -1;
    command.command.flags = KVM_HOTPLUG_QMP_PASS_FD;
    fails(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, NULL, &failure), -EBADF,
          KVM_HOTPLUG_ERROR_INVALID, "fd: -1");
    command.command.flags = 4;
    invalid(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, NULL, &failure), "command flags", "0x4");
    command.command.flags = 0;
    command.command.reserved = 1;
    invalid(kvm_hotplug_qmp(vm.guest, &command.command, sizeof command, NULL, &failure), "reserved is 1");
}

static void results(void)
{
    struct guarded guarded;
    struct kvm_hotplug_nic nic = {.id = "lan"}, bad = {.id = "lan", .mtu = 1400};
    size_t older = offsetof(struct kvm_hotplug_device, mac);

    memset(&guarded, 0xee, sizeof guarded);
    invalid(kvm_hotplug_add_nic(vm.guest, &nic, sizeof nic, &guarded.device, 0, &failure), "ret_device", "size 0");
    invalid(kvm_hotplug_get_device(vm.guest, "data", &guarded.device, 0, &failure), "ret_device", "size 0");
    CHECK(untouched(&guarded, sizeof guarded));
    answers(kvm_hotplug_get_device(vm.guest, "nobody", &guarded.device, sizeof guarded.device, &failure),
            KVM_HOTPLUG_ANSWER_ABSENT);
    CHECK(untouched(&guarded, sizeof guarded));
    invalid(kvm_hotplug_add_nic(vm.guest, &nic, sizeof nic, &guarded.device, older, &failure), "ret_device", "size 96");
    CHECK(untouched(&guarded, sizeof guarded));
    works(kvm_hotplug_add_nic(vm.guest, &nic, sizeof nic, &guarded.device, sizeof guarded.device, &failure));
    CHECK_NUMBER(guarded.device.reserved, 0);
    CHECK(untouched(guarded.more, sizeof guarded.more));
    works(kvm_hotplug_get_device(vm.guest, "lan", &guarded.device, sizeof guarded, &failure));
    CHECK_NUMBER(guarded.more[0], 0);
    CHECK_NUMBER(guarded.more[31], 0);
    memset(&guarded, 0xee, sizeof guarded);
    fails(kvm_hotplug_add_nic(vm.guest, &bad, sizeof bad, &guarded.device, sizeof guarded.device, &failure), -EEXIST,
          KVM_HOTPLUG_ERROR_CONFLICT, "another mtu");
    CHECK(untouched(&guarded, sizeof guarded));
}

static void lists(void)
{
    struct guarded guarded[3];
    size_t count = 0;

    memset(guarded, 0xee, sizeof guarded);
    invalid(kvm_hotplug_list(vm.guest, &guarded[0].device, 0, 3, &count, &failure), "size 0");
    CHECK_NUMBER(count, 0);
    works(kvm_hotplug_list(vm.guest, &guarded[0].device, sizeof *guarded, 1, &count, &failure));
    CHECK_NUMBER(count, 2);
    CHECK(untouched(&guarded[1], 2 * sizeof *guarded));
    works(kvm_hotplug_list(vm.guest, &guarded[0].device, sizeof *guarded, 3, &count, &failure));
    CHECK_NUMBER(count, 2);
    CHECK_NUMBER(guarded[1].more[31], 0);
    CHECK(untouched(&guarded[2], sizeof *guarded));
}

int main(void)
{
    test_begin("qemu-arguments", 60);
    vm_start(&vm, &(struct qemu_options){.paused = true});
    path_in(image, vm.qemu->dir, "data.img");
    image_raw(image, 1 << 20);
    nothing_missing();
    requests();
    commands();
    results();
    lists();
    vm_stop(&vm);
    return test_end();
}
