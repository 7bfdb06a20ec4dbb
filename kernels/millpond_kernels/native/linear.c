/* x @ w.T + bias in single precision. The weights lie in panels: [outputs / PANEL, inputs, PANEL], the last filled up
 * with zeros. Each result is a sum in the order of the inputs, so it does not depend on the rows beside it. */

#include "pool.h"
#include "vector.h"

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

/* Some panels of a block of rows. */
static void multiply_panels(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    (void)thread;
    for (int64_t column = start * PANEL; column < stop * PANEL; column += PANEL) {
        const int64_t columns = p->outputs - column < PANEL ? p->outputs - column : PANEL;
        for (int64_t row = 0; row < p->rows; row += ROWS)
            multiply(p->x + row * p->inputs, p->panels + column * p->inputs,
                     p->bias ? p->bias + column : NULL, p->inputs, p->y + row * p->outputs + column, p->outputs, columns,
                     p->rows - row < ROWS ? p->rows - row : ROWS);
    }
}

/* x is [rows, inputs] and y [rows, outputs], without gaps; bias holds `outputs` floats rounded up to whole panels, or is
 * NULL. */
void millpond_linear(const float *x, const float *panels, const float *bias, float *y, int64_t rows, int64_t inputs,
                     int64_t outputs, int64_t threads) {
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const struct product block = {.x = x + first * inputs, .panels = panels, .bias = bias, .y = y + first * outputs,
                                      .rows = rows - first < BLOCK ? rows - first : BLOCK, .inputs = inputs,
                                      .outputs = outputs};
        millpond_in_parts(multiply_panels, &block, (outputs + PANEL - 1) / PANEL,
                          part_size(block.rows * inputs * PANEL, LEAST), threads);
    }
}

/* How many outputs a panel holds. */
int64_t millpond_linear_panel(void) { return PANEL; }
