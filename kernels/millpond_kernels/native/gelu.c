/* GELU of rows plus a bias. */

#include "gelu.h"
#include "ops.h"
#include "pool.h"

enum { MIN_PART_VALUES = 1 << 14 }; /* values per part: some microseconds of work */

struct biased_rows {
    float *x;
    const float *bias;
    int64_t columns;
};

static void activate(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct biased_rows *b = job;
    const float *bias = b->bias;
    const int64_t columns = b->columns;
    (void)thread;
    float *x = b->x + start * columns;
    for (int64_t row = start; row < stop; row++, x += columns) {
        int64_t column = 0;
        for (; column + WIDTH <= columns; column += WIDTH) {
            store(x + column, gelu(load(x + column) + load(bias + column)));
        }
        for (; column < columns; column++) {
            float value = x[column] + bias[column];
            x[column] = 0.5f * value * (1.0f + erff(value * 0.70710678118654752f));
        }
    }
}

/* x = GELU(x + bias) in place; x is [rows, columns], contiguous; bias is [columns]. */
void millpond_bias_gelu(float *x, const float *bias, int64_t rows, int64_t columns, int64_t threads) {
    const struct biased_rows all = {.x = x, .bias = bias, .columns = columns};
    millpond_in_parts(activate, &all, rows, part_size(columns, MIN_PART_VALUES), threads);
}
