/* map: the slots of every bus as a picture. Buses with many slots become two rows of sixteen cells; root ports, which
 * have one slot each, stand side by side; SCSI buses are a line for each target in use. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "kvmctl.h"
#include "slots.h"

enum { ROW = 16, WIDTH = 76 };

struct map {
    const struct terminal *terminal;
    const struct kvm_hotplug_slot *slots;
    size_t count;
    const struct kvm_hotplug_device *devices;
    size_t device_count;
};

/* What a cell looks like: three columns wide. */
struct look {
    const char *box;   /* with box characters */
    const char *plain; /* with ASCII */
    enum colour colour;
    const char *meaning;
};

enum kind { KIND_NIC, KIND_DISK, KIND_SCSI, KIND_PORT, KIND_LEAVING, KIND_TAKEN, KIND_RESERVED, KIND_FREE, KIND_COLD, KIND_MISSING, KIND_UNKNOWN, KINDS };

static const struct look looks[KINDS] = {
    [KIND_NIC] = {"NIC", "NIC", COLOUR_NIC, "a NIC of the record"},
    [KIND_DISK] = {"DSK", "DSK", COLOUR_DISK, "a disk of the record"},
    [KIND_SCSI] = {"SCS", "SCS", COLOUR_DISK, "a SCSI controller of the record"},
    [KIND_PORT] = {"PRT", "PRT", COLOUR_DIM, "a root port or bridge: its bus is drawn by itself"},
    [KIND_LEAVING] = {"▷▷▷", ">>>", COLOUR_PENDING, "leaving: the guest has not let go yet"},
    [KIND_TAKEN] = {"███", "###", COLOUR_DIM, "taken, and not in the record"},
    [KIND_RESERVED] = {"░░░", ":::", COLOUR_DIM, "reserved for QEMU"},
    [KIND_FREE] = {"   ", "   ", COLOUR_NONE, "free"},
    [KIND_COLD] = {" ∙ ", " . ", COLOUR_DIM, "empty, but takes no devices while the guest runs"},
    [KIND_MISSING] = {" ! ", " ! ", COLOUR_PENDING, "a device of the record that the guest does not have"},
    [KIND_UNKNOWN] = {" ? ", " ? ", COLOUR_DIM, "the guest has not said yet"},
};

/* The lines around cells; indexed by whether there are box characters. */
static const struct frame {
    const char *side;
    const char *line;
    const char *corners[3][3]; /* top, between, bottom: left, middle, right */
} frames[] = {
    {"|", "---", {{"+", "+", "+"}, {"+", "+", "+"}, {"+", "+", "+"}}},
    {"│", "───", {{"┌", "┬", "┐"}, {"├", "┼", "┤"}, {"└", "┴", "┘"}}},
};

enum edge { EDGE_TOP, EDGE_BETWEEN, EDGE_BOTTOM };

static const struct kvm_hotplug_device *device_at(const struct map *map, const struct kvm_hotplug_slot *slot)
{
    size_t i;

    for (i = 0; i < map->device_count; i++)
        if (map->devices[i].address_type == slot->address_type && map->devices[i].slot == slot->slot &&
            map->devices[i].target == slot->target && map->devices[i].lun == slot->lun &&
            strcmp(map->devices[i].bus, slot->bus) == 0)
            return &map->devices[i];
    return NULL;
}

static enum kind kind_of_device(const struct kvm_hotplug_device *device)
{
    switch (device->device_type) {
    case KVM_HOTPLUG_DEVICE_NIC:
        return KIND_NIC;
    case KVM_HOTPLUG_DEVICE_CONTROLLER:
        return KIND_SCSI;
    default:
        return KIND_DISK;
    }
}

/* The bus behind a port or bridge has its name. */
static bool is_port(const struct map *map, const struct kvm_hotplug_slot *slot)
{
    size_t i;

    for (i = 0; i < map->count; i++)
        if (map->slots[i].address_type == KVM_HOTPLUG_ADDRESS_PCI && strcmp(map->slots[i].bus, slot->occupant) == 0)
            return true;
    return false;
}

static enum kind kind_of(const struct map *map, const struct kvm_hotplug_slot *slot)
{
    const struct kvm_hotplug_device *device;

    switch (slot->state) {
    case KVM_HOTPLUG_SLOT_FREE:
        return KIND_FREE;
    case KVM_HOTPLUG_SLOT_RESERVED:
        return KIND_RESERVED;
    case KVM_HOTPLUG_SLOT_QUARANTINED:
        return KIND_LEAVING;
    case KVM_HOTPLUG_SLOT_NOT_HOTPLUGGABLE:
        return KIND_COLD;
    case KVM_HOTPLUG_SLOT_MISSING:
        return KIND_MISSING;
    case KVM_HOTPLUG_SLOT_TAKEN:
        device = device_at(map, slot);
        if (device != NULL)
            return kind_of_device(device);
        return is_port(map, slot) ? KIND_PORT : KIND_TAKEN;
    default:
        return KIND_UNKNOWN;
    }
}

static const struct frame *frame_of(const struct map *map)
{
    return &frames[map->terminal->boxes];
}

static void draw_cell(const struct map *map, enum kind kind)
{
    const struct look *look = &looks[kind];
    const char *text = map->terminal->boxes ? look->box : look->plain;

    terminal_print(map->terminal, look->colour, text);
}

static void draw_edge(const struct map *map, enum edge edge, size_t cells)
{
    const struct frame *frame = frame_of(map);
    size_t i;

    printf("     %s", frame->corners[edge][0]);
    for (i = 0; i < cells; i++)
        printf("%s%s", frame->line, frame->corners[edge][i + 1 < cells ? 1 : 2]);
    putchar('\n');
}

static void draw_numbers(size_t cells)
{
    size_t i;

    fputs("     ", stdout);
    for (i = 0; i < cells; i++)
        printf("  %zx ", i);
    putchar('\n');
}

static void draw_row(const struct map *map, const struct kvm_hotplug_slot *slots, size_t cells)
{
    const struct frame *frame = frame_of(map);
    size_t i;

    printf("  %02x %s", slots[0].slot, frame->side);
    for (i = 0; i < cells; i++) {
        draw_cell(map, kind_of(map, &slots[i]));
        fputs(frame->side, stdout);
    }
    putchar('\n');
}

/* Appends to a line that is not longer than WIDTH, or begins a new one. */
static void append(int *column, const char *text)
{
    int length = (int)strlen(text);

    if (*column > 0 && *column + length + 2 > WIDTH) {
        fputs(",\n     ", stdout);
        *column = 0;
    }
    *column += printf("%s%s", *column > 0 ? ", " : "", text);
}

static void name_occupants(const struct kvm_hotplug_slot *slots, size_t cells)
{
    char text[80];
    int column = 0;
    size_t i;

    fputs("     ", stdout);
    for (i = 0; i < cells; i++) {
        if (slots[i].occupant[0] == '\0')
            continue;
        snprintf(text, sizeof text, "%02x %s", slots[i].slot, slots[i].occupant);
        append(&column, text);
    }
    puts(column == 0 ? "all empty" : "");
}

static void draw_grid(const struct map *map, const struct kvm_hotplug_slot *slots, size_t cells)
{
    size_t width = cells < ROW ? cells : ROW;
    size_t start;

    puts(slots[0].bus);
    draw_numbers(width);
    for (start = 0; start < cells; start += ROW) {
        draw_edge(map, start == 0 ? EDGE_TOP : EDGE_BETWEEN, width);
        draw_row(map, slots + start, cells - start < ROW ? cells - start : ROW);
    }
    draw_edge(map, EDGE_BOTTOM, width);
    name_occupants(slots, cells);
}

static void draw_port(const struct map *map, const struct kvm_hotplug_slot *slot, int *column)
{
    const struct frame *frame = frame_of(map);
    int length = (int)(strlen(slot->bus) + strlen(slot->occupant)) + 10;

    if (*column > 0 && *column + length > WIDTH) {
        putchar('\n');
        *column = 0;
    }
    printf("  %s %s", slot->bus, frame->side);
    draw_cell(map, kind_of(map, slot));
    printf("%s %s", frame->side, slot->occupant);
    *column += length;
}

/* A SCSI bus has too many places for a picture: those in use, and the one that is handed out next. */
static void draw_targets(const struct map *map, const struct kvm_hotplug_slot *slots, size_t count)
{
    const struct frame *frame = frame_of(map);
    size_t i;

    puts(slots[0].bus);
    for (i = 0; i < count; i++) {
        printf("  %3u:%-5u %s", slots[i].target, slots[i].lun, frame->side);
        draw_cell(map, kind_of(map, &slots[i]));
        printf("%s %s\n", frame->side, slots[i].occupant);
    }
}

static size_t bus_length(const struct map *map, size_t start)
{
    size_t end = start;

    while (end < map->count && strcmp(map->slots[end].bus, map->slots[start].bus) == 0)
        end++;
    return end - start;
}

static void draw_map(const struct map *map, bool used[KINDS])
{
    size_t start, length;
    int column = 0;

    for (start = 0; start < map->count; start++)
        used[kind_of(map, &map->slots[start])] = true;
    for (start = 0; start < map->count; start += length) {
        length = bus_length(map, start);
        if (length == 1 && map->slots[start].address_type == KVM_HOTPLUG_ADDRESS_PCI) {
            draw_port(map, &map->slots[start], &column);
            continue;
        }
        if (column > 0)
            putchar('\n');
        column = 0;
        if (map->slots[start].address_type == KVM_HOTPLUG_ADDRESS_SCSI)
            draw_targets(map, &map->slots[start], length);
        else
            draw_grid(map, &map->slots[start], length);
    }
    if (column > 0)
        putchar('\n');
}

static void draw_legend(const struct map *map, const bool used[KINDS])
{
    int kind;

    for (kind = 0; kind < KINDS; kind++) {
        if (!used[kind])
            continue;
        fputs("     ", stdout);
        draw_cell(map, (enum kind)kind);
        printf("  %s\n", looks[kind].meaning);
    }
}

enum status ctl_map(struct ctl *ctl)
{
    struct kvm_hotplug_slot *slots = NULL;
    struct kvm_hotplug_device *devices = NULL;
    struct map map = {.terminal = &ctl->terminal};
    bool used[KINDS] = {false};
    enum status status = fetch_slots(ctl, &slots, &map.count);

    if (status == STATUS_DONE)
        status = fetch_devices(ctl, &devices, &map.device_count);
    if (status == STATUS_DONE) {
        map.slots = slots;
        map.devices = devices;
        if (ctl->options.json) {
            json_slots(slots, map.count);
        } else {
            draw_map(&map, used);
            draw_legend(&map, used);
        }
    }
    free(devices);
    free(slots);
    return status;
}
