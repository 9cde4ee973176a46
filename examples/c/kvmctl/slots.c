#include "slots.h"

#include <stdio.h>
#include <stdlib.h>

#include "report.h"

enum status fetch_slots(const struct ctl *ctl, struct kvm_hotplug_slot **ret_slots, size_t *ret_count)
{
    uint32_t timeout = ctl->options.timeout_ms;
    struct kvm_hotplug_error *error = NULL;
    struct kvm_hotplug_slot *slots;
    size_t room = 0, count = 0;

    if (kvm_hotplug_slot_map(ctl->guest, timeout, NULL, sizeof *slots, 0, &room, &error) < 0)
        return report_error(ctl, error);
    slots = calloc(room + 1, sizeof *slots);
    if (slots == NULL)
        return report_no_memory(ctl);
    if (kvm_hotplug_slot_map(ctl->guest, timeout, slots, sizeof *slots, room, &count, &error) < 0) {
        free(slots);
        return report_error(ctl, error);
    }
    *ret_slots = slots;
    *ret_count = count < room ? count : room;
    return STATUS_DONE;
}

void json_slots(const struct kvm_hotplug_slot *slots, size_t count)
{
    static const char *const states[] = {"free", "reserved", "taken", "quarantined", "not-hotpluggable", "unknown", "missing"};
    struct json json = json_begin(stdout);
    size_t i;

    json_array(&json, NULL);
    for (i = 0; i < count; i++) {
        const struct kvm_hotplug_slot *slot = &slots[i];

        json_object(&json, NULL);
        json_text(&json, "bus", slot->bus);
        if (slot->address_type == KVM_HOTPLUG_ADDRESS_SCSI) {
            json_number(&json, "target", slot->target);
            json_number(&json, "lun", slot->lun);
        } else {
            json_number(&json, "slot", slot->slot);
        }
        json_text(&json, "state", slot->state < sizeof states / sizeof *states ? states[slot->state] : "unknown");
        json_text(&json, "occupant", slot->occupant[0] != '\0' ? slot->occupant : NULL);
        json_end(&json);
    }
    json_end(&json);
}
