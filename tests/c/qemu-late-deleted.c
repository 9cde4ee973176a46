/* QEMU says that a device is gone when the last reference to it goes, and names it by its id alone. Its
 * thread that lets go of such references (RCU) is held here, so that the words about several earlier devices
 * come when the next one of their id is asked for: that one stays, with its backend, until it
 * goes itself.
 *
 * The first of the earlier ones is the device of an add that was taken back, of which no record has ever said
 * anything. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "support/clock.h"
#include "support/files.h"
#include "support/library.h"

enum { EARLIER = 3, REFUSED_MS = 3000, QUIET_MS = 600 };

static struct vm vm;
static char image[TEST_PATH], other[TEST_PATH];

static bool is_named(const char *file, const char *name)
{
    char line[64] = "";
    FILE *comm = fopen(file, "re");
    bool is_it = comm != NULL && fgets(line, sizeof line, comm) != NULL && strncmp(line, name, strlen(name)) == 0;

    if (comm != NULL)
        fclose(comm);
    return is_it;
}

/* The first one whose name begins so, but for the main thread. */
static pid_t find_thread(const char *name)
{
    char path[64], file[384];
    struct dirent *entry;
    pid_t found = 0;
    DIR *threads;

    snprintf(path, sizeof path, "/proc/%d/task", (int)vm.qemu->pid);
    threads = opendir(path);
    CHECK(threads != NULL);
    while ((entry = readdir(threads)) != NULL) {
        pid_t thread = (pid_t)atoi(entry->d_name);

        snprintf(file, sizeof file, "%s/%s/comm", path, entry->d_name);
        if (thread > 0 && thread != vm.qemu->pid && is_named(file, name) && (found == 0 || thread < found))
            found = thread;
    }
    closedir(threads);
    return found;
}

static pid_t hold_references(void)
{
    pid_t thread = find_thread("call_rcu");
    char file[64], name[64] = "";
    FILE *comm;
    int status;

    /* QEMU 7.2 makes it before it has read that threads are to have names: it has that of the program, or of
     * what has loaded it. */
    if (thread == 0) {
        snprintf(file, sizeof file, "/proc/%d/comm", (int)vm.qemu->pid);
        comm = fopen(file, "re");
        CHECK(comm != NULL && fgets(name, sizeof name, comm) != NULL);
        fclose(comm);
        thread = find_thread(name);
    }
    CHECK(thread > 0);
    ok((int)ptrace(PTRACE_SEIZE, thread, NULL, NULL));
    ok((int)ptrace(PTRACE_INTERRUPT, thread, NULL, NULL));
    CHECK_NUMBER(waitpid(thread, &status, __WALL), thread);
    CHECK(WIFSTOPPED(status));
    return thread;
}

static void ask(void)
{
    struct kvm_hotplug_del_options removal = {.id = "nic0", .flags = KVM_HOTPLUG_NO_WAIT};

    answers(kvmh_del(vm.guest, &removal, NULL, &failure), KVM_HOTPLUG_ANSWER_PENDING);
}

/* QEMU has the NIC by the time that it refuses the disk, and asks the guest for it. */
static void add_and_take_back(void)
{
    struct kvm_hotplug_nic nic = {.id = "nic0"};
    struct kvm_hotplug_disk disk = {.id = "more", .path = other, .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_add_batch list = {.nics = &nic,
                                         .nic_size = sizeof nic,
                                         .nic_count = 1,
                                         .disks = &disk,
                                         .disk_size = sizeof disk,
                                         .disk_count = 1,
                                         .timeout_ms = (uint32_t)test_patience(REFUSED_MS)};

    CHECK(kvmh_add_many(vm.guest, &list, NULL, &failure) < 0);
    CHECK_TEXT(kvm_hotplug_error_residue(failure), "device nic0: its removal is pending");
    kvm_hotplug_error_free(failure);
    failure = NULL;
}

static void leave_unobserved(void)
{
    vm_close(&vm);
    vm_reset(&vm);
    CHECK(qmp_wait_contains(vm.qemu, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}",
                            "data", test_patience(1000)));
    CHECK(
        !qmp_contains(vm.qemu, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}", "nic0"));
    /* Whoever opens now finds it missing; and the one after that knows nothing any more. */
    vm_open(&vm);
    vm_close(&vm);
    vm_open(&vm);
    CHECK(!vm_records(&vm, "nic0"));
    CHECK(!vm_has_journal(&vm));
}

static void process_for(int ms)
{
    long long end = now_ms() + ms;

    while (now_ms() < end) {
        int events = kvm_hotplug_process(vm.guest, 0, &failure);
        answers(events < 0 ? events : 0, 0);
        sleep_ms(5);
    }
}

/* So many earlier devices of the id, about which nothing has been said. */
static void stays(int earlier, const char *empty)
{
    struct kvm_hotplug_event event;
    struct kvm_hotplug_device nic;
    size_t differences = 0;
    char *before;
    pid_t thread;

    add_and_take_back();
    thread = hold_references();
    leave_unobserved();
    for (int i = 1; i < earlier; i++) {
        vm_add_nic(&vm, "nic0");
        ask();
        leave_unobserved();
    }
    vm_add_nic(&vm, "nic0");
    before = vm_picture(&vm);
    ask();
    while (kvmh_next_event(vm.guest, &event, &failure) == 1)
        ;
    ok((int)ptrace(PTRACE_DETACH, thread, NULL, NULL));
    process_for(test_patience(QUIET_MS));

    CHECK_PICTURE(&vm, before);
    CHECK(vm_records(&vm, "nic0"));
    nic = vm_device(&vm, "nic0");
    CHECK_NUMBER(nic.state, KVM_HOTPLUG_STATE_PENDING);
    vm_nothing_to_fetch(&vm);
    works(kvmh_verify(vm.guest, 0, NULL, 0, &differences, &failure));
    CHECK_NUMBER(differences, 0);

    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_REMOVED, "nic0");
    CHECK(!vm_has_journal(&vm));
    CHECK_PICTURE(&vm, empty);
    free(before);
}

int main(void)
{
    struct kvm_hotplug_disk first = {.id = "data", .path = image, .flags = KVM_HOTPLUG_BOOT_INDEX};
    /* The other threads have names then. */
    static const char *const named[] = {"-name", "late,debug-threads=on", NULL};
    char *empty;

    test_begin("qemu-late-deleted", 120);
    vm_start(&vm, &(struct qemu_options){.extra = named});
    if (qmp_contains(vm.qemu, "{\"execute\":\"query-version\"}", "\"major\":5")) {
        printf("QEMU 5.2 keeps an id until the last reference goes: there is no next device of that id\n");
        vm_stop(&vm);
        return test_end();
    }
    path_in(image, vm.qemu->dir, "data.img");
    path_in(other, vm.qemu->dir, "more.img");
    image_raw(image, MEBIBYTE);
    image_raw(other, MEBIBYTE);
    answers(kvmh_add_disk(vm.guest, &first, NULL, &failure), KVM_HOTPLUG_ANSWER_DONE);
    empty = vm_picture(&vm);
    stays(1, empty);
    stays(EARLIER, empty);
    free(empty);
    vm_stop(&vm);
    return test_end();
}
