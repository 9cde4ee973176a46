#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "files.h"
#include "run.h"

static int open_image(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd < 0)
        FAIL("open %s: %s", path, strerror(errno));
    return fd;
}

void image_ext4(const char *path, long long bytes)
{
    image_raw(path, bytes);
    CHECK_NUMBER(run((const char *[]){"mkfs.ext4", "-q", "-O", "^has_journal", path, NULL}), 0);
}

void image_write(const char *path, long long offset, const char *text)
{
    int fd = open_image(path, O_WRONLY);

    if (pwrite(fd, text, strlen(text), offset) != (ssize_t)strlen(text))
        FAIL("cannot write to %s", path);
    close(fd);
}

static bool raw_has(const char *path, long long offset, const char *text)
{
    char found[256] = "";
    size_t length = strlen(text);
    int fd = open_image(path, O_RDONLY);
    ssize_t size = pread(fd, found, length < sizeof found ? length : sizeof found, offset);

    close(fd);
    return size == (ssize_t)length && memcmp(found, text, length) == 0;
}

bool image_has(const char *path, const char *format, long long offset, const char *text)
{
    char copy[512];
    bool has;

    if (strcmp(format, "raw") == 0)
        return raw_has(path, offset, text);
    snprintf(copy, sizeof copy, "%s.raw", path);
    CHECK_NUMBER(run((const char *[]){"qemu-img", "convert", "-q", "-f", format, "-O", "raw", path, copy, NULL}), 0);
    has = raw_has(copy, offset, text);
    unlink(copy);
    return has;
}

bool image_mentions(const char *path, const char *text)
{
    int fd = open_image(path, O_RDONLY);
    struct stat status;
    bool found;
    char *content;

    if (fstat(fd, &status) != 0 || status.st_size == 0) {
        close(fd);
        return false;
    }
    content = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (content == MAP_FAILED)
        FAIL("mmap %s: %s", path, strerror(errno));
    found = memmem(content, (size_t)status.st_size, text, strlen(text)) != NULL;
    munmap(content, (size_t)status.st_size);
    close(fd);
    return found;
}

long long image_allocated(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0)
        FAIL("stat %s: %s", path, strerror(errno));
    return status.st_blocks * 512LL;
}
