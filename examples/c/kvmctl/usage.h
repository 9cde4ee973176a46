/* What is wrong with a command line. It is told when all of the line is read, because --json may stand at its end. */
#ifndef USAGE_H
#define USAGE_H

#include <stdbool.h>

/* Keeps the complaint; false, so that a parser can end with `return complain(...)`. */
bool complain(const char *format, ...) __attribute__((format(__printf__, 1, 2)));

/* The last one that was kept. */
const char *complaint(void);

/* Complains that there is no such command or option, and names those that may have been meant. `command` is the word that
 * stands where the command does, or NULL. */
bool complain_no_command(const char *word);
bool complain_no_option(const char *word, const char *command);

/* "kvmctl add-nic --help" for the word that stands where the command does, "kvmctl --help" if it is none. */
struct help_hint {
    char text[64];
};
struct help_hint help_hint(const char *command);

#endif
