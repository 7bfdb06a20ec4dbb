/* x @ w.T + bias in single precision. The weights lie in panels: [outputs / PANEL, inputs, PANEL], the last filled up
 * with zeros. Each result is a sum in the order of the inputs, so it does not depend on the rows beside it. */

#include "vector.h"

enum { PANEL = COLUMNS * WIDTH, BLOCK = 16 * ROWS }; /* a block of rows stays in the cache for all panels */

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

/* x is [rows, inputs] and y [rows, outputs], without gaps; bias holds `outputs` floats rounded up to whole panels, or is
 * NULL. */
void millpond_linear(const float *x, const float *panels, const float *bias, float *y, int64_t rows, int64_t inputs,
                     int64_t outputs) {
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int64_t last = first + BLOCK < rows ? first + BLOCK : rows;
        for (int64_t column = 0; column < outputs; column += PANEL) {
            const int64_t columns = outputs - column < PANEL ? outputs - column : PANEL;
            for (int64_t row = first; row < last; row += ROWS)
                multiply(x + row * inputs, panels + column * inputs, bias ? bias + column : NULL, inputs,
                         y + row * outputs + column, outputs, columns, last - row < ROWS ? last - row : ROWS);
        }
    }
}

/* How many outputs a panel holds. */
int64_t millpond_linear_panel(void) { return PANEL; }
