/* Counts everything that QEMU and the host have because of a guest's devices, from their own view: what is
 * left behind, or lacking, shows as a difference.
 *
 * What a device takes is measured, not known: the resources with it, less the resources without it.
 */
#ifndef TEST_CENSUS_H
#define TEST_CENSUS_H

#include <stdbool.h>

#include "library.h"

enum { MAX_CENSUS = 160 };

/* So many of each thing; what there is none of is not listed. */
struct resources {
    int count;
    struct {
        char what[112];
        int number;
    } of[MAX_CENSUS];
};

/* Devices, netdevs and their queues, block nodes, fdsets and what is in them, QEMU's descriptors of taps,
 * vhost and the files of the guest's directory, the host's interfaces, the ports of the bridge, and the files
 * beside the runtime file, which nobody may have open. */
void resources_take(struct resources *resources, struct vm *vm, const char *bridge);

/* Adds so many times the other one. */
void resources_add(struct resources *resources, const struct resources *other, int times);

/* Counts one thing. */
void resources_count(struct resources *resources, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The first difference in words, or NULL. Where `unsettled`, there may be less of the backend of a disk's
 * fdsets: a disk that is on its way out may have lost them. */
const char *resources_difference(const struct resources *got, const struct resources *want, bool unsettled);

/* For the report of a difference: all of a resources, and QEMU's descriptors of its own directory one by
 * one. */
void resources_print(const char *title, const struct resources *resources);
void resources_print_descriptors(struct vm *vm);

#endif
