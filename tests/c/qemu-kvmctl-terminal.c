/* kvmctl on a terminal: a line that is waited with, and everything else beside it; and without one. */
/* ctest: machine=pc */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/clock.h"
#include "support/files.h"
#include "support/kvmctl.h"
#include "support/net.h"
#include "support/qemu.h"

static struct qemu *qemu;
static char image[TEST_PATH], record[TEST_PATH], typescript[TEST_PATH], errors[TEST_PATH];
static char raw[1 << 16], screen[1 << 16];

/* Nobody in the guest ever sets it up: it stays there when it is asked to go. */
static void add_disk(void)
{
    ctl(0, "add-disk --id disk1 --path $1", VALUES(image));
}

/* On a terminal of so many columns; what it said is in `raw`, and what is left of that in `screen`. */
static void start(struct talk *talk, int columns, const char *command)
{
    char all[512];

    /* Also when the test runs twice in one directory. */
    unlink(typescript);
    snprintf(all, sizeof all, "exec script -qfec 'stty rows 24 cols %d; %s' $1 >/dev/null", columns, command);
    example_start(talk, all, VALUES(typescript));
}

static void await_on_screen(const char *part)
{
    for (int i = 0; i < 1000 && !(file_exists(typescript) && file_contains(typescript, part)); i++)
        sleep_ms(10);
    CHECK(file_contains(typescript, part));
}

static void end(struct talk *talk, int status)
{
    char *content, *body;

    CHECK_NUMBER(example_end(talk), status);
    content = file_read(typescript, NULL);
    CHECK(content != NULL);
    /* The first line and the last one are script's own. */
    body = strchr(content, '\n');
    CHECK(body != NULL);
    snprintf(raw, sizeof raw, "%s", body + 1);
    body = strstr(raw, "\nScript done on ");
    if (body != NULL)
        *body = '\0';
    free(content);
    screen_after(raw, screen, sizeof screen);
}

static void run(int columns, const char *command, int status)
{
    struct talk talk;

    start(&talk, columns, command);
    end(&talk, status);
}

static int count(const char *text, const char *part)
{
    int found = 0;

    for (; (text = strstr(text, part)) != NULL; text++)
        found++;
    return found;
}

static void shows(const char *part)
{
    if (strstr(screen, part) == NULL)
        FAIL("no \"%s\" in: %s", part, screen);
}

/* What is waited with is drawn again and again, in one place, and nothing of it is left. */
static void line_is_taken_back(void)
{
    run(80, "kvmctl del disk1 --timeout 1", 4);
    CHECK(count(raw, "waiting for the guest to let go 0.") > 2);
    CHECK(strstr(screen, "waiting") == NULL);
    CHECK(strncmp(screen, "disk1 is not gone yet: ", 23) == 0);
    /* A line longer than the terminal is wide could not be taken back. */
    run(20, "kvmctl del disk1 --timeout 1", 4);
    CHECK(count(raw, "waiting for the gu") > 2 && count(raw, "waiting for the gue") == 0);
}

/* Whatever else is said meanwhile has lines of its own. */
static void events_have_their_own_lines(void)
{
    char *line, *rest = screen;
    struct talk talk;
    int runs;

    start(&talk, 80, "kvmctl --verbose del disk1 --timeout 30");
    await_on_screen("waiting for");
    /* The device leaves with it. */
    runs = qemu_firmware_runs(qemu);
    qmp(qemu, "{\"execute\":\"system_reset\"}");
    end(&talk, 0);
    /* The firmware may reset it once more. */
    CHECK(count(screen, "\nthe guest was reset (") >= 1);
    CHECK(count(screen, "\ndisk1 is gone\n") == 1);
    CHECK(count(screen, "waiting") == 0);
    while ((line = strtok_r(rest, "\n", &rest)) != NULL)
        CHECK(strncmp(line, "kvmctl: ", 8) == 0 || strncmp(line, "the guest was reset (", 21) == 0 ||
              strncmp(line, "disk1 is ", 9) == 0);
    /* With its second reset the next removal would come to its end. */
    qemu_wait_firmware(qemu, runs);
    add_disk();
}

/* ^C ends the waiting and not the removal; it is said how things stand, and whoever started kvmctl sees that
 * it was ^C. */
static void interrupted(void)
{
    struct talk talk;

    start(&talk, 80, "kvmctl del disk1 --timeout 60");
    await_on_screen("waiting for");
    CHECK_NUMBER(write(talk.in, "\003", 1), 1);
    end(&talk, 128 + SIGINT);
    CHECK(strstr(screen, "waiting") == NULL);
    shows("disk1 is not gone yet: ");
    start(&talk, 80, "kvmctl --json del disk1 --timeout 60");
    await_on_screen("waiting for");
    CHECK_NUMBER(write(talk.in, "\003", 1), 1);
    end(&talk, 128 + SIGINT);
    shows("{\"answer\":\"pending\",\"id\":\"disk1\"");
    ctl(0, "list disk1", NULL);
    says("leaving");
}

/* Without a terminal for both there is nothing of it, and nothing in its place. */
static void without_a_terminal(void)
{
    static const char *const commands[] = {
        "kvmctl del disk1 --timeout 1 | cat",       "kvmctl del disk1 --timeout 1 2>&1 | cat",
        "kvmctl del disk1 --timeout 1 --plain",     "TERM=dumb kvmctl del disk1 --timeout 1",
        "env -u TERM kvmctl del disk1 --timeout 1",
    };
    char command[256];

    ctl(4, "del disk1 --timeout 1", NULL);
    CHECK(strncmp(said.err, "disk1 is on its way out: ", 25) == 0 && strchr(said.err, '\n')[1] == '\0');
    snprintf(command, sizeof command, "kvmctl del disk1 --timeout 1 2>%s", errors);
    run(80, command, 4);
    CHECK(file_contains(errors, "disk1 is on its way out") && !file_contains(errors, "waiting"));
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        run(80, commands[i], i < 2 ? 0 : 4);
        CHECK(strstr(raw, "waiting") == NULL && strchr(raw, '\033') == NULL);
        CHECK(strstr(raw, "disk1 is not gone yet: ") != NULL);
    }
}

/* A table is as wide as the terminal at most, and whole where there is none. */
static void table_fits(void)
{
    static const struct {
        const char *command;
        size_t columns;
    } cases[] = {{"kvmctl list", 80}, {"COLUMNS=60 kvmctl list", 60}, {"kvmctl list --plain", 80}};
    char path[TEST_PATH], *line, *rest;

    path_in(path, qemu->dir, "an-image-with-a-name-that-is-as-long-as-those-of-some-people-are-and-then-some.img");
    image_raw(path, MEBIBYTE);
    ctl(0, "add-disk --id disk2 --path $1", VALUES(path));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run(80, cases[i].command, 0);
        CHECK(strncmp(screen, "ID     TYPE  AT        STATE         WHAT\n", 42) == 0);
        CHECK(count(screen, "\n") > 3);
        rest = screen;
        while ((line = strtok_r(rest, "\n", &rest)) != NULL)
            CHECK(strlen(line) <= cases[i].columns);
    }
    ctl(0, "list", NULL);
    CHECK(count(said.out, "\n") == 3 && strstr(said.out, path) != NULL);
}

/* Characters that draw boxes are no sequences: they stay where the terminal only lacks those. */
static void without_sequences(void)
{
    static const char *const commands[] = {"TERM=dumb kvmctl map", "env -u TERM kvmctl map", "TERM= kvmctl map",
                                           "NO_COLOR=1 kvmctl map"};

    setenv("LC_ALL", "C.UTF-8", 1);
    run(80, "kvmctl map", 0);
    CHECK(strstr(raw, "\033[1;33m") != NULL);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        run(80, commands[i], 0);
        CHECK(strchr(raw, '\033') == NULL);
        CHECK(strstr(raw, "│▷▷▷│") != NULL);
    }
}

int main(void)
{
    test_begin("qemu-kvmctl-terminal", 120);
    net_private();
    qemu = qemu_start(&(struct qemu_options){.machine = "pc"});
    path_in(record, qemu->dir, "record");
    path_in(image, qemu->dir, "a.img");
    path_in(typescript, qemu->dir, "typescript");
    image_raw(image, MEBIBYTE);
    setenv("KVMCTL_RUNTIME", record, 1);
    setenv("KVMCTL_SOCKET", qemu->qmp_path, 1);
    setenv("TERM", "xterm", 1);
    ctl(0, "init", NULL);
    path_in(errors, qemu->dir, "errors");
    add_disk();
    line_is_taken_back();
    events_have_their_own_lines();
    interrupted();
    without_a_terminal();
    without_sequences();
    table_fits();
    qemu_stop(qemu);
    return test_end();
}
