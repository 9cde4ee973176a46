/* The library beside the floor: `tests/run bench`. Exits non-zero when a ratio is missed; absolute times are
 * only shown.
 *
 *     bench [ROUNDS [one|many|guests [GUESTS]]]     60 rounds, all parts, 200 guests
 *     bench ROUNDS costs|work                       what does not depend on the machine; the library's part
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "measure.h"
#include "support/check.h"

enum { ROUNDS = 60, MANY_ROUNDS = 10, GUESTS = 200, LIMIT_S = 3600 };

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
    const char *part = argc > 2 ? argv[2] : "all";

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (rounds < 1 || rounds > MOST_SAMPLES / 2) {
        fprintf(stderr, "%s [ROUNDS, up to %d [one|many|guests [GUESTS]|costs|work]]\n", argv[0], MOST_SAMPLES / 2);
        return 2;
    }
    test_begin("bench", LIMIT_S);
    if (strcmp(part, "all") == 0 || strcmp(part, "one") == 0)
        bench_one(rounds);
    if (strcmp(part, "all") == 0 || strcmp(part, "many") == 0)
        bench_many(rounds < MANY_ROUNDS ? rounds : MANY_ROUNDS);
    if (strcmp(part, "all") == 0 || strcmp(part, "guests") == 0)
        bench_guests(argc > 3 ? atoi(argv[3]) : GUESTS);
    if (strcmp(part, "costs") == 0)
        bench_costs();
    if (strcmp(part, "work") == 0)
        bench_work(rounds);
    CHECK_NUMBER(missed(), 0);
    return test_end();
}
