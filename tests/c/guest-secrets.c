/* Encrypted disks: a LUKS image, a qcow2 that is encrypted, and a network block device over TLS. The guest
 * reads and writes them; on the host nothing of it is legible. They are there after a start from the record
 * and on another host, for which the secrets are given anew, and their objects leave QEMU with them. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/files.h"
#include "support/guest.h"
#include "support/hosts.h"
#include "support/image.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/qmp.h"
#include "support/reaper.h"
#include "support/run.h"
#include "support/view.h"

enum { DISKS = 3, LUKS = 0, QCOW2 = 1, TLS = 2 };

#define PASSPHRASE "open, sesame"
#define ENCODED "b3Blbiwgc2VzYW1l"

static char directory[TEST_PATH], keys[TEST_PATH], images[DISKS][TEST_PATH], sources[DISKS][1024], tls[1024];
static struct kvm_hotplug_device disks[DISKS];
static char names[DISKS][16];
static const char *const ids[DISKS] = {"dark", "night", "far"};
static const char *const written[DISKS] = {"behind luks", "in an encrypted qcow2", "over tls"};
static const char objects[] = "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/objects\"}}";

static pid_t serve(void)
{
    char credentials[2 * TEST_PATH];
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        snprintf(credentials, sizeof credentials, "tls-creds-psk,id=tls,endpoint=server,dir=%s", keys);
        execlp("qemu-nbd", "qemu-nbd", "-t", "-e", "4", "-f", "raw", "-x", "disk", "-b", "198.19.0.1", "-p", "10811",
               "--object", credentials, "--tls-creds", "tls", images[TLS], (char *)NULL);
        _exit(127);
    }
    reaper_owns_process(child);
    return child;
}

/* qemu-img measures the processor for it, and gives up where others keep that busy. */
static void make_encrypted(const char *image, const char *format, const char *options)
{
    const char *const create[] = {"qemu-img", "create", "-q", "--object", "secret,id=key,data=open,, sesame",
                                  "-f",       format,   "-o", options,    image,
                                  "8M",       NULL};
    int tries = 1;

    while (run(create) != 0)
        CHECK(++tries < 50);
}

static void make_images(void)
{
    static const char *const files[DISKS] = {"a.luks", "b.qcow2", "c.img"};
    static const char key[] = "guest:000102030405060708090a0b0c0d0e0f\n";
    char path[TEST_PATH];
    int i;

    for (i = 0; i < DISKS; i++)
        path_in(images[i], directory, files[i]);
    make_encrypted(images[LUKS], "luks", "key-secret=key,iter-time=10");
    make_encrypted(images[QCOW2], "qcow2", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10");
    image_raw(images[TLS], 8 * MEBIBYTE);
    path_in(keys, directory, "keys");
    ok(mkdir(keys, 0700));
    path_in(path, keys, "keys.psk");
    file_write(path, key, strlen(key));
    snprintf(sources[LUKS], sizeof sources[LUKS],
             "{\"driver\": \"luks\", \"key-secret\": \"key\", \"file\": {\"driver\": \"file\", \"filename\": \"%s\"}}",
             images[LUKS]);
    snprintf(sources[QCOW2], sizeof sources[QCOW2],
             "{\"driver\": \"qcow2\", \"encrypt\": {\"format\": \"luks\", \"key-secret\": \"key\"}, "
             "\"file\": {\"driver\": \"file\", \"filename\": \"%s\"}}",
             images[QCOW2]);
    snprintf(sources[TLS], sizeof sources[TLS],
             "{\"driver\": \"nbd\", \"server\": {\"type\": \"inet\", \"host\": \"198.19.0.1\", \"port\": \"10811\"}, "
             "\"export\": \"disk\", \"tls-creds\": \"tls\"}");
    snprintf(tls, sizeof tls, "{\"tls\": {\"qom-type\": \"tls-creds-psk\", \"dir\": \"%s\", \"username\": \"guest\"}}",
             keys);
}

static struct kvm_hotplug_disk asked(int i, const struct kvm_hotplug_secret *secret)
{
    struct kvm_hotplug_disk disk = {.id = ids[i], .source = sources[i]};

    if (i == TLS) {
        disk.tls_creds = tls;
    } else {
        disk.secrets = secret;
        disk.secret_count = 1;
    }
    return disk;
}

static void is_in_no_file(const struct vm *vm)
{
    CHECK(!vm_record_contains(vm, PASSPHRASE));
    CHECK(!vm_record_contains(vm, ENCODED));
}

static size_t logged;

static void has_no_secret(void *userdata, int level, const char *message)
{
    (void)userdata;
    (void)level;
    logged++;
    CHECK(!strstr(message, PASSPHRASE) && !strstr(message, ENCODED));
}

static void plug_all(struct vm *vm)
{
    struct kvm_hotplug_secret right = {.name = "key", .data = PASSPHRASE, .length = strlen(PASSPHRASE)};
    struct kvm_hotplug_secret wrong = {.name = "key", .data = "wrong", .length = 5};
    int i;

    for (i = 0; i < DISKS; i++) {
        struct kvm_hotplug_disk disk = asked(i, &wrong);
        char *plan = NULL;

        if (i != TLS) {
            fails(kvmh_add_disk(vm->guest, &disk, NULL, &failure), -EREMOTEIO, KVM_HOTPLUG_ERROR_QMP,
                  "Invalid password");
            CHECK(!qmp_contains(vm->qemu, objects, i == LUKS ? "dark-key" : "night-key"));
        }
        disk = asked(i, &right);
        works(kvmh_plan_disk(vm->guest, &disk, NULL, &plan, &failure));
        CHECK_PART(plan, "object-add");
        CHECK(!strstr(plan, ENCODED));
        kvm_hotplug_text_free(plan);
        works(add_disk(vm, &disk, &disks[i]));
        view_disk(vm->qemu, &disks[i], names[i]);
        CHECK_NUMBER(guest_does(vm->qemu, "printf '%s' | dd of=/dev/%s bs=512 seek=1 conv=sync,fsync 2>/dev/null",
                                written[i], names[i]),
                     0);
        /* Again is the same. */
        works(add_disk(vm, &disk, &disks[i]));
        is_in_no_file(vm);
    }
    CHECK(qmp_contains(vm->qemu, objects, "dark-key"));
    CHECK(qmp_contains(vm->qemu, objects, "far-tls"));
}

static void look(struct vm *vm)
{
    int i;

    for (i = 0; i < DISKS; i++) {
        view_disk(vm->qemu, &disks[i], names[i]);
        guest_prints(vm->qemu, written[i],
                     "if dd if=/dev/%s bs=512 skip=1 count=1 of=/tmp/read 2>/tmp/why; then tr -d '\\000' </tmp/read;"
                     " else cat /tmp/why; fi",
                     names[i]);
    }
    CHECK_VERIFIED(vm);
}

static void refused(struct kvm_runtime *runtime, const struct kvm_boot_options *options, const char *lacking)
{
    struct kvm_boot *boot = NULL;

    fails(kvmh_runtime_boot(runtime, options, &boot, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, lacking,
          "have not been given for this start: key");
}

static void checked(struct kvm_runtime *runtime, size_t lacking)
{
    struct kvm_runtime_problem problems[8];
    size_t count = 0, found = 0, i;

    works(kvmh_runtime_check(runtime, 0, NULL, 0, problems, 8, &count, &failure));
    for (i = 0; i < count && i < 8; i++)
        found += problems[i].kind == KVM_RUNTIME_PROBLEM_SECRET;
    CHECK_NUMBER(found, lacking);
}

static void give(struct kvm_runtime *runtime, const char *disk)
{
    works(kvm_runtime_give_secret(runtime, disk, "key", PASSPHRASE, strlen(PASSPHRASE), &failure));
}

static void start_again(struct vm *vm, const struct kvm_boot_options *options)
{
    refused(vm->runtime, options, "dark");
    checked(vm->runtime, 2);
    give(vm->runtime, "dark");
    refused(vm->runtime, options, "night");
    checked(vm->runtime, 1);
    fails(kvm_runtime_give_secret(vm->runtime, "far", "key", "x", 1, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND,
          "far has no secret of that name; it has none");
    invalid(kvm_runtime_give_secret(vm->runtime, "night", "key", "", 0, &failure), "the secret is empty");
    give(vm->runtime, "night");
    vm_boot(vm, options);
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = 8}, incoming = {.incoming = KVM_BOOT_INCOMING_DEFER};
    struct vm first, second;
    pid_t server;
    int i;

    test_begin("guest-secrets", 240);
    hosts_new();
    directory_new(directory);
    make_images();
    server = serve();
    usleep(500000);
    vm_prepare(&first, &(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1});
    for_version(&first, &boot);
    works(kvm_runtime_set_log(first.runtime, KVM_HOTPLUG_LOG_DEBUG, has_no_secret, NULL, NULL, &failure));
    vm_boot(&first, &boot);
    plug_all(&first);
    CHECK(logged > 0);
    look(&first);
    vm_switch_off(&first);
    start_again(&first, &boot);
    look(&first);

    hosts_enter(1);
    vm_copy(&second, &first);
    for_version(&second, &incoming);
    start_again(&second, &incoming);
    vm_move(&first, &second, &(struct migration){.to = 1});
    hosts_enter(0);
    vm_stop(&first);
    hosts_enter(1);
    look(&second);
    for (i = 0; i < DISKS; i++) {
        works(unplug(&second, disks[i].id, 0));
        CHECK(view_is_gone(second.qemu, &disks[i]));
        check_gone(&second, disks[i].id);
    }
    CHECK(!qmp_contains(second.qemu, objects, "-key"));
    CHECK(!qmp_contains(second.qemu, objects, "far-tls"));
    is_in_no_file(&second);
    vm_stop(&second);
    ok(kill(server, SIGKILL));
    CHECK_NUMBER(waitpid(server, NULL, 0), server);
    CHECK(!image_has(images[LUKS], "raw", 512, written[LUKS]));
    CHECK(image_has(images[TLS], "raw", 512, written[TLS]));
    return test_end();
}
