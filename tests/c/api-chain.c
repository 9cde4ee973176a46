/* The files of an image that the library opens are those that were there when the disk was added: others are
 * refused, and told. */
#include <stdio.h>
#include <string.h>

#include "support/example.h"
#include "support/files.h"
#include "support/library.h"
#include "support/run.h"

enum { MOST = 4 };

static struct vm vm;
static char monitor[TEST_PATH], directory[TEST_PATH], elsewhere[TEST_PATH];

static int add_disk(const char *path)
{
    struct kvm_hotplug_disk disk = {.id = "data", .path = path, .format = KVM_HOTPLUG_FORMAT_QCOW2};
    struct kvm_hotplug_device device;

    return kvmh_add_disk(vm.guest, &disk, &device, &failure);
}

/* What a guest does that has taken over its QEMU: the image has another backing file from now on. */
static void rewrite(const char *image, const char *backing)
{
    ok(run((const char *[]){"qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", backing, image, NULL}));
}

int main(void)
{
    char base[TEST_PATH], other[TEST_PATH], outside[TEST_PATH], image[TEST_PATH];
    struct kvm_hotplug_difference found[MOST];
    struct talk fake;
    size_t count = 0;

    test_begin("api-chain", 60);
    directory_new(directory);
    directory_new(elsewhere);
    path_in(monitor, directory, "qmp");
    snprintf(vm.path, sizeof vm.path, "%.80s/runtime", directory);
    path_in(base, directory, "base.img");
    path_in(other, directory, "other.img");
    path_in(image, directory, "top.qcow2");
    path_in(outside, elsewhere, "secret.img");
    image_raw(base, MEBIBYTE);
    image_raw(other, MEBIBYTE);
    image_raw(outside, MEBIBYTE);
    image_qcow2(image, "1M", outside, "raw");
    example_start(&fake, "exec kvm-fake-qemu $1", (const char *const[]){monitor, NULL});
    example_says(&fake, "ready\n", test_patience(10000));
    works(kvmh_runtime_new(NULL, &vm.runtime, &failure));
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    works(kvm_hotplug_open(vm.runtime, monitor, 0, &vm.guest, &failure));

    fails(add_disk(image), -EPERM, KVM_HOTPLUG_ERROR_IMAGE_REFUSED, "secret.img");
    rewrite(image, base);
    works(add_disk(image));
    works(kvmh_verify(vm.guest, 0, found, MOST, &count, &failure));
    CHECK_NUMBER(count, 0);
    rewrite(image, other);
    works(kvmh_verify(vm.guest, 0, found, MOST, &count, &failure));
    CHECK_NUMBER(count, 1);
    CHECK_NUMBER(found[0].kind, KVM_HOTPLUG_DIFFERENCE_CHAIN);
    CHECK_TEXT(found[0].id, "data");
    CHECK_NUMBER(found[0].repairable, 0);

    kvm_hotplug_close(vm.guest);
    kvm_runtime_free(vm.runtime);
    CHECK_NUMBER(example_end(&fake), 0);
    return test_end();
}
