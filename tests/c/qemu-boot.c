/* QEMU started by the boot command, free or in a chroot, as another user and under seccomp: it opens nothing
 * by itself, and what it started with is handled like what is plugged later. The tap has a name of its own,
 * which the next run has to get though the kernel may still be taking the last one away (QEMU 11.1). */

#include "support/boot.h"
#include "support/files.h"
#include "support/jail.h"
#include "support/net.h"
#include "support/plug.h"

static char directory[TEST_PATH], bridge[IF_NAMESIZE];

static void fill(struct vm *vm, const char *image, const char *cow)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .ifname = "lan0", .bridge = bridge, .queues = 2};
    struct kvm_hotplug_disk layered = {.id = "layered", .path = cow, .format = KVM_HOTPLUG_FORMAT_QCOW2};

    works(kvmh_add_nic(vm->guest, &nic, NULL, &failure));
    works(kvmh_add_disk(vm->guest, &layered, NULL, &failure));
    vm_add_disk(vm, "data", image);
}

/* Started with everything, emptied, and filled again under the same ids; the second time with options for
 * every version. */
static void boot(const char *const *extra, const struct jail *jail)
{
    struct kvm_boot_options options = {.spare_ports = 4};
    char image[TEST_PATH], base[TEST_PATH], cow[TEST_PATH];
    struct vm vm;
    int round, links;

    path_in(image, directory, "data.img");
    path_in(base, directory, "base.img");
    path_in(cow, directory, "data.qcow2");
    image_raw(image, MEBIBYTE);
    image_raw(base, MEBIBYTE);
    image_qcow2(cow, "1M", base, "raw");
    vm_prepare(&vm, &(struct qemu_options){.root_ports = -1, .extra = extra});
    for_version(&vm, &options);
    vm_boot(&vm, &options);
    links = link_count();
    fill(&vm, image, cow);
    fails(kvmh_runtime_add_nic(vm.runtime, &(struct kvm_hotplug_nic){0}, NULL, &failure), -EBUSY,
          KVM_HOTPLUG_ERROR_STATE, "close it first");
    for (round = 0; round < 2; round++) {
        vm_switch_off(&vm);
        vm_boot(&vm, &options);
        if (jail != NULL)
            jail_check(jail, vm.qemu, image);
        CHECK_NUMBER(link_count(), links + 1);
        CHECK_TEXT(vm_device(&vm, "lan").ifname, "lan0");
        CHECK(link_in_bridge("lan0", bridge));
        CHECK_VERIFIED(&vm);
        unplug_by_reset(&vm, "data");
        unplug_by_reset(&vm, "lan");
        unplug_by_reset(&vm, "layered");
        CHECK_NUMBER(link_count(), links);
        fill(&vm, image, cow);
        CHECK_VERIFIED(&vm);
        options.qemu_major = options.qemu_minor = 0;
        options.fd_base = 64;
    }
    vm_stop(&vm);
    CHECK(link_goes("lan0"));
    CHECK_NUMBER(link_count(), links);
}

int main(void)
{
    struct jail jail;

    test_begin("qemu-boot", 120);
    net_private();
    bridge_new(bridge);
    directory_new(directory);
    boot(NULL, NULL);
    jail_new(&jail);
    boot(jail.arguments, &jail);
    CHECK_NUMBER(directory_count(jail.directory), 0);
    return test_end();
}
