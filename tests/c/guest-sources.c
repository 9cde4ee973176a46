/* Disks that are no path: network block devices of qemu-nbd by both kinds of sockets, a qcow2 over one, and a
 * qcow2 whose data is in another file. The guest reads and writes them; one survives a restart of its server;
 * they are there after the guest was started from its record, and on another host. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/guest.h"
#include "support/hosts.h"
#include "support/image.h"
#include "support/net.h"
#include "support/plug.h"
#include "support/reaper.h"
#include "support/run.h"
#include "support/view.h"

enum { DISKS = 4, UNIX = 0, TCP = 1, OVER_NBD = 2, DATA_FILE = 3 };

static char directory[TEST_PATH], sockets[3][TEST_PATH], images[DISKS][TEST_PATH], data[TEST_PATH],
    sources[DISKS][1024];
static struct kvm_hotplug_device disks[DISKS];
static char names[DISKS][16];
static const char *const written[DISKS] = {"by unix", "by tcp", "over nbd", "in a data file"};

/* A server for as many clients as come. The image is raw for it, whatever is in it. */
static pid_t serve(const char *image, const char *socket_path)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        if (socket_path)
            execlp("qemu-nbd", "qemu-nbd", "-t", "-e", "4", "-f", "raw", "-x", "disk", "-k", socket_path, image,
                   (char *)NULL);
        else
            execlp("qemu-nbd", "qemu-nbd", "-t", "-e", "4", "-f", "raw", "-x", "disk", "-b", "198.19.0.1", "-p",
                   "10810", image, (char *)NULL);
        _exit(127);
    }
    reaper_owns_process(child);
    return child;
}

static void end(pid_t server)
{
    CHECK_NUMBER(kill(server, SIGKILL), 0);
    CHECK_NUMBER(waitpid(server, NULL, 0), server);
}

static char *made(const struct kvm_hotplug_source *parts)
{
    char *text = NULL;

    works(kvm_hotplug_source_json(parts, sizeof *parts, &text, &failure));
    return text;
}

static void describe(void)
{
    struct kvm_hotplug_source parts = {.nbd_socket = sockets[0], .nbd_export = "disk", .nbd_reconnect_delay = 30};
    char *text = made(&parts);

    snprintf(sources[UNIX], sizeof sources[UNIX], "%s", text);
    kvm_hotplug_text_free(text);
    parts = (struct kvm_hotplug_source){.nbd_host = "198.19.0.1", .nbd_port = 10810, .nbd_export = "disk"};
    text = made(&parts);
    snprintf(sources[TCP], sizeof sources[TCP], "%s", text);
    kvm_hotplug_text_free(text);
    parts = (struct kvm_hotplug_source){.nbd_socket = sockets[2], .nbd_export = "disk"};
    text = made(&parts);
    snprintf(sources[OVER_NBD], sizeof sources[OVER_NBD], "{\"driver\": \"qcow2\", \"file\": %s}", text);
    kvm_hotplug_text_free(text);
    snprintf(sources[DATA_FILE], sizeof sources[DATA_FILE],
             "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"%s\"}, "
             "\"data-file\": {\"driver\": \"file\", \"filename\": \"%s\"}}",
             images[DATA_FILE], data);
    invalid(kvm_hotplug_source_json(&(struct kvm_hotplug_source){.nbd_host = "x", .rbd_pool = "p"}, sizeof parts, &text,
                                    &failure),
            "the parts of one of nbd, rbd and luks");
}

static void make_images(void)
{
    static const char *const names_of[DISKS] = {"unix.img", "tcp.img", "over.qcow2", "data.qcow2"};
    char option[2 * TEST_PATH];
    int i;

    for (i = 0; i < DISKS; i++)
        path_in(images[i], directory, names_of[i]);
    for (i = 0; i < 3; i++) {
        char name[16];

        snprintf(name, sizeof name, "nbd%d.sock", i);
        path_in(sockets[i], directory, name);
    }
    path_in(data, directory, "data.raw");
    image_raw(images[UNIX], 8 * MEBIBYTE);
    image_raw(images[TCP], 8 * MEBIBYTE);
    /* What is served does not grow. */
    ok(run((const char *const[]){"qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=full",
                                 images[OVER_NBD], "8M", NULL}));
    snprintf(option, sizeof option, "data_file=%s", data);
    ok(run(
        (const char *const[]){"qemu-img", "create", "-q", "-f", "qcow2", "-o", option, images[DATA_FILE], "8M", NULL}));
    describe();
}

static void say(struct vm *vm, int disk, int block, const char *text)
{
    CHECK_NUMBER(guest_does(vm->qemu, "printf '%s' | dd of=/dev/%s bs=512 seek=%d conv=sync,fsync 2>/dev/null", text,
                            names[disk], block),
                 0);
}

/* Why it cannot be read is printed instead. */
static void expect(struct vm *vm, int disk, int block, const char *text)
{
    guest_prints(vm->qemu, text,
                 "if dd if=/dev/%s bs=512 skip=%d count=1 of=/tmp/read 2>/tmp/why; then tr -d '\\000' </tmp/read;"
                 " else cat /tmp/why; dmesg | tail -n 5; fi",
                 names[disk], block);
}

static void look(struct vm *vm)
{
    int i;

    for (i = 0; i < DISKS; i++) {
        view_disk(vm->qemu, &disks[i], names[i]);
        expect(vm, i, 1, written[i]);
    }
    CHECK_VERIFIED(vm);
}

static void plug_all(struct vm *vm)
{
    static const char *const ids[DISKS] = {"unix", "tcp", "over", "data"};
    int i;

    for (i = 0; i < DISKS; i++) {
        struct kvm_hotplug_disk disk = {.id = ids[i], .source = sources[i]};

        works(add_disk(vm, &disk, &disks[i]));
        view_disk(vm->qemu, &disks[i], names[i]);
        guest_prints(vm->qemu, "16384", "cat /sys/block/%s/size", names[i]);
        say(vm, i, 1, written[i]);
        /* Again is the same. */
        works(add_disk(vm, &disk, &disks[i]));
    }
    CHECK_NUMBER(recorded(vm), DISKS);
}

/* What the guest writes while the server is away, waits for the next one. */
static void restart_server(struct vm *vm, pid_t *server)
{
    end(*server);
    CHECK_NUMBER(guest_does(vm->qemu,
                            "(printf 'meanwhile' | dd of=/dev/%s bs=512 seek=3 conv=sync,fsync && echo ok"
                            " >/tmp/written) >/dev/null 2>&1 &",
                            names[UNIX]),
                 0);
    CHECK(!guest_wait(vm->qemu, "[ -e /tmp/written ]", 1500));
    unlink(sockets[0]);
    *server = serve(images[UNIX], sockets[0]);
    CHECK(guest_wait(vm->qemu, "[ -e /tmp/written ]", 60000));
    expect(vm, UNIX, 3, "meanwhile");
    expect(vm, UNIX, 1, written[UNIX]);
}

static void resizes(struct vm *vm)
{
    uint64_t bytes = 0;

    works(kvm_hotplug_resize_disk(vm->guest, "data", 16 * MEBIBYTE, 0, 0, &bytes, &failure));
    CHECK_NUMBER(bytes, 16 * MEBIBYTE);
    CHECK(guest_wait(vm->qemu, "cat /sys/block/*/size | grep -qx 32768", 20000));
    fails(kvm_hotplug_resize_disk(vm->guest, "unix", 16 * MEBIBYTE, 0, 0, &bytes, &failure), -EREMOTEIO,
          KVM_HOTPLUG_ERROR_QMP, "resize unix");
    invalid(kvm_hotplug_resize_disk(vm->guest, "unix", 0, 0, 0, &bytes, &failure), "its size is not known here");
}

int main(void)
{
    struct kvm_boot_options boot = {.spare_ports = 8};
    struct vm first, second;
    pid_t servers[3];
    int i;

    test_begin("guest-sources", 240);
    hosts_new();
    directory_new(directory);
    make_images();
    servers[0] = serve(images[UNIX], sockets[0]);
    servers[1] = serve(images[TCP], NULL);
    servers[2] = serve(images[OVER_NBD], sockets[2]);
    usleep(500000);
    vm_prepare(&first, &(struct qemu_options){.guest = true, .elsewhere = true, .root_ports = -1});
    for_version(&first, &boot);
    vm_boot(&first, &boot);
    plug_all(&first);
    look(&first);
    restart_server(&first, &servers[0]);
    resizes(&first);
    vm_switch_off(&first);
    vm_boot(&first, &boot);
    look(&first);
    vm_migrate(&first, &second, &(struct migration){.to = 1});
    look(&second);
    for (i = 0; i < DISKS; i++) {
        works(unplug(&second, disks[i].id, 0));
        CHECK(view_is_gone(second.qemu, &disks[i]));
        check_gone(&second, disks[i].id);
    }
    vm_stop(&second);
    for (i = 0; i < 3; i++)
        end(servers[i]);
    CHECK(image_has(images[UNIX], "raw", 512, written[UNIX]));
    CHECK(image_has(images[OVER_NBD], "qcow2", 512, written[OVER_NBD]));
    CHECK(image_has(data, "raw", 512, written[DATA_FILE]));
    return test_end();
}
