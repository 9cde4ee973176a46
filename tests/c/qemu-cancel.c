/* Another thread ends a call: it fails at once, says what became of the device, and the handle goes on. */
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"

enum { LONG_MS = 60000, SOON_MS = 5000 };

static struct vm vm;
static char image[TEST_PATH];

enum { MOST_DESCRIPTORS = 256 };

/* Whether the guest has been asked for its disk. */
static bool is_asked(void)
{
    return vm_device(&vm, "data").state == KVM_HOTPLUG_STATE_PENDING;
}

/* Whether the library has sent what a QEMU that is stopped has not read. */
static bool is_sent(void)
{
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        struct sockaddr_un peer = {0};
        socklen_t size = sizeof peer;
        int unread = 0;
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sun_family == AF_UNIX &&
            strcmp(peer.sun_path, vm.qemu->qmp_path) == 0 && ioctl(fd, SIOCOUTQ, &unread) == 0 && unread > 0)
            return true;
    }
    return false;
}

/* When the call has come so far. */
static void *cancel(void *is_there)
{
    long long end = now_ms() + test_patience(SOON_MS);

    while (!(*(bool (**)(void))is_there)()) {
        CHECK(now_ms() < end);
        sleep_ms(1);
    }
    answers(kvm_hotplug_cancel(vm.guest, NULL), 1);
    return NULL;
}

static void a_removal(void)
{
    bool (*asked)(void) = is_asked;
    pthread_t thread;
    long long start = now_ms();

    vm_add_disk(&vm, "data", image);
    ok(pthread_create(&thread, NULL, cancel, &asked));
    fails(kvm_hotplug_del_disk(vm.guest, "data", LONG_MS, &failure), -ECANCELED, KVM_HOTPLUG_ERROR_CANCELED,
          "cancelled by another thread");
    ok(pthread_join(thread, NULL));
    CHECK(now_ms() - start < test_patience(SOON_MS));
    /* Asked is asked: the guest may still let go. */
    CHECK_NUMBER(vm_device(&vm, "data").state, KVM_HOTPLUG_STATE_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "data");
}

static void an_add(void)
{
    struct kvm_hotplug_disk disk = {.id = "data", .path = image, .timeout_ms = LONG_MS};
    struct kvm_hotplug_error *error = NULL;
    bool (*sent)(void) = is_sent;
    pthread_t thread;
    long long start;
    size_t count;

    /* All that the library would ask about the guest first, it has been told then. */
    works(kvmh_slot_map(vm.guest, 0, NULL, 0, &count, &failure));
    start = now_ms();
    ok(kill(vm.qemu->pid, SIGSTOP));
    ok(pthread_create(&thread, NULL, cancel, &sent));
    err(kvmh_add_disk(vm.guest, &disk, NULL, &error), -ECANCELED);
    ok(pthread_join(thread, NULL));
    CHECK(now_ms() - start < test_patience(SOON_MS));
    CHECK_NUMBER(kvm_hotplug_error_kind(error), KVM_HOTPLUG_ERROR_CANCELED);
    CHECK_NUMBER(kvm_hotplug_error_undo(error), KVM_HOTPLUG_UNDO_INCOMPLETE);
    CHECK_PART(kvm_hotplug_error_residue(error), "device data and its backend");
    CHECK_PART(kvm_hotplug_error_message(error), "left behind");
    kvm_hotplug_error_free(error);
    ok(kill(vm.qemu->pid, SIGCONT));
}

int main(void)
{
    char *empty;

    test_begin("qemu-cancel", 60);
    vm_start(&vm, &(struct qemu_options){0});
    path_in(image, vm.qemu->dir, "data.img");
    image_raw(image, 1 << 20);
    empty = vm_picture(&vm);
    answers(kvm_hotplug_cancel(vm.guest, &failure), 0);
    a_removal();
    /* One that came too early, or for another call, ends nothing. */
    answers(kvm_hotplug_cancel(vm.guest, &failure), 0);
    vm_add_nic(&vm, "lan");
    answers(kvm_hotplug_del_nic(vm.guest, "lan", 1000, &failure), KVM_HOTPLUG_ANSWER_PENDING);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "lan");
    CHECK_PICTURE(&vm, empty);
    an_add();
    CHECK(kvm_hotplug_process(vm.guest, (uint32_t)test_patience(SOON_MS), &failure) >= 0);
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_PENDING, "data");
    vm_await(&vm, KVM_HOTPLUG_EVENT_UNDONE, "data");
    CHECK_PICTURE(&vm, empty);
    CHECK(!vm_has_journal(&vm));
    free(empty);
    vm_stop(&vm);
    return test_end();
}
