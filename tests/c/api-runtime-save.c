/* A record is written whole, mode 0600, where nothing was before, and one that cannot be written changes
 * nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"

static struct kvm_runtime *runtime;
static char directory[TEST_PATH], path[TEST_PATH], lock[TEST_PATH], journal[TEST_PATH];

static const char of_a_guest_that_is_gone[] = "{\"format\":\"kvm-hotplug-journal\",\"version\":1,\"intents\":[]}";

static void new_record(void)
{
    works(kvmh_runtime_new(NULL, &runtime, &failure));
}

static void the_first_save_makes_the_file(void)
{
    char pid[16];
    struct stat status;

    new_record();
    file_write(journal, "not a journal of ours", 21);
    fails(kvm_runtime_save(runtime, path, &failure), -EBADMSG, KVM_HOTPLUG_ERROR_FORMAT, journal);
    CHECK(file_contains(journal, "not a journal of ours"));
    file_write(journal, of_a_guest_that_is_gone, strlen(of_a_guest_that_is_gone));
    works(kvm_runtime_save(runtime, path, &failure));
    ok(stat(path, &status));
    CHECK_NUMBER(status.st_mode & 07777, 0600);
    snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    CHECK(file_contains(lock, pid));
    CHECK_NUMBER(directory_count(directory), 2);
    fails(kvm_runtime_save(runtime, path, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "has a file already",
          "without naming another path");
}

static void a_later_one_replaces_it(void)
{
    ok(remove(path));
    works(kvm_runtime_save(runtime, NULL, &failure));
    CHECK(file_contains(path, "kvm-hotplug-runtime"));
    /* Somebody put a link there meanwhile: it is replaced, what it leads to is not written. */
    ok(remove(path));
    ok(symlink("/nowhere/at/all", path));
    works(kvm_runtime_save(runtime, NULL, &failure));
    CHECK(file_contains(path, "kvm-hotplug-runtime"));
    kvm_runtime_free(runtime);
    CHECK(!file_exists(lock));
    CHECK_NUMBER(directory_count(directory), 1);
}

static void what_exists_stays(void)
{
    char *before = file_read(path, NULL), *after;

    new_record();
    fails(kvm_runtime_save(runtime, path, &failure), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, path, "exists already");
    fails(kvm_runtime_save(runtime, NULL, &failure), -EBADFD, KVM_HOTPLUG_ERROR_STATE, "has no file yet");
    fails(kvm_runtime_save(runtime, "/nowhere/x", &failure), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND,
          "directory /nowhere");
    invalid(kvm_runtime_save(runtime, "", &failure), "path is empty");
    invalid(kvm_runtime_save(runtime, "/tmp/", &failure), "names no file");
    invalid(kvm_runtime_save(runtime, journal, &failure), journal, "ends in \".journal\"");
    kvm_runtime_free(runtime);
    after = file_read(path, NULL);
    CHECK_TEXT(after, before);
    CHECK_NUMBER(directory_count(directory), 1);
    free(before);
    free(after);
}

static void read_only(void)
{
    char other[TEST_PATH];

    path_in(other, directory, "other.runtime");
    works(kvm_runtime_load(path, &runtime, &failure));
    mounts_private();
    directory_read_only(directory);
    /* The directory was opened before, as writable; what counts is the mount it was reached through. */
    works(kvm_runtime_save(runtime, NULL, &failure));
    kvm_runtime_free(runtime);
    new_record();
    fails(kvm_runtime_save(runtime, other, &failure), -EROFS, KVM_HOTPLUG_ERROR_HOST, other, "Read-only file system");
    kvm_runtime_free(runtime);
    CHECK_NUMBER(directory_count(directory), 1);
}

int main(void)
{
    test_begin("api-runtime-save", 10);
    directory_new(directory);
    path_in(path, directory, "web1.runtime");
    path_in(lock, directory, "web1.runtime.lock");
    path_in(journal, directory, "web1.runtime.journal");
    the_first_save_makes_the_file();
    a_later_one_replaces_it();
    what_exists_stays();
    read_only();
    return test_end();
}
