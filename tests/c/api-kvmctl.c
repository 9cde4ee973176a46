/* kvmctl without a guest: help, wrong usage, and what somebody meets who uses it for the first time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/files.h"
#include "support/json.h"
#include "support/kvmctl.h"

static char directory[TEST_PATH];

/* Every line of what was said. */
static void fits(size_t columns)
{
    for (const char *line = said.out; *line != '\0'; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") > columns)
            FAIL("%zu columns: %.*s", columns, (int)strcspn(line, "\n"), line);
    test_count_check();
}

static void help(void)
{
    static const char *const commands[] = {"init", "boot", "check",   "convert",     "backing",   "accept",
                                           "map",  "list", "add-nic", "add-disk",    "add-scsi",  "del",
                                           "link", "move", "plan",    "resize",      "verify",    "watch",
                                           "qmp",  "copy", "reserve", "slot-policy", "when-full", "disk-limits"};
    char command[64];

    ctl(0, "--help", NULL);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        says(commands[i]);
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(command, sizeof command, "%s --help", commands[i]);
        ctl(0, command, NULL);
        snprintf(command, sizeof command, "Usage: kvmctl %s", commands[i]);
        says(command);
        says("Common options");
        fits(80);
    }
    ctl(0, "-h", NULL);
    says("Usage: kvmctl ");
    ctl(0, "--version", NULL);
    says("kvm-hotplug ");
    ctl(0, "help --man", NULL);
    says(".TH KVMCTL 1");
    says(".SS add\\-nic");
}

/* Wrong usage is told without looking for anybody there; to scripts in the shape of every other error. */
static void wrong_usage(void)
{
    static const struct {
        const char *arguments, *complaint;
    } cases[] = {
        {"", "requires a subcommand but one was not provided"},
        {"frobnicate", "unrecognized subcommand 'frobnicate'; see kvmctl --help"},
        {"add-nic --path x", "unexpected argument '--path' found; see kvmctl add-nic --help"},
        {"add-nic --queues many", "not a number from 0 to 65535"},
        {"add-disk --path /x --cache some", "'some' for '--cache <MODE>' [possible values: writeback, none"},
        {"add-disk /x --path /x", "the argument '[FILE]' cannot be used with '--path <FILE>'"},
        {"add-disk", "required arguments were not provided"},
        {"link x sideways", "'sideways' for '<STATE>' [possible values: up, down]"},
        {"del", "required arguments were not provided: <ID>..."},
        {"resize x 3X", "is no size"},
        {"disk-limits x bps-total=3X", "is no size"},
        {"plan verify", "unrecognized subcommand 'verify'; see kvmctl plan --help"},
        {"convert xml /x", "'xml' for '<FORMAT>' [possible values: native, ganeti]"},
        {"boot --incoming somewhere", "neither \"defer\" nor tcp:HOST:PORT"},
        {"plan add-nic --cold", "unexpected argument '--cold' found"},
        {"del x --cold --socket /x", "--cold does not go with --socket"},
        {"init --socket /x", "init takes no --socket; see kvmctl init --help"},
        {"reserve pci.0 4-x", "not a number from 0 to 255"},
        {"reserve pci.0 4 --for tape", "[possible values: nic, disk, controller]"},
        {"reserve pci.0 --for nic", "required arguments were not provided"},
        {"slot-policy best", "[possible values: first-free, longest-free]"},
        {"when-full wait", "[possible values: refuse, next-boot]"},
        {"verify --shrink", "unexpected argument '--shrink' found"},
        {"ad-nic", "unrecognized subcommand 'ad-nic'; tip: "},
        {"add", "'add-nic'"},
        {"delete x", "tip: some similar subcommands exist: 'eject', 'del'; see kvmctl --help"},
        {"add-nic --brige br0",
         "'--brige' found; tip: a similar argument exists: '--bridge'; see kvmctl add-nic --help"},
        {"add-nic -x", "unexpected argument '-x' found; see kvmctl add-nic --help"},
        {"add-nic --mtu", "a value is required for '--mtu <BYTES>' but none was supplied; see kvmctl add-nic --help"},
        {"list --json=yes", "unexpected value 'yes' for '--json' found; no more were expected; see kvmctl list --help"},
        {"boot --pausd",
         "unexpected argument '--pausd' found; tip: a similar argument exists: '--paused'; see kvmctl boot --help"},
        {"init qemu-system-x86_64 -m 32", "(QEMU's own command line stands behind \"--\"); see kvmctl init --help"},
        {"map extra --socket /x", "unexpected argument 'extra' found; see kvmctl map --help"},
        {"resize disk1", "required arguments were not provided: <SIZE>; see kvmctl resize --help"},
        {"move nic1", "required arguments were not provided: <BRIDGE>"},
        {"plan", "requires a subcommand but one was not provided"},
        {"completion", "required arguments were not provided: <SHELL>"},
        {"completion tcsh", "[possible values: bash, zsh, fish]"},
        {"help frob", "unrecognized subcommand 'frob'"},
    };
    char escaped[256], all[256];

    setenv("KVMCTL_SOCKET", "/nowhere", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *from = cases[i].complaint;
        char *to = escaped;

        ctl(2, cases[i].arguments, NULL);
        complains(cases[i].complaint);
        CHECK(strncmp(said.err, "kvmctl: ", 8) == 0 && strchr(said.err, '\n')[1] == '\0');
        for (; *from != '\0'; *to++ = *from++)
            if (*from == '"')
                *to++ = '\\';
        *to = '\0';
        json(2, cases[i].arguments, NULL,
             PARTS("{\"error\":{\"message\":\"", escaped, "\"kind\":\"invalid\",\"errno\":22,\"step\":null",
                   "\"undo\":\"nothing\",\"residue\":[]"));
        /* It may come last; behind "--" it is QEMU's. */
        if (strchr(cases[i].arguments, '-') == NULL) {
            snprintf(all, sizeof all, "%s --json", cases[i].arguments);
            ctl(2, all, NULL);
            CHECK(json_is_whole(said.out));
            CHECK_TEXT(said.err, "");
        }
    }
    unsetenv("KVMCTL_SOCKET");
    example_run(&said, "env -u KVMCTL_RUNTIME kvmctl list", NULL);
    CHECK_NUMBER(said.status, 2);
    complains("list needs --runtime or $KVMCTL_RUNTIME; see kvmctl list --help");
    /* An empty variable is as good as none. */
    example_run(&said, "KVMCTL_RUNTIME= kvmctl list", NULL);
    CHECK_NUMBER(said.status, 2);
    ctl(2, "add-nic", NULL);
    complains("add-nic needs --socket or $KVMCTL_SOCKET; see kvmctl add-nic --help");
}

/* What is not there yet, and how one gets it. */
static void first_day(void)
{
    char record[TEST_PATH], file[TEST_PATH], text[256];

    path_in(record, directory, "web1");
    path_in(file, directory, "file");
    setenv("KVMCTL_RUNTIME", record, 1);
    ctl(1, "list", NULL);
    complains("web1 does not exist; kvmctl init makes one");
    json(1, "add-nic --cold", NULL, PARTS("\"errno\":2", "does not exist; kvmctl init makes one"));
    json(1, "map --socket /nowhere", NULL, PARTS("\"errno\":2", "does not exist; kvmctl init makes one"));
    ctl(1, "list --runtime /no/such/directory/web1", NULL);
    complains("/no/such/directory");
    CHECK(strstr(said.err, "kvmctl init") == NULL);
    file_write(file, "hello\n", 6);
    ctl(1, "list --runtime $1", VALUES(file));
    complains("is not JSON");
    ctl(0, "init -- qemu-nope -m 32", NULL);
    ctl(1, "boot", NULL);
    complains("cannot start qemu-nope: No such file or directory");
    json(1, "boot", NULL, PARTS("\"message\":\"cannot start qemu-nope: No such file", "\"kind\":\"host\",\"errno\":2"));
    /* Nobody there: a list is that of the record. */
    ctl(1, "map --socket /nowhere", NULL);
    complains("/nowhere: No such file or directory; the guest is off");
    ctl(1, "verify --socket $1", VALUES(file));
    complains("Connection refused; the guest is off");
    ctl(0, "add-nic --cold --id nic1", NULL);
    ctl(0, "list --socket /nowhere", NULL);
    says("nic1  nic   ");
    CHECK(strstr(said.err, "this is the record of a guest that is off") != NULL);
    json(0, "list --socket $1", VALUES(file), PARTS("\"id\":\"nic1\"", "\"state\":\"after-reboot\""));
    json(0, "list nic1 --socket $1", VALUES(file), PARTS("{\"id\":\"nic1\""));
    /* The complaint is about what was given. */
    ctl(1, "add-nic --cold --mtu 5", NULL);
    complains("kvmctl: the NIC: ");
    CHECK(strstr(said.err, "52:54") == NULL);
    ctl(1, "add-nic --cold --mtu 5 --mac 52:54:00:00:00:09", NULL);
    complains("kvmctl: NIC 52:54:00:00:00:09: MTU 5");
    ctl(1, "add-nic --cold --mtu 5 --id nic7", NULL);
    complains("kvmctl: NIC nic7: MTU 5");
    ctl(1, "add-disk --cold --path $1 --target 1", VALUES(file));
    snprintf(text, sizeof text, "target and lun are for SCSI disks: take model scsi-hd");
    complains(text);
    CHECK(strstr(said.err, "KVM_") == NULL);
}

/* Whoever may not is told who may. */
static void not_allowed(void)
{
    char other[TEST_PATH], record[TEST_PATH];

    path_in(other, directory, "other");
    ok(mkdir(other, 0700));
    path_in(record, other, "theirs");
    ctl(0, "init --runtime $1", VALUES(record));
    ok(chown(other, 65534, 65534));
    /* Root as it is for others: without the capabilities that look past owners and modes. */
    example_run(&said, "setpriv --bounding-set=-dac_override,-dac_read_search kvmctl list --runtime $1",
                VALUES(record));
    CHECK_NUMBER(said.status, 1);
    complains("Permission denied; run kvmctl as the user whose record it is");
    ok(chown(other, 0, 0));
}

/* Several answers are one document, and one that fails keeps none of the others. */
static void several(void)
{
    char record[TEST_PATH];

    path_in(record, directory, "several");
    setenv("KVMCTL_RUNTIME", record, 1);
    ctl(0, "init -- qemu-system-x86_64", NULL);
    ctl(0, "add-nic --cold --id a", NULL);
    ctl(0, "add-nic --cold --id b", NULL);
    json(0, "del --cold a", NULL, PARTS("{\"answer\":\"done\",\"id\":\"a\""));
    json(0, "del --cold b nobody", NULL,
         PARTS("[{\"answer\":\"done\",\"id\":\"b\"", "},{\"answer\":\"absent\",\"id\":\"nobody\"}]"));
    ctl(0, "list", NULL);
    CHECK_TEXT(said.out, "no NICs and no disks\n");
}

/* What was begun, and not finished, when the guest went off. */
static void journal(void)
{
    static const char content[] =
        "{\"format\":\"kvm-hotplug-journal\",\"version\":1,\"intents\":["
        "{\"verb\":\"remove\",\"nic\":{\"id\":\"gone\",\"generation\":1,\"mac\":\"52:54:00:00:00:01\"}},"
        "{\"verb\":\"add\",\"nic\":{\"id\":\"new\",\"generation\":9,\"mac\":\"52:54:00:00:00:02\"}}]}";
    static const char record[] =
        "{\"format\":\"kvm-hotplug-runtime\",\"version\":1,\"name\":\"off\",\"command\":[\"qemu-system-x86_64\"],\"nics\":["
        "{\"id\":\"gone\",\"generation\":1,\"mac\":\"52:54:00:00:00:01\"},"
        "{\"id\":\"kept\",\"generation\":2,\"mac\":\"52:54:00:00:00:03\"}],\"disks\":[]}";
    char path[TEST_PATH], beside[TEST_PATH];

    path_in(path, directory, "off");
    path_in(beside, directory, "off.journal");
    file_write(path, record, strlen(record));
    file_write(beside, content, strlen(content));
    setenv("KVMCTL_RUNTIME", path, 1);
    ctl(0, "list", NULL);
    CHECK_TEXT(
        said.out,
        "ID    TYPE  AT  STATE         WHAT\n"
        "gone  nic   -   leaving       52:54:00:00:00:01 (it was being removed, and how that ended is not written down)\n"
        "kept  nic   -   recorded      52:54:00:00:00:03\n"
        "new   nic   -   coming        52:54:00:00:00:02 (it was being added, and how that ended is not written down)\n");
    json(0, "list", NULL,
         PARTS("\"id\":\"gone\",\"type\":\"nic\",\"state\":\"pending\",\"reason\":\"it was being removed",
               "\"id\":\"kept\",\"type\":\"nic\",\"state\":\"live\",\"reason\":\"\"", "\"in_guest\":null",
               "\"id\":\"new\",\"type\":\"nic\",\"state\":\"pending\",\"reason\":\"it was being added"));
    ctl(0, "list new", NULL);
    says("coming");
    CHECK(file_exists(beside));

    /* Nobody can tell whether the guest has ended, so a boot waits until somebody has said it. */
    ctl(5, "check", NULL);
    says("adding new was interrupted");
    ctl(1, "boot", NULL);
    complains("adding new was interrupted");
    CHECK(file_exists(beside));
    ctl(0, "settle", NULL);
    CHECK_TEXT(said.out, "settled by the record, as the guest is off: 2\n");
    CHECK(!file_exists(beside));
    ctl(0, "list", NULL);
    CHECK_TEXT(said.out, "ID    TYPE  AT  STATE         WHAT\n"
                         "kept  nic   -   recorded      52:54:00:00:00:03\n");
    ctl(0, "settle", NULL);
    CHECK_TEXT(said.out, "nothing is unfinished\n");
    json(0, "settle", NULL, PARTS("[]"));
}

/* Results that nobody gets are an error, and never go where they do not belong. */
static void output_lost(void)
{
    static const char *const commands[] = {"list",       "--json list",     "--help",
                                           "help --man", "completion bash", "boot --print"};
    char all[128];

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(all, sizeof all, "%s >/dev/full", commands[i]);
        ctl(1, all, NULL);
        complains("kvmctl: cannot write to stdout");
        snprintf(all, sizeof all, "%s >&-", commands[i]);
        ctl(1, all, NULL);
        complains("kvmctl: cannot write to stdout");
    }
    ctl(0, "list 2>&-", NULL);
    example_run(&said, "kvmctl --help | head -n 1; kvmctl help --man | head -n 1", NULL);
    CHECK_TEXT(said.err, "");
}

int main(void)
{
    test_begin("api-kvmctl", 60);
    directory_new(directory);
    setenv("KVMCTL_RUNTIME", "/no/such/record", 1);
    unsetenv("KVMCTL_SOCKET");
    help();
    wrong_usage();
    first_day();
    several();
    not_allowed();
    journal();
    output_lost();
    return test_end();
}
