/* A guest that is reset starts from the disk or NIC that was plugged into it, if that has the first place in
 * the boot order: the firmware finds it, and what it finds on it runs. */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/boot_sector.h"
#include "support/clock.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/plug.h"

static struct vm vm;
static char directory[TEST_PATH];
static struct serial_port serial;

/* A disk whose program says its name. */
static void plug_disk(const char *id, const char *model, uint32_t boot_index)
{
    struct kvm_hotplug_disk disk = {.id = id,
                                    .model = model,
                                    .boot_index = boot_index,
                                    .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_device device;
    char path[TEST_PATH];

    path_in(path, directory, id);
    boot_sector_says(path, id);
    disk.path = path;
    works(add_disk(&vm, &disk, &device));
    CHECK_NUMBER(device.boot_index, boot_index);
}

static void reset(void)
{
    qmp(vm.qemu, "{\"execute\":\"system_reset\"}");
}

/* Sees what comes out of the tap. */
static int listen_at(const char *tap)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)if_nametoindex(tap)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

    CHECK(fd >= 0 && address.sll_ifindex > 0);
    ok(bind(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

/* A frame with DHCP in it, from the client's port 68 to the server's 67. */
static bool is_dhcp(const unsigned char *frame, ssize_t length, const unsigned char mac[6])
{
    static const unsigned char ip_udp[] = {0x08, 0x00, 0x45}, ports[] = {0, 68, 0, 67};

    return length > 42 && memcmp(frame + 6, mac, 6) == 0 && memcmp(frame + 12, ip_udp, sizeof ip_udp) == 0 &&
           frame[23] == 17 && memcmp(frame + 34, ports, sizeof ports) == 0;
}

static void asks_the_network(int fd, const unsigned char mac[6])
{
    long long end = now_ms() + test_patience(60000);
    struct pollfd news = {.fd = fd, .events = POLLIN};
    unsigned char frame[2048];

    for (;;) {
        if (poll(&news, 1, ms_until(end)) <= 0)
            FAIL("the firmware does not try to boot from the NIC");
        if (is_dhcp(frame, recv(fd, frame, sizeof frame, 0), mac))
            break;
    }
    test_count_check();
    close(fd);
}

static void from_disks(void)
{
    plug_disk("second", "virtio-blk-pci", 7);
    reset();
    serial_says(&serial, "second");
    /* The place in the order counts, not who came first. */
    plug_disk("first", "virtio-blk-pci", 3);
    reset();
    serial_says(&serial, "first");
    /* With the controller that it brings along. */
    plug_disk("scsi", "scsi-hd", 2);
    reset();
    serial_says(&serial, "scsi");
    /* And without them again: a SCSI disk leaves at once, the other one with the reset, before the firmware
     * looks. */
    works(unplug(&vm, "scsi", 0));
    reset();
    serial_says(&serial, "first");
    answers(unplug(&vm, "first", 500), KVM_HOTPLUG_ANSWER_PENDING);
    reset();
    serial_says(&serial, "second");
}

static void from_a_nic(void)
{
    static const unsigned char mac[6] = {0x52, 0x54, 0x00, 0x00, 0x00, 0x77};
    struct kvm_hotplug_nic nic = {.id = "nic",
                                  .mac = "52:54:00:00:00:77",
                                  .boot_index = 1,
                                  .flags = KVM_HOTPLUG_BOOT_INDEX};
    struct kvm_hotplug_device device;
    int fd;

    works(add_nic(&vm, &nic, &device));
    fd = listen_at(device.ifname);
    reset();
    asks_the_network(fd, mac);
}

int main(void)
{
    char option[TEST_PATH + 8];
    const char *const extra[] = {"-serial", option, NULL};

    test_begin("qemu-boots-from", 300);
    net_private();
    directory_new(directory);
    path_in(serial.path, directory, "serial.log");
    snprintf(option, sizeof option, "file:%s", serial.path);
    vm_start(&vm, &(struct qemu_options){.extra = extra, .memory_mb = 64, .root_ports = 6});
    if (has_native_hotplug(vm.qemu))
        test_not_run("the firmware of this QEMU hangs when a q35 is reset");
    qemu_wait_firmware(vm.qemu, 0);
    from_disks();
    from_a_nic();
    CHECK_VERIFIED(&vm);
    vm_stop(&vm);
    return test_end();
}
