#include "jail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "qemu.h"

/* Before QEMU 9.1 the options for it were others. The help for one option has several lines. */
static bool run_with_knows_user(void)
{
    const char *program = getenv("KVM_HOTPLUG_TEST_QEMU");
    bool found = false, inside = false;
    char command[512], line[512];
    FILE *help;

    snprintf(command, sizeof command, "%s -help", program == NULL ? "qemu-system-x86_64" : program);
    help = popen(command, "re");
    CHECK(help != NULL);
    while (fgets(line, sizeof line, help) != NULL) {
        if (line[0] == '-')
            inside = strncmp(line, "-run-with", strlen("-run-with")) == 0;
        found = found || (inside && strstr(line, "user=") != NULL);
    }
    pclose(help);
    return found;
}

void jail_new(struct jail *jail)
{
    directory_new(jail->directory);
    ok(chmod(jail->directory, 0755));
    snprintf(jail->run_with, sizeof jail->run_with, "chroot=%s,user=nobody", jail->directory);
    if (run_with_knows_user())
        memcpy(jail->arguments, (const char *[]){"-sandbox", "on", "-run-with", jail->run_with, NULL},
               5 * sizeof *jail->arguments);
    else
        memcpy(jail->arguments, (const char *[]){"-sandbox", "on", "-runas", "nobody", "-chroot", jail->directory, NULL},
               7 * sizeof *jail->arguments);
}

void jail_check(const struct jail *jail, struct qemu *qemu, const char *file)
{
    char path[64], root[TEST_PATH] = "", command[512];
    int pid = (int)qemu->pid;

    snprintf(path, sizeof path, "/proc/%d/root", pid);
    CHECK(readlink(path, root, sizeof root - 1) > 0);
    CHECK_TEXT(root, jail->directory);
    snprintf(command, sizeof command,
             "grep -q '^Seccomp:[[:blank:]]*2' /proc/%d/status && ! grep -q '^Uid:[[:blank:]]*0' /proc/%d/status", pid, pid);
    ok(system(command));
    snprintf(command, sizeof command,
             "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"x\",\"filename\":\"%s\"}}", file);
    CHECK(qmp_contains(qemu, command, "\"error\""));
}
