#include "trace.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

#ifndef PTRACE_GET_SYSCALL_INFO /* glibc has it under another name, and the kernel's header clashes with glibc's */
#define PTRACE_GET_SYSCALL_INFO 0x420e
#endif

/* The beginning of the kernel's struct ptrace_syscall_info (Linux 5.3). */
struct syscall_stop {
    unsigned char op;
    unsigned char pad[3];
    unsigned int arch;
    unsigned long long instruction_pointer, stack_pointer;
    unsigned long long number;
    unsigned long long arguments[6];
};

enum { STOP_AT_ENTRY = 1, SYSCALL_STOP = SIGTRAP | 0x80 };

struct call {
    long number;
    const char *name;
    bool waits; /* or reads what others have written */
};

/* All that the library can change something with, and all by which it learns that something has changed. */
static const struct call calls[] = {
    {SYS_openat, "openat", false},       {SYS_write, "write", false},      {SYS_fsync, "fsync", false},
    {SYS_ftruncate, "ftruncate", false}, {SYS_unlinkat, "unlink", false},  {SYS_rename, "rename", false},
    {SYS_renameat, "rename", false},     {SYS_renameat2, "rename", false}, {SYS_flock, "flock", false},
    {SYS_ioctl, "ioctl", false},         {SYS_socket, "socket", false},    {SYS_bind, "bind", false},
    {SYS_connect, "connect", false},     {SYS_sendmsg, "sendmsg", false},  {SYS_sendto, "sendto", false},
    {SYS_recvmsg, "recvmsg", true},      {SYS_recvfrom, "recvfrom", true}, {SYS_poll, "poll", true},
    {SYS_ppoll, "poll", true},
};

void trace_toggle(void)
{
    syscall(SYS_getppid);
}

static const struct call *find(unsigned long long number)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if ((unsigned long long)calls[i].number == number)
            return &calls[i];
    return NULL;
}

static int next_stop(pid_t child)
{
    int status;

    if (waitpid(child, &status, __WALL) != child)
        FAIL("waitpid: %s", strerror(errno));
    return status;
}

static pid_t start(void (*work)(void *), void *argument)
{
    pid_t child = fork();

    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(125);
        raise(SIGSTOP);
        work(argument);
        _exit(0);
    }
    CHECK(child > 0);
    if (!WIFSTOPPED(next_stop(child)))
        FAIL("this process may not trace its own children, and the test cannot be made without it");
    CHECK(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
    return child;
}

/* The call the child is about to make, if it is one that counts. */
static const struct call *call_at(pid_t child, bool *counting)
{
    struct syscall_stop stop;
    long size = ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_INFO, child, sizeof stop, &stop);

    if (size < (long)offsetof(struct syscall_stop, arguments))
        FAIL("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
    if (stop.op != STOP_AT_ENTRY)
        return NULL;
    if (stop.number == SYS_getppid)
        *counting = !*counting;
    return *counting ? find(stop.number) : NULL;
}

static void end(pid_t child, int linger_ms)
{
    int status;

    if (linger_ms > 0)
        sleep_ms(linger_ms);
    kill(child, SIGKILL);
    do
        status = next_stop(child);
    while (!WIFSIGNALED(status));
    CHECK_NUMBER(WTERMSIG(status), SIGKILL);
}

/* Lets the child go on until it is about to make a call that counts; NULL at its end. */
static const struct call *next_call(pid_t child, bool *counting)
{
    int signal = 0;

    for (;;) {
        const struct call *call = NULL;
        CHECK(ptrace(PTRACE_SYSCALL, child, NULL, (void *)(long)signal) == 0);
        int status = next_stop(child);
        if (!WIFSTOPPED(status)) {
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                FAIL("the traced process ended with status 0x%x", status);
            return NULL;
        }
        signal = WSTOPSIG(status) == SYSCALL_STOP ? 0 : WSTOPSIG(status);
        if (signal == 0)
            call = call_at(child, counting);
        if (call != NULL)
            return call;
    }
}

struct traced trace(void (*work)(void *), void *argument, const struct cut *cut)
{
    pid_t child = start(work, argument);
    struct traced traced = {0};
    const struct call *call;
    bool counting = true;
    int count = 0;

    while ((call = next_call(child, &counting)) != NULL) {
        bool last = count == cut->nth - 1;
        if (!call->waits && (cut->call == NULL || strcmp(call->name, cut->call) == 0))
            count++;
        traced.waited = traced.waited || (last && call->waits);
        if (cut->waiting ? !last || !call->waits : count != cut->nth || call->waits)
            continue;
        traced.killed = true;
        traced.call = call->name;
        end(child, cut->linger_ms);
        break;
    }
    return traced;
}
