/* The library beside the floor: `tests/run bench`. Exits non-zero when a ratio is missed; absolute times are only shown.
 *
 * Arguments: which parts (one, all without), and before them the number of rounds (60).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "measure.h"
#include "support/check.h"

enum { ROUNDS = 60, LIMIT_S = 3600 };

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
    const char *part = argc > 2 ? argv[2] : "all";

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (rounds < 1 || rounds > MOST_SAMPLES / 2) {
        fprintf(stderr, "%s [ROUNDS, up to %d [one]]\n", argv[0], MOST_SAMPLES / 2);
        return 2;
    }
    test_begin("bench", LIMIT_S);
    if (strcmp(part, "all") == 0 || strcmp(part, "one") == 0)
        bench_one(rounds);
    if (missed() > 0)
        FAIL("%d ratios were missed", missed());
    return test_end();
}
