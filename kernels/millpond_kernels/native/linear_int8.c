/* x @ w.T + bias in 8-bit integers: each row of x is quantised on the way, each result turned back to a float.
 *
 * A row becomes unsigned: x = scale * (q - zero). A weight is signed: w = scale of its output * q. Hence
 * x @ w = scale * scale of the output * (sum of q * q - zero * sum of the output's q). The weights lie in panels:
 * [outputs / PANEL, inputs / 4, PANEL, 4], filled up with zeros; `vpdpbusd` adds four products at a time. Integer sums
 * are exact, so no result depends on the rows beside it.
 */

#include "bytes.h"
#include "gate.h"
#include "ops.h"
#include "pool.h"

#include <stdbool.h>

#if WIDTH == 16

enum {
    ROWS8 = 12,
    COLUMNS8 = 2,
    PANEL = COLUMNS8 * WIDTH,
    BLOCK = 8 * ROWS8,   /* rows that stay in the cache for all panels */
    BLOCK_OF_TWO = 4 * ROWS8, /* the same where what lies between two maps stays there too */
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
    vec most = larger(rest, splat(0)), least = smaller(rest, splat(0)), spoilt[SIDE_BY_SIDE] = {rest * 0};
    int64_t k = 0;
    for (; k + SIDE_BY_SIDE * WIDTH <= full; k += SIDE_BY_SIDE * WIDTH)
        UNROLL for (int i = 0; i < SIDE_BY_SIDE; i++) {
            const vec value = load(x + k + i * WIDTH);
            most = larger(most, value);
            least = smaller(least, value);
            spoilt[i] += value * 0; /* NaN for NaN and infinity, which the comparisons may lose */
        }
    for (; k < full; k += WIDTH) {
        const vec value = load(x + k);
        most = larger(most, value);
        least = smaller(least, value);
        spoilt[0] += value * 0;
    }
    UNROLL for (int i = 1; i < SIDE_BY_SIDE; i++) spoilt[0] += spoilt[i];
    const float highest = largest_of(most), lowest = -largest_of(-least);
    const float scale = (highest - lowest) / 255.0f, inverse = scale > 0 ? 1.0f / scale : 0;
    const float zero = rintf(-lowest * inverse);
    for (k = 0; k < full; k += WIDTH) store_rounded(q + k, load(x + k) * inverse + zero);
    if (full < inputs) store_rounded(q + full, rest * inverse + zero);
    for (k = whole_vectors(inputs); k < stride; k += WIDTH) store_rounded(q + k, splat(0));
    return (struct quantised){.scale = scale + sum_of(spoilt[0]), .zero = (int32_t)zero};
}

/* `rows` rows against one panel; `columns` of the results are wanted. */
INLINE void multiply_tile(const uint8_t *q, int64_t inputs, const struct quantised *of_rows, const struct map *map,
                          const float *bias, int64_t column, float *y, int64_t y_stride, int64_t columns, int rows) {
    const int8_t *panel = (const int8_t *)map->panels + column * inputs;
    ivec sums[ROWS8][COLUMNS8];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < COLUMNS8; c++) sums[r][c] = (ivec){0};
    for (int64_t k = 0; k < inputs; k += FOUR, panel += FOUR * PANEL) {
        ivec weight[COLUMNS8];
        UNROLL for (int c = 0; c < COLUMNS8; c++) weight[c] = load_int(panel + FOUR * c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_four(q + r * inputs + k);
            UNROLL for (int c = 0; c < COLUMNS8; c++) ADD_PRODUCTS(sums[r][c], row, weight[c]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        float all[PANEL];
        float *to = columns == PANEL ? y + r * y_stride : all;
        UNROLL for (int c = 0; c < COLUMNS8; c++) {
            const int64_t place = column + c * WIDTH;
            const vec sum = __builtin_convertvector(sums[r][c] - of_rows[r].zero * load_int(map->sums + place), vec);
            const vec result = sum * (load(map->scales + place) * of_rows[r].scale);
            store(to + c * WIDTH, bias ? result + load(bias + place) : result);
        }
        if (columns < PANEL) memcpy(y + r * y_stride, all, sizeof(float) * columns);
    }
}

#define TILE(rows) \
    case rows: multiply_tile(q, inputs, of_rows, map, bias, column, y, y_stride, columns, rows); break;

/* A function of its own: the sums stay in the registers. */
__attribute__((noinline)) static void multiply(const uint8_t *q, int64_t inputs, const struct quantised *of_rows,
                                               const struct map *map, const float *bias, int64_t column, float *y,
                                               int64_t y_stride, int64_t columns, int64_t rows) {
    switch (rows) {
        TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
    }
}

/* A block of rows, first quantised, then multiplied. */
struct product {
    const struct map *map;
    const float *bias, *x; /* the bias may be NULL */
    uint8_t *q;
    struct quantised *of_rows;
    float *y;
    int64_t rows, x_stride, stride, y_stride;
    bool bend;    /* whether results go through GELU; y then has whole panels */
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
    (void)thread;
    for (int64_t column = start * PANEL; column < stop * PANEL; column += PANEL)
        for (int64_t row = 0; row < p->rows; row += ROWS8) {
            const int64_t rows = p->rows - row < ROWS8 ? p->rows - row : ROWS8;
            float *y = p->y + row * p->y_stride + column;
            multiply(p->q + row * p->stride, p->stride, p->of_rows + row, p->map, p->bias, column, y, p->y_stride,
                     p->y_stride - column < PANEL ? p->y_stride - column : PANEL, rows);
            for (int64_t r = 0; p->bend && r < rows; r++)
                UNROLL for (int c = 0; c < PANEL; c += WIDTH)
                    store(y + r * p->y_stride + c, gelu(load(y + r * p->y_stride + c)));
        }
}

static void compute(const struct product *block, int64_t threads) {
    millpond_in_parts(quantise_rows, block, block->rows, part_size(block->map->inputs, LEAST_ROW), threads);
    millpond_in_parts(multiply_panels, block, (block->map->outputs + PANEL - 1) / PANEL,
                      part_size(block->rows * block->map->inputs * PANEL, LEAST), threads);
}

/* x is [rows, inputs] and y [rows, outputs], without gaps. scratch: millpond_linear_int8_scratch() bytes. A row with a
 * NaN or an infinity becomes NaN. */
void millpond_linear_int8(const struct map *map, const float *x, float *y, int64_t rows, int64_t add_bias,
                          char *scratch, int64_t threads) {
    struct quantised of_rows[BLOCK];
    struct product block = {.map = map, .bias = add_bias ? map->bias : NULL, .q = (uint8_t *)scratch,
                            .of_rows = of_rows, .x_stride = map->inputs, .stride = whole_vectors(map->inputs),
                            .y_stride = map->outputs};
    for (int64_t first = 0; first < rows; first += BLOCK) {
        block.x = x + first * map->inputs;
        block.y = y + first * map->outputs;
        block.rows = rows - first < BLOCK ? rows - first : BLOCK;
        compute(&block, threads);
    }
}

static int64_t whole_panels(int64_t count) { return (count + PANEL - 1) / PANEL * PANEL; }

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
                            .x_stride = up->inputs, .stride = whole_vectors(up->inputs), .y_stride = inner,
                            .bend = true};
    struct product second = {.map = down, .x = between, .q = q, .of_rows = of_rows, .y = y, .x_stride = inner,
                             .stride = whole_vectors(down->inputs), .y_stride = down->outputs};
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
                            .x_stride = gate_up->inputs, .stride = whole_vectors(gate_up->inputs), .y_stride = both};
    struct product second = {.map = down, .bias = add_bias ? down->bias : NULL, .x = between, .q = q,
                             .of_rows = of_rows, .y = y, .x_stride = both, .stride = whole_vectors(down->inputs),
                             .y_stride = down->outputs, .gates = between, .activation = (enum activation)activation};
    compute_two(&first, &second, rows, threads);
}

/* How many bytes of scratch millpond_feed_forward_int8 needs. */
int64_t millpond_feed_forward_int8_scratch(const struct map *up) {
    const int64_t widest = whole_vectors(up->inputs > up->outputs ? up->inputs : up->outputs);
    return BLOCK_OF_TWO * ((int64_t)sizeof(float) * whole_panels(up->outputs) + widest);
}

/* How many bytes of scratch millpond_gated_feed_forward_int8 needs. */
int64_t millpond_gated_feed_forward_int8_scratch(const struct map *gate_up) {
    return millpond_feed_forward_int8_scratch(gate_up);
}

/* How many bytes of scratch millpond_linear_int8 needs. */
int64_t millpond_linear_int8_scratch(const struct map *map) { return BLOCK * whole_vectors(map->inputs); }

/* How many outputs a panel holds; 0 if this processor does not know the instruction. */
int64_t millpond_linear_int8_panel(void) { return __builtin_cpu_supports("avx512vnni") ? PANEL : 0; }

#else

int64_t millpond_linear_int8_panel(void) { return 0; }

#endif
