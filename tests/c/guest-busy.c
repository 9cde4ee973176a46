/* ctest: machine=q35 */
/* PCI Express's own hotplug: a guest that is busy with a plug refuses an unplug that follows at once. The library asks
 * again until its deadline. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/agent.h"
#include "support/check.h"
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

static void plug_and_unplug(struct agent *agent)
{
    struct kvm_hotplug_device nic;
    long long start;

    ok(add_nic(agent, &(struct kvm_hotplug_nic){0}, &nic));
    start = now_ms();
    ok(unplug(agent, nic.id, 40000));
    printf("plugged and at once unplugged: gone after %lld ms\n", now_ms() - start);
    CHECK(view_is_gone(agent->qemu, &nic));
    check_gone(agent, nic.id);
}

/* With too little time the answer is an error, and the device stays as it was; or QEMU has not noticed that it is busy,
 * and the removal is pending. */
static void too_little_time(struct agent *agent)
{
    struct kvm_hotplug_device nic;
    char name[16];
    int answer;

    ok(add_nic(agent, &(struct kvm_hotplug_nic){0}, &nic));
    answer = unplug(agent, nic.id, 100);
    printf("with 100 ms: %d\n", answer);
    CHECK(answer == -EBUSY || answer == KVM_HOTPLUG_PENDING);
    if (answer == -EBUSY) {
        CHECK_NUMBER(kvm_hotplug_get_device(agent->guest, nic.id, NULL, 0, NULL), KVM_HOTPLUG_DONE);
        CHECK_NUMBER(recorded(agent), 1);
        view_nic(agent->qemu, &nic, name);
    }
    ok(unplug(agent, nic.id, 40000));
    check_gone(agent, nic.id);
}

int main(void)
{
    static const char *const native[] = {"-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", NULL};
    struct agent agent;

    test_begin("guest-busy", 200);
    agent_start(&agent, &(struct qemu_options){.guest = true, .extra = native_by_default() ? NULL : native});
    plug_and_unplug(&agent);
    too_little_time(&agent);
    CHECK_NUMBER(recorded(&agent), 0);
    agent_stop(&agent);
    return test_end();
}
