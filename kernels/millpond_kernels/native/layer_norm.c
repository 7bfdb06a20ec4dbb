/* LayerNorm of a sum with the residual (Ba et al., 2016, arXiv 1607.06450). */

#include "ops.h"
#include "pool.h"
#include "vector.h"

enum { MIN_PART_VALUES = 1 << 15 }; /* values per part: some microseconds of work */

struct sum {
    float *x;
    const float *bias, *residual, *weight, *shift;
    float eps;
    int64_t columns;
};

static void normalize(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct sum *s = job;
    const float *bias = s->bias, *residual = s->residual + start * s->columns, *weight = s->weight, *shift = s->shift;
    const int64_t columns = s->columns;
    (void)thread;
    float *x = s->x + start * columns;
    const int64_t whole = columns - columns % WIDTH;
    for (int64_t row = start; row < stop; row++, x += columns, residual += columns) {
        vec sums = {0}, squares = {0};
        float tail_sum = 0, tail_squares = 0;
        for (int64_t column = 0; column < whole; column += WIDTH) {
            vec value = load(x + column) + load(bias + column) + load(residual + column);
            store(x + column, value);
            sums += value;
        }
        for (int64_t column = whole; column < columns; column++) {
            x[column] += bias[column] + residual[column];
            tail_sum += x[column];
        }
        const float mean = (sum_of(sums) + tail_sum) / (float)columns;
        for (int64_t column = 0; column < whole; column += WIDTH) {
            vec distance = load(x + column) - mean;
            squares += distance * distance;
        }
        for (int64_t column = whole; column < columns; column++)
            tail_squares += (x[column] - mean) * (x[column] - mean);
        const float scale = 1.0f / sqrtf((sum_of(squares) + tail_squares) / (float)columns + s->eps);
        for (int64_t column = 0; column < whole; column += WIDTH)
            store(x + column, (load(x + column) - mean) * scale * load(weight + column) + load(shift + column));
        for (int64_t column = whole; column < columns; column++)
            x[column] = (x[column] - mean) * scale * weight[column] + shift[column];
    }
}

/* x = LayerNorm(x + bias + residual) * weight + shift in place; x and residual are [rows, columns], contiguous. */
void millpond_residual_layer_norm(float *x, const float *bias, const float *residual, const float *weight,
                                  const float *shift, float eps, int64_t rows, int64_t columns, int64_t threads) {
    const struct sum all = {.x = x, .bias = bias, .residual = residual, .weight = weight, .shift = shift, .eps = eps,
                            .columns = columns};
    millpond_in_parts(normalize, &all, rows, part_size(columns, MIN_PART_VALUES), threads);
}
