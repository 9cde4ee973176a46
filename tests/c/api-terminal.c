/* Nothing that kvmctl prints is a command to the terminal: not what a record says, nor the names of files,
 * nor what QEMU says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"
#include "support/example.h"
#include "support/files.h"
#include "support/json.h"
#include "support/library.h"

/* Sets the window's title, writes red by C1, turns the direction, ends the line; é is fine. */
#define ODD \
    "\xc3\xa9\x1b]0;owned\x07\xc2\x9b" \
    "31m\xe2\x80\xae" \
    "gpj\x7f\n\xe2\x81\xa6"
/* JSON has a shorter word for the end of a line. */
#define SHOWN_JSON "\xc3\xa9\\u001b]0;owned\\u0007\\u009b31m\\u202egpj\\u007f\\n\\u2066"
#define SHOWN "\xc3\xa9\\u001b]0;owned\\u0007\\u009b31m\\u202egpj\\u007f\\u000a\\u2066"

static struct said said;

static void all_plain(const char *text)
{
    static const char *const commands[] = {"\x1b", "\x07", "\x7f", "\xc2\x9b", "\xe2\x80\xae", "\xe2\x81\xa6"};
    size_t i;

    for (i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strstr(text, commands[i]) != NULL)
            FAIL("command %zu to the terminal in: %s", i, text);
    test_count_check();
}

static void ctl(const char *command, const char *runtime, const char *value, const char *part)
{
    const char *const values[] = {runtime, value, NULL};

    example_run(&said, command, values);
    all_plain(said.out);
    all_plain(said.err);
    if (strstr(said.out, part) == NULL && strstr(said.err, part) == NULL)
        FAIL("%s: no %s in:\n%s%s", command, part, said.out, said.err);
    test_count_check();
}

int main(void)
{
    char directory[TEST_PATH], runtime[TEST_PATH], odd[TEST_PATH], image[TEST_PATH], socket[TEST_PATH];
    struct talk fake;

    test_begin("api-terminal", 60);
    directory_new(directory);
    path_in(runtime, directory, "vm.runtime");
    path_in(odd, directory, ODD);
    path_in(image, directory, ODD ".img");
    path_in(socket, directory, "qmp");
    file_write(image, "", 0);
    ctl("kvmctl init --runtime \"$1\"", odd, "", SHOWN);
    ctl("kvmctl init --runtime \"$1\" --json", odd, "", "exists already");
    CHECK(json_is_whole(said.out));
    ctl("kvmctl init --runtime \"$1\" -- qemu-system-x86_64 -M pc -name \"$2\"", runtime, ODD, "is a new record");
    ctl("kvmctl list --runtime \"$1\"", odd, "", "no NICs");
    ctl("kvmctl add-disk --cold --runtime \"$1\" --path \"$2\"", runtime, image, "disk-pci-4");
    ctl("kvmctl list --runtime \"$1\"", runtime, "", SHOWN ".img");
    ctl("kvmctl list --runtime \"$1\" --json", runtime, "", SHOWN_JSON ".img");
    CHECK(json_is_whole(said.out));
    ok(remove(image));
    ctl("kvmctl check --runtime \"$1\"", runtime, "", ".img");
    ctl("kvmctl check --runtime \"$1\" --json", runtime, "", ".img");
    CHECK(json_is_whole(said.out));
    ctl("kvmctl del --cold --runtime \"$1\" \"$2\"", runtime, ODD, SHOWN " is not there");
    ctl("kvmctl \"$2\"", runtime, ODD, SHOWN);
    ctl("kvmctl boot --print --runtime \"$1\"", runtime, "", "kvmctl: ");
    /* QEMU's own words. */
    example_start(&fake, "kvm-fake-qemu \"$1\"", (const char *const[]){socket, NULL});
    example_says(&fake, "ready", 10000);
    CHECK(dprintf(fake.in, "error query-status %s\n",
                  "a\x1b]0;b\x07\xc2\x9b"
                  "1m\xe2\x80\xae") > 0);
    example_says(&fake, "ok", 10000);
    ctl("kvmctl qmp --runtime \"$1\" --socket \"$2\" query-status", odd, socket, "kvmctl: ");
    CHECK_NUMBER(example_end(&fake), 0);
    return test_end();
}
