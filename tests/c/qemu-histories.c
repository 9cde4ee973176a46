/* Random histories: NICs and disks come and go, changes wait for a reboot, the guest is rebooted and migrated
 * to and fro, each time from nothing but its record, which is compared with it. KVM_HOTPLUG_TEST_HISTORIES
 * says how many (20): the first half has the same seeds in every run, from 1 on, and the rest fresh ones.
 * With KVM_HOTPLUG_TEST_SEED, that is the seed of the first, and the others follow. `tests/run migrate` runs
 * many. */
/* ctest: machine=all */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/hosts.h"
#include "support/plug.h"

enum { STEPS = 14, IMAGES = 6, MOST = 12, MAX_DEVICES = 32, FIRST_FIXED_SEED = 1 };

static char directory[TEST_PATH], images[IMAGES][TEST_PATH];
static unsigned long long state;

/* splitmix64 */
static unsigned below(unsigned end)
{
    unsigned long long z = state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (unsigned)((z ^ z >> 31) % end);
}

struct history {
    struct vm vm;
    int host;
    bool paused;
};

static size_t list(struct history *history, struct kvm_hotplug_device devices[MAX_DEVICES])
{
    size_t count = 0;

    works(kvmh_runtime_list(history->vm.runtime, devices, MAX_DEVICES, &count, &failure));
    CHECK(count <= MAX_DEVICES);
    return count;
}

static bool is_at(struct history *history, const struct kvm_hotplug_device *device, const char *path)
{
    char *text = NULL;
    bool same;

    if (device->device_type != KVM_HOTPLUG_DEVICE_DISK)
        return false;
    works(kvm_runtime_get_path(history->vm.runtime, device->id, &text, &failure));
    same = strcmp(text, path) == 0;
    kvm_hotplug_text_free(text);
    return same;
}

static bool has_path(struct history *history, const char *path)
{
    struct kvm_hotplug_device devices[MAX_DEVICES];
    size_t count = list(history, devices), i;
    bool found = false;

    for (i = 0; i < count; i++)
        found |= is_at(history, &devices[i], path);
    return found;
}

static void add_some_nic(struct history *history)
{
    struct kvm_hotplug_nic nic = {.queues = 1 + below(3),
                                  .mtu = below(2) ? 1400 : 0,
                                  .bridge = below(2) ? HOSTS_BRIDGE : NULL};

    if (below(5) == 0) {
        nic = (struct kvm_hotplug_nic){.model = "ne2k_pci"};
        answers(add_nic(&history->vm, &nic, NULL), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
        return;
    }
    works(add_nic(&history->vm, &nic, NULL));
}

static void add_some_disk(struct history *history)
{
    unsigned image = below(IMAGES);
    char serial[8];
    struct kvm_hotplug_disk disk = {.path = images[image],
                                    .format = image % 2 ? KVM_HOTPLUG_FORMAT_QCOW2 : KVM_HOTPLUG_FORMAT_RAW,
                                    .serial = below(2) ? serial : NULL,
                                    .cache = below(5),
                                    .flags = below(4) == 0 ? KVM_HOTPLUG_DISK_READ_ONLY : 0};

    snprintf(serial, sizeof serial, "s,%u", image);
    if (below(3) == 0) {
        disk.model = "scsi-hd";
        disk.flags = 0;
    }
    if (!has_path(history, images[image]))
        works(add_disk(&history->vm, &disk, NULL));
}

/* The only reason why a device need not go: it is a SCSI controller. */
static void refused_for_its_disks(void)
{
    CHECK_PART(kvm_hotplug_error_message(failure), "has disks on it");
    kvm_hotplug_error_free(failure);
    failure = NULL;
}

static void remove_some(struct history *history)
{
    struct kvm_hotplug_device devices[MAX_DEVICES];
    size_t count = list(history, devices);
    struct kvm_hotplug_del_options removal = {.flags = KVM_HOTPLUG_NO_WAIT};
    struct kvm_hotplug_event event;
    int answer;

    if (count == 0)
        return;
    /* One that has not been started is not asked. */
    if (history->paused)
        qemu_start_and_stop(history->vm.qemu);
    removal.id = devices[below((unsigned)count)].id;
    answer = kvmh_del(history->vm.guest, &removal, NULL, &failure);
    if (answer < 0) {
        refused_for_its_disks();
        return;
    }
    if (answer != KVM_HOTPLUG_ANSWER_PENDING)
        return;
    vm_reset(&history->vm);
    vm_await(&history->vm, KVM_HOTPLUG_EVENT_REMOVED, removal.id);
    while (kvmh_next_event(history->vm.guest, &event, &failure) == 1)
        ;
}

/* While it is off. */
static void change_cold(struct history *history)
{
    struct kvm_hotplug_device devices[MAX_DEVICES];
    struct kvm_hotplug_del_options removal = {0};
    struct kvm_hotplug_nic nic = {.model = below(3) ? NULL : "ne2k_pci", .bridge = HOSTS_BRIDGE};
    size_t count = list(history, devices);

    if (count > 0 && below(3) == 0) {
        removal.id = devices[below((unsigned)count)].id;
        if (kvmh_runtime_del(history->vm.runtime, &removal, NULL, &failure) < 0)
            refused_for_its_disks();
    }
    if (count < MOST && below(3) == 0)
        works(kvmh_runtime_add_nic(history->vm.runtime, &nic, NULL, &failure));
}

static void reboot(struct history *history)
{
    struct kvm_boot_options boot = {.spare_ports = MOST, .flags = history->paused ? KVM_BOOT_PAUSED : 0};
    struct kvm_hotplug_device devices[MAX_DEVICES];
    size_t count, i;

    if (below(2))
        for_version(&history->vm, &boot);
    if (history->vm.guest != NULL)
        vm_switch_off(&history->vm);
    change_cold(history);
    vm_boot(&history->vm, &boot);
    count = list(history, devices);
    for (i = 0; i < count; i++)
        CHECK_NUMBER(devices[i].state, KVM_HOTPLUG_STATE_LIVE);
}

static int by_id(const void *a, const void *b)
{
    const struct kvm_hotplug_device *one = a, *other = b;

    return strcmp(one->id, other->id);
}

/* The record is the same there, but for the names of taps. */
static void migrate(struct history *history)
{
    struct kvm_hotplug_device before[MAX_DEVICES], after[MAX_DEVICES];
    size_t count = list(history, before), i;
    struct vm to;

    history->host = !history->host;
    vm_migrate(&history->vm, &to, &(struct migration){.to = history->host, .stopped = history->paused});
    history->vm = to;
    CHECK_NUMBER(list(history, after), count);
    /* A file has the NICs first. */
    qsort(before, count, sizeof *before, by_id);
    qsort(after, count, sizeof *after, by_id);
    for (i = 0; i < count; i++) {
        memset(before[i].ifname, 0, sizeof before[i].ifname);
        memset(after[i].ifname, 0, sizeof after[i].ifname);
        CHECK_TEXT(after[i].id, before[i].id);
        CHECK(memcmp(&before[i], &after[i], sizeof before[i]) == 0);
    }
}

static void step(struct history *history)
{
    static const struct {
        const char *name;
        void (*act)(struct history *history);
        unsigned weight;
    } acts[] = {
        {"nic", add_some_nic, 4}, {"disk", add_some_disk, 4}, {"remove", remove_some, 3},
        {"reboot", reboot, 1},    {"migrate", migrate, 2},
    };
    struct kvm_hotplug_device devices[MAX_DEVICES];
    unsigned chosen = below(4 + 4 + 3 + 1 + 2), i = 0;

    while (chosen >= acts[i].weight)
        chosen -= acts[i++].weight;
    if (i < 2 && list(history, devices) >= MOST)
        i = 2;
    printf(" %s", acts[i].name);
    fflush(stdout);
    acts[i].act(history);
}

static void run_history(unsigned long long seed)
{
    struct history history = {.host = 0};
    const char *machine;
    int i;

    state = seed;
    machine = below(2) ? "q35" : "pc";
    if (getenv("KVM_HOTPLUG_TEST_MACHINE") != NULL)
        machine = getenv("KVM_HOTPLUG_TEST_MACHINE");
    history.paused = below(2);
    printf("seed %llu: %s%s:", seed, machine, history.paused ? ", paused" : "");
    fflush(stdout);
    hosts_enter(0);
    vm_prepare(&history.vm, &(struct qemu_options){.machine = machine, .elsewhere = true, .root_ports = -1});
    reboot(&history);
    for (i = 0; i < STEPS; i++)
        step(&history);
    migrate(&history);
    migrate(&history);
    CHECK_VERIFIED(&history.vm);
    vm_stop(&history.vm);
    printf("\n");
}

static unsigned long long setting(const char *name, unsigned long long otherwise)
{
    const char *value = getenv(name);

    return value == NULL || *value == '\0' ? otherwise : strtoull(value, NULL, 10);
}

int main(void)
{
    unsigned long long count = setting("KVM_HOTPLUG_TEST_HISTORIES", 20);
    unsigned long long fixed = setting("KVM_HOTPLUG_TEST_SEED", 0) == 0 ? count / 2 : 0;
    unsigned long long seed = setting("KVM_HOTPLUG_TEST_SEED", (unsigned long long)time(NULL) * 1000), i;
    char base[TEST_PATH], name[16];

    test_begin("qemu-histories", test_patience((int)(60 + 30 * count)));
    hosts_new();
    directory_new(directory);
    path_in(base, directory, "base");
    image_raw(base, MEBIBYTE);
    for (i = 0; i < IMAGES; i++) {
        snprintf(name, sizeof name, "i,=%d", (int)i);
        path_in(images[i], directory, name);
        if (i % 2)
            image_qcow2(images[i], "1M", i == 1 ? base : NULL, "raw");
        else
            image_raw(images[i], MEBIBYTE);
    }
    for (i = 0; i < fixed; i++)
        run_history(FIRST_FIXED_SEED + i);
    for (i = fixed; i < count; i++)
        run_history(seed + i - fixed);
    return test_end();
}
