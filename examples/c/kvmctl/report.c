#include "report.h"

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

static void json_error(const struct kvm_hotplug_error *error)
{
    static const char *const undone[] = {"nothing", "complete", "incomplete"};
    struct json json = json_begin(stdout);
    int undo = kvm_hotplug_error_undo(error);

    json_object(&json, NULL);
    json_object(&json, "error");
    json_text(&json, "message", kvm_hotplug_error_message(error));
    json_number(&json, "kind", kvm_hotplug_error_kind(error));
    json_number(&json, "errno", kvm_hotplug_error_errno(error));
    json_text(&json, "step", kvm_hotplug_error_step(error));
    json_text(&json, "qmp_class", kvm_hotplug_error_qmp_class(error));
    json_text(&json, "qmp_desc", kvm_hotplug_error_qmp_desc(error));
    json_text(&json, "undo", undo >= 0 && undo <= 2 ? undone[undo] : "unknown");
    json_left(&json, kvm_hotplug_error_left(error));
    json_end(&json);
    json_end(&json);
}

enum status report_error(const struct ctl *ctl, struct kvm_hotplug_error *error)
{
    const char *left = kvm_hotplug_error_left(error);

    if (ctl->options.json) {
        json_error(error);
    } else {
        fprintf(stderr, "kvmctl: %s\n", kvm_hotplug_error_message(error));
        if (kvm_hotplug_error_undo(error) == KVM_HOTPLUG_UNDO_INCOMPLETE && left != NULL)
            fprintf(stderr, "left behind, until the next command on this guest settles it:\n%s\n", left);
    }
    kvm_hotplug_error_free(error);
    return STATUS_FAILED;
}

enum status report_no_memory(void)
{
    fputs("kvmctl: out of memory\n", stderr);
    return STATUS_FAILED;
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

void report_event(FILE *to, const struct kvm_hotplug_event *event)
{
    const char *gap = event->id[0] == '\0' ? "" : " ";

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

const char *device_state(const struct kvm_hotplug_device *device)
{
    switch (device->state) {
    case KVM_HOTPLUG_DONE:
        return "in the guest";
    case KVM_HOTPLUG_PENDING:
        return "leaving";
    case KVM_HOTPLUG_AFTER_REBOOT:
        return device->removed_after_reboot ? "until reboot" : "after reboot";
    default:
        return "?";
    }
}

const char *answer_word(int answer)
{
    static const char *const words[] = {"done", "after-reboot", "pending", "absent"};

    return answer >= 0 && answer <= KVM_HOTPLUG_ABSENT ? words[answer] : "unknown";
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
    json_text(json, "path", disk->path);
    json_text(json, "format", disk->format == KVM_HOTPLUG_FORMAT_QCOW2 ? "qcow2" : "raw");
    json_text(json, "serial", text_or_null(disk->serial));
    json_bool(json, "read_only", disk->read_only != 0);
}

void json_device(struct json *json, const char *key, const struct kvm_hotplug_device *device)
{
    json_object(json, key);
    json_text(json, "id", device->id);
    json_text(json, "type", type_word(device->device_type));
    json_text(json, "state", device->state == KVM_HOTPLUG_DONE ? "live" : answer_word((int)device->state));
    json_number(json, "generation", (long long)device->generation);
    json_text(json, "model", device->model);
    json_place(json, device);
    if (device->device_type == KVM_HOTPLUG_NIC)
        json_nic(json, device);
    else if (device->device_type == KVM_HOTPLUG_DISK)
        json_disk(json, device);
    json_end(json);
}

static int list_devices(const struct ctl *ctl, struct kvm_hotplug_device *devices, size_t capacity, size_t *count,
                        struct kvm_hotplug_error **error)
{
    if (ctl->guest != NULL)
        return kvm_hotplug_list(ctl->guest, devices, sizeof *devices, capacity, count, error);
    return kvm_runtime_list(ctl->runtime, devices, sizeof *devices, capacity, count, error);
}

/* This process is the only one that changes the record, so the second call finds what the first one counted. */
enum status fetch_devices(const struct ctl *ctl, struct kvm_hotplug_device **ret_devices, size_t *ret_count)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_hotplug_device *devices;
    size_t count = 0;

    if (list_devices(ctl, NULL, 0, &count, &error) < 0)
        return report_error(ctl, error);
    devices = calloc(count + 1, sizeof *devices);
    if (devices == NULL)
        return report_no_memory();
    if (list_devices(ctl, devices, count, &count, &error) < 0) {
        free(devices);
        return report_error(ctl, error);
    }
    *ret_devices = devices;
    *ret_count = count;
    return STATUS_DONE;
}
