/* ctest: machine=pc */
/* A library that was loaded with dlopen() and used is gone after dlclose(): from memory, with its descriptors and threads, and
 * without having touched what belongs to the process. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <kvm_hotplug.h>

#include "support/check.h"
#include "support/files.h"
#include "support/qemu.h"

static const char soname[] = "libkvm_hotplug.so.0";

/* The functions used here, under their own names with an underscore. */
#define FUNCTION(name) __typeof__(name) *name##_

static FUNCTION(kvm_runtime_new);
static FUNCTION(kvm_runtime_save);
static FUNCTION(kvm_runtime_free);
static FUNCTION(kvm_hotplug_open);
static FUNCTION(kvm_hotplug_add_nic);
static FUNCTION(kvm_hotplug_process);
static FUNCTION(kvm_hotplug_close);
static FUNCTION(kvm_hotplug_error_message);
static FUNCTION(kvm_hotplug_error_free);

/* ISO C has no conversion from what dlsym() returns to a function. */
static void find(void *library, const char *name, void *place)
{
    void *symbol = dlsym(library, name);

    if (symbol == NULL)
        FAIL("%s", dlerror());
    memcpy(place, &symbol, sizeof symbol);
}

static void *load(void)
{
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        FAIL("%s", dlerror());
#define FIND(name) find(library, #name, &name##_)
    FIND(kvm_runtime_new);
    FIND(kvm_runtime_save);
    FIND(kvm_runtime_free);
    FIND(kvm_hotplug_open);
    FIND(kvm_hotplug_add_nic);
    FIND(kvm_hotplug_process);
    FIND(kvm_hotplug_close);
    FIND(kvm_hotplug_error_message);
    FIND(kvm_hotplug_error_free);
    return library;
}

static bool mapped(void)
{
    char line[512];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");

    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL)
        found = found || strstr(line, "libkvm_hotplug") != NULL;
    fclose(maps);
    return found;
}

/* Two meeting points: after the library was used, and after it was unloaded. */
static pthread_barrier_t meeting;
static struct qemu *qemu;
static char path[TEST_PATH];

static void use(void)
{
    struct kvm_hotplug_nic nic = {.queues = 1}, bad = {.mac = "x"};
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *runtime = NULL;
    struct kvm_hotplug *guest = NULL;

    ok(kvm_runtime_new_(NULL, 0, &runtime, NULL));
    ok(kvm_runtime_save_(runtime, path, NULL));
    ok(kvm_hotplug_open_(runtime, qemu->qmp_path, 0, &guest, NULL));
    ok(kvm_hotplug_add_nic_(guest, &nic, sizeof nic, NULL, 0, NULL));
    err(kvm_hotplug_add_nic_(guest, &bad, sizeof bad, NULL, 0, &error), -EINVAL);
    CHECK(kvm_hotplug_error_message_(error) != NULL);
    ok(kvm_hotplug_process_(guest, 0, NULL));
    kvm_hotplug_error_free_(error);
    kvm_hotplug_close_(guest);
    kvm_runtime_free_(runtime);
}

/* A thread that outlives the library ends without it. */
static void *user(void *unused)
{
    (void)unused;
    use();
    pthread_barrier_wait(&meeting);
    pthread_barrier_wait(&meeting);
    return NULL;
}

static void load_use_unload(int round)
{
    void *library = load();
    pthread_t thread;
    char name[32];

    CHECK(mapped());
    snprintf(name, sizeof name, "%d.runtime", round);
    path_in(path, qemu->dir, name);
    ok(pthread_create(&thread, NULL, user, NULL));
    pthread_barrier_wait(&meeting);
    CHECK_NUMBER(directory_count("/proc/self/task"), 2);
    ok(dlclose(library));
    CHECK(!mapped());
    pthread_barrier_wait(&meeting);
    ok(pthread_join(thread, NULL));
}

int main(void)
{
    struct sigaction pipe_before, pipe_after;
    int round, fds;

    test_begin("qemu-dlclose", 60);
    qemu = qemu_start(&(struct qemu_options){.paused = true});
    fds = process_fds(getpid());
    ok(sigaction(SIGPIPE, NULL, &pipe_before));
    CHECK(!mapped());
    ok(pthread_barrier_init(&meeting, NULL, 2));
    for (round = 0; round < 3; round++) {
        load_use_unload(round);
        CHECK_NUMBER(process_fds(getpid()), fds);
    }
    ok(sigaction(SIGPIPE, NULL, &pipe_after));
    CHECK(pipe_after.sa_handler == pipe_before.sa_handler);
    qemu_stop(qemu);
    return test_end();
}
