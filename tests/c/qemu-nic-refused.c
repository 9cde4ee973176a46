/* Every NIC that cannot be is refused with the reason, and guest, host and record are as they were. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

static struct vm vm;

static int add_nic(struct kvm_hotplug_nic nic)
{
    return kvmh_add_nic(vm.guest, &nic, NULL, &failure);
}

#define nic(...) add_nic((struct kvm_hotplug_nic){__VA_ARGS__})

static void addresses(void)
{
    invalid(nic(.mac = ""), "MAC address \"\"", "two hexadecimal digits");
    invalid(nic(.mac = "52:54:00:12:34"), "\"52:54:00:12:34\"", "needs six groups");
    invalid(nic(.mac = "52:54:00:12:34:56:78"), "more than six groups");
    invalid(nic(.mac = "52-54-00-12-34-56"), "two hexadecimal digits");
    invalid(nic(.mac = "52:54:00:12:34:5g"), "two hexadecimal digits");
    invalid(nic(.mac = "5:54:00:12:34:56"), "two hexadecimal digits");
    invalid(nic(.mac = "01:00:5e:00:00:01"), "01:00:5e:00:00:01", "multicast");
    invalid(nic(.mac = "00:00:00:00:00:00"), "all zeros");
    invalid(nic(.mac = "\xff"), "mac is not UTF-8");
}

static void ids(void)
{
    invalid(nic(.id = ""), "device id \"\"", "is empty");
    invalid(nic(.id = "x2345678901234567890123456789012"), "has 32 characters", "at most 31");
    invalid(nic(.id = "5nic"), "\"5nic\"", "must start with a letter");
    invalid(nic(.id = "a b"), "' ' is not allowed", "use letters, digits");
    invalid(nic(.id = "a,romfile=/etc/shadow"), "',' is not allowed");
    invalid(nic(.id = "a/b"), "'/' is not allowed");
    invalid(nic(.id = "\xc3\xa9"), "must start with a letter");
}

static void numbers(void)
{
    invalid(nic(.queues = 257), "257 queues", "1 to 256");
    invalid(nic(.queues = 70000), "queues 70000", "out of range");
    invalid(nic(.mtu = 67), "MTU 67", "the least is 68");
    invalid(nic(.mtu = 65536), "mtu 65536", "out of range");
    invalid(nic(.vhost = 3), "vhost 3", "0 to 2 do");
    invalid(nic(.boot_index = 0x80000000, .flags = KVM_HOTPLUG_BOOT_INDEX), "boot index 2147483648");
    invalid(nic(.flags = KVM_HOTPLUG_DISK_READ_ONLY), "nic flags", "unknown flag bits 0x20");
    invalid(nic(.flags = 0x80000000), "unknown flag bits 0x80000000");
    invalid(nic(.reserved = 1), "reserved is 1, must be 0");
    invalid(nic(.model = "e1000,id=x"), "\"e1000,id=x\"", "not the name of a QEMU device");
    invalid(nic(.model = "e1000", .queues = 2), "e1000", "one queue only");
    if (access("/dev/vhost-net", F_OK) != 0)
        fails(nic(.vhost = KVM_HOTPLUG_VHOST_REQUIRED), -ENODEV, KVM_HOTPLUG_ERROR_UNAVAILABLE, "vhost is required",
              "/dev/vhost-net", "modprobe vhost_net");
}

static void places(void)
{
    invalid(nic(.slot = 3), "slot 3 is given without a bus", "name the bus");
    invalid(nic(.bus = "pci.0", .slot = 32), "slot 32", "slots 0 to 31");
    invalid(nic(.bus = "pci 0"), "bus name \"pci 0\"");
    fails(nic(.bus = "pci.7"), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "pci.7", "no such bus", "the guest has");
    if (vm.qemu->q35) {
        invalid(nic(.bus = "rp0", .slot = 1), "rp0 slot 1", "only slot 0");
        fails(nic(.bus = "pcie.0", .slot = 5), -EOPNOTSUPP, KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "pcie.0",
              "takes no devices while the guest runs", "these do: rp0, rp1, rp2, rp3");
    } else {
        fails(nic(.bus = "pci.0", .slot = 1), -EADDRINUSE, KVM_HOTPLUG_ERROR_ADDRESS_TAKEN, "pci.0 slot 1 is taken by",
              "pin another");
    }
}

static void bridges_and_names(void)
{
    invalid(nic(.bridge = "a/b"), "interface name \"a/b\"");
    invalid(nic(.bridge = "x234567890123456"), "more than 15 characters");
    fails(nic(.bridge = "nobridge"), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "bridge", "nobridge does not exist");
    invalid(nic(.bridge = "lo"), "lo is not a Linux bridge", "name one");
    invalid(nic(.ifname = "tap%d%d"), "tap name \"tap%d%d\"");
    invalid(nic(.mtu = 65530), "MTU 65530", "outside of what interface");
}

static void given_descriptors(void)
{
    struct kvm_hotplug_tap tap = {.queues = 2};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int32_t fds[3], odd[2], many[257] = {0};

    answers(kvmh_open_tap(&tap, fds, 2, NULL, &failure), 2);
    odd[0] = fds[0], odd[1] = null;
    invalid(nic(.tap_fds = &null, .tap_fd_count = 1), "is not a tap");
    invalid(nic(.tap_fds = odd, .tap_fd_count = 2), "is not a tap");
    fds[2] = 9999;
    fails(nic(.tap_fds = &fds[2], .tap_fd_count = 1), -EBADF, KVM_HOTPLUG_ERROR_HOST, "tap_fds", "9999");
    fds[2] = -1;
    fails(nic(.tap_fds = &fds[2], .tap_fd_count = 1), -EBADF, KVM_HOTPLUG_ERROR_INVALID, "-1 is no file descriptor");
    fails(nic(.tap_fd_count = 1), -EFAULT, KVM_HOTPLUG_ERROR_INVALID, "tap_fds is NULL");
    invalid(nic(.tap_fds = many, .tap_fd_count = 257), "257 file descriptors", "at most 256");
    invalid(nic(.tap_fds = fds, .tap_fd_count = 2, .queues = 3), "2 tap fds were given for 3 queues");
    invalid(nic(.tap_fds = fds, .tap_fd_count = 2, .bridge = "br0"), "a bridge was named together with tap fds");
    invalid(nic(.tap_fds = fds, .tap_fd_count = 2, .ifname = "x"),
            "ifname, netns or tap_owner was given together with tap_fds");
    CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && fcntl(fds[1], F_GETFD) == FD_CLOEXEC);
    close(null);
    close(fds[0]);
    close(fds[1]);
}

static void structs_of_other_versions(void)
{
    struct {
        struct kvm_hotplug_nic nic;
        unsigned char more[8];
    } newer = {.more = {[7] = 1}};

    invalid(kvm_hotplug_add_nic(vm.guest, &newer.nic, 0, NULL, 0, &failure), "nic", "size 0", "sizeof");
    fails(kvm_hotplug_add_nic(vm.guest, &newer.nic, sizeof newer, NULL, 0, &failure), -E2BIG, KVM_HOTPLUG_ERROR_VERSION,
          "nic", "does not have");
    fails(kvm_hotplug_add_nic(vm.guest, NULL, sizeof newer, NULL, 0, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID,
          "nic is NULL");
    invalid(kvm_hotplug_add_nic(vm.guest, &newer.nic, sizeof newer.nic, (struct kvm_hotplug_device *)(void *)&newer, 0,
                                &failure),
            "ret_device", "size 0");
}

int main(void)
{
    char *picture, *record, *now;
    int links, fds;

    test_begin("qemu-nic-refused", 60);
    net_private();
    vm_start(&vm, &(struct qemu_options){.paused = true});
    picture = vm_picture(&vm);
    record = file_read(vm.path, NULL);
    links = link_count();
    fds = process_fds(getpid());
    addresses();
    ids();
    numbers();
    places();
    bridges_and_names();
    given_descriptors();
    structs_of_other_versions();
    CHECK_PICTURE(&vm, picture);
    now = file_read(vm.path, NULL);
    CHECK_TEXT(now, record);
    CHECK(!vm_has_journal(&vm));
    CHECK_NUMBER(link_count(), links);
    CHECK_NUMBER(process_fds(getpid()), fds);
    /* None of it is in the way of one that can be. */
    vm_add_nic(&vm, "lan");
    free(picture);
    free(record);
    free(now);
    vm_stop(&vm);
    return test_end();
}
