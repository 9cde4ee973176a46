/* A disk in a booted guest: it has the properties asked for, and what the guest writes is in the image on the host. */
#include <stdio.h>

#include "support/agent.h"
#include "support/check.h"
#include "support/guest.h"
#include "support/image.h"
#include "support/view.h"

static void removed(struct agent *agent, const struct kvm_hotplug_device *disk)
{
    ok(unplug(agent, disk->id, 0));
    CHECK(view_is_gone(agent->qemu, disk));
    check_gone(agent, disk->id);
}

static void add(struct agent *agent, const struct kvm_hotplug_disk *request, struct kvm_hotplug_device *disk,
                char name[16])
{
    ok(add_disk(agent, request, disk));
    view_disk(agent->qemu, disk, name);
}

static void raw(struct agent *agent)
{
    struct kvm_hotplug_device disk;
    char path[96], name[16];

    agent_path(agent, "raw.img", path, sizeof path);
    image_raw(path, 16 * MEBIBYTE);
    image_write(path, MEBIBYTE, "from the host");
    add(agent, &(struct kvm_hotplug_disk){.path = path, .serial = "SERIAL-1"}, &disk, name);
    guest_prints(agent->qemu, "SERIAL-1", "cat /sys/block/%s/serial", name);
    guest_prints(agent->qemu, "32768", "cat /sys/block/%s/size", name);
    guest_prints(agent->qemu, "512", "cat /sys/block/%s/queue/logical_block_size", name);
    guest_prints(agent->qemu, "0", "cat /sys/block/%s/ro", name);
    guest_prints(agent->qemu, "from the host", "dd if=/dev/%s bs=1M skip=1 count=1 2>/dev/null | head -c 13", name);
    CHECK_NUMBER(guest_does(agent->qemu, "printf 'from the guest' | dd of=/dev/%s bs=1M seek=2 conv=fsync", name), 0);
    removed(agent, &disk);
    CHECK(image_has(path, "raw", MEBIBYTE, "from the host"));
    CHECK(image_has(path, "raw", 2 * MEBIBYTE, "from the guest"));
}

static void blocks_of_4096(struct agent *agent)
{
    struct kvm_hotplug_disk request = {.logical_block_size = 4096, .physical_block_size = 8192};
    struct kvm_hotplug_device disk;
    char path[96], name[16];

    agent_path(agent, "4k.img", path, sizeof path);
    image_raw(path, 4 * MEBIBYTE);
    request.path = path;
    add(agent, &request, &disk, name);
    guest_prints(agent->qemu, "4096", "cat /sys/block/%s/queue/logical_block_size", name);
    guest_prints(agent->qemu, "8192", "cat /sys/block/%s/queue/physical_block_size", name);
    removed(agent, &disk);
}

static void read_only(struct agent *agent)
{
    struct kvm_hotplug_disk request = {.flags = KVM_HOTPLUG_READ_ONLY};
    struct kvm_hotplug_device disk;
    char path[96], name[16];

    agent_path(agent, "ro.img", path, sizeof path);
    image_raw(path, 4 * MEBIBYTE);
    image_write(path, 0, "untouched");
    request.path = path;
    add(agent, &request, &disk, name);
    CHECK_NUMBER(disk.read_only, 1);
    guest_prints(agent->qemu, "1", "cat /sys/block/%s/ro", name);
    guest_prints(agent->qemu, "untouched", "head -c 9 /dev/%s", name);
    CHECK(guest_does(agent->qemu, "printf overwritten | dd of=/dev/%s conv=fsync", name) != 0);
    removed(agent, &disk);
    CHECK(image_has(path, "raw", 0, "untouched"));
}

/* The guest reads through to the backing file and writes into the image above it. */
static void qcow2(struct agent *agent)
{
    struct kvm_hotplug_disk request = {.format = KVM_HOTPLUG_FORMAT_QCOW2};
    struct kvm_hotplug_device disk;
    char base[96], path[96], name[16];

    agent_path(agent, "base.img", base, sizeof base);
    agent_path(agent, "top.qcow2", path, sizeof path);
    image_raw(base, 8 * MEBIBYTE);
    image_write(base, MEBIBYTE, "from below");
    image_qcow2(path, 0, base);
    request.path = path;
    add(agent, &request, &disk, name);
    guest_prints(agent->qemu, "16384", "cat /sys/block/%s/size", name);
    guest_prints(agent->qemu, "from below", "dd if=/dev/%s bs=1M skip=1 count=1 2>/dev/null | head -c 10", name);
    CHECK_NUMBER(guest_does(agent->qemu, "printf 'on the top' | dd of=/dev/%s bs=1M seek=1 conv=fsync", name), 0);
    removed(agent, &disk);
    CHECK(image_has(path, "qcow2", MEBIBYTE, "on the top"));
    CHECK(image_has(base, "raw", MEBIBYTE, "from below"));
}

/* Fills a disk in the guest and discards it all; how many bytes the image has before and after. */
static void fill_and_discard(struct agent *agent, uint32_t discard, long long *full, long long *discarded)
{
    struct kvm_hotplug_disk request = {.discard = discard};
    struct kvm_hotplug_device disk;
    char path[96], file[16], name[16];

    snprintf(file, sizeof file, "discard%u.img", discard);
    agent_path(agent, file, path, sizeof path);
    image_raw(path, 8 * MEBIBYTE);
    request.path = path;
    add(agent, &request, &disk, name);
    CHECK_NUMBER(guest_does(agent->qemu, "yes | dd of=/dev/%s bs=1M count=8 iflag=fullblock conv=fsync", name), 0);
    *full = image_allocated(path);
    CHECK_NUMBER(guest_does(agent->qemu, "blkdiscard /dev/%s", name), 0);
    removed(agent, &disk);
    *discarded = image_allocated(path);
}

static void discard(struct agent *agent)
{
    long long full, discarded;

    fill_and_discard(agent, KVM_HOTPLUG_DISCARD_UNMAP, &full, &discarded);
    CHECK(full >= 8 * MEBIBYTE);
    CHECK(discarded < MEBIBYTE);
    fill_and_discard(agent, KVM_HOTPLUG_DISCARD_IGNORE, &full, &discarded);
    CHECK_NUMBER(discarded, full);
}

/* The guest cannot keep a virtio disk it has mounted: Linux lets go without asking who uses it. What it had synced is in
 * the image; what it tries later fails in the guest, which lives on. */
static void mounted(struct agent *agent)
{
    struct kvm_hotplug_device disk;
    char path[96], name[16];

    agent_path(agent, "mounted.img", path, sizeof path);
    image_ext4(path, 16 * MEBIBYTE);
    add(agent, &(struct kvm_hotplug_disk){.path = path}, &disk, name);
    CHECK_NUMBER(guest_does(agent->qemu, "mkdir /tmp/m && mount -t ext4 /dev/%s /tmp/m", name), 0);
    CHECK_NUMBER(guest_does(agent->qemu, "echo synced-before-removal >/tmp/m/file && sync"), 0);
    CHECK_NUMBER(guest_does(agent->qemu, "(exec 3</tmp/m/file; sleep 1000) >/dev/null 2>&1 & "), 0);
    removed(agent, &disk);
    CHECK(image_mentions(path, "synced-before-removal"));
    CHECK(guest_does(agent->qemu, "dd if=/dev/zero of=/tmp/m/more bs=64k count=16 conv=fsync") != 0);
    CHECK_NUMBER(guest_does(agent->qemu, "killall sleep; umount -l /tmp/m"), 0);
}

int main(void)
{
    struct agent agent;

    test_begin("guest-disk", 120);
    agent_start(&agent, &(struct qemu_options){.guest = true});
    raw(&agent);
    blocks_of_4096(&agent);
    read_only(&agent);
    qcow2(&agent);
    discard(&agent);
    mounted(&agent);
    CHECK_NUMBER(recorded(&agent), 0);
    agent_stop(&agent);
    return test_end();
}
