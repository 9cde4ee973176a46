/* init and list: the record of a guest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "report.h"

enum status agent_init(struct agent *agent)
{
    const struct options *options = &agent->options;
    struct kvm_hotplug_error *error = NULL;

    if (kvm_runtime_new(&options->config, sizeof options->config, &agent->runtime, &error) < 0 ||
        kvm_runtime_save(agent->runtime, options->runtime, &error) < 0)
        return report_error(error);
    printf("%s is a new record, without NICs and disks\n", options->runtime);
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
}

static void print_disk(const struct kvm_hotplug_device *disk)
{
    printf("%s", disk->path);
    if (disk->serial[0] != '\0')
        printf(", serial %s", disk->serial);
    if (disk->read_only)
        printf(", read-only");
}

static const char *type_word(const struct kvm_hotplug_device *device)
{
    switch (device->device_type) {
    case KVM_HOTPLUG_NIC:
        return "nic";
    case KVM_HOTPLUG_DISK:
        return "disk";
    case KVM_HOTPLUG_CONTROLLER:
        return "scsi";
    default:
        return "?";
    }
}

static int longest(int length, const char *text)
{
    return (int)strlen(text) > length ? (int)strlen(text) : length;
}

static void print_table(const struct kvm_hotplug_device *devices, size_t count)
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

        printf("%-*s  %-4s  %-*s  %-12s  ", id, device->id, type_word(device), place, device_place(device).text,
               device_state(device));
        if (device->device_type == KVM_HOTPLUG_NIC)
            print_nic(device);
        else if (device->device_type == KVM_HOTPLUG_DISK)
            print_disk(device);
        else
            fputs(device->model, stdout);
        if (device->reason != KVM_HOTPLUG_REASON_NONE)
            printf(" (%s)", device->reason_text);
        putchar('\n');
    }
}

enum status agent_list(struct agent *agent)
{
    struct kvm_hotplug_device *devices = NULL;
    size_t count = 0;
    enum status status = fetch_devices(agent, &devices, &count);

    if (status != STATUS_DONE)
        return status;
    if (count == 0)
        puts("no NICs and no disks");
    else
        print_table(devices, count);
    free(devices);
    return STATUS_DONE;
}
