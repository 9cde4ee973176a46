/* Uses a little of the library, and prints its version: the program of a user who has it installed. */
#include <stdio.h>
#include <string.h>

#include <kvm_hotplug.h>

int main(void)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *runtime = NULL;

    if (kvm_hotplug_abi_version() != KVM_HOTPLUG_ABI_VERSION)
        return 1;
    if (kvmh_runtime_new(NULL, &runtime, NULL) != 0)
        return 1;
    kvm_runtime_free(runtime);
    if (kvm_runtime_load("", &runtime, &error) == 0 || strcmp(kvm_hotplug_error_message(error), "path is empty") != 0)
        return 1;
    kvm_hotplug_error_free(error);
    puts(kvm_hotplug_version());
    return 0;
}
