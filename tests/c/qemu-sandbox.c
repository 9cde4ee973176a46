/* A QEMU in a chroot, as another user and under seccomp gets NICs and disks as any other: it opens nothing by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

static struct vm vm;

/* Before QEMU 9.1 the options for it were others. */
static bool run_with_knows_user(void)
{
    const char *program = getenv("KVM_HOTPLUG_TEST_QEMU");
    char command[512], line[512];
    bool found = false;
    FILE *help;

    snprintf(command, sizeof command, "%s -help", program == NULL ? "qemu-system-x86_64" : program);
    help = popen(command, "re");
    CHECK(help != NULL);
    while (fgets(line, sizeof line, help) != NULL)
        found = found || (strstr(line, "-run-with") != NULL && strstr(line, "user=") != NULL);
    pclose(help);
    return found;
}

static void start(const char *jail)
{
    char run_with[TEST_PATH + 64];
    const char *const newer[] = {"-sandbox", "on", "-run-with", run_with, NULL};
    const char *const older[] = {"-sandbox", "on", "-runas", "nobody", "-chroot", jail, NULL};

    snprintf(run_with, sizeof run_with, "chroot=%s,user=nobody", jail);
    vm_start(&vm, &(struct qemu_options){.extra = run_with_knows_user() ? newer : older});
}

/* That it really is locked up: its root, its user, its filter, and that it cannot open the image by itself. */
static void check_sandbox(const char *jail, const char *image)
{
    char path[64], root[TEST_PATH] = "", command[512];

    snprintf(path, sizeof path, "/proc/%d/root", (int)vm.qemu->pid);
    CHECK(readlink(path, root, sizeof root - 1) > 0);
    CHECK_TEXT(root, jail);
    snprintf(command, sizeof command, "grep -q '^Seccomp:[[:blank:]]*2' /proc/%d/status && ! grep -q '^Uid:[[:blank:]]*0' "
             "/proc/%d/status", (int)vm.qemu->pid, (int)vm.qemu->pid);
    ok(system(command));
    snprintf(command, sizeof command,
             "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"x\",\"filename\":\"%s\"}}", image);
    CHECK(qmp_contains(vm.qemu, command, "\"error\""));
}

static void take_out(const char *id)
{
    struct kvm_hotplug_removal removal = {.id = id, .flags = KVM_HOTPLUG_NO_WAIT};

    answers(kvm_hotplug_unplug(vm.guest, &removal, sizeof removal, NULL, 0, &failure), KVM_HOTPLUG_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, id);
}

static void devices(const char *image, const char *cow, const char *bridge)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .bridge = bridge, .queues = 2};
    struct kvm_hotplug_disk layered = {.id = "layered", .path = cow, .format = KVM_HOTPLUG_FORMAT_QCOW2};
    char *empty = vm_picture(&vm);

    works(kvm_hotplug_add_nic(vm.guest, &nic, sizeof nic, NULL, 0, &failure));
    vm_add_disk(&vm, "data", image);
    works(kvm_hotplug_add_disk(vm.guest, &layered, sizeof layered, NULL, 0, &failure));
    /* The socket is where it was, for the next agent as well. */
    vm_close(&vm);
    vm_open(&vm);
    CHECK_NUMBER(vm_device(&vm, "data").state, KVM_HOTPLUG_DONE);
    take_out("data");
    take_out("layered");
    take_out("lan");
    CHECK_PICTURE(&vm, empty);
    free(empty);
}

int main(void)
{
    char directory[TEST_PATH], jail[TEST_PATH], image[TEST_PATH], base[TEST_PATH], cow[TEST_PATH], bridge[IF_NAMESIZE];
    int links;

    test_begin("qemu-sandbox", 60);
    net_private();
    bridge_new(bridge);
    directory_new(directory);
    path_in(jail, directory, "jail");
    ok(mkdir(jail, 0755));
    path_in(image, directory, "data.img");
    path_in(base, directory, "base.img");
    path_in(cow, directory, "data.qcow2");
    image_raw(image, 1 << 20);
    image_raw(base, 1 << 20);
    image_qcow2(cow, "1M", base, "raw");
    start(jail);
    links = link_count();
    check_sandbox(jail, image);
    devices(image, cow, bridge);
    CHECK_NUMBER(directory_count(jail), 0);
    CHECK_NUMBER(link_count(), links);
    vm_stop(&vm);
    return test_end();
}
