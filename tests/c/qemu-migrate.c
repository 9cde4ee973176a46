/* Migrations of a QEMU without a guest's system: what a target is checked for before, what QEMU does when it
 * is wrong, and every way in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "support/hosts.h"
#include "support/plug.h"

enum { MAX_DIFFERENCES = 8, PATIENCE_MS = 20000 };

static char directory[TEST_PATH], image[TEST_PATH];
static struct kvm_hotplug_device nic, disk;

static void source_with(struct vm *vm, const struct kvm_hotplug_nic *lan)
{
    /* A NIC with a ROM is booted from, in vain and for long. */
    struct kvm_boot_options boot = {.spare_ports = 4, .flags = lan->flags == 0 ? 0 : KVM_BOOT_PAUSED};

    vm_prepare(vm, &(struct qemu_options){.elsewhere = true, .root_ports = -1});
    for_version(vm, &boot);
    vm_boot(vm, &boot);
    works(add_nic(vm, lan, &nic));
    works(add_disk(vm, &(struct kvm_hotplug_disk){.id = "data", .path = image, .serial = "S1"}, &disk));
}

static const struct kvm_hotplug_nic plain = {.id = "lan",
                                             .bridge = HOSTS_BRIDGE,
                                             .queues = 2,
                                             .mtu = 1400,
                                             .inbound_average = 100 * MEBIBYTE};

static void source(struct vm *vm)
{
    source_with(vm, &plain);
}

/* Started from a wrong record, and looked at with the right one. */
static void look_at_wrong(struct vm *from, struct vm *to, const char *old, const char *new)
{
    struct kvm_boot_options incoming = {.incoming = KVM_BOOT_INCOMING_DEFER};
    struct vm right;

    vm_copy_changed(to, from, old, new);
    for_version(to, &incoming);
    vm_launch(to, &incoming);
    kvm_runtime_free(to->runtime);
    vm_copy(&right, from);
    to->runtime = right.runtime;
    qemu_stop(right.qemu);
    vm_attach(to);
}

static void expect(struct vm *vm, uint32_t mismatch, const char *id)
{
    struct kvm_hotplug_difference found[MAX_DIFFERENCES];
    size_t count = 0, i;

    works(kvmh_verify(vm->guest, PATIENCE_MS, found, MAX_DIFFERENCES, &count, &failure));
    for (i = 0; i < count; i++)
        if (found[i].kind == mismatch && strcmp(found[i].id, id) == 0)
            return;
    FAIL("%u of %s is not among the %zu differences: %s", mismatch, id, count, count > 0 ? found[0].text : "none");
}

/* QEMU itself ends in failure, at the target at least. */
static void fails_in_qemu(struct vm *from, struct vm *to)
{
    int status;

    vm_observe(to, "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"tcp:198.19.0.2:4444\"}}");
    vm_observe(from, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:198.19.0.2:4444\"}}");
    status = qemu_wait(to->qemu, test_patience(PATIENCE_MS));
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

/* One thing in the record is wrong: verifying finds it, and the migration would have failed. */
static void wrong(const struct kvm_hotplug_nic *lan, const char *old, const char *new, uint32_t mismatch,
                  const char *id)
{
    struct vm from, to;

    hosts_enter(0);
    source_with(&from, lan);
    hosts_enter(1);
    look_at_wrong(&from, &to, old, new);
    expect(&to, mismatch, id);
    fails_in_qemu(&from, &to);
    vm_stop(&to);
    hosts_enter(0);
    vm_stop(&from);
}

static void check_arrived(struct vm *from, struct vm *to)
{
    CHECK(qmp_wait_contains(from->qemu, "{\"execute\":\"query-migrate\"}", "\"status\":\"completed\"",
                            test_patience(PATIENCE_MS)));
    CHECK(
        qmp_wait_contains(to->qemu, "{\"execute\":\"query-status\"}", "\"running\":true", test_patience(PATIENCE_MS)));
    CHECK_VERIFIED(to);
    vm_stop(from);
}

/* The target listens by itself, at a path with everything in it that means something elsewhere. */
static void by_unix_socket(void)
{
    struct kvm_boot_options incoming = {.incoming = KVM_BOOT_INCOMING_UNIX};
    char path[TEST_PATH], command[512];
    struct vm from, to;

    source(&from);
    path_in(path, directory, "in,=% '");
    incoming.incoming_address = path;
    vm_copy(&to, &from);
    vm_boot(&to, &incoming);
    CHECK_VERIFIED(&to);
    snprintf(command, sizeof command, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:%s\"}}", path);
    vm_observe(&from, command);
    check_arrived(&from, &to);
    vm_stop(&to);
}

static void by_tcp(void)
{
    struct kvm_boot_options incoming = {.incoming = KVM_BOOT_INCOMING_TCP, .incoming_address = "198.19.0.2:4445"};
    struct vm from, to;

    source(&from);
    vm_copy(&to, &from);
    hosts_enter(1);
    vm_boot(&to, &incoming);
    CHECK_VERIFIED(&to);
    hosts_enter(0);
    vm_observe(&from, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:198.19.0.2:4445\"}}");
    check_arrived(&from, &to);
    hosts_enter(1);
    vm_stop(&to);
    hosts_enter(0);
}

/* Out of a pipe: the guest arrives and waits to be told, as -S has it. */
static void by_descriptor(void)
{
    struct kvm_boot_options incoming = {.incoming = KVM_BOOT_INCOMING_FD, .flags = KVM_BOOT_PAUSED};
    char path[TEST_PATH], command[512];
    struct vm from, to;
    FILE *pipe;

    source(&from);
    path_in(path, directory, "state");
    snprintf(command, sizeof command, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:cat >%s\"}}", path);
    vm_observe(&from, command);
    CHECK(qmp_wait_contains(from.qemu, "{\"execute\":\"query-migrate\"}", "\"status\":\"completed\"",
                            test_patience(PATIENCE_MS)));
    vm_copy(&to, &from);
    vm_stop(&from);
    snprintf(command, sizeof command, "exec cat %s", path);
    pipe = popen(command, "re");
    CHECK(pipe != NULL);
    incoming.incoming_fd = fileno(pipe);
    vm_boot(&to, &incoming);
    CHECK(qmp_wait_contains(to.qemu, "{\"execute\":\"query-status\"}", "\"status\":\"paused\"",
                            test_patience(PATIENCE_MS)));
    pclose(pipe);
    CHECK_VERIFIED(&to);
    vm_observe(&to, "{\"execute\":\"cont\"}");
    works(add_nic(&to, &(struct kvm_hotplug_nic){.id = "more"}, NULL));
    vm_stop(&to);
}

/* A removal that was pending at the source goes on at the target, if the journal comes along. */
static void pending_goes_along(void)
{
    struct vm from, to;
    char *journal, path[TEST_PATH];
    size_t length = 0;

    hosts_enter(0);
    source(&from);
    request_unplug(&from, "data");
    snprintf(path, sizeof path, "%s.journal", from.path);
    journal = file_read(path, &length);
    CHECK(journal != NULL);
    hosts_enter(1);
    vm_copy(&to, &from);
    kvm_runtime_free(to.runtime);
    snprintf(path, sizeof path, "%s.journal", to.path);
    file_write(path, journal, length);
    works(kvm_runtime_load(to.path, &to.runtime, &failure));
    vm_boot(&to, &(struct kvm_boot_options){.incoming = KVM_BOOT_INCOMING_DEFER});
    CHECK_NUMBER(pending_reason(&to, "data"), KVM_HOTPLUG_REASON_MIGRATING);
    vm_move(&from, &to, &(struct migration){.to = 1});
    hosts_enter(0);
    vm_stop(&from);
    hosts_enter(1);
    vm_reset(&to);
    vm_await(&to, KVM_HOTPLUG_EVENT_PENDING, "data");
    vm_await(&to, KVM_HOTPLUG_EVENT_REMOVED, "data");
    check_gone(&to, "data");
    vm_stop(&to);
    free(journal);
    hosts_enter(0);
}

static void wrong_records(void)
{
    struct kvm_hotplug_nic booted = {.id = "lan", .boot_index = 3, .flags = KVM_HOTPLUG_BOOT_INDEX};
    char slot[96], other[96];

    /* On pc the slot is another one, on q35 the port. */
    if (strcmp(nic.bus, "pci.0") == 0) {
        snprintf(slot, sizeof slot, "\"slot\": %u", disk.slot);
        wrong(&plain, slot, "\"slot\": 17", KVM_HOTPLUG_DIFFERENCE_ADDRESS, "data");
    } else {
        snprintf(slot, sizeof slot, "\"bus\": \"%s\"", disk.bus);
        snprintf(other, sizeof other, "\"bus\": \"rp4\"");
        wrong(&plain, slot, other, KVM_HOTPLUG_DIFFERENCE_ADDRESS, "data");
        wrong(&plain, "\"slot\": 16", "\"slot\": 21", KVM_HOTPLUG_DIFFERENCE_PORT, "rp1");
    }
    wrong(&plain, "\"queues\": 2", "\"queues\": 1", KVM_HOTPLUG_DIFFERENCE_QUEUES, "lan");
    /* One that loads a ROM goes to one that does not. */
    wrong(&booted, "\"boot_index\": 3", "\"mtu\": 1400", KVM_HOTPLUG_DIFFERENCE_ROM, "lan");
}

int main(void)
{
    test_begin("qemu-migrate", 240);
    hosts_new();
    directory_new(directory);
    path_in(image, directory, "data.img");
    image_raw(image, MEBIBYTE);
    by_unix_socket();
    by_tcp();
    by_descriptor();
    wrong_records();
    pending_goes_along();
    return test_end();
}
