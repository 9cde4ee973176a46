/* A guest is asked for its NIC over a TCP port, and started anew with the same NIC before anybody opens it
 * again: no process is seen behind a port, so QEMU's own threads tell that it is another QEMU, and the
 * removal is not carried out there. */
/* ctest: machine=pc */
#include <stdio.h>
#include <string.h>

#include "support/arguments.h"
#include "support/connection.h"
#include "support/files.h"
#include "support/library.h"
#include "support/restart.h"

static struct vm vm;
static const char port[] = "127.0.0.1:4444";

static void open_at_port(void)
{
    works(kvm_runtime_load(vm.path, &vm.runtime, &failure));
    works(kvm_hotplug_open(vm.runtime, port, 0, &vm.guest, &failure));
}

int main(void)
{
    const char *extra[] = {"-chardev", "socket,id=port,host=127.0.0.1,port=4444,server=on,wait=off", "-mon",
                           "chardev=port,mode=control", NULL};
    struct arguments command = {.count = 0};
    struct kvm_hotplug_device nic;

    test_begin("qemu-port-restarted", 60);
    net_private_loopback();
    memset(&vm, 0, sizeof vm);
    vm.qemu = qemu_compose(&(struct qemu_options){.extra = extra, .stopped = true}, &command);
    qemu_launch(vm.qemu, &(struct qemu_launch){.argv = (const char *const *)command.list});
    snprintf(vm.path, sizeof vm.path, "%s/vm.runtime", vm.qemu->dir);
    works(kvmh_runtime_new(NULL, &vm.runtime, &failure));
    works(kvm_runtime_save(vm.runtime, vm.path, &failure));
    kvm_runtime_free(vm.runtime);
    vm_open(&vm);
    vm_add_nic(&vm, "lan");
    nic = vm_device(&vm, "lan");
    vm_close(&vm);

    open_at_port();
    answers(kvmh_del(vm.guest, &(struct kvm_hotplug_del_options){.id = "lan", .flags = KVM_HOTPLUG_NO_WAIT}, NULL,
                     &failure),
            KVM_HOTPLUG_ANSWER_PENDING);
    vm_close(&vm);
    /* The same QEMU: the removal goes on. */
    open_at_port();
    CHECK_NUMBER(vm_device(&vm, "lan").state, KVM_HOTPLUG_STATE_PENDING);
    vm_close(&vm);
    CHECK(vm_has_journal(&vm) && vm_journal_contains(&vm, "first_thread") && vm_journal_contains(&vm, port));

    restart_with_nic(vm.qemu, &command, &nic, nic.mac);
    open_at_port();
    CHECK_NUMBER(vm_device(&vm, "lan").state, KVM_HOTPLUG_STATE_LIVE);
    CHECK(!vm_has_journal(&vm));
    vm_stop(&vm);
    arguments_free(&command);
    return test_end();
}
