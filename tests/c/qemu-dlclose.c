/* ctest: machine=pc */
/* A library that was loaded with dlopen() and used is gone after dlclose(): from memory, with its descriptors
 * and threads, and without having touched what belongs to the process. A thousand times, from several
 * threads. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
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

enum { ROUNDS = 1000, USERS = 4, WARM = 100, SLACK_KB = 256 };

/* How many lines the map of the process has, and whether the library is on one. */
static int mappings(bool *ret_library)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");

    CHECK(maps != NULL);
    *ret_library = false;
    while (fgets(line, sizeof line, maps) != NULL) {
        *ret_library = *ret_library || strstr(line, "libkvm_hotplug") != NULL;
        count++;
    }
    fclose(maps);
    return count;
}

static bool mapped(void)
{
    bool library;

    mappings(&library);
    return library;
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

/* What a plugin host does in one of its threads: loads the library for itself, checks the version before
 * anything else, uses it, and lets it go. One of the threads talks to QEMU, which serves one client; the
 * others have records of their own. */
static void be_host(int user, int round)
{
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    __typeof__(kvm_hotplug_abi_version) *version;
    __typeof__(kvm_runtime_new) *new_;
    __typeof__(kvm_runtime_save) *save;
    __typeof__(kvm_runtime_load_readonly) *read_;
    __typeof__(kvm_runtime_free) *free_;
    __typeof__(kvm_hotplug_open) *open_;
    __typeof__(kvm_hotplug_process) *process;
    __typeof__(kvm_hotplug_close) *close_;
    __typeof__(kvm_hotplug_error_free) *error_free;
    struct kvm_hotplug_error *error = NULL;
    struct kvm_runtime *runtime = NULL, *copy = NULL;
    struct kvm_hotplug *guest = NULL;
    char file[TEST_PATH], lock[TEST_PATH + 8], name[32];

    CHECK(library != NULL);
    find(library, "kvm_hotplug_abi_version", &version);
    CHECK_NUMBER(version(), KVM_HOTPLUG_ABI_VERSION);
    find(library, "kvm_runtime_new", &new_);
    find(library, "kvm_runtime_save", &save);
    find(library, "kvm_runtime_load_readonly", &read_);
    find(library, "kvm_runtime_free", &free_);
    find(library, "kvm_hotplug_open", &open_);
    find(library, "kvm_hotplug_process", &process);
    find(library, "kvm_hotplug_close", &close_);
    find(library, "kvm_hotplug_error_free", &error_free);
    snprintf(name, sizeof name, "u%d-%d", user, round);
    path_in(file, qemu->dir, name);
    ok(new_(NULL, 0, &runtime, NULL));
    ok(save(runtime, file, NULL));
    ok(read_(file, &copy, NULL));
    if (user == round % USERS) {
        ok(open_(runtime, qemu->qmp_path, 0, &guest, NULL));
        CHECK(process(guest, 0, NULL) >= 0);
    } else {
        err(open_(runtime, "/nowhere", 0, &guest, &error), -ENOENT);
        CHECK(error != NULL);
    }
    close_(guest);
    error_free(error);
    free_(runtime);
    free_(copy);
    unlink(file);
    snprintf(lock, sizeof lock, "%s.lock", file);
    unlink(lock);
    ok(dlclose(library));
}

static int rounds;

static void *host(void *argument)
{
    int user = *(int *)argument, round;

    for (round = 0; round < rounds; round++) {
        be_host(user, round);
        /* All have let go, and nobody has come back: the test looks, and lets the next round begin. */
        pthread_barrier_wait(&meeting);
        pthread_barrier_wait(&meeting);
    }
    return NULL;
}

struct household {
    int fds;
    int mappings;
    int threads;
    long heap_kb;
};

static struct household look(void)
{
    struct household now = {.fds = process_fds(getpid()), .threads = directory_count("/proc/self/task")};
    bool library;

    now.mappings = mappings(&library);
    CHECK(!library);
    now.heap_kb = process_heap_kb(getpid());
    return now;
}

static void a_thousand_times(void)
{
    pthread_t threads[USERS];
    int numbers[USERS], i, round;
    struct household warm = {.fds = 0}, now;

    /* Where everything is slow, under valgrind for instance, fewer say as much. */
    rounds = ROUNDS / test_patience(1);
    /* One heap for all threads, so that it can be looked at. */
    CHECK(mallopt(M_ARENA_MAX, 1) == 1);
    CHECK(rounds > WARM / 4);
    ok(pthread_barrier_init(&meeting, NULL, USERS + 1));
    for (i = 0; i < USERS; i++) {
        numbers[i] = i;
        ok(pthread_create(&threads[i], NULL, host, &numbers[i]));
    }
    for (round = 0; round < rounds; round++) {
        pthread_barrier_wait(&meeting);
        CHECK(!mapped());
        if (round == rounds / (ROUNDS / WARM))
            warm = look();
        if (round + 1 == rounds) {
            now = look();
            CHECK_NUMBER(now.fds, warm.fds);
            CHECK_NUMBER(now.threads, warm.threads);
            CHECK_NUMBER(now.threads, USERS + 1);
            CHECK_NUMBER(now.mappings, warm.mappings);
            if (now.heap_kb > warm.heap_kb + SLACK_KB)
                FAIL("the heap has grown from %ld to %ld KB in %d rounds", warm.heap_kb, now.heap_kb, rounds);
        }
        pthread_barrier_wait(&meeting);
    }
    for (i = 0; i < USERS; i++)
        ok(pthread_join(threads[i], NULL));
    ok(pthread_barrier_destroy(&meeting));
}

/* The disposition of every signal, and which are blocked. */
struct signals {
    struct sigaction actions[NSIG];
    sigset_t blocked;
};

static void look_at_signals(struct signals *signals)
{
    int number;

    memset(signals, 0, sizeof *signals);
    for (number = 1; number < NSIG; number++)
        sigaction(number, NULL, &signals->actions[number]);
    ok(pthread_sigmask(SIG_SETMASK, NULL, &signals->blocked));
}

static void check_signals(const struct signals *before)
{
    struct signals after;
    int number;

    look_at_signals(&after);
    for (number = 1; number < NSIG; number++) {
        if (after.actions[number].sa_handler != before->actions[number].sa_handler ||
            after.actions[number].sa_flags != before->actions[number].sa_flags)
            FAIL("the disposition of signal %d has changed", number);
        CHECK_NUMBER(sigismember(&after.blocked, number), sigismember(&before->blocked, number));
    }
}

int main(void)
{
    struct signals before;
    int round, fds;

    test_begin("qemu-dlclose", 300);
    qemu = qemu_start(&(struct qemu_options){.paused = true});
    fds = process_fds(getpid());
    look_at_signals(&before);
    CHECK(!mapped());
    ok(pthread_barrier_init(&meeting, NULL, 2));
    for (round = 0; round < 3; round++) {
        load_use_unload(round);
        CHECK_NUMBER(process_fds(getpid()), fds);
    }
    ok(pthread_barrier_destroy(&meeting));
    a_thousand_times();
    CHECK_NUMBER(process_fds(getpid()), fds);
    CHECK_NUMBER(directory_count("/proc/self/task"), 1);
    check_signals(&before);
    qemu_stop(qemu);
    return test_end();
}
