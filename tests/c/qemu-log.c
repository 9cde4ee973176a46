/* ctest: machine=pc */
/* Log lines come through the callback, in order, on the calling thread, at the level asked for and not below;
 * a callback that calls back is told so. */
#include <pthread.h>
#include <string.h>

#include "support/library.h"

enum { MOST = 256 };

struct line {
    int level;
    char text[128];
};

static struct vm vm;
static struct line lines[MOST];
static int count, freed;
static pthread_t caller;
static int called_back;

static void keep(void *userdata, int level, const char *message)
{
    CHECK(userdata == &freed && count < MOST);
    CHECK(pthread_equal(pthread_self(), caller));
    CHECK(strchr(message, '\n') == NULL);
    lines[count].level = level;
    strncpy(lines[count].text, message, sizeof lines->text - 1);
    count++;
    if (vm.guest != NULL)
        called_back = kvm_hotplug_process(vm.guest, 0, NULL);
}

static void drop(void *userdata)
{
    CHECK(userdata == &freed);
    freed++;
}

/* The position of the first line from `from` on that contains the text; ends the test without one. */
static int find(int from, int level, const char *text)
{
    for (; from < count; from++)
        if (lines[from].level == level && strstr(lines[from].text, text) != NULL)
            return from;
    FAIL("no line of level %d with \"%s\"", level, text);
}

static void open_with(int level)
{
    count = 0;
    works(kvm_runtime_set_log(vm.runtime, level, keep, &freed, drop, &failure));
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &vm.guest, &failure));
}

static void shut(void)
{
    kvm_hotplug_close(vm.guest);
    vm.guest = NULL;
}

static void refused(void)
{
    struct kvm_hotplug_nic nic = {.mac = "01:00:5e:00:00:01"}, bridged = {.bridge = "nobridge"};

    invalid(kvmh_add_nic(vm.guest, &nic, NULL, &failure), "multicast");
    fails(kvmh_add_nic(vm.guest, &bridged, NULL, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "nobridge");
}

static void everything(void)
{
    int at;

    open_with(KVM_HOTPLUG_LOG_DEBUG);
    at = find(0, KVM_HOTPLUG_LOG_INFO, "connected to QEMU");
    vm_add_nic(&vm, "lan");
    at = find(at, KVM_HOTPLUG_LOG_DEBUG, "add_nic, 5000 ms");
    find(at, KVM_HOTPLUG_LOG_DEBUG, "lan: Done");
    refused();
    find(at, KVM_HOTPLUG_LOG_WARNING, "nobridge does not exist");
    CHECK_NUMBER(called_back, -EDEADLK);
    shut();
}

static void warnings_only(void)
{
    int i;

    open_with(KVM_HOTPLUG_LOG_WARNING);
    CHECK_NUMBER(freed, 1);
    refused();
    find(0, KVM_HOTPLUG_LOG_WARNING, "nobridge does not exist");
    for (i = 0; i < count; i++)
        CHECK(lines[i].level <= KVM_HOTPLUG_LOG_WARNING);
    shut();
}

/* A level set now is for guests opened from now on; the userdata lives as long as one that logs with it. */
static void the_open_guest_keeps_its_log(void)
{
    open_with(KVM_HOTPLUG_LOG_WARNING);
    CHECK_NUMBER(freed, 2);
    works(kvm_runtime_set_log(vm.runtime, KVM_HOTPLUG_LOG_OFF, NULL, NULL, NULL, &failure));
    CHECK_NUMBER(freed, 2);
    refused();
    CHECK(count > 0);
    shut();
    CHECK_NUMBER(freed, 3);
    count = 0;
    works(kvm_hotplug_open(vm.runtime, vm.qemu->qmp_path, 0, &vm.guest, &failure));
    refused();
    CHECK_NUMBER(count, 0);
}

int main(void)
{
    test_begin("qemu-log", 60);
    caller = pthread_self();
    vm_start(&vm, &(struct qemu_options){.paused = true});
    shut();
    everything();
    warnings_only();
    the_open_guest_keeps_its_log();
    vm_stop(&vm);
    CHECK_NUMBER(freed, 3);
    return test_end();
}
