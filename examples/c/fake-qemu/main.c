/* kvm-fake-qemu: a QMP socket with a guest behind it that is none, for the tests of node agents. It answers what the library
 * asks and does, as QEMU does, keeps the descriptors that it is handed, and does what it is told on stdin: refuse, hang, hang up,
 * hold a device. So an agent meets on purpose what it otherwise meets once a year. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor.h"

enum { LINE = 1024, WIDTH = 26, MOST_PORTS = 28 };

struct option_info {
    const char *name;
    const char *argument;
    const char *what;
};

static const struct option_info option_table[] = {
    {"--version", "X.Y.Z", "the QEMU that it makes itself out to be (default: 7.2.0)"},
    {"--ports", "N", "a q35 with so many root ports, rp0 and on, instead of a pc"},
    {"--state", "STATE", "the run state to begin with (default: running)"},
    {"--help", "", "this text"},
    {"--man", "", "the manual page"},
};
enum { OPTIONS = sizeof option_table / sizeof *option_table };

static const char intro[] =
    "Listens on the socket QMP as a QEMU would, with an empty guest that lets go of devices at once. Says \"ready\" on stdout, and\n"
    "then what happens, one line each: \"done device_add nic1\", \"refused ...\", \"silent ...\", \"client come\", \"client gone\". An order is\n"
    "answered by \"ok\" or \"what?\" and counts from then on.";

static const char limits[] =
    "It is no QEMU: what a driver or an image makes of its settings it does not know, and it takes what a real one may refuse.";

static void print_row(const char *name, const char *argument, const char *what)
{
    int used = printf("  %s%s%s", name, argument[0] != '\0' ? " " : "", argument);

    printf("%*s%s\n", used < WIDTH ? WIDTH - used : 1, "", what);
}

static void print_help(void)
{
    int i;

    printf("%s\n\nusage: kvm-fake-qemu [OPTION...] QMP\n\noptions\n", intro);
    for (i = 0; i < OPTIONS; i++)
        print_row(option_table[i].name, option_table[i].argument, option_table[i].what);
    puts("\norders on stdin");
    for (i = 0; i < script_order_count; i++)
        print_row(script_orders[i].name, script_orders[i].arguments, script_orders[i].what);
    printf("\n%s\n", limits);
}

/* roff takes a hyphen for a dash. */
static void print_roff(const char *text)
{
    for (; *text != '\0'; text++)
        printf(*text == '-' ? "\\-" : "%c", *text);
}

static void print_item(const char *name, const char *argument, const char *what)
{
    fputs(".TP\n.B ", stdout);
    print_roff(name);
    printf(" \\fI%s\\fR\n", argument);
    print_roff(what);
    putchar('\n');
}

static void print_manual(void)
{
    int i;

    puts(".TH KVM\\-FAKE\\-QEMU 1 \"\" \"kvm\\-hotplug\"\n.SH NAME\nkvm\\-fake\\-qemu \\- a QMP socket for the tests of node agents\n"
         ".SH SYNOPSIS\n.B kvm\\-fake\\-qemu\n[\\fIOPTION\\fR...] \\fIQMP\\fR\n.SH DESCRIPTION");
    print_roff(intro);
    puts("\n.PP");
    print_roff(limits);
    puts("\n.SH OPTIONS");
    for (i = 0; i < OPTIONS; i++)
        print_item(option_table[i].name, option_table[i].argument, option_table[i].what);
    puts(".SH ORDERS");
    for (i = 0; i < script_order_count; i++)
        print_item(script_orders[i].name, script_orders[i].arguments, script_orders[i].what);
    puts(".SH SEE ALSO\n.BR kvm_hotplug (7),\n.BR kvmctl (1)");
}

static bool take_number(const char *text, long limit, int *result)
{
    char *end = NULL;
    long number = strtol(text, &end, 10);

    *result = (int)number;
    return end != text && *end == '\0' && number >= 0 && number <= limit;
}

/* The path of the socket; NULL if nothing is to be served. */
static const char *take_options(struct guest *guest, char **argv, int *status)
{
    *status = 0;
    for (argv++; *argv != NULL && strncmp(*argv, "--", 2) == 0; argv += 2) {
        const char *value = argv[1];

        if (strcmp(*argv, "--help") == 0 || strcmp(*argv, "--man") == 0) {
            strcmp(*argv, "--man") == 0 ? print_manual() : print_help();
            return NULL;
        }
        if (value == NULL)
            break;
        if (strcmp(*argv, "--version") == 0 &&
            sscanf(value, "%d.%d.%d", &guest->major, &guest->minor, &guest->micro) == 3)
            continue;
        if (strcmp(*argv, "--ports") == 0 && take_number(value, MOST_PORTS, &guest->ports))
            continue;
        if (strcmp(*argv, "--state") != 0)
            break;
        snprintf(guest->state, NAME, "%s", value);
    }
    if (*argv != NULL && argv[1] == NULL && argv[0][0] != '-')
        return *argv;
    fputs("kvm-fake-qemu: wrong usage; see kvm-fake-qemu --help\n", stderr);
    *status = 2;
    return NULL;
}

/* Takes the orders that are complete. */
static void read_orders(struct monitor *monitor, struct script *script, struct guest *guest, char *line, size_t *length)
{
    ssize_t got = read(STDIN_FILENO, line + *length, LINE - 1 - *length);
    char *end;
    bool taken;

    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0 || *length + (size_t)got == LINE - 1)
        script->over = true;
    else
        *length += (size_t)got;
    line[*length] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        taken = script_take(script, guest, line);
        monitor_work(monitor, guest, script);
        puts(taken ? "ok" : "what?");
        fflush(stdout);
        *length -= (size_t)(end + 1 - line);
        memmove(line, end + 1, *length + 1);
    }
}

static void serve(struct monitor *monitor, struct guest *guest, struct script *script)
{
    char line[LINE];
    size_t length = 0;

    while (!script->over) {
        /* One that hangs does not even notice that its client has gone. */
        int watched = monitor->silent ? -1 : monitor->client >= 0 ? monitor->client : monitor->listener;
        struct pollfd ready[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = watched, .events = POLLIN}};

        if (poll(ready, 2, -1) < 0 && errno != EINTR)
            return;
        if (ready[0].revents != 0)
            read_orders(monitor, script, guest, line, &length);
        if (ready[1].revents != 0 && monitor->client >= 0)
            monitor_read(monitor);
        else if (ready[1].revents != 0)
            monitor_accept(monitor, guest);
        monitor_work(monitor, guest, script);
    }
}

int main(int argc, char **argv)
{
    static struct guest guest = {.major = 7, .minor = 2, .state = "running"};
    static struct script script;
    static struct monitor monitor;
    const char *path;
    int status;

    (void)argc;
    signal(SIGPIPE, SIG_IGN);
    path = take_options(&guest, argv, &status);
    if (path == NULL)
        return status;
    guest_build(&guest);
    if (!monitor_listen(&monitor, &guest, path)) {
        fprintf(stderr, "kvm-fake-qemu: %s: %s\n", path, strerror(errno));
        return 1;
    }
    puts("ready");
    fflush(stdout);
    serve(&monitor, &guest, &script);
    unlink(path);
    return 0;
}
