/* Sums of the rows of each sequence, in order, so that no result depends on other sequences. */

#include "vector.h"

/* Some columns of one sequence: the sum of its rows, weighted if `weights` is not NULL. */
INLINE void sum_columns(const float *x, const float *weights, int64_t rows, int64_t stride, float divisor, float *y,
                        int vectors) {
    vec sums[COLUMNS] = {{0}};
    for (int64_t row = 0; row < rows; row++, x += stride)
        UNROLL for (int c = 0; c < vectors; c++)
            sums[c] += weights ? load(x + c * WIDTH) * weights[row] : load(x + c * WIDTH);
    UNROLL for (int c = 0; c < vectors; c++) store(y + c * WIDTH, sums[c] / divisor);
}

static void sum_column(const float *x, const float *weights, int64_t rows, int64_t stride, float divisor, float *y) {
    float sum = 0;
    for (int64_t row = 0; row < rows; row++, x += stride) sum += weights ? *x * weights[row] : *x;
    *y = sum / divisor;
}

static float total(const float *weights, int64_t rows) {
    float sum = 0;
    for (int64_t row = 0; row < rows; row++) sum += weights[row];
    return sum;
}

/* y = the sum or mean of each sequence's rows: x is [tokens, columns], y [sequences, columns], both contiguous.
 * `lengths` contains the number of rows of each sequence. With weights (one per row, or NULL), the sum is that of
 * weight * row, and the mean is this sum divided by the sum of the weights. */
void millpond_segment_pool(const float *x, const int64_t *lengths, const float *weights, float *y, int64_t sequences,
                           int64_t columns, int64_t mean) {
    for (int64_t sequence = 0; sequence < sequences; sequence++, y += columns) {
        const int64_t rows = lengths[sequence];
        const float divisor = !mean ? 1.0f : weights ? total(weights, rows) : (float)rows;
        int64_t column = 0;
        for (; column + COLUMNS * WIDTH <= columns; column += COLUMNS * WIDTH)
            sum_columns(x + column, weights, rows, columns, divisor, y + column, COLUMNS);
        for (; column + WIDTH <= columns; column += WIDTH)
            sum_columns(x + column, weights, rows, columns, divisor, y + column, 1);
        for (; column < columns; column++) sum_column(x + column, weights, rows, columns, divisor, y + column);
        x += rows * columns;
        weights = weights ? weights + rows : NULL;
    }
}
