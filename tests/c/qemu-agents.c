/* An agent adds and goes, or dies; the next one, another process, lists the same devices at the same places,
 * finishes what was pending and takes the rest out. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/plug.h"
#include "support/reaper.h"

enum { DEVICES = 3 };

static struct vm vm;
static char image[TEST_PATH];

/* In the child: everything is its own, and it leaves without closing anything. */
static _Noreturn void first_agent(int result)
{
    struct kvm_hotplug_device devices[DEVICES];
    size_t count;
    bool told;

    vm_open(&vm);
    vm_add_nic(&vm, NULL);
    vm_add_nic(&vm, "lan");
    vm_add_disk(&vm, NULL, image);
    request_unplug(&vm, "lan");
    works(kvmh_list(vm.guest, devices, DEVICES, &count, &failure));
    CHECK_NUMBER(count, DEVICES);
    told = write(result, devices, sizeof devices) == (ssize_t)sizeof devices;
    _exit(told ? 0 : 1);
}

static void run_first_agent(struct kvm_hotplug_device devices[DEVICES])
{
    char *to = (char *)devices;
    size_t left = DEVICES * sizeof *devices;
    ssize_t got;
    int ends[2], status;
    pid_t child;

    ok(pipe(ends));
    child = fork();
    if (child == 0) {
        close(ends[0]);
        first_agent(ends[1]);
    }
    CHECK(child > 0);
    reaper_owns_process(child);
    close(ends[1]);
    for (; left > 0 && (got = read(ends[0], to, left)) > 0; to += got)
        left -= (size_t)got;
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK_NUMBER(status, 0);
    CHECK_NUMBER(left, 0);
    close(ends[0]);
}

static void same_devices(const struct kvm_hotplug_device *before)
{
    struct kvm_hotplug_device device;
    int i;

    for (i = 0; i < DEVICES; i++) {
        device = vm_device(&vm, before[i].id);
        CHECK_TEXT(device.bus, before[i].bus);
        CHECK_TEXT(device.mac, before[i].mac);
        CHECK_TEXT(device.ifname, before[i].ifname);
        if (device.device_type == KVM_HOTPLUG_DEVICE_DISK)
            CHECK_PATH(vm.guest, device.id, image);
        CHECK_NUMBER(device.slot, before[i].slot);
        CHECK_NUMBER(device.generation, before[i].generation);
        CHECK_NUMBER(device.device_type, before[i].device_type);
        CHECK_NUMBER(device.state, before[i].state);
    }
}

int main(void)
{
    struct kvm_hotplug_device devices[DEVICES];
    struct kvm_hotplug_event event;
    char *empty;
    int i;

    test_begin("qemu-agents", 60);
    vm_start(&vm, &(struct qemu_options){0});
    path_in(image, vm.qemu->dir, "data.img");
    image_raw(image, 1 << 20);
    empty = vm_picture(&vm);
    vm_close(&vm);
    run_first_agent(devices);

    vm_open(&vm);
    /* The removal that the first one had begun was asked for again. */
    vm_await(&vm, KVM_HOTPLUG_EVENT_PENDING, "lan");
    same_devices(devices);
    request_unplug(&vm, devices[0].id);
    request_unplug(&vm, devices[2].id);
    vm_reset(&vm);
    for (i = 0; i < DEVICES; i++) {
        CHECK(vm_next_event(&vm, &event, 10000));
        CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_REMOVED);
    }
    CHECK(!vm_has_journal(&vm));
    CHECK_PICTURE(&vm, empty);
    free(empty);
    vm_stop(&vm);
    return test_end();
}
