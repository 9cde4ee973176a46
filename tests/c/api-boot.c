/* The command that boots a record, by itself: arguments, descriptors and their numbers, plans, and what is
 * refused. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"

static char directory[TEST_PATH];

static struct kvm_runtime *load(const char *content)
{
    static int count;
    struct kvm_runtime *runtime = NULL;
    char name[32], path[TEST_PATH];

    snprintf(name, sizeof name, "%d.runtime", count++);
    path_in(path, directory, name);
    file_write(path, content, strlen(content));
    works(kvm_runtime_load(path, &runtime, &failure));
    return runtime;
}

/* A record with a disk for each of the ids, up to four. */
static struct kvm_runtime *with_disks(const char *command, int disks)
{
    static const char *const ids[] = {"one", "two", "three", "four"};
    char text[2048], image[TEST_PATH];
    int length, i;

    length = snprintf(text, sizeof text,
                      "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[%s],\"disks\":[", command);
    for (i = 0; i < disks; i++) {
        path_in(image, directory, ids[i]);
        image_raw(image, MEBIBYTE);
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "%s{\"id\":\"%s\",\"generation\":%d,\"path\":\"%s\",\"format\":\"raw\"}", i == 0 ? "" : ",",
                           ids[i], i + 1, image);
    }
    snprintf(text + length, sizeof text - (size_t)length, "]}");
    return load(text);
}

static struct kvm_boot *boot(struct kvm_runtime *runtime, const struct kvm_boot_options *options)
{
    struct kvm_boot *result = NULL;

    works(kvmh_runtime_boot(runtime, options, &result, &failure));
    return result;
}

static void arguments(void)
{
    static const char *const want[] = {"qemu",
                                       "-S",
                                       "-add-fd",
                                       "fd=3,set=1,opaque=kh:one",
                                       "-blockdev",
                                       "{\"driver\":\"file\",\"filename\":\"/dev/fdset/1\",\"node-name\":\"one\"}",
                                       "-device",
                                       "driver=virtio-blk-pci,addr=4,bus=pci.0,drive=one,id=one"};
    struct kvm_runtime *runtime = with_disks("\"qemu\"", 1);
    struct kvm_boot *made = boot(runtime, &(struct kvm_boot_options){.flags = KVM_BOOT_PAUSED});
    const char *const *argv;
    size_t count = 0, i;

    argv = kvm_boot_argv(made, &count);
    CHECK_NUMBER(count, sizeof want / sizeof *want);
    for (i = 0; i < count; i++)
        CHECK_TEXT(argv[i], want[i]);
    CHECK(argv[count] == NULL);
    kvm_boot_free(made);
    made = boot(runtime, &(struct kvm_boot_options){.qemu_major = 7, .qemu_minor = 2});
    argv = kvm_boot_argv(made, &count);
    CHECK_TEXT(argv[count - 1],
               "{\"addr\":\"4\",\"bus\":\"pci.0\",\"drive\":\"one\",\"driver\":\"virtio-blk-pci\",\"id\":\"one\"}");
    kvm_boot_free(made);
    kvm_runtime_free(runtime);
}

/* In a child, the descriptors are where the command says, whatever was there before. */
static void descriptors(uint32_t base)
{
    struct kvm_runtime *runtime = with_disks("\"qemu\"", 4);
    struct kvm_boot *made = boot(runtime, &(struct kvm_boot_options){.fd_base = base});
    const char *const *argv = kvm_boot_argv(made, NULL);
    const int32_t *fds;
    struct stat own, inherited;
    size_t count = 0;
    pid_t child;
    int status, number, i;

    fds = kvm_boot_fds(made, &count);
    CHECK_NUMBER(count, 4);
    for (i = 0; i < 4; i++) {
        ok(fstat(fds[i], &own));
        CHECK_NUMBER(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
    }
    child = fork();
    if (child == 0) {
        if (kvm_boot_inherit(made) != 0)
            _exit(2);
        for (i = 0; i < 4; i++)
            if (sscanf(argv[1 + 6 * i + 1], "fd=%d,", &number) != 1 || number != (int)base + i ||
                fstat(fds[i], &own) != 0 || fstat(number, &inherited) != 0 || own.st_ino != inherited.st_ino ||
                fcntl(number, F_GETFD) != 0)
                _exit(3);
        _exit(0);
    }
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK_NUMBER(status, 0);
    /* Closed with it, and the array is gone. */
    number = fds[0];
    kvm_boot_free(made);
    CHECK(fcntl(number, F_GETFD) == -1);
    kvm_runtime_free(runtime);
}

static void plans(void)
{
    struct kvm_runtime *pc = with_disks("\"qemu\"", 2);
    struct kvm_runtime *q35 = with_disks("\"qemu\",\"-M\",\"q35\"", 2);
    struct kvm_runtime *other = with_disks("\"qemu\",\"-M\",\"microvm\"", 0);
    struct kvm_boot_plan plan;

    works(kvmh_runtime_plan_boot(pc, 0, &plan, &failure));
    CHECK_NUMBER(plan.machine, KVM_BOOT_MACHINE_PC);
    CHECK_NUMBER(plan.devices, 2);
    CHECK_NUMBER(plan.free, 32 - 4 - 2);
    CHECK_NUMBER(plan.ports, 0);
    works(kvmh_runtime_plan_boot(q35, 5, &plan, &failure));
    CHECK_NUMBER(plan.machine, KVM_BOOT_MACHINE_Q35);
    CHECK_NUMBER(plan.ports, 7);
    CHECK_NUMBER(plan.new_ports, 7);
    CHECK_NUMBER(plan.free, 5);
    kvm_boot_free(boot(q35, &(struct kvm_boot_options){.spare_ports = 3}));
    works(kvmh_runtime_plan_boot(q35, 5, &plan, &failure));
    CHECK_NUMBER(plan.new_ports, 2);
    fails(kvmh_runtime_plan_boot(q35, 1000, &plan, &failure), -ENOSPC, KVM_HOTPLUG_ERROR_NO_SLOT, "pcie.0");
    works(kvmh_runtime_plan_boot(other, 0, &plan, &failure));
    CHECK_NUMBER(plan.machine, KVM_BOOT_MACHINE_OTHER);
    invalid(kvm_runtime_plan_boot(pc, 0, &plan, 0, &failure), "size");
    kvm_runtime_free(pc);
    kvm_runtime_free(q35);
    kvm_runtime_free(other);
}

/* Everything in the directory: names, sizes, times, contents. */
static char *state_of_directory(void)
{
    char command[TEST_PATH + 96], *text = NULL;
    size_t size = 0;
    FILE *output;

    snprintf(command, sizeof command, "cd %s && ls -ldi --full-time . && ls -lAi --full-time && cat *.runtime*",
             directory);
    output = popen(command, "re");
    CHECK(output != NULL && getdelim(&text, &size, '\0', output) > 0);
    CHECK_NUMBER(pclose(output), 0);
    return text;
}

/* A command to be looked at: nothing is written, opened for it or made, and whose the record is does not
 * matter. */
static void looked_at(void)
{
    static const char record[] =
        "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[\"qemu\"],\"nics\":[{\"id\":\"lan\","
        "\"generation\":1,\"mac\":\"52:54:00:00:00:01\",\"queues\":2,\"bridge\":\"khtnobridge\",\"presence\":"
        "\"add-after-reboot\"},{\"id\":\"old\",\"generation\":2,\"mac\":\"52:54:00:00:00:02\","
        "\"address\":{\"bus\":\"pci.0\",\"slot\":9}}]}";
    static const char journal[] =
        "{\"format\":\"kvm-hotplug-journal\",\"version\":1,\"intents\":[{\"verb\":\"remove\",\"nic\":{\"id\":\"old\","
        "\"generation\":2,\"mac\":\"52:54:00:00:00:02\",\"address\":{\"bus\":\"pci.0\",\"slot\":9}}}]}";
    struct kvm_boot_options options = {.flags = KVM_BOOT_DRY_RUN};
    struct kvm_runtime *owner, *reader = NULL;
    struct kvm_boot *made = NULL;
    char path[TEST_PATH], beside[TEST_PATH + 16], *before, *after;
    const char *const *argv;
    size_t count = 0, i;
    int round;

    path_in(path, directory, "looked-at.runtime");
    snprintf(beside, sizeof beside, "%s.journal", path);
    file_write(path, record, strlen(record));
    file_write(beside, journal, strlen(journal));
    works(kvm_runtime_load(path, &owner, &failure));
    works(kvm_runtime_load_readonly(path, &reader, &failure));
    before = state_of_directory();
    for (round = 0; round < 2; round++) {
        struct kvm_runtime *runtime = round == 0 ? owner : reader;

        works(kvmh_runtime_boot(runtime, &options, &made, &failure));
        argv = kvm_boot_argv(made, &count);
        CHECK_NUMBER(count, 5);
        CHECK_TEXT(argv[2], "type=tap,fds=3:4,id=lan");
        for (i = 0; i < count; i++)
            CHECK(strstr(argv[i], "id=old") == NULL);
        kvm_boot_fds(made, &count);
        CHECK_NUMBER(count, 0);
        CHECK_NUMBER(kvm_boot_inherit(made), -EBADFD);
        kvm_boot_free(made);
    }
    after = state_of_directory();
    CHECK_TEXT(after, before);
    /* Only the real one needs the bridge. */
    fails(kvmh_runtime_boot(owner, NULL, &made, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "khtnobridge");
    free(before);
    free(after);
    kvm_runtime_free(reader);
    kvm_runtime_free(owner);
}

#define refused(errno_, kind, text, ...) \
    do { \
        struct kvm_boot_options options = {__VA_ARGS__}; \
        fails(kvmh_runtime_boot(runtime, &options, &made, &failure), errno_, kind, text); \
        CHECK(made == NULL); \
    } while (0)

static void refusals(void)
{
    struct kvm_runtime *runtime = with_disks("\"qemu\"", 1);
    struct kvm_boot *made = NULL;
    int kind = KVM_HOTPLUG_ERROR_INVALID;
    char far[200] = "/";

    memset(far + 1, 'x', sizeof far - 2);
    refused(-EINVAL, kind, "unknown flag bits", .flags = 0x100);
    refused(-EINVAL, kind, "reserved", .reserved = 1);
    refused(-EINVAL, kind, "incoming 5 does not exist", .incoming = 5);
    refused(-EINVAL, kind, "incoming_address is NULL", .incoming = KVM_BOOT_INCOMING_TCP);
    refused(-EINVAL, kind, "incoming takes none", .incoming_address = "/a");
    refused(-EINVAL, kind, "incoming_fd", .incoming_fd = 1);
    refused(-EBADF, KVM_HOTPLUG_ERROR_HOST, "incoming_fd", .incoming = KVM_BOOT_INCOMING_FD, .incoming_fd = 999);
    refused(-EINVAL, kind, "in no host name", .incoming = KVM_BOOT_INCOMING_TCP, .incoming_address = "a,b:1");
    refused(-EINVAL, kind, "must be absolute", .incoming = KVM_BOOT_INCOMING_UNIX, .incoming_address = "a");
    refused(-EINVAL, kind, "at least 3", .fd_base = 1);
    refused(-EINVAL, kind, "is no path of a socket", .qmp_path = far);
    refused(-EBADFD, KVM_HOTPLUG_ERROR_STATE, "has no address", .incoming = KVM_BOOT_INCOMING_DEFER);
    kvm_runtime_free(runtime);
    runtime = with_disks("", 0);
    refused(-EBADFD, KVM_HOTPLUG_ERROR_STATE, "has no command", .flags = 0);
    kvm_runtime_free(runtime);
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    refused(-EBADFD, KVM_HOTPLUG_ERROR_STATE, "has no file yet", .flags = 0);
    kvm_runtime_free(runtime);
    runtime = with_disks("\"qemu\",\"-device\",\"virtio-rng-pci,id=one\"", 1);
    refused(-EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "has one already, in -device", .flags = 0);
    kvm_runtime_free(runtime);
}

/* The image is gone: nothing is left open, and the record is as it was. */
static void nothing_is_left(void)
{
    struct kvm_runtime *runtime = with_disks("\"qemu\"", 2);
    struct kvm_boot *made = NULL;
    char image[TEST_PATH];
    int before = process_fds(getpid());

    path_in(image, directory, "two");
    ok(unlink(image));
    fails(kvmh_runtime_boot(runtime, NULL, &made, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "two", "image");
    CHECK_NUMBER(process_fds(getpid()), before);
    image_raw(image, MEBIBYTE);
    made = boot(runtime, NULL);
    kvm_boot_free(made);
    kvm_runtime_free(runtime);
}

int main(void)
{
    test_begin("api-boot", 60);
    directory_new(directory);
    arguments();
    descriptors(3);
    descriptors(5);
    descriptors(200);
    plans();
    looked_at();
    refusals();
    nothing_is_left();
    return test_end();
}
