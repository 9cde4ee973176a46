/* Taps of the caller's that come a second time. virtio-net leaves all queues but the first one detached when
 * it goes, and a QEMU that gets them so ends on an assertion, the guest with it: they are attached again. A
 * tap that the guest has is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/net.h"
#include "support/plug.h"

enum { QUEUES = 4, ROUNDS = 3 };

static struct vm vm;
static int32_t fds[QUEUES];
static char tap[IF_NAMESIZE];

static void open_tap(const char *name, uint32_t queues, int32_t *taps)
{
    struct kvm_hotplug_tap request = {.ifname = name, .queues = queues};

    answers(kvmh_open_tap(&request, taps, queues, tap, &failure), (int)queues);
}

static struct kvm_hotplug_nic over(const char *id, const int32_t *taps, uint32_t count)
{
    return (struct kvm_hotplug_nic){.id = id, .tap_fds = taps, .tap_fd_count = count};
}

static void add(const char *id, const int32_t *taps, uint32_t count)
{
    struct kvm_hotplug_nic nic = over(id, taps, count);

    works(add_nic(&vm, &nic, NULL));
}

static void refused(const char *id, const int32_t *taps, uint32_t count, const char *owner)
{
    struct kvm_hotplug_nic nic = over(id, taps, count);
    char *before = vm_picture(&vm);

    fails(add_nic(&vm, &nic, NULL), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, tap, owner);
    CHECK_PICTURE(&vm, before);
    free(before);
}

static void del(const char *id)
{
    unplug_by_reset(&vm, id);
    check_gone(&vm, id);
}

static void lives(void)
{
    CHECK(qmp_contains(vm.qemu, "{\"execute\":\"query-status\"}", "running"));
}

static void again(void)
{
    int32_t last = fds[QUEUES - 1];

    for (int round = 0; round < ROUNDS; round++) {
        add("lan", fds, QUEUES);
        lives();
        refused("wan", fds, QUEUES, "lan");
        refused("wan", &last, 1, "lan");
        request_unplug(&vm, "lan");
        refused("wan", &last, 1, "lan");
        del("lan");
        lives();
    }
    /* One queue of several, and others than before. */
    add("lan", &last, 1);
    del("lan");
    add("lan", fds + 1, 2);
    lives();
    del("lan");
}

static void unawaited(void)
{
    struct kvm_hotplug_nic nic = over("lan", fds, QUEUES);

    nic.flags = KVM_HOTPLUG_NO_WAIT;
    answers(add_nic(&vm, &nic, NULL), KVM_HOTPLUG_ANSWER_PENDING);
    vm_await(&vm, KVM_HOTPLUG_EVENT_ADDED, "lan");
    lives();
    del("lan");
}

static void twice(void)
{
    int32_t pair[] = {fds[0], fds[0]}, copied[] = {fds[0], dup(fds[0])};

    invalid(add_nic(&vm, &(struct kvm_hotplug_nic){.tap_fds = pair, .tap_fd_count = 2}, NULL), "given twice");
    invalid(add_nic(&vm, &(struct kvm_hotplug_nic){.tap_fds = copied, .tap_fd_count = 2}, NULL), "given twice");
    close(copied[1]);
    lives();
}

/* As many queues as a tap has in the kernel: QEMU takes them, with their interrupts, and the library takes
 * them back. */
static void most_queues(void)
{
    enum { MOST_QUEUES = 256 };
    struct kvm_hotplug_nic nic = {.id = "wide", .queues = MOST_QUEUES};
    struct kvm_hotplug_device device;
    int32_t many[MOST_QUEUES];
    char *before = vm_picture(&vm);
    int open_files = process_fds(getpid()), qemu_files = process_fds(vm.qemu->pid);

    works(add_nic(&vm, &nic, &device));
    CHECK_NUMBER(device.queues, MOST_QUEUES);
    CHECK(qmp_contains(
        vm.qemu,
        "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/wide\",\"property\":\"vectors\"}}",
        "{\"return\": 514}"));
    del("wide");
    nic.queues = MOST_QUEUES + 1;
    invalid(add_nic(&vm, &nic, NULL), "257 queues", "1 to 256");
    open_tap("kht-many", MOST_QUEUES, many);
    for (int round = 0; round < 2; round++) {
        add("many", many, MOST_QUEUES);
        refused("wan", many + MOST_QUEUES - 1, 1, "many");
        del("many");
    }
    for (int i = 0; i < MOST_QUEUES; i++)
        close(many[i]);
    CHECK_PICTURE(&vm, before);
    CHECK_NUMBER(process_fds(getpid()), open_files);
    CHECK_NUMBER(process_fds(vm.qemu->pid), qemu_files);
    free(before);
    lives();
}

static void raw(const char *name, const char *arguments, int fd)
{
    struct kvm_hotplug_command command = {.execute = name, .arguments = arguments, .flags = KVM_HOTPLUG_QMP_FORCE};

    if (fd >= 0) {
        command.fd = fd;
        command.flags |= KVM_HOTPLUG_QMP_PASS_FD;
    }
    works(kvmh_qmp(vm.guest, &command, NULL, &failure));
}

/* What differs, which must be one thing or none. */
static uint32_t differs(const char *id, const char *text)
{
    struct kvm_hotplug_difference found[4];
    size_t count = 0;

    works(kvmh_verify(vm.guest, 0, found, 4, &count, &failure));
    if (count == 0)
        return 0;
    CHECK_NUMBER(count, 1);
    CHECK_TEXT(found[0].id, id);
    CHECK_PART(found[0].text, text);
    CHECK_NUMBER(found[0].repairable, 0);
    return found[0].kind;
}

/* A netdev by hand, which no NIC has: it is told of, and so is who asks for its tap. */
static void behind_the_record(void)
{
    int32_t one;

    open_tap("kht-hand", 1, &one);
    raw("getfd", "{\"fdname\":\"hand\"}", one);
    raw("netdev_add", "{\"type\":\"tap\",\"id\":\"hand\",\"fd\":\"hand\"}", -1);
    CHECK_NUMBER(differs("hand", "netdev hand belongs to no NIC"), KVM_HOTPLUG_DIFFERENCE_ORPHAN_NETDEV);
    refused("lan", &one, 1, "open in QEMU already");
    raw("netdev_del", "{\"id\":\"hand\"}", -1);
    CHECK_NUMBER(differs("", ""), 0);
    add("lan", &one, 1);
    CHECK_NUMBER(differs("", ""), 0);
    del("lan");
    close(one);
}

/* Somebody deletes the tap of a NIC. The next reset of it would end QEMU, if firmware has used it. */
static void a_tap_that_is_gone(void)
{
    struct kvm_hotplug_device device;

    works(add_nic(&vm, &(struct kvm_hotplug_nic){.id = "wan"}, &device));
    CHECK_NUMBER(differs("", ""), 0);
    link_delete(device.ifname);
    CHECK_NUMBER(differs("wan", "the tap is gone"), KVM_HOTPLUG_DIFFERENCE_BACKEND);
}

/* Every network namespace has names of its own. */
static void elsewhere(void)
{
    int32_t here, there;

    open_tap("kht-same", 1, &here);
    net_private();
    open_tap("kht-same", 1, &there);
    add("here", &here, 1);
    refused("again", &here, 1, "here");
    add("there", &there, 1);
    refused("again", &here, 1, "here");
    refused("again", &there, 1, "there");
    CHECK_TEXT(vm_device(&vm, "here").ifname, "kht-same");
    CHECK_TEXT(vm_device(&vm, "there").ifname, "kht-same");
    close(here);
    close(there);
}

/* The number of the NIC's trouble, or 0. */
static uint32_t trouble(struct kvm_runtime *runtime, uint32_t flags, const char *id, const char *text)
{
    struct kvm_runtime_problem found[8];
    size_t count = 0;

    works(kvmh_runtime_check(runtime, flags, NULL, 0, found, 8, &count, &failure));
    for (size_t i = 0; i < count; i++)
        if (strcmp(found[i].id, id) == 0) {
            CHECK_PART(found[i].text, text);
            return found[i].kind;
        }
    return 0;
}

static void owner_is(const char *ifname, const char *want)
{
    char path[96], owner[16] = "";
    FILE *file;

    snprintf(path, sizeof path, "/sys/class/net/%s/owner", ifname);
    file = fopen(path, "r");
    CHECK(file != NULL && fgets(owner, sizeof owner, file) != NULL);
    fclose(file);
    CHECK_TEXT(owner, want);
}

/* A start is not given the caller's tap, and does not make another one instead. Who owns a tap made here is
 * remembered. */
static void starts(void)
{
    struct kvm_hotplug_nic owned = {.id = "owned",
                                    .ifname = "kht-owned",
                                    .tap_owner = 65534,
                                    .flags = KVM_HOTPLUG_TAP_OWNER};
    struct kvm_hotplug_del_options lan = {.id = "lan"};
    struct kvm_boot_options target = {.incoming = KVM_BOOT_INCOMING_DEFER}, spare = {.spare_ports = 4};
    struct kvm_boot *boot = NULL;
    int links;

    vm_prepare(&vm, &(struct qemu_options){.root_ports = -1});
    vm_boot(&vm, &spare);
    add("lan", fds, QUEUES);
    works(add_nic(&vm, &owned, NULL));
    owner_is("kht-owned", "65534\n");
    CHECK_NUMBER(trouble(vm.runtime, 0, "lan", "remove lan from the record"), KVM_RUNTIME_PROBLEM_TAP);
    CHECK_NUMBER(trouble(vm.runtime, KVM_RUNTIME_CHECK_INCOMING, "lan", "before it is migrated"),
                 KVM_RUNTIME_PROBLEM_TAP);
    vm_switch_off(&vm);
    CHECK(link_goes("kht-owned"));
    links = link_count();
    fails(kvmh_runtime_boot(vm.runtime, NULL, &boot, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "lan", tap,
          "remove lan from the record");
    fails(kvmh_runtime_boot(vm.runtime, &target, &boot, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "lan", tap);
    CHECK_NUMBER(link_count(), links);
    CHECK(vm_records(&vm, "lan"));
    works(kvmh_runtime_del(vm.runtime, &lan, NULL, &failure));
    CHECK_NUMBER(trouble(vm.runtime, 0, "lan", ""), 0);
    vm_boot(&vm, &spare);
    owner_is("kht-owned", "65534\n");
    CHECK(!vm_records(&vm, "lan"));
    add("lan", fds, QUEUES);
    lives();
    vm_stop(&vm);
}

int main(void)
{
    int open_files;

    test_begin("qemu-taps", 120);
    net_private();
    vm_start(&vm, &(struct qemu_options){0});
    open_tap("kht-own%d", QUEUES, fds);
    open_files = process_fds(getpid());
    again();
    unawaited();
    twice();
    CHECK_NUMBER(process_fds(getpid()), open_files);
    vm_stop(&vm);
    starts();
    vm_start(&vm, &(struct qemu_options){0});
    most_queues();
    behind_the_record();
    a_tap_that_is_gone();
    elsewhere();
    vm_stop(&vm);
    return test_end();
}
