/* Help, manual page and completion, all made from the table. */
#ifndef HELP_H
#define HELP_H

#include <stdbool.h>

#include "table.h"

void help_print(void);
void help_print_command(enum command command);
void help_print_manual(void);

/* For bash, zsh or fish; false if it is none of them. */
bool help_print_completion(const char *shell);

#endif
