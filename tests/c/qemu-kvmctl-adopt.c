/* kvmctl on a guest that nobody has prepared: adopt, and commands without a record. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/example.h"
#include "support/files.h"
#include "support/json.h"
#include "support/kvmctl.h"
#include "support/native.h"
#include "support/net.h"
#include "support/qemu.h"

static struct qemu *qemu;
static char folder[TEST_PATH], root[TEST_PATH], more[TEST_PATH], runtime[TEST_PATH];

static void start(void)
{
    const char *machine = getenv("KVM_HOTPLUG_TEST_MACHINE");
    bool q35 = machine != NULL && strcmp(machine, "q35") == 0;
    static char drive[TEST_PATH + 64], disk[128];
    const char *extra[] = {"-drive", drive, "-device", disk, "-device", "virtio-rng-pci", NULL};

    snprintf(drive, sizeof drive, "file=%s,format=raw,if=none,id=drive0", root);
    snprintf(disk, sizeof disk, "virtio-blk-pci,drive=drive0,id=root%s", q35 ? ",bus=rp1" : "");
    qemu = qemu_start(&(struct qemu_options){.extra = extra});
    qemu_wait_firmware(qemu, 0);
}

/* On q35 the root disk has the second port, and what is added the first. */
static void let_go(void)
{
    if (has_native_hotplug(qemu))
        native_switch_off(qemu, "rp0");
    else
        qmp(qemu, "{\"execute\":\"system_reset\"}");
}

/* Each command looks at the guest anew. */
static void without_a_record(void)
{
    json(0, "list --socket $1", VALUES(qemu->qmp_path), PARTS("\"id\":\"root\"", "\"state\":\"live\""));
    CHECK_NUMBER(chdir(folder), 0);
    json(0, "add-disk more.img --socket $1 --id more", VALUES(qemu->qmp_path),
         PARTS("\"answer\":\"done\"", "\"id\":\"more\"", more));
    ctl(0, "verify --socket $1", VALUES(qemu->qmp_path));
    says("record and guest agree");
    ctl(0, "map --plain --socket $1", VALUES(qemu->qmp_path));
    says("more");
    ctl(4, "del more --no-wait --socket $1", VALUES(qemu->qmp_path));
    let_go();
    CHECK(qmp_wait_event(qemu, "DEVICE_DELETED", "\"more\"", 10000) != NULL);
    /* Nobody was there when the guest let go. */
    ctl(5, "verify --socket $1", VALUES(qemu->qmp_path));
    says("block node more belongs to no device");
    ctl(0, "verify --mend --socket $1", VALUES(qemu->qmp_path));
    ctl(2, "boot --socket $1", VALUES(qemu->qmp_path));
    complains("boot needs --runtime or $KVMCTL_RUNTIME");
    ctl(1, "list --socket /no/such/socket", NULL);
    complains("the guest is off");
}

/* As docs/kvmctl.md says, behind the debug console of the firmware. On q35 it sits on the root bus, where
 * QEMU takes nothing out. */
static void without_an_id(void)
{
    static const char command[] = "qmp --force device_del $1 --socket $2";
    static const char path[] = "{\"id\":\"/machine/peripheral-anon/device[1]\"}";

    if (qemu->q35) {
        ctl(1, command, VALUES(path, qemu->qmp_path));
        return;
    }
    ctl(0, command, VALUES(path, qemu->qmp_path));
    qmp(qemu, "{\"execute\":\"system_reset\"}");
    CHECK(qmp_wait_event(qemu, "DEVICE_DELETED", "/machine/peripheral-anon/device[1]", 10000) != NULL);
}

static void adopt(void)
{
    ctl(0, "adopt $1", VALUES(qemu->qmp_path));
    says("disk root is recorded");
    says("virtio-rng-pci is not: it has no id");
    says("nothing was written");
    json(0, "adopt $1 --dry-run", VALUES(qemu->qmp_path), PARTS("\"recorded\":[{\"id\":\"root\"", "\"hotpluggable\":"));
    CHECK(!file_exists(runtime));
    ctl(0, "adopt $1 -o $2 --name web", VALUES(qemu->qmp_path, runtime));
    says("is the record of this guest");
    CHECK(file_contains(runtime, "\"name\": \"web\"") && file_contains(runtime, "\"drive\": \"drive0\""));
    ctl(1, "adopt $1 -o $2", VALUES(qemu->qmp_path, runtime));
    complains("exists already");
    ctl(2, "adopt $1 --runtime $2", VALUES(qemu->qmp_path, runtime));
    complains("adopt takes no --runtime");
    ctl(0, "verify --socket $1 --runtime $2", VALUES(qemu->qmp_path, runtime));
    says("record and guest agree");
}

int main(void)
{
    test_begin("qemu-kvmctl-adopt", 120);
    net_private();
    unsetenv("KVMCTL_RUNTIME");
    unsetenv("KVMCTL_SOCKET");
    directory_new(folder);
    path_in(root, folder, "root.img");
    path_in(more, folder, "more.img");
    path_in(runtime, folder, "runtime");
    image_raw(root, MEBIBYTE);
    image_raw(more, MEBIBYTE);
    start();
    without_a_record();
    adopt();
    without_an_id();
    qemu_stop(qemu);
    return test_end();
}
