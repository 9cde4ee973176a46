/* A guest that cannot or does not let go is told from one that has: the answer is PENDING with the reason,
 * the journal knows, and the backend is not touched until QEMU says that it is gone. */
#include <stdlib.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"

static struct vm vm;

/* Every answer to the question, wherever it is asked, is the same. */
static void check_state(const char *id, uint32_t reason, const char *text)
{
    struct kvm_hotplug_device device = vm_device(&vm, id);

    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_PENDING);
    CHECK_NUMBER(device.reason, reason);
    CHECK_PART(device.reason_text, text);
}

static void unplug(const char *id, uint32_t timeout_ms, uint32_t flags, uint32_t reason, const char *text)
{
    struct kvm_hotplug_del_options removal = {.id = id,
                                              .timeout_ms = (uint32_t)test_patience((int)timeout_ms),
                                              .flags = flags};
    struct kvm_hotplug_device device;
    char *before = vm_picture(&vm);

    answers(kvmh_del(vm.guest, &removal, &device, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_TEXT(device.id, id);
    CHECK_NUMBER(device.state, KVM_HOTPLUG_STATE_PENDING);
    CHECK_NUMBER(device.reason, reason);
    CHECK_PART(device.reason_text, text);
    check_state(id, reason, text);
    CHECK(vm_journal_contains(&vm, "\"verb\":\"remove\""));
    CHECK(vm_record_contains(&vm, id));
    CHECK_PICTURE(&vm, before);
    free(before);
}

static void goes(const char *id)
{
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, id);
    CHECK(!vm_has_journal(&vm));
    CHECK(!vm_records(&vm, id));
}

/* What is asked for before the start could never be asked for again: it is kept, and asked for afterwards. */
static void is_asked_at_last(const char *id)
{
    long long end = now_ms() + test_patience(5000);

    while (vm_device(&vm, id).reason == KVM_HOTPLUG_REASON_NOT_STARTED) {
        CHECK(now_ms() < end);
        works(kvm_hotplug_process(vm.guest, 0, &failure));
    }
}

static void not_running(void)
{
    long long start = now_ms();
    char *empty;

    vm_start(&vm, &(struct qemu_options){.paused = true});
    empty = vm_picture(&vm);
    vm_add_nic(&vm, "lan");
    unplug("lan", 0, 0, KVM_HOTPLUG_REASON_NOT_STARTED, "the guest has not been started");
    unplug("lan", 0, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_REASON_NOT_STARTED, "the guest has not been started");
    qemu_start_and_stop(vm.qemu);
    is_asked_at_last("lan");
    goes("lan");
    qemu_start_and_stop(vm.qemu);
    vm_add_nic(&vm, "lan");
    unplug("lan", 0, 0, KVM_HOTPLUG_REASON_PAUSED, "the guest is paused");
    goes("lan");
    /* Nobody waited for a guest that cannot answer. */
    CHECK(now_ms() - start < test_patience(10000));
    CHECK_PICTURE(&vm, empty);
    free(empty);
    vm_stop(&vm);
}

/* The firmware has set up what it found, and left; what comes later is never set up. */
static void not_booted(void)
{
    char directory[TEST_PATH], image[TEST_PATH], *empty;
    long long start;

    directory_new(directory);
    path_in(image, directory, "data.img");
    image_raw(image, 1 << 20);
    vm_start(&vm, &(struct qemu_options){0});
    empty = vm_picture(&vm);
    vm_add_disk(&vm, "data", image);
    unplug("data", 0, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_REASON_NOT_AWAITED, "not waited for");
    start = now_ms();
    unplug("data", 2000, 0, KVM_HOTPLUG_REASON_NOT_BOOTED, "never set the device up");
    CHECK(now_ms() - start >= 1600 && now_ms() - start < test_patience(5000));
    goes("data");
    CHECK_PICTURE(&vm, empty);
    free(empty);
    vm_stop(&vm);
}

int main(void)
{
    test_begin("qemu-pending", 60);
    not_running();
    not_booted();
    return test_end();
}
