/* A struct of a size that it never had is refused by every function, before anything is done: half a pointer
 * is not read, and the sizeof of a pointer does not leave in silence what was asked for. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/example.h"
#include "support/files.h"
#include "support/library.h"

static struct talk fake;
static char path[TEST_PATH], other[TEST_PATH], socket_path[TEST_PATH];
static struct kvm_runtime *runtime, *cold;
static struct kvm_hotplug *guest, *another;

/* Full of ones: whatever is read of it is no valid pointer. */
static unsigned char ones[8192];
static unsigned char room[8192];
static size_t count;
static char *text;
static struct kvm_boot *boot;
static struct kvm_runtime *made;
static int fds[8];

#define IN(type) ((const struct type *)(const void *)ones)
#define OUT(type) ((struct type *)(void *)room)

/* A request that is fine, where the size of the result is what is wrong. */
static const struct kvm_hotplug_nic nic = {.id = "n"};
static const struct kvm_hotplug_disk disk = {.id = "d", .path = "/d"};
static const struct kvm_hotplug_controller controller = {.id = "c"};
static const struct kvm_hotplug_del_options removal = {.id = "x"};
static const struct kvm_hotplug_medium medium = {.path = "/d"};
static const struct kvm_hotplug_add_batch batch = {.timeout_ms = 1};
static const struct kvm_hotplug_del_batch gone = {.timeout_ms = 1};

/* Function, parameter, the struct whose size it is, and the call. */
#define TABLE(X) \
    X(kvm_runtime_new, config_size, kvm_runtime_config, (IN(kvm_runtime_config), size, &made, &failure)) \
    X(kvm_runtime_adopt, options_size, kvm_runtime_adopt_options, \
      (IN(kvm_runtime_adopt_options), size, &made, NULL, &failure)) \
    X(kvm_runtime_list, device_size, kvm_hotplug_device, (cold, OUT(kvm_hotplug_device), size, 1, &count, &failure)) \
    X(kvm_runtime_unfinished, device_size, kvm_hotplug_device, \
      (cold, OUT(kvm_hotplug_device), size, 1, &count, &failure)) \
    X(kvm_runtime_boot, options_size, kvm_boot_options, (cold, IN(kvm_boot_options), size, &boot, &failure)) \
    X(kvm_runtime_plan_boot, plan_size, kvm_boot_plan, (cold, 1, OUT(kvm_boot_plan), size, &failure)) \
    X(kvm_runtime_check, problem_size, kvm_runtime_problem, \
      (cold, 0, NULL, 0, OUT(kvm_runtime_problem), size, 1, &count, &failure)) \
    X(kvm_runtime_add_nic, nic_size, kvm_hotplug_nic, (cold, IN(kvm_hotplug_nic), size, NULL, 0, &failure)) \
    X(kvm_runtime_add_nic, device_size, kvm_hotplug_device, \
      (cold, &nic, sizeof nic, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_runtime_add_disk, disk_size, kvm_hotplug_disk, (cold, IN(kvm_hotplug_disk), size, NULL, 0, &failure)) \
    X(kvm_runtime_add_disk, device_size, kvm_hotplug_device, \
      (cold, &disk, sizeof disk, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_runtime_del, options_size, kvm_hotplug_del_options, \
      (cold, IN(kvm_hotplug_del_options), size, NULL, 0, &failure)) \
    X(kvm_runtime_del, device_size, kvm_hotplug_device, \
      (cold, &removal, sizeof removal, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_open_with, options_size, kvm_hotplug_open_options, \
      (cold, socket_path, IN(kvm_hotplug_open_options), size, &another, &failure)) \
    X(kvm_hotplug_open_connection, options_size, kvm_hotplug_open_options, \
      (cold, -1, IN(kvm_hotplug_open_options), size, &another, &failure)) \
    X(kvm_hotplug_open_tap, tap_size, kvm_hotplug_tap, (IN(kvm_hotplug_tap), size, fds, 8, NULL, &failure)) \
    X(kvm_hotplug_add_nic, nic_size, kvm_hotplug_nic, (guest, IN(kvm_hotplug_nic), size, NULL, 0, &failure)) \
    X(kvm_hotplug_add_nic, device_size, kvm_hotplug_device, \
      (guest, &nic, sizeof nic, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_add_disk, disk_size, kvm_hotplug_disk, (guest, IN(kvm_hotplug_disk), size, NULL, 0, &failure)) \
    X(kvm_hotplug_add_disk, device_size, kvm_hotplug_device, \
      (guest, &disk, sizeof disk, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_source_json, source_size, kvm_hotplug_source, (IN(kvm_hotplug_source), size, &text, &failure)) \
    X(kvm_hotplug_add_controller, controller_size, kvm_hotplug_controller, \
      (guest, IN(kvm_hotplug_controller), size, NULL, 0, &failure)) \
    X(kvm_hotplug_add_controller, device_size, kvm_hotplug_device, \
      (guest, &controller, sizeof controller, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_set_nic_limits, limits_size, kvm_hotplug_nic_limits, \
      (guest, "x", IN(kvm_hotplug_nic_limits), size, 1000, &failure)) \
    X(kvm_hotplug_change_media, medium_size, kvm_hotplug_medium, \
      (guest, "x", IN(kvm_hotplug_medium), size, NULL, 0, &failure)) \
    X(kvm_hotplug_change_media, device_size, kvm_hotplug_device, \
      (guest, "x", &medium, sizeof medium, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_del, options_size, kvm_hotplug_del_options, \
      (guest, IN(kvm_hotplug_del_options), size, NULL, 0, &failure)) \
    X(kvm_hotplug_del, device_size, kvm_hotplug_device, \
      (guest, &removal, sizeof removal, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_add_many, batch_size, kvm_hotplug_add_batch, \
      (guest, IN(kvm_hotplug_add_batch), size, NULL, 0, &failure)) \
    X(kvm_hotplug_add_many, device_size, kvm_hotplug_device, \
      (guest, &batch, sizeof batch, OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_del_many, batch_size, kvm_hotplug_del_batch, \
      (guest, IN(kvm_hotplug_del_batch), size, NULL, 0, NULL, &failure)) \
    X(kvm_hotplug_del_many, device_size, kvm_hotplug_device, \
      (guest, &gone, sizeof gone, OUT(kvm_hotplug_device), size, NULL, &failure)) \
    X(kvm_hotplug_plan_nic, nic_size, kvm_hotplug_nic, (guest, IN(kvm_hotplug_nic), size, NULL, 0, &text, &failure)) \
    X(kvm_hotplug_plan_nic, device_size, kvm_hotplug_device, \
      (guest, &nic, sizeof nic, OUT(kvm_hotplug_device), size, &text, &failure)) \
    X(kvm_hotplug_plan_disk, disk_size, kvm_hotplug_disk, \
      (guest, IN(kvm_hotplug_disk), size, NULL, 0, &text, &failure)) \
    X(kvm_hotplug_plan_disk, device_size, kvm_hotplug_device, \
      (guest, &disk, sizeof disk, OUT(kvm_hotplug_device), size, &text, &failure)) \
    X(kvm_hotplug_plan_controller, controller_size, kvm_hotplug_controller, \
      (guest, IN(kvm_hotplug_controller), size, NULL, 0, &text, &failure)) \
    X(kvm_hotplug_plan_controller, device_size, kvm_hotplug_device, \
      (guest, &controller, sizeof controller, OUT(kvm_hotplug_device), size, &text, &failure)) \
    X(kvm_hotplug_plan_del, options_size, kvm_hotplug_del_options, \
      (guest, IN(kvm_hotplug_del_options), size, NULL, 0, &text, &failure)) \
    X(kvm_hotplug_plan_del, device_size, kvm_hotplug_device, \
      (guest, &removal, sizeof removal, OUT(kvm_hotplug_device), size, &text, &failure)) \
    X(kvm_hotplug_qmp, command_size, kvm_hotplug_command, (guest, IN(kvm_hotplug_command), size, &text, &failure)) \
    X(kvm_hotplug_next_event, event_size, kvm_hotplug_event, (guest, OUT(kvm_hotplug_event), size, &failure)) \
    X(kvm_hotplug_list, device_size, kvm_hotplug_device, (guest, OUT(kvm_hotplug_device), size, 1, &count, &failure)) \
    X(kvm_hotplug_get_device, device_size, kvm_hotplug_device, (guest, "x", OUT(kvm_hotplug_device), size, &failure)) \
    X(kvm_hotplug_slot_map, slot_size, kvm_hotplug_slot, \
      (guest, 1000, OUT(kvm_hotplug_slot), size, 1, &count, &failure)) \
    X(kvm_hotplug_settle, device_size, kvm_hotplug_device, \
      (guest, 1000, OUT(kvm_hotplug_device), size, 1, &count, &failure)) \
    X(kvm_hotplug_verify, difference_size, kvm_hotplug_difference, \
      (guest, 1000, OUT(kvm_hotplug_difference), size, 1, &count, &failure)) \
    X(kvm_hotplug_repair, difference_size, kvm_hotplug_difference, \
      (guest, 1000, OUT(kvm_hotplug_difference), size, 1, &count, &failure))

#define CALLER(function, parameter, type, arguments) \
    static int function##_##parameter(size_t size) \
    { \
        return function arguments; \
    }
TABLE(CALLER)

/* The sizes of the first version. Structs may grow; these numbers stay. */
static const struct {
    const char *type;
    size_t first;
} firsts[] = {
    {"kvm_runtime_config", 32},    {"kvm_hotplug_device", 784},     {"kvm_boot_options", 40},
    {"kvm_boot_plan", 24},         {"kvm_runtime_problem", 584},    {"kvm_hotplug_nic", 96},
    {"kvm_hotplug_disk", 104},     {"kvm_hotplug_del_options", 16}, {"kvm_hotplug_open_options", 16},
    {"kvm_hotplug_tap", 32},       {"kvm_hotplug_controller", 40},  {"kvm_hotplug_add_batch", 56},
    {"kvm_hotplug_del_batch", 24}, {"kvm_hotplug_command", 32},     {"kvm_hotplug_event", 344},
    {"kvm_hotplug_slot", 152},     {"kvm_hotplug_difference", 712}, {"kvm_runtime_adopt_options", 56},
    {"kvm_hotplug_source", 120},   {"kvm_hotplug_nic_limits", 32},  {"kvm_hotplug_medium", 40},
};

static const struct entry {
    const char *function, *parameter, *type;
    int (*call)(size_t size);
} table[] = {
#define ENTRY(function, parameter, type, arguments) {#function, #parameter, #type, function##_##parameter},
    TABLE(ENTRY)};

enum { ENTRIES = sizeof table / sizeof *table };

static size_t first_of(const char *type)
{
    size_t i;

    for (i = 0; i < sizeof firsts / sizeof *firsts; i++)
        if (strcmp(firsts[i].type, type) == 0)
            return firsts[i].first;
    FAIL("no first size of struct %s", type);
}

static void refused(const struct entry *entry, size_t size)
{
    char part[32];

    snprintf(part, sizeof part, "size %zu", size);
    test_fails(__FILE__, __LINE__, entry->function, entry->call(size), -EINVAL, KVM_HOTPLUG_ERROR_INVALID,
               (const char *const[]){part, "pass its sizeof", NULL});
    CHECK_NUMBER(room[0], 0xaa);
}

static bool is_in_table(const char *function, const char *parameter)
{
    size_t i;

    for (i = 0; i < ENTRIES; i++)
        if (strcmp(table[i].function, function) == 0 && strcmp(table[i].parameter, parameter) == 0)
            return true;
    return false;
}

/* Every size that a function of the header takes is in the table. */
static void the_table_is_whole(void)
{
    char *header = file_read(TEST_HEADER, NULL), *line, *rest = header, function[64] = "", parameter[64];
    size_t found = 0;

    CHECK(header != NULL);
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *at;

        sscanf(line, "int %63[a-z_](", function);
        if (*line == '}' || strncmp(line, "struct", 6) == 0)
            function[0] = '\0';
        for (at = line; function[0] != '\0' && (at = strstr(at, "size_t ")) != NULL; at++) {
            if (sscanf(at, "size_t %63[a-z_]", parameter) == 1 && strlen(parameter) >= 4 &&
                strcmp(parameter + strlen(parameter) - 4, "size") == 0) {
                found++;
                if (!is_in_table(function, parameter))
                    FAIL("%s takes %s, and is not in the table", function, parameter);
            }
        }
        if (strchr(line, ';') != NULL)
            function[0] = '\0';
    }
    CHECK_NUMBER(found, ENTRIES);
    free(header);
}

int main(void)
{
    char directory[TEST_PATH];
    size_t i, size;

    test_begin("api-sizes", 60);
    directory_new(directory);
    path_in(path, directory, "vm.runtime");
    path_in(other, directory, "cold.runtime");
    path_in(socket_path, directory, "qmp");
    memset(ones, 0xff, sizeof ones);
    memset(room, 0xaa, sizeof room);
    example_start(&fake, "exec kvm-fake-qemu $1", (const char *const[]){socket_path, NULL});
    example_says(&fake, "ready", test_patience(10000));
    works(kvm_runtime_new(NULL, 0, &runtime, &failure));
    works(kvm_runtime_save(runtime, path, &failure));
    works(kvm_runtime_new(NULL, 0, &cold, &failure));
    works(kvm_runtime_save(cold, other, &failure));
    works(kvm_hotplug_open(runtime, socket_path, 0, &guest, &failure));
    for (i = 0; i < ENTRIES; i++) {
        size_t first = first_of(table[i].type);

        for (size = 0; size <= 16 && size < first; size++)
            refused(&table[i], size);
        refused(&table[i], first - 1);
        refused(&table[i], first / 2);
        refused(&table[i], (64 << 10) + 1);
    }
    the_table_is_whole();
    works(kvm_runtime_list(cold, NULL, 0, 0, &count, &failure));
    CHECK_NUMBER(count, 0);
    kvm_hotplug_close(guest);
    kvm_runtime_free(runtime);
    kvm_runtime_free(cold);
    CHECK_NUMBER(example_end(&fake), 0);
    return test_end();
}
