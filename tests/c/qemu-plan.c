/* A plan says what a call would do, and does nothing: no command, no file, no interface, no descriptor is
 * left by it. Then the call does what the plan said. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/net.h"
#include "support/plug.h"

static struct vm vm;
static char bridge[IF_NAMESIZE], image[TEST_PATH], top[TEST_PATH];

/* What must be the same after a plan. */
struct before {
    char *picture, *record;
    int links, fds, files;
};

static struct before look(void)
{
    return (struct before){vm_picture(&vm), file_read(vm.path, NULL), link_count(), process_fds(getpid()),
                           directory_count(vm.qemu->dir)};
}

static void nothing_was_done(struct before before)
{
    char *record = file_read(vm.path, NULL);

    CHECK_PICTURE(&vm, before.picture);
    CHECK_TEXT(record, before.record);
    CHECK_NUMBER(link_count(), before.links);
    CHECK_NUMBER(process_fds(getpid()), before.fds);
    CHECK_NUMBER(directory_count(vm.qemu->dir), before.files);
    free(record);
    free(before.picture);
    free(before.record);
}

/* The parts come in this order. */
static void in_order(const char *plan, const char *const parts[])
{
    const char *at = plan;

    for (; *parts != NULL; parts++) {
        at = strstr(at, *parts);
        if (at == NULL)
            FAIL("%s is not there, or not in this place: %s", *parts, plan);
    }
    test_count_check();
}

#define IN_ORDER(plan, ...) in_order((plan), (const char *const[]){__VA_ARGS__, NULL})

static int plan_nic(const struct kvm_hotplug_nic *nic, struct kvm_hotplug_device *device, char **plan)
{
    struct before before = look();
    int answer = kvmh_plan_nic(vm.guest, nic, device, plan, &failure);

    nothing_was_done(before);
    return answer;
}

static int plan_disk(const struct kvm_hotplug_disk *disk, struct kvm_hotplug_device *device, char **plan)
{
    struct before before = look();
    int answer = kvmh_plan_disk(vm.guest, disk, device, plan, &failure);

    nothing_was_done(before);
    return answer;
}

static int plan_removal(const char *id, struct kvm_hotplug_device *device, char **plan)
{
    struct kvm_hotplug_del_options removal = {.id = id};
    struct before before = look();
    int answer = kvmh_plan_del(vm.guest, &removal, device, plan, &failure);

    nothing_was_done(before);
    return answer;
}

static void same_place(const struct kvm_hotplug_device *planned, const struct kvm_hotplug_device *real)
{
    CHECK_TEXT(planned->id, real->id);
    CHECK_TEXT(planned->bus, real->bus);
    CHECK_NUMBER(planned->slot, real->slot);
    CHECK_NUMBER(planned->generation, real->generation);
}

static void nics(void)
{
    struct kvm_hotplug_nic nic = {.mac = "52:54:00:12:34:56",
                                  .bridge = bridge,
                                  .queues = 2,
                                  .mtu = 1400,
                                  .vhost = KVM_HOTPLUG_VHOST_OFF};
    struct kvm_hotplug_device planned, device;
    char *plan = NULL;

    works(plan_nic(&nic, &planned, &plan));
    IN_ORDER(plan, "\"answer\":\"done\"", "\"execute\":\"getfd\"", "\"execute\":\"getfd\"",
             "\"execute\":\"netdev_add\"", "\"execute\":\"device_add\"");
    CHECK_PART(plan, "52:54:00:12:34:56");
    CHECK_PART(plan, "with 2 queue(s)");
    CHECK_PART(plan, bridge);
    CHECK_PART(plan, "MTU to 1400");
    CHECK_PART(plan, planned.id);
    kvm_hotplug_text_free(plan);
    works(add_nic(&vm, &nic, &device));
    same_place(&planned, &device);
    /* There already: nothing would be done. */
    nic.id = device.id;
    works(plan_nic(&nic, &planned, &plan));
    CHECK_PART(plan, "\"commands\":[]");
    same_place(&planned, &device);
    kvm_hotplug_text_free(plan);
    nic.queues = 3;
    fails(plan_nic(&nic, &planned, &plan), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "another queues");
    nic = (struct kvm_hotplug_nic){.id = "old", .model = "ne2k_pci"};
    answers(plan_nic(&nic, &planned, &plan), KVM_HOTPLUG_ANSWER_AFTER_REBOOT);
    CHECK_NUMBER(planned.reason, KVM_HOTPLUG_REASON_MODEL);
    IN_ORDER(plan, "\"answer\":\"after-reboot\"", "\"commands\":[]");
    CHECK_PART(plan, "ne2k_pci");
    kvm_hotplug_text_free(plan);
}

static void disks(void)
{
    struct kvm_hotplug_disk disk = {.path = top, .format = KVM_HOTPLUG_FORMAT_QCOW2};
    struct kvm_hotplug_device planned, device;
    char *plan = NULL;

    works(plan_disk(&disk, &planned, &plan));
    IN_ORDER(plan, "\"execute\":\"add-fd\"", "\"execute\":\"add-fd\"", "\"execute\":\"blockdev-add\"",
             "\"execute\":\"device_add\"");
    CHECK_PART(plan, top);
    CHECK_PART(plan, image);
    CHECK_PART(plan, "for writing");
    CHECK_PART(plan, "read-only");
    kvm_hotplug_text_free(plan);
    works(add_disk(&vm, &disk, &device));
    same_place(&planned, &device);
    disk.path = "/nonexistent/image";
    fails(plan_disk(&disk, &planned, &plan), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "/nonexistent/image");

    works(plan_removal(device.id, &planned, &plan));
    IN_ORDER(plan, "\"answer\":\"done\"", "\"execute\":\"device_del\"", "\"execute\":\"blockdev-del\"",
             "\"execute\":\"remove-fd\"", "\"execute\":\"remove-fd\"");
    same_place(&planned, &device);
    kvm_hotplug_text_free(plan);
    answers(plan_removal("nobody", &planned, &plan), KVM_HOTPLUG_ANSWER_ABSENT);
    CHECK_PART(plan, "\"commands\":[]");
    kvm_hotplug_text_free(plan);
}

int main(void)
{
    test_begin("qemu-plan", 60);
    net_private();
    bridge_new(bridge);
    vm_start(&vm, &(struct qemu_options){.root_ports = 8});
    path_in(image, vm.qemu->dir, "base.img");
    path_in(top, vm.qemu->dir, "top.qcow2");
    image_raw(image, MEBIBYTE);
    image_qcow2(top, "1M", image, "raw");
    nics();
    disks();
    vm_stop(&vm);
    return test_end();
}
