/* Linear layers and feed-forward layers that convert their inputs to a narrower type before the products.
 *
 * A file includes this header once, after it has defined for its type:
 *   converted            the type of a converted input
 *   struct row_info      what is known of a converted row
 *   convert_row          converts a row and pads it to `stride` inputs
 *   INPUT_MULTIPLE       rows are padded to a multiple of this number of inputs
 *   PANEL_SIZE           the outputs of a panel
 *   rows_per_tile        the number of rows that `multiply` accepts
 *   multiply             computes the products of some rows and a panel (struct tile)
 *   MIN_PART_MACS        multiply-add operations per part: some microseconds of work
 *   FUNCTION(name)       the name of a function with the suffix of the type; FUNCTION_WITH adds a second suffix
 */

#ifndef MILLPOND_CONVERTED_LINEAR_H
#define MILLPOND_CONVERTED_LINEAR_H

#include "gate.h"
#include "pool.h"

#include <stdbool.h>

enum {
    BLOCK = 96,                /* rows that stay in the cache for all panels */
    FUSED_BLOCK = 48,          /* the same, if the intermediate results of two layers stay in the cache too */
    MIN_PART_VALUES = 1 << 14, /* converted values per part */
};

/* The size of equal parts of `count` items, each at most `limit`: a last part of one row is slow. */
INLINE int64_t even_part(int64_t count, int64_t limit) {
    const int64_t parts = (count - 1) / limit + 1; /* 1 for 0 items */
    return (count + parts - 1) / parts;
}

/* The number of inputs of a converted row, with padding. */
INLINE int64_t padded_inputs(int64_t inputs) {
    return (inputs + INPUT_MULTIPLE - 1) / INPUT_MULTIPLE * INPUT_MULTIPLE;
}

/* The product of a block of rows, which are converted first, and the weights. */
struct product {
    const struct linear_weights *weights;
    const float *bias, *x; /* the bias may be NULL */
    converted *q;
    struct row_info *row_info;
    float *y;
    int64_t rows, x_stride, stride, y_stride;
    bool apply_gelu;            /* apply GELU to the results; y must have whole panels */
    float *gates;               /* x, if its rows contain gates, then the values that they multiply; or NULL */
    enum activation activation; /* of gates */
};

static void convert_rows(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    const int64_t inputs = p->weights->inputs;
    (void)thread;
    for (int64_t row = start; row < stop; row++) {
        if (p->gates) {
            float *gate = p->gates + row * p->x_stride;
            gate_row(gate, gate + inputs, gate, inputs, p->activation);
        }
        p->row_info[row] = convert_row(p->x + row * p->x_stride, inputs, p->q + row * p->stride, p->stride);
    }
}

static void multiply_panels(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct product *p = job;
    const int64_t tile_rows = even_part(p->rows, rows_per_tile(p->weights));
    (void)thread;
    for (int64_t column = start * PANEL_SIZE; column < stop * PANEL_SIZE; column += PANEL_SIZE) {
        const int64_t left = p->y_stride - column;
        for (int64_t row = 0; row < p->rows; row += tile_rows) {
            const int64_t rows = p->rows - row < tile_rows ? p->rows - row : tile_rows;
            const struct tile tile = {.q = p->q + row * p->stride, .row_info = p->row_info + row,
                                      .weights = p->weights, .bias = p->bias,
                                      .y = p->y + row * p->y_stride + column, .inputs = p->stride, .column = column,
                                      .y_stride = p->y_stride, .columns = left < PANEL_SIZE ? left : PANEL_SIZE};
            multiply(&tile, rows);
            for (int64_t r = 0; p->apply_gelu && r < rows; r++)
                UNROLL for (int c = 0; c < PANEL_SIZE; c += WIDTH) {
                    float *y = tile.y + r * p->y_stride + c;
                    store(y, gelu(load(y)));
                }
        }
    }
}

static void compute(const struct product *block, int64_t threads) {
    const int64_t inputs = block->weights->inputs, outputs = block->weights->outputs;
    millpond_in_parts(convert_rows, block, block->rows, part_size(inputs, MIN_PART_VALUES), threads);
    millpond_in_parts(multiply_panels, block, (outputs + PANEL_SIZE - 1) / PANEL_SIZE,
                      part_size(block->rows * inputs * PANEL_SIZE, MIN_PART_MACS), threads);
}

/* x is [rows, inputs] and y [rows, outputs], both contiguous. scratch: the bytes of millpond_linear_*_scratch(). The
 * results of a row with NaN or infinity are not finite. */
void FUNCTION(millpond_linear)(const struct linear_weights *weights, const float *x, float *y, int64_t rows,
                               int64_t add_bias, char *scratch, int64_t threads) {
    struct row_info row_info[BLOCK];
    struct product block = {.weights = weights, .bias = add_bias ? weights->bias : NULL, .q = (converted *)scratch,
                            .row_info = row_info, .x_stride = weights->inputs,
                            .stride = padded_inputs(weights->inputs), .y_stride = weights->outputs};
    const int64_t block_rows = even_part(rows, BLOCK);
    for (int64_t first = 0; first < rows; first += block_rows) {
        block.x = x + first * weights->inputs;
        block.y = y + first * weights->outputs;
        block.rows = rows - first < block_rows ? rows - first : block_rows;
        compute(&block, threads);
    }
}

static int64_t round_up_to_panels(int64_t count) { return (count + PANEL_SIZE - 1) / PANEL_SIZE * PANEL_SIZE; }

/* Two layers, block by block, so that intermediate results stay in the cache. */
static void compute_fused(struct product *first, struct product *second, int64_t rows, int64_t threads) {
    const float *x = first->x;
    float *y = second->y;
    const int64_t block_rows = even_part(rows, FUSED_BLOCK);
    for (int64_t row = 0; row < rows; row += block_rows) {
        first->x = x + row * first->x_stride;
        second->y = y + row * second->y_stride;
        first->rows = second->rows = rows - row < block_rows ? rows - row : block_rows;
        compute(first, threads);
        compute(second, threads);
    }
}

/* y = GELU(x @ up.T + bias) @ down.T, without the bias of down. x is [rows, inputs of up], y [rows, outputs of down].
 * scratch: the bytes of millpond_feed_forward_*_scratch(). */
void FUNCTION(millpond_feed_forward)(const struct linear_weights *up, const struct linear_weights *down,
                                     const float *x, float *y, int64_t rows, char *scratch, int64_t threads) {
    float *activated = (float *)scratch;
    const int64_t inner = round_up_to_panels(up->outputs);
    converted *q = (converted *)(activated + FUSED_BLOCK * inner);
    struct row_info row_info[FUSED_BLOCK];
    struct product first = {.weights = up, .bias = up->bias, .x = x, .q = q, .row_info = row_info, .y = activated,
                            .x_stride = up->inputs, .stride = padded_inputs(up->inputs), .y_stride = inner,
                            .apply_gelu = true};
    struct product second = {.weights = down, .x = activated, .q = q, .row_info = row_info, .y = y,
                             .x_stride = inner, .stride = padded_inputs(down->inputs), .y_stride = down->outputs};
    compute_fused(&first, &second, rows, threads);
}

/* y = (activation(x @ gate.T) * (x @ up.T)) @ down.T with biases (that of down if `add_bias`). The outputs of gate_up
 * are those of gate, then those of up; their number is twice the inputs of down. scratch: the bytes of
 * millpond_gated_feed_forward_*_scratch(). */
void FUNCTION(millpond_gated_feed_forward)(const struct linear_weights *gate_up, const struct linear_weights *down,
                                           const float *x, float *y, int64_t rows, int64_t activation,
                                           int64_t add_bias, char *scratch, int64_t threads) {
    float *gates = (float *)scratch;
    const int64_t both = gate_up->outputs;
    converted *q = (converted *)(gates + FUSED_BLOCK * round_up_to_panels(both));
    struct row_info row_info[FUSED_BLOCK];
    struct product first = {.weights = gate_up, .bias = gate_up->bias, .x = x, .q = q, .row_info = row_info,
                            .y = gates, .x_stride = gate_up->inputs, .stride = padded_inputs(gate_up->inputs),
                            .y_stride = both};
    struct product second = {.weights = down, .bias = add_bias ? down->bias : NULL, .x = gates, .q = q,
                             .row_info = row_info, .y = y, .x_stride = both, .stride = padded_inputs(down->inputs),
                             .y_stride = down->outputs, .gates = gates,
                             .activation = (enum activation)activation};
    compute_fused(&first, &second, rows, threads);
}

/* The scratch memory that millpond_feed_forward_* needs, in bytes. */
int64_t FUNCTION_WITH(millpond_feed_forward, _scratch)(const struct linear_weights *up) {
    const int64_t widest = padded_inputs(up->inputs > up->outputs ? up->inputs : up->outputs);
    return FUSED_BLOCK * ((int64_t)sizeof(float) * round_up_to_panels(up->outputs)
                          + (int64_t)sizeof(converted) * widest);
}

/* The scratch memory that millpond_gated_feed_forward_* needs, in bytes. */
int64_t FUNCTION_WITH(millpond_gated_feed_forward, _scratch)(const struct linear_weights *gate_up) {
    return FUNCTION_WITH(millpond_feed_forward, _scratch)(gate_up);
}

/* The scratch memory that millpond_linear_* needs, in bytes. */
int64_t FUNCTION_WITH(millpond_linear, _scratch)(const struct linear_weights *weights) {
    return BLOCK * (int64_t)sizeof(converted) * padded_inputs(weights->inputs);
}

/* The number of outputs in a panel. */
int64_t FUNCTION_WITH(millpond_linear, _panel)(void) { return PANEL_SIZE; }

#endif
