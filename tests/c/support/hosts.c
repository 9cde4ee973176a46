#include "hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "clock.h"
#include "reaper.h"
#include "net.h"
#include "run.h"

enum { MIGRATE_MS = 60000, ASK_AGAIN_MS = 20 };

static int namespaces[2] = {-1, -1};

/* The second host exists as long as a process does. */
static pid_t keep_namespace(void)
{
    int ready[2];
    char byte;
    pid_t keeper;

    ok(pipe(ready));
    keeper = fork();
    if (keeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNET) != 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        /* The reaper takes the test for ended when nobody has its socket any more. */
        close_range(3, ~0U, 0);
        for (;;)
            pause();
    }
    CHECK(keeper > 0);
    reaper_owns_process(keeper);
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        FAIL("cannot make a second network namespace");
    close(ready[0]);
    return keeper;
}

static int namespace_of(pid_t process)
{
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)process);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void ip(const char *const arguments[])
{
    CHECK_NUMBER(run(arguments), 0);
}

static void set_up(int host)
{
    char name[8], address[24];

    snprintf(name, sizeof name, "cable%d", host);
    snprintf(address, sizeof address, "198.19.0.%d/24", host + 1);
    hosts_enter(host);
    ip((const char *[]){"ip", "link", "set", "lo", "up", NULL});
    ip((const char *[]){"ip", "link", "set", name, "up", NULL});
    link_address(name, address);
    ip((const char *[]){"ip", "link", "add", HOSTS_BRIDGE, "type", "bridge", NULL});
    ip((const char *[]){"ip", "link", "set", HOSTS_BRIDGE, "up", NULL});
    link_address(HOSTS_BRIDGE, "198.18.1.1/24");
}

void hosts_new(void)
{
    char keeper[16];
    pid_t process;

    net_private();
    namespaces[0] = namespace_of(getpid());
    process = keep_namespace();
    namespaces[1] = namespace_of(process);
    snprintf(keeper, sizeof keeper, "%d", (int)process);
    ip((const char *[]){"ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", keeper,
                        NULL});
    set_up(1);
    set_up(0);
}

void hosts_enter(int host)
{
    ok(setns(namespaces[host], CLONE_NEWNET));
}

static void tell(struct vm *vm, const char *format, int number)
{
    char json[256];

    snprintf(json, sizeof json, format, number);
    vm_observe(vm, json);
}

static void check_refused(struct vm *vm)
{
    struct kvm_hotplug_nic nic = {.id = "late"};

    fails(kvmh_add_nic(vm->guest, &nic, NULL, &failure), -EBUSY, KVM_HOTPLUG_ERROR_MIGRATING, "being migrated");
}

void vm_make_target(struct vm *from, struct vm *to, int host)
{
    struct kvm_boot_options incoming = {.incoming = KVM_BOOT_INCOMING_DEFER};

    hosts_enter(host);
    vm_copy(to, from);
    for_version(to, &incoming);
    vm_boot(to, &incoming);
}

static void await_end(struct vm *from, struct vm *to, const struct migration *migration)
{
    static const char status[] = "{\"execute\":\"query-status\"}";
    long long end = now_ms() + test_patience(MIGRATE_MS);
    const char *state;

    for (;;) {
        state = qmp(from->qemu, "{\"execute\":\"query-migrate\"}");
        if (json_contains(state, "\"status\":\"completed\""))
            break;
        if (json_contains(state, "\"status\":\"failed\"") || now_ms() > end)
            FAIL("the migration does not come to its end: %s", state);
        sleep_ms(ASK_AGAIN_MS);
    }
    if (!migration->stopped)
        CHECK(qmp_wait_contains(to->qemu, status, "\"running\":true", test_patience(MIGRATE_MS)));
    while (qmp_contains(to->qemu, status, "\"inmigrate\"")) {
        if (now_ms() > end)
            FAIL("the target still waits");
        sleep_ms(ASK_AGAIN_MS);
    }
}

void vm_move(struct vm *from, struct vm *to, const struct migration *migration)
{
    tell(to, "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"tcp:198.19.0.%d:4444\"}}", migration->to + 1);
    /* Slow at first, so that there is a middle. */
    tell(from, "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":%d}}",
         migration->check_middle ? 65536 : 1 << 30);
    tell(from, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:198.19.0.%d:4444\"}}", migration->to + 1);
    if (migration->check_middle) {
        CHECK(qmp_wait_contains(from->qemu, "{\"execute\":\"query-migrate\"}", "\"status\":\"active\"",
                                test_patience(MIGRATE_MS)));
        hosts_enter(!migration->to);
        check_refused(from);
        hosts_enter(migration->to);
        tell(from, "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":%d}}", 1 << 30);
    }
    await_end(from, to, migration);
}

void vm_migrate(struct vm *from, struct vm *to, const struct migration *migration)
{
    vm_make_target(from, to, migration->to);
    CHECK_VERIFIED(to);
    check_refused(to);
    vm_move(from, to, migration);
    hosts_enter(!migration->to);
    check_refused(from);
    vm_stop(from);
    hosts_enter(migration->to);
}
