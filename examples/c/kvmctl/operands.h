/* The words of a command line that are no options: the command, what it is about, and which options go with it. */
#ifndef OPERANDS_H
#define OPERANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

/* Each is false, or PARSED_WRONG, after a complaint (usage.h). */
bool find_command(const char *name, enum command *result);

/* "plan" stands before the command that it is about, which is taken off the words. */
bool take_plan(struct options *options, char ***operands, int *count);

/* What follows the command: which device, and what to do with it; init has QEMU's own command line. `given`: the options. */
bool take_operands(struct options *options, char **operands, int count, uint64_t given);

/* One rule for backing files, or one path more of it. */
bool take_backing(struct options *options, const char *text);
/* Whether the command takes these options, and has those that it needs. */
bool check_given(const struct command_info *command, uint64_t given);

/* The commands that are about kvmctl itself. */
enum parsed about(char **words, int count, uint64_t given);

#endif
