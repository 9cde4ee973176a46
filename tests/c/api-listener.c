/* Whoever listens at the monitor's socket is handed taps and images: the caller can say who that has to be,
 * and the record remembers it. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/example.h"
#include "support/files.h"
#include "support/json.h"
#include "support/library.h"

static struct kvm_runtime *runtime;
static struct kvm_hotplug *guest;
static char directory[TEST_PATH], path[TEST_PATH], socket_path[TEST_PATH];

static int open_of(struct kvm_hotplug_open_options listener)
{
    return kvmh_open_with(runtime, socket_path, &listener, &guest, &failure);
}

static void opens(struct kvm_hotplug_open_options listener)
{
    works(open_of(listener));
    kvm_hotplug_close(guest);
    guest = NULL;
}

#define refused(listener, ...) fails(open_of(listener), -EPERM, KVM_HOTPLUG_ERROR_UNTRUSTED, socket_path, __VA_ARGS__)

#define UID(number) ((struct kvm_hotplug_open_options){.peer_uid = (number), .flags = KVM_HOTPLUG_OPEN_PEER_UID})
#define PID(number) ((struct kvm_hotplug_open_options){.peer_pid = (number), .flags = KVM_HOTPLUG_OPEN_PEER_PID})
#define ACCEPT(number) \
    ((struct kvm_hotplug_open_options){.peer_uid = (number), \
                                       .flags = KVM_HOTPLUG_OPEN_PEER_UID | KVM_HOTPLUG_OPEN_ACCEPT_PEER})
#define ANYBODY ((struct kvm_hotplug_open_options){.flags = 0})

/* QEMU's own uid, and its pid, which is another one each time. */
static void named(pid_t qemu)
{
    uint32_t own = (uint32_t)geteuid(), other = own + 1;
    char words[64];

    opens(PID(qemu));
    refused(PID(getpid()), "not process");
    snprintf(words, sizeof words, "user %u listens there, not user %u", own, other);
    refused(UID(other), words);
    CHECK(!file_contains(path, "monitor_user"));
    invalid(open_of(PID(0)), "pid 0");
    invalid(open_of(((struct kvm_hotplug_open_options){.flags = KVM_HOTPLUG_QMP_FORCE})), "options: flags",
            "unknown flag bits 0x800");
    opens(UID(own));
    CHECK(file_contains(path, "\"monitor_user\""));
    fails(open_of(UID(other)), -EPERM, KVM_HOTPLUG_ERROR_UNTRUSTED, "the record remembers that user");
    refused(ACCEPT(other), words);
    opens(ANYBODY);
    works(kvm_hotplug_open(runtime, socket_path, 0, &guest, &failure));
    kvm_hotplug_close(guest);
    guest = NULL;
}

/* The record was written when another user listened. */
static void remembered(void)
{
    uint32_t own = (uint32_t)geteuid();
    char text[512], words[64];

    kvm_runtime_free(runtime);
    snprintf(text, sizeof text, "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[],\"monitor_user\":%u}",
             own + 1);
    file_write(path, text, strlen(text));
    works(kvm_runtime_load(path, &runtime, &failure));
    snprintf(words, sizeof words, "user %u listens there, not user %u", own, own + 1);
    refused(ANYBODY, words, "accept it");
    fails(kvm_hotplug_open(runtime, socket_path, 0, &guest, &failure), -EPERM, KVM_HOTPLUG_ERROR_UNTRUSTED, words);
    opens(((struct kvm_hotplug_open_options){.flags = KVM_HOTPLUG_OPEN_ACCEPT_PEER}));
    opens(ANYBODY);
    opens(UID(own));
}

/* The tool has it too. */
static void by_hand(void)
{
    const char *const values[] = {path, socket_path, NULL};
    static struct said said;

    kvm_runtime_free(runtime);
    runtime = NULL;
    example_run(&said, "kvmctl list --runtime $1 --socket $2 --peer-uid $(($(id -u) + 1))", values);
    CHECK_NUMBER(said.status, 1);
    CHECK_PART(said.err, "the record remembers");
    example_run(&said, "kvmctl list --runtime $1 --socket $2 --peer-pid 1", values);
    CHECK_NUMBER(said.status, 1);
    CHECK_PART(said.err, "not process 1");
    example_run(&said, "kvmctl list --runtime $1 --socket $2 --peer-uid $(id -u) --accept-peer", values);
    CHECK_NUMBER(said.status, 0);
}

int main(void)
{
    struct talk fake;

    test_begin("api-listener", 60);
    directory_new(directory);
    path_in(path, directory, "vm.runtime");
    path_in(socket_path, directory, "qmp");
    example_start(&fake, "exec kvm-fake-qemu $1", (const char *const[]){socket_path, NULL});
    example_says(&fake, "ready", test_patience(10000));
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    works(kvm_runtime_save(runtime, path, &failure));
    named(fake.pid);
    remembered();
    by_hand();
    CHECK_NUMBER(example_end(&fake), 0);
    return test_end();
}
