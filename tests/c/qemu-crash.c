/* An agent is killed at random moments while it plugs and unplugs; the next one must find everything in
 * order.
 *
 * A child process adds and removes NICs and disks, one by one and in lists, waited for and not, as fast as it
 * can and is killed with SIGKILL. Then this process opens the guest, and record, guest and host are compared
 * completely. KVM_HOTPLUG_TEST_KILLS says how often (200): the first half with the same seed in every run,
 * the rest with a fresh one. KVM_HOTPLUG_TEST_SEED is the seed of all of them instead. qemu-crash-steps and
 * qemu-crash-lists kill at every step, once each.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/crash.h"

enum {
    LONGEST_LIFE_US = 40000,
    RESET_EVERY = 3,
    NICS_EVERY = 3,
    LIST_EVERY = 3,
    NO_WAIT_EVERY = 3,
    LIST_MS = 20,
    FIXED_SEED = 1
};

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 16;
}

static void act_on_list(struct scene *scene, unsigned *random)
{
    unsigned set = next_random(random) % CRASH_ONLY(CRASH_CONTROLLER);

    if (next_random(random) % 2)
        (void)!scene_ask_many(scene, set);
    else
        (void)!scene_add_many(scene, set, next_random(random) % CRASH_FLAWS, LIST_MS);
}

/* In the child nothing is checked: whatever it was doing, it is going to be killed. */
static void act(struct scene *scene, unsigned kinds, unsigned *random)
{
    enum crash_device which = next_random(random) % kinds;

    scene->no_wait = next_random(random) % NO_WAIT_EVERY == 0;
    if (kinds == CRASH_DEVICES && next_random(random) % LIST_EVERY == 0)
        act_on_list(scene, random);
    else if (next_random(random) % 2)
        (void)!scene_ask(scene, which);
    else
        (void)!scene_add(scene, which);
}

/* Some agents have to do with NICs alone, so that the same ones come and go at short intervals. */
static unsigned kinds_of(unsigned *random)
{
    return next_random(random) % NICS_EVERY == 0 ? CRASH_RAW : CRASH_DEVICES;
}

/* One life: from before the runtime file is opened to some moment in the middle of something. */
static void live_and_die(struct scene *scene, unsigned *random)
{
    unsigned child_random = next_random(random);
    unsigned life = next_random(random) * 7u % LONGEST_LIFE_US;
    struct timespec pause = {.tv_nsec = life * 1000L};
    pid_t child = fork();
    int status;

    if (child == 0) {
        unsigned kinds = kinds_of(&child_random);
        if (scene_open(scene))
            _exit(1);
        for (;;)
            act(scene, kinds, &child_random);
    }
    CHECK(child > 0);
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
}

static void examine(struct scene *scene, bool grant)
{
    struct states states;

    scene_reopen(scene);
    if (grant)
        scene_grant(scene);
    else if (kvm_hotplug_process(scene->vm.guest, 0, &failure) < 0)
        FAIL("process: %s", kvm_hotplug_error_message(failure));
    scene_compare(scene, &states);
    vm_close(&scene->vm);
    scene_compare_files(scene, &states);
}

static unsigned number_from(const char *variable, unsigned fallback)
{
    const char *text = getenv(variable);

    return text ? (unsigned)strtoul(text, NULL, 10) : fallback;
}

int main(void)
{
    static struct scene scene;
    unsigned kills = number_from("KVM_HOTPLUG_TEST_KILLS", 200);
    unsigned fixed = getenv("KVM_HOTPLUG_TEST_SEED") == NULL ? kills / 2 : 0;
    unsigned seed = number_from("KVM_HOTPLUG_TEST_SEED", (unsigned)time(NULL) ^ (unsigned)getpid());
    unsigned random = FIXED_SEED;

    test_begin("qemu-crash", 60 + (int)kills);
    if (fixed > 0)
        printf("%u kills, KVM_HOTPLUG_TEST_SEED=%u\n", fixed, FIXED_SEED);
    printf("%u kills, KVM_HOTPLUG_TEST_SEED=%u\n", kills - fixed, seed);
    scene_start(&scene);
    for (unsigned i = 1; i <= kills; i++) {
        if (i == fixed + 1)
            random = seed;
        monitor_forget_events(scene.vm.qemu->observer);
        live_and_die(&scene, &random);
        examine(&scene, i % RESET_EVERY == 0);
    }
    vm_stop(&scene.vm);
    return test_end();
}
