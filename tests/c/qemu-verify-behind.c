/* The backend of a device is compared too: a tap that somebody has moved, and a NIC with another netdev.
 * Nothing of that is mended without a decision. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/net.h"
#include "support/plug.h"
#include "support/run.h"

enum { MOST = 8 };

static struct vm vm;
static struct kvm_hotplug_difference found[MOST];

/* The one difference there is. */
static const struct kvm_hotplug_difference *only(uint32_t mismatch, const char *id)
{
    size_t count = 0;

    works(kvmh_verify(vm.guest, 0, found, MOST, &count, &failure));
    if (count != 1 || found[0].kind != mismatch || strcmp(found[0].id, id) != 0)
        FAIL("%zu differences, the first: %u %s %s", count, count ? found[0].kind : 0, count ? found[0].id : "",
             count ? found[0].text : "");
    CHECK_NUMBER(found[0].repairable, 0);
    return &found[0];
}

static void agrees(void)
{
    size_t count = 1;

    works(kvmh_verify(vm.guest, 0, found, MOST, &count, &failure));
    CHECK_NUMBER(count, 0);
}

static void ip(const char *const arguments[])
{
    ok(run(arguments));
}

static void bridge(void)
{
    const struct kvm_hotplug_difference *one;
    struct kvm_hotplug_device device;
    char ours[IF_NAMESIZE], theirs[IF_NAMESIZE];

    bridge_new(ours);
    bridge_new(theirs);
    works(
        add_nic(&vm, &(struct kvm_hotplug_nic){.id = "lan", .bridge = ours, .vhost = KVM_HOTPLUG_VHOST_OFF}, &device));
    agrees();
    ip((const char *[]){"ip", "link", "set", device.ifname, "master", theirs, NULL});
    one = only(KVM_HOTPLUG_DIFFERENCE_BRIDGE, "lan");
    CHECK_PART(one->recorded, ours);
    CHECK_PART(one->found, theirs);
    ip((const char *[]){"ip", "link", "set", device.ifname, "nomaster", NULL});
    CHECK_PART(only(KVM_HOTPLUG_DIFFERENCE_BRIDGE, "lan")->found, "no bridge");
    /* Moving it is the decision. */
    works(kvm_hotplug_set_bridge(vm.guest, "lan", ours, 0, &failure));
    CHECK(link_in_bridge(device.ifname, ours));
    agrees();
}

static void force(const char *name, const char *arguments)
{
    struct kvm_hotplug_command request = {.execute = name, .arguments = arguments, .flags = KVM_HOTPLUG_QMP_FORCE};

    works(kvmh_qmp(vm.guest, &request, NULL, &failure));
}

/* Somebody takes the NIC out and puts another one of that name there, behind the record's back. */
static void backend(void)
{
    struct kvm_hotplug_device device = vm_device(&vm, "lan");
    char *record = file_read(vm.path, NULL), place[200];
    size_t count = 0, i;

    unplug_by_reset(&vm, "lan");
    force("netdev_add", "{\"type\":\"hubport\",\"id\":\"elsewhere\",\"hubid\":7}");
    snprintf(
        place, sizeof place,
        "{\"driver\":\"virtio-net-pci\",\"id\":\"lan\",\"netdev\":\"elsewhere\",\"mac\":\"%s\",\"bus\":\"%s\",\"addr\":\"%u\"}",
        device.mac, device.bus, device.slot);
    force("device_add", place);
    vm_close(&vm);
    file_write(vm.path, record, strlen(record));
    free(record);
    vm_open(&vm);
    works(kvmh_verify(vm.guest, 0, found, MOST, &count, &failure));
    for (i = 0; i < count && found[i].kind != KVM_HOTPLUG_DIFFERENCE_BACKEND; i++)
        continue;
    if (i == count)
        FAIL("%zu differences, none about a backend; the first: %s", count, count ? found[0].text : "");
    CHECK_TEXT(found[i].id, "lan");
    CHECK_PART(found[i].found, "netdev elsewhere");
    CHECK_NUMBER(found[i].repairable, 0);
}

int main(void)
{
    test_begin("qemu-verify-behind", 60);
    net_private();
    vm_start(&vm, &(struct qemu_options){0});
    bridge();
    backend();
    vm_stop(&vm);
    return test_end();
}
