/* kvmctl: what an operator does to one guest by hand, over libkvm_hotplug. Every command is one short session: load the
 * record, connect to the guest, do one thing, close. A long-running agent keeps both open, and puts the guest's descriptor
 * into its own event loop (../loop.c). */
#include "kvmctl.h"

#include <stdio.h>

#include "events.h"
#include "help.h"
#include "report.h"

static enum status run(struct ctl *ctl)
{
    static enum status (*const commands[])(struct ctl *) = {
        [COMMAND_INIT] = ctl_init,         [COMMAND_BOOT] = ctl_boot,       [COMMAND_CHECK] = ctl_check,
        [COMMAND_CONVERT] = ctl_convert,   [COMMAND_MAP] = ctl_map,         [COMMAND_LIST] = ctl_list,
        [COMMAND_ADD_NIC] = ctl_add_nic,   [COMMAND_ADD_DISK] = ctl_add_disk, [COMMAND_ADD_SCSI] = ctl_add_scsi,
        [COMMAND_DEL] = ctl_del,           [COMMAND_LINK] = ctl_link,       [COMMAND_MOVE] = ctl_move,
        [COMMAND_RESIZE] = ctl_resize,     [COMMAND_VERIFY] = ctl_verify,   [COMMAND_WATCH] = ctl_watch,
        [COMMAND_QMP] = ctl_qmp,
    };

    return ctl->options.plan ? ctl_plan(ctl) : commands[ctl->options.command](ctl);
}

static void log_line(void *userdata, int level, const char *message)
{
    static const char *const levels[] = {"", "error", "warning", "info", "debug"};

    (void)userdata;
    fprintf(stderr, "kvmctl: %s: %s\n", level >= 0 && level <= KVM_HOTPLUG_LOG_DEBUG ? levels[level] : "?", message);
}

static int follow(struct ctl *ctl, struct kvm_hotplug_error **error)
{
    return ctl->options.verbose
               ? kvm_runtime_set_log(ctl->runtime, KVM_HOTPLUG_LOG_DEBUG, log_line, NULL, NULL, error)
               : 0;
}

/* Opening settles what an agent that died had begun, and the events say what; watching shows them itself. */
static enum status open_guest(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;

    if (kvm_runtime_load(options->runtime, &ctl->runtime, &error) < 0 || follow(ctl, &error) < 0 ||
        kvm_hotplug_open(ctl->runtime, options->socket, options->timeout_ms, &ctl->guest, &error) < 0)
        return report_error(ctl, error);
    return options->command == COMMAND_WATCH ? STATUS_DONE : print_events(ctl, stderr);
}

/* Without a guest the record is only looked at, which disturbs nobody, unless it is to be changed or booted from. */
static enum status open_record(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    bool changes = options->cold || (options->command == COMMAND_BOOT && !options->plan && !options->print);
    struct kvm_hotplug_error *error = NULL;
    int rc = 0;

    if (options->command == COMMAND_INIT)
        return STATUS_DONE;
    rc = changes ? kvm_runtime_load(options->runtime, &ctl->runtime, &error)
                 : kvm_runtime_read(options->runtime, &ctl->runtime, &error);
    if (rc == 0)
        rc = follow(ctl, &error);
    return rc < 0 ? report_error(ctl, error) : STATUS_DONE;
}

/* check asks any QEMU, and boot wants to find nobody there. */
static bool wants_guest(const struct options *options)
{
    return options->socket != NULL && options->command != COMMAND_CHECK && options->command != COMMAND_BOOT;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.guest = NULL};
    enum parsed parsed = options_parse(&ctl.options, argc, argv);
    enum status status;

    if (parsed != PARSED)
        return parsed == PARSED_HELP && fflush(stdout) == 0 ? STATUS_DONE : STATUS_USAGE;
    ctl.terminal = terminal_look(ctl.options.plain);
    status = wants_guest(&ctl.options) ? open_guest(&ctl) : open_record(&ctl);
    if (status == STATUS_DONE)
        status = run(&ctl);
    kvm_hotplug_close(ctl.guest);
    kvm_runtime_free(ctl.runtime);
    if (fflush(stdout) != 0 && status == STATUS_DONE)
        status = STATUS_FAILED;
    return status;
}
