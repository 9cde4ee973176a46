/* Every form of Ganeti's runtime files: loaded, listed, saved as it was, loaded again, and converted there
 * and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/files.h"
#include "support/library.h"

enum { MAX_DEVICES = 8 };

static const struct {
    const char *name;
    size_t devices;
    const char *first; /* id of the first device */
    const char *bus;   /* its bus, and its slot there */
    unsigned slot;
    bool same; /* saved unchanged it is the same file; others become lists of four */
} lists[] = {
    {"3entry-2.0.6", 2, NULL, "", 0, false},
    {"3entry-2.9.7", 2, "nic-003fc157-66a8-4e6d", "", 0, false},
    {"4entry-pci-2.10.8-oldargs", 4, "hotnic-003fc157-pci-6", "pci.0", 6, true},
    {"4entry-pci-2.15.2", 4, "hotnic-003fc157-pci-6", "pci.0", 6, true},
    {"4entry-hvinfo-2.16.2", 4, "nic-003fc157-66a8-4e6d", "pci.0", 14, true},
    {"4entry-hvinfo-3.0.2-plain", 4, "nic-003fc157-66a8-4e6d", "pci.0", 14, true},
    {"4entry-hvinfo-3.0.2-scsi-hd", 3, "nic-003fc157-66a8-4e6d", "pci.0", 12, true},
    {"4entry-hvinfo-3.1.0rc2-plain", 4, "nic-003fc157-66a8-4e6d", "pci.0", 14, true},
    {"4entry-hvinfo-3.2dev-live2-after-disk-add", 4, "nic-4564e5d5-8df4-40ec", "pci.0", 13, true},
    {"4entry-hvinfo-3.2dev-rbd-userspace", 3, "nic-003fc157-66a8-4e6d", "pci.0", 14, true},
    {"hand-unknown-keys", 4, "nic-003fc157-66a8-4e6d", "pci.0", 14, true},
};

static char directory[TEST_PATH], path[TEST_PATH], native[TEST_PATH], back[TEST_PATH];
static struct kvm_hotplug_device devices[MAX_DEVICES];

static uint32_t format_of(struct kvm_runtime *runtime)
{
    uint32_t format = 0;

    works(kvm_runtime_get_format(runtime, &format, &failure));
    return format;
}

static size_t list(struct kvm_runtime *runtime)
{
    size_t count;

    works(kvmh_runtime_list(runtime, devices, MAX_DEVICES, &count, &failure));
    CHECK(count <= MAX_DEVICES);
    return count;
}

static struct kvm_runtime *load(const char *from)
{
    struct kvm_runtime *runtime;

    works(kvm_runtime_load(from, &runtime, &failure));
    return runtime;
}

/* A new file from the record in another format. */
static void convert(struct kvm_runtime *runtime, uint32_t format, const char *to)
{
    struct kvm_runtime *converted;

    works(kvm_runtime_convert(runtime, format, &converted, &failure));
    CHECK_NUMBER(format_of(converted), format);
    works(kvm_runtime_save(converted, to, &failure));
    kvm_runtime_free(converted);
}

static void a_list(size_t index)
{
    char sample[TEST_PATH], *before, *after;
    struct kvm_runtime *runtime;
    int round;

    snprintf(sample, sizeof sample, "tests/data/ganeti/%s.json", lists[index].name);
    before = file_read(sample, NULL);
    if (before == NULL)
        FAIL("no %s", sample);
    file_write(path, before, strlen(before));
    for (round = 0; round < 2; round++) {
        runtime = load(path);
        CHECK_NUMBER(format_of(runtime), KVM_RUNTIME_FORMAT_GANETI);
        CHECK_NUMBER(list(runtime), lists[index].devices);
        if (lists[index].first != NULL)
            CHECK_TEXT(devices[0].id, lists[index].first);
        CHECK_TEXT(devices[0].bus, lists[index].bus);
        CHECK_NUMBER(devices[0].slot, lists[index].slot);
        CHECK_NUMBER(devices[0].state, KVM_HOTPLUG_STATE_LIVE);
        works(kvm_runtime_save(runtime, NULL, &failure));
        kvm_runtime_free(runtime);
    }
    CHECK_NUMBER(directory_count(directory), 1);
    after = file_read(path, NULL);
    if (lists[index].same)
        CHECK_TEXT(after, before);
    runtime = load(path);
    convert(runtime, KVM_RUNTIME_FORMAT_NATIVE, native);
    kvm_runtime_free(runtime);
    runtime = load(native);
    CHECK_NUMBER(format_of(runtime), KVM_RUNTIME_FORMAT_NATIVE);
    CHECK_NUMBER(list(runtime), lists[index].devices);
    convert(runtime, KVM_RUNTIME_FORMAT_GANETI, back);
    kvm_runtime_free(runtime);
    free(before);
    before = file_read(back, NULL);
    CHECK_TEXT(before, after);
    free(before);
    free(after);
    ok(remove(native));
    ok(remove(back));
}

static void userspace_disks(void)
{
    struct kvm_runtime *runtime;

    works(kvm_runtime_load_readonly("tests/data/ganeti/4entry-hvinfo-3.2dev-rbd-userspace.json", &runtime, &failure));
    CHECK_NUMBER(list(runtime), 3);
    CHECK_RECORDED_PATH(runtime, devices[1].id, "rbd:rbd/7c079136-2573-4112-82d0-0d3d2aa90d8f.rbd.disk0");
    kvm_runtime_free(runtime);
}

static void what_does_not_work(void)
{
    static const char two[] = "[[\"kvm\"], []]\n", broken[] = "[[\"kvm\"], [{\"mac\": 5}], {}, []]\n";
    struct kvm_runtime *runtime, *none = NULL;
    char *after;

    file_write(path, two, sizeof two - 1);
    fails(kvm_runtime_load(path, &none, &failure), -EPROTONOSUPPORT, KVM_HOTPLUG_ERROR_VERSION, path, "2.0.0beta1");
    file_write(path, broken, sizeof broken - 1);
    fails(kvm_runtime_load(path, &none, &failure), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT, path, "nics[0].mac",
          "expected a MAC address", "found 5");
    after = file_read(path, NULL);
    CHECK_TEXT(after, broken);
    free(after);
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    CHECK_NUMBER(format_of(runtime), KVM_RUNTIME_FORMAT_NATIVE);
    invalid(kvm_runtime_convert(runtime, 0, &none, &failure), "none of enum kvm_runtime_format");
    invalid(kvm_runtime_convert(runtime, 3, &none, &failure), "none of enum kvm_runtime_format");
    CHECK(none == NULL);
    kvm_runtime_free(runtime);
}

int main(void)
{
    size_t index;

    test_begin("api-ganeti", 60);
    directory_new(directory);
    path_in(path, directory, "web1.runtime");
    path_in(native, directory, "native.runtime");
    path_in(back, directory, "back.runtime");
    for (index = 0; index < sizeof lists / sizeof *lists; index++)
        a_list(index);
    userspace_disks();
    what_does_not_work();
    return test_end();
}
