/* x @ w.T + bias in 8-bit integers: rows of x are quantized dynamically, results are converted back to floats.
 *
 * Rows are unsigned: x = x_scale * (x_q - zero). Weights are signed: w = w_scale * w_q, with one scale per output.
 * Hence x @ w = x_scale * w_scale * (sum(x_q * w_q) - zero * sum(w_q)). Weights are stored in panels,
 * [outputs / PANEL8, inputs / 4, PANEL8, 4] or [outputs / PANEL8, inputs / 8, PANEL8, 8], padded with zeros; int8_tile.h
 * multiplies them. Integer sums are exact, so no result depends on other rows.
 */

#include "int8_tile.h"
#include "ops.h"

enum {
    PANEL_SIZE = PANEL8,
    MIN_PART_MACS = 1 << 20, /* multiply-add operations per part: some microseconds of work */
    ACCUMULATORS = 4,        /* independent sums, so that additions do not wait for one another */
};

#define FUNCTION(name) name##_int8
#define FUNCTION_WITH(name, suffix) name##_int8##suffix

typedef uint8_t converted;

/* The quantization of a row: x = scale * (q - zero). BYTE_OFFSET is subtracted from both integers. */
struct row_info {
    float scale;
    int32_t zero;
};

/* q = x / scale + zero, rounded to 0 ... 255, minus BYTE_OFFSET; values from `inputs` to `stride` are 0. */
static struct row_info convert_row(const float *x, int64_t inputs, uint8_t *q, int64_t stride) {
    const int64_t full = inputs - inputs % WIDTH;
    vec rest = {0};
    memcpy(&rest, x + full, sizeof(float) * (inputs - full));
    vec high = maximum(rest, splat(0)), low = minimum(rest, splat(0)), nonfinite[ACCUMULATORS] = {rest * 0};
    int64_t k = 0;
    for (; k + ACCUMULATORS * WIDTH <= full; k += ACCUMULATORS * WIDTH)
        UNROLL for (int i = 0; i < ACCUMULATORS; i++) {
            const vec value = load(x + k + i * WIDTH);
            high = maximum(high, value);
            low = minimum(low, value);
            nonfinite[i] += value * 0; /* NaN for NaN and infinity, which maximum and minimum may drop */
        }
    for (; k < full; k += WIDTH) {
        const vec value = load(x + k);
        high = maximum(high, value);
        low = minimum(low, value);
        nonfinite[0] += value * 0;
    }
    UNROLL for (int i = 1; i < ACCUMULATORS; i++) nonfinite[0] += nonfinite[i];
    const float highest = max_of(high), lowest = -max_of(-low);
    const float scale = (highest - lowest) / 255.0f, inverse = scale > 0 ? 1.0f / scale : 0;
    const float zero = rintf(-lowest * inverse);
    for (k = 0; k < full; k += WIDTH) store_rounded(q + k, load(x + k) * inverse + zero);
    if (full < inputs) store_rounded(q + full, rest * inverse + zero);
    for (k = round_up_to_vectors(inputs); k < stride; k += WIDTH) store_rounded(q + k, splat(0));
    return (struct row_info){.scale = scale + sum_of(nonfinite[0]), .zero = (int32_t)zero - BYTE_OFFSET};
}

/* The product of some quantized rows and one panel of weights. */
struct tile {
    const uint8_t *q;
    const struct row_info *row_info;
    const struct linear_weights *weights;
    const float *bias; /* or NULL */
    float *y;
    int64_t inputs, column, y_stride, columns; /* stores the first `columns` results */
};

/* Convert the sums of `rows` rows to floats. */
INLINE void store_results(const struct tile *t, ivec sums[][COLUMNS8], int rows) {
    UNROLL for (int r = 0; r < rows; r++) {
        float all[PANEL8];
        float *to = t->columns == PANEL8 ? t->y + r * t->y_stride : all;
        UNROLL for (int c = 0; c < COLUMNS8; c++) {
            const int64_t output = t->column + c * WIDTH;
            const ivec exact = sums[r][c] - t->row_info[r].zero * load_int(t->weights->sums + output);
            const vec scale = load(t->weights->scales + output) * t->row_info[r].scale;
            const vec result = __builtin_convertvector(exact, vec) * scale;
            store(to + c * WIDTH, t->bias ? result + load(t->bias + output) : result);
        }
        if (t->columns < PANEL8) memcpy(t->y + r * t->y_stride, all, sizeof(float) * t->columns);
    }
}

#define TILE(sum_products, count)                             \
    case count: {                                             \
        ivec sums[count][COLUMNS8];                           \
        sum_products(t->q, t->inputs, panel, sums, count);    \
        store_results(t, sums, count);                        \
        break;                                                \
    }

/* Not inlined, so that the sums stay in registers. */
__attribute__((noinline)) static void multiply_by_pairs(const struct tile *t, int64_t rows) {
    const int8_t *panel = (const int8_t *)t->weights->panels + t->column * t->inputs;
    switch (rows) {
        TILE(sum_pairs, 1) TILE(sum_pairs, 2) TILE(sum_pairs, 3) TILE(sum_pairs, 4)
#if WIDTH == 16
        TILE(sum_pairs, 5) TILE(sum_pairs, 6) TILE(sum_pairs, 7) TILE(sum_pairs, 8)
#endif
    }
}

#ifdef HAS_DOT_PRODUCTS
WITH("dotprod") __attribute__((noinline)) static void multiply_by_dot_products(const struct tile *t, int64_t rows) {
    const int8_t *panel = (const int8_t *)t->weights->panels + t->column * t->inputs;
    switch (rows) {
        TILE(sum_dot_products, 1) TILE(sum_dot_products, 2) TILE(sum_dot_products, 3)
        TILE(sum_dot_products, 4) TILE(sum_dot_products, 5) TILE(sum_dot_products, 6)
#if WIDTH == 16
        TILE(sum_dot_products, 7) TILE(sum_dot_products, 8) TILE(sum_dot_products, 9)
        TILE(sum_dot_products, 10) TILE(sum_dot_products, 11) TILE(sum_dot_products, 12)
#endif
    }
}
#endif

#ifdef HAS_BLOCK_PRODUCTS
WITH("i8mm") __attribute__((noinline)) static void multiply_by_block_products(const struct tile *t, int64_t rows) {
    const int8_t *panel = (const int8_t *)t->weights->panels + t->column * t->inputs;
    switch (rows) {
        TILE(sum_block_products, 1) TILE(sum_block_products, 2) TILE(sum_block_products, 3)
        TILE(sum_block_products, 4) TILE(sum_block_products, 5) TILE(sum_block_products, 6)
    }
}
#endif

INLINE int64_t rows_per_tile(const struct linear_weights *weights) {
    return weights->dot_products ? ROWS_DOT : ROWS_PAIRS;
}

static void multiply(const struct tile *t, int64_t rows) {
    switch (t->weights->dot_products) {
#ifdef HAS_BLOCK_PRODUCTS
        case BLOCK_PRODUCTS: multiply_by_block_products(t, rows); break;
#endif
#ifdef HAS_DOT_PRODUCTS
        case DOT_PRODUCTS: multiply_by_dot_products(t, rows); break;
#endif
        default: multiply_by_pairs(t, rows);
    }
}

#include "converted_linear.h"

/* The highest value of `dot_products` in struct linear_weights that this library supports; the processor may not. */
int64_t millpond_linear_int8_dot_products(void) {
#if defined(HAS_BLOCK_PRODUCTS)
    return BLOCK_PRODUCTS;
#elif defined(HAS_DOT_PRODUCTS)
    return DOT_PRODUCTS;
#else
    return PAIR_PRODUCTS;
#endif
}
