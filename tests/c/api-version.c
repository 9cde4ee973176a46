/* The library says which one it is, and it is the one this program was compiled for. */
#include <stdio.h>

#include <kvm_hotplug.h>

#include "support/check.h"

int main(void)
{
    char version[32];

    test_begin("api-version", 10);
    CHECK_NUMBER(kvm_hotplug_abi_version(), KVM_HOTPLUG_ABI_VERSION);
    snprintf(version, sizeof version, "%d.%d.%d", KVM_HOTPLUG_VERSION_MAJOR, KVM_HOTPLUG_VERSION_MINOR,
             KVM_HOTPLUG_VERSION_PATCH);
    CHECK_TEXT(kvm_hotplug_version(), version);
    CHECK(kvm_hotplug_version() == kvm_hotplug_version());
    return test_end();
}
