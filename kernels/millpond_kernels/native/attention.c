/* Bidirectional attention of short sequences: softmax(scale * query @ key.T) @ value. */

#include "ops.h"
#include "pool.h"
#include "vector.h"

enum { MIN_PART_MACS = 1 << 16 }; /* multiply-add operations per part: some microseconds of work */

#define LOG2_E 1.44269504088896341f

/* Scores of `rows` queries and `vectors` vectors of transposed keys, [head_dim, stride]. */
INLINE void score_tile(const float *query, int64_t query_stride, const float *keys, int64_t stride, int64_t head_dim,
                       float scale, float *scores, int rows, int vectors) {
    vec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (vec){0};
    for (int64_t d = 0; d < head_dim; d++) {
        vec key[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++) key[c] = load(keys + d * stride + c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const float q = query[r * query_stride + d];
            UNROLL for (int c = 0; c < vectors; c++) sums[r][c] += key[c] * q;
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < vectors; c++) store(scores + r * stride + c * WIDTH, sums[r][c] * scale);
}

/* Scores of `rows` queries and all keys. */
INLINE void score(const float *query, int64_t query_stride, const float *keys, int64_t stride, int64_t head_dim,
                  float scale, float *scores, int rows) {
    int64_t k = 0;
    for (; k + COLUMNS * WIDTH <= stride; k += COLUMNS * WIDTH)
        score_tile(query, query_stride, keys + k, stride, head_dim, scale, scores + k, rows, COLUMNS);
    const int64_t vectors = (stride - k) / WIDTH;
    if (vectors == 1) score_tile(query, query_stride, keys + k, stride, head_dim, scale, scores + k, rows, 1);
    if (COLUMNS > 2 && vectors == 2)
        score_tile(query, query_stride, keys + k, stride, head_dim, scale, scores + k, rows, 2);
    if (COLUMNS > 3 && vectors == 3)
        score_tile(query, query_stride, keys + k, stride, head_dim, scale, scores + k, rows, 3);
}

/* Add the bias of each key's distance to a row of scores. Scores are exponents of 2, hence the factor log2(e). */
INLINE void add_bias(float *scores, const float *bias, int64_t length) {
    int64_t k = 0;
    for (; k + WIDTH <= length; k += WIDTH) store(scores + k, load(scores + k) + load(bias + k) * LOG2_E);
    for (; k < length; k++) scores[k] += bias[k] * LOG2_E;
}

/* The numerators of the softmax of a row, in kv_head; return the denominator. */
INLINE float exponentiate(float *scores, int64_t length, int64_t stride) {
    const int64_t last = stride - WIDTH;
    const ivec valid = lanes() < (int32_t)(length - last);
    vec rest = blend(valid, load(scores + last), splat(-INFINITY)), highest = rest;
    for (int64_t k = 0; k < last; k += WIDTH) highest = maximum(load(scores + k), highest);
    const float shift = max_of(highest);
    rest = (vec)((ivec)power_of_two(rest - shift) & valid);
    store(scores + last, rest);
    for (int64_t k = 0; k < last; k += WIDTH) {
        vec value = power_of_two(load(scores + k) - shift);
        store(scores + k, value);
        rest += value;
    }
    return sum_of(rest);
}

/* Products of `rows` rows of weights and the values: `vectors` vectors of the output. */
INLINE void mix_tile(const float *weights, int64_t stride, const float *totals, const float *values, int64_t head_dim,
                     int64_t length, float *output, int64_t output_stride, int rows, int vectors) {
    vec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (vec){0};
    for (int64_t k = 0; k < length; k++) {
        vec value[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++) value[c] = load(values + k * head_dim + c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const float weight = weights[r * stride + k];
            UNROLL for (int c = 0; c < vectors; c++) sums[r][c] += value[c] * weight;
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        const float share = 1.0f / totals[r];
        UNROLL for (int c = 0; c < vectors; c++) store(output + r * output_stride + c * WIDTH, sums[r][c] * share);
    }
}

INLINE void mix(const float *weights, int64_t stride, const float *totals, const float *values, int64_t head_dim,
                int64_t length, float *output, int64_t output_stride, int rows) {
    int64_t d = 0;
    for (; d + COLUMNS * WIDTH <= head_dim; d += COLUMNS * WIDTH)
        mix_tile(weights, stride, totals, values + d, head_dim, length, output + d, output_stride, rows, COLUMNS);
    if (COLUMNS > 2 && d + 2 * WIDTH <= head_dim) {
        mix_tile(weights, stride, totals, values + d, head_dim, length, output + d, output_stride, rows, 2);
        d += 2 * WIDTH;
    }
    if (d < head_dim)
        mix_tile(weights, stride, totals, values + d, head_dim, length, output + d, output_stride, rows, 1);
}

/* One head of one sequence, with scratch memory. */
struct attention {
    const float *query, *keys, *values, *bias; /* bias: points to distance 0, followed by later keys; or NULL */
    int64_t query_stride, output_stride, rows, length, stride, head_dim; /* rows: of queries; length: of keys */
    float scale, *scores, *output; /* the scale includes log2(e), because exponentiate computes powers of two */
};

INLINE void attend_rows(const struct attention *a, int64_t row, int rows) {
    const float *query = a->query + row * a->query_stride;
    float totals[ROWS];
    score(query, a->query_stride, a->keys, a->stride, a->head_dim, a->scale, a->scores, rows);
    if (a->bias)
        for (int r = 0; r < rows; r++) add_bias(a->scores + r * a->stride, a->bias - row - r, a->length);
    UNROLL for (int r = 0; r < rows; r++) totals[r] = exponentiate(a->scores + r * a->stride, a->length, a->stride);
    mix(a->scores, a->stride, totals, a->values, a->head_dim, a->length, a->output + row * a->output_stride,
        a->output_stride, rows);
}

/* The last rows are processed one or two at a time: larger blocks would need a function for each size. */
static void attend_head(const struct attention *a) {
    int64_t row = 0;
    for (; row + ROWS <= a->rows; row += ROWS) attend_rows(a, row, ROWS);
    for (; row + 2 <= a->rows; row += 2) attend_rows(a, row, 2);
    if (row < a->rows) attend_rows(a, row, 1);
}

/* Transpose the keys of a head to [head_dim, stride], padded with zeros. */
static void transpose_keys(const float *from, int64_t from_stride, int64_t length, int64_t head_dim, float *keys,
                           int64_t stride) {
    for (int64_t k = 0; k < stride; k += WIDTH)
        for (int64_t d = 0; d < head_dim; d += WIDTH) {
            vec block[WIDTH];
            UNROLL for (int i = 0; i < WIDTH; i++)
                block[i] = k + i < length ? load(from + (k + i) * from_stride + d) : (vec){0};
            transpose(block);
            UNROLL for (int i = 0; i < WIDTH; i++) store(keys + (d + i) * stride + k, block[i]);
        }
}

/* The scratch memory that millpond_attention needs per thread, in bytes. */
int64_t millpond_attention_scratch(int64_t length, int64_t head_dim) {
    return sizeof(float) * (head_dim * (round_up_to_vectors(length) + length) + ROWS * round_up_to_vectors(length));
}

/* Prefetch the rows of a head. */
INLINE void fetch(const float *rows, int64_t stride, int64_t length, int64_t head_dim) {
    for (int64_t row = 0; row < length; row++)
        for (int64_t d = 0; d < head_dim; d += 16) __builtin_prefetch(rows + row * stride + d, 0, 2);
}

/* Consecutive sequences of equal length. */
struct sequences {
    const float *query, *key, *value, *bias;
    int64_t query_stride, key_stride, value_stride, length, attended, heads, kv_heads, head_dim, bias_stride;
    float scale, *output;
    char *scratch;
};

/* Attention of some key-value heads, numbered across all sequences, and the query heads that share them: their keys and
 * values stay in the cache. */
static void attend(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct sequences *s = job;
    const int64_t shared = s->heads / s->kv_heads, length = s->length, attended = s->attended, head_dim = s->head_dim;
    const int64_t stride = round_up_to_vectors(attended), output_stride = s->heads * head_dim;
    float *keys = (float *)(s->scratch + thread * millpond_attention_scratch(length, head_dim));
    float *values = keys + head_dim * stride;
    struct attention a = {.keys = keys, .values = values, .query_stride = s->query_stride,
                          .output_stride = output_stride, .rows = length, .length = attended, .stride = stride,
                          .head_dim = head_dim, .scale = s->scale * LOG2_E, .scores = values + head_dim * attended};
    for (int64_t kv_head = start; kv_head < stop; kv_head++) {
        const int64_t token = kv_head / s->kv_heads * length, column = kv_head % s->kv_heads * head_dim;
        transpose_keys(s->key + token * s->key_stride + column, s->key_stride, attended, head_dim, keys, stride);
        for (int64_t k = 0; k < attended; k++)
            memcpy(values + k * head_dim, s->value + (token + k) * s->value_stride + column, sizeof(float) * head_dim);
        if (kv_head + 1 < stop) { /* the hardware prefetcher does not detect such a large stride */
            const int64_t next_token = (kv_head + 1) / s->kv_heads * length;
            const int64_t next_column = (kv_head + 1) % s->kv_heads * head_dim;
            fetch(s->query + next_token * s->query_stride + next_column * shared, s->query_stride, length, head_dim);
            fetch(s->key + next_token * s->key_stride + next_column, s->key_stride, attended, head_dim);
            fetch(s->value + next_token * s->value_stride + next_column, s->value_stride, attended, head_dim);
        }
        for (int64_t head = 0; head < shared; head++) {
            a.query = s->query + token * s->query_stride + column * shared + head * head_dim;
            a.output = s->output + token * output_stride + column * shared + head * head_dim;
            if (s->bias)
                a.bias = s->bias + (kv_head % s->kv_heads * shared + head) * s->bias_stride + s->bias_stride / 2;
            attend_head(&a);
        }
    }
}

/* Attention of consecutive sequences of equal length.
 *
 * query, key, value: one row per token with adjacent heads and a row stride of `*_stride` floats; head_dim is a
 * multiple of WIDTH. output: [sequences * length, heads, head_dim], contiguous. scratch: millpond_attention_scratch()
 * bytes per thread. attended: the number of keys at the start of each sequence that are not masked. bias:
 * [heads, bias_stride], added to scaled products, with distance 0 in the middle, followed by later keys; or NULL.
 */
void millpond_attention(const float *query, const float *key, const float *value, int64_t query_stride,
                        int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                        int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch, int64_t threads,
                        int64_t attended, const float *bias, int64_t bias_stride) {
    const struct sequences all = {.query = query, .key = key, .value = value, .query_stride = query_stride,
                                  .key_stride = key_stride, .value_stride = value_stride, .length = length,
                                  .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .scale = scale,
                                  .output = output, .scratch = scratch, .attended = attended, .bias = bias,
                                  .bias_stride = bias_stride};
    millpond_in_parts(attend, &all, sequences * kv_heads,
                      part_size(2 * length * attended * head_dim * heads / kv_heads, MIN_PART_MACS), threads);
}
