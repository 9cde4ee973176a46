/* Counts everything that QEMU and the host have because of a guest's devices, from their own view: what is left behind, or
 * lacking, shows as a difference.
 *
 * What a device takes is measured, not known: the census with it, less the census without it.
 */
#ifndef TEST_CENSUS_H
#define TEST_CENSUS_H

#include <stdbool.h>

#include "library.h"

enum { MAX_CENSUS = 160 };

/* So many of each thing; what there is none of is not listed. */
struct census {
    int count;
    struct {
        char what[112];
        int number;
    } of[MAX_CENSUS];
};

/* Devices, netdevs and their queues, block nodes, fdsets and what is in them, QEMU's descriptors of taps, vhost and the
 * files of the guest's directory, the host's interfaces, the ports of the bridge, and the files beside the runtime file,
 * which nobody may have open. */
void census_take(struct census *census, struct vm *vm, const char *bridge);

/* Adds so many times the other one. */
void census_add(struct census *census, const struct census *other, int times);

/* Counts one thing. */
void census_count(struct census *census, int number, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The first difference in words, or NULL. Where `unsettled`, there may be less of what stands behind a disk's fdsets: a
 * disk that is on its way out may have lost them. */
const char *census_difference(const struct census *got, const struct census *want, bool unsettled);

/* For the report of a difference: all of a census, and QEMU's descriptors of its own directory one by one. */
void census_print(const char *title, const struct census *census);
void census_print_descriptors(struct vm *vm);

#endif
