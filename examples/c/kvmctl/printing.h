/* Everything that kvmctl prints goes through plain.h: here, so that no place can forget it. */
#ifndef PRINTING_H
#define PRINTING_H

#include <stdio.h>

#include "plain.h"

#undef fprintf
#undef printf
#undef puts
#define fprintf plain_fprintf
#define printf plain_printf
#define puts plain_puts

#endif
