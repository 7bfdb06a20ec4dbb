/* x @ w.T + bias in 8-bit integers: rows of x are quantised dynamically, results are converted back to floats.
 *
 * Rows are unsigned: x = x_scale * (x_q - zero). Weights are signed: w = w_scale * w_q, with one scale per output.
 * Hence x @ w = x_scale * w_scale * (sum(x_q * w_q) - zero * sum(w_q)). Weights are stored in panels,
 * [outputs / PANEL8, inputs / 4, PANEL8, 4], padded with zeros; int8_tile.h multiplies them. Integer sums are exact, so
 * no result depends on other rows.
 */

#include "gate.h"
#include "int8_tile.h"
#include "ops.h"
#include "pool.h"

#include <stdbool.h>

enum {
    BLOCK = 96,                /* rows that stay in the cache for all panels */
    FUSED_BLOCK = 48,          /* the same, if the intermediate results of two layers stay in the cache too */
    MIN_PART_MACS = 1 << 20,   /* multiply-add operations per part: some microseconds of work */
    MIN_PART_VALUES = 1 << 14, /* quantised values per part */
    ACCUMULATORS = 4,          /* independent sums, so that additions do not wait for one another */
};

/* The quantisation of a row: x = scale * (q - zero). */
struct row_quantisation {
    float scale;
    int32_t zero;
};

/* q = x / scale + zero, rounded to 0 ... 255; values from `inputs` to `stride` are 0. */
static struct row_quantisation quantise(const float *x, int64_t inputs, uint8_t *q, int64_t stride) {
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
    return (struct row_quantisation){.scale = scale + sum_of(nonfinite[0]), .zero = (int32_t)zero};
}

/* The product of some quantised rows and one panel of weights. */
struct tile {
    const uint8_t *q;
    const struct row_quantisation *row_quantisation;
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
            const ivec exact = sums[r][c] - t->row_quantisation[r].zero * load_int(t->weights->sums + output);
            const vec scale = load(t->weights->scales + output) * t->row_quantisation[r].scale;
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
__attribute__((noinline)) static void multiply_by_dot_products(const struct tile *t, int64_t rows) {
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

INLINE int64_t rows_per_tile(const struct linear_weights *weights) {
    return weights->dot_products ? ROWS_DOT : ROWS_PAIRS;
}

static void multiply(const struct tile *t, int64_t rows) {
#ifdef HAS_DOT_PRODUCTS
    if (t->weights->dot_products) {
        multiply_by_dot_products(t, rows);
        return;
    }
#endif
    multiply_by_pairs(t, rows);
}

/* The number of inputs of a quantised row, with padding. */
INLINE int64_t padded_inputs(int64_t inputs) {
    return (inputs + INPUT_MULTIPLE - 1) / INPUT_MULTIPLE * INPUT_MULTIPLE;
}

/* The product of a block of rows, which are quantised first, and the weights. */
struct product {
    const struct linear_weights *weights;
    const float *bias, *x; /* the bias may be NULL */
    uint8_t *q;
    struct row_quantisation *row_quantisation;
    float *y;
    int64_t rows, x_stride, stride, y_stride;
    bool apply_gelu;            /* apply GELU to the results; y must have whole panels */
    float *gates;               /* x, if its rows contain gates, then the values that they multiply; or NULL */
    enum activation activation; /* of gates */
};

static void quantise_rows(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    const int64_t inputs = p->weights->inputs;
    (void)thread;
    for (int64_t row = start; row < stop; row++) {
        if (p->gates) {
            float *gate = p->gates + row * p->x_stride;
            gate_row(gate, gate + inputs, gate, inputs, p->activation);
        }
        p->row_quantisation[row] = quantise(p->x + row * p->x_stride, inputs, p->q + row * p->stride, p->stride);
    }
}

static void multiply_panels(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    const int64_t tile_rows = rows_per_tile(p->weights);
    (void)thread;
    for (int64_t column = start * PANEL8; column < stop * PANEL8; column += PANEL8) {
        const int64_t left = p->y_stride - column;
        for (int64_t row = 0; row < p->rows; row += tile_rows) {
            const int64_t rows = p->rows - row < tile_rows ? p->rows - row : tile_rows;
            const struct tile tile = {.q = p->q + row * p->stride, .row_quantisation = p->row_quantisation + row,
                                      .weights = p->weights, .bias = p->bias,
                                      .y = p->y + row * p->y_stride + column, .inputs = p->stride, .column = column,
                                      .y_stride = p->y_stride, .columns = left < PANEL8 ? left : PANEL8};
            multiply(&tile, rows);
            for (int64_t r = 0; p->apply_gelu && r < rows; r++)
                UNROLL for (int c = 0; c < PANEL8; c += WIDTH) {
                    float *y = tile.y + r * p->y_stride + c;
                    store(y, gelu(load(y)));
                }
        }
    }
}

static void compute(const struct product *block, int64_t threads) {
    const int64_t inputs = block->weights->inputs, outputs = block->weights->outputs;
    millpond_in_parts(quantise_rows, block, block->rows, part_size(inputs, MIN_PART_VALUES), threads);
    millpond_in_parts(multiply_panels, block, (outputs + PANEL8 - 1) / PANEL8,
                      part_size(block->rows * inputs * PANEL8, MIN_PART_MACS), threads);
}

/* x is [rows, inputs] and y [rows, outputs], both contiguous. scratch: millpond_linear_int8_scratch() bytes. The
 * results of a row with NaN or infinity are NaN. */
void millpond_linear_int8(const struct linear_weights *weights, const float *x, float *y, int64_t rows,
                          int64_t add_bias, char *scratch, int64_t threads) {
    struct row_quantisation row_quantisation[BLOCK];
    struct product block = {.weights = weights, .bias = add_bias ? weights->bias : NULL, .q = (uint8_t *)scratch,
                            .row_quantisation = row_quantisation, .x_stride = weights->inputs,
                            .stride = padded_inputs(weights->inputs), .y_stride = weights->outputs};
    for (int64_t first = 0; first < rows; first += BLOCK) {
        block.x = x + first * weights->inputs;
        block.y = y + first * weights->outputs;
        block.rows = rows - first < BLOCK ? rows - first : BLOCK;
        compute(&block, threads);
    }
}

static int64_t round_up_to_panels(int64_t count) { return (count + PANEL8 - 1) / PANEL8 * PANEL8; }

/* Two layers, block by block, so that intermediate results stay in the cache. */
static void compute_fused(struct product *first, struct product *second, int64_t rows, int64_t threads) {
    const float *x = first->x;
    float *y = second->y;
    for (int64_t row = 0; row < rows; row += FUSED_BLOCK) {
        first->x = x + row * first->x_stride;
        second->y = y + row * second->y_stride;
        first->rows = second->rows = rows - row < FUSED_BLOCK ? rows - row : FUSED_BLOCK;
        compute(first, threads);
        compute(second, threads);
    }
}

/* y = GELU(x @ up.T + bias) @ down.T, without the bias of down. x is [rows, inputs of up], y [rows, outputs of down].
 * scratch: millpond_feed_forward_int8_scratch() bytes. */
void millpond_feed_forward_int8(const struct linear_weights *up, const struct linear_weights *down, const float *x,
                                float *y, int64_t rows, char *scratch, int64_t threads) {
    float *activated = (float *)scratch;
    const int64_t inner = round_up_to_panels(up->outputs);
    uint8_t *q = (uint8_t *)(activated + FUSED_BLOCK * inner);
    struct row_quantisation row_quantisation[FUSED_BLOCK];
    struct product first = {.weights = up, .bias = up->bias, .x = x, .q = q, .row_quantisation = row_quantisation,
                            .y = activated, .x_stride = up->inputs, .stride = padded_inputs(up->inputs),
                            .y_stride = inner, .apply_gelu = true};
    struct product second = {.weights = down, .x = activated, .q = q, .row_quantisation = row_quantisation, .y = y,
                             .x_stride = inner, .stride = padded_inputs(down->inputs), .y_stride = down->outputs};
    compute_fused(&first, &second, rows, threads);
}

/* y = (activation(x @ gate.T) * (x @ up.T)) @ down.T with biases (that of down if `add_bias`). The outputs of gate_up
 * are those of gate, then those of up; their number is twice the inputs of down. scratch:
 * millpond_gated_feed_forward_int8_scratch() bytes. */
void millpond_gated_feed_forward_int8(const struct linear_weights *gate_up, const struct linear_weights *down,
                                      const float *x, float *y, int64_t rows, int64_t activation, int64_t add_bias,
                                      char *scratch, int64_t threads) {
    float *gates = (float *)scratch;
    const int64_t both = gate_up->outputs;
    uint8_t *q = (uint8_t *)(gates + FUSED_BLOCK * round_up_to_panels(both));
    struct row_quantisation row_quantisation[FUSED_BLOCK];
    struct product first = {.weights = gate_up, .bias = gate_up->bias, .x = x, .q = q,
                            .row_quantisation = row_quantisation, .y = gates, .x_stride = gate_up->inputs,
                            .stride = padded_inputs(gate_up->inputs), .y_stride = both};
    struct product second = {.weights = down, .bias = add_bias ? down->bias : NULL, .x = gates, .q = q,
                             .row_quantisation = row_quantisation, .y = y, .x_stride = both,
                             .stride = padded_inputs(down->inputs), .y_stride = down->outputs, .gates = gates,
                             .activation = (enum activation)activation};
    compute_fused(&first, &second, rows, threads);
}

/* The scratch memory that millpond_feed_forward_int8 needs, in bytes. */
int64_t millpond_feed_forward_int8_scratch(const struct linear_weights *up) {
    const int64_t widest = padded_inputs(up->inputs > up->outputs ? up->inputs : up->outputs);
    return FUSED_BLOCK * ((int64_t)sizeof(float) * round_up_to_panels(up->outputs) + widest);
}

/* The scratch memory that millpond_gated_feed_forward_int8 needs, in bytes. */
int64_t millpond_gated_feed_forward_int8_scratch(const struct linear_weights *gate_up) {
    return millpond_feed_forward_int8_scratch(gate_up);
}

/* The scratch memory that millpond_linear_int8 needs, in bytes. */
int64_t millpond_linear_int8_scratch(const struct linear_weights *weights) {
    return BLOCK * padded_inputs(weights->inputs);
}

/* The number of outputs in a panel. */
int64_t millpond_linear_int8_panel(void) { return PANEL8; }

/* 1 if this library contains vpdpbusd for its vector width; the processor may still lack it. */
int64_t millpond_linear_int8_dot_products(void) {
#ifdef HAS_DOT_PRODUCTS
    return 1;
#else
    return 0;
#endif
}
