/* ctest: machine=pc */
/* Every disk that cannot be is refused with the reason, and guest, host and record are as they were. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"

static struct vm vm;
static char directory[TEST_PATH], image[TEST_PATH], cow[TEST_PATH], other[TEST_PATH];

static int add_disk(struct kvm_hotplug_disk disk)
{
    return kvmh_add_disk(vm.guest, &disk, NULL, &failure);
}

#define disk(...) add_disk((struct kvm_hotplug_disk){__VA_ARGS__})

static void paths(void)
{
    fails(disk(.path = NULL), -EFAULT, KVM_HOTPLUG_ERROR_INVALID, "path is NULL");
    invalid(disk(.path = ""), "path is empty");
    invalid(disk(.path = "data.img"), "\"data.img\"", "must be absolute");
    invalid(disk(.path = "/\xff"), "path is not UTF-8");
    path_in(other, directory, "none.img");
    fails(disk(.path = other), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, other, "No such file");
    invalid(disk(.path = directory), directory, "it is a directory", "regular file or a block device");
    invalid(disk(.path = "/dev/null"), "/dev/null", "a character device");
    path_in(other, directory, "fifo");
    ok(mkfifo(other, 0600));
    invalid(disk(.path = other), other, "a fifo");
}

static void options(void)
{
    invalid(disk(.path = image, .serial = ""), "disk serial \"\"", "1 to 20 characters");
    invalid(disk(.path = image, .serial = "x23456789012345678901"), "1 to 20 characters");
    invalid(disk(.path = image, .serial = "a\tb"), "printable ASCII");
    invalid(disk(.path = image, .aio = KVM_HOTPLUG_AIO_NATIVE), "aio native", "use cache none or directsync");
    invalid(disk(.path = image, .detect_zeroes = KVM_HOTPLUG_DETECT_ZEROES_UNMAP), "detect-zeroes unmap needs discard");
    invalid(disk(.path = image, .format = 3), "format 3");
    invalid(disk(.path = image, .cache = 5), "cache 5");
    invalid(disk(.path = image, .aio = 3), "aio 3");
    invalid(disk(.path = image, .discard = 2), "discard 2");
    invalid(disk(.path = image, .detect_zeroes = 3), "detect_zeroes 3");
    invalid(disk(.path = image, .logical_block_size = 1000), "logical block size 1000", "power of two");
    invalid(disk(.path = image, .logical_block_size = 4096, .physical_block_size = 512), "below the logical");
    invalid(disk(.path = image, .queues = 1025), "queues", "1 to 1024");
    invalid(disk(.path = image, .boot_index = 0x80000000, .flags = KVM_HOTPLUG_BOOT_INDEX), "boot index");
    invalid(disk(.path = image, .flags = KVM_HOTPLUG_TAP_OWNER), "disk flags", "unknown flag bits 0x4");
    invalid(disk(.path = image, .model = "a b"), "\"a b\"", "not the name of a QEMU device");
    invalid(disk(.path = image, .id = "a b"), "device id \"a b\"");
    invalid(disk(.path = image, .bus = "pci.0", .slot = 32), "slot 32");
    fails(disk(.path = image, .bus = "pci.7"), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "pci.7", "no such bus");
}

static void formats(void)
{
    fails(disk(.path = image, .format = KVM_HOTPLUG_FORMAT_QCOW2), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT, image,
          "declared as qcow2", "if it is raw, say so");
    ok(truncate(cow, 50));
    fails(disk(.path = cow, .format = KVM_HOTPLUG_FORMAT_QCOW2), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT, cow);
    path_in(other, directory, "above.qcow2");
    image_qcow2(cow, "1M", NULL, NULL);
    image_qcow2(other, "1M", cow, "qcow2");
    ok(remove(cow));
    fails(disk(.path = other, .format = KVM_HOTPLUG_FORMAT_QCOW2), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, other, cow,
          "backing chain");
}

/* Even root cannot write there. */
static void a_read_only_file_system(void)
{
    directory_read_only(directory);
    fails(disk(.path = image), -EROFS, KVM_HOTPLUG_ERROR_HOST, image, "open for writing", "set read_only");
    works(disk(.path = image, .flags = KVM_HOTPLUG_DISK_READ_ONLY));
}

int main(void)
{
    char *picture, *record, *now;
    int fds;

    test_begin("qemu-disk-refused", 60);
    directory_new(directory);
    path_in(image, directory, "data.img");
    path_in(cow, directory, "data.qcow2");
    image_raw(image, 1 << 20);
    image_qcow2(cow, "1M", NULL, NULL);
    vm_start(&vm, &(struct qemu_options){.paused = true});
    picture = vm_picture(&vm);
    record = file_read(vm.path, NULL);
    fds = process_fds(getpid());
    paths();
    options();
    formats();
    CHECK_PICTURE(&vm, picture);
    now = file_read(vm.path, NULL);
    CHECK_TEXT(now, record);
    CHECK(!vm_has_journal(&vm));
    CHECK_NUMBER(process_fds(getpid()), fds);
    mounts_private();
    a_read_only_file_system();
    free(picture);
    free(record);
    free(now);
    vm_stop(&vm);
    return test_end();
}
