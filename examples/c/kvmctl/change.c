/* link, move and resize. */
#include <inttypes.h>
#include <stdio.h>

#include "kvmctl.h"
#include "report.h"

static enum status changed(const struct ctl *ctl, int answer, const char *what)
{
    const char *id = ctl->options.device;

    if (ctl->options.json)
        report_answer(answer, id, NULL);
    else if (answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT)
        printf("%s comes with the next boot, and then %s\n", id, what);
    else
        printf("%s %s\n", id, what);
    return answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT ? STATUS_AFTER_REBOOT : STATUS_DONE;
}

enum status ctl_link(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;
    int answer = kvm_hotplug_set_link(ctl->guest, options->device, options->up, options->timeout_ms, &error);

    if (answer < 0)
        return report_error(ctl, error);
    return changed(ctl, answer, options->up ? "has its link up" : "has its link down");
}

enum status ctl_move(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;
    char what[64];
    int answer = kvm_hotplug_set_bridge(ctl->guest, options->device, options->bridge, options->timeout_ms, &error);

    if (answer < 0)
        return report_error(ctl, error);
    snprintf(what, sizeof what, "is on %s%s", options->bridge != NULL ? "bridge " : "no bridge",
             options->bridge != NULL ? options->bridge : "");
    return changed(ctl, answer, what);
}

enum status ctl_resize(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;
    struct json json = json_begin(stdout);
    uint64_t bytes = 0;

    if (kvm_hotplug_resize_disk(ctl->guest, options->device, options->bytes, options->shrink ? KVM_HOTPLUG_RESIZE_SHRINK : 0,
                                options->timeout_ms, &bytes, &error) < 0)
        return report_error(ctl, error);
    if (options->json) {
        json_object(&json, NULL);
        json_text(&json, "answer", "done");
        json_text(&json, "id", options->device);
        json_number(&json, "size", (long long)bytes);
        json_end(&json);
    } else {
        printf("%s has %" PRIu64 " bytes\n", options->device, bytes);
    }
    return STATUS_DONE;
}
