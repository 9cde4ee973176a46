/* plan, verify and qmp. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvmctl.h"
#include "report.h"

static int plan(struct ctl *ctl, struct kvm_hotplug_device *device, char **text, struct kvm_hotplug_error **error)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_del_options removal = {.id = options->device, .timeout_ms = options->timeout_ms};

    switch (options->command) {
    case COMMAND_ADD_NIC:
        return kvm_hotplug_plan_nic(ctl->guest, &options->nic, sizeof options->nic, device, sizeof *device, text, error);
    case COMMAND_ADD_DISK:
        return kvm_hotplug_plan_disk(ctl->guest, &options->disk, sizeof options->disk, device, sizeof *device, text, error);
    case COMMAND_ADD_SCSI:
        return kvm_hotplug_plan_controller(ctl->guest, &options->controller, sizeof options->controller, device,
                                           sizeof *device, text, error);
    default:
        removal.flags = removal_flags(options);
        return kvm_hotplug_plan_del(ctl->guest, &removal, sizeof removal, device, sizeof *device, text, error);
    }
}

/* The plan's JSON is the library's; the steps are taken from it as they stand there, one a line. */
static void print_list(const char *text, const char *name, const char *title)
{
    char key[32];
    const char *at;
    int depth = 0;
    bool quoted = false;

    snprintf(key, sizeof key, "\"%s\":[", name);
    at = strstr(text, key);
    if (at == NULL || at[strlen(key)] == ']')
        return;
    printf("%s\n    ", title);
    for (at += strlen(key); *at != '\0' && !(depth == 0 && !quoted && *at == ']'); at++) {
        if (*at == '\\' && quoted) {
            at++;
            if (*at == 'u')
                putchar('\\');
            putchar(*at);
            continue;
        }
        if (*at == '"')
            quoted = !quoted;
        else if (!quoted)
            depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        if (depth == 0 && !quoted && *at == ',')
            fputs("\n    ", stdout);
        else if (*at != '"' || depth > 0)
            putchar(*at);
    }
    putchar('\n');
}

static void print_plan(const struct ctl *ctl, int answer, const struct kvm_hotplug_device *device, const char *text)
{
    bool removal = ctl->options.command == COMMAND_DEL;
    const char *id = removal ? ctl->options.device : device->id;

    switch (answer) {
    case KVM_HOTPLUG_ANSWER_ABSENT:
        printf("%s is not there: nothing would be done\n", id);
        return;
    case KVM_HOTPLUG_ANSWER_AFTER_REBOOT:
        printf("%s would be recorded, and %s with the next boot: %s\n", id, removal ? "go" : "come", device->reason_text);
        return;
    case KVM_HOTPLUG_ANSWER_PENDING:
        printf("%s is asked to leave already: %s\n", id, device->reason_text);
        return;
    default:
        printf(removal ? "%s would leave %s\n" : "%s would be at %s\n", id, device_place(device).text);
    }
    print_list(text, "host", "on the host:");
    print_list(text, "commands", "QEMU would be told:");
}

enum status ctl_plan(struct ctl *ctl)
{
    struct kvm_hotplug_device device = {.slot = 0};
    struct kvm_hotplug_error *error = NULL;
    char *text = NULL;
    int answer;

    if (ctl->options.command == COMMAND_BOOT)
        return ctl_plan_boot(ctl);
    answer = plan(ctl, &device, &text, &error);
    if (answer < 0)
        return report_error(ctl, error);
    if (ctl->options.json)
        puts(text);
    else
        print_plan(ctl, answer, &device, text);
    kvm_hotplug_text_free(text);
    return answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT ? STATUS_AFTER_REBOOT : STATUS_DONE;
}

static int compare(struct ctl *ctl, struct kvm_hotplug_difference *list, size_t capacity, size_t *count,
                   struct kvm_hotplug_error **error)
{
    uint32_t timeout = ctl->options.timeout_ms;

    return ctl->options.mend ? kvm_hotplug_repair(ctl->guest, timeout, list, sizeof *list, capacity, count, error)
                             : kvm_hotplug_verify(ctl->guest, timeout, list, sizeof *list, capacity, count, error);
}

static void print_differences(const struct kvm_hotplug_difference *list, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        puts(list[i].text);
    if (count == 0)
        puts("record and guest agree");
}

static void json_differences(const struct kvm_hotplug_difference *list, size_t count)
{
    struct json json = json_begin(stdout);
    size_t i;

    json_array(&json, NULL);
    for (i = 0; i < count; i++) {
        json_object(&json, NULL);
        json_number(&json, "mismatch", list[i].kind);
        json_text(&json, "id", list[i].id);
        json_text(&json, "recorded", list[i].recorded);
        json_text(&json, "found", list[i].found);
        json_text(&json, "text", list[i].text);
        json_end(&json);
    }
    json_end(&json);
}

enum status ctl_verify(struct ctl *ctl)
{
    enum { MOST = 1024 };
    struct kvm_hotplug_difference *list = calloc(MOST, sizeof *list);
    struct kvm_hotplug_error *error = NULL;
    size_t count = 0;

    if (list == NULL)
        return report_no_memory(ctl);
    if (compare(ctl, list, MOST, &count, &error) < 0) {
        free(list);
        return report_error(ctl, error);
    }
    if (ctl->options.json)
        json_differences(list, count < MOST ? count : MOST);
    else
        print_differences(list, count < MOST ? count : MOST);
    free(list);
    return count == 0 ? STATUS_DONE : STATUS_DIFFERENT;
}

/* A string is printed as what it says: the answer to "info" of the human monitor has lines. */
static void print_reply(const char *reply)
{
    const char *c;

    if (reply[0] != '"') {
        puts(reply);
        return;
    }
    for (c = reply + 1; *c != '\0' && *c != '"'; c++) {
        if (*c != '\\') {
            putchar(*c);
        } else {
            c++;
            if (*c == 'n')
                putchar('\n');
            else if (*c == 't')
                putchar('\t');
            else if (*c == 'u')
                fputs("\\u", stdout);
            else if (*c != 'r')
                putchar(*c);
        }
    }
}

enum status ctl_qmp(struct ctl *ctl)
{
    const struct kvm_hotplug_command *command = &ctl->options.qmp;
    struct kvm_hotplug_error *error = NULL;
    char *reply = NULL;

    if (kvm_hotplug_qmp(ctl->guest, command, sizeof *command, &reply, &error) < 0)
        return report_error(ctl, error);
    if (ctl->options.json)
        puts(reply);
    else
        print_reply(reply);
    kvm_hotplug_text_free(reply);
    return STATUS_DONE;
}
