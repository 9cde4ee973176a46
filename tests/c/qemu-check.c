/* Before a guest is started: does this host have what it needs, and does the QEMU here know it? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/net.h"
#include "support/plug.h"

enum { MOST = 16, WAIT_MS = 10000 };

static char directory[TEST_PATH], bridge[IF_NAMESIZE];

/* What is found, each as "number id", in any order. */
static void expect(struct kvm_runtime *runtime, uint32_t flags, const char *qmp, const char *const want[])
{
    struct kvm_runtime_problem found[MOST];
    char line[80];
    size_t count = 0, i, wanted;
    bool seen;

    works(kvmh_runtime_check(runtime, flags, qmp, (uint32_t)test_patience(WAIT_MS), found, MOST, &count, &failure));
    for (wanted = 0; want[wanted] != NULL; wanted++) {
        seen = false;
        for (i = 0; i < count; i++) {
            snprintf(line, sizeof line, "%u %s", found[i].kind, found[i].id);
            seen = seen || strcmp(line, want[wanted]) == 0;
        }
        if (!seen)
            FAIL("\"%s\" is not among the %zu problems, the first: %s", want[wanted], count,
                 count > 0 ? found[0].text : "");
    }
    if (count != wanted)
        FAIL("%zu problems, not %zu; the first: %u %s %s", count, wanted, found[0].kind, found[0].id, found[0].text);
    test_count_check();
}

#define expects(runtime, flags, qmp, ...) expect((runtime), (flags), (qmp), (const char *const[]){__VA_ARGS__, NULL})

/* A QEMU that runs nothing, to be asked. */
static struct qemu *probe(void)
{
    return qemu_start(&(struct qemu_options){.machine = "none", .paused = true});
}

static struct kvm_runtime *copy(const char *path, const char *old, const char *new)
{
    struct kvm_runtime *runtime = NULL;
    char *record = file_read(path, NULL), *at = strstr(record, old), text[8192], other[TEST_PATH];

    CHECK(at != NULL);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - record), record, new, at + strlen(old));
    path_in(other, directory, "copy.runtime");
    file_write(other, text, strlen(text));
    works(kvm_runtime_load_readonly(other, &runtime, &failure));
    free(record);
    return runtime;
}

static void changed(const char *path, const char *qmp, const char *old, const char *new, const char *want)
{
    struct kvm_runtime *runtime = copy(path, old, new);

    expects(runtime, 0, qmp, want);
    kvm_runtime_free(runtime);
}

/* Another QEMU than that of the record has the images: only their locks tell. */
static void runs_elsewhere(const char *image, const char *base)
{
    static const char command[] = "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[\"qemu\"],\"disks\":["
                                  "{\"id\":\"%s\",\"generation\":1,\"path\":\"%s\",\"format\":\"raw\"%s}]}";
    static const struct {
        const char *more, *image_problem, *base_problem;
    } uses[] = {
        {"", "12 one", "12 one"},
        {",\"read_only\":true", "12 one", NULL},
        {",\"share_rw\":true", "12 one", "12 one"},
        {",\"share_rw\":true,\"read_only\":true", NULL, NULL},
    };
    char other[TEST_PATH], text[1024];
    struct kvm_runtime *runtime = NULL;
    struct kvm_boot *boot = NULL;
    size_t i, which;

    path_in(other, directory, "other.runtime");
    for (i = 0; i < sizeof uses / sizeof *uses; i++) {
        for (which = 0; which < 2; which++) {
            const char *problem = which == 0 ? uses[i].image_problem : uses[i].base_problem;

            snprintf(text, sizeof text, command, "one", which == 0 ? image : base, uses[i].more);
            file_write(other, text, strlen(text));
            works(kvm_runtime_load(other, &runtime, &failure));
            expects(runtime, 0, NULL, problem);
            /* A boot says so before it changes anything, and a target does not mind: its guest still runs
             * elsewhere. */
            if (problem != NULL)
                fails(kvmh_runtime_boot(runtime, NULL, &boot, &failure), -EBUSY, KVM_HOTPLUG_ERROR_IMAGE_LOCKED, "one",
                      "in use by another QEMU");
            else
                works(kvmh_runtime_boot(runtime, NULL, &boot, &failure));
            kvm_boot_free(boot);
            boot = NULL;
            kvm_runtime_free(runtime);
            ok(unlink(other));
        }
    }
}

/* Netdevs are asked of the QEMU that is to have them. */
static void netdevs(const char *qmp)
{
    static const char command[] = "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[\"qemu\"],\"nics\":["
                                  "{\"id\":\"lan\",\"generation\":1,\"mac\":\"52:54:00:00:00:01\",\"netdev\":%s}]}";
    static const char stream[] = "{\"type\":\"stream\",\"addr\":{\"type\":\"unix\",\"path\":\"/run/a\"}}";
    char other[TEST_PATH], text[1024];
    struct kvm_runtime *runtime = NULL;
    unsigned major, minor;

    qemu_version(NULL, &major, &minor);
    path_in(other, directory, "netdev.runtime");
    snprintf(text, sizeof text, command, "{\"type\":\"user\"}");
    file_write(other, text, strlen(text));
    works(kvm_runtime_load_readonly(other, &runtime, &failure));
    expects(runtime, 0, qmp, NULL);
    kvm_runtime_free(runtime);
    snprintf(text, sizeof text, command, stream);
    file_write(other, text, strlen(text));
    works(kvm_runtime_load_readonly(other, &runtime, &failure));
    expects(runtime, 0, qmp, major * 100 + minor < 702 ? "8 lan" : NULL);
    kvm_runtime_free(runtime);
    snprintf(text, sizeof text, command, "{\"type\":\"dgram\",\"local\":7}");
    file_write(other, text, strlen(text));
    works(kvm_runtime_load_readonly(other, &runtime, &failure));
    expects(runtime, 0, qmp, "8 lan");
    kvm_runtime_free(runtime);
}

int main(void)
{
    char image[TEST_PATH], base[TEST_PATH], away[TEST_PATH], cow[TEST_PATH], path[96];
    struct kvm_runtime_problem found;
    struct kvm_runtime *runtime = NULL;
    struct qemu *asked;
    struct vm vm;
    size_t count = 0;

    test_begin("qemu-check", 90);
    net_private();
    bridge_new(bridge);
    directory_new(directory);
    path_in(image, directory, "data.img");
    path_in(base, directory, "base.img");
    path_in(cow, directory, "top.qcow2");
    image_raw(image, MEBIBYTE);
    image_raw(base, MEBIBYTE);
    image_qcow2(cow, "1M", base, "raw");
    vm_prepare(&vm, &(struct qemu_options){.root_ports = -1});
    vm_boot(&vm, &(struct kvm_boot_options){.spare_ports = 4});
    works(add_nic(&vm, &(struct kvm_hotplug_nic){.id = "lan", .bridge = bridge, .ifname = "exact"}, NULL));
    works(add_disk(&vm, &(struct kvm_hotplug_disk){.id = "data", .path = image}, NULL));
    works(
        add_disk(&vm, &(struct kvm_hotplug_disk){.id = "top", .path = cow, .format = KVM_HOTPLUG_FORMAT_QCOW2}, NULL));
    snprintf(path, sizeof path, "%s", vm.path);

    /* While the guest runs here, its tap has the name; a machine type by its short name is not good for
     * migrations. */
    works(kvm_runtime_load_readonly(path, &runtime, &failure));
    expects(runtime, KVM_RUNTIME_CHECK_INCOMING, NULL, "3 lan", "7 ", "11 ");
    expects(runtime, 0, NULL, "3 lan", "11 ", "12 data", "12 top");
    runs_elsewhere(image, base);
    vm_switch_off(&vm);
    asked = probe();
    expects(runtime, 0, asked->qmp_path, NULL);
    expects(runtime, 0, asked->qmp_path, NULL);
    netdevs(asked->qmp_path);

    changed(path, NULL, bridge, "khtnone", "2 lan");
    changed(path, NULL, bridge, "lo", "2 lan");
    changed(path, NULL, "\"ifname\"", "\"vhost\": true, \"ifname\"", "4 lan");
    changed(path, NULL, "data.img", "nodata.img", "1 data");
    changed(path, asked->qmp_path, "\"id\": \"data\"", "\"id\": \"data\", \"model\": \"virtio-blk-vax\"", "8 data");
    path_in(away, directory, "away.img");
    ok(rename(base, away));
    expects(runtime, 0, NULL, "1 top");
    /* The very file: another one of that name is not what was recorded. */
    ok(rename(away, base));
    expects(runtime, 0, NULL, NULL);
    kvm_runtime_free(runtime);

    /* A machine type that this QEMU does not have, but that is pinned. */
    runtime = copy(path, vm.qemu->q35 ? "\"q35\"" : "\"pc\"", vm.qemu->q35 ? "\"pc-q35-99.9\"" : "\"pc-i440fx-99.9\"");
    expects(runtime, KVM_RUNTIME_CHECK_INCOMING, asked->qmp_path, "6 ");
    kvm_runtime_free(runtime);
    /* A device of the source without a place. */
    runtime = copy(path, "\"address\"", "\"elsewhere\"");
    expects(runtime, KVM_RUNTIME_CHECK_INCOMING, NULL, "7 ", "9 lan");

    invalid(kvmh_runtime_check(runtime, 8, NULL, 0, NULL, 0, &count, &failure), "flag");
    fails(kvmh_runtime_check(runtime, 0, "/nowhere", 0, NULL, 0, &count, &failure), -ENOENT,
          KVM_HOTPLUG_ERROR_NOT_FOUND, "/nowhere");
    works(kvmh_runtime_check(runtime, KVM_RUNTIME_CHECK_INCOMING, NULL, 0, &found, 1, &count, &failure));
    CHECK_NUMBER(count, 2);
    kvm_runtime_free(runtime);
    qemu_stop(asked);
    vm_stop(&vm);
    return test_end();
}
