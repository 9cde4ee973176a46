#include "jail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "qemu.h"

/* From QEMU 10 on the options for it are others. */
static bool has_runas(void)
{
    const char *program = getenv("KVM_HOTPLUG_TEST_QEMU");
    char command[512], line[512];
    bool found = false;
    FILE *help;

    snprintf(command, sizeof command, "%s -help", program == NULL ? "qemu-system-x86_64" : program);
    help = popen(command, "re");
    CHECK(help != NULL);
    while (fgets(line, sizeof line, help) != NULL)
        found = found || strncmp(line, "-runas", 6) == 0;
    pclose(help);
    return found;
}

void jail_new(struct jail *jail)
{
    directory_new(jail->directory);
    ok(chmod(jail->directory, 0755));
    snprintf(jail->run_with, sizeof jail->run_with, "chroot=%s,user=nobody", jail->directory);
    if (has_runas())
        memcpy(jail->arguments,
               (const char *[]){"-sandbox", "on", "-runas", "nobody", "-chroot", jail->directory, NULL},
               7 * sizeof *jail->arguments);
    else
        memcpy(jail->arguments, (const char *[]){"-sandbox", "on", "-run-with", jail->run_with, NULL},
               5 * sizeof *jail->arguments);
}

void jail_check(const struct jail *jail, struct qemu *qemu, const char *file)
{
    char path[64], root[TEST_PATH] = "", command[512];
    int pid = (int)qemu->pid;

    snprintf(path, sizeof path, "/proc/%d/root", pid);
    CHECK(readlink(path, root, sizeof root - 1) > 0);
    CHECK_TEXT(root, jail->directory);
    snprintf(command, sizeof command,
             "grep -q '^Seccomp:[[:blank:]]*2' /proc/%d/status && ! grep -q '^Uid:[[:blank:]]*0' /proc/%d/status", pid,
             pid);
    ok(system(command));
    snprintf(
        command, sizeof command,
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"x\",\"filename\":\"%s\"}}",
        file);
    CHECK(qmp_contains(qemu, command, "\"error\""));
}
