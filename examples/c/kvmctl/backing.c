/* backing and accept: which files are opened for an image besides itself. */
#include <stdio.h>

#include "kvmctl.h"
#include "report.h"

static enum status say(const struct ctl *ctl, const char *name, const char *value, const char *what)
{
    if (ctl->options.json) {
        struct json json = json_begin(stdout);

        json_object(&json, NULL);
        json_text(&json, name, value);
        json_end(&json);
    } else {
        printf("%s%s\n", value, what);
    }
    return STATUS_DONE;
}

enum status ctl_backing(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;

    if (kvm_runtime_set_backing(ctl->runtime, options->backing, options->backing_paths, options->backing_count, &error) < 0)
        return report_error(ctl, error);
    return say(ctl, "runtime", options->runtime, " says where backing files may be, from the next opening of an image on");
}

enum status ctl_accept(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;

    if (kvm_runtime_accept_chain(ctl->runtime, options->device, options->backing, options->backing_paths,
                                 options->backing_count, &error) < 0)
        return report_error(ctl, error);
    return say(ctl, "id", options->device, " is recorded with the files that its image is made of now");
}
