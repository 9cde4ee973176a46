/* The example programs with a booted guest: kvmctl waits for it and shows that it does, the event loop goes
 * on meanwhile, and the plugin host lists what there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/clock.h"
#include "support/example.h"
#include "support/files.h"
#include "support/guest.h"
#include "support/qemu.h"

static struct qemu *qemu;
static char runtime[TEST_PATH], image[TEST_PATH];
static struct said said;

#define VALUES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void run_example(int status, const char *command, const char *const values[])
{
    example_run(&said, command, values);
    if (said.status != status)
        FAIL("%s ended with %d, not %d:\n%s%s", command, said.status, status, said.out, said.err);
    test_count_check();
}

static void say(struct talk *talk, const char *line)
{
    CHECK_NUMBER(write(talk->in, line, strlen(line)), (long long)strlen(line));
}

/* All are asked for at once, and each that is gone is told, whatever becomes of the others. */
static void several(void)
{
    run_example(0, "kvmctl add-disk --path $1 --id data", VALUES(image));
    run_example(0, "kvmctl add-nic --id lan --vhost off", NULL);
    CHECK(guest_wait(qemu, "ls /sys/block | grep vd", 10000));
    CHECK(guest_wait(qemu, "ls /sys/class/net | grep -v lo", 10000));
    run_example(0, "kvmctl del lan nobody data", NULL);
    CHECK_TEXT(said.out, "lan is gone\nnobody is not there\ndata is gone\n");
}

static void kvmctl(void)
{
    run_example(0, "kvmctl init", NULL);
    run_example(0, "kvmctl add-disk --path $1 --id data", VALUES(image));
    CHECK(guest_wait(qemu, "ls /sys/block | grep vd", 10000));
    run_example(0, "kvmctl del data", NULL);
    CHECK_TEXT(said.out, "data is gone\n");
    /* Only a terminal shows that it is waited for. */
    CHECK(strstr(said.err, "waiting") == NULL);
    run_example(0, "kvmctl add-disk --path $1 --id data", VALUES(image));
    CHECK(guest_wait(qemu, "ls /sys/block | grep vd", 10000));
    /* A wheel on a terminal, wiped when it is over. */
    run_example(0, "TERM=xterm script -qec 'kvmctl del data' /dev/null", NULL);
    CHECK(strstr(said.out, "| waiting for the guest to let go") != NULL);
    CHECK(strstr(said.out, "\r\033[2Kdata is gone") != NULL);
    run_example(0, "kvmctl add-disk --path $1 --id data", VALUES(image));
    CHECK(guest_wait(qemu, "ls /sys/block | grep vd", 10000));
    run_example(0, "kvmctl --json del data", NULL);
    CHECK_TEXT(said.out, "{\"answer\":\"done\",\"id\":\"data\"}\n");
    several();
}

static void loop(void)
{
    struct talk talk;
    char line[TEST_PATH + 8];

    example_start(&talk, "exec loop $1 $2", VALUES(runtime, qemu->qmp_path));
    example_says(&talk, "ready\n", test_patience(10000));
    snprintf(line, sizeof line, "disk %s\n", image);
    say(&talk, line);
    example_says(&talk, "is on its way\n", test_patience(10000));
    example_says(&talk, "is in the guest\n", test_patience(10000));
    CHECK(guest_wait(qemu, "ls /sys/block | grep vd", 10000));
    /* The answer comes at once, the news when the guest is done. */
    say(&talk, qemu->q35 ? "del disk-pci-rp0\nlist\n" : "del disk-pci-4\nlist\n");
    example_says(&talk, "is asked to leave\n", test_patience(10000));
    example_says(&talk, "1 devices\n", test_patience(10000));
    example_says(&talk, "is gone\n", test_patience(30000));
    say(&talk, "list\nde");
    example_says(&talk, "0 devices\n", test_patience(10000));
    say(&talk, "l nobody\nfrobnicate\n");
    example_says(&talk, "nobody is not there\n", test_patience(10000));
    example_says(&talk, "there is no command \"frobnicate\"\n", test_patience(10000));
    say(&talk, "nic nosuchbridge\n");
    example_says(&talk, "failed: ", test_patience(10000));
    qmp(qemu, "{\"execute\":\"system_reset\"}");
    example_says(&talk, "event 12", test_patience(10000));
    say(&talk, "quit\n");
    CHECK_NUMBER(example_end(&talk), 0);
}

static void plugin(void)
{
    run_example(0, "kvmctl add-disk --path $1 --id data", VALUES(image));
    run_example(0, "plugin libkvm_hotplug.so.0 $1", VALUES(runtime));
    CHECK(strncmp(said.out, "1 devices\ndata ", 15) == 0);
    run_example(0, "plugin libkvm_hotplug.so.0 $1 $2", VALUES(runtime, qemu->qmp_path));
    CHECK(strncmp(said.out, "1 devices\ndata ", 15) == 0);
    run_example(1, "plugin libkvm_hotplug.so.0 /no/such/file", NULL);
    CHECK(strstr(said.err, "/no/such") != NULL);
    run_example(1, "plugin libc.so.6 $1", VALUES(runtime));
    CHECK(strstr(said.err, "this is not kvm-hotplug") != NULL);
    run_example(1, "plugin /no/such/library.so $1", VALUES(runtime));
    CHECK(strstr(said.err, "cannot open shared object file") != NULL);
    run_example(2, "plugin", NULL);
}

int main(void)
{
    test_begin("guest-examples", 240);
    qemu = qemu_start(&(struct qemu_options){.guest = true});
    path_in(runtime, qemu->dir, "runtime");
    path_in(image, qemu->dir, "a.img");
    image_raw(image, MEBIBYTE);
    setenv("KVMCTL_RUNTIME", runtime, 1);
    setenv("KVMCTL_SOCKET", qemu->qmp_path, 1);
    kvmctl();
    plugin();
    run_example(0, "kvmctl del data", NULL);
    /* It resets the guest. */
    loop();
    qemu_stop(qemu);
    return test_end();
}
