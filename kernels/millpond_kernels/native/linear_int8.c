/* x @ w.T + bias in 8-bit integers: each row of x is quantised on the way, each result turned back to a float.
 *
 * A row becomes unsigned: x = scale * (q - zero). A weight is signed: w = scale of its output * q. Hence
 * x @ w = scale * scale of the output * (sum of q * q - zero * sum of the output's q). The weights lie in panels:
 * [outputs / PANEL8, inputs / 4, PANEL8, 4], filled up with zeros; int8_tile.h multiplies them. Integer sums are exact,
 * so no result depends on the rows beside it.
 */

#include "gate.h"
#include "int8_tile.h"
#include "ops.h"
#include "pool.h"

#include <stdbool.h>

enum {
    BLOCK = 96,          /* rows that stay in the cache for all panels */
    BLOCK_OF_TWO = 48,   /* the same where what lies between two maps stays there too */
    LEAST = 1 << 20,     /* multiply-and-adds of a part, some microseconds */
    LEAST_ROW = 1 << 14, /* numbers that are quantised in a part */
    SIDE_BY_SIDE = 4,    /* sums that do not wait for one another */
};

/* What undoes the quantisation of a row. */
struct quantised {
    float scale;
    int32_t zero;
};

/* q = x / scale + zero, rounded to 0 ... 255; what lies between `inputs` and `stride` becomes 0. */
static struct quantised quantise(const float *x, int64_t inputs, uint8_t *q, int64_t stride) {
    const int64_t full = inputs - inputs % WIDTH;
    vec rest = {0};
    memcpy(&rest, x + full, sizeof(float) * (inputs - full));
    vec high = larger(rest, splat(0)), low = smaller(rest, splat(0)), nonfinite[SIDE_BY_SIDE] = {rest * 0};
    int64_t k = 0;
    for (; k + SIDE_BY_SIDE * WIDTH <= full; k += SIDE_BY_SIDE * WIDTH)
        UNROLL for (int i = 0; i < SIDE_BY_SIDE; i++) {
            const vec value = load(x + k + i * WIDTH);
            high = larger(high, value);
            low = smaller(low, value);
            nonfinite[i] += value * 0; /* NaN for NaN and infinity, which the comparisons may lose */
        }
    for (; k < full; k += WIDTH) {
        const vec value = load(x + k);
        high = larger(high, value);
        low = smaller(low, value);
        nonfinite[0] += value * 0;
    }
    UNROLL for (int i = 1; i < SIDE_BY_SIDE; i++) nonfinite[0] += nonfinite[i];
    const float highest = largest_of(high), lowest = -largest_of(-low);
    const float scale = (highest - lowest) / 255.0f, inverse = scale > 0 ? 1.0f / scale : 0;
    const float zero = rintf(-lowest * inverse);
    for (k = 0; k < full; k += WIDTH) store_rounded(q + k, load(x + k) * inverse + zero);
    if (full < inputs) store_rounded(q + full, rest * inverse + zero);
    for (k = whole_vectors(inputs); k < stride; k += WIDTH) store_rounded(q + k, splat(0));
    return (struct quantised){.scale = scale + sum_of(nonfinite[0]), .zero = (int32_t)zero};
}

/* Rows of bytes against one panel of weights. */
struct tile {
    const uint8_t *q;
    const struct quantised *of_rows;
    const struct map *map;
    const float *bias; /* or NULL */
    float *y;
    int64_t inputs, column, y_stride, columns; /* `columns` of the results are wanted */
};

/* The sums of `rows` rows become floats. */
INLINE void store_results(const struct tile *t, ivec sums[][COLUMNS8], int rows) {
    UNROLL for (int r = 0; r < rows; r++) {
        float all[PANEL8];
        float *to = t->columns == PANEL8 ? t->y + r * t->y_stride : all;
        UNROLL for (int c = 0; c < COLUMNS8; c++) {
            const int64_t output = t->column + c * WIDTH;
            const ivec exact = sums[r][c] - t->of_rows[r].zero * load_int(t->map->sums + output);
            const vec scale = load(t->map->scales + output) * t->of_rows[r].scale;
            const vec result = __builtin_convertvector(exact, vec) * scale;
            store(to + c * WIDTH, t->bias ? result + load(t->bias + output) : result);
        }
        if (t->columns < PANEL8) memcpy(t->y + r * t->y_stride, all, sizeof(float) * t->columns);
    }
}

#define TILE(way, count)                                      \
    case count: {                                             \
        ivec sums[count][COLUMNS8];                           \
        way(t->q, t->inputs, panel, sums, count);             \
        store_results(t, sums, count);                        \
        break;                                                \
    }

/* Functions of their own: the sums stay in the registers. */
__attribute__((noinline)) static void multiply_by_pairs(const struct tile *t, int64_t rows) {
    const int8_t *panel = (const int8_t *)t->map->panels + t->column * t->inputs;
    switch (rows) {
        TILE(sum_pairs, 1) TILE(sum_pairs, 2) TILE(sum_pairs, 3) TILE(sum_pairs, 4)
#if WIDTH == 16
        TILE(sum_pairs, 5) TILE(sum_pairs, 6) TILE(sum_pairs, 7) TILE(sum_pairs, 8)
#endif
    }
}

#ifdef HAS_DOT_PRODUCTS
__attribute__((noinline)) static void multiply_by_dot_products(const struct tile *t, int64_t rows) {
    const int8_t *panel = (const int8_t *)t->map->panels + t->column * t->inputs;
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

INLINE int64_t rows_of_tile(const struct map *map) { return map->dot_products ? ROWS_DOT : ROWS_PAIRS; }

static void multiply(const struct tile *t, int64_t rows) {
#ifdef HAS_DOT_PRODUCTS
    if (t->map->dot_products) {
        multiply_by_dot_products(t, rows);
        return;
    }
#endif
    multiply_by_pairs(t, rows);
}

/* Inputs of a row of bytes, with the zeros behind the last. */
INLINE int64_t padded_inputs(int64_t inputs) {
    return (inputs + INPUTS_TOGETHER - 1) / INPUTS_TOGETHER * INPUTS_TOGETHER;
}

/* A block of rows, first quantised, then multiplied. */
struct product {
    const struct map *map;
    const float *bias, *x; /* the bias may be NULL */
    uint8_t *q;
    struct quantised *of_rows;
    float *y;
    int64_t rows, x_stride, stride, y_stride;
    bool apply_gelu; /* whether results go through GELU; y then has whole panels */
    float *gates; /* x, where its rows are gates that have yet to be multiplied with what stands behind them; or NULL */
    enum activation activation; /* of gates */
};

static void quantise_rows(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    const int64_t inputs = p->map->inputs;
    (void)thread;
    for (int64_t row = start; row < stop; row++) {
        if (p->gates) {
            float *gate = p->gates + row * p->x_stride;
            gate_row(gate, gate + inputs, gate, inputs, p->activation);
        }
        p->of_rows[row] = quantise(p->x + row * p->x_stride, inputs, p->q + row * p->stride, p->stride);
    }
}

static void multiply_panels(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    const int64_t rows_together = rows_of_tile(p->map);
    (void)thread;
    for (int64_t column = start * PANEL8; column < stop * PANEL8; column += PANEL8) {
        const int64_t left = p->y_stride - column;
        for (int64_t row = 0; row < p->rows; row += rows_together) {
            const int64_t rows = p->rows - row < rows_together ? p->rows - row : rows_together;
            const struct tile tile = {.q = p->q + row * p->stride, .of_rows = p->of_rows + row, .map = p->map,
                                      .bias = p->bias, .y = p->y + row * p->y_stride + column, .inputs = p->stride,
                                      .column = column, .y_stride = p->y_stride,
                                      .columns = left < PANEL8 ? left : PANEL8};
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
    millpond_in_parts(quantise_rows, block, block->rows, part_size(block->map->inputs, LEAST_ROW), threads);
    millpond_in_parts(multiply_panels, block, (block->map->outputs + PANEL8 - 1) / PANEL8,
                      part_size(block->rows * block->map->inputs * PANEL8, LEAST), threads);
}

/* x is [rows, inputs] and y [rows, outputs], without gaps. scratch: millpond_linear_int8_scratch() bytes. A row with a
 * NaN or an infinity becomes NaN. */
void millpond_linear_int8(const struct map *map, const float *x, float *y, int64_t rows, int64_t add_bias,
                          char *scratch, int64_t threads) {
    struct quantised of_rows[BLOCK];
    struct product block = {.map = map, .bias = add_bias ? map->bias : NULL, .q = (uint8_t *)scratch,
                            .of_rows = of_rows, .x_stride = map->inputs, .stride = padded_inputs(map->inputs),
                            .y_stride = map->outputs};
    for (int64_t first = 0; first < rows; first += BLOCK) {
        block.x = x + first * map->inputs;
        block.y = y + first * map->outputs;
        block.rows = rows - first < BLOCK ? rows - first : BLOCK;
        compute(&block, threads);
    }
}

static int64_t whole_panels(int64_t count) { return (count + PANEL8 - 1) / PANEL8 * PANEL8; }

/* Two maps with something between them, block by block: what lies between does not leave the cache. */
static void compute_two(struct product *first, struct product *second, int64_t rows, int64_t threads) {
    const float *x = first->x;
    float *y = second->y;
    for (int64_t row = 0; row < rows; row += BLOCK_OF_TWO) {
        first->x = x + row * first->x_stride;
        second->y = y + row * second->y_stride;
        first->rows = second->rows = rows - row < BLOCK_OF_TWO ? rows - row : BLOCK_OF_TWO;
        compute(first, threads);
        compute(second, threads);
    }
}

/* y = GELU(x @ up.T + bias) @ down.T. x is [rows, inputs of up], y [rows, outputs of down], whose bias is left to others.
 * scratch: millpond_feed_forward_int8_scratch() bytes. */
void millpond_feed_forward_int8(const struct map *up, const struct map *down, const float *x, float *y, int64_t rows,
                                char *scratch, int64_t threads) {
    float *between = (float *)scratch;
    const int64_t inner = whole_panels(up->outputs);
    uint8_t *q = (uint8_t *)(between + BLOCK_OF_TWO * inner);
    struct quantised of_rows[BLOCK_OF_TWO];
    struct product first = {.map = up, .bias = up->bias, .x = x, .q = q, .of_rows = of_rows, .y = between,
                            .x_stride = up->inputs, .stride = padded_inputs(up->inputs), .y_stride = inner,
                            .apply_gelu = true};
    struct product second = {.map = down, .x = between, .q = q, .of_rows = of_rows, .y = y, .x_stride = inner,
                             .stride = padded_inputs(down->inputs), .y_stride = down->outputs};
    compute_two(&first, &second, rows, threads);
}

/* y = (activation(x @ gate.T) * (x @ up.T)) @ down.T, with biases, that of down by `add_bias`. gate_up has the outputs of
 * gate and behind them those of up: the inputs of down twice. scratch: millpond_gated_feed_forward_int8_scratch()
 * bytes. */
void millpond_gated_feed_forward_int8(const struct map *gate_up, const struct map *down, const float *x, float *y,
                                      int64_t rows, int64_t activation, int64_t add_bias, char *scratch,
                                      int64_t threads) {
    float *between = (float *)scratch;
    const int64_t both = gate_up->outputs;
    uint8_t *q = (uint8_t *)(between + BLOCK_OF_TWO * whole_panels(both));
    struct quantised of_rows[BLOCK_OF_TWO];
    struct product first = {.map = gate_up, .bias = gate_up->bias, .x = x, .q = q, .of_rows = of_rows, .y = between,
                            .x_stride = gate_up->inputs, .stride = padded_inputs(gate_up->inputs), .y_stride = both};
    struct product second = {.map = down, .bias = add_bias ? down->bias : NULL, .x = between, .q = q,
                             .of_rows = of_rows, .y = y, .x_stride = both, .stride = padded_inputs(down->inputs),
                             .y_stride = down->outputs, .gates = between, .activation = (enum activation)activation};
    compute_two(&first, &second, rows, threads);
}

/* How many bytes of scratch millpond_feed_forward_int8 needs. */
int64_t millpond_feed_forward_int8_scratch(const struct map *up) {
    const int64_t widest = padded_inputs(up->inputs > up->outputs ? up->inputs : up->outputs);
    return BLOCK_OF_TWO * ((int64_t)sizeof(float) * whole_panels(up->outputs) + widest);
}

/* How many bytes of scratch millpond_gated_feed_forward_int8 needs. */
int64_t millpond_gated_feed_forward_int8_scratch(const struct map *gate_up) {
    return millpond_feed_forward_int8_scratch(gate_up);
}

/* How many bytes of scratch millpond_linear_int8 needs. */
int64_t millpond_linear_int8_scratch(const struct map *map) { return BLOCK * padded_inputs(map->inputs); }

/* How many outputs a panel holds. */
int64_t millpond_linear_int8_panel(void) { return PANEL8; }

/* 1 if this library was compiled with vpdpbusd of its vectors, whether or not the processor knows it. */
int64_t millpond_linear_int8_dot_products(void) {
#ifdef HAS_DOT_PRODUCTS
    return 1;
#else
    return 0;
#endif
}
