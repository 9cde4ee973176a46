/* A runtime file is loaded whole or refused by name, whatever is in it, and a refused one leaves no trace. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/files.h"
#include "support/reaper.h"
#include "support/library.h"

static const char sample[] =
    "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"name\":\"web1\",\"command\":[\"qemu-system-x86_64\"],"
    "\"nics\":[{\"id\":\"nic-pci-5\",\"generation\":1,\"address\":{\"bus\":\"pci.0\",\"slot\":5},"
    "\"mac\":\"52:54:00:12:34:56\",\"queues\":2,\"mtu\":1400,\"bridge\":\"br0\",\"ifname\":\"tap3\"}],"
    "\"disks\":[{\"id\":\"root\",\"generation\":2,\"address\":{\"bus\":\"pci.0\",\"slot\":6},"
    "\"path\":\"/srv/web1.img\",\"format\":\"raw\",\"read_only\":true,\"serial\":\"abc\"}],\"colour\":\"red\"}";

static const char journal_sample[] =
    "{\"format\":\"kvm-hotplug-journal\",\"version\":1,\"intents\":[{\"verb\":\"remove\",\"disk\":{\"id\":\"root\","
    "\"generation\":2,\"address\":{\"bus\":\"pci.0\",\"slot\":6},\"path\":\"/srv/web1.img\",\"format\":\"raw\"}}]}";

static struct kvm_runtime *runtime;
static char directory[TEST_PATH], path[TEST_PATH], journal[TEST_PATH];

#define malformed(...) \
    fails(kvm_runtime_load(path, &runtime, &failure), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT, __VA_ARGS__)

static void put(const char *content)
{
    file_write(path, content, strlen(content));
}

static void put_journal(const char *content)
{
    file_write(journal, content, strlen(content));
}

static void everything_is_listed(void)
{
    struct kvm_hotplug_device devices[3];
    size_t count;

    memset(devices, 0xff, sizeof devices);
    put(sample);
    works(kvm_runtime_load(path, &runtime, &failure));
    works(kvmh_runtime_list(runtime, NULL, 0, &count, &failure));
    CHECK_NUMBER(count, 2);
    works(kvmh_runtime_list(runtime, devices, 3, &count, &failure));
    CHECK_NUMBER(count, 2);
    CHECK_TEXT(devices[0].id, "nic-pci-5");
    CHECK_TEXT(devices[0].bus, "pci.0");
    CHECK_TEXT(devices[0].mac, "52:54:00:12:34:56");
    CHECK_TEXT(devices[0].ifname, "tap3");
    CHECK_TEXT(devices[0].bridge, "br0");
    CHECK_TEXT(devices[0].model, "virtio-net-pci");
    CHECK_NUMBER(devices[0].device_type, KVM_HOTPLUG_DEVICE_NIC);
    CHECK_NUMBER(devices[0].slot, 5);
    CHECK_NUMBER(devices[0].queues, 2);
    CHECK_NUMBER(devices[0].mtu, 1400);
    CHECK_RECORDED_PATH(runtime, devices[1].id, "/srv/web1.img");
    CHECK_TEXT(devices[1].serial, "abc");
    CHECK_NUMBER(devices[1].read_only, 1);
    CHECK_NUMBER(devices[1].state, KVM_HOTPLUG_STATE_LIVE);
    CHECK_NUMBER((unsigned char)devices[2].id[0], 0xff);
    works(kvm_runtime_save(runtime, NULL, &failure));
    CHECK(file_contains(path, "\"colour\": \"red\""));
    kvm_runtime_free(runtime);
    runtime = NULL;
}

/* A caller with larger structs, and with too little room. */
static void lists_fit_the_caller(void)
{
    struct {
        struct kvm_hotplug_device device;
        unsigned char more[24];
    } newer[2];
    size_t count;

    put(sample);
    works(kvm_runtime_load_readonly(path, &runtime, &failure));
    /* It never had 33 bytes. */
    invalid(kvm_runtime_list(runtime, &newer[0].device, 33, 1, &count, &failure), "size 33", "pass its sizeof");
    memset(newer, 0xff, sizeof newer);
    works(kvm_runtime_list(runtime, &newer[0].device, sizeof *newer, 2, &count, &failure));
    CHECK_TEXT(newer[1].device.id, "root");
    CHECK_NUMBER(newer[1].more[0], 0);
    CHECK_NUMBER(newer[1].more[23], 0);
    invalid(kvm_runtime_list(runtime, &newer[0].device, 0, 2, &count, &failure), "size 0", "pass its sizeof");
    kvm_runtime_free(runtime);
    runtime = NULL;
}

/* What was begun and not finished is said without the guest, also of a device that the record does not have
 * yet. */
static void journal_is_listed(void)
{
    static const char nic[] = "\"nic\":{\"id\":\"%s\",\"generation\":%d,\"mac\":\"52:54:00:12:34:%02x\"}";
    static const struct {
        const char *verb, *id;
        int generation, state, reason;
        const char *text;
    } cases[] = {
        {"remove", "nic-pci-5", 1, KVM_HOTPLUG_ANSWER_PENDING, KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED,
         "it was being removed"},
        {"set-link", "nic-pci-5", 1, KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_REASON_CHANGE_UNFINISHED,
         "its link was being set"},
        {"move", "nic-pci-5", 1, KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_REASON_CHANGE_UNFINISHED, "to another bridge"},
        {"add", "new", 3, KVM_HOTPLUG_ANSWER_PENDING, KVM_HOTPLUG_REASON_ADD_UNFINISHED, "it was being added"},
        {"undo-add", "new", 3, KVM_HOTPLUG_ANSWER_PENDING, KVM_HOTPLUG_REASON_ADD_UNFINISHED, "was being undone"},
        /* Another device of that id has come since. */
        {"remove", "nic-pci-5", 7, KVM_HOTPLUG_ANSWER_PENDING, KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED,
         "it was being removed"},
    };
    struct kvm_hotplug_device devices[3];
    char device[128], content[512];
    size_t count, i, at;

    put(sample);
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool recorded = strcmp(cases[i].id, "nic-pci-5") == 0;

        snprintf(device, sizeof device, nic, cases[i].id, cases[i].generation, recorded ? 0x56 : 0x57);
        snprintf(content, sizeof content,
                 "{\"format\":\"kvm-hotplug-journal\",\"version\":1,\"intents\":[{\"verb\":\"%s\",%s}]}", cases[i].verb,
                 device);
        put_journal(content);
        works(kvm_runtime_load_readonly(path, &runtime, &failure));
        works(kvmh_runtime_unfinished(runtime, devices, 3, &count, &failure));
        CHECK_NUMBER(count, 1);
        CHECK_TEXT(devices[0].id, cases[i].id);
        CHECK_NUMBER(devices[0].generation, cases[i].generation);
        CHECK_NUMBER(devices[0].state, cases[i].state);
        CHECK_NUMBER(devices[0].reason, cases[i].reason);
        CHECK_PART(devices[0].reason_text, cases[i].text);
        works(kvmh_runtime_list(runtime, devices, 3, &count, &failure));
        CHECK_NUMBER(count, 2);
        for (at = 0; at < count; at++) {
            bool meant = strcmp(devices[at].id, cases[i].id) == 0 && cases[i].generation == 1;

            CHECK_NUMBER(devices[at].state, meant ? cases[i].state : KVM_HOTPLUG_ANSWER_DONE);
            CHECK_NUMBER(devices[at].reason, meant ? cases[i].reason : KVM_HOTPLUG_REASON_NONE);
            CHECK(meant ? strstr(devices[at].reason_text, cases[i].text) != NULL : devices[at].reason_text[0] == '\0');
        }
        kvm_runtime_free(runtime);
        runtime = NULL;
    }
    ok(remove(journal));
    works(kvm_runtime_load_readonly(path, &runtime, &failure));
    works(kvmh_runtime_unfinished(runtime, NULL, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
    kvm_runtime_free(runtime);
    runtime = NULL;
}

static void cut_off_anywhere(void)
{
    size_t length;

    for (length = 0; length < strlen(sample); length += (size_t)test_patience(1)) {
        file_write(path, sample, length);
        malformed(path, "is not JSON");
        fails(kvm_runtime_load_readonly(path, &runtime, &failure), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT, path);
    }
    put(sample);
    for (length = 0; length < strlen(journal_sample); length += (size_t)test_patience(1)) {
        file_write(journal, journal_sample, length);
        malformed(journal, "is not JSON");
    }
    put_journal(journal_sample);
    works(kvm_runtime_load(path, &runtime, &failure));
    kvm_runtime_free(runtime);
    runtime = NULL;
    ok(remove(journal));
}

/* Whatever one byte becomes, the answer is a record or a refusal. Every byte, unless that would take all
 * day. */
static void one_byte_wrong(void)
{
    static const char odd[] = {'\0', '"', '}', '9', '\xff', '\n'};
    char copy[sizeof sample];
    size_t at, i;
    int result;

    for (at = 0; at < strlen(sample); at += (size_t)test_patience(1)) {
        for (i = 0; i < sizeof odd; i++) {
            memcpy(copy, sample, sizeof sample);
            copy[at] = odd[i];
            file_write(path, copy, strlen(sample));
            result = kvm_runtime_load(path, &runtime, &failure);
            CHECK(result == 0 || result == -EBADMSG || result == -EPROTONOSUPPORT);
            kvm_hotplug_error_free(failure);
            failure = NULL;
            kvm_runtime_free(runtime);
            runtime = NULL;
        }
    }
}

static void the_element_is_named(void)
{
    put("[]");
    malformed(path, "expected a list of 4", "found 0 entries");
    put("{}");
    malformed(path, "has no \"format\"", "kvm-hotplug-runtime");
    put("{\"format\":\"qcow2\"}");
    malformed(path, "has \"format\" \"qcow2\"");
    put("{\"format\":\"kvm-hotplug-runtime\"}");
    malformed(path, "has no \"version\"");
    put("{\"format\":\"kvm-hotplug-runtime\",\"version\":1}");
    malformed(path, "has no \"command\"");
    put("{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[],\"nics\":[{\"id\":\"n\",\"generation\":1,"
        "\"mac\":\"52:54:00:12:34\"}]}");
    malformed(path, "nics[0]", "52:54:00:12:34", "needs six groups");
    put("{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[],\"disks\":[{\"id\":\"d\",\"generation\":1,"
        "\"address\":{\"bus\":\"pci.0\",\"slot\":32},\"path\":\"/x\",\"format\":\"raw\"}]}");
    malformed(path, "disks[0]", "slot 32");
    put("{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"command\":[],\"disks\":["
        "{\"id\":\"d\",\"generation\":1,\"path\":\"/x\",\"format\":\"raw\"},"
        "{\"id\":\"d\",\"generation\":2,\"path\":\"/y\",\"format\":\"raw\"}]}");
    malformed(path, "two devices have the id d");
}

static void a_newer_version(void)
{
    put("{\"format\":\"kvm-hotplug-runtime\",\"version\":2,\"commands\":7}");
    fails(kvm_runtime_load(path, &runtime, &failure), -EPROTONOSUPPORT, KVM_HOTPLUG_ERROR_VERSION, path,
          "written by a newer version", "format version 2", "reads up to 1");
    put(sample);
    put_journal("{\"format\":\"kvm-hotplug-journal\",\"version\":3}");
    fails(kvm_runtime_load(path, &runtime, &failure), -EPROTONOSUPPORT, KVM_HOTPLUG_ERROR_VERSION, journal,
          "written by a newer version", "format version 3");
    ok(remove(journal));
}

static void what_is_no_file(void)
{
    char link[TEST_PATH], slash[TEST_PATH + 2];

    path_in(link, directory, "link");
    put(sample);
    ok(symlink(path, link));
    fails(kvm_runtime_load(link, &runtime, &failure), -ELOOP, KVM_HOTPLUG_ERROR_INVALID, link,
          "symbolic link, which is not followed", "name the file itself");
    ok(remove(link));
    fails(kvm_runtime_load(link, &runtime, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, link, "does not exist");
    fails(kvm_runtime_load_readonly(link, &runtime, &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, link,
          "does not exist");
    ok(mkdir(link, 0700));
    invalid(kvm_runtime_load(link, &runtime, &failure), link, "not a regular file");
    ok(rmdir(link));
    ok(mkfifo(link, 0600));
    invalid(kvm_runtime_load(link, &runtime, &failure), link, "not a regular file");
    ok(remove(link));
    snprintf(slash, sizeof slash, "%s/", path);
    invalid(kvm_runtime_load(slash, &runtime, &failure), slash, "names no file");
    invalid(kvm_runtime_load("", &runtime, &failure), "path is empty");
    invalid(kvm_runtime_load("/tmp/\xff", &runtime, &failure), "path is not UTF-8");
    ok(truncate(path, (4 << 20) + 1));
    fails(kvm_runtime_load(path, &runtime, &failure), -EFBIG, KVM_HOTPLUG_ERROR_LIMIT, path,
          "larger than 4194304 bytes");
}

/* In the child: holds the record until it is killed. */
static _Noreturn void hold(int told)
{
    struct kvm_runtime *mine = NULL;

    if (kvm_runtime_load(path, &mine, NULL) == 0 && write(told, "x", 1) == 1)
        pause();
    _exit(1);
}

static pid_t start_holder(void)
{
    char byte;
    int ends[2];
    pid_t child;

    ok(pipe2(ends, O_CLOEXEC));
    child = fork();
    if (child == 0)
        hold(ends[1]);
    CHECK(child > 0);
    reaper_owns_process(child);
    close(ends[1]);
    CHECK_NUMBER(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return child;
}

static void one_owner_at_a_time(void)
{
    char holder[64], name[16];
    pid_t child;

    put(sample);
    works(kvm_runtime_load(path, &runtime, &failure));
    fails(kvm_runtime_load(path, &runtime, &failure), -EAGAIN, KVM_HOTPLUG_ERROR_LOCKED, path,
          "this process, through another handle");
    kvm_runtime_free(runtime);
    runtime = NULL;

    child = start_holder();
    /* Under valgrind, that of the program that runs this one. */
    ok(prctl(PR_GET_NAME, name));
    snprintf(holder, sizeof holder, "process %d (%s)", (int)child, name);
    fails(kvm_runtime_load(path, &runtime, &failure), -EAGAIN, KVM_HOTPLUG_ERROR_LOCKED, path, holder,
          "one agent owns it at a time");
    /* Looking is allowed, changing is not. */
    works(kvm_runtime_load_readonly(path, &runtime, &failure));
    fails(kvm_runtime_save(runtime, NULL, &failure), -EROFS, KVM_HOTPLUG_ERROR_STATE, "for reading only");
    kvm_runtime_free(runtime);
    ok(kill(child, SIGKILL));
    CHECK_NUMBER(waitpid(child, NULL, 0), child);
    /* The file that a dead agent left does not lock. */
    works(kvm_runtime_load(path, &runtime, &failure));
    kvm_runtime_free(runtime);
    runtime = NULL;
}

/* What the file says is done with our rights, so nobody else may have written it. */
static void others_could_have_written_it(void)
{
    static const mode_t modes[] = {0666, 0602};
    size_t i;

    put(sample);
    for (i = 0; i < sizeof modes / sizeof *modes; i++) {
        ok(chmod(path, modes[i]));
        fails(kvm_runtime_load(path, &runtime, &failure), -EPERM, KVM_HOTPLUG_ERROR_UNTRUSTED, path,
              "can be written by everybody");
        fails(kvm_runtime_load_readonly(path, &runtime, &failure), -EPERM, KVM_HOTPLUG_ERROR_UNTRUSTED, path);
        fails(kvm_runtime_open(path, KVM_RUNTIME_OPEN_READ_ONLY, &runtime, &failure), -EPERM,
              KVM_HOTPLUG_ERROR_UNTRUSTED, path);
        CHECK_NUMBER(directory_count(directory), 1);
        works(kvm_runtime_open(path, KVM_RUNTIME_OPEN_TRUST, &runtime, &failure));
        kvm_runtime_free(runtime);
        works(kvm_runtime_open(path, KVM_RUNTIME_OPEN_TRUST | KVM_RUNTIME_OPEN_READ_ONLY, &runtime, &failure));
        kvm_runtime_free(runtime);
    }
    runtime = NULL;
    ok(chmod(path, 0640));
    invalid(kvm_runtime_open(path, 8, &runtime, &failure), "flags", "unknown flag bits 0x8");
    works(kvm_runtime_open(path, 0, &runtime, &failure));
    fails(kvm_runtime_open(path, 0, &runtime, &failure), -EAGAIN, KVM_HOTPLUG_ERROR_LOCKED, path);
    kvm_runtime_free(runtime);
    runtime = NULL;
}

static void in_a_read_only_directory(void)
{
    mounts_private();
    directory_read_only(directory);
    fails(kvm_runtime_load(path, &runtime, &failure), -EROFS, KVM_HOTPLUG_ERROR_HOST, path, ".lock",
          "Read-only file system");
    works(kvm_runtime_load_readonly(path, &runtime, &failure));
    kvm_runtime_free(runtime);
    runtime = NULL;
}

int main(void)
{
    test_begin("api-runtime-load", 60);
    directory_new(directory);
    path_in(path, directory, "web1.runtime");
    path_in(journal, directory, "web1.runtime.journal");
    everything_is_listed();
    lists_fit_the_caller();
    journal_is_listed();
    cut_off_anywhere();
    one_byte_wrong();
    the_element_is_named();
    a_newer_version();
    what_is_no_file();
    one_owner_at_a_time();
    others_could_have_written_it();
    in_a_read_only_directory();
    CHECK(runtime == NULL);
    CHECK_NUMBER(directory_count(directory), 1);
    return test_end();
}
