/* Devices, in and out, and which command does what. */
#define _GNU_SOURCE
#include "parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/time.h>

const char *root_bus(const struct guest *guest)
{
    return guest->ports > 0 ? "pcie.0" : "pci.0";
}

bool runs(const struct guest *guest)
{
    return strcmp(guest->state, "running") == 0;
}

static void put_device(struct guest *guest, const char *id, const char *driver, int slot, int function, int number)
{
    struct device *device = &guest->devices[guest->device_count++];

    *device = (struct device){.slot = slot, .function = function, .vendor = id[0] == '\0' ? 0x8086 : 0x1b36, .number = number};
    snprintf(device->id, NAME, "%s", id);
    snprintf(device->driver, NAME, "%s", driver);
    snprintf(device->bus, NAME, "%s", root_bus(guest));
}

void guest_build(struct guest *guest)
{
    char name[NAME];
    int i;

    if (guest->ports > 0) {
        put_device(guest, "", "Host bridge", 0, 0, 0x29c0);
        put_device(guest, "", "ISA bridge", 31, 0, 0x2918);
    } else {
        put_device(guest, "", "Host bridge", 0, 0, 0x1237);
        put_device(guest, "", "ISA bridge", 1, 0, 0x7000);
    }
    for (i = 0; i < guest->ports; i++) {
        snprintf(name, sizeof name, "rp%d", i);
        put_device(guest, name, "pcie-root-port", 3 + i / 8, i % 8, 0x000c);
    }
}

void guest_event(struct guest *guest, const char *name, const char *data)
{
    struct timeval now;

    gettimeofday(&now, NULL);
    fprintf(guest->news, "{\"timestamp\":{\"seconds\":%lld,\"microseconds\":%ld},\"event\":\"%s\",\"data\":%s}\r\n",
            (long long)now.tv_sec, (long)now.tv_usec, name, data);
}

bool refuse(FILE *reply, const char *class, const char *text, ...)
{
    va_list about;

    fprintf(reply, "%s\n", class);
    va_start(about, text);
    vfprintf(reply, text, about);
    va_end(about);
    return false;
}

bool done(FILE *reply)
{
    fputs("{}", reply);
    return true;
}

void clean_text(struct slice value, char *out, size_t size)
{
    json_text(value, out, size);
    for (; *out != '\0'; out++)
        if (*out == '"' || *out == '\\' || (unsigned char)*out < ' ')
            *out = '?';
}

void member_text(struct slice arguments, const char *key, char *out)
{
    clean_text(json_member(arguments, key), out, NAME);
}

struct device *find_device(struct guest *guest, const char *id)
{
    int i;

    for (i = 0; i < guest->device_count; i++)
        if (id[0] != '\0' && strcmp(guest->devices[i].id, id) == 0)
            return &guest->devices[i];
    return NULL;
}

/* The bus of a SCSI controller with the id "hba" is "hba.0", that of a root port is called as the port is. */
static bool is_bus(struct guest *guest, const struct device *device)
{
    char id[NAME];
    size_t length = strlen(device->bus);
    struct device *behind;

    if (strncmp(device->driver, "scsi-", 5) != 0) {
        behind = find_device(guest, device->bus);
        return (guest->ports == 0 && strcmp(device->bus, "pci.0") == 0) ||
               (behind != NULL && strcmp(behind->driver, "pcie-root-port") == 0);
    }
    snprintf(id, sizeof id, "%.*s", length > 2 ? (int)length - 2 : 0, device->bus);
    behind = find_device(guest, id);
    return behind != NULL && strncmp(behind->driver, "virtio-scsi", 11) == 0;
}

static bool check_backend(struct guest *guest, const struct device *device, FILE *reply)
{
    if (device->netdev[0] != '\0' && find_netdev(guest, device->netdev) == NULL)
        return GENERIC(reply, "Property 'virtio-net-device.netdev' can't find value '%s'", device->netdev);
    if (device->drive[0] != '\0' && find_node(guest, device->drive) == NULL)
        return GENERIC(reply, "Property 'virtio-blk-device.drive' can't find value '%s'", device->drive);
    return true;
}

static bool check_place(struct guest *guest, const struct device *device, FILE *reply)
{
    int i;

    if (!is_bus(guest, device))
        return GENERIC(reply, "Bus '%s' not found", device->bus);
    for (i = 0; i < guest->device_count; i++) {
        const struct device *other = &guest->devices[i];

        if (device->slot >= 0 && strcmp(other->bus, device->bus) == 0 && other->slot == device->slot &&
            other->function == device->function)
            return GENERIC(reply, "PCI: the slot is not available, in use by %s", other->id);
    }
    return true;
}

bool device_add(struct guest *guest, struct slice arguments, FILE *reply)
{
    struct device device = {.slot = -1, .vendor = 0x1af4, .number = 0x1000};
    char address[NAME];
    char *point;

    member_text(arguments, "id", device.id);
    member_text(arguments, "driver", device.driver);
    member_text(arguments, "bus", device.bus);
    member_text(arguments, "netdev", device.netdev);
    member_text(arguments, "drive", device.drive);
    member_text(arguments, "addr", address);
    if (find_device(guest, device.id) != NULL)
        return GENERIC(reply, "Duplicate device ID '%s'", device.id);
    if (strncmp(device.driver, "virtio-", 7) != 0 && strncmp(device.driver, "scsi-", 5) != 0)
        return GENERIC(reply, "'%s' is not a valid device model name", device.driver);
    if (strncmp(device.driver, "scsi-", 5) != 0) {
        device.slot = (int)strtol(address, &point, 16) & 31;
        device.function = *point == '.' ? atoi(point + 1) : 0;
    }
    if (guest->device_count == MOST)
        return GENERIC(reply, "the fake has no room for more devices");
    if (!check_place(guest, &device, reply) || !check_backend(guest, &device, reply))
        return false;
    device.arguments = strndup(arguments.at, arguments.length);
    guest->devices[guest->device_count++] = device;
    return done(reply);
}

bool guest_grant(struct guest *guest, const char *id)
{
    struct device *device = find_device(guest, id);
    char data[3 * NAME];

    if (device == NULL)
        return false;
    /* As QEMU does: first without the id, of what is inside. */
    snprintf(data, sizeof data, "{\"path\":\"" PERIPHERAL "/%s/virtio-backend\"}", device->id);
    if (device->slot >= 0)
        guest_event(guest, "DEVICE_DELETED", data);
    snprintf(data, sizeof data, "{\"device\":\"%s\",\"path\":\"" PERIPHERAL "/%s\"}", device->id, device->id);
    guest_event(guest, "DEVICE_DELETED", data);
    free(device->arguments);
    *device = guest->devices[--guest->device_count];
    return true;
}

bool guest_manner(struct guest *guest, const char *id, bool refuses)
{
    if (guest->manner_count == MOST)
        return false;
    guest->manners[guest->manner_count] = (struct manner){.refuses = refuses};
    snprintf(guest->manners[guest->manner_count++].id, NAME, "%s", id);
    return true;
}

static struct manner *find_manner(struct guest *guest, const char *id)
{
    int i;

    for (i = 0; i < guest->manner_count; i++)
        if (strcmp(guest->manners[i].id, id) == 0 || strcmp(guest->manners[i].id, "*") == 0)
            return &guest->manners[i];
    return NULL;
}

/* A request reaches the guest. */
static void hear(struct guest *guest, struct device *device)
{
    struct manner *manner = find_manner(guest, device->id);
    char data[3 * NAME];

    if (manner == NULL) {
        guest_grant(guest, device->id);
    } else if (manner->refuses) {
        device->asked = false;
        *manner = guest->manners[--guest->manner_count];
        snprintf(data, sizeof data, "{\"device\":\"%s\",\"path\":\"" PERIPHERAL "/%s\"}", device->id, device->id);
        guest_event(guest, "DEVICE_UNPLUG_GUEST_ERROR", data);
    }
}

bool device_del(struct guest *guest, struct slice arguments, FILE *reply)
{
    struct device *device;
    char id[NAME];

    member_text(arguments, "id", id);
    device = find_device(guest, id);
    if (device == NULL)
        return refuse(reply, "DeviceNotFound", "Device '%s' not found", id);
    if (device->slot < 0) { /* QEMU takes SCSI disks out by itself. */
        guest_grant(guest, id);
        return done(reply);
    }
    if (device->asked)
        return GENERIC(reply, "Device %s is already in the process of unplug", id);
    device->asked = true;
    if (runs(guest))
        hear(guest, device);
    return done(reply);
}

/* Last first, because one that goes is replaced by the last. */
static void for_all_asked(struct guest *guest, bool reset)
{
    int i;

    for (i = guest->device_count - 1; i >= 0; i--) {
        if (guest->devices[i].asked && reset)
            guest_grant(guest, guest->devices[i].id);
        else if (guest->devices[i].asked)
            hear(guest, &guest->devices[i]);
    }
}

void guest_state(struct guest *guest, const char *state)
{
    bool ran = runs(guest);

    snprintf(guest->state, NAME, "%s", state);
    if (ran != runs(guest))
        guest_event(guest, ran ? "STOP" : "RESUME", "{}");
    if (!ran && runs(guest))
        for_all_asked(guest, false);
}

/* With a reset QEMU takes out whatever was asked to leave. */
bool reset(struct guest *guest, FILE *reply)
{
    guest_event(guest, "RESET", "{\"guest\":false,\"reason\":\"host-qmp-system-reset\"}");
    for_all_asked(guest, true);
    return done(reply);
}

static bool set_state(struct guest *guest, const char *state, FILE *reply)
{
    guest_state(guest, state);
    return done(reply);
}

bool guest_run(struct guest *guest, const char *command, struct slice arguments, int fd, FILE *reply)
{
    static bool (*const with_arguments[])(struct guest *, struct slice, FILE *) = {
        closefd, remove_fd, netdev_add, netdev_del, set_link, blockdev_add, blockdev_del, block_resize, device_add, device_del,
        qom_get};
    static const char *const names[] = {"closefd",      "remove-fd",    "netdev_add",   "netdev_del", "set_link", "blockdev-add",
                                        "blockdev-del", "block_resize", "device_add",   "device_del", "qom-get"};
    size_t i;

    if (strcmp(command, "getfd") == 0)
        return getfd(guest, arguments, fd, reply);
    if (strcmp(command, "add-fd") == 0)
        return add_fd(guest, arguments, fd, reply);
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(command, names[i]) == 0)
            return with_arguments[i](guest, arguments, reply);
    if (strcmp(command, "qom-list") == 0)
        return qom_list(guest, arguments, reply);
    if (strcmp(command, "query-pci") == 0)
        return query_pci(guest, reply);
    if (strcmp(command, "query-fdsets") == 0)
        return query_fdsets(guest, reply);
    if (strcmp(command, "query-named-block-nodes") == 0)
        return query_nodes(guest, reply);
    if (strcmp(command, "query-status") == 0)
        return query_status(guest, reply);
    if (strcmp(command, "query-machines") == 0)
        return query_machines(guest, reply);
    /* It knows every model that it takes, and nothing about them. */
    if (strcmp(command, "query-block") == 0 || strcmp(command, "device-list-properties") == 0)
        return fputs("[]", reply) >= 0;
    if (strcmp(command, "stop") == 0)
        return set_state(guest, "paused", reply);
    if (strcmp(command, "cont") == 0)
        return set_state(guest, "running", reply);
    if (strcmp(command, "system_reset") == 0)
        return reset(guest, reply);
    if (strcmp(command, "qmp_capabilities") == 0)
        return done(reply);
    return refuse(reply, "CommandNotFound", "The command %s has not been found", command);
}
