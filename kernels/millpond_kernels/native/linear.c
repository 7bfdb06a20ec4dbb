/* x @ w.T + bias in single precision. The weights lie in panels: [outputs / PANEL, inputs, PANEL], the last filled up
 * with zeros. Each result is a sum in the order of the inputs, so it does not depend on the rows beside it. */

#include "gate.h"
#include "ops.h"
#include "pool.h"

enum {
    PANEL = COLUMNS * WIDTH,
    BLOCK = 16 * ROWS, /* rows that stay in the cache for all panels */
    LEAST = 1 << 18,   /* multiply-and-adds of a part, some microseconds */
};

/* `rows` rows against one panel; `columns` of the results are wanted. */
INLINE void multiply_tile(const float *x, const float *panel, const float *bias, int64_t inputs, float *y,
                          int64_t y_stride, int64_t columns, int rows) {
    vec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < COLUMNS; c++) sums[r][c] = bias ? load(bias + c * WIDTH) : (vec){0};
    for (int64_t k = 0; k < inputs; k++, panel += PANEL) {
        vec weight[COLUMNS];
        UNROLL for (int c = 0; c < COLUMNS; c++) weight[c] = load(panel + c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const float value = x[r * inputs + k];
            UNROLL for (int c = 0; c < COLUMNS; c++) sums[r][c] += weight[c] * value;
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        if (columns == PANEL) {
            UNROLL for (int c = 0; c < COLUMNS; c++) store(y + r * y_stride + c * WIDTH, sums[r][c]);
        } else {
            float all[PANEL];
            UNROLL for (int c = 0; c < COLUMNS; c++) store(all + c * WIDTH, sums[r][c]);
            memcpy(y + r * y_stride, all, sizeof(float) * columns);
        }
    }
}

#define TILE(rows) \
    case rows: multiply_tile(x, panel, bias, inputs, y, y_stride, columns, rows); break;

/* A function of its own: the sums stay in the registers. */
__attribute__((noinline)) static void multiply(const float *x, const float *panel, const float *bias, int64_t inputs,
                                               float *y, int64_t y_stride, int64_t columns, int64_t rows) {
    switch (rows) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) }
}

/* A block of rows through a map. */
struct product {
    const struct map *map;
    const float *bias, *x; /* the bias may be NULL */
    float *y;
    int64_t rows;
};

/* All rows of a block against the panel of some column; the results of a row start at y + row * y_stride. */
static void multiply_panel(const struct product *p, int64_t column, float *y, int64_t y_stride) {
    const int64_t inputs = p->map->inputs, left = p->map->outputs - column, columns = left < PANEL ? left : PANEL;
    const float *panel = (const float *)p->map->panels + column * inputs, *bias = p->bias ? p->bias + column : NULL;
    for (int64_t row = 0; row < p->rows; row += ROWS)
        multiply(p->x + row * inputs, panel, bias, inputs, y + row * y_stride, y_stride, columns,
                 p->rows - row < ROWS ? p->rows - row : ROWS);
}

/* Some panels of a block of rows. */
static void multiply_panels(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    (void)thread;
    for (int64_t column = start * PANEL; column < stop * PANEL; column += PANEL)
        multiply_panel(p, column, p->y + column, p->map->outputs);
}

static void compute(const struct product *block, int64_t threads) {
    millpond_in_parts(multiply_panels, block, (block->map->outputs + PANEL - 1) / PANEL,
                      part_size(block->rows * block->map->inputs * PANEL, LEAST), threads);
}

/* x is [rows, inputs] and y [rows, outputs], without gaps. scratch: millpond_linear_scratch() bytes, which are none; as
 * all functions for floats here, this one is called like that for 8-bit integers. */
void millpond_linear(const struct map *map, const float *x, float *y, int64_t rows, int64_t add_bias, char *scratch,
                     int64_t threads) {
    struct product block = {.map = map, .bias = add_bias ? map->bias : NULL};
    (void)scratch;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        block.x = x + first * map->inputs;
        block.y = y + first * map->outputs;
        block.rows = rows - first < BLOCK ? rows - first : BLOCK;
        compute(&block, threads);
    }
}

/* How many bytes of scratch millpond_linear needs. */
int64_t millpond_linear_scratch(const struct map *map) {
    (void)map;
    return 0;
}

/* How many outputs a panel holds. */
int64_t millpond_linear_panel(void) { return PANEL; }

/* Some panels of gates, each with the panel of what it is multiplied with, for a block of rows. */
struct gated_product {
    struct product both; /* of gates and, behind them, of what they are multiplied with; y is of half as many */
    enum activation activation;
};

static void multiply_gates(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct gated_product *g = job;
    const struct product *both = &g->both;
    const int64_t inner = both->map->outputs / 2;
    float up[BLOCK * PANEL];
    (void)thread;
    for (int64_t column = start * PANEL; column < stop * PANEL; column += PANEL) {
        float *y = both->y + column;
        multiply_panel(both, column, y, inner);
        multiply_panel(both, inner + column, up, PANEL);
        for (int64_t row = 0; row < both->rows; row++)
            gate_row(y + row * inner, up + row * PANEL, y + row * inner, PANEL, g->activation);
    }
}

/* y = (activation(x @ gate.T) * (x @ up.T)) @ down.T, with biases, that of down by `add_bias`, block by block: what lies
 * between does not leave the cache. gate_up has the outputs of gate and behind them those of up: the inputs of down
 * twice, which are whole panels. x is [rows, inputs of gate_up], y [rows, outputs of down]. scratch:
 * millpond_gated_feed_forward_scratch() bytes. */
void millpond_gated_feed_forward(const struct map *gate_up, const struct map *down, const float *x, float *y,
                                 int64_t rows, int64_t activation, int64_t add_bias, char *scratch, int64_t threads) {
    float *between = (float *)scratch;
    struct gated_product first = {.both = {.map = gate_up, .bias = gate_up->bias, .y = between},
                                  .activation = (enum activation)activation};
    struct product second = {.map = down, .bias = add_bias ? down->bias : NULL, .x = between};
    for (int64_t row = 0; row < rows; row += BLOCK) {
        first.both.x = x + row * gate_up->inputs;
        second.y = y + row * down->outputs;
        first.both.rows = second.rows = rows - row < BLOCK ? rows - row : BLOCK;
        millpond_in_parts(multiply_gates, &first, down->inputs / PANEL,
                          part_size(2 * first.both.rows * gate_up->inputs * PANEL, LEAST), threads);
        compute(&second, threads);
    }
}

/* How many bytes of scratch millpond_gated_feed_forward needs. */
int64_t millpond_gated_feed_forward_scratch(const struct map *gate_up) {
    return BLOCK * gate_up->outputs / 2 * (int64_t)sizeof(float);
}
