/* What a client gets to see. */
#include "parts.h"

static void show_bus(const struct guest *guest, const char *bus, int number, FILE *reply)
{
    int i, shown = 0;

    putc('[', reply);
    for (i = 0; i < guest->device_count; i++) {
        const struct device *device = &guest->devices[i];
        int secondary = device->slot * 8 + device->function;

        if (device->slot < 0 || strcmp(device->bus, bus) != 0)
            continue;
        fprintf(reply,
                "%s{\"bus\":%d,\"slot\":%d,\"function\":%d,\"qdev_id\":\"%s\",\"class_info\":{\"class\":512,\"desc\":\"%s\"},"
                "\"id\":{\"vendor\":%d,\"device\":%d},\"irq_pin\":1,"
                "\"regions\":[{\"bar\":0,\"size\":32,\"address\":%d,\"type\":\"io\"}]",
                shown++ > 0 ? "," : "", number, device->slot, device->function, device->id, device->driver, device->vendor,
                device->number, 4096 * (device->slot + 1));
        if (strcmp(device->driver, "pcie-root-port") == 0) {
            fprintf(reply, ",\"pci_bridge\":{\"bus\":{\"number\":%d,\"secondary\":%d,\"subordinate\":%d},\"devices\":", number,
                    secondary, secondary);
            show_bus(guest, device->id, secondary, reply);
            putc('}', reply);
        }
        putc('}', reply);
    }
    putc(']', reply);
}

bool query_pci(const struct guest *guest, FILE *reply)
{
    fputs("[{\"bus\":0,\"devices\":", reply);
    show_bus(guest, root_bus(guest), 0, reply);
    fputs("}]", reply);
    return true;
}

bool qom_list(const struct guest *guest, struct slice arguments, FILE *reply)
{
    char path[NAME];
    int i;

    member_text(arguments, "path", path);
    fputs("[{\"name\":\"type\",\"type\":\"string\"}", reply);
    for (i = 0; strcmp(path, PERIPHERAL) == 0 && i < guest->device_count; i++)
        if (guest->devices[i].id[0] != '\0')
            fprintf(reply, ",{\"name\":\"%s\",\"type\":\"child<%s>\"}", guest->devices[i].id, guest->devices[i].driver);
    putc(']', reply);
    return true;
}

/* A property has the value that device_add gave it. */
bool qom_get(struct guest *guest, struct slice arguments, FILE *reply)
{
    static const char prefix[] = PERIPHERAL "/";
    char path[2 * NAME], property[NAME];
    struct device *device = NULL;
    struct slice value = {NULL, 0};

    json_text(json_member(arguments, "path"), path, sizeof path);
    member_text(arguments, "property", property);
    if (strncmp(path, prefix, sizeof prefix - 1) == 0)
        device = find_device(guest, path + sizeof prefix - 1);
    if (device == NULL)
        return refuse(reply, "DeviceNotFound", "Device '%s' not found", path);
    if (strcmp(property, "type") == 0) {
        fprintf(reply, "\"%s\"", device->driver);
        return true;
    }
    if (strcmp(property, "parent_bus") == 0) {
        if (device->slot < 0)
            fprintf(reply, "\"" PERIPHERAL "/%.*s/virtio-backend/%s\"", (int)strlen(device->bus) - 2, device->bus, device->bus);
        else if (strcmp(device->bus, root_bus(guest)) == 0)
            fprintf(reply, "\"/machine/%s/%s\"", guest->ports > 0 ? "q35" : "i440fx", device->bus);
        else
            fprintf(reply, "\"" PERIPHERAL "/%s/%s\"", device->bus, device->bus);
        return true;
    }
    if (strcmp(property, "addr") == 0 && device->slot >= 0) {
        fprintf(reply, "%d", device->slot * 8 + device->function);
        return true;
    }
    if (device->arguments != NULL)
        value = json_member((struct slice){device->arguments, strlen(device->arguments)}, property);
    if (value.at == NULL)
        return GENERIC(reply, "Property '%s' not found", property);
    fwrite(value.at, 1, value.length, reply);
    return true;
}

bool query_status(const struct guest *guest, FILE *reply)
{
    fprintf(reply, "{\"status\":\"%s\",\"running\":%s}", guest->state, runs(guest) ? "true" : "false");
    return true;
}

bool query_machines(const struct guest *guest, FILE *reply)
{
    static const char *const types[][2] = {{"pc-i440fx", "pc"}, {"pc-q35", "q35"}};
    size_t i;

    putc('[', reply);
    for (i = 0; i < sizeof types / sizeof *types; i++)
        fprintf(reply, "{\"name\":\"%s-%d.%d\",\"alias\":\"%s\",\"cpu-max\":255,\"hotpluggable-cpus\":true},", types[i][0],
                guest->major, guest->minor, types[i][1]);
    fputs("{\"name\":\"none\",\"cpu-max\":1,\"hotpluggable-cpus\":false}]", reply);
    return true;
}
