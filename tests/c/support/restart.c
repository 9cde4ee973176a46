#include "restart.h"

void restart_with_nic(struct qemu *qemu, const struct arguments *command, const struct kvm_hotplug_device *nic,
                      const char *mac)
{
    struct arguments again = {.count = 0};

    for (int i = 0; i < command->count; i++)
        arguments_add(&again, "%s", command->list[i]);
    arguments_add(&again, "-netdev");
    arguments_add(&again, "hubport,id=lan,hubid=7");
    arguments_add(&again, "-device");
    arguments_add(&again, "virtio-net-pci,id=lan,netdev=lan,mac=%s,romfile=,bus=%s,addr=0x%x", mac, nic->bus,
                  nic->slot);
    qemu_end(qemu);
    qemu_launch(qemu, &(struct qemu_launch){.argv = (const char *const *)again.list});
    arguments_free(&again);
}
