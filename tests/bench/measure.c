#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/check.h"

static int misses;

double clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

void sample(struct samples *samples, double value)
{
    if (samples->count == MOST_SAMPLES)
        FAIL("more than %d samples", MOST_SAMPLES);
    samples->values[samples->count++] = value;
}

static int by_size(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;

    return (a > b) - (a < b);
}

double median(const struct samples *samples)
{
    double sorted[MOST_SAMPLES];

    if (samples->count == 0)
        FAIL("there are no samples");
    memcpy(sorted, samples->values, (size_t)samples->count * sizeof *sorted);
    qsort(sorted, (size_t)samples->count, sizeof *sorted, by_size);
    return sorted[samples->count / 2];
}

void must_hold(const char *what, double ratio, double limit)
{
    bool holds = ratio <= limit;

    printf("  %-62s %6.3f  (at most %.2f)%s\n", what, ratio, limit, holds ? "" : "  MISSED");
    misses += !holds;
}

int missed(void)
{
    return misses;
}
