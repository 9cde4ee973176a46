/* Each value of an enum has a word, and what is none has none. */
#include <kvm_hotplug.h>
#include <stddef.h>

#include "support/check.h"

int main(void)
{
    static const struct {
        const char *enumeration;
        uint32_t value;
        const char *word;
    } words[] = {
        {"kvm_hotplug_error_kind", KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE, "not-hotpluggable"},
        {"kvm_hotplug_answer", KVM_HOTPLUG_ANSWER_DONE, "done"},
        {"kvm_hotplug_state", KVM_HOTPLUG_STATE_AFTER_REBOOT, "after-reboot"},
        {"kvm_hotplug_reason", KVM_HOTPLUG_REASON_QEMU_TOO_OLD, "qemu-too-old"},
        {"kvm_hotplug_device_type", KVM_HOTPLUG_DEVICE_CONTROLLER, "controller"},
        {"kvm_hotplug_address_type", KVM_HOTPLUG_ADDRESS_SCSI, "scsi"},
        {"kvm_hotplug_backing", KVM_HOTPLUG_BACKING_OWN_DIRECTORY, "own-directory"},
        {"kvm_hotplug_event_type", KVM_HOTPLUG_EVENT_IO_ERROR, "io-error"},
        {"kvm_hotplug_aio", KVM_HOTPLUG_AIO_IO_URING, "io_uring"},
        {"kvm_hotplug_log_level", KVM_HOTPLUG_LOG_DEBUG, "debug"},
        {"kvm_boot_incoming", KVM_BOOT_INCOMING_DEFER, "defer"},
        {"kvm_boot_machine", KVM_BOOT_MACHINE_Q35, "q35"},
        {"kvm_runtime_format", KVM_RUNTIME_FORMAT_GANETI, "ganeti"},
    };

    test_begin("api-names", 10);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        CHECK_TEXT(kvm_hotplug_enum_name(words[i].enumeration, words[i].value), words[i].word);
        CHECK(kvm_hotplug_enum_name(words[i].enumeration, 9999) == NULL);
    }
    CHECK(kvm_hotplug_enum_name("kvm_hotplug_nothing", 0) == NULL);
    CHECK(kvm_hotplug_enum_name("", 0) == NULL);
    CHECK(kvm_hotplug_enum_name(NULL, 0) == NULL);
    return test_end();
}
