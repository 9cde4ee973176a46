/* Monotonic milliseconds. */
#ifndef TEST_CLOCK_H
#define TEST_CLOCK_H

#include <time.h>

static inline long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* What is left of a time limit, for poll(): never negative, which would mean for ever. */
static inline int ms_until(long long end)
{
    long long left = end - now_ms();

    return left > 0 ? (int)left : 0;
}

static inline void sleep_ms(int milliseconds)
{
    nanosleep(&(struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L}, NULL);
}

#endif
