/* An error belongs to the caller: it outlives the handle it came from, and nobody else touches it. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "support/files.h"
#include "support/library.h"

static void nothing_is_no_error(void)
{
    CHECK_NUMBER(kvm_hotplug_error_kind(NULL), 0);
    CHECK_NUMBER(kvm_hotplug_error_errno(NULL), 0);
    CHECK_NUMBER(kvm_hotplug_error_undo(NULL), KVM_HOTPLUG_UNDO_NOTHING);
    CHECK(kvm_hotplug_error_message(NULL) == NULL);
    CHECK(kvm_hotplug_error_step(NULL) == NULL);
    CHECK(kvm_hotplug_error_qmp_class(NULL) == NULL);
    CHECK(kvm_hotplug_error_qmp_desc(NULL) == NULL);
    CHECK(kvm_hotplug_error_residue(NULL) == NULL);
    kvm_hotplug_error_free(NULL);
    kvm_hotplug_close(NULL);
    kvm_runtime_free(NULL);
}

static void outlives_its_handle(void)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *runtime = NULL;

    works(kvmh_runtime_new(NULL, &runtime, &failure));
    err(kvm_runtime_save(runtime, NULL, &error), -EBADFD);
    kvm_runtime_free(runtime);
    CHECK_NUMBER(kvm_hotplug_error_errno(error), EBADFD);
    CHECK_NUMBER(kvm_hotplug_error_kind(error), KVM_HOTPLUG_ERROR_STATE);
    CHECK_PART(kvm_hotplug_error_message(error), "the record has no file yet");
    CHECK_PART(kvm_hotplug_error_message(error), "save it to a path first");
    CHECK(kvm_hotplug_error_message(error) == kvm_hotplug_error_message(error));
    CHECK(kvm_hotplug_error_step(error) == NULL);
    CHECK(kvm_hotplug_error_qmp_class(error) == NULL);
    CHECK(kvm_hotplug_error_qmp_desc(error) == NULL);
    CHECK(kvm_hotplug_error_residue(error) == NULL);
    CHECK_NUMBER(kvm_hotplug_error_undo(error), KVM_HOTPLUG_UNDO_NOTHING);
    kvm_hotplug_error_free(error);
}

/* Success leaves what is stored; failure replaces the pointer, and frees nothing. */
static void stored_on_failure_only(void)
{
    struct kvm_hotplug_error *first = NULL, *now;
    struct kvm_runtime *runtime = NULL;

    err(kvm_runtime_load("", &runtime, &first), -EINVAL);
    CHECK(runtime == NULL);
    now = first;
    ok(kvmh_runtime_new(NULL, &runtime, &now));
    CHECK(now == first);
    err(kvm_runtime_save(runtime, NULL, &now), -EBADFD);
    CHECK(now != first);
    CHECK_TEXT(kvm_hotplug_error_message(first), "path is empty");
    kvm_hotplug_error_free(first);
    kvm_hotplug_error_free(now);
    err(kvm_runtime_save(runtime, NULL, NULL), -EBADFD);
    kvm_runtime_free(runtime);
}

static void *read_and_free(void *error)
{
    CHECK_NUMBER(kvm_hotplug_error_errno(error), ENOENT);
    CHECK_PART(kvm_hotplug_error_message(error), "/nowhere");
    kvm_hotplug_error_free(error);
    return NULL;
}

static void passes_between_threads(void)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *runtime = NULL;
    pthread_t thread;

    err(kvm_runtime_load("/nowhere/web1.runtime", &runtime, &error), -ENOENT);
    ok(pthread_create(&thread, NULL, read_and_free, error));
    ok(pthread_join(thread, NULL));
}

int main(void)
{
    test_begin("api-errors", 10);
    nothing_is_no_error();
    outlives_its_handle();
    stored_on_failure_only();
    passes_between_threads();
    return test_end();
}
