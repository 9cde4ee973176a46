/* A guest whose agents are killed in the middle of what they do, and what has to hold when the next one has
 * opened it. */
#ifndef TEST_CRASH_H
#define TEST_CRASH_H

#include <net/if.h>
#include <stdbool.h>
#include <sys/types.h>

#include "resources.h"
#include "files.h"
#include "library.h"

/* What agents add and remove: NICs with one and with several queues, raw and qcow2 images, a chain of images,
 * a SCSI disk, and the controllers that the library brings along for it. */
enum crash_device {
    CRASH_NIC,
    CRASH_WIDE_NIC,
    CRASH_OTHER_NIC,
    CRASH_RAW,
    CRASH_CHAIN,
    CRASH_READ_ONLY,
    CRASH_SCSI,
    CRASH_CONTROLLER,
    CRASH_DEVICES
};

/* Of a controller, what its id begins with. */
extern const char *const crash_ids[CRASH_DEVICES];

/* The device with this id, CRASH_DEVICES if it is none of them. */
enum crash_device crash_find(const char *id);

/* Sets of devices are masks. */
#define CRASH_ONLY(which) (1u << (which))

/* Why a list of devices cannot be added. */
enum crash_flaw {
    CRASH_SOUND,
    CRASH_SAME_IMAGE, /* the list has CRASH_RAW, and one more disk with its image: refused before QEMU hears of it */
    CRASH_SAME_PLACE, /* all disks want the same place in the boot order: QEMU refuses the second, when it has the first */
    CRASH_FLAWS
};

struct scene {
    struct vm vm;
    char bridge[IF_NAMESIZE];
    char images[CRASH_DEVICES][TEST_PATH];
    bool no_wait;                         /* what is added is not waited for */
    char second[TEST_PATH];               /* another monitor, if there are two */
    pid_t owner;                          /* the test's own process */
    struct resources without;             /* any device */
    struct resources cost[CRASH_DEVICES]; /* what each adds to that */
};

/* How many monitors there are for agents; with two, those that are killed have one, and those that come after
 * them the other. */
extern int crash_monitors;

/* Whether the firmware halts at once, which takes nothing from the kills and makes resets cheap. Firmware
 * that runs may let go of what it is asked for at any moment. */
extern bool crash_halts;

/* Of q35: as many as there are devices at once. Each costs the library two questions whenever it looks at the
 * guest. */
extern int crash_ports;

/* Starts the guest, in a network namespace of its own, and measures. No agent has it open afterwards. */
void scene_start(struct scene *scene);

/* For the child: opens the guest; what the calls answer is the caller's to judge. Adding a controller is
 * adding the SCSI disk, and asking for it, for any there is. */
int scene_open(struct scene *scene);
int scene_add(struct scene *scene, enum crash_device which);
int scene_ask(struct scene *scene, enum crash_device which);

/* Opens the guest as the agent that comes next, which has to work. */
void scene_reopen(struct scene *scene);

/* The same as one call for a list. One that cannot be added is waited for this long, since what has been
 * taken in has to leave. */
int scene_add_many(struct scene *scene, unsigned set, enum crash_flaw flaw, int timeout_ms);
int scene_ask_many(struct scene *scene, unsigned set);

/* The guest is to have these and no others; what is to go is asked for, and not waited for. */
int scene_apply(struct scene *scene, unsigned set);

/* Lets the guest grant every removal that is pending; and waits for it. QEMU 7.2 may have to be told more
 * than once: it says that a device is gone when its memory map changes the next time. */
void scene_let_go(struct scene *scene);
void scene_grant(struct scene *scene);

/* What the record has, as KVM_HOTPLUG_... states; KVM_HOTPLUG_ANSWER_ABSENT for what it has not. There may be
 * a second controller while the first is on its way out. */
struct states {
    int of[CRASH_DEVICES];
    int number[CRASH_DEVICES];
};

/* Compares record, guest and host completely, both ways, and answers what there is. The guest is open. */
void scene_compare(struct scene *scene, struct states *states);

/* That the files beside the record say the same; the guest is closed. */
void scene_compare_files(struct scene *scene, const struct states *states);

#endif
