/* A post-norm encoder layer in one call: y = norm(x + attention(x)), y = norm(y + feed_forward(y)), with the exact GELU
 * (Vaswani et al., 2017; Devlin et al., 2018).
 *
 * Whole sequences are processed in groups, so that intermediate results stay in the cache. The ops are those that are
 * called separately elsewhere, and none reads other rows or sequences, so the bits of the results are equal.
 */

#include "ops.h"
#include "vector.h"

#include <stdbool.h>

enum { GROUP = 96 }; /* maximum number of rows in a group, unless one sequence has more */

/* The format of the weights of all linear layers. */
enum format { FLOAT32, BFLOAT16, INT8 };

/* A LayerNorm, with the bias of the preceding linear layer. */
struct norm {
    const float *bias, *weight, *shift;
    float eps;
};

/* The weights and settings of a layer. */
struct layer {
    const struct linear_weights *qkv, *output, *up, *down;
    struct norm attention_norm, feed_forward_norm;
    int64_t heads, head_dim;
    float scale;                /* of attention */
    int64_t converts_attention; /* 1 if attention is computed in the format of the weights too */
};

/* The memory of a call. */
struct workspace {
    float *qkv, *attended; /* [rows, 3 * width], [rows, width] */
    float *normed, *inner; /* [rows, size], [rows, inner]; inner only with weights in floats */
    char *scratch;         /* of the current op */
};

INLINE int64_t max(int64_t one, int64_t other) { return one > other ? one : other; }

/* The size of a hidden state. */
INLINE int64_t size_of(const struct layer *l) { return l->qkv->inputs; }

/* The size of all heads together. */
INLINE int64_t width_of(const struct layer *l) { return l->heads * l->head_dim; }

/* The format of attention: floats with AVX2, and without the instructions for the products of the other formats. */
INLINE enum format format_of_attention(const struct layer *l, enum format format) {
    return WIDTH == 16 && l->converts_attention ? format : FLOAT32;
}

INLINE int64_t scratch_of_attention(const struct layer *l, int64_t longest, enum format format) {
    switch (format_of_attention(l, format)) {
#if WIDTH == 16
        case BFLOAT16: return millpond_attention_bf16_scratch(longest, l->head_dim);
        case INT8: return millpond_attention_int8_scratch(longest, l->head_dim);
#endif
        default: return millpond_attention_scratch(longest, l->head_dim);
    }
}

INLINE int64_t scratch_of_ops(const struct layer *l, int64_t longest, int64_t threads, enum format format) {
    const int64_t attention = threads * scratch_of_attention(l, longest, format);
    switch (format) {
        case BFLOAT16: {
            const int64_t linear = max(millpond_linear_bf16_scratch(l->qkv), millpond_linear_bf16_scratch(l->output));
            return max(max(linear, millpond_feed_forward_bf16_scratch(l->up)), attention);
        }
        case INT8: {
            const int64_t linear = max(millpond_linear_int8_scratch(l->qkv), millpond_linear_int8_scratch(l->output));
            return max(max(linear, millpond_feed_forward_int8_scratch(l->up)), attention);
        }
        default: return attention;
    }
}

INLINE struct workspace layout_workspace(const struct layer *l, int64_t longest, enum format format, float *memory) {
    const int64_t rows = max(longest, GROUP);
    struct workspace space = {.qkv = memory};
    space.attended = space.qkv + 3 * rows * width_of(l);
    space.normed = space.attended + rows * width_of(l);
    space.inner = space.normed + rows * size_of(l);
    space.scratch = (char *)(space.inner + (format == FLOAT32 ? rows * l->up->outputs : 0));
    return space;
}

INLINE int64_t bytes_of(const struct layer *l, int64_t longest, int64_t threads, enum format format) {
    const struct workspace space = layout_workspace(l, longest, format, NULL);
    return space.scratch - (char *)NULL + scratch_of_ops(l, longest, threads, format);
}

INLINE void multiply(const struct linear_weights *weights, const float *x, float *y, int64_t rows, bool add_bias,
                     const struct workspace *space, int64_t threads, enum format format) {
    switch (format) {
        case BFLOAT16: millpond_linear_bf16(weights, x, y, rows, add_bias, space->scratch, threads); break;
        case INT8: millpond_linear_int8(weights, x, y, rows, add_bias, space->scratch, threads); break;
        default: millpond_linear(weights, x, y, rows, add_bias, space->scratch, threads);
    }
}

/* Adjacent sequences of equal length are processed together. */
INLINE void attend(const struct layer *l, const int64_t *lengths, int64_t count, const struct workspace *space,
                   int64_t threads, enum format format) {
    const int64_t width = width_of(l), stride = 3 * width;
    for (int64_t first = 0, next, row = 0; first < count; row += (next - first) * lengths[first], first = next) {
        for (next = first + 1; next < count && lengths[next] == lengths[first];) next++;
        const float *query = space->qkv + row * stride, *key = query + width, *value = key + width;
        float *output = space->attended + row * width;
        const int64_t sequences = next - first, length = lengths[first];
        switch (format_of_attention(l, format)) {
#if WIDTH == 16
            case BFLOAT16:
                millpond_attention_bf16(query, key, value, stride, stride, stride, sequences, length, l->heads,
                                        l->heads, l->head_dim, l->scale, output, space->scratch, threads);
                break;
            case INT8:
                millpond_attention_int8(query, key, value, stride, stride, stride, sequences, length, l->heads,
                                        l->heads, l->head_dim, l->scale, output, space->scratch, threads);
                break;
#endif
            default:
                millpond_attention(query, key, value, stride, stride, stride, sequences, length, l->heads, l->heads,
                                   l->head_dim, l->scale, output, space->scratch, threads, length, NULL, 0);
        }
    }
}

INLINE void feed_forward(const struct layer *l, const float *x, float *y, int64_t rows, const struct workspace *space,
                         int64_t threads, enum format format) {
    switch (format) {
        case BFLOAT16: millpond_feed_forward_bf16(l->up, l->down, x, y, rows, space->scratch, threads); return;
        case INT8: millpond_feed_forward_int8(l->up, l->down, x, y, rows, space->scratch, threads); return;
        default:
            multiply(l->up, x, space->inner, rows, false, space, threads, format);
            millpond_bias_gelu(space->inner, l->up->bias, rows, l->up->outputs, threads);
            multiply(l->down, space->inner, y, rows, false, space, threads, format);
    }
}

INLINE void normalize(const struct norm *n, float *x, const float *residual, int64_t rows, int64_t size,
                      int64_t threads) {
    millpond_residual_layer_norm(x, n->bias, residual, n->weight, n->shift, n->eps, rows, size, threads);
}

INLINE void compute_group(const struct layer *l, const float *x, float *y, const int64_t *lengths, int64_t count,
                          int64_t rows, const struct workspace *space, int64_t threads, enum format format) {
    multiply(l->qkv, x, space->qkv, rows, true, space, threads, format);
    attend(l, lengths, count, space, threads, format);
    multiply(l->output, space->attended, space->normed, rows, false, space, threads, format);
    normalize(&l->attention_norm, space->normed, x, rows, size_of(l), threads);
    feed_forward(l, space->normed, y, rows, space, threads, format);
    normalize(&l->feed_forward_norm, y, space->normed, rows, size_of(l), threads);
}

INLINE void compute(const struct layer *l, const float *x, float *y, const int64_t *lengths, int64_t count,
                    int64_t longest, float *memory, int64_t threads, enum format format) {
    const struct workspace space = layout_workspace(l, longest, format, memory);
    const int64_t size = size_of(l);
    for (int64_t first = 0, next, rows; first < count; first = next, x += rows * size, y += rows * size) {
        for (next = first + 1, rows = lengths[first]; next < count && rows + lengths[next] <= GROUP;)
            rows += lengths[next++];
        compute_group(l, x, y, lengths + first, next - first, rows, &space, threads, format);
    }
}

/* x and y are different arrays [tokens, size], contiguous: `count` consecutive sequences with these lengths, of which
 * `longest` is the maximum. memory: millpond_encoder_layer_memory() bytes. Weights are those of millpond_linear. */
void millpond_encoder_layer(const struct layer *layer, const float *x, float *y, const int64_t *lengths, int64_t count,
                            int64_t longest, float *memory, int64_t threads) {
    compute(layer, x, y, lengths, count, longest, memory, threads, FLOAT32);
}

/* The memory that millpond_encoder_layer needs, in bytes. */
int64_t millpond_encoder_layer_memory(const struct layer *layer, int64_t longest, int64_t threads) {
    return bytes_of(layer, longest, threads, FLOAT32);
}

/* Like millpond_encoder_layer, with weights in the format of millpond_linear_int8. */
void millpond_encoder_layer_int8(const struct layer *layer, const float *x, float *y, const int64_t *lengths,
                                 int64_t count, int64_t longest, float *memory, int64_t threads) {
    compute(layer, x, y, lengths, count, longest, memory, threads, INT8);
}

int64_t millpond_encoder_layer_int8_memory(const struct layer *layer, int64_t longest, int64_t threads) {
    return bytes_of(layer, longest, threads, INT8);
}

/* Like millpond_encoder_layer, with weights in the format of millpond_linear_bf16. */
void millpond_encoder_layer_bf16(const struct layer *layer, const float *x, float *y, const int64_t *lengths,
                                 int64_t count, int64_t longest, float *memory, int64_t threads) {
    compute(layer, x, y, lengths, count, longest, memory, threads, BFLOAT16);
}

int64_t millpond_encoder_layer_bf16_memory(const struct layer *layer, int64_t longest, int64_t threads) {
    return bytes_of(layer, longest, threads, BFLOAT16);
}
