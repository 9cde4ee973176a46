/* The userdata of a log callback is freed once, whatever happens to the call, the callback and the record. */
#include "support/library.h"

static int freed[4];

static void count_free(void *userdata)
{
    ++*(int *)userdata;
}

static void no_line(void *userdata, int level, const char *message)
{
    (void)userdata;
    FAIL("a record without a guest logs \"%s\" with level %d", message, level);
}

int main(void)
{
    struct kvm_runtime *runtime = NULL;

    test_begin("api-log-userdata", 10);
    works(kvmh_runtime_new(NULL, &runtime, &failure));
    works(kvm_runtime_set_log(runtime, KVM_HOTPLUG_LOG_DEBUG, no_line, &freed[0], count_free, &failure));
    CHECK_NUMBER(freed[0], 0);
    invalid(kvm_runtime_set_log(runtime, 5, no_line, &freed[1], count_free, &failure), "log level 5", "0 to 4");
    CHECK_NUMBER(freed[1], 1);
    invalid(kvm_runtime_set_log(runtime, -1, NULL, &freed[1], count_free, &failure), "log level -1");
    CHECK_NUMBER(freed[1], 2);
    fails(kvm_runtime_set_log(runtime, 1, NULL, &freed[1], count_free, &failure), -EFAULT, KVM_HOTPLUG_ERROR_INVALID,
          "log callback is NULL", "use level 0");
    CHECK_NUMBER(freed[1], 3);
    /* The failures have left the first one in place. */
    CHECK_NUMBER(freed[0], 0);
    works(kvm_runtime_set_log(runtime, KVM_HOTPLUG_LOG_ERROR, no_line, &freed[2], count_free, &failure));
    CHECK_NUMBER(freed[0], 1);
    works(kvm_runtime_set_log(runtime, KVM_HOTPLUG_LOG_OFF, no_line, &freed[3], count_free, &failure));
    CHECK_NUMBER(freed[2], 1);
    CHECK_NUMBER(freed[3], 1);
    works(kvm_runtime_set_log(runtime, KVM_HOTPLUG_LOG_INFO, no_line, &freed[0], NULL, &failure));
    works(kvm_runtime_set_log(runtime, KVM_HOTPLUG_LOG_INFO, no_line, &freed[0], count_free, &failure));
    kvm_runtime_free(runtime);
    CHECK_NUMBER(freed[0], 2);
    CHECK_NUMBER(freed[1], 3);
    CHECK_NUMBER(freed[2], 1);
    CHECK_NUMBER(freed[3], 1);
    return test_end();
}
