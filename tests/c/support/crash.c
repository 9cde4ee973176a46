#include "crash.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "native.h"
#include "net.h"

enum { OPEN_MS = 10000, SETTLE_MS = 10000, MAX_LISTED = 64, QUEUES = 3, WAIT_MS = 2, AGAIN_MS = 40 };

const char *const crash_ids[CRASH_DEVICES] = {"nic0", "nic1", "nic2", "disk0", "disk1", "disk2", "disk3", "scsi-pci-"};

static bool is_nic(enum crash_device which)
{
    return which < CRASH_RAW;
}

static bool is_disk(enum crash_device which)
{
    return which >= CRASH_RAW && which <= CRASH_SCSI;
}

/* Up to its end, or as much as is known of it. */
static size_t id_length(int which)
{
    return strlen(crash_ids[which]) + (which != CRASH_CONTROLLER);
}

enum crash_device crash_find(const char *id)
{
    int which = 0;

    while (which < CRASH_DEVICES && strncmp(id, crash_ids[which], id_length(which)) != 0)
        which++;
    return which;
}

int crash_monitors = 1;
bool crash_halts;
int crash_ports = CRASH_DEVICES;

int scene_open(struct scene *scene)
{
    struct vm *vm = &scene->vm;
    const char *monitor = crash_monitors > 1 && getpid() == scene->owner ? scene->second : vm->qemu->qmp_path;
    int rc = kvm_runtime_load(vm->path, &vm->runtime, &failure);

    return rc != 0 ? rc
                   : kvm_hotplug_open(vm->runtime, monitor, (uint32_t)test_patience(OPEN_MS), &vm->guest, &failure);
}

void scene_reopen(struct scene *scene)
{
    int rc = scene_open(scene), status = 0;

    if (rc != 0) {
        bool runs = waitpid(scene->vm.qemu->pid, &status, WNOHANG) == 0;
        FAIL("open answers %d: %s; QEMU %s (status 0x%x)", rc, kvm_hotplug_error_message(failure),
             runs ? "runs" : "has ended", (unsigned)status);
    }
    test_count_check();
}

static uint32_t waiting_of(const struct scene *scene)
{
    return scene->no_wait ? KVM_HOTPLUG_NO_WAIT : 0;
}

static struct kvm_hotplug_nic nic_of(const struct scene *scene, enum crash_device which)
{
    return (struct kvm_hotplug_nic){.id = crash_ids[which],
                                    .bridge = scene->bridge,
                                    .flags = waiting_of(scene),
                                    .queues = which == CRASH_WIDE_NIC ? QUEUES : 1};
}

static struct kvm_hotplug_disk disk_of(const struct scene *scene, enum crash_device which)
{
    return (struct kvm_hotplug_disk){.id = crash_ids[which],
                                     .path = scene->images[which],
                                     .flags = (which == CRASH_READ_ONLY ? KVM_HOTPLUG_DISK_READ_ONLY : 0) |
                                              waiting_of(scene),
                                     .format = which == CRASH_CHAIN ? KVM_HOTPLUG_FORMAT_QCOW2 : KVM_HOTPLUG_FORMAT_RAW,
                                     .model = which == CRASH_SCSI ? "scsi-hd" : NULL};
}

int scene_add(struct scene *scene, enum crash_device which)
{
    if (which == CRASH_CONTROLLER)
        return scene_add(scene, CRASH_SCSI);
    if (is_nic(which)) {
        struct kvm_hotplug_nic nic = nic_of(scene, which);
        return kvmh_add_nic(scene->vm.guest, &nic, NULL, &failure);
    }
    struct kvm_hotplug_disk disk = disk_of(scene, which);
    return kvmh_add_disk(scene->vm.guest, &disk, NULL, &failure);
}

int scene_add_many(struct scene *scene, unsigned set, enum crash_flaw flaw, int timeout_ms)
{
    struct kvm_hotplug_nic nics[CRASH_DEVICES];
    struct kvm_hotplug_disk disks[CRASH_DEVICES + 1];
    struct kvm_hotplug_add_batch batch = {.nics = nics,
                                          .nic_size = sizeof nics[0],
                                          .disks = disks,
                                          .disk_size = sizeof disks[0],
                                          .timeout_ms = (uint32_t)timeout_ms};

    if (flaw == CRASH_SAME_IMAGE)
        set |= CRASH_ONLY(CRASH_RAW);
    for (int which = 0; which < CRASH_CONTROLLER; which++) {
        if ((set & CRASH_ONLY(which)) == 0)
            continue;
        if (is_nic(which))
            nics[batch.nic_count++] = nic_of(scene, which);
        else
            disks[batch.disk_count++] = disk_of(scene, which);
    }
    if (flaw == CRASH_SAME_IMAGE) {
        disks[batch.disk_count] = disk_of(scene, CRASH_RAW);
        disks[batch.disk_count++].id = "again";
    }
    for (size_t i = 0; flaw == CRASH_SAME_PLACE && i < batch.disk_count; i++)
        disks[i].flags |= KVM_HOTPLUG_BOOT_INDEX;
    return kvmh_add_many(scene->vm.guest, &batch, NULL, &failure);
}

int scene_ask_many(struct scene *scene, unsigned set)
{
    const char *ids[CRASH_DEVICES];
    struct kvm_hotplug_del_batch batch = {.ids = ids, .flags = KVM_HOTPLUG_NO_WAIT};

    for (int which = 0; which < CRASH_CONTROLLER; which++)
        if (set & CRASH_ONLY(which))
            ids[batch.id_count++] = crash_ids[which];
    return kvmh_del_many(scene->vm.guest, &batch, NULL, NULL, &failure);
}

int scene_apply(struct scene *scene, unsigned set)
{
    enum { LIST_SIZE = CRASH_DEVICES * (TEST_PATH + 256) };
    char *wanted = calloc(1, LIST_SIZE);
    size_t length = 0;
    int rc;

    CHECK(wanted != NULL);
    for (int which = 0; which < CRASH_CONTROLLER; which++) {
        const char *comma = length == 0 ? "[" : ",";
        if ((set & CRASH_ONLY(which)) == 0)
            continue;
        if (is_nic(which))
            length += (size_t)snprintf(wanted + length, LIST_SIZE - length,
                                       "%s{\"type\":\"nic\",\"id\":\"%s\",\"bridge\":\"%s\",\"queues\":%d}", comma,
                                       crash_ids[which], scene->bridge, which == CRASH_WIDE_NIC ? QUEUES : 1);
        else
            length += (size_t)
                snprintf(wanted + length, LIST_SIZE - length,
                         "%s{\"type\":\"disk\",\"id\":\"%s\",\"path\":\"%s\",\"format\":\"%s\",\"read_only\":%s}",
                         comma, crash_ids[which], scene->images[which], which == CRASH_CHAIN ? "qcow2" : "raw",
                         which == CRASH_READ_ONLY ? "true" : "false");
    }
    snprintf(wanted + length, LIST_SIZE - length, length == 0 ? "[]" : "]");
    rc = kvm_hotplug_apply(scene->vm.guest, wanted, 0, KVM_HOTPLUG_NO_WAIT, NULL, &failure);
    free(wanted);
    return rc;
}

static struct kvm_hotplug_device *list(struct scene *scene, size_t *count)
{
    struct kvm_hotplug_device *devices = calloc(MAX_LISTED, sizeof *devices);

    CHECK(devices != NULL);
    ok(kvmh_list(scene->vm.guest, devices, MAX_LISTED, count, NULL));
    CHECK(*count <= MAX_LISTED);
    return devices;
}

int scene_ask(struct scene *scene, enum crash_device which)
{
    struct kvm_hotplug_del_options removal = {.id = crash_ids[which], .flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_device *devices;
    size_t count, i;
    int rc;

    if (which != CRASH_CONTROLLER)
        return kvmh_del(scene->vm.guest, &removal, NULL, &failure);
    devices = list(scene, &count);
    for (i = 0; i < count && crash_find(devices[i].id) != CRASH_CONTROLLER; i++)
        ;
    removal.id = i < count ? devices[i].id : "no-controller";
    rc = kvmh_del(scene->vm.guest, &removal, NULL, &failure);
    free(devices);
    return rc;
}

static void make_images(struct scene *scene)
{
    char base[TEST_PATH], middle[TEST_PATH];
    const char *dir = scene->vm.qemu->dir;

    for (int i = CRASH_RAW; i <= CRASH_SCSI; i++)
        path_in(scene->images[i], dir, crash_ids[i]);
    path_in(base, dir, "base");
    path_in(middle, dir, "middle");
    image_raw(base, MEBIBYTE);
    image_qcow2(middle, "1M", base, "raw");
    image_qcow2(scene->images[CRASH_CHAIN], "1M", middle, "qcow2");
    image_raw(scene->images[CRASH_RAW], MEBIBYTE);
    image_raw(scene->images[CRASH_READ_ONLY], MEBIBYTE);
    image_raw(scene->images[CRASH_SCSI], MEBIBYTE);
}

static int list_states(struct scene *scene, struct states *states)
{
    size_t count, i;
    struct kvm_hotplug_device *devices = list(scene, &count);
    int pending = 0, which;

    for (which = 0; which < CRASH_DEVICES; which++) {
        states->of[which] = KVM_HOTPLUG_ANSWER_ABSENT;
        states->number[which] = 0;
    }
    for (i = 0; i < count; i++) {
        which = crash_find(devices[i].id);
        if (which == CRASH_DEVICES)
            FAIL("a device that nobody added: %s", devices[i].id);
        if (states->of[which] != KVM_HOTPLUG_ANSWER_PENDING)
            states->of[which] = devices[i].state;
        CHECK(++states->number[which] == 1 || which == CRASH_CONTROLLER);
        pending += devices[i].state == KVM_HOTPLUG_STATE_PENDING;
    }
    free(devices);
    return pending;
}

/* As a guest without a system does: when it resets; or by switching the slots off, where a reset takes
 * nothing out. */
void scene_let_go(struct scene *scene)
{
    struct kvm_hotplug_device *devices;
    size_t count, i;

    if (!has_native_hotplug(scene->vm.qemu)) {
        vm_observe(&scene->vm, "{\"execute\":\"system_reset\"}");
        return;
    }
    devices = list(scene, &count);
    for (i = 0; i < count; i++)
        if (devices[i].state == KVM_HOTPLUG_STATE_PENDING && devices[i].address_type == KVM_HOTPLUG_ADDRESS_PCI)
            native_switch_off(scene->vm.qemu, devices[i].bus);
    free(devices);
}

static void process(struct scene *scene)
{
    if (kvm_hotplug_process(scene->vm.guest, 0, &failure) < 0)
        FAIL("process: %s", kvm_hotplug_error_message(failure));
}

void scene_grant(struct scene *scene)
{
    long long end = now_ms() + test_patience(SETTLE_MS), again = 0;
    struct states states;

    while (list_states(scene, &states) > 0) {
        if (now_ms() >= end)
            FAIL("the guest does not let go");
        if (now_ms() >= again) {
            scene_let_go(scene);
            again = now_ms() + test_patience(AGAIN_MS);
        }
        process(scene);
        sleep_ms(WAIT_MS);
    }
}

static void check_no_difference(struct scene *scene)
{
    struct kvm_hotplug_difference differences[8];
    size_t count = 0;

    works(kvmh_verify(scene->vm.guest, 0, differences, 8, &count, &failure));
    if (count > 0)
        FAIL("%zu differences, the first: %s", count, differences[0].text);
}

/* What there has to be. */
static void expect(struct scene *scene, const struct states *states, struct resources *want)
{
    *want = scene->without;
    for (int i = 0; i < CRASH_DEVICES; i++)
        resources_add(want, &scene->cost[i], states->number[i]);
    resources_count(want, 1, "file vm.runtime.lock");
}

static bool has_pending_disk(const struct states *states)
{
    for (int i = 0; i < CRASH_DEVICES; i++)
        if (is_disk(i) && states->of[i] == KVM_HOTPLUG_ANSWER_PENDING)
            return true;
    return false;
}

/* All that is known where they do not agree: which side is wrong, only the whole of it tells. */
static _Noreturn void disagree(struct scene *scene, const struct states *states, const struct resources *got,
                               const struct resources *want, const char *difference)
{
    static const char *const questions[] = {
        "{\"execute\":\"query-fdsets\"}",
        "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}",
        "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}",
        "{\"execute\":\"query-block\"}",
    };

    for (int i = 0; i < CRASH_DEVICES; i++)
        if (states->number[i] > 0)
            fprintf(stderr, "%s: state %d, %d of them\n", crash_ids[i], states->of[i], states->number[i]);
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        fprintf(stderr, "%s\n  %s\n", questions[i], qmp(scene->vm.qemu, questions[i]));
    resources_print("what there is", got);
    resources_print("what there has to be", want);
    resources_print_descriptors(&scene->vm);
    FAIL("record, guest and host do not agree: %s", difference);
}

/* A tap goes when QEMU has closed it, which the kernel takes some milliseconds for; and the firmware takes
 * devices out that it is asked for while it runs. */
void scene_compare(struct scene *scene, struct states *states)
{
    long long end = now_ms() + test_patience(SETTLE_MS);
    const char *difference;
    struct resources got, want;

    check_no_difference(scene);
    for (;;) {
        int pending = list_states(scene, states);
        expect(scene, states, &want);
        resources_count(&want, pending > 0, "file vm.runtime.journal");
        resources_take(&got, &scene->vm, scene->bridge);
        difference = resources_difference(&got, &want, has_pending_disk(states));
        if (difference == NULL)
            break;
        if (now_ms() >= end)
            disagree(scene, states, &got, &want, difference);
        sleep_ms(WAIT_MS);
        process(scene);
    }
    test_count_check();
}

/* A controller's id goes on with its slot. */
static bool is_recorded(struct scene *scene, int which)
{
    if (which == CRASH_CONTROLLER)
        return vm_record_contains(&scene->vm, "\"id\":\"scsi-pci-");
    return vm_records(&scene->vm, crash_ids[which]);
}

void scene_compare_files(struct scene *scene, const struct states *states)
{
    bool pending = false;

    for (int i = 0; i < CRASH_DEVICES; i++) {
        pending = pending || states->of[i] == KVM_HOTPLUG_ANSWER_PENDING;
        CHECK(is_recorded(scene, i) == (states->of[i] != KVM_HOTPLUG_ANSWER_ABSENT) ||
              states->of[i] == KVM_HOTPLUG_ANSWER_PENDING);
    }
    CHECK_NUMBER(vm_has_journal(&scene->vm), pending);
}

/* What there is beyond `before`. */
static void measure(struct scene *scene, const struct resources *before, struct resources *cost)
{
    resources_take(cost, &scene->vm, scene->bridge);
    resources_add(cost, before, -1);
    resources_count(cost, -1, "file vm.runtime.lock");
}

static void take_out(struct scene *scene, enum crash_device which)
{
    int answer = scene_ask(scene, which);

    CHECK(answer == KVM_HOTPLUG_ANSWER_PENDING || (which == CRASH_SCSI && answer == KVM_HOTPLUG_ANSWER_DONE));
    scene_grant(scene);
}

/* A controller comes with its disk, and stays when that goes. */
static void measure_all(struct scene *scene)
{
    struct states states;
    int which;

    for (which = 0; which < CRASH_SCSI; which++) {
        works(scene_add(scene, which));
        measure(scene, &scene->without, &scene->cost[which]);
        take_out(scene, which);
        scene_compare(scene, &states);
    }
    works(scene_add(scene, CRASH_SCSI));
    measure(scene, &scene->without, &scene->cost[CRASH_SCSI]);
    take_out(scene, CRASH_SCSI);
    measure(scene, &scene->without, &scene->cost[CRASH_CONTROLLER]);
    resources_add(&scene->cost[CRASH_SCSI], &scene->cost[CRASH_CONTROLLER], -1);
    take_out(scene, CRASH_CONTROLLER);
    scene_compare(scene, &states);
}

/* QEMU 5.2 may end when a client of it dies at the wrong moment; the tests are about what comes after. The
 * caller may have something else for it to be run with. */
static void start(struct scene *scene, const struct qemu_options *options)
{
    const char *given = getenv("LD_PRELOAD");
    char before[PATH_MAX] = "", all[2 * PATH_MAX];
    unsigned major, minor;

    snprintf(before, sizeof before, "%s", given != NULL ? given : "");
    snprintf(all, sizeof all, "%s %s", DEAD_CLIENT, before);
    qemu_version(NULL, &major, &minor);
    if (major < 6)
        ok(setenv("LD_PRELOAD", all, 1));
    vm_start(&scene->vm, options);
    ok(*before != '\0' ? setenv("LD_PRELOAD", before, 1) : unsetenv("LD_PRELOAD"));
}

void scene_start(struct scene *scene)
{
    char folder[TEST_PATH], argument[TEST_PATH + 32];
    const char *second[] = {"-qmp", argument, NULL};
    struct qemu_options options = {.root_ports = crash_ports, .halts = crash_halts};

    net_private();
    bridge_new(scene->bridge);
    if (crash_monitors > 1) {
        directory_new(folder);
        path_in(scene->second, folder, "second");
        snprintf(argument, sizeof argument, "unix:%s,server=on,wait=off", scene->second);
        options.extra = second;
    }
    scene->owner = getpid();
    start(scene, &options);
    make_images(scene);
    resources_take(&scene->without, &scene->vm, scene->bridge);
    resources_count(&scene->without, -1, "file vm.runtime.lock");
    measure_all(scene);
    vm_close(&scene->vm);
}
