/* An agent that changes a device in a booted guest is killed at every step: the next one finds or makes all
 * of it the same, in the record, on the host and as the guest sees it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/guest.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/trace.h"
#include "support/view.h"

enum { MOST_STEPS = 200, LINGER_MS = 20 };

static struct vm vm;
static char bridges[2][IF_NAMESIZE], nic_name[16], disk_name[16], tap[IF_NAMESIZE], image[TEST_PATH];

static _Noreturn void agent_fails(int rc)
{
    dprintf(STDERR_FILENO, "the agent's call answered %d: %s\n", rc, failure ? kvm_hotplug_error_message(failure) : "");
    _exit(1);
}

/* What is to be next: the opposite of what is, and one mebibyte more. */
struct target {
    int up;
    const char *bridge;
    long long bytes;
};

static void set_link(void *argument)
{
    const struct target *target = argument;
    int rc;

    trace_toggle();
    vm_open(&vm);
    trace_toggle();
    rc = kvm_hotplug_set_link(vm.guest, "lan", target->up, 0, &failure);
    if (rc != 0)
        agent_fails(rc);
    vm_close(&vm);
}

static void move(void *argument)
{
    const struct target *target = argument;
    int rc;

    trace_toggle();
    vm_open(&vm);
    trace_toggle();
    rc = kvm_hotplug_set_bridge(vm.guest, "lan", target->bridge, 0, &failure);
    if (rc != 0)
        agent_fails(rc);
    vm_close(&vm);
}

static void resize(void *argument)
{
    const struct target *target = argument;
    int rc;

    trace_toggle();
    vm_open(&vm);
    trace_toggle();
    rc = kvm_hotplug_resize_disk(vm.guest, "data", (uint64_t)target->bytes, 0, 0, NULL, &failure);
    if (rc != 0)
        agent_fails(rc);
    vm_close(&vm);
}

/* Opening is what settles, and is tried at every step as well. */
static void recover(void *unused)
{
    (void)unused;
    vm_open(&vm);
    vm_close(&vm);
}

static void guest_has(const char *what, long long number)
{
    char condition[160];

    snprintf(condition, sizeof condition, "test \"$(cat %s)\" = %lld", what, number);
    if (!guest_wait(vm.qemu, condition, VIEW_MS))
        FAIL("in the guest, %s is not %lld", what, number);
    test_count_check();
}

static long long length(void)
{
    struct stat status;

    ok(stat(image, &status));
    return status.st_size;
}

/* The next agent: record, host and guest agree, and there is nothing left to settle. What there is now goes
 * into `now`. */
static void examine(struct target *now)
{
    struct kvm_hotplug_device nic;
    char path[96];

    vm_open(&vm);
    CHECK(!vm_has_journal(&vm));
    vm_nothing_to_fetch(&vm);
    nic = vm_device(&vm, "lan");
    CHECK_NUMBER(nic.state, KVM_HOTPLUG_STATE_LIVE);
    snprintf(path, sizeof path, "/sys/class/net/%s/carrier", nic_name);
    guest_has(path, !nic.link_down);
    now->up = !nic.link_down;
    now->bridge = strcmp(nic.bridge, bridges[0]) == 0 ? bridges[0] : bridges[1];
    CHECK_TEXT(nic.bridge, now->bridge);
    CHECK(link_in_bridge(tap, now->bridge));
    now->bytes = length();
    snprintf(path, sizeof path, "/sys/block/%s/size", disk_name);
    guest_has(path, now->bytes / 512);
    vm_close(&vm);
}

static struct target next_to(const struct target *now)
{
    return (struct target){
        .up = !now->up,
        .bridge = now->bridge == bridges[0] ? bridges[1] : bridges[0],
        .bytes = now->bytes + MEBIBYTE,
    };
}

static bool is_done(void (*work)(void *), const struct target *now, const struct target *target)
{
    return work == set_link ? now->up == target->up
           : work == move   ? now->bridge == target->bridge
                            : now->bytes == target->bytes;
}

/* Kills it at every step, and the one that comes after it, half-way, at the same one. */
static int try_all_steps(const char *name, void (*work)(void *), struct target *now)
{
    struct traced traced = {.killed = true};
    int kills = 0;

    printf("%s:", name);
    for (int nth = 1; traced.killed; nth++) {
        for (int how = 0; how < 3; how++) {
            struct cut cut = {.nth = nth, .waiting = how > 0, .linger_ms = how > 1 ? test_patience(LINGER_MS) : 0};
            struct target target = next_to(now), before = *now;
            struct traced tried;

            CHECK(nth <= MOST_STEPS);
            tried = trace(work, &target, &cut);
            if (tried.killed)
                trace(recover, NULL, &(struct cut){.nth = nth});
            examine(now);
            if (!tried.killed && !is_done(work, now, &target))
                FAIL("%s came to its end and was not done", name);
            if (!is_done(work, now, &target) && !is_done(work, now, &before))
                FAIL("%s, killed before step %d, came to something else", name, nth);
            kills += tried.killed;
            if (how == 0)
                traced = tried;
            if (how == 0 && tried.killed)
                printf(" %s", tried.call);
            fflush(stdout);
            if (!traced.waited)
                break;
        }
    }
    printf("\n");
    return kills;
}

int main(void)
{
    struct kvm_hotplug_nic nic = {.id = "lan", .bridge = bridges[0]};
    struct kvm_hotplug_device device;
    struct target now;
    int kills = 0;

    test_begin("guest-crash-changes", 300);
    net_private();
    bridge_new(bridges[0]);
    bridge_new(bridges[1]);
    vm_start(&vm, &(struct qemu_options){.guest = true});
    works(add_nic(&vm, &nic, &device));
    snprintf(tap, sizeof tap, "%s", device.ifname);
    view_nic(vm.qemu, &device, nic_name);
    CHECK_NUMBER(guest_does(vm.qemu, "ip link set %s up", nic_name), 0);
    path_in(image, vm.qemu->dir, "data.img");
    image_raw(image, 4 * MEBIBYTE);
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.id = "data", .path = image}, &device));
    view_disk(vm.qemu, &device, disk_name);
    vm_close(&vm);
    examine(&now);
    kills += try_all_steps("set link", set_link, &now);
    kills += try_all_steps("move", move, &now);
    kills += try_all_steps("resize", resize, &now);
    printf("killed %d times\n", kills);
    CHECK(kills > 20);
    vm_open(&vm);
    vm_stop(&vm);
    return test_end();
}
