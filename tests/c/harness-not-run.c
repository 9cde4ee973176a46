/* What a machine cannot run is listed, with the reason, and does not count as passed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/files.h"
#include "support/not_run.h"
#include "support/run.h"

enum { SKIPPED = 77 };

static void all_of_it(void)
{
    test_not_run("the kernel has no module %s,\nand none can be loaded", "scsi_debug");
}

static void a_part_of_it(void)
{
    test_part_not_run("a vhost-net that works", "no %s", "/dev/vhost-net");
    CHECK(1);
    exit(test_end());
}

/* A part left out is no reason to check nothing else. */
static void nothing_else(void)
{
    test_part_not_run("everything", "this machine has nothing");
    exit(test_end());
}

/* Runs the body as a test of its own, and returns its exit status. */
static int status_of(void (*body)(void))
{
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        test_begin("inner", 30);
        body();
        _exit(0);
    }
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void listed(const char *path, const char *want)
{
    char *list = file_read(path, NULL);

    CHECK_TEXT(list, want);
    free(list);
}

static int shell(const char *script)
{
    return run((const char *[]){"bash", "-euc", script, "bash", NULL});
}

int main(void)
{
    const char *first = "inner: the kernel has no module scsi_debug, and none can be loaded\n";
    char directory[TEST_PATH], path[TEST_PATH], want[400];

    test_begin("harness-not-run", 60);
    directory_new(directory);
    path_in(path, directory, "not-run");
    ok(setenv("KVM_HOTPLUG_NOT_RUN", path, 1));
    CHECK_NUMBER(status_of(all_of_it), SKIPPED);
    listed(path, first);
    CHECK_NUMBER(status_of(a_part_of_it), 0);
    snprintf(want, sizeof want, "%s%s", first, "inner, a vhost-net that works: no /dev/vhost-net\n");
    listed(path, want);
    CHECK_NUMBER(status_of(nothing_else), 1);

    /* The scripts' side. A line that is there twice is one thing that was not run. */
    ok(shell(". tests/lib/common.sh; forget_not_run; [ \"$(show_not_run)\" = $'\\nnot run on this machine: 0' ]"));
    listed(path, "");
    ok(shell(". tests/lib/common.sh; not_run packages 'no cargo-deb'; not_run packages 'no cargo-deb'; not_run a b\n"
             "[ \"$(show_not_run)\" = $'\\nnot run on this machine: 2\\n    a: b\\n    packages: no cargo-deb' ]"));
    listed(path, "packages: no cargo-deb\npackages: no cargo-deb\na: b\n");

    /* What tests/bin/setup installs and is not there is a failure. */
    ok(shell("mkdir \"${KVM_HOTPLUG_NOT_RUN%/*}/bin\"; cd \"${KVM_HOTPLUG_NOT_RUN%/*}/bin\"\n"
             "ln -s \"$(command -v dirname)\" \"$(command -v basename)\" .; cd \"$OLDPWD\"; status=0\n"
             "PATH=\"$OLDPWD\" \"$BASH\" tests/lib/instructions none 2>\"$OLDPWD/said\" || status=$?\n"
             "[ $status = 1 ]; grep -q 'valgrind is missing: run tests/bin/setup' \"$OLDPWD/said\""));

    /* A list that cannot be written is no list. */
    ok(setenv("KVM_HOTPLUG_NOT_RUN", "/proc/self/none", 1));
    CHECK_NUMBER(status_of(all_of_it), 1);
    return test_end();
}
