/* Counts what a piece of work asks of the kernel and of the monitor, by looking over its shoulder with
 * ptrace: exact, and the same on every machine.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

struct cost {
    long syscalls;
    long commands;    /* QMP commands sent */
    long bytes;       /* of them */
    long writes;      /* system calls that sent them */
    long round_trips; /* times an answer was waited for after something had been sent */
};

/* Runs `work` in a child process. What it does between trace_begin(i) and trace_end() is counted in
 * costs[i]. */
void trace_run(void (*work)(void), struct cost *costs, int count);
void trace_begin(int index);
void trace_end(void);

#endif
