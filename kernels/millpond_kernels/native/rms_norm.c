/* RMSNorm: rows divided by their root mean square (Zhang and Sennrich, 2019, arXiv 1910.07467). */

#include "pool.h"
#include "vector.h"

enum { MIN_PART_VALUES = 1 << 15 }; /* values per part: some microseconds of work */

struct rows {
    const float *x, *weight;
    float *y, eps;
    int64_t columns;
};

static void normalize(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct rows *r = job;
    const int64_t columns = r->columns, whole = columns - columns % WIDTH, rest = columns - whole;
    (void)thread;
    for (int64_t row = start; row < stop; row++) {
        const float *x = r->x + row * columns;
        float *y = r->y + row * columns;
        const vec last = load_some(x + whole, rest);
        vec squares = last * last;
        for (int64_t column = 0; column < whole; column += WIDTH) squares += load(x + column) * load(x + column);
        const float scale = 1.0f / sqrtf(sum_of(squares) / (float)columns + r->eps);
        for (int64_t column = 0; column < whole; column += WIDTH)
            store(y + column, load(x + column) * scale * load(r->weight + column));
        store_some(y + whole, last * scale * load_some(r->weight + whole, rest), rest);
    }
}

/* y = x / sqrt(mean(x^2) + eps) * weight; x and y are [rows, columns], contiguous; weight is [columns]. */
void millpond_rms_norm(const float *x, const float *weight, float eps, float *y, int64_t rows, int64_t columns,
                       int64_t threads) {
    const struct rows all = {.x = x, .weight = weight, .y = y, .eps = eps, .columns = columns};
    millpond_in_parts(normalize, &all, rows, part_size(columns, MIN_PART_VALUES), threads);
}
