#define _GNU_SOURCE
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

enum { SIGNALS = sizeof signals / sizeof *signals };

static struct sigaction before[SIGNALS];
static volatile sig_atomic_t came;

static void note(int number)
{
    if (came == 0)
        came = number;
}

void interrupt_hold(void)
{
    /* Without SA_RESTART, so that poll() ends. */
    struct sigaction noted = {.sa_handler = note};
    size_t i;

    sigemptyset(&noted.sa_mask);
    for (i = 0; i < SIGNALS; i++) {
        sigaction(signals[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &noted, NULL);
    }
}

int interrupt_came(void)
{
    return came;
}

void interrupt_release(void)
{
    size_t i;

    for (i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}

void interrupt_obey(void)
{
    if (came != 0)
        raise(came);
}
