/* NULL where something is needed is -EFAULT and names the parameter; nothing else is touched. */
#include <errno.h>
#include <string.h>

#include "support/library.h"

#define null(call, what) fails(call, -EFAULT, KVM_HOTPLUG_ERROR_INVALID, what " is NULL")

static struct kvm_runtime *runtime;
static struct kvm_hotplug *guest;

static void records(void)
{
    const char *const command[] = {"qemu", NULL};
    struct kvm_runtime_config config = {.command_count = 1};
    struct kvm_runtime_adopt_options adoption = {.command_count = 1};
    size_t count;
    uint32_t format;

    null(kvm_runtime_new(NULL, 0, NULL, &failure), "ret_runtime");
    null(kvm_runtime_new(&config, sizeof config, &runtime, &failure), "command");
    config.command = command;
    config.command_count = 2;
    null(kvm_runtime_new(&config, sizeof config, &runtime, &failure), "command[1]");
    null(kvm_runtime_adopt(NULL, 0, &runtime, NULL, &failure), "options");
    null(kvm_runtime_adopt(&adoption, sizeof adoption, &runtime, NULL, &failure), "qmp_path");
    adoption.qmp_path = "/x";
    null(kvm_runtime_adopt(&adoption, sizeof adoption, &runtime, NULL, &failure), "command");
    null(kvm_runtime_load(NULL, &runtime, &failure), "path");
    null(kvm_runtime_load("/x", NULL, &failure), "ret_runtime");
    null(kvm_runtime_load_readonly(NULL, &runtime, &failure), "path");
    null(kvm_runtime_load_readonly("/x", NULL, &failure), "ret_runtime");
    null(kvm_hotplug_open_with(NULL, "/x", NULL, 0, &guest, &failure), "options");
    null(kvm_hotplug_open_connection(NULL, 0, NULL, 0, &guest, &failure), "runtime");
    null(kvm_runtime_open(NULL, 0, &runtime, &failure), "path");
    null(kvm_runtime_open("/x", 0, NULL, &failure), "ret_runtime");
    null(kvm_runtime_save(NULL, "/x", &failure), "runtime");
    null(kvm_runtime_list(NULL, NULL, 0, 0, &count, &failure), "runtime");
    null(kvm_runtime_unfinished(NULL, NULL, 0, 0, &count, &failure), "runtime");
    null(kvm_runtime_give_tap(NULL, "lan", NULL, 0, &failure), "runtime");
    null(kvm_runtime_give_secret(NULL, "data", "key", "x", 1, &failure), "runtime");
    null(kvm_runtime_settle(NULL, &failure), "runtime");
    null(kvm_runtime_delete(NULL, &failure), "path");
    null(kvm_runtime_set_log(NULL, 0, NULL, NULL, NULL, &failure), "runtime");
    null(kvm_runtime_get_format(NULL, &format, &failure), "runtime");
    null(kvm_runtime_convert(NULL, KVM_RUNTIME_FORMAT_GANETI, &runtime, &failure), "runtime");
    null(kvm_runtime_set_backing(NULL, 0, NULL, 0, &failure), "runtime");
    null(kvm_runtime_accept_chain(NULL, "data", 0, NULL, 0, &failure), "runtime");
    null(kvm_runtime_copy(NULL, &runtime, &failure), "runtime");
    null(kvm_runtime_set_slot_policy(NULL, 0, &failure), "runtime");
    null(kvm_runtime_set_when_full(NULL, 0, &failure), "runtime");
    null(kvm_runtime_reserve_slots(NULL, "pci.0", 4, 5, 0, &failure), "runtime");
    null(kvm_runtime_release_slots(NULL, NULL, &failure), "runtime");
    CHECK(runtime == NULL);

    works(kvm_runtime_new(NULL, 0, &runtime, &failure));
    null(kvm_runtime_give_secret(runtime, NULL, "key", "x", 1, &failure), "id");
    null(kvm_runtime_give_secret(runtime, "data", NULL, "x", 1, &failure), "name");
    null(kvm_runtime_give_secret(runtime, "data", "key", NULL, 1, &failure), "data");
    null(kvm_runtime_list(runtime, NULL, 0, 0, NULL, &failure), "ret_count");
    null(kvm_runtime_accept_chain(runtime, NULL, 0, NULL, 0, &failure), "id");
    null(kvm_runtime_reserve_slots(runtime, NULL, 4, 5, 0, &failure), "bus");
    null(kvm_runtime_unfinished(runtime, NULL, 0, 0, NULL, &failure), "ret_count");
    null(kvm_runtime_get_format(runtime, NULL, &failure), "ret_format");
    null(kvm_runtime_convert(runtime, KVM_RUNTIME_FORMAT_GANETI, NULL, &failure), "ret_runtime");
    null(kvm_runtime_set_log(runtime, KVM_HOTPLUG_LOG_INFO, NULL, NULL, NULL, &failure), "callback");
}

static void boots(void)
{
    struct kvm_boot_plan plan;
    struct kvm_boot *boot = NULL;
    size_t count = 7;

    null(kvm_runtime_boot(NULL, NULL, 0, &boot, &failure), "runtime");
    null(kvm_runtime_boot(runtime, NULL, 0, NULL, &failure), "ret_boot");
    null(kvm_runtime_plan_boot(NULL, 0, &plan, sizeof plan, &failure), "runtime");
    null(kvm_runtime_plan_boot(runtime, 0, NULL, sizeof plan, &failure), "ret_plan");
    null(kvm_runtime_check(NULL, 0, NULL, 0, NULL, 0, 0, &count, &failure), "runtime");
    null(kvm_runtime_check(runtime, 0, NULL, 0, NULL, 0, 0, NULL, &failure), "ret_count");
    CHECK(boot == NULL);
    CHECK(kvm_boot_argv(NULL, &count) == NULL);
    CHECK(kvm_boot_fds(NULL, &count) == NULL);
    CHECK_NUMBER(kvm_boot_inherit(NULL), -EBADF);
    kvm_boot_free(NULL);
}

static void cold(void)
{
    char *path = NULL;
    struct kvm_hotplug_nic nic = {.queues = 1};
    struct kvm_hotplug_disk disk = {.path = NULL};
    struct kvm_hotplug_del_options removal = {.id = NULL};

    null(kvm_runtime_add_nic(NULL, &nic, sizeof nic, NULL, 0, &failure), "runtime");
    null(kvm_runtime_add_nic(runtime, NULL, sizeof nic, NULL, 0, &failure), "nic");
    null(kvm_runtime_add_disk(NULL, &disk, sizeof disk, NULL, 0, &failure), "runtime");
    null(kvm_runtime_add_disk(runtime, NULL, sizeof disk, NULL, 0, &failure), "disk");
    null(kvm_runtime_add_disk(runtime, &disk, sizeof disk, NULL, 0, &failure), "path");
    null(kvm_runtime_del(NULL, &removal, sizeof removal, NULL, 0, &failure), "runtime");
    null(kvm_runtime_get_path(NULL, "x", &path, &failure), "runtime");
    null(kvm_runtime_get_path(runtime, NULL, &path, &failure), "id");
    null(kvm_runtime_get_path(runtime, "x", NULL, &failure), "ret_path");
    null(kvm_runtime_del(runtime, NULL, sizeof removal, NULL, 0, &failure), "options");
    null(kvm_runtime_del(runtime, &removal, sizeof removal, NULL, 0, &failure), "id");
}

static void opening(void)
{
    null(kvm_hotplug_open(NULL, "/x", 0, &guest, &failure), "runtime");
    null(kvm_hotplug_open(runtime, NULL, 0, &guest, &failure), "socket_path");
    null(kvm_hotplug_open(runtime, "/x", 0, NULL, &failure), "ret_guest");
    CHECK(guest == NULL);
}

static void guests(void)
{
    struct kvm_hotplug_nic nic = {.queues = 1};
    struct kvm_hotplug_disk disk = {.path = "/x"};
    struct kvm_hotplug_source source = {.nbd_host = "x"};
    struct kvm_hotplug_controller controller = {.slot = 0};
    struct kvm_hotplug_del_options removal = {.id = "x"};
    struct kvm_hotplug_add_batch batch = {.nic_count = 0};
    struct kvm_hotplug_nic_limits limits = {.inbound_average = 0};
    struct kvm_hotplug_del_batch gone = {.id_count = 0};
    struct kvm_hotplug_command command = {.execute = "query-status"};
    struct kvm_hotplug_medium medium = {.path = "/x"};
    struct kvm_hotplug_event event;
    uint64_t bytes = 1;
    char *text = NULL;
    char *plan = NULL;
    size_t count;

    null(kvm_hotplug_add_nic(NULL, &nic, sizeof nic, NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_source_json(NULL, sizeof source, &text, &failure), "source");
    null(kvm_hotplug_source_json(&source, sizeof source, NULL, &failure), "ret_json");
    null(kvm_hotplug_add_disk(NULL, &disk, sizeof disk, NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_add_controller(NULL, &controller, sizeof controller, NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_del(NULL, &removal, sizeof removal, NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_add_many(NULL, &batch, sizeof batch, NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_add_json(NULL, "[]", 0, 0, NULL, &failure), "guest handle");
    null(kvm_hotplug_apply(NULL, "[]", 0, 0, NULL, &failure), "guest handle");
    null(kvm_hotplug_del_many(NULL, &gone, sizeof gone, NULL, 0, NULL, &failure), "guest handle");
    null(kvm_hotplug_del_nic(NULL, "x", 0, &failure), "guest handle");
    null(kvm_hotplug_del_disk(NULL, "x", 0, &failure), "guest handle");
    null(kvm_hotplug_del_controller(NULL, "x", 0, &failure), "guest handle");
    null(kvm_hotplug_cancel(NULL, &failure), "guest handle");
    null(kvm_hotplug_cancel_thread(NULL, kvm_hotplug_thread(), &failure), "guest handle");
    null(kvm_hotplug_get_fd(NULL, &failure), "guest handle");
    null(kvm_hotplug_process(NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_next_event(NULL, &event, sizeof event, &failure), "guest handle");
    null(kvm_hotplug_list(NULL, NULL, 0, 0, &count, &failure), "guest handle");
    null(kvm_hotplug_get_device(NULL, "x", NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_get_path(NULL, "x", &text, &failure), "guest handle");
    null(kvm_hotplug_slot_map(NULL, 0, NULL, 0, 0, &count, &failure), "guest handle");
    null(kvm_hotplug_set_link(NULL, "x", 1, 0, &failure), "guest handle");
    null(kvm_hotplug_set_bridge(NULL, "x", "br0", 0, &failure), "guest handle");
    null(kvm_hotplug_set_nic_limits(NULL, "x", &limits, sizeof limits, 0, &failure), "guest handle");
    null(kvm_hotplug_set_disk_limits(NULL, "x", NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_resize_disk(NULL, "x", 512, 0, 0, &bytes, &failure), "guest handle");
    null(kvm_hotplug_change_media(NULL, "x", &medium, sizeof medium, NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_settle(NULL, 0, NULL, 0, 0, &count, &failure), "guest handle");
    null(kvm_hotplug_qmp(NULL, &command, sizeof command, &text, &failure), "guest handle");
    null(kvm_hotplug_give_connection(NULL, 0, &failure), "guest handle");
    null(kvm_hotplug_lend_monitor(NULL, 0, NULL, &failure), "guest handle");
    null(kvm_hotplug_forward_qmp_events(NULL, 1, &failure), "guest handle");
    null(kvm_hotplug_next_event_json(NULL, &text, &failure), "guest handle");
    null(kvm_hotplug_describe(NULL, NULL, 0, &text, &failure), "guest handle");
    null(kvm_hotplug_get_capabilities(NULL, 0, &text, &failure), "guest handle");
    null(kvm_hotplug_give_capabilities(NULL, "{}", 0, &failure), "guest handle");
    CHECK(text == NULL && bytes == 1);
    null(kvm_hotplug_plan_nic(NULL, &nic, sizeof nic, NULL, 0, &plan, &failure), "guest handle");
    null(kvm_hotplug_plan_disk(NULL, &disk, sizeof disk, NULL, 0, &plan, &failure), "guest handle");
    null(kvm_hotplug_plan_controller(NULL, &controller, sizeof controller, NULL, 0, &plan, &failure), "guest handle");
    null(kvm_hotplug_plan_del(NULL, &removal, sizeof removal, NULL, 0, &plan, &failure), "guest handle");
    null(kvm_hotplug_verify(NULL, 0, NULL, 0, 0, &count, &failure), "guest handle");
    null(kvm_hotplug_repair(NULL, 0, NULL, 0, 0, &count, &failure), "guest handle");
    CHECK(plan == NULL);
}

static void taps(void)
{
    struct kvm_hotplug_tap tap = {.queues = 1};
    int32_t fds[1] = {-1};

    null(kvm_hotplug_open_tap(NULL, sizeof tap, fds, 1, NULL, &failure), "tap");
    null(kvm_hotplug_open_tap(&tap, sizeof tap, NULL, 1, NULL, &failure), "ret_fds");
    CHECK_NUMBER(fds[0], -1);
}

/* Only what is recognisably no handle can be: reading freed memory is the caller's mistake. */
static void what_is_no_handle(void)
{
    static unsigned char zeros[256];
    struct kvm_hotplug *no_guest = (struct kvm_hotplug *)(void *)zeros;
    struct kvm_runtime *no_runtime = (struct kvm_runtime *)(void *)zeros;

    fails(kvm_hotplug_process(no_guest, 0, &failure), -EBADF, KVM_HOTPLUG_ERROR_INVALID, "guest handle is not open");
    fails(kvm_runtime_save(no_runtime, NULL, &failure), -EBADF, KVM_HOTPLUG_ERROR_INVALID, "no open runtime handle");
    kvm_hotplug_close(no_guest);
    kvm_runtime_free(no_runtime);
}

int main(void)
{
    test_begin("api-null", 10);
    records();
    boots();
    cold();
    opening();
    guests();
    taps();
    what_is_no_handle();
    kvm_runtime_free(runtime);
    return test_end();
}
