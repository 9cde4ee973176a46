/* kvmctl: what an operator does to one guest by hand, over libkvm_hotplug. Every command is one short session: load the
 * record, connect to the guest, do one thing, close. A long-running agent keeps both open, and puts the guest's descriptor
 * into its own event loop (../loop.c). */
#define _GNU_SOURCE
#include "kvmctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "events.h"
#include "interrupt.h"
#include "report.h"
#include "usage.h"

static enum status run(struct ctl *ctl)
{
    static enum status (*const commands[])(struct ctl *) = {
        [COMMAND_INIT] = ctl_init,         [COMMAND_BOOT] = ctl_boot,       [COMMAND_CHECK] = ctl_check,
        [COMMAND_CONVERT] = ctl_convert,   [COMMAND_MAP] = ctl_map,         [COMMAND_LIST] = ctl_list,
        [COMMAND_ADD_NIC] = ctl_add_nic,   [COMMAND_ADD_DISK] = ctl_add_disk, [COMMAND_ADD_SCSI] = ctl_add_scsi,
        [COMMAND_DEL] = ctl_del,           [COMMAND_LINK] = ctl_link,       [COMMAND_MOVE] = ctl_move,
        [COMMAND_RESIZE] = ctl_resize,     [COMMAND_VERIFY] = ctl_verify,   [COMMAND_WATCH] = ctl_watch,
        [COMMAND_QMP] = ctl_qmp,           [COMMAND_BACKING] = ctl_backing, [COMMAND_ACCEPT] = ctl_accept,
        [COMMAND_SETTLE] = ctl_settle,
    };

    return ctl->options.plan ? ctl_plan(ctl) : commands[ctl->options.command](ctl);
}

static void log_line(void *userdata, int level, const char *message)
{
    static const char *const levels[] = {"", "error", "warning", "info", "debug"};

    terminal_clear_line(userdata);
    fprintf(stderr, "kvmctl: %s: %s\n", level >= 0 && level <= KVM_HOTPLUG_LOG_DEBUG ? levels[level] : "?", message);
}

static int follow(struct ctl *ctl, struct kvm_hotplug_error **error)
{
    return ctl->options.verbose
               ? kvm_runtime_set_log(ctl->runtime, KVM_HOTPLUG_LOG_DEBUG, log_line, &ctl->terminal, NULL, error)
               : 0;
}

static bool has_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX];

    if (slash == NULL)
        return true;
    return snprintf(directory, sizeof directory, "%.*s", (int)(slash - path + 1), path) < (int)sizeof directory &&
           access(directory, F_OK) == 0;
}

/* The record cannot be had. */
static enum status report_record(const struct ctl *ctl, struct kvm_hotplug_error *error)
{
    const struct options *options = &ctl->options;
    const char *path = options->runtime;
    int number = kvm_hotplug_error_errno(error);

    if (number == ENOENT && access(path, F_OK) != 0 && has_directory(path))
        return report_advised(ctl, error, "kvmctl init makes one");
    if (number == EACCES)
        return report_advised(ctl, error, "run kvmctl as the user whose record it is");
    if (kvm_hotplug_error_kind(error) == KVM_HOTPLUG_ERROR_LOCKED && options->command == COMMAND_LIST)
        return report_advised(ctl, error, "list without --socket and $KVMCTL_SOCKET shows the record all the same");
    return report_error(ctl, error);
}

/* Whether nobody listens at the guest's socket. */
static bool is_off(const struct options *options, const struct kvm_hotplug_error *error)
{
    int number = kvm_hotplug_error_errno(error);

    return number == ECONNREFUSED || (number == ENOENT && access(options->socket, F_OK) != 0);
}

static bool may_look(const struct options *options)
{
    return options->command == COMMAND_LIST && !options->plan;
}

/* Whether the command changes neither guest nor record, which another program may own then. */
static bool only_looks(const struct options *options)
{
    return options->plan || options->command == COMMAND_LIST || options->command == COMMAND_MAP ||
           (options->command == COMMAND_VERIFY && !options->mend);
}

/* Opening settles what an agent that died had begun, unless it is to look, and the events say what; watching shows them itself.
 * The record is shown also when the guest is off. */
static enum status open_guest(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_open_options listener = options->listener;
    struct kvm_hotplug_error *error = NULL;
    uint32_t flags = options->config.flags;

    ctl->only_looks = only_looks(options);
    if (ctl->only_looks) {
        flags |= KVM_RUNTIME_OPEN_READ_ONLY;
        listener.flags |= KVM_HOTPLUG_OPEN_LOOK_ONLY;
    }
    if (kvm_runtime_open(options->runtime, flags, &ctl->runtime, &error) < 0 || follow(ctl, &error) < 0)
        return report_record(ctl, error);
    if (kvm_hotplug_open_with(ctl->runtime, options->socket, &listener, sizeof listener, &ctl->guest, &error) == 0)
        return options->command == COMMAND_WATCH ? STATUS_DONE : print_events(ctl, stderr);
    if (kvm_hotplug_error_errno(error) == EACCES)
        return report_advised(ctl, error, "run kvmctl as the user whose QEMU it is");
    if (!is_off(options, error))
        return report_error(ctl, error);
    if (!may_look(options))
        return report_advised(ctl, error, "the guest is off, which kvmctl boot changes, or its QEMU has another -qmp socket");
    if (!options->json)
        fprintf(stderr, "kvmctl: %s; this is the record of a guest that is off\n", kvm_hotplug_error_message(error));
    kvm_hotplug_error_free(error);
    return STATUS_DONE;
}

/* Without a guest the record is only looked at, which disturbs nobody, unless it is to be changed or booted from. */
static enum status open_record(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    bool changes = options->cold || (options->command == COMMAND_BOOT && !options->plan && !options->print) ||
                   options->command == COMMAND_BACKING || options->command == COMMAND_ACCEPT || options->command == COMMAND_SETTLE;
    struct kvm_hotplug_error *error = NULL;
    int rc = 0;

    if (options->command == COMMAND_INIT)
        return STATUS_DONE;
    rc = kvm_runtime_open(options->runtime, options->config.flags | (changes ? 0 : KVM_RUNTIME_OPEN_READ_ONLY), &ctl->runtime,
                          &error);
    if (rc == 0)
        rc = follow(ctl, &error);
    return rc < 0 ? report_record(ctl, error) : STATUS_DONE;
}

/* A file that is opened later must not become what results are written to. Writing there fails, as it would have. */
static void occupy_standard_files(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDONLY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* Whoever reads results has to be told when they could not be written; not there, of course. */
static enum status finish_output(enum status status)
{
    bool lost = ferror(stdout) != 0;

    if (fflush(stdout) != 0)
        fprintf(stderr, "kvmctl: cannot write to stdout: %s\n", strerror(errno));
    else if (lost)
        fputs("kvmctl: cannot write to stdout\n", stderr);
    else
        return status;
    return status == STATUS_DONE ? STATUS_FAILED : status;
}

/* check asks any QEMU, and boot wants to find nobody there. */
static bool wants_guest(const struct options *options)
{
    return options->socket != NULL && options->command != COMMAND_CHECK && options->command != COMMAND_BOOT;
}

static enum status carry_out(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    enum status status;

    ctl->terminal = terminal_look(options->plain);
    status = wants_guest(options) ? open_guest(ctl) : open_record(ctl);
    if (status == STATUS_DONE)
        status = run(ctl);
    kvm_hotplug_close(ctl->guest);
    kvm_runtime_free(ctl->runtime);
    return status;
}

/* The one guest that a run is about. */
static const struct ctl *the_ctl;

const char *ctl_path(const struct kvm_hotplug_device *disk)
{
    static char *path;

    kvm_hotplug_text_free(path);
    path = NULL;
    if (the_ctl->guest != NULL)
        kvm_hotplug_get_path(the_ctl->guest, disk->id, &path, NULL);
    else
        kvm_runtime_get_path(the_ctl->runtime, disk->id, &path, NULL);
    return path == NULL ? "" : path;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.guest = NULL};
    enum status status = STATUS_DONE;

    the_ctl = &ctl;

    occupy_standard_files();
    switch (options_parse(&ctl.options, argc, argv)) {
    case PARSED_WRONG:
        status = report_usage(&ctl, complaint());
        break;
    case PARSED:
        status = carry_out(&ctl);
        break;
    default:
        break;
    }
    status = finish_output(status);
    interrupt_obey();
    return status;
}
