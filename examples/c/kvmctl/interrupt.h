/* A wait that ^C ends: what has been done until then is told, before the signal has its way. */
#ifndef INTERRUPT_H
#define INTERRUPT_H

/* From here on SIGINT, SIGTERM and SIGHUP are only noted, unless they are ignored. */
void interrupt_hold(void);

/* The first of them that came; 0 for none. */
int interrupt_came(void);

/* From here on they end the process again. */
void interrupt_release(void);

/* Ends the process by the signal that came, as its parent expects; returns if none did. */
void interrupt_obey(void);

#endif
