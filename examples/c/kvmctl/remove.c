/* del: asks the guest to let devices go, all at once, and shows that they are waited for together. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvmctl.h"
#include "events.h"
#include "interrupt.h"
#include "report.h"

enum { TICK_MS = 100, REASON_MS = 200 };

/* Beside the library's answers: nobody could be asked. */
enum { NOT_ASKED = INT_MIN };

/* One device on its way out. */
struct leaving {
    const char *id;
    int answer; /* the library's */
    bool refused; /* by the guest, while it was waited for */
    struct kvm_hotplug_error *error; /* the library tells that of the first that has one, of the others the number */
    struct kvm_hotplug_device device;
};

/* What went wrong with one, in words. */
struct reason {
    char text[512];
};

struct removal {
    struct leaving *all;
    size_t count;
};

static bool is_awaited(const struct leaving *one)
{
    /* A guest that is paused, say, lets go of nothing: no use in waiting. */
    return one->answer == KVM_HOTPLUG_ANSWER_PENDING && !one->refused && one->device.reason == KVM_HOTPLUG_REASON_NOT_AWAITED;
}

/* Asks for these, and takes down what was answered. False if nobody could be asked, which has been reported then. */
static bool ask(struct ctl *ctl, struct leaving *const *asked, size_t count, uint32_t flags, uint32_t timeout_ms)
{
    struct kvm_hotplug_device *devices = calloc(count, sizeof *devices);
    const char **ids = calloc(count, sizeof *ids);
    int *answers = calloc(count, sizeof *answers);
    struct kvm_hotplug_del_batch batch = {.ids = ids, .id_count = count, .flags = flags, .timeout_ms = timeout_ms};
    struct kvm_hotplug_error *error = NULL;
    bool heard = devices != NULL && ids != NULL && answers != NULL;
    size_t i;

    for (i = 0; heard && i < count; i++) {
        ids[i] = asked[i]->id;
        answers[i] = NOT_ASKED;
    }
    if (heard) {
        kvm_hotplug_del_many(ctl->guest, &batch, sizeof batch, devices, sizeof *devices, answers, &error);
        heard = answers[0] != NOT_ASKED;
        if (!heard)
            report_error(ctl, error);
    } else {
        report_no_memory(ctl);
    }
    for (i = 0; heard && i < count; i++) {
        if (answers[i] < 0) {
            asked[i]->error = error;
            error = NULL;
        }
        asked[i]->answer = answers[i];
        asked[i]->device = devices[i];
    }
    free(answers);
    free(ids);
    free(devices);
    return heard;
}

/* The guest has let go, and somebody else in QEMU has not: no use in waiting either. */
static void keep(struct leaving *one, const char *why)
{
    one->device.reason = KVM_HOTPLUG_REASON_IN_USE;
    snprintf(one->device.reason_text, sizeof one->device.reason_text, "%s", why);
}

/* The generation tells this attachment from an earlier or later one of the same id. News about other devices is told, not
 * swallowed. */
static void take_news(const struct ctl *ctl, struct removal *removal, const struct kvm_hotplug_event *event)
{
    size_t i;

    for (i = 0; i < removal->count; i++) {
        struct leaving *one = &removal->all[i];

        if (strcmp(event->id, one->id) != 0 || event->generation != one->device.generation || !is_awaited(one))
            continue;
        if (event->event_type == KVM_HOTPLUG_EVENT_REMOVED || event->event_type == KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST)
            one->answer = KVM_HOTPLUG_ANSWER_DONE;
        else if (event->event_type == KVM_HOTPLUG_EVENT_REFUSED)
            one->refused = true;
        else if (event->event_type == KVM_HOTPLUG_EVENT_PENDING)
            keep(one, event->text);
        return;
    }
    report_event(ctl, stderr, event);
}

static size_t collect_awaited(struct removal *removal, struct leaving **awaited)
{
    size_t count = 0, i;

    for (i = 0; i < removal->count; i++)
        if (is_awaited(&removal->all[i]))
            awaited[count++] = &removal->all[i];
    return count;
}

static enum status await_all(struct ctl *ctl, struct removal *removal, struct leaving **awaited)
{
    uint32_t patience = ctl->options.timeout_ms;
    long long end = now_ms() + (patience != 0 ? patience : KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS);
    struct kvm_hotplug_event event;
    enum status status = STATUS_DONE;
    struct progress progress;

    progress_begin(&progress, &ctl->terminal, "waiting for the guest to let go");
    interrupt_hold();
    while (status == STATUS_DONE && interrupt_came() == 0 && collect_awaited(removal, awaited) > 0) {
        long long left = end - now_ms();
        int got = 0;

        progress_tick(&progress);
        status = await_news(ctl, left < TICK_MS ? left : TICK_MS);
        while (status == STATUS_DONE && (got = take_event(ctl, &event)) > 0)
            take_news(ctl, removal, &event);
        if (got < 0)
            status = STATUS_FAILED;
        if (left <= 0)
            break;
    }
    interrupt_release();
    progress_end(&progress);
    return status;
}

/* Those that are late are asked for once more, and waited for a moment: the library then looks into what keeps the guest. */
static enum status wait_for_guest(struct ctl *ctl, struct removal *removal)
{
    struct leaving **awaited = calloc(removal->count, sizeof *awaited);
    enum status status;
    size_t late;

    if (awaited == NULL)
        return report_no_memory(ctl);
    status = await_all(ctl, removal, awaited);
    late = collect_awaited(removal, awaited);
    if (status == STATUS_DONE && late > 0 && !ask(ctl, awaited, late, 0, REASON_MS))
        status = STATUS_FAILED;
    free(awaited);
    return status;
}

static enum status status_of(const struct leaving *one)
{
    if (one->answer < 0 || one->refused)
        return STATUS_FAILED;
    if (one->answer == KVM_HOTPLUG_ANSWER_PENDING)
        return STATUS_PENDING;
    return one->answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT ? STATUS_AFTER_REBOOT : STATUS_DONE;
}

static struct reason failure_of(const struct leaving *one)
{
    struct reason reason;

    if (one->error != NULL)
        snprintf(reason.text, sizeof reason.text, "%s", kvm_hotplug_error_message(one->error));
    else
        snprintf(reason.text, sizeof reason.text, "%s: %s", one->id, strerror(-one->answer));
    return reason;
}

static void json_one(const struct ctl *ctl, struct json *json, const struct leaving *one)
{
    bool told = one->answer == KVM_HOTPLUG_ANSWER_PENDING || one->answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT ||
                (ctl->options.cold && one->answer == KVM_HOTPLUG_ANSWER_DONE);

    if (one->answer >= 0 && !one->refused) {
        json_answer(json, one->answer, one->id, told ? &one->device : NULL);
        return;
    }
    json_object(json, NULL);
    json_text(json, "answer", one->refused ? "refused" : "failed");
    json_text(json, "id", one->id);
    if (!one->refused) {
        json_number(json, "errno", -one->answer);
        json_text(json, "message", failure_of(one).text);
    }
    json_end(json);
}

static void say_one(const struct ctl *ctl, const struct leaving *one)
{
    const char *id = one->id;

    if (one->refused)
        fprintf(stderr, "kvmctl: the guest refused to let %s go; it stays\n", id);
    else if (one->answer < 0)
        fprintf(stderr, "kvmctl: %s\n", failure_of(one).text);
    else if (one->answer == KVM_HOTPLUG_ANSWER_PENDING)
        printf("%s is not gone yet: %s. Its backend stays; a later command finishes the removal.\n", id,
               one->device.reason_text);
    else if (one->answer == KVM_HOTPLUG_ANSWER_AFTER_REBOOT)
        printf("%s goes with the next boot: %s\n", id, one->device.reason_text);
    else if (one->answer == KVM_HOTPLUG_ANSWER_ABSENT)
        printf("%s is not there\n", id);
    else if (ctl->options.cold)
        printf(one->device.removed_after_reboot ? "%s goes with the next boot\n" : "%s is out of the record\n", id);
    else
        printf("%s is gone\n", id);
}

/* The worst of them is the exit status. */
static enum status report_all(const struct ctl *ctl, const struct removal *removal)
{
    struct json json = json_begin(stdout);
    struct kvm_hotplug_error *error = removal->all[0].error;
    enum status worst = STATUS_DONE;
    size_t i;

    if (removal->count == 1 && error != NULL) {
        removal->all[0].error = NULL;
        return report_error(ctl, error);
    }
    if (ctl->options.json && removal->count > 1)
        json_array(&json, NULL);
    for (i = 0; i < removal->count; i++) {
        const struct leaving *one = &removal->all[i];
        enum status status = status_of(one);

        if (ctl->options.json)
            json_one(ctl, &json, one);
        else
            say_one(ctl, one);
        if (worst != STATUS_FAILED && (status == STATUS_FAILED || status > worst))
            worst = status;
    }
    if (ctl->options.json && removal->count > 1)
        json_end(&json);
    return worst;
}

static enum status remove_from_guest(struct ctl *ctl, struct removal *removal)
{
    uint32_t flags = KVM_HOTPLUG_NO_WAIT | removal_flags(&ctl->options);
    struct leaving **asked = calloc(removal->count, sizeof *asked);
    enum status status = STATUS_DONE;
    bool heard;
    size_t i;

    if (asked == NULL)
        return report_no_memory(ctl);
    for (i = 0; i < removal->count; i++)
        asked[i] = &removal->all[i];
    heard = ask(ctl, asked, removal->count, flags, ctl->options.timeout_ms);
    free(asked);
    if (heard && !ctl->options.no_wait)
        status = wait_for_guest(ctl, removal);
    if (!heard || status != STATUS_DONE)
        return STATUS_FAILED;
    return report_all(ctl, removal);
}

/* One that cannot be removed keeps none of the others. */
static enum status remove_from_record(struct ctl *ctl, struct removal *removal)
{
    size_t i;

    for (i = 0; i < removal->count; i++) {
        struct leaving *one = &removal->all[i];
        struct kvm_hotplug_del_options request = {.id = one->id};

        one->answer =
            kvm_runtime_del(ctl->runtime, &request, sizeof request, &one->device, sizeof one->device, &one->error);
    }
    return report_all(ctl, removal);
}

enum status ctl_del(struct ctl *ctl)
{
    struct removal removal = {.count = ctl->options.device_count};
    enum status status;
    size_t i;

    removal.all = calloc(removal.count, sizeof *removal.all);
    if (removal.all == NULL)
        return report_no_memory(ctl);
    for (i = 0; i < removal.count; i++)
        removal.all[i].id = ctl->options.devices[i];
    status = ctl->options.cold ? remove_from_record(ctl, &removal) : remove_from_guest(ctl, &removal);
    for (i = 0; i < removal.count; i++)
        kvm_hotplug_error_free(removal.all[i].error);
    free(removal.all);
    return status;
}
