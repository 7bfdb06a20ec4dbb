/* Gates of rows that hold, side by side, what is activated and what is multiplied with it. */

#include "gate.h"
#include "pool.h"

enum { LEAST = 1 << 14 }; /* numbers of a part, some microseconds */

struct gates {
    const float *x;
    float *y;
    int64_t columns;
    enum activation activation;
};

static void gate_rows(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct gates *g = job;
    (void)thread;
    for (int64_t row = start; row < stop; row++) {
        const float *x = g->x + row * 2 * g->columns;
        gate_row(x, x + g->columns, g->y + row * g->columns, g->columns, g->activation);
    }
}

/* y = activation(the first half of x) * the second half; x is [rows, 2 * columns] and y [rows, columns], without gaps. */
void millpond_gated(const float *x, float *y, int64_t rows, int64_t columns, int64_t activation, int64_t threads) {
    const struct gates all = {.x = x, .y = y, .columns = columns, .activation = (enum activation)activation};
    millpond_in_parts(gate_rows, &all, rows, part_size(columns, LEAST), threads);
}
