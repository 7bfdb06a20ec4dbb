/* A post-norm encoder layer in one call: y = norm(x + attention(x)), y = norm(y + feed_forward(y)), with the exact GELU
 * (Vaswani et al., 2017; Devlin et al., 2018).
 *
 * Whole sequences go through all of it a group at a time, so that what lies between the ops stays in the cache. Each op
 * is the one that is called alone elsewhere, and none looks beyond a row or a sequence: the bits are the same.
 */

#include "ops.h"
#include "vector.h"

#include <stdbool.h>

enum { GROUP = 96 }; /* rows of a group, unless one sequence has more */

/* A LayerNorm, with the bias of the map before it. */
struct norm {
    const float *bias, *weight, *shift;
    float eps;
};

/* All of a layer that is the same in every call. */
struct layer {
    const struct map *qkv, *output, *up, *down;
    struct norm attention_norm, feed_forward_norm;
    int64_t heads, head_dim;
    float scale;            /* of attention */
    int64_t int8_attention; /* 1 if a layer in 8-bit integers computes attention so as well */
};

/* Memory of a call. */
struct room {
    float *qkv, *attended; /* [rows, 3 * width], [rows, width] */
    float *normed, *inner; /* [rows, size], [rows, inner]; this one is of floats alone */
    char *scratch;         /* of the op that runs */
};

INLINE int64_t most(int64_t one, int64_t other) { return one > other ? one : other; }

/* Of a token. */
INLINE int64_t size_of(const struct layer *l) { return l->qkv->inputs; }

/* Of all heads together. */
INLINE int64_t width_of(const struct layer *l) { return l->heads * l->head_dim; }

/* A layer in 8-bit integers may leave attention in floats: with AVX2, and with AVX-512 without VNNI. */
INLINE bool attends_in_int8(const struct layer *l, bool int8) { return WIDTH == 16 && int8 && l->int8_attention; }

INLINE int64_t scratch_of_attention(const struct layer *l, int64_t longest, bool int8) {
#if WIDTH == 16
    if (attends_in_int8(l, int8)) return millpond_attention_int8_scratch(longest, l->head_dim);
#endif
    (void)int8;
    return millpond_attention_scratch(longest, l->head_dim);
}

INLINE int64_t scratch_of_ops(const struct layer *l, int64_t longest, int64_t threads, bool int8) {
    const int64_t attention = threads * scratch_of_attention(l, longest, int8);
    if (!int8) return attention;
    const int64_t linear = most(millpond_linear_int8_scratch(l->qkv), millpond_linear_int8_scratch(l->output));
    return most(most(linear, millpond_feed_forward_int8_scratch(l->up)), attention);
}

INLINE struct room furnish(const struct layer *l, int64_t longest, bool int8, float *memory) {
    const int64_t rows = most(longest, GROUP);
    struct room room = {.qkv = memory};
    room.attended = room.qkv + 3 * rows * width_of(l);
    room.normed = room.attended + rows * width_of(l);
    room.inner = room.normed + rows * size_of(l);
    room.scratch = (char *)(room.inner + (int8 ? 0 : rows * l->up->outputs));
    return room;
}

INLINE int64_t bytes_of(const struct layer *l, int64_t longest, int64_t threads, bool int8) {
    const struct room room = furnish(l, longest, int8, NULL);
    return room.scratch - (char *)NULL + scratch_of_ops(l, longest, threads, int8);
}

INLINE void multiply(const struct map *map, const float *x, float *y, int64_t rows, bool add_bias,
                     const struct room *room, int64_t threads, bool int8) {
    if (int8) {
        millpond_linear_int8(map, x, y, rows, add_bias, room->scratch, threads);
        return;
    }
    millpond_linear(map, x, y, rows, add_bias, room->scratch, threads);
}

/* Neighbours of equal length at a time. */
INLINE void attend(const struct layer *l, const int64_t *lengths, int64_t count, const struct room *room,
                   int64_t threads, bool int8) {
    const int64_t width = width_of(l), stride = 3 * width;
    (void)int8;
    for (int64_t first = 0, next, row = 0; first < count; row += (next - first) * lengths[first], first = next) {
        for (next = first + 1; next < count && lengths[next] == lengths[first];) next++;
        const float *query = room->qkv + row * stride, *key = query + width, *value = key + width;
        float *output = room->attended + row * width;
#if WIDTH == 16
        if (attends_in_int8(l, int8)) {
            millpond_attention_int8(query, key, value, stride, stride, stride, next - first, lengths[first], l->heads,
                                    l->heads, l->head_dim, l->scale, output, room->scratch, threads);
            continue;
        }
#endif
        millpond_attention(query, key, value, stride, stride, stride, next - first, lengths[first], l->heads, l->heads,
                           l->head_dim, l->scale, output, room->scratch, threads, lengths[first], NULL, 0);
    }
}

INLINE void feed_forward(const struct layer *l, const float *x, float *y, int64_t rows, const struct room *room,
                         int64_t threads, bool int8) {
    if (int8) {
        millpond_feed_forward_int8(l->up, l->down, x, y, rows, room->scratch, threads);
        return;
    }
    multiply(l->up, x, room->inner, rows, false, room, threads, int8);
    millpond_bias_gelu(room->inner, l->up->bias, rows, l->up->outputs, threads);
    multiply(l->down, room->inner, y, rows, false, room, threads, int8);
}

INLINE void normalise(const struct norm *n, float *x, const float *residual, int64_t rows, int64_t size,
                      int64_t threads) {
    millpond_residual_layer_norm(x, n->bias, residual, n->weight, n->shift, n->eps, rows, size, threads);
}

INLINE void compute_group(const struct layer *l, const float *x, float *y, const int64_t *lengths, int64_t count,
                          int64_t rows, const struct room *room, int64_t threads, bool int8) {
    multiply(l->qkv, x, room->qkv, rows, true, room, threads, int8);
    attend(l, lengths, count, room, threads, int8);
    multiply(l->output, room->attended, room->normed, rows, false, room, threads, int8);
    normalise(&l->attention_norm, room->normed, x, rows, size_of(l), threads);
    feed_forward(l, room->normed, y, rows, room, threads, int8);
    normalise(&l->feed_forward_norm, y, room->normed, rows, size_of(l), threads);
}

INLINE void compute(const struct layer *l, const float *x, float *y, const int64_t *lengths, int64_t count,
                    int64_t longest, float *memory, int64_t threads, bool int8) {
    const struct room room = furnish(l, longest, int8, memory);
    const int64_t size = size_of(l);
    for (int64_t first = 0, next, rows; first < count; first = next, x += rows * size, y += rows * size) {
        for (next = first + 1, rows = lengths[first]; next < count && rows + lengths[next] <= GROUP;)
            rows += lengths[next++];
        compute_group(l, x, y, lengths + first, next - first, rows, &room, threads, int8);
    }
}

/* x and y are [tokens, size] without gaps, and not the same: `count` sequences of these lengths end to end, the longest
 * of which has `longest` tokens. memory: millpond_encoder_layer_memory() bytes. The weights are those of
 * millpond_linear. */
void millpond_encoder_layer(const struct layer *layer, const float *x, float *y, const int64_t *lengths, int64_t count,
                            int64_t longest, float *memory, int64_t threads) {
    compute(layer, x, y, lengths, count, longest, memory, threads, false);
}

/* How many bytes of memory millpond_encoder_layer needs, and the other below. */
int64_t millpond_encoder_layer_memory(const struct layer *layer, int64_t longest, int64_t threads) {
    return bytes_of(layer, longest, threads, false);
}

/* The same with the weights of millpond_linear_int8. */
void millpond_encoder_layer_int8(const struct layer *layer, const float *x, float *y, const int64_t *lengths,
                                 int64_t count, int64_t longest, float *memory, int64_t threads) {
    compute(layer, x, y, lengths, count, longest, memory, threads, true);
}

int64_t millpond_encoder_layer_int8_memory(const struct layer *layer, int64_t longest, int64_t threads) {
    return bytes_of(layer, longest, threads, true);
}
