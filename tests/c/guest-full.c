/* A guest whose slots run out, and whose record lets devices wait for the next boot then: on pc that makes a
 * PCI bridge for them, elsewhere a root port. Behind it devices are plugged as anywhere, also after a
 * migration. */
#include <stdio.h>
#include <string.h>

#include "support/hosts.h"
#include "support/image.h"
#include "support/plug.h"
#include "support/view.h"

enum { NICS = 2, FIRST_RESERVED = 7, LAST_SLOT = 31 };

static char image[TEST_PATH];
static struct kvm_hotplug_device late, disk;

static bool is_pc(const struct vm *vm)
{
    return !vm->qemu->q35;
}

/* Of the slots of pci.0, the bridge has the only one that is left. */
static void prepare(struct vm *vm, struct kvm_boot_options *boot)
{
    vm_prepare(vm, &(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1});
    for_version(vm, boot);
    if (is_pc(vm))
        works(kvm_runtime_reserve_slots(vm->runtime, "pci.0", FIRST_RESERVED, LAST_SLOT, 0, &failure));
    works(kvm_runtime_set_when_full(vm->runtime, KVM_RUNTIME_WHEN_FULL_NEXT_BOOT, &failure));
    vm_boot(vm, boot);
}

static void fill(struct vm *vm)
{
    struct kvm_hotplug_nic nic = {.id = "waits", .mac = "52:54:00:00:00:77"};
    struct kvm_hotplug_device device;
    char *plan, left[32], name[16];
    int i;

    for (i = 0; i < NICS; i++) {
        works(kvmh_plan_nic(vm->guest, &(struct kvm_hotplug_nic){0}, NULL, &plan, &failure));
        snprintf(left, sizeof left, "\"slots_left\":%d", NICS - 1 - i);
        if (strstr(plan, left) == NULL)
            FAIL("%s is not in %s", left, plan);
        kvm_hotplug_text_free(plan);
        works(add_nic(vm, &(struct kvm_hotplug_nic){0}, &device));
        view_nic(vm->qemu, &device, name);
    }
    nic.flags = KVM_HOTPLUG_LIVE_ONLY;
    fails(add_nic(vm, &nic, NULL), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "the next boot makes");
    nic.flags = 0;
    answers(kvmh_plan_nic(vm->guest, &nic, NULL, &plan, &failure), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK(strstr(plan, is_pc(vm) ? "the next boot makes a PCI bridge" : "the next boot makes one") != NULL);
    kvm_hotplug_text_free(plan);
    answers(add_nic(vm, &nic, &late), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_NUMBER(late.reason, KVM_HOTPLUG_REASON_FULL);
    CHECK_VERIFIED(vm);
}

static void check_plan(struct vm *vm, uint32_t bridges, uint32_t new_bridges)
{
    struct kvm_boot_plan plan;

    works(kvmh_runtime_plan_boot(vm->runtime, 0, &plan, &failure));
    CHECK_NUMBER(plan.bridges, is_pc(vm) ? bridges : 0);
    CHECK_NUMBER(plan.new_bridges, is_pc(vm) ? new_bridges : 0);
}

/* What the guest has there is what was put there; and it comes and goes while the guest runs. */
static void behind_it(struct vm *vm)
{
    struct kvm_hotplug_device nic;
    char name[16];

    late = vm_device(vm, "waits");
    CHECK_NUMBER(late.state, KVM_HOTPLUG_STATE_LIVE);
    if (is_pc(vm)) {
        CHECK_TEXT(late.bus, "bridge1");
        CHECK_NUMBER(late.slot, 1);
    }
    view_nic(vm->qemu, &late, name);
    guest_prints(vm->qemu, late.mac, "cat /sys/class/net/%s/address", name);
    works(add_nic(vm, &(struct kvm_hotplug_nic){0}, &nic));
    if (is_pc(vm))
        CHECK_TEXT(nic.bus, "bridge1");
    view_nic(vm->qemu, &nic, name);
    guest_prints(vm->qemu, nic.mac, "cat /sys/class/net/%s/address", name);
    works(unplug(vm, nic.id, 0));
    CHECK(view_is_gone(vm->qemu, &nic));
    check_gone(vm, nic.id);
    CHECK_VERIFIED(vm);
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = NICS};
    char directory[TEST_PATH], name[16];
    struct vm first, second;

    test_begin("guest-full", 600);
    hosts_new();
    directory_new(directory);
    path_in(image, directory, "data.img");
    image_raw(image, MEBIBYTE);
    prepare(&first, &boot);
    fill(&first);
    vm_switch_off(&first);
    check_plan(&first, 1, 1);
    vm_boot(&first, &boot);
    behind_it(&first);
    works(add_disk(&first, &(struct kvm_hotplug_disk){.path = image, .serial = "behind"}, &disk));
    view_disk(first.qemu, &disk, name);
    guest_prints(first.qemu, "behind", "cat /sys/block/%s/serial", name);
    vm_migrate(&first, &second, &(struct migration){.to = 1});
    behind_it(&second);
    works(unplug(&second, disk.id, 0));
    CHECK(view_is_gone(second.qemu, &disk));
    works(unplug(&second, "waits", 0));
    CHECK(view_is_gone(second.qemu, &late));
    vm_switch_off(&second);

    /* The bridge is recorded until nothing is behind it and the record wants none. */
    check_plan(&second, 1, 0);
    works(kvm_runtime_set_when_full(second.runtime, KVM_RUNTIME_WHEN_FULL_REFUSE, &failure));
    check_plan(&second, 0, 0);
    vm_boot(&second, &boot);
    CHECK_VERIFIED(&second);
    vm_stop(&second);
    return test_end();
}
