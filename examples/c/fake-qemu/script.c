#define _GNU_SOURCE
#include "script.h"

#include <string.h>

const struct order script_orders[] = {
    {"error", "COMMAND [TEXT]", "the next such command is refused, in these words"},
    {"silence", "COMMAND", "with the next such command QEMU hangs: it reads and says nothing until \"speak\""},
    {"speak", "", "a QEMU that hangs goes on where it was"},
    {"hang-up", "[COMMAND]", "the connection ends: now, or with the next such command, which is not done"},
    {"lose", "COMMAND", "the next such command is done, and the connection ends without a word about it"},
    {"hold", "ID|*", "the guest does not let go of that device until \"grant\""},
    {"refuse", "ID|*", "the guest refuses the next request to let go of that device"},
    {"grant", "ID", "the guest lets go of the device now, asked or not"},
    {"state", "STATE", "QEMU's run state: running, paused, prelaunch, suspended, ..."},
    {"event", "NAME [JSON]", "QEMU says this event"},
    {"quit", "", "QEMU ends; so it does with the end of stdin"},
};
const int script_order_count = sizeof script_orders / sizeof *script_orders;

static bool add_fault(struct script *script, enum fault_kind kind, const char *command, const char *text)
{
    struct fault *fault;

    if (command == NULL || script->fault_count == MOST)
        return false;
    fault = &script->faults[script->fault_count++];
    *fault = (struct fault){.kind = kind};
    snprintf(fault->command, sizeof fault->command, "%s", command);
    snprintf(fault->text, sizeof fault->text, "%s", text != NULL && *text != '\0' ? text : "the fake was told to refuse it");
    return true;
}

static bool set(bool *flag)
{
    return *flag = true;
}

bool script_take(struct script *script, struct guest *guest, char *line)
{
    char *rest = line;
    char *order = strtok_r(rest, " ", &rest), *first = strtok_r(rest, " ", &rest);

    if (order == NULL)
        return true;
    if (strcmp(order, "error") == 0)
        return add_fault(script, FAULT_ERROR, first, rest);
    if (strcmp(order, "silence") == 0)
        return add_fault(script, FAULT_SILENCE, first, NULL);
    if (strcmp(order, "lose") == 0)
        return add_fault(script, FAULT_LOSE, first, NULL);
    if (strcmp(order, "hang-up") == 0)
        return first != NULL ? add_fault(script, FAULT_HANG_UP, first, NULL) : set(&script->hang_up);
    if (strcmp(order, "speak") == 0)
        return set(&script->speak);
    if (strcmp(order, "quit") == 0)
        return set(&script->over);
    if (first == NULL)
        return false;
    if (strcmp(order, "hold") == 0)
        return guest_manner(guest, first, false);
    if (strcmp(order, "refuse") == 0)
        return guest_manner(guest, first, true);
    if (strcmp(order, "grant") == 0)
        return guest_grant(guest, first);
    if (strcmp(order, "state") == 0) {
        guest_state(guest, first);
        return true;
    }
    if (strcmp(order, "event") == 0) {
        guest_event(guest, first, *rest != '\0' ? rest : "{}");
        return true;
    }
    return false;
}

struct fault script_next(struct script *script, const char *command)
{
    struct fault found = {.kind = FAULT_NONE};
    int i;

    for (i = 0; i < script->fault_count; i++) {
        if (strcmp(script->faults[i].command, command) == 0) {
            found = script->faults[i];
            script->fault_count--;
            memmove(&script->faults[i], &script->faults[i + 1], (size_t)(script->fault_count - i) * sizeof found);
            break;
        }
    }
    return found;
}
