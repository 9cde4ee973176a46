#include "kvmctl.h"
#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Each line of what is left is one thing. */
static void json_left(struct json *json, const char *left)
{
    char line[512];

    json_array(json, "left");
    while (left != NULL && *left != '\0') {
        size_t length = strcspn(left, "\n");

        snprintf(line, sizeof line, "%.*s", (int)length, left);
        json_text(json, NULL, line);
        left += length + (left[length] == '\n');
    }
    json_end(json);
}

/* What is told of a failure, the library's or kvmctl's own. */
struct failure {
    const char *message;
    int kind;
    int number; /* the errno */
    const char *step;
    const char *qmp_class;
    const char *qmp_desc;
    int undo;
    const char *left;
};

static void json_failure(const struct failure *failure)
{
    static const char *const undone[] = {"nothing", "complete", "incomplete"};
    struct json json = json_begin(stdout);

    json_object(&json, NULL);
    json_object(&json, "error");
    json_text(&json, "message", failure->message);
    json_number(&json, "kind", failure->kind);
    json_number(&json, "errno", failure->number);
    json_text(&json, "step", failure->step);
    json_text(&json, "qmp_class", failure->qmp_class);
    json_text(&json, "qmp_desc", failure->qmp_desc);
    json_text(&json, "undo", failure->undo >= 0 && failure->undo <= 2 ? undone[failure->undo] : "unknown");
    json_left(&json, failure->left);
    json_end(&json);
    json_end(&json);
}

static void tell(const struct ctl *ctl, const struct failure *failure)
{
    terminal_clear_line(&ctl->terminal);
    if (ctl->options.json) {
        json_failure(failure);
        return;
    }
    fprintf(stderr, "kvmctl: %s\n", failure->message);
    if (failure->undo == KVM_HOTPLUG_UNDO_INCOMPLETE && failure->left != NULL) {
        fputs("left behind, until the next command on this guest settles it:\n", stderr);
        plain_lines(stderr, failure->left);
    }
}

static enum status tell_error(const struct ctl *ctl, struct kvm_hotplug_error *error, const char *message)
{
    tell(ctl, &(struct failure){.message = message,
                                .kind = kvm_hotplug_error_kind(error),
                                .number = kvm_hotplug_error_errno(error),
                                .step = kvm_hotplug_error_step(error),
                                .qmp_class = kvm_hotplug_error_qmp_class(error),
                                .qmp_desc = kvm_hotplug_error_qmp_desc(error),
                                .undo = kvm_hotplug_error_undo(error),
                                .left = kvm_hotplug_error_residue(error)});
    kvm_hotplug_error_free(error);
    return STATUS_FAILED;
}

enum status report_error(const struct ctl *ctl, struct kvm_hotplug_error *error)
{
    return tell_error(ctl, error, kvm_hotplug_error_message(error));
}

enum status report_advised(const struct ctl *ctl, struct kvm_hotplug_error *error, const char *advice)
{
    char message[8192];

    snprintf(message, sizeof message, "%s; %s", kvm_hotplug_error_message(error), advice);
    return tell_error(ctl, error, message);
}

enum status report_failure(const struct ctl *ctl, int kind, int number, const char *format, ...)
{
    char message[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    tell(ctl, &(struct failure){.message = message, .kind = kind, .number = number});
    return STATUS_FAILED;
}

enum status report_usage(const struct ctl *ctl, const char *complaint)
{
    report_failure(ctl, KVM_HOTPLUG_ERROR_INVALID, EINVAL, "%s", complaint);
    return STATUS_USAGE;
}

enum status report_no_memory(const struct ctl *ctl)
{
    return report_failure(ctl, KVM_HOTPLUG_ERROR_HOST, ENOMEM, "out of memory");
}

static const char *event_words(uint32_t type)
{
    switch (type) {
    case KVM_HOTPLUG_EVENT_ADDED:
        return "is in the guest";
    case KVM_HOTPLUG_EVENT_REMOVED:
        return "is gone";
    case KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST:
        return "was given up by the guest itself, and is gone";
    case KVM_HOTPLUG_EVENT_REFUSED:
        return "stays: the guest refused to let it go";
    case KVM_HOTPLUG_EVENT_PENDING:
        return "is on its way out: an earlier agent asked for it";
    case KVM_HOTPLUG_EVENT_UNDONE:
        return "is not in the guest: an interrupted add was taken back";
    case KVM_HOTPLUG_EVENT_MONITOR_LOST:
        return "the connection to QEMU was lost";
    case KVM_HOTPLUG_EVENT_LOST:
        return "events were lost";
    case KVM_HOTPLUG_EVENT_MONITOR_RESTORED:
        return "there is a connection to QEMU again";
    case KVM_HOTPLUG_EVENT_IO_ERROR:
        return "had an I/O error";
    case KVM_HOTPLUG_EVENT_SHUTDOWN:
        return "the guest shuts down";
    case KVM_HOTPLUG_EVENT_RESET:
        return "the guest was reset";
    case KVM_HOTPLUG_EVENT_PANICKED:
        return "the guest's system has crashed";
    case KVM_HOTPLUG_EVENT_QMP:
        return "QMP:";
    case KVM_HOTPLUG_EVENT_ADD_FAILED:
        return "could not be added";
    default:
        return "something new happened";
    }
}

void report_event(const struct ctl *ctl, FILE *to, const struct kvm_hotplug_event *event)
{
    const char *gap = event->id[0] == '\0' ? "" : " ";

    terminal_clear_line(&ctl->terminal);
    fprintf(to, "%s%s%s", event->id, gap, event_words(event->event_type));
    if (event->event_type == KVM_HOTPLUG_EVENT_QMP)
        fprintf(to, " %s", event->text);
    else if (event->text[0] != '\0')
        fprintf(to, " (%s)", event->text);
    if (event->times > 1)
        fprintf(to, ", %llu times", (unsigned long long)event->times);
    putc('\n', to);
}

struct place device_place(const struct kvm_hotplug_device *device)
{
    struct place place = {"-"};

    if (device->address_type == KVM_HOTPLUG_ADDRESS_SCSI)
        snprintf(place.text, sizeof place.text, "%s:%u:%u", device->bus, device->target, device->lun);
    else if (device->bus[0] != '\0')
        snprintf(place.text, sizeof place.text, "%s:%02x", device->bus, device->slot);
    return place;
}

const char *device_state(const struct ctl *ctl, const struct kvm_hotplug_device *device)
{
    switch (device->state) {
    case KVM_HOTPLUG_ANSWER_DONE:
        return ctl->guest != NULL ? "in the guest" : "recorded";
    case KVM_HOTPLUG_ANSWER_PENDING:
        return device->reason == KVM_HOTPLUG_REASON_ADD_UNFINISHED ? "coming" : "leaving";
    case KVM_HOTPLUG_ANSWER_AFTER_REBOOT:
        return device->removed_after_reboot ? "until reboot" : "after reboot";
    case KVM_HOTPLUG_STATE_MISSING:
        return "not in the guest";
    default:
        return "?";
    }
}

/* The word for it in JSON, which is that of kvm_hotplug_describe(). */
static const char *state_word(const struct kvm_hotplug_device *device)
{
    return device->state == KVM_HOTPLUG_STATE_LIVE ? "live" : answer_word((int)device->state);
}

const char *answer_word(int answer)
{
    static const char *const words[] = {"done", "after-reboot", "pending", "absent", "missing"};

    return answer >= 0 && answer <= KVM_HOTPLUG_STATE_MISSING ? words[answer] : "unknown";
}

void json_answer(struct json *json, int answer, const char *id, const struct kvm_hotplug_device *device)
{
    json_object(json, NULL);
    json_text(json, "answer", answer_word(answer));
    json_text(json, "id", id);
    if (device != NULL) {
        json_text(json, "reason", device->reason_text);
        json_device(json, "device", device);
    }
    json_end(json);
}

void report_answer(int answer, const char *id, const struct kvm_hotplug_device *device)
{
    struct json json = json_begin(stdout);

    json_answer(&json, answer, id, device);
}

static const char *type_word(uint32_t type)
{
    static const char *const words[] = {"none", "nic", "disk", "scsi"};

    return type < sizeof words / sizeof *words ? words[type] : "unknown";
}

static const char *text_or_null(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

static void json_place(struct json *json, const struct kvm_hotplug_device *device)
{
    json_text(json, "bus", text_or_null(device->bus));
    if (device->address_type == KVM_HOTPLUG_ADDRESS_SCSI) {
        json_number(json, "target", device->target);
        json_number(json, "lun", device->lun);
    } else if (device->bus[0] != '\0') {
        json_number(json, "slot", device->slot);
    }
}

static void json_nic(struct json *json, const struct kvm_hotplug_device *nic)
{
    json_text(json, "mac", nic->mac);
    json_text(json, "tap", text_or_null(nic->ifname));
    json_text(json, "bridge", text_or_null(nic->bridge));
    json_number(json, "queues", nic->queues);
    json_bool(json, "vhost", nic->vhost != 0);
    json_number(json, "mtu", nic->mtu);
    json_text(json, "link", nic->link_down ? "down" : "up");
}

static void json_disk(struct json *json, const struct kvm_hotplug_device *disk)
{
    json_text(json, "path", ctl_path(disk));
    json_text(json, "format", disk->format == KVM_HOTPLUG_FORMAT_QCOW2 ? "qcow2" : "raw");
    json_text(json, "serial", text_or_null(disk->serial));
    json_bool(json, "read_only", disk->read_only != 0);
}

void json_members(struct json *json, const struct kvm_hotplug_device *device)
{
    json_text(json, "id", device->id);
    json_text(json, "type", type_word(device->device_type));
    json_text(json, "state", state_word(device));
    json_text(json, "reason", device->reason_text);
    json_number(json, "generation", (long long)device->generation);
    json_text(json, "model", device->model);
    json_place(json, device);
    if (device->device_type == KVM_HOTPLUG_DEVICE_NIC)
        json_nic(json, device);
    else if (device->device_type == KVM_HOTPLUG_DEVICE_DISK)
        json_disk(json, device);
}

void json_device(struct json *json, const char *key, const struct kvm_hotplug_device *device)
{
    json_object(json, key);
    json_members(json, device);
    json_end(json);
}
