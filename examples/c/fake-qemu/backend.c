/* Descriptors, netdevs and block nodes: what stands behind devices. */
#define _GNU_SOURCE
#include "parts.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct handed *find_handed(struct guest *guest, const char *name, int set)
{
    int i;

    for (i = 0; i < guest->handed_count; i++)
        if (set >= 0 ? guest->handed[i].set == set : guest->handed[i].set < 0 && strcmp(guest->handed[i].name, name) == 0)
            return &guest->handed[i];
    return NULL;
}

static void drop_handed(struct guest *guest, struct handed *one)
{
    *one = guest->handed[--guest->handed_count];
}

static bool take_fd(struct guest *guest, struct slice arguments, int set, int fd, FILE *reply)
{
    struct handed *one;

    if (fd < 0)
        return GENERIC(reply, "No file descriptor supplied via SCM_RIGHTS");
    if (guest->handed_count == MOST)
        return GENERIC(reply, "the fake has no room for more descriptors");
    one = &guest->handed[guest->handed_count++];
    *one = (struct handed){.set = set, .fd = fd};
    member_text(arguments, "fdname", one->name);
    clean_text(json_member(arguments, "opaque"), one->opaque, sizeof one->opaque);
    return true;
}

bool getfd(struct guest *guest, struct slice arguments, int fd, FILE *reply)
{
    char name[NAME];
    struct handed *earlier;

    member_text(arguments, "fdname", name);
    earlier = find_handed(guest, name, -1);
    if (fd >= 0 && earlier != NULL) {
        close(earlier->fd);
        drop_handed(guest, earlier);
    }
    return take_fd(guest, arguments, -1, fd, reply) && done(reply);
}

bool closefd(struct guest *guest, struct slice arguments, FILE *reply)
{
    char name[NAME];
    struct handed *one;

    member_text(arguments, "fdname", name);
    one = find_handed(guest, name, -1);
    if (one == NULL)
        return GENERIC(reply, "File descriptor named '%s' not found", name);
    close(one->fd);
    drop_handed(guest, one);
    return done(reply);
}

bool add_fd(struct guest *guest, struct slice arguments, int fd, FILE *reply)
{
    long long set = json_number(json_member(arguments, "fdset-id"));

    if (set < 0 || set > 1000000)
        for (set = 0; find_handed(guest, NULL, (int)set) != NULL;)
            set++;
    if (!take_fd(guest, arguments, (int)set, fd, reply))
        return false;
    fprintf(reply, "{\"fdset-id\":%lld,\"fd\":%d}", set, fd);
    return true;
}

bool remove_fd(struct guest *guest, struct slice arguments, FILE *reply)
{
    long long set = json_number(json_member(arguments, "fdset-id"));
    struct handed *one = set >= 0 && set <= 1000000 ? find_handed(guest, NULL, (int)set) : NULL;

    if (one == NULL)
        return GENERIC(reply, "File descriptor named 'fdset-id:%lld' not found", set);
    close(one->fd);
    drop_handed(guest, one);
    return done(reply);
}

bool query_fdsets(const struct guest *guest, FILE *reply)
{
    int i, shown = 0;

    putc('[', reply);
    for (i = 0; i < guest->handed_count; i++)
        if (guest->handed[i].set >= 0)
            fprintf(reply, "%s{\"fdset-id\":%d,\"fds\":[{\"fd\":%d,\"opaque\":\"%s\"}]}", shown++ > 0 ? "," : "",
                    guest->handed[i].set, guest->handed[i].fd, guest->handed[i].opaque);
    putc(']', reply);
    return true;
}

/* What stands behind a NIC. */

struct netdev *find_netdev(struct guest *guest, const char *id)
{
    int i;

    for (i = 0; i < guest->netdev_count; i++)
        if (strcmp(guest->netdevs[i].id, id) == 0)
            return &guest->netdevs[i];
    return NULL;
}

/* Takes the descriptors with these names, which colons are between. */
static bool take_named(struct guest *guest, struct netdev *netdev, struct slice names, FILE *reply)
{
    char text[NAME * NETDEV_FDS];
    char *name, *rest = text;

    json_text(names, text, sizeof text);
    while ((name = strtok_r(rest, ":", &rest)) != NULL) {
        struct handed *one = find_handed(guest, name, -1);

        if (one == NULL || netdev->fd_count == NETDEV_FDS)
            return GENERIC(reply, "File descriptor named '%s' has not been found", name);
        netdev->fds[netdev->fd_count++] = one->fd;
        drop_handed(guest, one);
    }
    return true;
}

static void close_netdev(const struct netdev *netdev)
{
    int i;

    for (i = 0; i < netdev->fd_count; i++)
        close(netdev->fds[i]);
}

bool netdev_add(struct guest *guest, struct slice arguments, FILE *reply)
{
    static const char *const keys[] = {"fd", "fds", "vhostfd", "vhostfds"};
    struct netdev netdev = {.fd_count = 0};
    size_t i;

    member_text(arguments, "id", netdev.id);
    if (find_netdev(guest, netdev.id) != NULL)
        return GENERIC(reply, "Duplicate ID '%s'", netdev.id);
    if (guest->netdev_count == MOST)
        return GENERIC(reply, "the fake has no room for more netdevs");
    for (i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!take_named(guest, &netdev, json_member(arguments, keys[i]), reply)) {
            close_netdev(&netdev);
            return false;
        }
    }
    guest->netdevs[guest->netdev_count++] = netdev;
    return done(reply);
}

bool netdev_del(struct guest *guest, struct slice arguments, FILE *reply)
{
    struct netdev *netdev;
    char id[NAME];

    member_text(arguments, "id", id);
    netdev = find_netdev(guest, id);
    if (netdev == NULL)
        return refuse(reply, "DeviceNotFound", "Device '%s' not found", id);
    close_netdev(netdev);
    *netdev = guest->netdevs[--guest->netdev_count];
    return done(reply);
}

bool set_link(struct guest *guest, struct slice arguments, FILE *reply)
{
    char name[NAME];

    member_text(arguments, "name", name);
    return find_netdev(guest, name) != NULL ? done(reply) : refuse(reply, "DeviceNotFound", "Device '%s' not found", name);
}

/* What stands behind a disk. */

struct node *find_node(struct guest *guest, const char *name)
{
    int i;

    for (i = 0; i < guest->node_count; i++)
        if (strcmp(guest->nodes[i].name, name) == 0)
            return &guest->nodes[i];
    return NULL;
}

/* A qcow2 image says its size in its header, a raw one has it. */
static long long image_size(int fd)
{
    unsigned char header[32];
    long long size = 0;
    struct stat status;
    int i;

    if (pread(fd, header, sizeof header, 0) == (ssize_t)sizeof header && memcmp(header, "QFI\xfb", 4) == 0) {
        for (i = 24; i < 32; i++)
            size = size * 256 + header[i];
        return size;
    }
    return fstat(fd, &status) == 0 ? (status.st_size + 511) / 512 * 512 : 0;
}

bool blockdev_add(struct guest *guest, struct slice arguments, FILE *reply)
{
    static const char prefix[] = "/dev/fdset/";
    struct slice file = json_member(arguments, "file");
    struct node node = {.set = -1};
    struct handed *image;
    char path[NAME];

    member_text(arguments, "node-name", node.name);
    member_text(file.at != NULL && file.at[0] == '{' ? file : arguments, "filename", path);
    if (find_node(guest, node.name) != NULL)
        return GENERIC(reply, "Duplicate nodes with node-name='%s'", node.name);
    if (guest->node_count == MOST)
        return GENERIC(reply, "the fake has no room for more nodes");
    if (strncmp(path, prefix, sizeof prefix - 1) == 0) {
        node.set = atoi(path + sizeof prefix - 1);
        image = find_handed(guest, NULL, node.set);
        if (image == NULL)
            return GENERIC(reply, "Could not dup FD for %s flags 2: No such file or directory", path);
        node.size = image_size(image->fd);
    }
    guest->nodes[guest->node_count++] = node;
    return done(reply);
}

bool blockdev_del(struct guest *guest, struct slice arguments, FILE *reply)
{
    struct node *node;
    char name[NAME];
    int i;

    member_text(arguments, "node-name", name);
    node = find_node(guest, name);
    if (node == NULL)
        return GENERIC(reply, "Failed to find node with node-name='%s'", name);
    for (i = 0; i < guest->device_count; i++)
        if (strcmp(guest->devices[i].drive, name) == 0)
            return GENERIC(reply, "Node %s is in use", name);
    *node = guest->nodes[--guest->node_count];
    return done(reply);
}

bool block_resize(struct guest *guest, struct slice arguments, FILE *reply)
{
    long long size = json_number(json_member(arguments, "size"));
    struct handed *image;
    struct node *node;
    char name[NAME];

    member_text(arguments, "node-name", name);
    node = find_node(guest, name);
    if (node == NULL || size < 0)
        return GENERIC(reply, "Cannot find device='' nor node-name='%s'", name);
    image = node->set >= 0 ? find_handed(guest, NULL, node->set) : NULL;
    if (image != NULL && ftruncate(image->fd, size) != 0)
        return GENERIC(reply, "Failed to resize %s", name);
    node->size = size;
    return done(reply);
}

bool query_nodes(const struct guest *guest, FILE *reply)
{
    int i;

    putc('[', reply);
    for (i = 0; i < guest->node_count; i++)
        fprintf(reply, "%s{\"node-name\":\"%s\",\"ro\":false,\"image\":{\"virtual-size\":%lld,\"actual-size\":0}}",
                i > 0 ? "," : "", guest->nodes[i].name, guest->nodes[i].size);
    putc(']', reply);
    return true;
}

