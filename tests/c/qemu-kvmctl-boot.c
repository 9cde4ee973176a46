/* kvmctl on the record of a guest that does not run, and from there to the guest. */
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
#include "support/qemu.h"

static struct qemu *qemu;
static char image[TEST_PATH];
static char bridge[IF_NAMESIZE];

/* The record of a guest that does not run: what comes with its boot, whether it can boot here, and in which
 * formats it goes. */
static void cold(void)
{
    char first[TEST_PATH], copy[TEST_PATH], own[TEST_PATH];

    path_in(first, qemu->dir, "off");
    path_in(copy, qemu->dir, "off-copy");
    path_in(own, qemu->dir, "off.img");
    image_raw(own, 4 * MEBIBYTE);
    setenv("KVMCTL_RUNTIME", first, 1);
    /* Nobody listens there, and nobody is asked. */
    setenv("KVMCTL_SOCKET", "/nowhere", 1);
    example_run(&said, "kvmctl init -- qemu-system-x86_64 -machine pc-i440fx-7.2", NULL);
    CHECK_NUMBER(said.status, 0);
    ctl(0, "add-nic --cold --id nic1 --bridge $1 --vhost off", VALUES(bridge));
    CHECK_TEXT(said.out, "nic1 is recorded, and comes with the next boot, at pci.0:04\n");
    ctl(2, "add-nic --cold --port '{\"vlans\": 1}'", NULL);
    complains("unknown field");
    ctl(0, "add-nic --cold --id nic2 --bridge $1 --vhost off --port '{\"isolated\": true, \"trunk\": [\"2-9\"]}'",
        VALUES(bridge));
    ctl(5, "check", NULL);
    says("does not tell VLANs apart");
    ctl(0, "del --cold nic2", NULL);
    json(0, "add-disk --cold --id disk1 --path $1 --block-size 512 --physical-block-size 4096", VALUES(own),
         PARTS("\"answer\":\"done\"", "\"state\":\"after-reboot\"", "\"slot\":5"));
    json(1, "add-disk --cold --path /no/such/image", NULL, PARTS("\"errno\":2"));
    ctl(0, "check", NULL);
    CHECK_TEXT(said.out, "nothing stands in the way\n");
    json(0, "check", NULL, PARTS("[]"));
    /* The guest of another record has the image of this one. */
    ctl(0, "add-disk --cold --id theirs --path $1", VALUES(image));
    ctl(5, "check", NULL);
    says("in use by another QEMU");
    ctl(0, "del --cold theirs", NULL);
    ctl(0, "plan boot", NULL);
    CHECK_TEXT(said.out, "2 devices, and room for 26 more\n");
    json(0, "plan boot", NULL, PARTS("\"machine\":\"pc\"", "\"devices\":2", "\"free\":26"));
    ok(unlink(own));
    ctl(5, "check", NULL);
    says("off.img");
    json(5, "check", NULL, PARTS("\"kind\":\"image\"", "\"id\":\"disk1\""));
    /* It would not be part of a migration target. */
    json(0, "check --migration", NULL, PARTS("[]"));
    image_raw(own, 4 * MEBIBYTE);
    json(1, "check --socket /nowhere", NULL, PARTS("\"errno\":2"));
    ctl(0, "boot --print --paused --incoming tcp:127.0.0.1:4444", NULL);
    says("-S\n");
    says("-incoming\ntcp:127.0.0.1:4444\n");
    CHECK(strstr(said.out, "disk1") == NULL); /* It waits for a boot, and this is none. */
    json(0, "convert native $1", VALUES(copy), PARTS("\"runtime\":"));
    ctl(1, "convert native $1", VALUES(copy));
    complains("exists already");
    example_run(&said,
                "list=$(env -u KVMCTL_SOCKET kvmctl list) && copy=$(env -u KVMCTL_SOCKET kvmctl list --runtime $1) && "
                "test \"$list\" = \"$copy\"",
                VALUES(copy));
    CHECK_NUMBER(said.status, 0);
    ctl(0, "del --cold nic1 nobody --verbose", NULL);
    CHECK_TEXT(said.out, "nic1 is out of the record\nnobody is not there\n");
    json(0, "del --cold disk1", NULL, PARTS("\"answer\":\"done\""));
    unsetenv("KVMCTL_SOCKET");
}

/* A disk over TLS, whose credentials have a password: each start is given that. */
static void secrets(void)
{
    char record[TEST_PATH], file[TEST_PATH];

    path_in(record, qemu->dir, "secrets");
    path_in(file, qemu->dir, "password");
    file_write(file, "sesame", 6);
    setenv("KVMCTL_RUNTIME", record, 1);
    example_run(&said, "kvmctl init -- qemu-system-x86_64 -machine pc-i440fx-7.2", NULL);
    CHECK_NUMBER(said.status, 0);
    ctl(0,
        "add-disk --cold --id far --nbd storage:10809,tls-creds=tls --secret password=$1 --tls-creds '{\"tls\": "
        "{\"qom-type\": \"tls-creds-x509\", \"dir\": \"/etc/pki/qemu\", \"passwordid\": \"password\"}}'",
        VALUES(file));
    ctl(1, "add-disk --cold --nbd storage:1 --secret password=$1", VALUES(file));
    complains("password is given, and no node of the source names it");
    ctl(1, "add-disk --cold --nbd storage:1,tls-creds=tls --secret tls=/no/such/file", NULL);
    complains("/no/such/file");
    ctl(2, "add-disk --cold --nbd storage:1 --secret password", NULL);
    complains("NAME=FILE");
    ctl(1, "boot --print", NULL);
    complains("have not been given for this start: password");
    json(5, "check", NULL, PARTS("\"kind\":\"secret\"", "\"id\":\"far\""));
    ctl(0, "boot --print --secret far:password=$1", VALUES(file));
    says("qom-type=secret,file=/proc/self/fd/3,id=far-password\n");
    says("id=far-tls");
    CHECK(strstr(said.out, "sesame") == NULL && strstr(said.out, "c2VzYW1l") == NULL);
}

/* Whoever starts it a second time is told, and the guest keeps its monitor and its record. */
static void boot_again(const char *socket)
{
    char *before = kvmctl_record(), *after;

    json(1, "boot", NULL, PARTS("\"errno\":16", "the guest runs already", socket));
    ctl(1, "boot --incoming defer", NULL);
    complains("the guest runs already: process ");
    ctl(5, "check", NULL);
    says("the guest runs already");
    json(5, "check", NULL, PARTS("\"kind\":\"running\""));
    after = kvmctl_record();
    CHECK_TEXT(after, before);
    free(before);
    free(after);
    kvmctl_looks(true);
    ctl(0, "verify", NULL);
}

/* The guest starts again from its record, with what it had. */
static void boot(void)
{
    struct talk talk;
    char first[TEST_PATH], socket[TEST_PATH], command[1024];
    const char *program = getenv("KVM_HOTPLUG_TEST_QEMU");

    path_in(first, qemu->dir, "cold");
    path_in(socket, qemu->dir, "cold.qmp");
    setenv("KVMCTL_RUNTIME", first, 1);
    snprintf(
        command, sizeof command,
        "kvmctl init -- %s -S -nodefaults -display none -machine %s,accel=tcg -m 32 -qmp unix:%s,server=on,wait=off",
        program != NULL ? program : "qemu-system-x86_64", qemu->q35 ? "q35" : "pc", socket);
    example_run(&said, command, NULL);
    CHECK_NUMBER(said.status, 0);
    json(0, "boot --print", NULL, PARTS("\"-nodefaults\"", "\"-S\""));
    /* A QEMU that is known by --socket alone. */
    json(1, "boot --socket $1", VALUES(qemu->qmp_path), PARTS("\"errno\":16", qemu->qmp_path));
    kvmctl_looks(false);
    for (int round = 0; round < 2; round++) {
        example_start(&talk, "exec kvmctl boot --spare-ports 2", NULL);
        /* The socket is there before anybody listens at it; and only a look leaves the record to kvmctl
         * boot. */
        for (int i = 0; i < 1000; i++) {
            example_run(&said, "kvmctl check --socket $1", VALUES(socket));
            if (said.status != 1)
                break;
            sleep_ms(10);
        }
        setenv("KVMCTL_SOCKET", socket, 1);
        if (round == 0)
            ctl(0, "add-nic --id nic1 --link-down", NULL);
        ctl(0, "verify", NULL);
        ctl(0, "list", NULL);
        says("nic1");
        says("link down");
        boot_again(socket);
        ctl(0, "map", NULL);
        CHECK((strstr(said.out, "PRT  a root port or bridge: its bus is drawn by itself") != NULL) == qemu->q35);
        ctl(0, "qmp quit", NULL);
        CHECK_NUMBER(example_end(&talk), 0);
        unsetenv("KVMCTL_SOCKET");
    }
    example_run(&said, "env KVMCTL_RUNTIME=/no/such/file kvmctl boot", NULL);
    CHECK_NUMBER(said.status, 1);
}

int main(void)
{
    char runtime[TEST_PATH];

    test_begin("qemu-kvmctl-boot", 120);
    net_private();
    bridge_new(bridge);
    qemu = qemu_start(&(struct qemu_options){.paused = true});
    path_in(image, qemu->dir, "a.img");
    image_raw(image, 4 * MEBIBYTE);
    path_in(runtime, qemu->dir, "theirs");
    setenv("KVMCTL_RUNTIME", runtime, 1);
    setenv("KVMCTL_SOCKET", qemu->qmp_path, 1);
    ctl(0, "init", NULL);
    ctl(0, "add-disk --path $1", VALUES(image));
    cold();
    secrets();
    boot();
    qemu_stop(qemu);
    return test_end();
}
