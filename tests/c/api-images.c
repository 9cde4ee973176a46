/* Which files are opened for an image: what the caller chooses, and what is refused by name. On the record of
 * a guest that does not run, by the library and by kvmctl. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/example.h"
#include "support/files.h"
#include "support/library.h"

static char directory[TEST_PATH], outside[TEST_PATH];
static struct kvm_runtime *runtime;
static char record[TEST_PATH];

static int add(const struct kvm_hotplug_disk *disk)
{
    return kvmh_runtime_add_disk(runtime, disk, NULL, &failure);
}

static int boot(void)
{
    struct kvm_boot *made = NULL;
    int rc = kvmh_runtime_boot(runtime, NULL, &made, &failure);

    kvm_boot_free(made);
    return rc;
}

static void qemu_img(const char *arguments)
{
    char command[512];

    snprintf(command, sizeof command, "cd '%s' && qemu-img %s >/dev/null", directory, arguments);
    if (system(command) != 0)
        FAIL("%s", command);
}

static void image_refused(int rc, const char *says)
{
    fails(rc, -EPERM, KVM_HOTPLUG_ERROR_IMAGE_REFUSED, says);
}

/* Names in a header by which an image would have the host open what nobody chose. */
static void new_disks(void)
{
    char path[TEST_PATH], secret[TEST_PATH], link[TEST_PATH], command[512];
    struct kvm_hotplug_disk disk = {.id = "new", .path = path, .format = KVM_HOTPLUG_FORMAT_QCOW2};

    path_in(path, directory, "new.qcow2");
    path_in(secret, outside, "secret");
    path_in(link, directory, "link.img");
    image_raw(secret, MEBIBYTE);
    CHECK_NUMBER(symlink(secret, link), 0);
    {
        const char *const names[] = {"/etc/shadow",
                                     secret,
                                     "link.img",
                                     "/proc/self/mem",
                                     "/sys/kernel/profiling",
                                     "../../../../../../../../etc/passwd"};

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            snprintf(command, sizeof command, "create -u -f qcow2 -F raw -b %s new.qcow2 1M", names[i]);
            qemu_img(command);
            image_refused(add(&disk), "new.qcow2");
        }
    }
    qemu_img("create -u -f qcow2 -F raw -b /proc/self/exe new.qcow2 1M");
    fails(add(&disk), -ELOOP, KVM_HOTPLUG_ERROR_IMAGE_REFUSED, "magic link");
    disk.format = KVM_HOTPLUG_FORMAT_RAW;
    disk.path = "/proc/self/mem";
    image_refused(add(&disk), "a file of procfs");
    disk.path = "/proc/self/fd/0";
    fails(add(&disk), -ELOOP, KVM_HOTPLUG_ERROR_IMAGE_REFUSED, "magic link");
    CHECK(unlink(path) == 0 && unlink(link) == 0);
}

static void rules(void)
{
    char path[TEST_PATH], secret[TEST_PATH];
    const char *files[] = {secret}, *directories[] = {outside}, *missing[] = {"/nowhere"}, *relative[] = {"x"};
    struct kvm_hotplug_disk disk = {.id = "outside", .path = path, .format = KVM_HOTPLUG_FORMAT_QCOW2};

    path_in(path, directory, "outside.qcow2");
    path_in(secret, outside, "secret");
    image_qcow2(path, "1M", secret, "raw");
    image_refused(add(&disk), "is not beneath");
    disk.backing = KVM_HOTPLUG_BACKING_FORBIDDEN;
    image_refused(add(&disk), "forbidden");
    disk.backing = KVM_HOTPLUG_BACKING_OWN_DIRECTORY;
    image_refused(add(&disk), "is not beneath");
    disk.backing = KVM_HOTPLUG_BACKING_DIRECTORIES;
    invalid(add(&disk), "1 to 64 paths");
    disk.backing_count = 1;
    fails(add(&disk), -EFAULT, KVM_HOTPLUG_ERROR_INVALID, "backing_paths");
    disk.backing_paths = relative;
    invalid(add(&disk), "must be absolute");
    disk.backing_paths = missing;
    fails(add(&disk), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "/nowhere");
    disk.backing = 7;
    invalid(add(&disk), "backing 7 does not exist");
    disk.backing = KVM_HOTPLUG_BACKING_DEFAULT;
    invalid(add(&disk), "names neither");
    disk.backing = KVM_HOTPLUG_BACKING_FILES;
    disk.backing_paths = files;
    works(add(&disk));
    works(add(&disk));
    works(boot());
    disk.backing = KVM_HOTPLUG_BACKING_DIRECTORIES;
    disk.backing_paths = directories;
    fails(add(&disk), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "rule for its backing files");
    disk.flags = KVM_HOTPLUG_DISK_ACCEPT_CHAIN;
    works(add(&disk));
    works(boot());

    /* For all disks that say nothing of their own. */
    works(kvm_runtime_set_backing(runtime, KVM_HOTPLUG_BACKING_FORBIDDEN, NULL, 0, &failure));
    works(boot());
    image_refused(kvm_runtime_accept_chain(runtime, "outside", KVM_HOTPLUG_BACKING_OWN_DIRECTORY, NULL, 0, &failure),
                  "is not beneath");
    image_refused(kvm_runtime_accept_chain(runtime, "outside", KVM_HOTPLUG_BACKING_FORBIDDEN, NULL, 0, &failure),
                  "forbidden");
    works(boot());
    fails(kvm_runtime_accept_chain(runtime, "none", KVM_HOTPLUG_BACKING_DEFAULT, NULL, 0, &failure), -ENOENT,
          KVM_HOTPLUG_ERROR_NOT_FOUND, "no disk none");
    fails(kvm_runtime_accept_chain(runtime, NULL, 0, NULL, 0, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID, "id");
    fails(kvm_runtime_set_backing(NULL, 0, NULL, 0, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID, "runtime");
    invalid(kvm_runtime_set_backing(runtime, KVM_HOTPLUG_BACKING_FILES, NULL, 0, &failure), "1 to 64 paths");
    works(kvm_runtime_set_backing(runtime, KVM_HOTPLUG_BACKING_DEFAULT, NULL, 0, &failure));
    CHECK(!file_contains(record, "\"forbidden\""));
}

/* A guest that took QEMU over writes into the header of a disk that was fine. */
static void rewritten(void)
{
    struct kvm_runtime_problem problems[8];
    char path[TEST_PATH], base[TEST_PATH], old[TEST_PATH];
    struct kvm_hotplug_disk disk = {.id = "rewritten", .path = path, .format = KVM_HOTPLUG_FORMAT_QCOW2};
    size_t count = 0, i, found = 0;

    path_in(path, directory, "rewritten.qcow2");
    path_in(base, directory, "base.img");
    image_raw(base, MEBIBYTE);
    image_qcow2(path, "1M", base, "raw");
    works(add(&disk));
    works(boot());
    qemu_img("rebase -u -F raw -b /etc/shadow rewritten.qcow2");
    image_refused(boot(), "/etc/shadow");
    image_refused(add(&disk), "accepted anew");
    works(kvmh_runtime_check(runtime, 0, NULL, 0, problems, 8, &count, &failure));
    for (i = 0; i < count; i++)
        found += problems[i].kind == KVM_RUNTIME_PROBLEM_IMAGE && strcmp(problems[i].id, "rewritten") == 0 &&
                 strstr(problems[i].text, "/etc/shadow") != NULL;
    CHECK_NUMBER(found, 1);
    image_refused(kvm_runtime_accept_chain(runtime, "rewritten", 0, NULL, 0, &failure), "is not beneath");
    /* Another file of the right name. */
    path_in(old, directory, "old.img");
    CHECK_NUMBER(rename(base, old), 0);
    image_raw(base, 2 * MEBIBYTE);
    qemu_img("rebase -u -F raw -b base.img rewritten.qcow2");
    image_refused(boot(), "layer 1");
    works(kvm_runtime_accept_chain(runtime, "rewritten", 0, NULL, 0, &failure));
    works(boot());
}

static void write_at(const char *path, long offset, const char *bytes, size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    CHECK(fd >= 0 && pwrite(fd, bytes, length, offset) == (ssize_t)length && close(fd) == 0);
}

/* What is neither raw nor qcow2 is refused by name where a format is guessed. */
static void probes(void)
{
    static const struct {
        const char *name, *options;
    } formats[] = {
        {"vmdk", ""}, {"vmdk", "-o subformat=monolithicFlat"}, {"vdi", ""}, {"vhdx", ""},
        {"vpc", ""},  {"vpc", "-o subformat=fixed"},           {"qed", ""}, {"parallels", ""},
        {"qcow", ""},
    };
    char path[TEST_PATH], base[TEST_PATH], command[256];
    struct kvm_hotplug_disk disk = {.id = "probed", .path = path, .format = KVM_HOTPLUG_FORMAT_PROBE};

    path_in(path, directory, "probed");
    path_in(base, directory, "foreign");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        snprintf(command, sizeof command, "create -f %s %s probed 4M", formats[i].name, formats[i].options);
        qemu_img(command);
        fails(add(&disk), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, formats[i].name);
        /* The same beneath an image that does not say what it is. */
        CHECK_NUMBER(rename(path, base), 0);
        qemu_img("create -u -f qcow2 -F raw -b foreign probed 4M");
        snprintf(command, sizeof command, "perl -0777 -pi -e 's/\\xe2\\x79\\x2a\\xca/none/' '%s'", path);
        CHECK_NUMBER(system(command), 0);
        fails(add(&disk), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, formats[i].name);
        CHECK_NUMBER(unlink(path), 0);
    }
    image_raw(path, MEBIBYTE);
    /* qemu-img makes a luks image only where it can measure the processor. */
    write_at(path, 0, "LUKS\xba\xbe\0\2", 8);
    fails(add(&disk), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "luks");
    write_at(path, 0, "\0\0\0\0\0\0\0\0", 8);
    write_at(path, 0x8000, "\1CD001\1", 7);
    fails(add(&disk), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "iso9660");
    /* Who says raw gets the bytes as they are: an ISO, for instance. */
    disk.format = KVM_HOTPLUG_FORMAT_RAW;
    disk.flags = KVM_HOTPLUG_DISK_READ_ONLY;
    works(add(&disk));
    works(boot());
}

static struct said said;

static void ctl(int status, const char *arguments, const char *part)
{
    char command[512];

    snprintf(command, sizeof command, "kvmctl --runtime \"$1\" %s", arguments);
    example_run(&said, command, (const char *const[]){record, directory, outside, NULL});
    if (said.status != status || strstr(status == 0 ? said.out : said.err, part) == NULL)
        FAIL("%s ended with %d, lacks \"%s\":\n%s%s", arguments, said.status, part, said.out, said.err);
    test_count_check();
}

static void by_kvmctl(void)
{
    char path[TEST_PATH], secret[TEST_PATH];

    path_in(path, directory, "ctl.qcow2");
    path_in(secret, outside, "secret");
    image_qcow2(path, "1M", secret, "raw");
    ctl(1, "add-disk --cold --id ctl --path \"$2/ctl.qcow2\" --format qcow2", "is not beneath");
    ctl(1, "add-disk --cold --id ctl --path \"$2/ctl.qcow2\" --format qcow2 --backing forbidden", "forbidden");
    ctl(2, "add-disk --cold --id ctl --path \"$2/ctl.qcow2\" --backing somewhere", "not one of");
    ctl(2, "add-disk --cold --id ctl --path \"$2/ctl.qcow2\" --backing file:/a --backing dir:/b", "another rule");
    ctl(0, "add-disk --cold --id ctl --path \"$2/ctl.qcow2\" --format qcow2 --backing file:\"$3/secret\"",
        "ctl is recorded");
    ctl(0, "backing forbidden", "says where backing files may be");
    ctl(0, "--json backing dir:\"$2\" dir:\"$3\"", "\"runtime\"");
    CHECK(file_contains(record, "\"directories\""));
    ctl(2, "backing", "were not provided: <RULE>...");
    ctl(2, "backing anywhere", "not one of");
    qemu_img("rebase -u -F raw -b base.img ctl.qcow2");
    ctl(1, "boot --print", "its chain is not the one that was recorded");
    ctl(1, "accept ctl", "is the one that is allowed there");
    ctl(0, "accept ctl --backing own-directory", "ctl is recorded with the files");
    ctl(0, "boot --print", "blockdev");
    ctl(1, "accept nothing", "no disk nothing");
    ctl(0, "backing default", "says where");
}

int main(void)
{
    const char *const command[] = {"qemu", "-machine", "pc"};
    struct kvm_runtime_config config = {.command = command, .command_count = 3};

    test_begin("api-images", 120);
    directory_new(directory);
    directory_new(outside);
    path_in(record, directory, "web1.runtime");
    works(kvmh_runtime_new(&config, &runtime, &failure));
    works(kvm_runtime_save(runtime, record, &failure));
    new_disks();
    rules();
    rewritten();
    probes();
    kvm_runtime_free(runtime);
    by_kvmctl();
    return test_end();
}
