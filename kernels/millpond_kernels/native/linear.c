/* x @ w.T + bias in single precision. Weights are stored in panels, [outputs / PANEL, inputs, PANEL], the last padded
 * with zeros. Each result is a sum in the order of the inputs, so it does not depend on other rows. */

#include "gate.h"
#include "ops.h"
#include "pool.h"

enum {
    PANEL = COLUMNS * WIDTH,
    BLOCK = 16 * ROWS,       /* rows that stay in the cache for all panels */
    MIN_PART_MACS = 1 << 18, /* multiply-add operations per part: some microseconds of work */
};

/* Products of `rows` rows and one panel; stores the first `columns` results. */
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

/* Not inlined, so that the sums stay in registers. */
__attribute__((noinline)) static void multiply(const float *x, const float *panel, const float *bias, int64_t inputs,
                                               float *y, int64_t y_stride, int64_t columns, int64_t rows) {
    switch (rows) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) }
}

/* The product of a block of rows and the weights. */
struct product {
    const struct linear_weights *weights;
    const float *bias, *x; /* the bias may be NULL */
    float *y;
    int64_t rows;
};

/* Products of all rows of a block and the panel at `column`; the results of a row start at y + row * y_stride. */
static void multiply_panel(const struct product *p, int64_t column, float *y, int64_t y_stride) {
    const struct linear_weights *w = p->weights;
    const int64_t inputs = w->inputs, left = w->outputs - column, columns = left < PANEL ? left : PANEL;
    const float *panel = (const float *)w->panels + column * inputs, *bias = p->bias ? p->bias + column : NULL;
    for (int64_t row = 0; row < p->rows; row += ROWS)
        multiply(p->x + row * inputs, panel, bias, inputs, y + row * y_stride, y_stride, columns,
                 p->rows - row < ROWS ? p->rows - row : ROWS);
}

/* Products of a block of rows and some panels. */
static void multiply_panels(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    (void)thread;
    for (int64_t column = start * PANEL; column < stop * PANEL; column += PANEL)
        multiply_panel(p, column, p->y + column, p->weights->outputs);
}

static void compute(const struct product *block, int64_t threads) {
    millpond_in_parts(multiply_panels, block, (block->weights->outputs + PANEL - 1) / PANEL,
                      part_size(block->rows * block->weights->inputs * PANEL, MIN_PART_MACS), threads);
}

/* x is [rows, inputs] and y [rows, outputs], both contiguous. scratch: millpond_linear_scratch() bytes, which is 0; the
 * signature is that of the int8 function. */
void millpond_linear(const struct linear_weights *weights, const float *x, float *y, int64_t rows, int64_t add_bias,
                     char *scratch, int64_t threads) {
    struct product block = {.weights = weights, .bias = add_bias ? weights->bias : NULL};
    (void)scratch;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        block.x = x + first * weights->inputs;
        block.y = y + first * weights->outputs;
        block.rows = rows - first < BLOCK ? rows - first : BLOCK;
        compute(&block, threads);
    }
}

/* The scratch memory that millpond_linear needs, in bytes. */
int64_t millpond_linear_scratch(const struct linear_weights *weights) {
    (void)weights;
    return 0;
}

/* The number of outputs in a panel. */
int64_t millpond_linear_panel(void) { return PANEL; }

/* A block of rows, and the panels of gates with the panels of the values that they multiply. */
struct gated_product {
    struct product both; /* outputs: gates, then the values that they multiply; y has half the outputs */
    enum activation activation;
};

static void multiply_gates(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct gated_product *g = job;
    const struct product *both = &g->both;
    const int64_t inner = both->weights->outputs / 2;
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

/* y = (activation(x @ gate.T) * (x @ up.T)) @ down.T with biases (that of down if `add_bias`), block by block, so that
 * intermediate results stay in the cache. The outputs of gate_up are those of gate, then those of up; their number is
 * twice the inputs of down, which are whole panels. x is [rows, inputs of gate_up], y [rows, outputs of down]. scratch:
 * millpond_gated_feed_forward_scratch() bytes. */
void millpond_gated_feed_forward(const struct linear_weights *gate_up, const struct linear_weights *down,
                                 const float *x, float *y, int64_t rows, int64_t activation, int64_t add_bias,
                                 char *scratch, int64_t threads) {
    float *inner = (float *)scratch;
    struct gated_product first = {.both = {.weights = gate_up, .bias = gate_up->bias, .y = inner},
                                  .activation = (enum activation)activation};
    struct product second = {.weights = down, .bias = add_bias ? down->bias : NULL, .x = inner};
    for (int64_t row = 0; row < rows; row += BLOCK) {
        first.both.x = x + row * gate_up->inputs;
        second.y = y + row * down->outputs;
        first.both.rows = second.rows = rows - row < BLOCK ? rows - row : BLOCK;
        millpond_in_parts(multiply_gates, &first, down->inputs / PANEL,
                          part_size(2 * first.both.rows * gate_up->inputs * PANEL, MIN_PART_MACS), threads);
        compute(&second, threads);
    }
}

/* The scratch memory that millpond_gated_feed_forward needs, in bytes. */
int64_t millpond_gated_feed_forward_scratch(const struct linear_weights *gate_up) {
    return BLOCK * gate_up->outputs / 2 * (int64_t)sizeof(float);
}
