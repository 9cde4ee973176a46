/* ctest: machine=all */
/* Buses that take nothing while the guest runs, each in its way: the map says so, no plan promises them, no
 * device is tried there. And a QEMU that somebody started by hand: what it does not have is not called
 * live. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/arguments.h"
#include "support/boot.h"
#include "support/files.h"
#include "support/image.h"
#include "support/not_run.h"
#include "support/plug.h"

enum { MOST_SLOTS = 1024 };

static struct vm vm;

static uint32_t state_of(const char *bus, uint32_t slot)
{
    static struct kvm_hotplug_slot slots[MOST_SLOTS];
    size_t count = 0;

    works(kvmh_slot_map(vm.guest, 0, slots, MOST_SLOTS, &count, &failure));
    for (size_t i = 0; i < count && i < MOST_SLOTS; i++)
        if (strcmp(slots[i].bus, bus) == 0 && slots[i].slot == slot)
            return slots[i].state;
    FAIL("no slot %u of %s among %zu", slot, bus, count);
}

/* Planned and plugged there, and nowhere else. */
static void goes_to(const char *bus)
{
    struct kvm_hotplug_nic nic = {.id = "lan"};
    struct kvm_hotplug_device planned, device;

    works(kvmh_plan_nic(vm.guest, &nic, &planned, NULL, &failure));
    CHECK_TEXT(planned.bus, bus);
    works(add_nic(&vm, &nic, &device));
    CHECK_TEXT(device.bus, bus);
}

static void takes_nothing(const char *bus, uint32_t slot)
{
    struct kvm_hotplug_nic nic = {.id = "there", .bus = bus, .slot = slot};
    struct kvm_hotplug_device planned;
    char *picture = vm_picture(&vm);

    if (state_of(bus, slot) != KVM_HOTPLUG_SLOT_NOT_HOTPLUGGABLE)
        FAIL("slot %u of %s is called %u", slot, bus, state_of(bus, slot));
    test_count_check();
    fails(kvmh_plan_nic(vm.guest, &nic, &planned, NULL, &failure), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE,
          bus);
    fails(add_nic(&vm, &nic, NULL), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, bus);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

static void start(const char *machine, const char *const *extra)
{
    vm_start(&vm, &(struct qemu_options){.machine = machine, .root_ports = -1, .extra = extra});
}

static void root_ports(void)
{
    start("q35", (const char *const[]){"-device", "pcie-root-port,id=off,chassis=1,hotplug=off", "-device",
                                       "pcie-root-port,id=on,chassis=2", NULL});
    takes_nothing("off", 0);
    CHECK_NUMBER(state_of("on", 0), KVM_HOTPLUG_SLOT_FREE);
    goes_to("on");
    vm_stop(&vm);
}

/* PCI Express's own hotplug, and ports that do not have it. */
static void native_ports(void)
{
    const char *program = getenv("KVM_HOTPLUG_TEST_QEMU");
    char command[512];

    snprintf(command, sizeof command, "%s -device pcie-root-port,help | grep -q x-native-hotplug",
             program != NULL && *program != '\0' ? program : "qemu-system-x86_64");
    if (system(command) != 0) {
        test_part_not_run("ports without native hotplug", "this QEMU has no x-native-hotplug");
        return;
    }
    start("q35", (const char *const[]){"-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", "-device",
                                       "pcie-root-port,id=off,chassis=1,hotplug=off", "-device",
                                       "pcie-root-port,id=silent,chassis=2,x-native-hotplug=off", "-device",
                                       "pcie-root-port,id=on,chassis=3", NULL});
    takes_nothing("off", 0);
    takes_nothing("silent", 0);
    goes_to("on");
    vm_stop(&vm);
}

/* (With both of them off, QEMU 7.2 takes devices on every bridge, and says so.) */
static void bridges(void)
{
    start("pc", (const char *const[]){"-global", "PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off", "-device",
                                      "pci-bridge,id=off,chassis_nr=1,shpc=off", "-device",
                                      "pci-bridge,id=on,chassis_nr=2,shpc=on", NULL});
    takes_nothing("off", 1);
    CHECK_NUMBER(state_of("on", 1), KVM_HOTPLUG_SLOT_FREE);
    goes_to("pci.0");
    vm_stop(&vm);
    start("pc", (const char *const[]){"-global", "PIIX4_PM.acpi-root-pci-hotplug=off", "-device",
                                      "pci-bridge,id=on,chassis_nr=2", NULL});
    takes_nothing("pci.0", 9);
    goes_to("on");
    vm_stop(&vm);
}

static void by_hand(void)
{
    struct arguments command = {.count = 0};
    struct qemu_launch launch = {.argv = NULL};
    struct kvm_runtime_config config = {.name = "by-hand"};
    struct kvm_hotplug_device device;
    char image[TEST_PATH];

    memset(&vm, 0, sizeof vm);
    vm.qemu = qemu_compose(&(struct qemu_options){.machine = "pc"}, &command);
    snprintf(vm.path, sizeof vm.path, "%s/vm.runtime", vm.qemu->dir);
    config.command = (const char *const *)command.list;
    config.command_count = (uint64_t)command.count;
    works(kvmh_runtime_new(&config, &vm.runtime, &failure));
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    launch.argv = (const char *const *)command.list;
    qemu_launch(vm.qemu, &launch);
    vm_attach(&vm);
    path_in(image, vm.qemu->dir, "data.img");
    image_raw(image, MEBIBYTE);
    vm_add_disk(&vm, "data", image);
    vm_add_nic(&vm, "lan");
    device = vm_device(&vm, "data");
    vm_close(&vm);
    qemu_end(vm.qemu);
    qemu_launch(vm.qemu, &launch);
    vm_open(&vm);
    CHECK_NUMBER(vm_device(&vm, "data").state, KVM_HOTPLUG_STATE_MISSING);
    CHECK_NUMBER(vm_device(&vm, "data").reason, KVM_HOTPLUG_REASON_MISSING);
    CHECK_PART(vm_device(&vm, "lan").reason_text, "the guest does not have it");
    CHECK_NUMBER(state_of(device.bus, device.slot), KVM_HOTPLUG_SLOT_MISSING);
    arguments_free(&command);
    vm_stop(&vm);
}

int main(void)
{
    test_begin("qemu-closed-buses", 120);
    root_ports();
    native_ports();
    bridges();
    by_hand();
    return test_end();
}
