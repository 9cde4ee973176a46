/* Others at work on a disk's image in QEMU, over a monitor of their own: an export or a job that keeps it,
 * and a snapshot that has the guest's data from then on. Nothing is called gone that is not, and no data is
 * lost without a word. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/image.h"
#include "support/plug.h"

enum { READY_MS = 20000, MOST = 8 };

static struct vm vm;
static char directory[TEST_PATH], image[TEST_PATH], overlay[TEST_PATH];

static void observe(const char *form, const char *text)
{
    char json[TEST_PATH + 512];

    snprintf(json, sizeof json, form, text);
    vm_observe(&vm, json);
}

static void export_node(const char *node)
{
    char path[TEST_PATH];

    path_in(path, directory, "nbd");
    observe(
        "{\"execute\":\"nbd-server-start\",\"arguments\":{\"addr\":{\"type\":\"unix\",\"data\":{\"path\":\"%s\"}}}}",
        path);
    observe(
        "{\"execute\":\"block-export-add\",\"arguments\":{\"id\":\"backup\",\"type\":\"nbd\",\"node-name\":\"%s\"}}",
        node);
}

static void stop_export(void)
{
    vm_observe(&vm, "{\"execute\":\"block-export-del\",\"arguments\":{\"id\":\"backup\",\"mode\":\"hard\"}}");
    vm_observe(&vm, "{\"execute\":\"nbd-server-stop\"}");
}

/* Listed as on its way out, with who keeps it, and the same answer to everybody who asks again. */
static void check_kept(const char *id, const char *by)
{
    for (int i = 0; i < 3; i++) {
        answers(kvm_hotplug_del_disk(vm.guest, id, 0, &failure), KVM_HOTPLUG_ANSWER_PENDING);
        CHECK_NUMBER(pending_reason(&vm, id), KVM_HOTPLUG_REASON_IN_USE);
        CHECK_PART(vm_device(&vm, id).reason_text, by);
    }
    CHECK(vm_records(&vm, id));
    CHECK(qmp_contains(vm.qemu, "{\"execute\":\"query-named-block-nodes\"}", id));
}

/* Until the guest has let go; what comes of it is the library's to say. */
static void let_go(const char *id)
{
    struct kvm_hotplug_event event = {0};

    vm_reset(&vm);
    while (next_event(&vm, &event, test_patience(READY_MS)))
        if (strcmp(event.id, id) == 0)
            break;
    CHECK_TEXT(event.id, id);
    CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_PENDING);
}

static void an_export(void)
{
    char by[] = "NBD export backup";

    vm_add_disk(&vm, "data", image);
    export_node("data");
    request_unplug(&vm, "data");
    let_go("data");
    check_kept("data", by);
    /* Another agent finds the same. */
    vm_close(&vm);
    vm_open(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_PENDING, "data");
    check_kept("data", by);
    stop_export();
    expect_event(&vm, KVM_HOTPLUG_EVENT_REMOVED, "data", test_patience(READY_MS));
    check_gone(&vm, "data");
}

static void a_job(void)
{
    vm_add_disk(&vm, "data", image);
    vm_observe(
        &vm,
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"null-co\",\"node-name\":\"copy\",\"size\":1048576}}");
    vm_observe(
        &vm,
        "{\"execute\":\"blockdev-mirror\",\"arguments\":{\"job-id\":\"moving\",\"device\":\"data\",\"target\":\"copy\","
        "\"sync\":\"full\"}}");
    CHECK(qmp_wait_event(vm.qemu, "BLOCK_JOB_READY", "moving", test_patience(READY_MS)) != NULL);
    request_unplug(&vm, "data");
    let_go("data");
    check_kept("data", "block job moving (mirror)");
    vm_observe(&vm, "{\"execute\":\"block-job-cancel\",\"arguments\":{\"device\":\"moving\"}}");
    expect_event(&vm, KVM_HOTPLUG_EVENT_REMOVED, "data", test_patience(READY_MS));
    check_gone(&vm, "data");
    vm_observe(&vm, "{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"copy\"}}");
}

static void snapshot(const char *id)
{
    observe(
        "{\"execute\":\"blockdev-snapshot-sync\",\"arguments\":{\"node-name\":\"data\",\"snapshot-node-name\":\"ovl\","
        "\"snapshot-file\":\"%s\"}}",
        overlay);
    (void)id;
}

static const struct kvm_hotplug_difference *backend_difference(void)
{
    static struct kvm_hotplug_difference found[MOST];
    size_t count = 0;

    works(kvmh_verify(vm.guest, 0, found, MOST, &count, &failure));
    for (size_t i = 0; i < count; i++)
        if (found[i].kind == KVM_HOTPLUG_DIFFERENCE_BACKEND)
            return &found[i];
    return NULL;
}

/* Removing, planning, resizing: all of them say where the data is. */
static void check_told(void)
{
    struct kvm_hotplug_del_options removal = {.id = "data"};
    const char *ids[] = {"data"};
    struct kvm_hotplug_del_batch batch = {.ids = ids, .id_count = 1};
    char *text = NULL, *picture = vm_picture(&vm);

    fails(kvm_hotplug_del_disk(vm.guest, "data", 0, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, overlay, "qcow2",
          "ovl", "block-commit", "leave_overlay");
    fails(kvmh_del_many(vm.guest, &batch, NULL, NULL, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, overlay);
    fails(kvmh_plan_del(vm.guest, &removal, NULL, NULL, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, overlay);
    fails(kvm_hotplug_resize_disk(vm.guest, "data", 2 * MEBIBYTE, 0, 0, NULL, &failure), -EBUSY,
          KVM_HOTPLUG_ERROR_CONFLICT, overlay, "block-commit");
    CHECK(backend_difference() != NULL);
    CHECK_PART(backend_difference()->found, overlay);
    works(kvm_hotplug_describe(vm.guest, "data", 0, &text, &failure));
    CHECK_PART(text, "\"overlay\":{");
    CHECK_PART(text, overlay);
    kvm_hotplug_text_free(text);
    CHECK_PICTURE(&vm, picture);
    free(picture);
}

/* The data is merged into the disk's image, which the guest uses again. */
static void merge(void)
{
    vm_observe(&vm, "{\"execute\":\"block-commit\",\"arguments\":{\"job-id\":\"merge\",\"device\":\"ovl\"}}");
    CHECK(qmp_wait_event(vm.qemu, "BLOCK_JOB_READY", "merge", test_patience(READY_MS)) != NULL);
    vm_observe(&vm, "{\"execute\":\"block-job-complete\",\"arguments\":{\"device\":\"merge\"}}");
    CHECK(qmp_wait_event(vm.qemu, "BLOCK_JOB_COMPLETED", "merge", test_patience(READY_MS)) != NULL);
}

static void an_overlay(void)
{
    struct kvm_hotplug_del_options removal = {.id = "data",
                                              .flags = KVM_HOTPLUG_NO_WAIT | KVM_HOTPLUG_DEL_LEAVE_OVERLAY};

    vm_add_disk(&vm, "data", image);
    snapshot("data");
    check_told();
    merge();
    CHECK(backend_difference() == NULL);
    CHECK(!vm_record_contains(&vm, overlay));
    /* Only a filter: what is written goes to the disk's image. */
    vm_observe(
        &vm,
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"null-co\",\"node-name\":\"copy\",\"size\":1048576}}");
    vm_observe(
        &vm,
        "{\"execute\":\"blockdev-mirror\",\"arguments\":{\"job-id\":\"moving\",\"device\":\"data\",\"target\":\"copy\","
        "\"sync\":\"full\",\"filter-node-name\":\"between\"}}");
    CHECK(qmp_wait_event(vm.qemu, "BLOCK_JOB_READY", "moving", test_patience(READY_MS)) != NULL);
    works(kvmh_plan_del(vm.guest, &removal, NULL, NULL, &failure));
    CHECK(!vm_record_contains(&vm, "between"));
    /* And then the copy is the disk. */
    vm_observe(&vm, "{\"execute\":\"block-job-complete\",\"arguments\":{\"device\":\"moving\"}}");
    CHECK(qmp_wait_event(vm.qemu, "BLOCK_JOB_COMPLETED", "moving", test_patience(READY_MS)) != NULL);
    fails(kvm_hotplug_del_disk(vm.guest, "data", 0, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, "null-co", "copy");
    answers(kvmh_del(vm.guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    expect_event(&vm, KVM_HOTPLUG_EVENT_REMOVED, "data", test_patience(READY_MS));
    check_gone(&vm, "data");
}

/* The guest is off, and its record says what must not be started. */
static void after_the_end(void)
{
    struct kvm_boot_options boot = {.spare_ports = 4}, target = {.incoming = KVM_BOOT_INCOMING_DEFER};
    struct kvm_boot *command = NULL;
    struct kvm_runtime_problem problem;
    struct kvm_boot_plan plan;
    struct kvm_runtime *runtime = NULL;
    struct kvm_hotplug_del_options removal = {.id = "data"};
    size_t count = 0;
    char *before, *after;

    unlink(overlay);
    vm_prepare(&vm, &(struct qemu_options){.root_ports = -1});
    vm_boot(&vm, &boot);
    vm_add_disk(&vm, "data", image);
    snapshot("data");
    /* Whoever opens the guest next notices. */
    vm_close(&vm);
    vm_open(&vm);
    CHECK(vm_record_contains(&vm, overlay));
    vm_switch_off(&vm);
    before = file_read(vm.path, NULL);
    works(kvmh_runtime_check(vm.runtime, 0, NULL, 0, &problem, 1, &count, &failure));
    CHECK_NUMBER(count, 1);
    CHECK_NUMBER(problem.kind, KVM_RUNTIME_PROBLEM_IMAGE);
    CHECK_TEXT(problem.id, "data");
    CHECK_PART(problem.text, overlay);
    fails(kvmh_runtime_boot(vm.runtime, &boot, &command, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, "data", overlay,
          "qemu-img rebase");
    fails(kvmh_runtime_plan_boot(vm.runtime, 0, &plan, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, overlay);
    works(kvm_runtime_load_readonly(vm.path, &runtime, &failure));
    fails(kvmh_runtime_boot(runtime, &target, &command, &failure), -EBUSY, KVM_HOTPLUG_ERROR_CONFLICT, overlay);
    kvm_runtime_free(runtime);
    after = file_read(vm.path, NULL);
    CHECK_TEXT(after, before);
    free(before);
    free(after);
    works(kvmh_runtime_del(vm.runtime, &removal, NULL, &failure));
    works(kvmh_runtime_boot(vm.runtime, &boot, &command, &failure));
    kvm_boot_free(command);
    kvm_runtime_free(vm.runtime);
    qemu_stop(vm.qemu);
}

int main(void)
{
    test_begin("qemu-block-users", 120);
    directory_new(directory);
    path_in(image, directory, "data.img");
    path_in(overlay, directory, "overlay.qcow2");
    image_raw(image, MEBIBYTE);
    vm_start(&vm, &(struct qemu_options){.root_ports = 4});
    an_export();
    a_job();
    an_overlay();
    vm_stop(&vm);
    after_the_end();
    return test_end();
}
