/* x @ w.T + bias with weights in bfloat16: rows of x are rounded to bfloat16, products are added in single precision.
 *
 * Weights are stored in panels, [outputs / PANEL_SIZE, inputs / 2, PANEL_SIZE, 2], padded with zeros. Each result is a
 * sum in the order of the inputs, so it does not depend on other rows.
 */

#include "bf16.h"
#include "ops.h"

enum {
    COLUMNS16 = WIDTH == 4 ? 4 : 2, /* vectors of a panel */
    PANEL_SIZE = COLUMNS16 * WIDTH,
    ROWS_DOT = 12,  /* rows whose sums fit in the registers */
    ROWS_PAIRS = WIDTH == 16 ? 10 : 4,
    INPUT_MULTIPLE = 16,     /* also padded to this number of inputs */
    MIN_PART_MACS = 1 << 19, /* multiply-add operations per part: some microseconds of work */
};

#define FUNCTION(name) name##_bf16
#define FUNCTION_WITH(name, suffix) name##_bf16##suffix

typedef uint16_t converted;

/* Rows need no scale. */
struct row_info {
    char unused;
};

/* Round a row to bfloat16; values from `inputs` to `stride` are 0. */
static struct row_info convert_row(const float *x, int64_t inputs, uint16_t *q, int64_t stride) {
    int64_t k = 0;
    for (; k + WIDTH <= inputs; k += WIDTH) store_bf16(q + k, load(x + k));
    if (k < stride) store_bf16(q + k, load_some(x + k, inputs - k));
    for (k += WIDTH; k < stride; k += WIDTH) store_bf16(q + k, splat(0));
    return (struct row_info){0};
}

/* The product of some rounded rows and one panel of weights. */
struct tile {
    const uint16_t *q;
    const struct row_info *row_info;
    const struct linear_weights *weights;
    const float *bias; /* or NULL */
    float *y;
    int64_t inputs, column, y_stride, columns; /* stores the first `columns` results */
};

INLINE ivec load_lanes(const uint16_t *from) {
    ivec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void clear(const struct tile *t, vec sums[][COLUMNS16], int rows) {
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < COLUMNS16; c++)
            sums[r][c] = t->bias ? load(t->bias + t->column + c * WIDTH) : (vec){0};
}

#ifdef HAS_BF16_PRODUCTS
/* Add row r times vector c of the panel to sums[r][c]. */
INLINE void add_dot_products(const struct tile *t, const uint16_t *panel, vec sums[][COLUMNS16], int rows) {
    for (int64_t k = 0; k < t->inputs; k += BF16_PER_LANE, panel += BF16_PER_LANE * PANEL_SIZE) {
        ivec weight[COLUMNS16];
        UNROLL for (int c = 0; c < COLUMNS16; c++) weight[c] = load_lanes(panel + BF16_PER_LANE * c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_bf16(t->q + r * t->inputs + k);
            UNROLL for (int c = 0; c < COLUMNS16; c++) ADD_BF16_PRODUCTS(sums[r][c], row, weight[c]);
        }
    }
}
#endif

/* The same without instructions for bfloat16. */
INLINE void add_pairs(const struct tile *t, const uint16_t *panel, vec sums[][COLUMNS16], int rows) {
    for (int64_t k = 0; k < t->inputs; k += BF16_PER_LANE, panel += BF16_PER_LANE * PANEL_SIZE) {
        vec first[COLUMNS16], second[COLUMNS16];
        UNROLL for (int c = 0; c < COLUMNS16; c++) {
            const ivec weight = load_lanes(panel + BF16_PER_LANE * c * WIDTH);
            first[c] = first_bf16(weight);
            second[c] = second_bf16(weight);
        }
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_bf16(t->q + r * t->inputs + k);
            const vec one = first_bf16(row), other = second_bf16(row);
            UNROLL for (int c = 0; c < COLUMNS16; c++) sums[r][c] += first[c] * one;
            UNROLL for (int c = 0; c < COLUMNS16; c++) sums[r][c] += second[c] * other;
        }
    }
}

INLINE void store_results(const struct tile *t, vec sums[][COLUMNS16], int rows) {
    UNROLL for (int r = 0; r < rows; r++) {
        float all[PANEL_SIZE];
        float *to = t->columns == PANEL_SIZE ? t->y + r * t->y_stride : all;
        UNROLL for (int c = 0; c < COLUMNS16; c++) store(to + c * WIDTH, sums[r][c]);
        if (t->columns < PANEL_SIZE) memcpy(t->y + r * t->y_stride, all, sizeof(float) * t->columns);
    }
}

#define TILE(add_products, count)              \
    case count: {                              \
        vec sums[count][COLUMNS16];            \
        clear(t, sums, count);                 \
        add_products(t, panel, sums, count);   \
        store_results(t, sums, count);         \
        break;                                 \
    }

/* Not inlined, so that the sums stay in registers. */
__attribute__((noinline)) static void multiply_by_pairs(const struct tile *t, int64_t rows) {
    const uint16_t *panel = (const uint16_t *)t->weights->panels + t->column * t->inputs;
    switch (rows) {
        TILE(add_pairs, 1) TILE(add_pairs, 2) TILE(add_pairs, 3) TILE(add_pairs, 4)
#if WIDTH == 16
        TILE(add_pairs, 5) TILE(add_pairs, 6) TILE(add_pairs, 7) TILE(add_pairs, 8) TILE(add_pairs, 9)
        TILE(add_pairs, 10)
#endif
    }
}

#ifdef HAS_BF16_PRODUCTS
__attribute__((noinline)) static void multiply_by_dot_products(const struct tile *t, int64_t rows) {
    const uint16_t *panel = (const uint16_t *)t->weights->panels + t->column * t->inputs;
    switch (rows) {
        TILE(add_dot_products, 1) TILE(add_dot_products, 2) TILE(add_dot_products, 3) TILE(add_dot_products, 4)
        TILE(add_dot_products, 5) TILE(add_dot_products, 6) TILE(add_dot_products, 7) TILE(add_dot_products, 8)
        TILE(add_dot_products, 9) TILE(add_dot_products, 10) TILE(add_dot_products, 11) TILE(add_dot_products, 12)
    }
}
#endif

INLINE int64_t rows_per_tile(const struct linear_weights *weights) {
    return weights->dot_products ? ROWS_DOT : ROWS_PAIRS;
}

static void multiply(const struct tile *t, int64_t rows) {
#ifdef HAS_BF16_PRODUCTS
    if (t->weights->dot_products) {
        multiply_by_dot_products(t, rows);
        return;
    }
#endif
    multiply_by_pairs(t, rows);
}

#include "converted_linear.h"

/* 1 if this library contains vdpbf16ps; the processor may still lack it. */
int64_t millpond_linear_bf16_dot_products(void) {
#ifdef HAS_BF16_PRODUCTS
    return 1;
#else
    return 0;
#endif
}
