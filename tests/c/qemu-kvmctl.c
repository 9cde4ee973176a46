/* kvmctl against a real QEMU without a guest: what it does, what it says to people and to scripts, how it
 * ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/clock.h"
#include "support/example.h"
#include "support/files.h"
#include "support/json.h"
#include "support/kvmctl.h"
#include "support/net.h"
#include "support/not_run.h"
#include "support/qemu.h"

static struct qemu *qemu;
static char runtime[TEST_PATH], image[TEST_PATH], completions[TEST_PATH];
static char bridges[2][IF_NAMESIZE];
/* The shell reads it without a complaint, if it is there. */
static void completion_of(const char *shell, const char *part)
{
    char command[128];

    snprintf(command, sizeof command, "completion %s", shell);
    ctl(0, command, NULL);
    says(part);
    snprintf(command, sizeof command, "command -v %s", shell);
    example_run(&said, command, NULL);
    if (said.status != 0) {
        test_part_not_run("a shell that reads its completion", "%s is not here", shell);
        return;
    }
    snprintf(command, sizeof command, "kvmctl completion %s >$1 && %s -n $1", shell, shell);
    example_run(&said, command, VALUES(completions));
    CHECK_TEXT(said.err, "");
    CHECK_NUMBER(said.status, 0);
}

static void completion(void)
{
    completion_of("bash", "_kvmctl() {");
    completion_of("zsh", "#compdef kvmctl");
    completion_of("fish", "complete -c kvmctl");
    ctl(2, "completion tcsh", NULL);
    example_run(
        &said,
        "bash -c 'source <(kvmctl completion bash); "
        "words() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
        "$(complete -p kvmctl | sed \"s/.*-F \\([^ ]*\\).*/\\1/\") kvmctl \"${!#}\" \"${COMP_WORDS[$# - 2]}\"; "
        "echo ${COMPREPLY[*]}; }; words kvmctl add-d; words kvmctl add-disk --ca; words kvmctl add-disk --cache w; "
        "words kvmctl --runtime $1 del dis' bash $1",
        VALUES(runtime));
    CHECK_TEXT(said.err, "");
    CHECK_TEXT(said.out, "add-disk\n--cache\nwriteback writethrough\ndisk1\n");
}

static void make_record(void)
{
    json(0, "init --name web1", NULL, PARTS("\"runtime\":"));
    json(1, "init", NULL, PARTS("\"error\":", "\"errno\":17", "exists already"));
    ctl(1, "init", NULL);
    complains("exists already");
    json(0, "list", NULL, PARTS("[]"));
    ctl(0, "list", NULL);
    CHECK_TEXT(said.out, "no NICs and no disks\n");
}

static void plug(void)
{
    char table[512];

    json(0, "plan add-nic --bridge $1 --queues 2", VALUES(bridges[0]),
         PARTS("\"answer\":\"done\"", "\"execute\":\"netdev_add\"", "attach it to bridge"));
    ctl(0, "plan add-disk --path $1 --id disk1", VALUES(image));
    says("disk1 would be at ");
    says("QEMU would be told:\n    {");
    json(0, "list", NULL, PARTS("[]"));
    json(0, "add-nic --id nic1 --mac 52:54:00:00:00:01 --bridge $1 --mtu 1400 --tap kvmctl%d --vhost off",
         VALUES(bridges[0]),
         PARTS("\"answer\":\"done\"", "\"id\":\"nic1\"", "\"mac\":\"52:54:00:00:00:01\"", "\"mtu\":1400",
               "\"link\":\"up\""));
    json(0, "add-disk --id disk1 --path $1 --serial S1", VALUES(image),
         PARTS("\"answer\":\"done\"", "\"type\":\"disk\"", "\"serial\":\"S1\"", "\"format\":\"raw\""));
    json(1, "add-disk --path /no/such/image", NULL, PARTS("\"errno\":2", "\"undo\":\"nothing\"", "\"residue\":[]"));
    ctl(1, "add-disk --path /no/such/image", NULL);
    complains("/no/such/image");
    ctl(0, "list", NULL);
    /* The column is as wide as its text. Before the firmware has run, only the root bus has a number. */
    snprintf(table, sizeof table,
             "ID     TYPE  %s  STATE         WHAT\n"
             "nic1   nic   %s  in the guest  52:54:00:00:00:01, tap kvmctl0 on %s, mtu 1400%s\n"
             "disk1  disk  %s  in the guest  %s, serial S1%s\n",
             qemu->q35 ? "AT    " : "AT      ", qemu->q35 ? "rp0:00" : "pci.0:04", bridges[0],
             qemu->q35 ? "" : ", enp0s4 in the guest", qemu->q35 ? "rp1:00" : "pci.0:05", image,
             qemu->q35 ? "" : ", pci-0000:00:05.0 in the guest");
    CHECK_TEXT(said.out, table);
    ctl(0, "list disk1", NULL);
    says("disk1  disk  ");
    CHECK(strstr(said.out, "nic1") == NULL);
    json(0, "list nic1", NULL, PARTS("\"in_guest\":true", "\"mac\":\"52:54:00:00:00:01\""));
    json(1, "list nobody", NULL, PARTS("{\"answer\":\"absent\",\"id\":\"nobody\"}"));
    ctl(1, "list nobody", NULL);
    complains("there is no device nobody");
    /* The record alone, as somebody sees it who must not disturb the agent. */
    example_run(&said, "env -u KVMCTL_SOCKET kvmctl list --json", NULL);
    CHECK(said.status == 0 && json_is_whole(said.out));
    example_run(&said, "env -u KVMCTL_SOCKET kvmctl list disk1 --json", NULL);
    CHECK(said.status == 0 && said.out[0] == '{' && json_is_whole(said.out));
    says("\"id\":\"disk1\"");
}

static void map(void)
{
    ctl(0, "map", NULL);
    if (qemu->q35)
        says("  rp0 |NIC| nic1  rp1 |DSK| disk1  rp2 |   |   rp3 |   | \n");
    else
        CHECK_TEXT(said.out, "pci.0\n"
                             "       0   1   2   3   4   5   6   7   8   9   a   b   c   d   e   f \n"
                             "     +---+---+---+---+---+---+---+---+---+---+---+---+---+---+---+---+\n"
                             "  00 |###|###|:::|:::|NIC|DSK|   |   |   |   |   |   |   |   |   |   |\n"
                             "     +---+---+---+---+---+---+---+---+---+---+---+---+---+---+---+---+\n"
                             "  10 |   |   |   |   |   |   |   |   |   |   |   |   |   |   |   |   |\n"
                             "     +---+---+---+---+---+---+---+---+---+---+---+---+---+---+---+---+\n"
                             "     00 Host bridge, 01 ISA bridge, 04 nic1, 05 disk1\n"
                             "     NIC  a NIC of the record\n"
                             "     DSK  a disk of the record\n"
                             "     ###  taken, and not in the record\n"
                             "     :::  reserved for QEMU\n"
                             "          free\n");
    json(0, "map", NULL, PARTS("\"occupant\":\"nic1\"", "\"state\":\"free\"", "\"state\":\"taken\""));
    /* On a terminal with such characters there are lines and colours; with --plain there are not. */
    example_run(&said, "TERM=xterm LC_ALL=C.UTF-8 script -qec 'kvmctl map' /dev/null", NULL);
    CHECK_NUMBER(said.status, 0);
    says("\033[1;32mNIC\033[0m");
    says("│");
    example_run(&said, "LC_ALL=C.UTF-8 script -qec 'kvmctl map --plain' /dev/null", NULL);
    CHECK(strchr(said.out, '\033') == NULL);
    says("|NIC|");
}

static void change(void)
{
    ctl(0, "link nic1 down", NULL);
    CHECK_TEXT(said.out, "nic1 has its link down\n");
    ctl(0, "list", NULL);
    says("link down");
    json(0, "link nic1 up", NULL, PARTS("{\"answer\":\"done\",\"id\":\"nic1\"}"));
    json(1, "link nobody up", NULL, PARTS("\"errno\":2", "no NIC \\\"nobody\\\""));
    ctl(0, "move nic1 $1", VALUES(bridges[1]));
    CHECK(link_in_bridge("kvmctl0", bridges[1]));
    json(0, "move nic1 --no-bridge", NULL, PARTS("\"answer\":\"done\""));
    CHECK(!link_in_bridge("kvmctl0", bridges[1]));
    json(1, "move nic1 nosuchbridge", NULL, PARTS("\"errno\":2", "nosuchbridge does not exist"));
    json(0, "move nic1 $1", VALUES(bridges[0]), PARTS("\"answer\":\"done\""));
    ctl(0, "nic-limits nic1 --inbound 10M,1M", NULL);
    CHECK_TEXT(said.out, "nic1 receives 10485760 bytes/s with bursts of 1048576 bytes, sends without limit\n");
    json(0, "list nic1", NULL, PARTS("\"inbound\":{\"average\":10485760,\"burst\":1048576}"));
    json(1, "nic-limits nic1 --outbound 10M,1", NULL, PARTS("\"errno\":22", "burst 1;"));
    json(0, "nic-limits nic1", NULL, PARTS("\"answer\":\"done\""));
    ctl(0, "resize disk1 8M", NULL);
    CHECK_TEXT(said.out, "disk1 has 8388608 bytes\n");
    json(1, "resize disk1 4M", NULL, PARTS("\"errno\":22", "loses what lies behind"));
    json(0, "resize disk1 4M --shrink", NULL, PARTS("\"size\":4194304"));
    ok(truncate(image, 16 * MEBIBYTE));
    json(0, "resize disk1 now", NULL, PARTS("\"size\":16777216"));
    json(0, "list", NULL, PARTS("\"size\":16777216", "\"link\":\"up\""));
}

static void ask(void)
{
    json(0, "qmp query-status", NULL, PARTS("\"status\":\"prelaunch\""));
    ctl(0, "qmp human-monitor-command '{\"command-line\":\"info status\"}'", NULL);
    CHECK_TEXT(said.out, "VM status: paused (prelaunch)\n");
    json(1, "qmp device_del '{\"id\":\"disk1\"}'", NULL,
         PARTS("\"errno\":1", "would fool the record", "the library's own calls"));
    CHECK(strstr(said.out, "kvm_") == NULL);
    json(1, "qmp frobnicate", NULL, PARTS("\"qmp_class\":\"CommandNotFound\""));
    json(1, "qmp query-status '[]'", NULL, PARTS("not a JSON object"));
    ctl(0, "verify", NULL);
    CHECK_TEXT(said.out, "record and guest agree\n");
    json(0, "verify", NULL, PARTS("[]"));
    /* Somebody else's device. */
    ctl(0, "qmp device_add '{\"driver\":\"virtio-rng-pci\",\"id\":\"rng\",\"bus\":\"'$1'\",\"addr\":\"'$2'\"}' --force",
        qemu->q35 ? VALUES("rp3", "0") : VALUES("pci.0", "9"));
    ctl(5, "verify", NULL);
    says("rng at ");
    json(5, "verify", NULL, PARTS("\"kind\":\"foreign\"", "\"id\":\"rng\""));
    json(5, "verify --mend", NULL, PARTS("\"id\":\"rng\""));
}

static void watch(void)
{
    struct talk talk;

    example_start(&talk, "kvmctl watch --json --qmp --count 2", NULL);
    for (int i = 0; i < 1000 && !qmp_contains(qemu, "{\"execute\":\"query-fdsets\"}", "disk1"); i++)
        sleep_ms(10);
    /* It is connected once QEMU accepts nobody else; a reset before that would not be heard. */
    sleep_ms(500);
    qmp(qemu, "{\"execute\":\"system_reset\"}");
    example_says(&talk, "\"event\":\"RESET\"", 10000);
    example_says(&talk, "\"event\":\"reset\"", 10000);
    CHECK_NUMBER(example_end(&talk), 0);
    ctl(0, "watch --timeout 1", NULL);
}

/* On a bus of its own, with a place of its own kind. */
static void scsi(void)
{
    char path[TEST_PATH];

    path_in(path, qemu->dir, "scsi.img");
    image_raw(path, MEBIBYTE);
    json(0, "plan add-scsi --id hba", NULL, PARTS("\"answer\":\"done\"", "virtio-scsi-pci"));
    if (!qemu->q35)
        json(0, "add-scsi --id hba --queues 2 --bus pci.0 --slot 12", NULL,
             PARTS("\"type\":\"controller\"", "\"slot\":12"));
    else
        json(0, "add-scsi --id hba --queues 2 --bus rp2 --slot 0", NULL,
             PARTS("\"type\":\"controller\"", "\"bus\":\"rp2\""));
    ctl(0, "add-disk --id sd1 --model scsi-hd --path $1 --bus hba.0 --target 3 --lun 1", VALUES(path));
    says("sd1 is in the guest, at hba.0:3:1");
    json(0, "list", NULL, PARTS("\"target\":3", "\"lun\":1"));
    ctl(0, "list", NULL);
    says("hba.0:3:1");
    ctl(0, "map", NULL);
    says("SCS");
    json(0, "resize sd1 2M", NULL, PARTS("\"size\":2097152"));
    ctl(2, "add-disk --path /x --wwn none", NULL);
    complains("not a number of 64 bits");
}

static void take_out(void)
{
    ctl(3, "add-nic --model ne2k_pci --id later", NULL);
    says("comes with the next boot");
    ctl(0, "list", NULL);
    says("(the library plugs no ne2k_pci into a running guest)");
    json(0, "list", NULL, PARTS("it comes with the next boot: the library plugs no ne2k_pci into a running guest"));
    json(3, "add-nic --model ne2k_pci --id later2", NULL, PARTS("\"answer\":\"after-reboot\"", "ne2k_pci"));
    json(1, "add-nic --model ne2k_pci --live-only", NULL, PARTS("\"errno\":95"));
    ctl(0, "del later", NULL);
    ctl(0, "del nobody", NULL);
    CHECK_TEXT(said.out, "nobody is not there\n");
    json(0, "del nobody", NULL, PARTS("\"answer\":\"absent\""));
    ctl(0, "plan del disk1", NULL);
    says("{\"arguments\":{\"id\":\"disk1\"},\"execute\":\"device_del\"}");
    ctl(4, "del nic1", NULL);
    says("not gone yet: the guest has not been started");
    kvmctl_looks(true);
    example_run(&said, "test -e $KVMCTL_RUNTIME.journal", NULL);
    CHECK_NUMBER(said.status, 0);
    example_run(&said, "kvmctl --json del disk1 nobody disk1 nic1 --timeout 1", NULL);
    CHECK_NUMBER(said.status, 1);
    CHECK(json_is_whole(said.out));
    says("[{\"answer\":\"pending\",\"id\":\"disk1\"");
    says("{\"answer\":\"absent\",\"id\":\"nobody\"}");
    says("{\"answer\":\"failed\",\"id\":\"disk1\",\"errno\":22,\"message\":\"disk1 is named twice\"}");
    ctl(4, "del nobody nic1 disk1 --verbose", NULL);
    CHECK(strstr(said.err, "kvmctl: debug: ") != NULL);
    says("nobody is not there\nnic1 is not gone yet: ");
    example_run(&said, "kvmctl --json del disk1 --no-wait", NULL);
    CHECK_NUMBER(said.status, 4);
    CHECK(json_is_whole(said.out) && json_contains(said.out, "\"answer\":\"pending\""));
}

/* QEMU's own network in the place of a tap. */
static void user(void)
{
    qemu = qemu_start(&(struct qemu_options){.paused = true});
    path_in(runtime, qemu->dir, "runtime");
    setenv("KVMCTL_RUNTIME", runtime, 1);
    unsetenv("KVMCTL_SOCKET");
    json(0, "init --name web2", NULL, PARTS("\"runtime\":"));
    setenv("KVMCTL_SOCKET", qemu->qmp_path, 1);
    ctl(0, "add-nic --user --hostfwd tcp:127.0.0.1:2222-:22 --id user --mac 52:54:00:00:00:09", NULL);
    says("MAC 52:54:00:00:00:09, netdev user");
    json(0, "list user", NULL, PARTS("\"netdev\":{", "\"hostfwd\":[{\"str\":\"tcp:127.0.0.1:2222-:22\"}]"));
    ctl(0, "list user", NULL);
    says("52:54:00:00:00:09, netdev user");
    json(0, "add-nic --id user --netdev \"$1\" --mac 52:54:00:00:00:09",
         VALUES("{\"type\": \"user\", \"hostfwd\": [{\"str\": \"tcp:127.0.0.1:2222-:22\"}]}"),
         PARTS("\"answer\":\"done\"", "\"netdev\":\"user\""));
    ctl(2, "add-nic --user --netdev {}", NULL);
    ctl(2, "add-nic --hostfwd tcp::1-:1", NULL);
    ctl(2, "add-nic --netdev '{\"type\":\"tap\"}'", NULL);
    complains("leave netdev out");
    ctl(1, "add-nic --user --tap mine", NULL);
    complains("together with netdev");
    qemu_stop(qemu);
}

int main(void)
{
    test_begin("qemu-kvmctl", 180);
    net_private();
    bridge_new(bridges[0]);
    bridge_new(bridges[1]);
    qemu = qemu_start(&(struct qemu_options){.paused = true});
    path_in(runtime, qemu->dir, "runtime");
    path_in(completions, qemu->dir, "completions");
    path_in(image, qemu->dir, "a.img");
    image_raw(image, 4 * MEBIBYTE);
    setenv("KVMCTL_RUNTIME", runtime, 1);
    make_record();
    setenv("KVMCTL_SOCKET", qemu->qmp_path, 1);
    plug();
    completion();
    map();
    change();
    scsi();
    ask();
    watch();
    take_out();
    qemu_stop(qemu);
    user();
    return test_end();
}
