/* A removal that waits for a guest without an answer holds up nobody: other threads add, list, change and
 * remove, several adds are under way at once, and each call is answered once. By order of completion alone:
 * what waits is let go by the test. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { LONG_MS = 300000, CALL_MS = 20000, WAIT_MS = 60000, PORTS = 12 };

/* A removal in a thread of its own. */
struct removal {
    pthread_t thread;
    const char *id;
    int want;
    _Atomic uint64_t number;
    atomic_bool over;
};

static struct vm vm;
static _Atomic(struct kvm_hotplug *) logged;
static atomic_int inside, lines;

/* One line at a time, by a thread that cannot call back into its own handle. */
static void log_line(void *unused, int level, const char *message)
{
    struct kvm_hotplug *guest = atomic_load(&logged);

    (void)unused, (void)level, (void)message;
    CHECK_NUMBER(atomic_fetch_add(&inside, 1), 0);
    if (guest != NULL)
        CHECK_NUMBER(kvmh_get_device(guest, "lan", NULL, NULL), -EDEADLK);
    atomic_fetch_sub(&inside, 1);
    atomic_fetch_add(&lines, 1);
}

static void *remove_it(void *argument)
{
    struct removal *removal = argument;
    struct kvm_hotplug_del_options how = {.id = removal->id, .timeout_ms = LONG_MS};
    int rc;

    atomic_store(&removal->number, kvm_hotplug_thread());
    rc = kvmh_del(vm.guest, &how, NULL, &failure);
    if (rc < 0 && rc != removal->want)
        FAIL("%s: %s", removal->id, kvm_hotplug_error_message(failure));
    CHECK_NUMBER(rc, removal->want);
    kvm_hotplug_error_free(failure);
    failure = NULL;
    atomic_store(&removal->over, true);
    return NULL;
}

static void begin(struct removal *removal)
{
    long long end = now_ms() + test_patience(WAIT_MS);

    ok(pthread_create(&removal->thread, NULL, remove_it, removal));
    while (vm_device(&vm, removal->id).state != KVM_HOTPLUG_STATE_PENDING)
        CHECK(now_ms() < end);
}

static void *wait_for_all(void *unused)
{
    struct kvm_hotplug_nic nic = {.id = "third", .timeout_ms = (uint32_t)test_patience(CALL_MS)};
    size_t count;

    (void)unused;
    answers(kvmh_add_nic(vm.guest, &nic, NULL, &failure), KVM_HOTPLUG_ANSWER_DONE);
    works(kvmh_slot_map(vm.guest, (uint32_t)test_patience(CALL_MS), NULL, 0, &count, &failure));
    return NULL;
}

/* All of these come back while the removals wait. */
static void others(void)
{
    uint32_t timeout = (uint32_t)test_patience(CALL_MS);
    struct kvm_hotplug_disk again = {.id = "data", .path = "/dev/zero", .timeout_ms = timeout};
    pthread_t thread;
    size_t count;

    vm_add_nic(&vm, "web");
    CHECK_NUMBER(vm_device(&vm, "web").state, KVM_HOTPLUG_STATE_LIVE);
    works(kvm_hotplug_set_link(vm.guest, "web", 0, timeout, &failure));
    works(kvmh_slot_map(vm.guest, timeout, NULL, 0, &count, &failure));
    works(kvmh_list(vm.guest, NULL, 0, &count, &failure));
    CHECK(kvm_hotplug_process(vm.guest, timeout, &failure) >= 0);
    CHECK(kvmh_add_disk(vm.guest, &again, NULL, NULL) < 0);
    ok(pthread_create(&thread, NULL, wait_for_all, NULL));
    ok(pthread_join(thread, NULL));
}

static void several_adds(void)
{
    static const char *const ids[] = {"first", "second"};
    struct kvm_hotplug_device devices[2];
    struct kvm_hotplug_event event;
    int i, added = 0;

    for (i = 0; i < 2; i++) {
        struct kvm_hotplug_nic nic = {.id = ids[i],
                                      .flags = KVM_HOTPLUG_NO_WAIT,
                                      .timeout_ms = (uint32_t)test_patience(CALL_MS)};

        answers(kvmh_add_nic(vm.guest, &nic, &devices[i], &failure), KVM_HOTPLUG_ANSWER_PENDING);
    }
    CHECK(devices[0].generation != devices[1].generation);
    CHECK(strcmp(devices[0].bus, devices[1].bus) != 0 || devices[0].slot != devices[1].slot);
    while (added < 2) {
        CHECK(vm_next_event(&vm, &event, test_patience(WAIT_MS)));
        CHECK_NUMBER(event.event_type, KVM_HOTPLUG_EVENT_ADDED);
        added++;
    }
    for (i = 0; i < 2; i++)
        CHECK_NUMBER(vm_device(&vm, ids[i]).state, KVM_HOTPLUG_STATE_LIVE);
}

int main(void)
{
    const struct qemu_options options = {.root_ports = PORTS};
    struct removal data = {.id = "data", .want = KVM_HOTPLUG_ANSWER_DONE}, same = data;
    struct removal lan = {.id = "lan", .want = KVM_HOTPLUG_ANSWER_DONE}, more = {.id = "more", .want = -ECANCELED};
    struct kvm_hotplug_event event;
    char image[TEST_PATH];

    test_begin("qemu-waiting", 300);
    net_private();
    vm_start(&vm, &options);
    vm_add_nic(&vm, "lan");
    path_in(image, vm.qemu->dir, "data.img");
    image_raw(image, 1 << 20);
    vm_add_disk(&vm, "data", image);
    path_in(image, vm.qemu->dir, "more.img");
    image_raw(image, 1 << 20);
    vm_add_disk(&vm, "more", image);
    /* A handle logs to what its record says when it is opened. */
    kvm_hotplug_close(vm.guest);
    works(kvm_runtime_set_log(vm.runtime, KVM_HOTPLUG_LOG_DEBUG, log_line, NULL, NULL, &failure));
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, (uint32_t)test_patience(WAIT_MS), &vm.guest, &failure));
    atomic_store(&logged, vm.guest);

    begin(&data);
    begin(&same);
    begin(&lan);
    begin(&more);
    others();
    several_adds();
    answers(kvm_hotplug_cancel_thread(vm.guest, kvm_hotplug_thread(), &failure), 0);
    answers(kvm_hotplug_cancel_thread(vm.guest, atomic_load(&more.number), &failure), 1);
    ok(pthread_join(more.thread, NULL));
    CHECK_NUMBER(vm_device(&vm, "more").state, KVM_HOTPLUG_STATE_PENDING);
    CHECK(!atomic_load(&data.over) && !atomic_load(&same.over) && !atomic_load(&lan.over));

    vm_reset(&vm);
    ok(pthread_join(data.thread, NULL));
    ok(pthread_join(same.thread, NULL));
    ok(pthread_join(lan.thread, NULL));
    /* The only one whose end no call has answered. */
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "more");
    CHECK(!vm_next_event(&vm, &event, 100));
    CHECK(!vm_has_journal(&vm));
    CHECK(atomic_load(&lines) > 0);
    answers(kvm_hotplug_cancel(vm.guest, &failure), 0);
    atomic_store(&logged, NULL);
    vm_stop(&vm);
    return test_end();
}
