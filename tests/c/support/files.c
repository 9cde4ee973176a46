#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "check.h"
#include "reaper.h"
#include "run.h"

void path_in(char path[TEST_PATH], const char *directory, const char *name)
{
    if (snprintf(path, TEST_PATH, "%s/%s", directory, name) >= TEST_PATH)
        FAIL("too long: %s/%s", directory, name);
}

/* Not below TMPDIR, which may be a tmpfs, and that has no O_DIRECT everywhere. */
void directory_new(char path[TEST_PATH])
{
    strcpy(path, "/var/tmp/kht-XXXXXX");
    if (mkdtemp(path) == NULL)
        FAIL("cannot make the directory %s: %s", path, strerror(errno));
    reaper_owns_directory(path);
}

void file_write(const char *path, const void *content, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, content, length) != (ssize_t)length)
        FAIL("cannot write %s: %s", path, strerror(errno));
    close(fd);
}

char *file_read(const char *path, size_t *ret_length)
{
    struct stat status;
    ssize_t length;
    char *content;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) != 0)
        FAIL("fstat %s: %s", path, strerror(errno));
    content = malloc((size_t)status.st_size + 1);
    if (content == NULL)
        FAIL("out of memory");
    length = read(fd, content, (size_t)status.st_size);
    if (length < 0)
        FAIL("read %s: %s", path, strerror(errno));
    close(fd);
    content[length] = '\0';
    if (ret_length != NULL)
        *ret_length = (size_t)length;
    return content;
}

bool file_exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

bool file_contains(const char *path, const char *part)
{
    char *content = file_read(path, NULL);
    bool found = content != NULL && strstr(content, part) != NULL;

    free(content);
    return found;
}

int directory_count(const char *path)
{
    DIR *listing = opendir(path);
    int count = 0;

    if (listing == NULL)
        FAIL("cannot read the directory %s: %s", path, strerror(errno));
    while (readdir(listing) != NULL)
        count++;
    closedir(listing);
    return count - 2;
}

void mounts_private(void)
{
    /* In a chroot the root is no mount point, and what is mounted below it later stays in this namespace all
     * the same. */
    if (unshare(CLONE_NEWNS) != 0 || (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 && errno != EINVAL))
        FAIL("cannot make a mount namespace (needs root): %s", strerror(errno));
}

void directory_read_only(const char *path)
{
    if (mount(path, path, NULL, MS_BIND, NULL) != 0 ||
        mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0)
        FAIL("cannot mount %s read-only: %s", path, strerror(errno));
}

void devices_private(const char *directory)
{
    static const struct {
        const char *name;
        int major, minor;
    } nodes[] = {{"null", 1, 3}, {"urandom", 1, 9}, {"net/tun", 10, 200}};
    char path[TEST_PATH];
    size_t i;

    mounts_private();
    path_in(path, directory, "dev");
    if (mkdir(path, 0755) != 0 || mount("none", path, "tmpfs", 0, "mode=755") != 0)
        FAIL("cannot mount a file system on %s: %s", path, strerror(errno));
    path_in(path, directory, "dev/net");
    ok(mkdir(path, 0755));
    for (i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        snprintf(path, sizeof path, "%s/dev/%s", directory, nodes[i].name);
        if (mknod(path, S_IFCHR | 0600, makedev(nodes[i].major, nodes[i].minor)) != 0)
            FAIL("cannot make %s: %s", path, strerror(errno));
    }
    path_in(path, directory, "dev");
    if (mount(path, "/dev", NULL, MS_BIND, NULL) != 0)
        FAIL("cannot mount %s on /dev: %s", path, strerror(errno));
}

void image_raw(const char *path, long long bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, bytes) != 0)
        FAIL("cannot make the image %s: %s", path, strerror(errno));
    close(fd);
}

void image_qcow2(const char *path, const char *size, const char *backing, const char *backing_format)
{
    const char *alone[] = {"qemu-img", "create", "-q", "-f", "qcow2", path, size, NULL};
    const char *above[] = {"qemu-img", "create", "-q",           "-f", "qcow2", "-b",
                           backing,    "-F",     backing_format, path, size,    NULL};
    int status = run(backing == NULL ? alone : above);

    if (status != 0)
        FAIL("qemu-img create %s ended with status %d", path, status);
}

/* Without the descriptor that reads the directory. */
int process_fds(pid_t process)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd", (int)process);
    return directory_count(path) - (process == getpid() ? 1 : 0);
}

/* What a main loop allocates is there; other mappings hold the guest's memory, and what emulating its
 * processor takes. */
long process_heap_kb(pid_t process)
{
    char path[64], line[512];
    bool heap = false;
    long kb = -1;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/smaps", (int)process);
    file = fopen(path, "re");
    if (file == NULL)
        FAIL("cannot read %s: %s", path, strerror(errno));
    while (kb < 0 && fgets(line, sizeof line, file) != NULL) {
        heap = heap || strstr(line, "[heap]") != NULL;
        if (heap && sscanf(line, "Rss: %ld kB", &kb) == 1)
            break;
    }
    fclose(file);
    CHECK(kb > 0);
    return kb;
}
