/* boot, and the plan of one: the guest as the record describes it, in place of this process. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kvmctl.h"
#include "report.h"

static void print_command(const struct ctl *ctl, const char *const *argv, size_t count)
{
    struct json json = json_begin(stdout);
    size_t i;

    if (!ctl->options.json) {
        for (i = 0; i < count; i++)
            puts(argv[i]);
        return;
    }
    json_array(&json, NULL);
    for (i = 0; i < count; i++)
        json_text(&json, NULL, argv[i]);
    json_end(&json);
}

/* Returns only if it fails. The record is let go before, for whoever opens the guest next. */
static enum status become_qemu(struct ctl *ctl, struct kvm_boot *boot, const char *const *argv)
{
    int rc;

    kvm_runtime_free(ctl->runtime);
    ctl->runtime = NULL;
    rc = kvm_boot_inherit(boot);
    if (rc == 0) {
        fflush(NULL);
        execvp(argv[0], (char *const *)argv);
        rc = -errno;
    }
    return report_failure(ctl, KVM_HOTPLUG_ERROR_HOST, -rc, "cannot start %s: %s", argv[0], strerror(-rc));
}

static uint32_t spare_ports(const struct ctl *ctl)
{
    enum { PORTS = 4 };

    return ctl->options.count != 0 ? ctl->options.count : PORTS;
}

enum status ctl_boot(struct ctl *ctl)
{
    struct kvm_boot_options options = {
        .incoming = ctl->options.incoming,
        .incoming_address = ctl->options.incoming_address,
        .spare_ports = ctl->options.incoming == KVM_BOOT_INCOMING_NONE ? spare_ports(ctl) : 0,
        .flags = (ctl->options.paused ? KVM_BOOT_PAUSED : 0) | (ctl->options.print ? KVM_BOOT_DRY_RUN : 0),
        .qmp_path = ctl->options.socket,
    };
    struct kvm_hotplug_error *error = NULL;
    struct kvm_boot *boot = NULL;
    const char *const *argv;
    size_t count = 0;
    enum status status = STATUS_DONE;

    if (kvm_runtime_boot(ctl->runtime, &options, sizeof options, &boot, &error) < 0)
        return report_error(ctl, error);
    argv = kvm_boot_argv(boot, &count);
    if (ctl->options.print)
        print_command(ctl, argv, count);
    else
        status = become_qemu(ctl, boot, argv);
    kvm_boot_free(boot);
    return status;
}

/* How full the next boot will be. */
enum status ctl_plan_boot(struct ctl *ctl)
{
    static const char *const machines[] = {"other", "pc", "q35", "other"};
    struct kvm_boot_plan plan = {.ports = 0};
    struct kvm_hotplug_error *error = NULL;
    struct json json = json_begin(stdout);

    if (kvm_runtime_plan_boot(ctl->runtime, spare_ports(ctl), &plan, sizeof plan, &error) < 0)
        return report_error(ctl, error);
    if (!ctl->options.json) {
        printf("%u devices, and room for %u more\n", plan.devices, plan.free);
        if (plan.ports > 0)
            printf("%u root ports, %u of them new\n", plan.ports, plan.new_ports);
        return STATUS_DONE;
    }
    json_object(&json, NULL);
    json_text(&json, "machine", machines[plan.machine <= KVM_BOOT_MACHINE_OTHER ? plan.machine : 0]);
    json_number(&json, "devices", plan.devices);
    json_number(&json, "room", plan.free);
    json_number(&json, "ports", plan.ports);
    json_number(&json, "new_ports", plan.new_ports);
    json_end(&json);
    return STATUS_DONE;
}
