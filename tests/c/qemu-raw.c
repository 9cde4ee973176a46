/* Commands and events of the agent's own go over the library's connection, and the record is not fooled by
 * them. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/image.h"
#include "support/plug.h"

static struct vm vm;

static int command(const char *name, const char *arguments, uint32_t flags, int fd, char **ret_reply)
{
    struct kvm_hotplug_command request = {.execute = name, .arguments = arguments, .flags = flags, .fd = fd};

    return kvmh_qmp(vm.guest, &request, ret_reply, &failure);
}

static void replies(void)
{
    char *reply = NULL;

    works(command("query-status", NULL, 0, 0, &reply));
    CHECK_PART(reply, "\"status\":\"prelaunch\"");
    kvm_hotplug_text_free(reply);
    /* The longest that QEMU has: some 200 KB. */
    works(command("query-qmp-schema", NULL, 0, 0, &reply));
    CHECK(strlen(reply) > 100000);
    kvm_hotplug_text_free(reply);
    works(command("human-monitor-command", "{\"command-line\":\"info version\"}", 0, 0, &reply));
    CHECK(reply[0] == '"');
    kvm_hotplug_text_free(reply);
    reply = NULL;
    CHECK_NUMBER(command("no-such-command", NULL, 0, 0, &reply), -EREMOTEIO);
    CHECK_TEXT(kvm_hotplug_error_qmp_class(failure), "CommandNotFound");
    CHECK_PART(kvm_hotplug_error_qmp_desc(failure), "has not been found");
    kvm_hotplug_error_free(failure);
    failure = NULL;
    fails(command("query-status", "{\"odd\":1}", 0, 0, &reply), -EREMOTEIO, KVM_HOTPLUG_ERROR_QMP, "odd");
    CHECK(reply == NULL);
}

static void descriptors(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int before = process_fds(getpid());

    works(command("getfd", "{\"fdname\":\"mine\"}", KVM_HOTPLUG_QMP_PASS_FD, fd, NULL));
    works(command("closefd", "{\"fdname\":\"mine\"}", 0, 0, NULL));
    fails(command("getfd", "{\"fdname\":\"mine\"}", 0, 0, NULL), -EREMOTEIO, KVM_HOTPLUG_ERROR_QMP,
          "No file descriptor");
    CHECK_NUMBER(process_fds(getpid()), before);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    close(fd);
}

static void the_record_is_not_fooled(void)
{
    char path[TEST_PATH];
    char *picture;

    path_in(path, vm.qemu->dir, "data.img");
    image_raw(path, MEBIBYTE);
    vm_add_disk(&vm, "data", path);
    vm_add_nic(&vm, "lan");
    picture = vm_picture(&vm);
#define refused(name, arguments) \
    fails(command(name, arguments, 0, 0, NULL), -EPERM, KVM_HOTPLUG_ERROR_STATE, name, "would fool the record")
    refused("device_del", "{\"id\":\"data\"}");
    refused("device_add", "{\"driver\":\"virtio-rng-pci\"}");
    refused("netdev_del", "{\"id\":\"lan\"}");
    refused("blockdev-del", "{\"node-name\":\"data\"}");
    refused("block_resize", "{\"node-name\":\"data\",\"size\":512}");
    refused("set_link", "{\"name\":\"lan\",\"up\":false}");
    refused("remove-fd", "{\"fdset-id\":1}");
    refused("getfd", "{\"fdname\":\"k1\"}");
    refused("qmp_capabilities", NULL);
    refused("human-monitor-command", "{\"command-line\":\"device_del data\"}");
#undef refused
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* What is forced is seen: by the slot map, by verifying, and by the next device. */
static void what_is_forced_is_seen(void)
{
    struct kvm_hotplug_difference differences[4];
    struct kvm_hotplug_device first = vm_device(&vm, "data"), next;
    char arguments[160], path[TEST_PATH];
    size_t count = 0;

    snprintf(arguments, sizeof arguments,
             "{\"driver\":\"virtio-rng-pci\",\"id\":\"rng\",\"bus\":\"%s\",\"addr\":\"%x\"}",
             vm.qemu->q35 ? "rp2" : "pci.0", vm.qemu->q35 ? 0 : first.slot + 2);
    works(command("device_add", arguments, KVM_HOTPLUG_QMP_FORCE, 0, NULL));
    path_in(path, vm.qemu->dir, "more.img");
    image_raw(path, MEBIBYTE);
    vm_add_disk(&vm, "more", path);
    next = vm_device(&vm, "more");
    if (vm.qemu->q35)
        CHECK_TEXT(next.bus, "rp3");
    else
        CHECK_NUMBER(next.slot, first.slot + 3);
    works(kvmh_verify(vm.guest, 0, differences, 4, &count, &failure));
    CHECK_NUMBER(count, 1);
    CHECK_NUMBER(differences[0].kind, KVM_HOTPLUG_DIFFERENCE_FOREIGN);
    CHECK_TEXT(differences[0].id, "rng");
    /* A set of the agent's own is out of the way of the next disk. */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    works(command("add-fd", NULL, KVM_HOTPLUG_QMP_PASS_FD, fd, NULL));
    close(fd);
}

static bool readable(void)
{
    struct pollfd fd = {.fd = kvm_hotplug_get_fd(vm.guest, &failure), .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void raw_events(void)
{
    char *text = NULL;

    vm_nothing_to_fetch(&vm);
    works(kvm_hotplug_forward_qmp_events(vm.guest, 1, &failure));
    works(command("cont", NULL, 0, 0, NULL));
    CHECK(qmp_wait_event(vm.qemu, "RESUME", NULL, 5000) != NULL);
    for (int i = 0; i < 500 && !readable(); i++)
        sleep_ms(10);
    CHECK(kvm_hotplug_process(vm.guest, 0, &failure) >= 1);
    answers(kvm_hotplug_next_event_json(vm.guest, &text, &failure), 1);
    CHECK_PART(text, "\"event\":\"qmp\"");
    CHECK_PART(text, "\"event\":\"RESUME\"");
    CHECK_PART(text, "\"seconds\":");
    kvm_hotplug_text_free(text);
    works(kvm_hotplug_forward_qmp_events(vm.guest, 0, &failure));
    while (kvm_hotplug_next_event_json(vm.guest, &text, &failure) == 1)
        kvm_hotplug_text_free(text);
    CHECK(!readable());
    works(command("stop", NULL, 0, 0, NULL));
    CHECK(qmp_wait_event(vm.qemu, "STOP", NULL, 5000) != NULL);
    vm_nothing_to_fetch(&vm);
}

static void quit(void)
{
    struct kvm_hotplug_event event;

    works(command("quit", NULL, 0, 0, NULL));
    CHECK_NUMBER(qemu_wait(vm.qemu, 5000), 0);
    fails(kvm_hotplug_process(vm.guest, 0, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, vm.qemu->qmp_path);
    answers(kvmh_next_event(vm.guest, &event, &failure), 1);
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_SHUTDOWN);
    answers(kvmh_next_event(vm.guest, &event, &failure), 1);
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_MONITOR_LOST);
    fails(command("query-status", NULL, 0, 0, NULL), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, vm.qemu->qmp_path);
}

int main(void)
{
    test_begin("qemu-raw", 60);
    vm_start(&vm, &(struct qemu_options){.paused = true});
    replies();
    descriptors();
    the_record_is_not_fooled();
    what_is_forced_is_seen();
    raw_events();
    quit();
    vm_stop(&vm);
    return test_end();
}
