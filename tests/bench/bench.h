/* The parts of the benchmark. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/* One guest, one operation at a time. */
void bench_one(int rounds);

#endif
