#include "library.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "files.h"
#include "native.h"

enum { WAIT_MS = 10000, MAX_PIECES = 1024, MAX_DEVICES = 64 };

_Thread_local struct kvm_hotplug_error *failure;

static void forget_failure(void)
{
    kvm_hotplug_error_free(failure);
    failure = NULL;
}

int test_answers(const char *file, int line, const char *call, int got, int want)
{
    if (got != want)
        test_fail(file, line, "%s is %d, not %d%s%s", call, got, want, failure == NULL ? "" : ": ",
                  failure == NULL ? "" : kvm_hotplug_error_message(failure));
    if (failure != NULL && got >= 0)
        test_fail(file, line, "%s is %d, but there is an error: %s", call, got, kvm_hotplug_error_message(failure));
    forget_failure();
    test_count_check();
    return got;
}

void test_check_part(const char *file, int line, const char *what, const char *text, const char *part)
{
    if (text == NULL || strstr(text, part) == NULL)
        test_fail(file, line, "%s is \"%s\", without \"%s\"", what, text == NULL ? "(null)" : text, part);
    test_count_check();
}

void test_check_path(const char *file, int line, const struct kvm_runtime *runtime, const struct kvm_hotplug *guest,
                     const char *id, const char *want)
{
    char *path = NULL;

    if (runtime != NULL)
        works(kvm_runtime_get_path(runtime, id, &path, &failure));
    else
        works(kvm_hotplug_get_path(guest, id, &path, &failure));
    if (strcmp(path, want) != 0)
        test_fail(file, line, "the path of %s is %s and not %s", id, path, want);
    kvm_hotplug_text_free(path);
    test_count_check();
}

void test_fails(const char *file, int line, const char *call, int got, int want, int kind, const char *const texts[])
{
    const char *message;

    if (failure == NULL)
        test_fail(file, line, "%s is %d, not %d, and there is no error", call, got, want);
    message = kvm_hotplug_error_message(failure);
    if (got != want || kvm_hotplug_error_errno(failure) != -want || kvm_hotplug_error_kind(failure) != kind)
        test_fail(file, line, "%s is %d (errno %d, kind %d), not %d (kind %d): %s", call, got,
                  kvm_hotplug_error_errno(failure), kvm_hotplug_error_kind(failure), want, kind, message);
    for (; *texts != NULL; texts++)
        test_check_part(file, line, call, message, *texts);
    forget_failure();
    test_count_check();
}

void vm_open(struct vm *vm)
{
    works(kvm_runtime_load(vm->path, &vm->runtime, &failure));
    works(kvm_hotplug_open(vm->runtime, vm->qemu->qmp_path, (uint32_t)test_patience(WAIT_MS), &vm->guest, &failure));
}

void vm_start(struct vm *vm, const struct qemu_options *options)
{
    memset(vm, 0, sizeof *vm);
    vm->qemu = qemu_start(options);
    if (!options->paused && !options->stopped && !options->guest)
        qemu_wait_firmware(vm->qemu, 0);
    snprintf(vm->path, sizeof vm->path, "%s/vm.runtime", vm->qemu->dir);
    works(kvmh_runtime_new(NULL, &vm->runtime, &failure));
    works(kvm_runtime_save(vm->runtime, vm->path, &failure));
    works(kvm_hotplug_open(vm->runtime, vm->qemu->qmp_path, (uint32_t)test_patience(WAIT_MS), &vm->guest, &failure));
}

void vm_close(struct vm *vm)
{
    kvm_hotplug_close(vm->guest);
    kvm_runtime_free(vm->runtime);
    vm->guest = NULL;
    vm->runtime = NULL;
}

void vm_stop(struct vm *vm)
{
    vm_close(vm);
    qemu_stop(vm->qemu);
    vm->qemu = NULL;
}

const char *vm_add_nic(struct vm *vm, const char *id)
{
    static _Thread_local struct kvm_hotplug_device device;
    struct kvm_hotplug_nic nic = {.id = id};

    works(kvmh_add_nic(vm->guest, &nic, &device, &failure));
    return device.id;
}

const char *vm_add_disk(struct vm *vm, const char *id, const char *path)
{
    static _Thread_local struct kvm_hotplug_device device;
    struct kvm_hotplug_disk disk = {.id = id, .path = path};

    works(kvmh_add_disk(vm->guest, &disk, &device, &failure));
    return device.id;
}

struct kvm_hotplug_device vm_device(struct vm *vm, const char *id)
{
    struct kvm_hotplug_device device;
    int state = kvmh_get_device(vm->guest, id, &device, &failure);

    if (state < 0 || state == KVM_HOTPLUG_ANSWER_ABSENT)
        FAIL("%s: %s", id, state < 0 ? kvm_hotplug_error_message(failure) : "no such device");
    CHECK_NUMBER(device.state, state);
    return device;
}

void vm_observe(struct vm *vm, const char *json)
{
    const char *answer = qmp(vm->qemu, json);

    if (!json_contains(answer, "{\"return\":"))
        FAIL("%s: %s", json, answer);
}

static void switch_off_pending(struct vm *vm)
{
    struct kvm_hotplug_device *devices = calloc(MAX_DEVICES, sizeof *devices);
    size_t count = 0, i;

    if (devices == NULL)
        FAIL("out of memory");
    works(kvmh_list(vm->guest, devices, MAX_DEVICES, &count, &failure));
    for (i = 0; i < count && i < MAX_DEVICES; i++)
        /* A SCSI disk is in no port of its own, and leaves without. */
        if (devices[i].state == KVM_HOTPLUG_STATE_PENDING && devices[i].address_type == KVM_HOTPLUG_ADDRESS_PCI)
            native_switch_off(vm->qemu, devices[i].bus);
    free(devices);
}

/* Twice: QEMU 7.2 keeps the last reference to a device until the memory map changes again, which an idle
 * processor under TCG does not bring about, and says that the device is gone only then. */
void vm_reset(struct vm *vm)
{
    int i, runs = 0;

    if (has_native_hotplug(vm->qemu)) {
        monitor_forget_events(vm->qemu->observer);
        switch_off_pending(vm);
        return;
    }
    for (i = 0; i < 2; i++) {
        /* Counted before: who is slow, under valgrind for instance, sees the firmware only when it has
         * run. */
        runs = qemu_firmware_runs(vm->qemu);
        monitor_forget_events(vm->qemu->observer);
        vm_observe(vm, "{\"execute\":\"system_reset\"}");
        CHECK(qmp_wait_event(vm->qemu, "RESET", NULL, test_patience(WAIT_MS)) != NULL);
    }
    if (vm->qemu->stopped)
        qemu_start_and_stop(vm->qemu);
    else if (qmp_contains(vm->qemu, "{\"execute\":\"query-status\"}", "\"running\":true"))
        qemu_wait_firmware(vm->qemu, runs);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* QEMU keeps devices in hash tables, so its answers come in any order: adds the objects of an answer in one
 * order. */
static void add_sorted(char *picture, char *answer)
{
    char *pieces[MAX_PIECES];
    char *rest = answer, *piece;
    int count = 0, i;

    while ((piece = strsep(&rest, "{")) != NULL) {
        if (count == MAX_PIECES)
            FAIL("more than %d objects", MAX_PIECES);
        piece[strcspn(piece, "}")] = '\0';
        pieces[count++] = piece;
    }
    qsort(pieces, (size_t)count, sizeof *pieces, compare_texts);
    for (i = 0; i < count; i++)
        if (*pieces[i] != '\0')
            picture = stpcpy(stpcpy(picture, pieces[i]), "\n");
}

char *vm_picture(struct vm *vm)
{
    static const char *const questions[] = {
        "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}",
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info network\"}}",
        "{\"execute\":\"query-named-block-nodes\"}",
        "{\"execute\":\"query-fdsets\"}",
    };
    char *picture = calloc(1, 1), *answer;
    size_t i, length;

    for (i = 0; i < sizeof questions / sizeof *questions; i++) {
        answer = strdup(qmp(vm->qemu, questions[i]));
        length = picture == NULL || answer == NULL ? 0 : strlen(picture);
        picture = realloc(picture, length + 2 * strlen(answer == NULL ? "" : answer) + 2);
        if (picture == NULL || answer == NULL)
            FAIL("out of memory");
        add_sorted(picture + length, answer);
        free(answer);
    }
    return picture;
}

void vm_check_picture(const char *file, int line, struct vm *vm, const char *before)
{
    char *now = vm_picture(vm);

    test_check_text(file, line, "the picture of the guest", now, before);
    free(now);
}

static void journal_path(const struct vm *vm, char path[TEST_PATH])
{
    snprintf(path, TEST_PATH, "%s.journal", vm->path);
}

bool vm_has_journal(const struct vm *vm)
{
    char path[TEST_PATH];

    journal_path(vm, path);
    return file_exists(path);
}

static bool contains(const char *path, const char *part)
{
    char *content = file_read(path, NULL);
    bool found = content != NULL && json_contains(content, part);

    free(content);
    return found;
}

bool vm_journal_contains(const struct vm *vm, const char *part)
{
    char path[TEST_PATH];

    journal_path(vm, path);
    return contains(path, part);
}

bool vm_record_contains(const struct vm *vm, const char *part)
{
    return contains(vm->path, part);
}

bool vm_records(const struct vm *vm, const char *id)
{
    char member[64];

    snprintf(member, sizeof member, "\"id\":\"%s\"", id);
    return vm_record_contains(vm, member);
}

static int ready_ms(struct vm *vm, int timeout_ms)
{
    struct pollfd fd = {.fd = kvm_hotplug_get_fd(vm->guest, &failure), .events = POLLIN};

    CHECK(fd.fd >= 0);
    return poll(&fd, 1, timeout_ms);
}

bool vm_next_event(struct vm *vm, struct kvm_hotplug_event *event, int timeout_ms)
{
    long long end = now_ms() + timeout_ms;
    int count;

    for (;;) {
        if (kvmh_next_event(vm->guest, event, &failure) == 1) {
            if (event->event_type != KVM_HOTPLUG_EVENT_RESET)
                return true;
            continue;
        }
        if (ready_ms(vm, ms_until(end)) <= 0)
            return false;
        count = kvm_hotplug_process(vm->guest, 0, &failure);
        if (count < 0)
            FAIL("kvm_hotplug_process: %s", kvm_hotplug_error_message(failure));
    }
}

void vm_nothing_to_fetch(struct vm *vm)
{
    struct kvm_hotplug_event event;

    while (kvm_hotplug_process(vm->guest, 0, &failure) > 0) {
        CHECK_NUMBER(kvmh_next_event(vm->guest, &event, &failure), 1);
        if (event.event_type != KVM_HOTPLUG_EVENT_RESET)
            FAIL("event %u of \"%s\" (%s), where none was to come", event.event_type, event.id, event.text);
    }
    CHECK_NUMBER(kvm_hotplug_process(vm->guest, 0, &failure), 0);
    CHECK_NUMBER(kvmh_next_event(vm->guest, &event, &failure), 0);
}

void vm_await(struct vm *vm, int event_type, const char *id)
{
    struct kvm_hotplug_event event;

    if (!vm_next_event(vm, &event, test_patience(WAIT_MS)))
        FAIL("no event, though %d of \"%s\" was to come", event_type, id);
    if ((int)event.event_type != event_type || strcmp(event.id, id) != 0)
        FAIL("event %d of \"%s\" (%s), not %d of \"%s\"", (int)event.event_type, event.id, event.text, event_type, id);
    test_count_check();
}
