/* What a test says on stdin: faults to come, and what the guest does. */
#ifndef FAKE_SCRIPT_H
#define FAKE_SCRIPT_H

#include "guest.h"

enum fault_kind {
    FAULT_NONE,
    FAULT_ERROR,   /* the command is refused */
    FAULT_SILENCE, /* nothing more is read or said until "speak" */
    FAULT_HANG_UP, /* the connection ends, and nothing is done */
    FAULT_LOSE,    /* it is done, and the connection ends without a word about it */
};

struct fault {
    enum fault_kind kind;
    char command[NAME];
    char text[256];
};

struct script {
    struct fault faults[MOST];
    int fault_count;
    bool speak;   /* the silence is over */
    bool hang_up; /* now */
    bool over;
};

/* What one can say. */
struct order {
    const char *name;
    const char *arguments;
    const char *what;
};
extern const struct order script_orders[];
extern const int script_order_count;

/* Takes a line. False if it is none of those, or there is no such device. */
bool script_take(struct script *script, struct guest *guest, char *line);

/* The fault that is next for this command, which it has then had. */
struct fault script_next(struct script *script, const char *command);

#endif
