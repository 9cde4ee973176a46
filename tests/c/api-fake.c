/* kvm-fake-qemu, which the tests of node agents run in place of QEMU: all that an agent does goes well with
 * it, and each thing that it can be told to do wrong comes out of the library as it would with a real one. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/example.h"
#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

/* Long enough for all that does not hang, on a busy machine. */
enum { BRIEF_MS = 2000 };

static struct talk fake;
static struct vm vm;
static char socket_path[TEST_PATH], image[TEST_PATH];
static struct kvm_hotplug_device device;

static void it_says(const char *line)
{
    example_says(&fake, line, test_patience(10000));
}

static void give(const char *line)
{
    CHECK_NUMBER(write(fake.in, line, strlen(line)), (long long)strlen(line));
    CHECK_NUMBER(write(fake.in, "\n", 1), 1);
}

static void order(const char *line)
{
    give(line);
    it_says("ok\n");
}

static void start(const char *options)
{
    char command[128];

    snprintf(command, sizeof command, "exec kvm-fake-qemu %s $1", options);
    example_start(&fake, command, (const char *const[]){socket_path, NULL});
    it_says("ready\n");
}

static void open_guest(void)
{
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvm_hotplug_open(vm.runtime, socket_path, 0, &vm.guest, &failure));
}

static int add_disk(const char *id, uint32_t timeout_ms)
{
    struct kvm_hotplug_disk disk = {.id = id, .path = image, .timeout_ms = timeout_ms};

    return kvmh_add_disk(vm.guest, &disk, &device, &failure);
}

static int unplug(const char *id, uint32_t timeout_ms)
{
    struct kvm_hotplug_del_options removal = {.id = id, .timeout_ms = timeout_ms};

    return kvmh_del(vm.guest, &removal, &device, &failure);
}

static void forget_news(void)
{
    struct kvm_hotplug_event event;

    while (kvmh_next_event(vm.guest, &event, &failure) > 0)
        continue;
}

static void agrees(void)
{
    size_t count = 1;

    works(kvmh_verify(vm.guest, 0, NULL, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
}

/* Everything that an agent does on a good day. */
static void good_day(const char *first_place)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .queues = 2, .vhost = KVM_HOTPLUG_VHOST_OFF};
    struct kvm_hotplug_disk scsi = {.id = "sd", .path = image, .model = "scsi-hd", .flags = KVM_HOTPLUG_DISK_SHARE_RW};
    char controller[32];
    uint64_t bytes = 0;

    works(kvmh_add_nic(vm.guest, &nic, &device, &failure));
    CHECK_TEXT(device.bus, first_place);
    CHECK(link_exists(device.ifname));
    works(kvm_hotplug_set_link(vm.guest, "lan", 0, 0, &failure));
    works(add_disk("data", 0));
    works(kvm_hotplug_resize_disk(vm.guest, "data", 2 * MEBIBYTE, 0, 0, &bytes, &failure));
    CHECK_NUMBER(bytes, 2 * MEBIBYTE);
    agrees();
    works(unplug("data", 0));
    works(kvmh_add_disk(vm.guest, &scsi, &device, &failure));
    agrees();
    snprintf(controller, sizeof controller, "%.*s", (int)strcspn(device.bus, "."), device.bus);
    works(unplug("sd", 0));
    works(unplug("lan", 0));
    works(unplug(controller, 0));
    answers(unplug("lan", 0), KVM_HOTPLUG_ANSWER_ABSENT);
    agrees();
    kvm_hotplug_close(vm.guest);
    kvm_runtime_free(vm.runtime);
    open_guest();
    agrees();
}

/* Refused in the middle, at any step: all is taken back. */
static void errors(void)
{
    static const char *const steps[] = {"add-fd", "blockdev-add", "device_add"};
    char line[64];

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        snprintf(line, sizeof line, "error %s out of order", steps[i]);
        order(line);
        fails(add_disk("data", 0), -EREMOTEIO, KVM_HOTPLUG_ERROR_QMP, "out of order");
        snprintf(line, sizeof line, "refused %s", steps[i]);
        it_says(line);
        agrees();
    }
}

/* It hangs in the middle of an add: the error says that nobody knows; when it goes on, it is taken back. */
static void silence(void)
{
    order("silence device_add");
    fails(add_disk("data", BRIEF_MS), -ETIMEDOUT, KVM_HOTPLUG_ERROR_TIMEOUT, "");
    it_says("silent device_add\n");
    give("speak");
    it_says("done device_add data\nok\n");
    vm_await(&vm, KVM_HOTPLUG_EVENT_PENDING, "data");
    vm_await(&vm, KVM_HOTPLUG_EVENT_UNDONE, "data");
    agrees();
}

/* The connection goes before a command is done, or after. */
static void hang_up(void)
{
    order("lose device_add");
    works(add_disk("data", 0));
    agrees();
    order("lose device_del");
    works(unplug("data", 0));
    order("hang-up device_add");
    fails(add_disk("data", 0), -ECONNRESET, KVM_HOTPLUG_ERROR_MONITOR_LOST, "");
    agrees();
    forget_news();
    order("hang-up");
    vm_await(&vm, KVM_HOTPLUG_EVENT_MONITOR_LOST, "");
    agrees();
    vm_await(&vm, KVM_HOTPLUG_EVENT_MONITOR_RESTORED, "");
}

/* What the guest has to say about removals. */
static void removals(void)
{
    works(add_disk("data", 0));
    order("refuse data");
    forget_news();
    fails(unplug("data", 0), -EPERM, KVM_HOTPLUG_ERROR_GUEST_REFUSED, "data");
    /* The call has answered it. */
    CHECK_NUMBER(kvm_hotplug_process(vm.guest, BRIEF_MS, &failure), 0);
    order("hold *");
    answers(unplug("data", BRIEF_MS), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_DEADLINE);
    order("grant data");
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "data");
    works(add_disk("data", 0));
    order("grant data");
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST, "data");
    agrees();
}

/* What else happens to a guest. */
static void events(void)
{
    works(add_disk("data", 0));
    order("state paused");
    answers(unplug("data", 0), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_PAUSED);
    order("event SHUTDOWN {\"guest\":true,\"reason\":\"guest-shutdown\"}");
    vm_await(&vm, KVM_HOTPLUG_EVENT_SHUTDOWN, "");
    order("state running");
    order("grant data");
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "data");
    give("frobnicate");
    it_says("what?\n");
}

/* What becomes of I/O that fails is QEMU's to say, and is told as it says it. */
static void io_errors(void)
{
    static const struct {
        const char *action;
        uint32_t number;
    } actions[] = {{"report", KVM_HOTPLUG_IO_ACTION_REPORT},
                   {"ignore", KVM_HOTPLUG_IO_ACTION_IGNORE},
                   {"stop", KVM_HOTPLUG_IO_ACTION_STOP}};
    struct kvm_hotplug_event event;
    char line[300];

    works(add_disk("data", 0));
    forget_news();
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        snprintf(
            line, sizeof line,
            "event BLOCK_IO_ERROR {\"device\":\"\",\"node-name\":\"data\",\"operation\":\"write\",\"action\":\"%s\","
            "\"nospace\":false,\"reason\":\"no luck\"}",
            actions[i].action);
        order(line);
        CHECK(kvm_hotplug_process(vm.guest, (uint32_t)test_patience(BRIEF_MS), &failure) > 0);
        while (kvmh_next_event(vm.guest, &event, &failure) > 0 && event.event_type != KVM_HOTPLUG_EVENT_IO_ERROR)
            continue;
        CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_IO_ERROR);
        CHECK_NUMBER(event.action, actions[i].number);
    }
    works(unplug("data", 0));
}

/* What is QEMU's default can be asked for as well, and is shown. */
static void defaults(void)
{
    struct kvm_hotplug_disk disk = {.id = "data",
                                    .path = image,
                                    .aio = KVM_HOTPLUG_AIO_THREADS,
                                    .detect_zeroes = KVM_HOTPLUG_DETECT_ZEROES_OFF};

    works(kvmh_add_disk(vm.guest, &disk, &device, &failure));
    CHECK_NUMBER(device.aio, KVM_HOTPLUG_AIO_THREADS);
    CHECK_NUMBER(device.detect_zeroes, KVM_HOTPLUG_DETECT_ZEROES_OFF);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_NONE);
    works(unplug("data", 0));
}

static void new_record(void)
{
    unlink(vm.path);
    works(kvmh_runtime_new(NULL, &vm.runtime, &failure));
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    works(kvm_hotplug_open(vm.runtime, socket_path, 0, &vm.guest, &failure));
}

static void stop(void)
{
    kvm_hotplug_close(vm.guest);
    kvm_runtime_free(vm.runtime);
    give("quit");
    CHECK_NUMBER(example_end(&fake), 0);
    CHECK(!file_exists(socket_path));
}

int main(void)
{
    char directory[TEST_PATH];
    struct said said;

    test_begin("api-fake", 120);
    net_private();
    directory_new(directory);
    path_in(socket_path, directory, "qmp");
    snprintf(vm.path, sizeof vm.path, "%.80s/runtime", directory);
    path_in(image, directory, "a.img");
    image_raw(image, MEBIBYTE);
    start("");
    new_record();
    good_day("pci.0");
    errors();
    silence();
    io_errors();
    defaults();
    hang_up();
    removals();
    events();
    stop();
    start("--ports 4 --version 10.0.0");
    new_record();
    good_day("rp0");
    stop();
    start("--version 4.2.1 --state prelaunch");
    new_record();
    answers(add_disk("data", 0), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_NUMBER(device.reason, KVM_HOTPLUG_REASON_QEMU_TOO_OLD);
    stop();
    example_run(&said, "kvm-fake-qemu --help", NULL);
    CHECK_NUMBER(said.status, 0);
    CHECK_PART(said.out, "usage: kvm-fake-qemu");
    example_run(&said, "kvm-fake-qemu --ports many /x", NULL);
    CHECK_NUMBER(said.status, 2);
    return test_end();
}
