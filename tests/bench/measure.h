/* Times, medians, and ratios that have to hold. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>

enum { MOST_SAMPLES = 400 };

struct samples {
    int count;
    double values[MOST_SAMPLES];
};

/* Monotonic, in milliseconds. */
double clock_ms(void);

void sample(struct samples *samples, double value);
double median(const struct samples *samples);

/* Prints a ratio and its limit; one that is missed is remembered. */
void must_hold(const char *what, double ratio, double limit);

/* How many were missed. */
int missed(void);

#endif
