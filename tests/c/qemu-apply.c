/* A wanted list against a real QEMU: what it adds, changes and removes, that the same list once more does
 * nothing, and that one that fails leaves everything as it was. The same by kvmctl. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/json.h"
#include "support/kvmctl.h"
#include "support/net.h"
#include "support/plug.h"

enum { LIST_SIZE = 4096 };

static struct vm vm;
static char bridge[IF_NAMESIZE], other[IF_NAMESIZE], one[TEST_PATH], two[TEST_PATH], list[LIST_SIZE];
static char *said_json;

/* Applies the list within that time, and keeps what is said of it. */
static int apply_within(uint32_t timeout_ms, uint32_t flags)
{
    int answer;

    kvm_hotplug_text_free(said_json);
    said_json = NULL;
    answer = kvm_hotplug_apply(vm.guest, list, timeout_ms, flags, &said_json, &failure);
    if (said_json != NULL)
        CHECK(json_is_whole(said_json));
    return answer;
}

static int apply(uint32_t flags)
{
    return apply_within(0, flags);
}

static void want(const char *link, const char *on, const char *disk)
{
    snprintf(list, sizeof list,
             "{\"devices\": ["
             "{\"type\": \"nic\", \"id\": \"lan\", \"mac\": \"52:54:00:12:34:56\", \"bridge\": \"%s\","
             " \"link\": \"%s\", \"vhost\": \"off\"},"
             "{\"type\": \"disk\", \"id\": \"data\", \"path\": \"%s\"}]}",
             on, link, disk);
}

static void nothing_is_done(void)
{
    char *picture = vm_picture(&vm), *record = file_read(vm.path, NULL), *now;

    works(apply(0));
    CHECK_PART(said_json, "\"changes\":0");
    CHECK_PICTURE(&vm, picture);
    now = file_read(vm.path, NULL);
    CHECK_TEXT(now, record);
    free(now);
    free(record);
    free(picture);
}

static void made_so(void)
{
    want("up", bridge, one);
    works(apply(KVM_HOTPLUG_APPLY_PLAN));
    CHECK_PART(said_json, "\"changes\":2");
    CHECK_NUMBER(recorded(&vm), 0);
    works(apply(0));
    CHECK_PART(said_json, "\"action\":\"add\"");
    CHECK_NUMBER(recorded(&vm), 2);
    nothing_is_done();
    /* Another bridge, and the link. */
    want("down", other, one);
    works(apply(0));
    CHECK_PART(said_json, "\"action\":\"change\"");
    nothing_is_done();
}

static void refused(void)
{
    char *picture = vm_picture(&vm);

    want("up", bridge, two);
    fails(apply(0), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, "another path");
    CHECK_PART(said_json, "\"answer\":\"refused\"");
    snprintf(list, sizeof list, "[{\"type\": \"disk\", \"id\": \"more\", \"path\": \"/nonexistent/image\"}]");
    fails(apply(0), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "/nonexistent/image");
    /* QEMU refuses the second of two disks that want one place in the boot order. */
    snprintf(list, sizeof list,
             "[{\"type\": \"disk\", \"id\": \"a\", \"path\": \"%s\", \"boot_index\": 0, \"read_only\": true},"
             "{\"type\": \"disk\", \"id\": \"data\", \"path\": \"%s\"},"
             "{\"type\": \"nic\", \"id\": \"b\", \"boot_index\": 0, \"vhost\": \"off\"}]",
             two, one);
    /* What is in the guest has to go, and no guest lets go of it. */
    CHECK(apply_within((uint32_t)test_patience(2000), 0) < 0);
    kvm_hotplug_error_free(failure);
    failure = NULL;
    CHECK_PART(said_json, "\"answer\":\"left\"");
    vm_reset(&vm);
    vm_await(&vm, KVM_HOTPLUG_EVENT_UNDONE, "a");
    CHECK_PICTURE(&vm, picture);
    CHECK_NUMBER(recorded(&vm), 2);
    free(picture);
}

/* Firmware does not let go, and a reset does. */
static void replaced(void)
{
    want("down", other, two);
    answers(apply(KVM_HOTPLUG_APPLY_REPLACE | KVM_HOTPLUG_NO_WAIT), KVM_HOTPLUG_ANSWER_PENDING);
    CHECK_PART(said_json, "\"action\":\"replace\"");
    unplug_by_reset(&vm, "data");
    works(apply(0));
    nothing_is_done();
    check_gone(&vm, "nobody");
}

static void as_json(void)
{
    char *text = NULL;

    snprintf(list, sizeof list, "{\"type\": \"disk\", \"path\": \"%s\", \"read_only\": true, \"serial\": \"J1\"}", one);
    works(kvm_hotplug_add_json(vm.guest, list, 0, KVM_HOTPLUG_LIVE_ONLY, &text, &failure));
    CHECK_PART(text, "\"answer\":\"done\"");
    kvm_hotplug_text_free(text);
    fails(kvm_hotplug_add_json(vm.guest, "{\"type\": \"nic\", \"mtuu\": 1}", 0, 0, NULL, &failure), -EINVAL,
          KVM_HOTPLUG_ERROR_INVALID, "mtuu");
    CHECK_NUMBER(recorded(&vm), 3);
}

static void by_kvmctl(void)
{
    char file[TEST_PATH];

    vm_close(&vm);
    path_in(file, vm.qemu->dir, "wanted.json");
    want("up", other, two);
    file_write(file, list, strlen(list));
    setenv("KVMCTL_RUNTIME", vm.path, 1);
    setenv("KVMCTL_SOCKET", vm.qemu->qmp_path, 1);
    ctl(0, "apply --plan --keep-others \"$1\"", VALUES(file));
    says("its link is down, and is to be up");
    says("this is a plan");
    json(0, "apply --keep-others \"$1\"", VALUES(file), PARTS("\"changes\":1", "\"action\":\"change\""));
    ctl(0, "apply --keep-others - < \"$1\"", VALUES(file));
    says("nothing is to be done");
    want("up", other, one);
    file_write(file, list, strlen(list));
    ctl(1, "apply --keep-others \"$1\"", VALUES(file));
    json(1, "apply --keep-others \"$1\"", VALUES(file), PARTS("\"answer\":\"refused\"", "\"kind\":\"conflict\""));
    ctl(1, "apply /nonexistent/list", VALUES(""));
    complains("/nonexistent/list");
    unsetenv("KVMCTL_RUNTIME");
    ctl(2, "apply \"$1\"", VALUES(file));
    complains("without --runtime");
}

int main(void)
{
    test_begin("qemu-apply", 120);
    net_private();
    bridge_new(bridge);
    bridge_new(other);
    vm_start(&vm, &(struct qemu_options){.root_ports = 8});
    path_in(one, vm.qemu->dir, "one.img");
    path_in(two, vm.qemu->dir, "two.img");
    image_raw(one, MEBIBYTE);
    image_raw(two, MEBIBYTE);
    made_so();
    refused();
    replaced();
    as_json();
    by_kvmctl();
    kvm_hotplug_text_free(said_json);
    vm_stop(&vm);
    return test_end();
}
