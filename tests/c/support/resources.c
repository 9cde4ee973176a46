#include "resources.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net.h"

void resources_count(struct resources *resources, int number, const char *format, ...)
{
    char what[sizeof resources->of[0].what];
    va_list arguments;
    int i;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    for (i = 0; i < resources->count; i++)
        if (strcmp(resources->of[i].what, what) == 0)
            break;
    if (i == MAX_CENSUS)
        FAIL("more than %d different things", MAX_CENSUS);
    if (i == resources->count) {
        strcpy(resources->of[i].what, what);
        resources->of[i].number = 0;
        resources->count++;
    }
    resources->of[i].number += number;
}

void resources_add(struct resources *resources, const struct resources *other, int times)
{
    for (int i = 0; i < other->count; i++)
        resources_count(resources, other->of[i].number * times, "%s", other->of[i].what);
}

static int number_of(const struct resources *resources, const char *what)
{
    for (int i = 0; i < resources->count; i++)
        if (strcmp(resources->of[i].what, what) == 0)
            return resources->of[i].number;
    return 0;
}

static bool is_of_fdset(const char *what)
{
    return strncmp(what, "fdset", 5) == 0 || strncmp(what, "open ", 5) == 0;
}

const char *resources_difference(const struct resources *got, const struct resources *want, bool unsettled)
{
    static char text[256];
    const struct resources *both[] = {got, want};

    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < both[side]->count; i++) {
            const char *what = both[side]->of[i].what;
            int has = number_of(got, what), wanted = number_of(want, what);
            if (has == wanted || (unsettled && is_of_fdset(what) && has < wanted))
                continue;
            snprintf(text, sizeof text, "%s: %d, not %d", what, has, wanted);
            return text;
        }
    }
    return NULL;
}

/* The next string that is the value of the key, "" if it is no string; NULL at the end. QEMU's versions space
 * their JSON as they like. */
static const char *next_value(const char **text, const char *key, char value[64])
{
    char quoted[32];
    const char *at;
    size_t length = 0;

    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    at = strstr(*text, quoted);
    if (at == NULL)
        return NULL;
    at += strlen(quoted);
    at += strspn(at, " ");
    if (*at == '"')
        length = strcspn(++at, "\"");
    snprintf(value, 64, "%.*s", (int)length, at);
    *text = at + length;
    return value;
}

/* What has an id of its own. That of a controller follows from its slot, wherever that is. */
static void count_devices(struct resources *resources, struct vm *vm)
{
    static const char controller[] = "scsi-pci-";
    const char *text = qmp(vm->qemu, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}");
    char name[64];

    while (next_value(&text, "name", name) != NULL) {
        if (strncmp(name, controller, strlen(controller)) == 0)
            name[strlen(controller)] = '\0';
        resources_count(resources, 1, "device %s", name);
    }
}

/* A line for each queue of a NIC, and of its backend: "name: index=0,type=tap,...". */
static void count_netdevs(struct resources *resources, struct vm *vm)
{
    static const char question[] =
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info network\"}}";
    const char *text = qmp(vm->qemu, question), *at = text;
    char name[64], type[16];

    while ((at = strstr(at, ": index=")) != NULL) {
        const char *start = at;
        while (start > text && strchr("\" \\", start[-1]) == NULL && strncmp(start - 2, "\\n", 2) != 0)
            start--;
        snprintf(name, sizeof name, "%.*s", (int)(at - start), start);
        if (sscanf(at, ": index=%*d,type=%15[a-z-]", type) == 1)
            resources_count(resources, 1, "%s of %s", type, name);
        at++;
    }
}

static void count_nodes(struct resources *resources, struct vm *vm)
{
    const char *text = qmp(vm->qemu, "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}");
    char name[64];

    while (next_value(&text, "node-name", name) != NULL)
        resources_count(resources, 1, "block node %s", *name == '#' ? "without a name" : name);
}

static void count_fdset(struct resources *resources, const char *set)
{
    const char *at;
    char value[64];

    resources_count(resources, 1, "fdsets");
    for (at = set; next_value(&at, "fd", value) != NULL;)
        resources_count(resources, 1, "fdset entries");
    for (at = set; next_value(&at, "opaque", value) != NULL;)
        resources_count(resources, 1, "fdset entries of %s", value);
}

/* Sets that were given up stay (qemu-cut-off): what is in them has been closed, and nobody may do it again. A
 * set is {"fds": [...], "fdset-id": 1}, and may begin with either. */
static void count_fdsets(struct resources *resources, struct vm *vm)
{
    char *text = strdup(qmp(vm->qemu, "{\"execute\":\"query-fdsets\"}")), *rest = strchr(text, '['), *set;

    CHECK(rest != NULL);
    for (rest++; (set = strchr(rest, '{')) != NULL;) {
        int depth = 0;
        for (rest = set; *rest != '\0' && (depth += (*rest == '{') - (*rest == '}')) > 0; rest++)
            ;
        CHECK(*rest == '}');
        *rest++ = '\0';
        if (strstr(set, "kh-lost") == NULL)
            count_fdset(resources, set);
    }
    free(text);
}

static DIR *list(const char *path)
{
    DIR *dir = opendir(path);

    if (dir == NULL)
        FAIL("cannot list %s: %s", path, strerror(errno));
    return dir;
}

/* The number of QEMU's next descriptor, and what it is of; NULL at the end. */
static const char *next_descriptor(DIR *dir, struct vm *vm, char target[256])
{
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[320];
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)vm->qemu->pid, entry->d_name);
        ssize_t length = readlink(path, target, 255);
        if (length < 0)
            continue;
        target[length] = '\0';
        return entry->d_name;
    }
    return NULL;
}

static DIR *list_descriptors(struct vm *vm)
{
    char path[40];

    snprintf(path, sizeof path, "/proc/%d/fd", (int)vm->qemu->pid);
    return list(path);
}

/* Its log and the like are counted as well: they are always there. */
static void count_descriptors(struct resources *resources, struct vm *vm)
{
    char target[256];
    DIR *dir = list_descriptors(vm);

    while (next_descriptor(dir, vm, target) != NULL) {
        if (strncmp(target, vm->qemu->dir, strlen(vm->qemu->dir)) == 0)
            resources_count(resources, 1, "open %.64s", target + strlen(vm->qemu->dir));
        else if (strcmp(target, "/dev/net/tun") == 0 || strcmp(target, "/dev/vhost-net") == 0)
            resources_count(resources, 1, "descriptors of %s", target);
    }
    closedir(dir);
}

static void count_links(struct resources *resources, const char *bridge)
{
    struct if_nameindex *links = if_nameindex();

    if (links == NULL)
        FAIL("cannot list the interfaces: %s", strerror(errno));
    for (int i = 0; links[i].if_name != NULL; i++) {
        resources_count(resources, 1, "interfaces");
        if (link_in_bridge(links[i].if_name, bridge))
            resources_count(resources, 1, "ports of the bridge");
    }
    if_freenameindex(links);
}

static void count_files(struct resources *resources, struct vm *vm)
{
    const char *name = strrchr(vm->path, '/') + 1;
    DIR *dir = list(vm->qemu->dir);

    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strncmp(entry->d_name, name, strlen(name)) == 0)
            resources_count(resources, 1, "file %.64s", entry->d_name);
    closedir(dir);
}

void resources_take(struct resources *resources, struct vm *vm, const char *bridge)
{
    resources->count = 0;
    count_devices(resources, vm);
    count_netdevs(resources, vm);
    count_nodes(resources, vm);
    count_fdsets(resources, vm);
    count_descriptors(resources, vm);
    count_links(resources, bridge);
    count_files(resources, vm);
}

void resources_print(const char *title, const struct resources *resources)
{
    fprintf(stderr, "%s:\n", title);
    for (int i = 0; i < resources->count; i++)
        if (resources->of[i].number != 0)
            fprintf(stderr, "  %4d  %s\n", resources->of[i].number, resources->of[i].what);
}

void resources_print_descriptors(struct vm *vm)
{
    char target[256];
    DIR *dir = list_descriptors(vm);
    const char *number;

    fprintf(stderr, "QEMU's descriptors:\n");
    while ((number = next_descriptor(dir, vm, target)) != NULL)
        if (strncmp(target, vm->qemu->dir, strlen(vm->qemu->dir)) == 0)
            fprintf(stderr, "  %s is %s\n", number, target);
    closedir(dir);
}
