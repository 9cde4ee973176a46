/* What a QEMU knows of device models is asked of one guest, and given to another one of the same QEMU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/boot.h"
#include "support/files.h"
#include "support/image.h"
#include "support/json.h"
#include "support/plug.h"

static char folder[TEST_PATH], image[TEST_PATH];

/* The text of a guest's QEMU. */
static char *known_to(struct vm *vm)
{
    char *json = NULL;

    works(kvm_hotplug_get_capabilities(vm->guest, 0, &json, &failure));
    CHECK(json_is_whole(json));
    return json;
}

static void add_with_property(struct vm *vm, const char *id)
{
    works(add_disk(vm, &(struct kvm_hotplug_disk){.id = id, .path = image, .properties = "{\"queue-size\": \"64\"}"},
                   NULL));
    CHECK_VERIFIED(vm);
}

/* The same text, of a QEMU that somebody else has built. */
static char *of_another_build(const char *json)
{
    static const char member[] = "\"package\":\"";
    const char *at = strstr(json, member);
    char *text;

    CHECK(at != NULL);
    at += strlen(member);
    CHECK(asprintf(&text, "%.*sother %s", (int)(at - json), json, at) > 0);
    return text;
}

int main(void)
{
    struct vm first, second;
    char *known, *again, *other;

    test_begin("qemu-capabilities", 60);
    directory_new(folder);
    path_in(image, folder, "a.img");
    image_raw(image, MEBIBYTE);
    vm_start(&first, &(struct qemu_options){0});
    known = known_to(&first);
    CHECK_PART(known, "\"virtio-net-pci\":{");
    CHECK_PART(known, "\"scsi-hd\":{");
    CHECK_PART(known, "\"igb\":");
    CHECK_PART(known, "\"queue-size\":\"uint16\"");
    again = known_to(&first);
    CHECK_TEXT(again, known);
    vm_stop(&first);

    vm_start(&second, &(struct qemu_options){0});
    other = of_another_build(known);
    fails(kvm_hotplug_give_capabilities(second.guest, other, 0, &failure), -ESTALE, KVM_HOTPLUG_ERROR_INVALID,
          "(other ", "ask this guest for its own");
    works(kvm_hotplug_give_capabilities(second.guest, known, 0, &failure));
    add_with_property(&second, "data");
    vm_stop(&second);
    kvm_hotplug_text_free(known);
    kvm_hotplug_text_free(again);
    free(other);
    return test_end();
}
