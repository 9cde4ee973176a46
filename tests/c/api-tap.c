/* A tap is opened as asked for or not at all; its descriptors are the caller's, and nothing runs away with
 * them. */
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/library.h"
#include "support/net.h"

enum { QUEUES = 256, ROOM = 260 };

static char bridge[IF_NAMESIZE];
static int32_t fds[ROOM];
static char name[IF_NAMESIZE + 1];

#define open_tap(tap) kvm_hotplug_open_tap((tap), sizeof *(tap), fds, ROOM, name, &failure)

static void close_all(int count)
{
    while (count > 0)
        close(fds[--count]);
}

static void queues(uint32_t wanted, int got)
{
    struct kvm_hotplug_tap tap = {.bridge = bridge, .queues = wanted, .mtu = 1400};
    int i;

    memset(fds, 0xff, sizeof fds);
    memset(name, 'x', sizeof name);
    answers(open_tap(&tap), got);
    CHECK(link_exists(name) && link_in_bridge(name, bridge));
    CHECK_NUMBER(name[IF_NAMESIZE], 'x');
    for (i = 0; i < got; i++)
        CHECK_NUMBER(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
    CHECK_NUMBER(fds[got], -1);
    close_all(got);
    CHECK(!link_exists(name));
}

static void names(void)
{
    struct kvm_hotplug_tap tap = {.ifname = "khtname%d"};
    char first[IF_NAMESIZE];

    answers(open_tap(&tap), 1);
    memcpy(first, name, sizeof first);
    CHECK(strncmp(first, "khtname", 7) == 0);
    fds[1] = fds[0];
    tap.ifname = first;
    fails(open_tap(&tap), -EEXIST, KVM_HOTPLUG_ERROR_CONFLICT, first, "an interface of this name exists",
          "choose another");
    tap.ifname = "lo";
    CHECK(kvmh_open_tap(&tap, fds, 1, NULL, NULL) < 0);
    close(fds[1]);
    tap.ifname = "x234567890123456";
    invalid(open_tap(&tap), "\"x234567890123456\"", "more than 15 characters");
    tap.ifname = "a/b";
    invalid(open_tap(&tap), "\"a/b\"", "a character the kernel does not allow");
    tap.ifname = "";
    invalid(open_tap(&tap), "\"\"", "is empty");
}

static void bad_requests(void)
{
    struct kvm_hotplug_tap tap = {.queues = 257};

    invalid(open_tap(&tap), "257 queues", "1 to 256");
    tap.queues = 70000;
    invalid(open_tap(&tap), "queues 70000", "out of range");
    tap = (struct kvm_hotplug_tap){.queues = 2};
    invalid(kvmh_open_tap(&tap, fds, 1, name, &failure), "room for 1 descriptors", "2 are needed");
    invalid(kvm_hotplug_open_tap(&tap, 0, fds, 1, name, &failure), "tap", "size 0");
    tap = (struct kvm_hotplug_tap){.flags = KVM_HOTPLUG_LIVE_ONLY};
    invalid(open_tap(&tap), "tap flags", "unknown flag bits 0x1");
    tap = (struct kvm_hotplug_tap){.mtu = 67};
    invalid(open_tap(&tap), "MTU 67");
    tap = (struct kvm_hotplug_tap){.mtu = 65522};
    invalid(open_tap(&tap), "MTU 65522");
    tap = (struct kvm_hotplug_tap){.bridge = "khtnobridge"};
    fails(open_tap(&tap), -ENOENT, KVM_HOTPLUG_ERROR_NOT_FOUND, "bridge", "khtnobridge does not exist");
    tap = (struct kvm_hotplug_tap){.bridge = "lo"};
    invalid(open_tap(&tap), "lo is not a Linux bridge");
}

int main(void)
{
    int links, open_files;

    test_begin("api-tap", 30);
    net_private();
    bridge_new(bridge);
    links = link_count();
    open_files = process_fds(getpid());
    queues(0, 1);
    queues(1, 1);
    queues(2, 2);
    queues(QUEUES, QUEUES);
    names();
    bad_requests();
    CHECK_NUMBER(link_count(), links);
    CHECK_NUMBER(process_fds(getpid()), open_files);
    return test_end();
}
