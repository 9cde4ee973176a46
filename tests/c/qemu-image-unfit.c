/* ctest: machine=pc */
/* Images that can be opened and that QEMU refuses all the same: known before, with cause and cure. And what
 * an add that failed leaves in a QEMU that closes nothing while its guest does not run: it is said, and it is
 * not more with each try. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/not_run.h"
#include "support/boot.h"
#include "support/files.h"
#include "support/loop.h"
#include "support/plug.h"

enum { ODD = 5000, TRIES = 4 };

static char directory[TEST_PATH], odd[TEST_PATH], image[TEST_PATH];

static size_t count(const char *text, const char *part)
{
    size_t found = 0;

    for (; (text = strstr(text, part)) != NULL; text++)
        found++;
    return found;
}

/* What check says of the record's only disk. */
static void check_says(struct vm *vm, const char *part)
{
    struct kvm_runtime_problem problem;
    size_t problems = 0;

    works(kvmh_runtime_check(vm->runtime, 0, NULL, 0, &problem, 1, &problems, &failure));
    CHECK_NUMBER(problems, part != NULL);
    if (part != NULL) {
        CHECK_NUMBER(problem.kind, KVM_RUNTIME_PROBLEM_IMAGE);
        CHECK_PART(problem.text, part);
    }
}

static void odd_sizes(void)
{
    struct kvm_hotplug_disk disk = {.id = "odd", .path = odd, .cache = KVM_HOTPLUG_CACHE_NONE};
    struct kvm_hotplug_del_options removal = {.id = "odd"};
    struct vm vm;

    image_raw(odd, ODD);
    vm_prepare(&vm, &(struct qemu_options){0});
    works(kvmh_runtime_add_disk(vm.runtime, &disk, NULL, &failure));
    check_says(&vm, "no multiple of");
    check_says(&vm, "8192");
    image_raw(odd, 2 * 4096);
    check_says(&vm, NULL);
    works(kvmh_runtime_del(vm.runtime, &removal, NULL, &failure));
    image_raw(odd, ODD);
    vm_boot(&vm, NULL);
    if (add_disk(&vm, &disk, NULL) == 0) {
        test_part_not_run("a size that O_DIRECT does not take", "this QEMU takes it");
        vm_stop(&vm);
        return;
    }
    kvm_hotplug_error_free(failure);
    failure = NULL;
    invalid(add_disk(&vm, &disk, NULL), "no multiple", "O_DIRECT", "truncate", "cache writeback");
    disk.cache = KVM_HOTPLUG_CACHE_WRITEBACK;
    works(add_disk(&vm, &disk, NULL));
    vm_stop(&vm);
}

static void read_only_device(void)
{
    char file[TEST_PATH], device[32];
    struct kvm_hotplug_disk disk = {.id = "frozen", .path = device};
    struct vm vm;
    int loop;

    path_in(file, directory, "frozen.img");
    image_raw(file, MEBIBYTE);
    loop = loop_new_read_only(file, device);
    vm_start(&vm, &(struct qemu_options){.paused = true});
    fails(add_disk(&vm, &disk, NULL), -EROFS, KVM_HOTPLUG_ERROR_HOST, device, "blockdev --setrw", "set read_only");
    disk.flags = KVM_HOTPLUG_DISK_READ_ONLY;
    works(add_disk(&vm, &disk, NULL));
    vm_stop(&vm);
    close(loop);
}

/* The image is another QEMU's; each agent tries it several times. */
static void tries_in_a_paused_guest(void)
{
    struct kvm_hotplug_disk disk = {.path = image};
    bool closes_always = false;
    struct vm owner, other;
    size_t sets;

    image_raw(image, MEBIBYTE);
    vm_start(&owner, &(struct qemu_options){.paused = true});
    vm_start(&other, &(struct qemu_options){.paused = true});
    vm_add_disk(&owner, "data", image);
    for (int i = 0; i < TRIES; i++) {
        CHECK_NUMBER(add_disk(&other, &disk, NULL), -EBUSY);
        CHECK_NUMBER(kvm_hotplug_error_kind(failure), KVM_HOTPLUG_ERROR_IMAGE_LOCKED);
        sets = count(qmp(other.qemu, "{\"execute\":\"query-fdsets\"}"), "fdset-id");
        closes_always = sets == 0;
        CHECK(sets <= 1);
        CHECK_NUMBER(kvm_hotplug_error_undo(failure),
                     sets == 0 ? KVM_HOTPLUG_UNDO_COMPLETE : KVM_HOTPLUG_UNDO_INCOMPLETE);
        if (sets > 0)
            CHECK_PART(kvm_hotplug_error_residue(failure), "closes none while the guest does not run");
        kvm_hotplug_error_free(failure);
        failure = NULL;
        if (i == TRIES / 2) {
            vm_close(&other);
            vm_open(&other);
        }
    }
    if (!closes_always) {
        vm_observe(&other, "{\"execute\":\"cont\"}");
        works(kvm_hotplug_process(other.guest, 0, &failure));
        CHECK(!qmp_contains(other.qemu, "{\"execute\":\"query-fdsets\"}", "fdset-id"));
        vm_observe(&other, "{\"execute\":\"stop\"}");
        CHECK_NUMBER(add_disk(&other, &disk, NULL), -EBUSY);
        kvm_hotplug_error_free(failure);
        failure = NULL;
    }
    /* What was kept is used in the end. */
    vm_stop(&owner);
    works(add_disk(&other, &disk, NULL));
    CHECK_NUMBER(count(qmp(other.qemu, "{\"execute\":\"query-fdsets\"}"), "fdset-id"), 1);
    CHECK_VERIFIED(&other);
    vm_stop(&other);
}

int main(void)
{
    test_begin("qemu-image-unfit", 120);
    directory_new(directory);
    path_in(odd, directory, "odd.img");
    path_in(image, directory, "data.img");
    odd_sizes();
    read_only_device();
    tries_in_a_paused_guest();
    return test_end();
}
