/* A host that does not link the library but loads it while it runs, from a folder of plugins say, and can do without it.
 *
 *     plugin LIBRARY RUNTIME [QMP]
 *
 * Lists the devices of a record, or of the guest behind the socket. The header gives the types; what is asked of the
 * library before anything else is its ABI version, because the layout of every struct hangs on that.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <kvm_hotplug.h>

/* Every function that is used, once. The pointers have the types that the header declares. */
#define FUNCTIONS(with) \
    with(kvm_hotplug_error_message) with(kvm_hotplug_error_free) with(kvm_runtime_load) \
        with(kvm_runtime_load_readonly) with(kvm_runtime_list) with(kvm_runtime_free) with(kvm_hotplug_open) \
            with(kvm_hotplug_list) with(kvm_hotplug_close)

#define MEMBER(name) __typeof__(&name) name;

struct library {
    void *handle;
    FUNCTIONS(MEMBER)
};

#define NAME(name) #name,
#define PLACE(name) &library->name,

static const char *const names[] = {FUNCTIONS(NAME)};
enum { COUNT = sizeof names / sizeof *names };

/* A library of another version may have everything under its old name and mean something else by it. */
static bool is_right_version(void *handle)
{
    uint32_t (*version)(void);

    *(void **)&version = dlsym(handle, "kvm_hotplug_abi_version");
    if (version == NULL) {
        fputs("plugin: this is not kvm-hotplug\n", stderr);
        return false;
    }
    if (version() != KVM_HOTPLUG_ABI_VERSION) {
        fprintf(stderr, "plugin: the library has ABI version %u, this program is made for %u\n", (unsigned)version(),
                (unsigned)KVM_HOTPLUG_ABI_VERSION);
        return false;
    }
    return true;
}

static bool resolve(struct library *library)
{
    void *places[] = {FUNCTIONS(PLACE)};
    size_t i;

    for (i = 0; i < COUNT; i++) {
        void *found = dlsym(library->handle, names[i]);

        if (found == NULL) {
            fprintf(stderr, "plugin: the library has no %s\n", names[i]);
            return false;
        }
        *(void **)places[i] = found;
    }
    return true;
}

/* RTLD_NOW: a library that lacks something itself is to fail here, not at some call. RTLD_LOCAL: its names are nobody
 * else's business. */
static bool load(struct library *library, const char *path)
{
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library->handle == NULL) {
        fprintf(stderr, "plugin: %s\n", dlerror());
        return false;
    }
    if (is_right_version(library->handle) && resolve(library))
        return true;
    dlclose(library->handle);
    return false;
}

static int failed(const struct library *library, struct kvm_hotplug_error *error)
{
    fprintf(stderr, "plugin: %s\n", library->kvm_hotplug_error_message(error));
    library->kvm_hotplug_error_free(error);
    return 1;
}

static void show(const struct kvm_hotplug_device *devices, size_t count)
{
    size_t i;

    printf("%zu devices\n", count);
    for (i = 0; i < count; i++)
        printf("%s %s %u\n", devices[i].id, devices[i].bus, devices[i].slot);
}

enum { MOST = 256 };

static int list_record(const struct library *library, const char *path, struct kvm_hotplug_device *devices)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *runtime = NULL;
    size_t count = 0;
    int status = 0;

    if (library->kvm_runtime_load_readonly(path, &runtime, &error) < 0 ||
        library->kvm_runtime_list(runtime, devices, sizeof *devices, MOST, &count, &error) < 0)
        status = failed(library, error);
    else
        show(devices, count < MOST ? count : MOST);
    library->kvm_runtime_free(runtime);
    return status;
}

static int list_guest(const struct library *library, const char *path, const char *socket,
                      struct kvm_hotplug_device *devices)
{
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *runtime = NULL;
    struct kvm_hotplug *guest = NULL;
    size_t count = 0;
    int status = 0;

    if (library->kvm_runtime_load(path, &runtime, &error) < 0 ||
        library->kvm_hotplug_open(runtime, socket, 0, &guest, &error) < 0 ||
        library->kvm_hotplug_list(guest, devices, sizeof *devices, MOST, &count, &error) < 0)
        status = failed(library, error);
    else
        show(devices, count < MOST ? count : MOST);
    library->kvm_hotplug_close(guest);
    library->kvm_runtime_free(runtime);
    return status;
}

int main(int argc, char **argv)
{
    struct kvm_hotplug_device *devices;
    struct library library;
    int status = 1;

    if (argc != 3 && argc != 4) {
        fputs("usage: plugin LIBRARY RUNTIME [QMP]\n", stderr);
        return 2;
    }
    if (!load(&library, argv[1]))
        return 1;
    devices = calloc(MOST, sizeof *devices);
    if (devices != NULL)
        status = argc == 4 ? list_guest(&library, argv[2], argv[3], devices) : list_record(&library, argv[2], devices);
    free(devices);
    /* Every handle is closed and every text freed: nothing of the library is left to be used. */
    dlclose(library.handle);
    return status;
}
