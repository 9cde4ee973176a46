/* A CD drive and a disk of NVM Express in a booted guest: a changed CD is another one, a tray that the guest
 * has locked waits, or is opened by force, and a guest that ejects is told. */
#include <stdio.h>
#include <string.h>

#include "support/guest.h"
#include "support/image.h"
#include "support/not_run.h"
#include "support/plug.h"
#include "support/view.h"

enum { SOON_MS = 3000, LATER_MS = 20000 };

static struct vm vm;
static char name[16];

static void make(const char *file, long long bytes, const char *text, char path[TEST_PATH])
{
    path_in(path, vm.qemu->dir, file);
    image_raw(path, bytes);
    image_write(path, 0, text);
}

static int change(const char *path, uint32_t force, int timeout_ms, struct kvm_hotplug_device *drive)
{
    struct kvm_hotplug_medium medium = {.path = path,
                                        .force = force,
                                        .timeout_ms = (uint32_t)test_patience(timeout_ms)};

    return kvmh_change_media(vm.guest, "cd", &medium, drive, &failure);
}

/* What the guest reads from the drive begins with this. */
static void reads(const char *text)
{
    char condition[192];

    /* The first look at a new medium may only say that there is one. */
    snprintf(condition, sizeof condition, "[ \"$(dd if=/dev/%s bs=2048 count=1 2>/dev/null | head -c %zu)\" = '%s' ]",
             name, strlen(text), text);
    CHECK(guest_wait(vm.qemu, condition, VIEW_MS));
}

static bool has_no_medium(void)
{
    return guest_does(vm.qemu, "dd if=/dev/%s of=/dev/null bs=2048 count=1", name) != 0;
}

static void plug(const char *path)
{
    struct kvm_hotplug_disk request = {.id = "cd",
                                       .path = path,
                                       .model = "scsi-cd",
                                       .flags = KVM_HOTPLUG_DISK_READ_ONLY};
    struct kvm_hotplug_device drive, controller;
    char id[64];

    invalid(add_disk(&vm, &(struct kvm_hotplug_disk){.path = path, .model = "scsi-cd"}, NULL), "a CD is read-only");
    works(add_disk(&vm, &request, &drive));
    /* Its bus is called as the controller is, with ".0" behind. */
    snprintf(id, sizeof id, "%.*s", (int)strcspn(drive.bus, "."), drive.bus);
    works(kvmh_get_device(vm.guest, id, &controller, &failure));
    view_scsi_disk(vm.qemu, &controller, &drive, name);
    CHECK(strncmp(name, "sr", 2) == 0);
}

static void is_another_one(const char *first, const char *second)
{
    struct kvm_hotplug_device drive;

    reads("the first medium");
    guest_prints(vm.qemu, "2048", "cat /sys/block/%s/size", name);
    works(change(second, 0, LATER_MS, &drive));
    CHECK_TEXT(drive.id, "cd");
    CHECK_PATH(vm.guest, "cd", second);
    reads("the second medium");
    guest_prints(vm.qemu, "4096", "cat /sys/block/%s/size", name);
    works(change(NULL, 0, LATER_MS, NULL));
    CHECK(has_no_medium());
    works(change(first, 0, LATER_MS, NULL));
    reads("the first medium");
}

/* Linux locks the tray while somebody has the drive open. */
static void lock(void)
{
    CHECK_NUMBER(guest_does(vm.qemu, "(sleep 1000 </dev/%s >/dev/null 2>&1 & echo $! >/tmp/lock)", name), 0);
    CHECK(qmp_wait_contains(vm.qemu, "{\"execute\":\"query-block\"}", "\"locked\":true", test_patience(LATER_MS)) ||
          qmp_wait_contains(vm.qemu, "{\"execute\":\"query-block\"}", "\"locked\": true", 0));
}

static void unlock(void)
{
    CHECK_NUMBER(guest_does(vm.qemu, "kill $(cat /tmp/lock)"), 0);
}

static void a_lock_is_respected_or_broken(const char *first, const char *second)
{
    struct kvm_hotplug_device drive;

    lock();
    answers(change(second, 0, SOON_MS, &drive), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_NUMBER(drive.reason, KVM_HOTPLUG_REASON_TRAY_LOCKED);
    CHECK_PART(drive.reason_text, "has locked the tray");
    CHECK_PATH(vm.guest, "cd", first);
    reads("the first medium");
    unlock();
    works(change(second, 0, LATER_MS, NULL));
    reads("the second medium");
    lock();
    works(change(first, 1, LATER_MS, NULL));
    unlock();
    reads("the first medium");
}

static void the_guest_ejects(const char *second)
{
    if (guest_does(vm.qemu, "busybox --list | grep -qx eject") != 0) {
        test_part_not_run("a guest that ejects", "its busybox has no eject");
        return;
    }
    CHECK_NUMBER(guest_does(vm.qemu, "eject /dev/%s", name), 0);
    expect_event(&vm, KVM_HOTPLUG_EVENT_TRAY_OPENED, "cd", test_patience(LATER_MS));
    works(change(second, 0, LATER_MS, NULL));
    reads("the second medium");
}

static void nvme(void)
{
    struct kvm_hotplug_disk request = {.id = "fast", .model = "nvme"};
    struct kvm_hotplug_device disk;
    char path[TEST_PATH], condition[128];

    make("fast.img", 16 * MEBIBYTE, "from the host", path);
    request.path = path;
    invalid(add_disk(&vm, &request, NULL), "no serial with nvme");
    request.serial = "NVME-SERIAL-1";
    works(add_disk(&vm, &request, NULL));
    works(kvmh_get_device(vm.guest, "fast", &disk, &failure));
    CHECK_PART(disk.guest_name, "-nvme-1");
    snprintf(condition, sizeof condition, "[ -b /dev/nvme0n1 ] && grep -q NVME-SERIAL-1 /sys/class/nvme/nvme0/serial");
    CHECK(guest_wait(vm.qemu, condition, VIEW_MS));
    guest_prints(vm.qemu, "from the host", "dd if=/dev/nvme0n1 bs=512 count=1 2>/dev/null | head -c 13");
    CHECK_NUMBER(guest_does(vm.qemu, "printf 'from the guest' | dd of=/dev/nvme0n1 bs=512 conv=fsync"), 0);
    works(unplug(&vm, "fast", 0));
    CHECK(view_is_gone(vm.qemu, &disk));
    check_gone(&vm, "fast");
    CHECK(image_has(path, "raw", 0, "from the guest"));
}

int main(void)
{
    char first[TEST_PATH], second[TEST_PATH];

    test_begin("guest-cd", 300);
    vm_start(&vm, &(struct qemu_options){.guest = true});
    make("first.iso", MEBIBYTE, "the first medium", first);
    make("second.iso", 2 * MEBIBYTE, "the second medium", second);
    nvme();
    plug(first);
    is_another_one(first, second);
    a_lock_is_respected_or_broken(first, second);
    the_guest_ejects(second);
    works(unplug(&vm, "cd", 0));
    check_gone(&vm, "cd");
    vm_stop(&vm);
    return test_end();
}
