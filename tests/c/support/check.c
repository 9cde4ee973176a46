#include "check.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reaper.h"

static atomic_int checks;
static const char *test_name;
static pid_t test_process;
static bool ended;

/* A forked child that leaves through exit() must not clean up what its parent still uses. */
static void at_exit(void)
{
    if (getpid() != test_process)
        return;
    if (!ended)
        fprintf(stderr, "FAIL %s: left before test_end()\n", test_name);
    fflush(NULL);
    reaper_stop();
    if (!ended)
        _exit(1);
}

int test_patience(int limit)
{
    const char *times = getenv("KVM_HOTPLUG_TEST_SLOW");
    int factor = times == NULL ? 1 : atoi(times);

    return factor > 1 ? limit * factor : limit;
}

void test_begin(const char *name, int seconds)
{
    test_name = name;
    test_process = getpid();
    /* A test may begin in the forked child of another. */
    atomic_store(&checks, 0);
    ended = false;
    reaper_start(name, test_patience(seconds));
    if (atexit(at_exit) != 0)
        FAIL("cannot register the clean-up");
}

int test_end(void)
{
    int made = atomic_load(&checks);

    ended = true;
    if (made == 0) {
        fprintf(stderr, "FAIL %s: no check was made\n", test_name);
        return 1;
    }
    reaper_test_passed();
    printf("PASS %s: %d checks\n", test_name, made);
    return 0;
}

const char *test_own_name(void)
{
    return test_name == NULL ? "(no test_begin)" : test_name;
}

void test_ends_unrun(void)
{
    ended = true;
    reaper_test_passed();
}

/* A QEMU that crashed does not say so itself. */
static void say_who_ended(void)
{
    siginfo_t end = {.si_pid = 0};

    if (waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid != 0)
        fprintf(stderr, "process %d has ended: %s %d\n", (int)end.si_pid,
                end.si_code == CLD_EXITED ? "status" : "signal", end.si_status);
}

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    say_who_ended();
    fprintf(stderr, "FAIL %s\n", test_own_name());
    ended = true;
    exit(1);
}

void test_count_check(void)
{
    atomic_fetch_add(&checks, 1);
}

/* A negative value is most likely an errno, whose name says more than its number. */
static const char *meaning(long long value)
{
    return value < 0 && value > -4096 ? strerrordesc_np((int)-value) : NULL;
}

void test_check_number(const char *file, int line, const char *what, long long got, long long want)
{
    const char *got_means = meaning(got);
    const char *want_means = meaning(want);

    if (got != want)
        test_fail(file, line, "%s is %lld%s%s, not %lld%s%s", what, got, got_means ? " " : "",
                  got_means ? got_means : "", want, want_means ? " " : "", want_means ? want_means : "");
    test_count_check();
}

void test_check_text(const char *file, int line, const char *what, const char *got, const char *want)
{
    if (got == NULL || want == NULL ? got != want : strcmp(got, want) != 0)
        test_fail(file, line, "%s is \"%s\", not \"%s\"", what, got ? got : "(null)", want ? want : "(null)");
    test_count_check();
}
