/* kvm_runtime_check(): each trouble that it has a number for is found, and named by that number. QEMU is one
 * that is not there: kvm-fake-qemu may be as old as it likes. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/example.h"
#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { MOST = 8, PATIENCE_MS = 10000 };

static char directory[TEST_PATH], record[TEST_PATH], monitor[TEST_PATH], image[TEST_PATH];

/* A guest of this command, with these lists of devices. */
static struct kvm_runtime *guest(const char *command, const char *lists)
{
    struct kvm_runtime *runtime = NULL;
    char text[2048];

    snprintf(text, sizeof text, "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[\"qemu\"%s]%s}",
             command, lists);
    file_write(record, text, strlen(text));
    works(kvm_runtime_load_readonly(record, &runtime, &failure));
    return runtime;
}

/* One trouble, about this device, in these words; "" for the guest as a whole. */
static void found(struct kvm_runtime *runtime, uint32_t flags, const char *qmp, uint32_t trouble, const char *id,
                  const char *part)
{
    struct kvm_runtime_problem list[MOST];
    size_t count = 0, i;

    works(kvmh_runtime_check(runtime, flags, qmp, (uint32_t)test_patience(PATIENCE_MS), list, MOST, &count, &failure));
    for (i = 0; i < count && list[i].kind != trouble; i++)
        continue;
    if (i == count)
        FAIL("of %zu troubles none is a %u; the first: %u %s", count, trouble, count > 0 ? list[0].kind : 0,
             count > 0 ? list[0].text : "");
    CHECK_TEXT(list[i].id, id);
    CHECK_PART(list[i].text, part);
    CHECK_NUMBER(count, 1);
    kvm_runtime_free(runtime);
}

static struct kvm_runtime *with_disk(const char *path, const char *more)
{
    char lists[600];

    snprintf(lists, sizeof lists,
             ",\"disks\":[{\"id\":\"data\",\"generation\":1,\"path\":\"%s\",\"format\":\"raw\"%s}]", path, more);
    return guest("", lists);
}

static struct kvm_runtime *with_nic(const char *more)
{
    char lists[300];

    snprintf(lists, sizeof lists, ",\"nics\":[{\"id\":\"lan\",\"generation\":1,\"mac\":\"52:54:00:12:34:56\"%s}]",
             more);
    return guest("", lists);
}

static void devices(void)
{
    char bridge[IF_NAMESIZE], more[64], absent[TEST_PATH];

    bridge_new(bridge);
    path_in(absent, directory, "absent.img");
    found(with_disk(absent, ""), 0, NULL, KVM_RUNTIME_PROBLEM_IMAGE, "data", "absent.img");
    found(with_nic(",\"bridge\":\"khtnone\""), 0, NULL, KVM_RUNTIME_PROBLEM_BRIDGE, "lan", "khtnone");
    found(with_nic(",\"bridge\":\"lo\""), 0, NULL, KVM_RUNTIME_PROBLEM_BRIDGE, "lan", "lo");
    snprintf(more, sizeof more, ",\"tap\":\"%s\"", bridge);
    found(with_nic(more), 0, NULL, KVM_RUNTIME_PROBLEM_TAP, "lan", bridge);
    found(with_nic(",\"vhost\":true"), 0, NULL, KVM_RUNTIME_PROBLEM_VHOST, "lan", "vhost");
}

/* Two devices where one is, and a target that nobody can say the place of. */
static void places(void)
{
    static const char address[] = ",\"address\":{\"type\":\"pci\",\"bus\":\"pci.0\",\"slot\":5}";
    struct kvm_hotplug_device device;
    struct kvm_runtime *runtime;
    char lists[1024];
    size_t count = 0;

    snprintf(lists, sizeof lists,
             ",\"nics\":[{\"id\":\"lan\",\"generation\":1,\"mac\":\"52:54:00:12:34:56\"}],"
             "\"disks\":[{\"id\":\"data\",\"generation\":2,\"path\":\"%s\",\"format\":\"raw\"%s}]",
             image, address);
    found(guest(",\"-device\",\"pvpanic-pci,id=theirs,addr=5\"", lists), 0, NULL, KVM_RUNTIME_PROBLEM_PLACE, "",
          "data");
    found(guest(",\"-machine\",\"pc-i440fx-7.2\"",
                ",\"nics\":[{\"id\":\"lan\",\"generation\":1,\"mac\":\"52:54:00:12:34:56\"}]"),
          KVM_RUNTIME_CHECK_INCOMING, NULL, KVM_RUNTIME_PROBLEM_NO_ADDRESS, "lan", "address");
    runtime = with_nic("");
    works(kvmh_runtime_list(runtime, &device, 1, &count, &failure));
    CHECK_NUMBER(count, 1);
    CHECK_NUMBER(device.address_type, KVM_HOTPLUG_ADDRESS_NONE);
    kvm_runtime_free(runtime);
    found(guest(",\"-machine\",\"pc\"", ""), KVM_RUNTIME_CHECK_INCOMING, NULL, KVM_RUNTIME_PROBLEM_MACHINE_NOT_PINNED,
          "", "pc");
}

/* An agent was killed in an add, and nobody can tell whether its guest has ended. */
static void unfinished(void)
{
    static const char content[] =
        "{\"format\":\"kvm-hotplug-journal\",\"version\":1,\"intents\":["
        "{\"verb\":\"add\",\"nic\":{\"id\":\"new\",\"generation\":9,\"mac\":\"52:54:00:00:00:02\"}}]}";
    char journal[TEST_PATH + 16];

    snprintf(journal, sizeof journal, "%s.journal", record);
    file_write(journal, content, strlen(content));
    found(with_nic(""), 0, NULL, KVM_RUNTIME_PROBLEM_UNFINISHED, "new", "adding new was interrupted");
    ok(unlink(journal));
}

/* Another QEMU has the image, as its locks say; the descriptor stays for the check. */
static void used(void)
{
    struct flock writes = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
    int other = open(image, O_RDWR | O_CLOEXEC);

    ok(fcntl(other, F_OFD_SETLK, &writes));
    found(with_disk(image, ""), 0, NULL, KVM_RUNTIME_PROBLEM_IMAGE_IN_USE, "data", "another QEMU");
    close(other);
}

static void running(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char command[300];

    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/running", directory);
    ok(bind(listener, (const struct sockaddr *)&address, sizeof address));
    ok(listen(listener, 1));
    snprintf(command, sizeof command, ",\"-qmp\",\"unix:%s,server=on,wait=off\"", address.sun_path);
    found(guest(command, ""), 0, NULL, KVM_RUNTIME_PROBLEM_RUNNING, "", "running");
    close(listener);
}

/* The command itself, and what it lacks here. */
static void command(void)
{
    static const char none[] = "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[]}";
    struct kvm_runtime *runtime = NULL;
    char lists[512], drive[300];

    snprintf(lists, sizeof lists,
             ",\"disks\":[{\"id\":\"data\",\"generation\":1,\"path\":\"%s\",\"format\":\"raw\",\"boot_index\":1}]",
             image);
    found(guest(",\"-device\",\"virtio-rng-pci,id=data\"", lists), 0, NULL, KVM_RUNTIME_PROBLEM_COMMAND, "data",
          "already");
    found(guest(",\"-device\",\"e1000,id=old,bootindex=1\"", lists), 0, NULL, KVM_RUNTIME_PROBLEM_COMMAND, "data",
          "old");
    found(guest(",\"-cdrom\",\"/nowhere/cd.iso\"", ""), 0, NULL, KVM_RUNTIME_PROBLEM_COMMAND, "", "/nowhere/cd.iso");
    snprintf(drive, sizeof drive, ",\"-drive\",\"file=%s,if=virtio\"", image);
    found(guest(drive, lists), 0, NULL, KVM_RUNTIME_PROBLEM_IMAGE_IN_USE, "data", "-drive");
    file_write(record, none, strlen(none));
    works(kvm_runtime_load_readonly(record, &runtime, &failure));
    found(runtime, 0, NULL, KVM_RUNTIME_PROBLEM_COMMAND, "", "has no command");
}

static void start(struct talk *fake, const char *options)
{
    char command[64];

    snprintf(command, sizeof command, "exec kvm-fake-qemu %s $1", options);
    example_start(fake, command, (const char *const[]){monitor, NULL});
    example_says(fake, "ready\n", test_patience(PATIENCE_MS));
}

static void tell(struct talk *fake, const char *line)
{
    CHECK_NUMBER(write(fake->in, line, strlen(line)), (long long)strlen(line));
    example_says(fake, "ok\n", test_patience(PATIENCE_MS));
}

/* What only QEMU knows. */
static void qemu(void)
{
    struct talk fake;

    start(&fake, "--version 5.1.0");
    found(guest("", ""), 0, monitor, KVM_RUNTIME_PROBLEM_QEMU_TOO_OLD, "", "5.1.0 is older than 5.2.0");
    found(guest(",\"-machine\",\"q35\"", ""), 0, monitor, KVM_RUNTIME_PROBLEM_QEMU_TOO_OLD, "", "5.1.0");
    CHECK_NUMBER(example_end(&fake), 0);
    start(&fake, "--version 7.2.0");
    found(guest(",\"-machine\",\"pc-i440fx-99.9\"", ""), 0, monitor, KVM_RUNTIME_PROBLEM_MACHINE, "", "pc-i440fx-99.9");
    found(with_disk(image, ",\"properties\":{\"iothread-vq-mapping\":[]}"), 0, monitor, KVM_RUNTIME_PROBLEM_MODEL,
          "data", "QEMU 7.2.0 has no property iothread-vq-mapping of virtio-blk-pci");
    tell(&fake, "error device-list-properties Device 'virtio-blk-pci' not found\n");
    found(with_disk(image, ""), 0, monitor, KVM_RUNTIME_PROBLEM_MODEL, "data", "virtio-blk-pci");
    CHECK_NUMBER(example_end(&fake), 0);
}

int main(void)
{
    struct kvm_runtime *runtime;
    size_t count = 1;

    test_begin("api-check", 60);
    directory_new(directory);
    path_in(record, directory, "record");
    path_in(monitor, directory, "qmp");
    path_in(image, directory, "data.img");
    image_raw(image, MEBIBYTE);
    net_private();
    mounts_private();
    /* Without vhost-net, whatever the host has. */
    devices_private(directory);
    runtime = with_disk(image, "");
    works(kvmh_runtime_check(runtime, 0, NULL, 0, NULL, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
    kvm_runtime_free(runtime);
    devices();
    places();
    unfinished();
    used();
    running();
    command();
    qemu();
    return test_end();
}
