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

struct product {
    const float *x, *panels, *bias;
    float *y;
    int64_t rows, inputs, outputs;
};

/* All rows of a block against the panel of some column; the results of a row start at y + row * y_stride. */
static void multiply_panel(const struct product *p, int64_t column, float *y, int64_t y_stride) {
    const int64_t columns = p->outputs - column < PANEL ? p->outputs - column : PANEL;
    for (int64_t row = 0; row < p->rows; row += ROWS)
        multiply(p->x + row * p->inputs, p->panels + column * p->inputs, p->bias ? p->bias + column : NULL, p->inputs,
                 y + row * y_stride, y_stride, columns, p->rows - row < ROWS ? p->rows - row : ROWS);
}

/* Some panels of a block of rows. */
static void multiply_panels(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    (void)thread;
    for (int64_t column = start * PANEL; column < stop * PANEL; column += PANEL)
        multiply_panel(p, column, p->y + column, p->outputs);
}

static void compute(const struct product *block, int64_t threads) {
    millpond_in_parts(multiply_panels, block, (block->outputs + PANEL - 1) / PANEL,
                      part_size(block->rows * block->inputs * PANEL, LEAST), threads);
}

/* x is [rows, inputs] and y [rows, outputs], without gaps; bias holds `outputs` floats rounded up to whole panels, or is
 * NULL. */
void millpond_linear(const float *x, const float *panels, const float *bias, float *y, int64_t rows, int64_t inputs,
                     int64_t outputs, int64_t threads) {
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const struct product block = {.x = x + first * inputs, .panels = panels, .bias = bias, .y = y + first * outputs,
                                      .rows = rows - first < BLOCK ? rows - first : BLOCK, .inputs = inputs,
                                      .outputs = outputs};
        compute(&block, threads);
    }
}

/* How many outputs a panel holds. */
int64_t millpond_linear_panel(void) { return PANEL; }

/* Some panels of gates, each with the panel of what it is multiplied with, for a block of rows. */
struct gated_product {
    struct product both; /* outputs: of gates and, behind them, of what they are multiplied with; y: of half as many */
    enum activation activation;
};

static void multiply_gates(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct gated_product *g = job;
    const struct product *both = &g->both;
    const int64_t inner = both->outputs / 2;
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

/* y = (activation(x @ gate.T) * (x @ up.T)) @ down.T, block by block: what lies between does not leave the cache. x is
 * [rows, inputs], y [rows, outputs]; `panels` are of [gate, up], 2 * inner outputs, and `down` of [outputs, inner], each
 * with its bias or NULL; inner is a multiple of PANEL. scratch: millpond_gated_feed_forward_scratch() bytes. */
void millpond_gated_feed_forward(const float *x, const float *panels, const float *bias, const float *down,
                                 const float *down_bias, float *y, int64_t rows, int64_t inputs, int64_t inner,
                                 int64_t outputs, int64_t activation, float *scratch, int64_t threads) {
    struct gated_product first = {
        .both = {.panels = panels, .bias = bias, .y = scratch, .inputs = inputs, .outputs = 2 * inner},
        .activation = (enum activation)activation};
    struct product second = {.x = scratch, .panels = down, .bias = down_bias, .inputs = inner, .outputs = outputs};
    for (int64_t row = 0; row < rows; row += BLOCK) {
        first.both.x = x + row * inputs;
        second.y = y + row * outputs;
        first.both.rows = second.rows = rows - row < BLOCK ? rows - row : BLOCK;
        millpond_in_parts(multiply_gates, &first, inner / PANEL, part_size(2 * first.both.rows * inputs * PANEL, LEAST),
                          threads);
        compute(&second, threads);
    }
}

/* How many bytes of scratch millpond_gated_feed_forward needs. */
int64_t millpond_gated_feed_forward_scratch(int64_t inner) { return BLOCK * inner * (int64_t)sizeof(float); }
