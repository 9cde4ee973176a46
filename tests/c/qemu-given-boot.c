/* A NIC over the test's own tap, through a boot and to a migration target: each start refuses it by name
 * until it is given its tap, which may be another one, and a check says so before. */
/* ctest: machine=pc */
#include <string.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/net.h"

enum { QUEUES = 2 };

static struct vm vm;

static void tap_open(const char *name, int32_t fds[QUEUES])
{
    struct kvm_hotplug_tap tap = {.ifname = name, .queues = QUEUES};

    answers(kvmh_open_tap(&tap, fds, QUEUES, NULL, &failure), QUEUES);
}

static void tap_close(int32_t fds[QUEUES])
{
    for (int i = 0; i < QUEUES; i++)
        ok(close(fds[i]));
}

static void is_named(struct kvm_runtime *runtime, uint32_t flags, bool lacks)
{
    struct kvm_runtime_problem problems[4];
    size_t count = 0, found = 0;

    works(kvmh_runtime_check(runtime, flags, NULL, 0, problems, 4, &count, &failure));
    for (size_t i = 0; i < count && i < 4; i++)
        if (problems[i].kind == KVM_RUNTIME_PROBLEM_TAP) {
            CHECK_TEXT(problems[i].id, "lan");
            CHECK_PART(problems[i].text, "give its tap for this start");
            found++;
        }
    CHECK_NUMBER(found, lacks);
}

static void refused(struct kvm_runtime *runtime, const struct kvm_boot_options *options)
{
    struct kvm_boot *boot = NULL;

    fails(kvmh_runtime_boot(runtime, options, &boot, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "lan",
          "give its tap for this start");
}

static void gives_wrongly(int32_t fds[QUEUES])
{
    int32_t twice[QUEUES] = {fds[0], fds[0]}, null[QUEUES] = {-1, -1};

    invalid(kvm_runtime_give_tap(vm.runtime, "lan", fds, 1, &failure), "1 tap fds", "lan");
    invalid(kvm_runtime_give_tap(vm.runtime, "lan", twice, QUEUES, &failure), "twice");
    invalid(kvm_runtime_give_tap(vm.runtime, "data", fds, QUEUES, &failure), "data is no NIC");
    fails(kvm_runtime_give_tap(vm.runtime, "lan", null, QUEUES, &failure), -EBADF, KVM_HOTPLUG_ERROR_INVALID,
          "tap_fds");
    fails(kvm_runtime_give_tap(vm.runtime, "none", fds, QUEUES, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND,
          "none");
    fails(kvm_runtime_give_tap(vm.runtime, "own", fds, QUEUES, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "own");
}

int main(void)
{
    struct kvm_boot_options options = {0}, waiting = {.incoming = KVM_BOOT_INCOMING_DEFER};
    int32_t first[QUEUES], second[QUEUES];
    struct kvm_hotplug_nic nic = {.id = "lan", .tap_fds = first, .tap_fd_count = QUEUES};
    struct kvm_hotplug_nic own = {.id = "own", .queues = QUEUES};
    struct vm other;
    char image[TEST_PATH];

    test_begin("qemu-given-boot", 90);
    net_private();
    vm_prepare(&vm, &(struct qemu_options){.root_ports = -1, .elsewhere = true});
    path_in(image, vm.qemu->dir, "image");
    image_raw(image, MEBIBYTE);
    for_version(&vm, &options);
    vm_boot(&vm, &options);
    tap_open("mine", first);
    works(kvmh_add_nic(vm.guest, &nic, NULL, &failure));
    works(kvmh_add_nic(vm.guest, &own, NULL, &failure));
    vm_add_disk(&vm, "data", image);
    CHECK(vm_record_contains(&vm, "\"given_tap\""));

    /* On another host, whose tap has another name. */
    vm_copy(&other, &vm);
    for_version(&other, &waiting);
    is_named(other.runtime, KVM_RUNTIME_CHECK_INCOMING, true);
    refused(other.runtime, &waiting);
    tap_open("there", second);
    works(kvm_runtime_give_tap(other.runtime, "lan", second, QUEUES, &failure));
    is_named(other.runtime, KVM_RUNTIME_CHECK_INCOMING, false);
    vm_boot(&other, &waiting);
    CHECK_TEXT(vm_device(&other, "lan").ifname, "there");
    CHECK_VERIFIED(&other);
    vm_switch_off(&other);
    refused(other.runtime, &waiting);
    tap_close(second);
    vm_stop(&other);
    CHECK(link_goes("there"));

    vm_switch_off(&vm);
    is_named(vm.runtime, 0, true);
    refused(vm.runtime, &options);
    gives_wrongly(first);
    refused(vm.runtime, &options);
    works(kvm_runtime_give_tap(vm.runtime, "lan", first, QUEUES, &failure));
    is_named(vm.runtime, 0, false);
    vm_boot(&vm, &options);
    CHECK_TEXT(vm_device(&vm, "lan").ifname, "mine");
    CHECK_VERIFIED(&vm);
    vm_switch_off(&vm);

    /* Once for each start. The next one has another tap. */
    refused(vm.runtime, &options);
    tap_open("other", second);
    works(kvm_runtime_give_tap(vm.runtime, "lan", first, QUEUES, &failure));
    works(kvm_runtime_give_tap(vm.runtime, "lan", second, QUEUES, &failure));
    tap_close(first);
    vm_boot(&vm, &options);
    CHECK(link_goes("mine"));
    CHECK_TEXT(vm_device(&vm, "lan").ifname, "other");
    CHECK_VERIFIED(&vm);
    tap_close(second);
    CHECK(link_exists("other"));
    vm_stop(&vm);
    CHECK(link_goes("other"));
    return test_end();
}
