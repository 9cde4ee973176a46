/* check and convert: a record is looked at, and nothing of it is changed. */
#include <stdio.h>
#include <stdlib.h>

#include "kvmctl.h"
#include "report.h"

static void json_problems(const struct kvm_runtime_problem *problems, size_t count)
{
    struct json json = json_begin(stdout);
    size_t i;

    json_array(&json, NULL);
    for (i = 0; i < count; i++) {
        json_object(&json, NULL);
        json_number(&json, "trouble", problems[i].kind);
        json_text(&json, "id", problems[i].id);
        json_text(&json, "text", problems[i].text);
        json_end(&json);
    }
    json_end(&json);
}

static void print_problems(const struct kvm_runtime_problem *problems, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        puts(problems[i].text);
    if (count == 0)
        puts("nothing stands in the way");
}

enum status ctl_check(struct ctl *ctl)
{
    enum { MOST = 1024 };
    const struct options *options = &ctl->options;
    struct kvm_runtime_problem *problems = calloc(MOST, sizeof *problems);
    struct kvm_hotplug_error *error = NULL;
    size_t count = 0;

    if (problems == NULL)
        return report_no_memory(ctl);
    if (kvm_runtime_check(ctl->runtime, options->migration ? KVM_RUNTIME_CHECK_INCOMING : 0, options->socket,
                          options->timeout_ms, problems, sizeof *problems, MOST, &count, &error) < 0) {
        free(problems);
        return report_error(ctl, error);
    }
    if (options->json)
        json_problems(problems, count < MOST ? count : MOST);
    else
        print_problems(problems, count < MOST ? count : MOST);
    free(problems);
    return count == 0 ? STATUS_DONE : STATUS_DIFFERENT;
}

enum status ctl_convert(struct ctl *ctl)
{
    const struct options *options = &ctl->options;
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *copy = NULL;
    int rc = kvm_runtime_convert(ctl->runtime, options->format, &copy, &error);

    if (rc == 0)
        rc = kvm_runtime_save(copy, options->file, &error);
    kvm_runtime_free(copy);
    if (rc < 0)
        return report_error(ctl, error);
    if (options->json) {
        struct json json = json_begin(stdout);

        json_object(&json, NULL);
        json_text(&json, "runtime", options->file);
        json_end(&json);
    } else {
        printf("%s is a copy of %s\n", options->file, options->runtime);
    }
    return STATUS_DONE;
}
