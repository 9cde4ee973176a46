/*
 * Cuts the writing of files short: the process dies at a chosen system call, or the call fails.
 *
 *   CUT_DIR  only calls about files in this directory count
 *   CUT_AT   the call that is cut, counted from 1; none if 0
 *   CUT_HOW  kill         die before the call
 *            after        die after the call
 *            bytes:N      die after N bytes of a write
 *            fail:ERRNO   the call fails
 *            from:ERRNO   this call and every later one that writes fail; removing works
 *   CUT_LOG  file to which each call is appended: its number, its name, the file's name
 *
 * One thread at a time may call into the directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

enum how { LOG_ONLY, KILL, AFTER, BYTES, FAIL, FROM };

struct call {
    const char *name;
    const char *file;
    bool writes;
};

static int calls;

static enum how planned(int *value)
{
    const char *how = getenv("CUT_HOW");

    if (!how)
        return LOG_ONLY;
    if (!strcmp(how, "kill"))
        return KILL;
    if (!strcmp(how, "after"))
        return AFTER;
    if (!strncmp(how, "bytes:", 6)) {
        *value = atoi(how + 6);
        return BYTES;
    }
    *value = atoi(how + 5);
    return strncmp(how, "from:", 5) ? FAIL : FROM;
}

/* The name of what fd leads to inside CUT_DIR, "" for the directory itself; NULL if it is elsewhere. */
static const char *inside(int fd, char path[static PATH_MAX])
{
    const char *dir = getenv("CUT_DIR");
    char link[64];
    ssize_t length;

    if (!dir)
        return NULL;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    path[length] = '\0';
    if (strncmp(path, dir, strlen(dir)))
        return NULL;
    path += strlen(dir);
    if (*path == '\0')
        return path;
    return *path == '/' ? path + 1 : NULL;
}

static void note(const struct call *call)
{
    const char *log = getenv("CUT_LOG");
    char line[PATH_MAX];
    int length, fd;

    if (!log)
        return;
    length = snprintf(line, sizeof(line), "%d %s %s\n", calls, call->name, *call->file ? call->file : ".");
    fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || syscall(SYS_write, fd, line, length) != length)
        abort();
    syscall(SYS_close, fd);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
}

/* What is to become of this call. */
static enum how fate(const struct call *call, int *value)
{
    const char *at = getenv("CUT_AT");
    int cut = at ? atoi(at) : 0;
    enum how how = planned(value);

    calls++;
    note(call);
    if (!cut || calls < cut || (calls > cut && how != FROM))
        return LOG_ONLY;
    if (how == KILL)
        die();
    return how;
}

static bool fails(const struct call *call, enum how how, int value)
{
    if (how != FAIL && !(how == FROM && call->writes))
        return false;
    errno = value;
    return true;
}

static long done(enum how how, long result)
{
    if (how == AFTER)
        die();
    return result;
}

/* Asks for the fate of CALL if FILE is one of ours, and does it. */
#define CUT(NAME, FILE, WRITES, REAL) \
    do { \
        struct call call_ = {NAME, FILE, WRITES}; \
        enum how how_; \
        int value_ = 0; \
\
        if (!call_.file) \
            return (int)(REAL); \
        how_ = fate(&call_, &value_); \
        if (fails(&call_, how_, value_)) \
            return -1; \
        return (int)done(how_, REAL); \
    } while (0)

static const char *in_dir(int dir, const char *name)
{
    char path[PATH_MAX];
    const char *rest = dir == AT_FDCWD ? NULL : inside(dir, path);

    return rest && !*rest ? name : NULL;
}

static int cut_openat(int dir, const char *name, int flags, mode_t mode)
{
    CUT(flags & O_CREAT ? "create" : "open", in_dir(dir, name), flags & O_CREAT,
        syscall(SYS_openat, dir, name, flags, mode));
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int openat(int dir, const char *name, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    return cut_openat(dir, name, flags, mode);
}

int openat64(int dir, const char *name, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    return cut_openat(dir, name, flags, mode);
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    char path[PATH_MAX];
    struct call call = {.name = "write", .file = inside(fd, path), .writes = true};
    enum how how;
    int value = 0;

    if (!call.file)
        return syscall(SYS_write, fd, bytes, count);
    how = fate(&call, &value);
    if (fails(&call, how, value))
        return -1;
    if (how == BYTES) {
        if (syscall(SYS_write, fd, bytes, (size_t)value < count ? (size_t)value : count) < 0)
            abort();
        die();
    }
    return done(how, syscall(SYS_write, fd, bytes, count));
}

int fsync(int fd)
{
    char path[PATH_MAX];

    CUT("fsync", inside(fd, path), true, syscall(SYS_fsync, fd));
}

int ftruncate64(int fd, off64_t length)
{
    char path[PATH_MAX];

    CUT("truncate", inside(fd, path), true, syscall(SYS_ftruncate, fd, length));
}

int flock(int fd, int operation)
{
    char path[PATH_MAX];

    CUT("flock", inside(fd, path), false, syscall(SYS_flock, fd, operation));
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
    CUT("rename", in_dir(from_dir, from), true, syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}

int unlinkat(int dir, const char *name, int flags)
{
    CUT("unlink", in_dir(dir, name), false, syscall(SYS_unlinkat, dir, name, flags));
}
