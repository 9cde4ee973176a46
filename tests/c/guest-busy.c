/* ctest: machine=q35 */
/* PCI Express's own hotplug: a guest that is busy with a plug refuses an unplug that follows at once. The
 * library asks again until its deadline. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/plug.h"
#include "support/clock.h"
#include "support/view.h"

/* It is the default before QEMU 6.1, which does not know the setting. */
static bool native_by_default(void)
{
    const char *program = getenv("KVM_HOTPLUG_TEST_QEMU");
    char command[512], line[128] = "";
    int major = 0, minor = 0;
    FILE *pipe;

    snprintf(command, sizeof command, "%s --version", program != NULL ? program : "qemu-system-x86_64");
    pipe = popen(command, "r");
    CHECK(pipe != NULL && fgets(line, sizeof line, pipe) != NULL);
    pclose(pipe);
    CHECK_NUMBER(sscanf(line, "QEMU emulator version %d.%d", &major, &minor), 2);
    return major < 6 || (major == 6 && minor < 1);
}

static void plug_and_unplug(struct vm *vm)
{
    struct kvm_hotplug_device nic;
    long long start;

    works(add_nic(vm, &(struct kvm_hotplug_nic){0}, &nic));
    start = now_ms();
    works(unplug(vm, nic.id, 40000));
    printf("plugged and at once unplugged: gone after %lld ms\n", now_ms() - start);
    CHECK(view_is_gone(vm->qemu, &nic));
    check_gone(vm, nic.id);
}

/* With too little time the answer is an error, and the device stays as it was; or QEMU has not noticed that
 * it is busy, and the removal is pending, or on a fast machine done; or, on a slow one, QEMU had no time to
 * answer at all. */
static void too_little_time(struct vm *vm)
{
    struct kvm_hotplug_device nic;
    char name[16];
    int answer;

    works(add_nic(vm, &(struct kvm_hotplug_nic){0}, &nic));
    answer = unplug(vm, nic.id, 100);
    printf("with 100 ms: %d\n", answer);
    CHECK(answer == -EBUSY || answer == -ETIMEDOUT || answer == KVM_HOTPLUG_ANSWER_PENDING ||
          answer == KVM_HOTPLUG_ANSWER_DONE);
    if (answer == -ETIMEDOUT) {
        CHECK(kvm_hotplug_error_residue(failure) == NULL || strstr(kvm_hotplug_error_residue(failure), nic.id) != NULL);
        kvm_hotplug_error_free(failure);
        failure = NULL;
    }
    if (answer == -EBUSY) {
        CHECK_NUMBER(kvm_hotplug_error_kind(failure), KVM_HOTPLUG_ERROR_GUEST_BUSY);
        kvm_hotplug_error_free(failure);
        failure = NULL;
        CHECK_NUMBER(kvmh_get_device(vm->guest, nic.id, NULL, NULL), KVM_HOTPLUG_STATE_LIVE);
        CHECK_NUMBER(recorded(vm), 1);
        view_nic(vm->qemu, &nic, name);
    }
    answer = unplug(vm, nic.id, 40000);
    CHECK(answer == KVM_HOTPLUG_ANSWER_DONE || answer == KVM_HOTPLUG_ANSWER_ABSENT);
    check_gone(vm, nic.id);
}

int main(void)
{
    static const char *const native[] = {"-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", NULL};
    struct vm vm;

    test_begin("guest-busy", 600);
    vm_start(&vm, &(struct qemu_options){.guest = true, .extra = native_by_default() ? NULL : native});
    plug_and_unplug(&vm);
    too_little_time(&vm);
    CHECK_NUMBER(recorded(&vm), 0);
    vm_stop(&vm);
    return test_end();
}
