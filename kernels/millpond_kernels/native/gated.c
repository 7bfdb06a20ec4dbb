/* Gated activations of rows that contain the gate, then the factor. */

#include "gate.h"
#include "pool.h"

enum { MIN_PART_VALUES = 1 << 14 }; /* values per part: some microseconds of work */

struct gated_rows {
    const float *x;
    float *y;
    int64_t columns;
    enum activation activation;
};

static void gate_rows(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct gated_rows *g = job;
    (void)thread;
    for (int64_t row = start; row < stop; row++) {
        const float *x = g->x + row * 2 * g->columns;
        gate_row(x, x + g->columns, g->y + row * g->columns, g->columns, g->activation);
    }
}

/* y = activation(first half of x) * second half; x is [rows, 2 * columns], y [rows, columns], both contiguous. */
void millpond_gated(const float *x, float *y, int64_t rows, int64_t columns, int64_t activation, int64_t threads) {
    const struct gated_rows all = {.x = x, .y = y, .columns = columns, .activation = (enum activation)activation};
    millpond_in_parts(gate_rows, &all, rows, part_size(columns, MIN_PART_VALUES), threads);
}
