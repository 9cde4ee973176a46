/* ctest: machine=pc */
/* A monitor serves one client: the second is told so by its deadline, gets in when the first has left, and a
 * handle whose connection is gone makes a new one. */
#include <unistd.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"

static struct vm vm;

static void second_client(void)
{
    char path[TEST_PATH];
    struct kvm_runtime *runtime = NULL;
    struct kvm_hotplug *guest = NULL;
    long long start = now_ms();
    int fds = process_fds(getpid());

    path_in(path, vm.qemu->dir, "second.runtime");
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    works(kvm_runtime_save(runtime, path, &failure));
    fails(kvm_hotplug_open(runtime, vm.qemu->qmp_path, 300, &guest, &failure), -EBUSY, KVM_HOTPLUG_ERROR_MONITOR_BUSY,
          vm.qemu->qmp_path, "another client", "one client at a time");
    CHECK(now_ms() - start >= 300 && now_ms() - start < test_patience(2000));
    kvm_hotplug_close(vm.guest);
    works(kvm_hotplug_open(runtime, vm.qemu->qmp_path, 0, &guest, &failure));
    kvm_hotplug_close(guest);
    kvm_runtime_free(runtime);
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &vm.guest, &failure));
    CHECK_NUMBER(process_fds(getpid()), fds);
}

/* One record, one handle: whether by the same handle of the record or another one. */
static void second_handle(void)
{
    struct kvm_runtime *runtime = NULL;
    struct kvm_hotplug *guest = NULL;

    fails(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &guest, &failure), -EBUSY, KVM_HOTPLUG_ERROR_STATE,
          "belongs to an open guest handle already", "one guest has one handle");
    fails(kvm_runtime_load(vm.path, &runtime, &failure), -EAGAIN, KVM_HOTPLUG_ERROR_LOCKED, vm.path,
          "this process, through another handle");
    /* The lock is the open guest's as well: freeing the record does not open the file to others. */
    kvm_runtime_free(vm.runtime);
    vm.runtime = NULL;
    fails(kvm_runtime_load(vm.path, &runtime, &failure), -EAGAIN, KVM_HOTPLUG_ERROR_LOCKED, vm.path);
    vm_add_nic(&vm, "lan");
    kvm_hotplug_close(vm.guest);
    vm_open(&vm);
    CHECK_TEXT(vm_device(&vm, "lan").model, "virtio-net-pci");
}

/* The other order. */
static void guest_before_record(void)
{
    vm_close(&vm);
    vm_open(&vm);
    kvm_hotplug_close(vm.guest);
    vm.guest = NULL;
    works(kvm_runtime_save(vm.runtime, NULL, &failure));
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &vm.guest, &failure));
}

int main(void)
{
    test_begin("qemu-monitor-busy", 60);
    vm_start(&vm, &(struct qemu_options){.paused = true});
    second_client();
    second_handle();
    guest_before_record();
    vm_stop(&vm);
    return test_end();
}
