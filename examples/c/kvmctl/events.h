/* News from the guest, waited for without a thread: the library's descriptor in poll(), as in any event loop. */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdio.h>

#include "kvmctl.h"

/* Waits until there may be news, at most this long, and takes them in. */
enum status await_news(struct ctl *ctl, long long wait_ms);

/* 1: an event; 0: no more; -1: an error, which has been reported. */
int take_event(struct ctl *ctl, struct kvm_hotplug_event *event);

/* Prints all events there are. */
enum status print_events(struct ctl *ctl, FILE *to);

#endif
