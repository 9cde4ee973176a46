/* init and list: the record of a guest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "kvmctl.h"
#include "report.h"

enum status ctl_init(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;

    if (kvm_runtime_new(&options->config, sizeof options->config, &ctl->runtime, &error) < 0 ||
        kvm_runtime_save(ctl->runtime, options->runtime, &error) < 0)
        return report_error(ctl, error);
    if (options->json) {
        struct json json = json_begin(stdout);

        json_object(&json, NULL);
        json_text(&json, "runtime", options->runtime);
        json_end(&json);
    } else {
        printf("%s is a new record, without NICs and disks\n", options->runtime);
    }
    return STATUS_DONE;
}

static void print_nic(const struct kvm_hotplug_device *nic)
{
    printf("%s", nic->mac);
    if (nic->ifname[0] != '\0')
        printf(", tap %s", nic->ifname);
    if (nic->bridge[0] != '\0')
        printf(" on %s", nic->bridge);
    if (nic->mtu != 0)
        printf(", mtu %u", nic->mtu);
    if (nic->queues > 1)
        printf(", %u queues", nic->queues);
    if (nic->vhost != 0)
        printf(", vhost");
    if (nic->link_down)
        printf(", link down");
}

static void print_disk(const struct kvm_hotplug_device *disk)
{
    printf("%s", ctl_path(disk));
    if (disk->format == KVM_HOTPLUG_FORMAT_QCOW2)
        printf(", qcow2");
    if (disk->serial[0] != '\0')
        printf(", serial %s", disk->serial);
    if (disk->read_only)
        printf(", read-only");
}

static int longest(int length, const char *text)
{
    return (int)strlen(text) > length ? (int)strlen(text) : length;
}

static void print_table(const struct ctl *ctl, const struct kvm_hotplug_device *devices, size_t count)
{
    int id = 2, place = 2;
    size_t i;

    for (i = 0; i < count; i++) {
        id = longest(id, devices[i].id);
        place = longest(place, device_place(&devices[i]).text);
    }
    printf("%-*s  %-4s  %-*s  %-12s  %s\n", id, "ID", "TYPE", place, "AT", "STATE", "WHAT");
    for (i = 0; i < count; i++) {
        const struct kvm_hotplug_device *device = &devices[i];
        static const char *const types[] = {"", "nic", "disk", "scsi"};

        printf("%-*s  %-4s  %-*s  %-12s  ", id, device->id, device->device_type < 4 ? types[device->device_type] : "?", place,
               device_place(device).text, device_state(ctl, device));
        if (device->device_type == KVM_HOTPLUG_DEVICE_NIC)
            print_nic(device);
        else if (device->device_type == KVM_HOTPLUG_DEVICE_DISK)
            print_disk(device);
        else
            printf("%s", device->model);
        if (device->reason != KVM_HOTPLUG_REASON_NONE)
            printf(" (%s)", device->reason_text);
        putchar('\n');
    }
}

static enum status no_such(const struct ctl *ctl)
{
    if (ctl->options.json)
        report_answer(KVM_HOTPLUG_ANSWER_ABSENT, ctl->options.device, NULL);
    else
        fprintf(stderr, "kvmctl: there is no device %s\n", ctl->options.device);
    return STATUS_FAILED;
}

/* Leaves the one that is asked for, if one is. */
static bool choose(const struct ctl *ctl, struct kvm_hotplug_device *devices, size_t *count)
{
    size_t i;

    for (i = 0; ctl->options.device != NULL && i < *count; i++) {
        if (strcmp(devices[i].id, ctl->options.device) == 0) {
            devices[0] = devices[i];
            *count = 1;
            return true;
        }
    }
    return ctl->options.device == NULL;
}

/* The library knows most of a guest's devices. */
static enum status list_guest(struct ctl *ctl)
{
    struct kvm_hotplug_error *error = NULL;
    char *text = NULL;
    int answer = kvm_hotplug_describe(ctl->guest, ctl->options.device, ctl->options.timeout_ms, &text, &error);

    if (answer < 0)
        return report_error(ctl, error);
    if (answer == KVM_HOTPLUG_ANSWER_ABSENT)
        return no_such(ctl);
    puts(text);
    kvm_hotplug_text_free(text);
    return STATUS_DONE;
}

/* Whether the guest has it is not known here. */
static void json_recorded(struct json *json, const struct kvm_hotplug_device *device)
{
    json_object(json, NULL);
    json_members(json, device);
    json_raw(json, "in_guest", "null");
    json_end(json);
}

static void list_record(const struct ctl *ctl, const struct kvm_hotplug_device *devices, size_t count)
{
    struct json json = json_begin(stdout);
    size_t i;

    if (ctl->options.device != NULL) {
        json_recorded(&json, devices);
        return;
    }
    json_array(&json, NULL);
    for (i = 0; i < count; i++)
        json_recorded(&json, &devices[i]);
    json_end(&json);
}

enum status ctl_list(struct ctl *ctl)
{
    struct kvm_hotplug_device *devices = NULL;
    size_t count = 0;
    enum status status;

    if (ctl->options.json && ctl->guest != NULL)
        return list_guest(ctl);
    status = fetch_devices(ctl, &devices, &count);
    if (status != STATUS_DONE)
        return status;
    if (!choose(ctl, devices, &count))
        status = no_such(ctl);
    else if (ctl->options.json)
        list_record(ctl, devices, count);
    else if (count == 0)
        puts("no NICs and no disks");
    else
        print_table(ctl, devices, count);
    free(devices);
    return status;
}
