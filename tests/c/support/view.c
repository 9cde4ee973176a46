#include "view.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "guest.h"
#include "native.h"

enum { FIRST_PORT_SLOT = 0x10 };

void view_directory(struct qemu *qemu, const struct kvm_hotplug_device *device, char path[128])
{
    static const char devices[] = "/sys/bus/pci/devices";
    int port;

    /* A port or a bridge of the boot command. */
    if (strncmp(device->bus, "rp", 2) == 0 || strncmp(device->bus, "bridge", 6) == 0) {
        port = port_devfn(qemu, device->bus);
        snprintf(path, 128, "%s/0000:00:%02x.%x/0000:*:%02x.0", devices, port / 8, port % 8, device->slot);
    } else if (strcmp(device->bus, "br1") == 0 && qemu->q35)
        snprintf(path, 128, "%s/0000:00:%02x.0/0000:*:00.0/0000:*:%02x.0", devices, FIRST_PORT_SLOT + VIEW_BRIDGE_PORT,
                 device->slot);
    else if (strcmp(device->bus, "br1") == 0)
        snprintf(path, 128, "%s/0000:00:%02x.0/0000:*:%02x.0", devices, VIEW_BRIDGE_SLOT, device->slot);
    else if (strcmp(device->bus, "pci.0") == 0 && !qemu->q35)
        snprintf(path, 128, "%s/0000:00:%02x.0", devices, device->slot);
    else
        FAIL("do not know where the guest has bus %s", device->bus);
}

static _Noreturn void not_seen(struct qemu *qemu, const struct kvm_hotplug_device *device, const char *pattern)
{
    char log[2048];

    guest_run(qemu, "dmesg | tail -n 12; grep . /sys/bus/pci/slots/*/power; ls /sys/bus/pci/devices", log, sizeof log);
    FAIL("the guest does not see %s: nothing like %s\n--- its kernel ---\n%s", device->id, pattern, log);
}

/* The name of the only thing in a directory, which is waited for. */
static void name_in(struct qemu *qemu, const struct kvm_hotplug_device *device, const char *directory, char name[16])
{
    char command[256];
    char output[64] = "";

    snprintf(command, sizeof command, "ls %s", directory);
    if (!guest_wait(qemu, command, VIEW_MS))
        not_seen(qemu, device, directory);
    CHECK_NUMBER(guest_run(qemu, command, output, sizeof output), 0);
    snprintf(name, 16, "%.*s", (int)strcspn(output, "\n"), output);
}

static void driver_name(struct qemu *qemu, const struct kvm_hotplug_device *device, const char *what, char name[16])
{
    char path[128];
    char directory[192];

    view_directory(qemu, device, path);
    snprintf(directory, sizeof directory, "%s/virtio*/%s", path, what);
    name_in(qemu, device, directory, name);
}

void view_nic(struct qemu *qemu, const struct kvm_hotplug_device *device, char name[16])
{
    driver_name(qemu, device, "net", name);
}

void view_emulated_nic(struct qemu *qemu, const struct kvm_hotplug_device *device, char name[16])
{
    char path[128];
    char directory[192];

    view_directory(qemu, device, path);
    snprintf(directory, sizeof directory, "%s/net", path);
    name_in(qemu, device, directory, name);
}

/* A disk's directory is there before its node in /dev is. */
static void wait_node(struct qemu *qemu, const char *name)
{
    char command[64];

    snprintf(command, sizeof command, "test -b /dev/%s", name);
    CHECK(guest_wait(qemu, command, VIEW_MS));
}

void view_disk(struct qemu *qemu, const struct kvm_hotplug_device *device, char name[16])
{
    driver_name(qemu, device, "block", name);
    wait_node(qemu, name);
}

/* Hosts are numbered as they come; channel, target and lun are the ones of QEMU, but for luns of 256 and on:
 * Linux shows the bits of the addressing method with them (scsilun_to_int(): flat space, 01). */
static void scsi_directory(struct qemu *qemu, const struct kvm_hotplug_device *controller,
                           const struct kvm_hotplug_device *disk, char path[192])
{
    char above[128];
    unsigned lun = disk->lun < 256 ? disk->lun : disk->lun | 0x4000;

    view_directory(qemu, controller, above);
    snprintf(path, 192, "%s/virtio*/host*/target*/*:%u:%u:%u", above, disk->channel, disk->target, lun);
}

void view_scsi_disk(struct qemu *qemu, const struct kvm_hotplug_device *controller,
                    const struct kvm_hotplug_device *disk, char name[16])
{
    char path[192];
    char directory[224];

    scsi_directory(qemu, controller, disk, path);
    snprintf(directory, sizeof directory, "%s/block", path);
    name_in(qemu, disk, directory, name);
    wait_node(qemu, name);
}

bool view_scsi_is_gone(struct qemu *qemu, const struct kvm_hotplug_device *controller,
                       const struct kvm_hotplug_device *disk)
{
    char path[192];
    char command[256];

    scsi_directory(qemu, controller, disk, path);
    snprintf(command, sizeof command, "! ls -d %s", path);
    return guest_wait(qemu, command, VIEW_MS);
}

bool view_is_gone(struct qemu *qemu, const struct kvm_hotplug_device *device)
{
    char path[128];
    char command[256];

    view_directory(qemu, device, path);
    snprintf(command, sizeof command, "! ls -d %s", path);
    return guest_wait(qemu, command, VIEW_MS);
}

static int run_formatted(struct qemu *qemu, const char *format, va_list values, char *output, size_t size)
{
    char command[1024];
    int length = vsnprintf(command, sizeof command, format, values);

    if (length < 0 || (size_t)length >= sizeof command)
        FAIL("command too long: %s", format);
    return guest_run(qemu, command, output, size);
}

void guest_prints(struct qemu *qemu, const char *want, const char *format, ...)
{
    char output[4096];
    va_list values;
    size_t length;
    int status;

    va_start(values, format);
    status = run_formatted(qemu, format, values, output, sizeof output);
    va_end(values);
    length = strlen(output);
    if (length > 0 && output[length - 1] == '\n')
        output[length - 1] = '\0';
    if (status != 0)
        FAIL("\"%s\" ended with status %d in the guest: %s", format, status, output);
    if (strcmp(output, want) != 0)
        FAIL("\"%s\" printed \"%s\" in the guest, not \"%s\"", format, output, want);
    test_count_check();
}

int guest_does(struct qemu *qemu, const char *format, ...)
{
    va_list values;
    int status;

    va_start(values, format);
    status = run_formatted(qemu, format, values, NULL, 0);
    va_end(values);
    return status;
}
