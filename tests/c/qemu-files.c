/* What is on disk at each point: the intent before the first command, the record after the last, nothing
 * between them is lost whenever the agent dies. QEMU is stopped (SIGSTOP) to look in the middle of a call. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"
#include "support/plug.h"

enum { STALL_MS = 300 };

static struct vm vm;
static char image[TEST_PATH];

static void *add_disk_in_vain(void *unused)
{
    struct kvm_hotplug_disk disk = {.id = "data", .path = image, .timeout_ms = (uint32_t)test_patience(STALL_MS)};

    (void)unused;
    fails(kvmh_add_disk(vm.guest, &disk, NULL, &failure), -ETIMEDOUT, KVM_HOTPLUG_ERROR_TIMEOUT, "data", "left behind");
    return NULL;
}

static void wait_for_intent(const char *verb)
{
    long long end = now_ms() + test_patience(5000);

    while (!vm_has_journal(&vm) || !vm_journal_contains(&vm, verb)) {
        CHECK(now_ms() < end);
        sleep_ms(2);
    }
}

static void mode_of(const char *suffix)
{
    char path[TEST_PATH];
    struct stat status;

    strcpy(stpcpy(path, vm.path), suffix);
    ok(stat(path, &status));
    CHECK_NUMBER(status.st_mode & 07777, 0600);
}

/* The call fails with the deadline, and so the next one takes back what QEMU did when it came to. */
static void an_add_that_stalls(void)
{
    static const char generation[] = "\"next_generation\": ";
    pthread_t thread;
    char *before = vm_picture(&vm), *record = file_read(vm.path, NULL), *now, *next;
    size_t count;

    /* Which buses take devices is asked once, and is not to be what the add waits for. */
    works(kvmh_slot_map(vm.guest, 0, NULL, 0, &count, &failure));
    ok(kill(vm.qemu->pid, SIGSTOP));
    ok(pthread_create(&thread, NULL, add_disk_in_vain, NULL));
    wait_for_intent("\"verb\":\"add\"");
    CHECK(vm_journal_contains(&vm, "\"id\":\"data\""));
    mode_of(".journal");
    CHECK(!vm_record_contains(&vm, "\"id\":\"data\""));
    ok(pthread_join(thread, NULL));
    CHECK(vm_journal_contains(&vm, "\"verb\":\"undo-add\""));
    ok(kill(vm.qemu->pid, SIGCONT));
    CHECK(kvm_hotplug_process(vm.guest, (uint32_t)test_patience(5000), &failure) >= 0);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_PENDING, "data");
    vm_await(&vm, KVM_HOTPLUG_EVENT_UNDONE, "data");
    now = file_read(vm.path, NULL);
    /* But for the number of the next attachment: somebody has been told of this one's. */
    next = strstr(record, generation);
    CHECK(next != NULL);
    next[strlen(generation)]++;
    CHECK_TEXT(now, record);
    CHECK(!vm_has_journal(&vm));
    CHECK_PICTURE(&vm, before);
    free(before);
    free(record);
    free(now);
}

static void an_add_that_works(void)
{
    vm_add_disk(&vm, "data", image);
    CHECK(vm_record_contains(&vm, "\"id\":\"data\""));
    CHECK(!vm_has_journal(&vm));
    mode_of("");
}

static void a_removal(void)
{
    request_unplug(&vm, "data");
    CHECK(vm_journal_contains(&vm, "\"verb\":\"remove\"") && vm_journal_contains(&vm, "\"id\":\"data\""));
    CHECK(vm_record_contains(&vm, "\"id\":\"data\""));
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "data");
    CHECK(!vm_record_contains(&vm, "\"id\":\"data\""));
    CHECK(!vm_has_journal(&vm));
}

/* A failure that leaves nothing in the guest leaves nothing here either. */
static void a_refused_add(void)
{
    struct kvm_hotplug_nic nic = {.boot_index = 1, .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_disk disk = {.path = image, .boot_index = 1, .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_error *error = NULL;
    char *before, *record, *now;

    works(kvmh_add_nic(vm.guest, &nic, NULL, &failure));
    before = vm_picture(&vm);
    record = file_read(vm.path, NULL);
    err(kvmh_add_disk(vm.guest, &disk, NULL, &error), -EREMOTEIO);
    CHECK_NUMBER(kvm_hotplug_error_kind(error), KVM_HOTPLUG_ERROR_QMP);
    CHECK_PART(kvm_hotplug_error_step(error), "device_add disk-pci-");
    CHECK_TEXT(kvm_hotplug_error_qmp_class(error), "GenericError");
    CHECK_PART(kvm_hotplug_error_qmp_desc(error), "bootindex");
    CHECK_PART(kvm_hotplug_error_message(error), kvm_hotplug_error_qmp_desc(error));
    CHECK_NUMBER(kvm_hotplug_error_undo(error), KVM_HOTPLUG_UNDO_COMPLETE);
    CHECK(kvm_hotplug_error_residue(error) == NULL);
    kvm_hotplug_error_free(error);
    now = file_read(vm.path, NULL);
    CHECK_TEXT(now, record);
    CHECK(!vm_has_journal(&vm));
    CHECK_PICTURE(&vm, before);
    free(before);
    free(record);
    free(now);
}

int main(void)
{
    char directory[TEST_PATH];

    test_begin("qemu-files", 60);
    directory_new(directory);
    vm_start(&vm, &(struct qemu_options){0});
    path_in(image, directory, "data.img");
    image_raw(image, 1 << 20);
    an_add_that_stalls();
    an_add_that_works();
    a_removal();
    a_refused_add();
    vm_stop(&vm);
    return test_end();
}
