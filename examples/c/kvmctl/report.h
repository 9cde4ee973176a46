/* What the library says, for people. */
#ifndef REPORT_H
#define REPORT_H

#include <stdio.h>

#include "json.h"
#include "kvmctl.h"

/* Prints the error and frees it; STATUS_FAILED, so that a command can end with `return report_error(ctl, err)`. With
 * --json it is an object on stdout, as everything is. */
enum status report_error(const struct ctl *ctl, struct kvm_hotplug_error *error);
/* The same, with what to do about it. */
enum status report_advised(const struct ctl *ctl, struct kvm_hotplug_error *error, const char *advice);

enum status report_no_memory(const struct ctl *ctl);

/* The same for what kvmctl finds by itself: one of enum kvm_hotplug_error_kind, the errno, and what is wrong. */
enum status report_failure(const struct ctl *ctl, int kind, int number, const char *format, ...)
    __attribute__((format(__printf__, 4, 5)));

/* For a command line that makes no sense: STATUS_USAGE. */
enum status report_usage(const struct ctl *ctl, const char *complaint);

/* "done", "after-reboot", "pending", "absent". */
const char *answer_word(int answer);

/* {"answer": ..., "id": ..., "reason": ..., "device": ...}, as an element or by itself; device may be NULL. */
void json_answer(struct json *json, int answer, const char *id, const struct kvm_hotplug_device *device);
void report_answer(int answer, const char *id, const struct kvm_hotplug_device *device);

/* A member or element: the device as an object. */
void json_device(struct json *json, const char *key, const struct kvm_hotplug_device *device);

/* The same into an object that is begun. */
void json_members(struct json *json, const struct kvm_hotplug_device *device);

/* One line. */
void report_event(const struct ctl *ctl, FILE *to, const struct kvm_hotplug_event *event);

/* "pci.0:05", "rp0:00"; "-" without a place. */
struct place {
    char text[80];
};
struct place device_place(const struct kvm_hotplug_device *device);

/* "in the guest", "after reboot", "leaving"; without its guest "recorded" and the like. */
const char *device_state(const struct ctl *ctl, const struct kvm_hotplug_device *device);

#endif
