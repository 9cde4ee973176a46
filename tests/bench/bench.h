/* The parts of the benchmark. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/* One guest, one operation at a time. */
void bench_one(int rounds);

/* What of it is counted, not timed. */
void bench_costs(void);

/* The library's part alone, so many times, for a tool that counts. */
void bench_work(int rounds);

/* One guest, its slots filled. */
void bench_many(int rounds);

/* Many guests in one process. */
void bench_guests(int guests);

#endif
