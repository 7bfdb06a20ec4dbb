/* Bidirectional attention with products in bfloat16, for each head of each sequence separately. Queries, keys, values
 * and softmax weights are rounded to bfloat16; products are added, and the softmax is computed, in single precision. */

#include "bf16.h"
#include "ops.h"
#include "pool.h"

#ifdef HAS_BF16_PRODUCTS

enum { MIN_PART_MACS = 1 << 16 }; /* multiply-add operations per part: some microseconds of work */

/* One head of one sequence. `stride` is `length` rounded up to a multiple of WIDTH. */
struct head {
    int64_t length, stride, head_dim;
    uint16_t *queries, *weights; /* [length, head_dim]; [ROWS, stride] */
    ivec *keys, *values;         /* [head_dim / 2, stride]: two values of a key per lane; [stride / 2, head_dim] */
    float scale, *scores;        /* [ROWS, stride]; the scale includes log2(e), because softmax uses powers of two */
};

/* Two vectors as one vector of lanes with two values. */
INLINE ivec pair(vec first, vec second) { return round_to_bf16(first) | round_to_bf16(second) << 16; }

static void round_queries(const float *rows, int64_t rows_stride, const struct head *h) {
    for (int64_t row = 0; row < h->length; row++)
        for (int64_t d = 0; d < h->head_dim; d += WIDTH)
            store_bf16(h->queries + row * h->head_dim + d, load(rows + row * rows_stride + d));
}

static void transpose_keys(const float *rows, int64_t rows_stride, const struct head *h) {
    for (int64_t k = 0; k < h->stride; k += WIDTH)
        for (int64_t d = 0; d < h->head_dim; d += WIDTH) {
            vec block[WIDTH];
            UNROLL for (int i = 0; i < WIDTH; i++)
                block[i] = k + i < h->length ? load(rows + (k + i) * rows_stride + d) : (vec){0};
            transpose(block);
            UNROLL for (int i = 0; i < WIDTH; i += 2)
                h->keys[((d + i) / 2 * h->stride + k) / WIDTH] = pair(block[i], block[i + 1]);
        }
}

static void pair_values(const float *rows, int64_t rows_stride, const struct head *h) {
    for (int64_t k = 0; k < h->stride; k += 2)
        for (int64_t d = 0; d < h->head_dim; d += WIDTH) {
            const vec first = k < h->length ? load(rows + k * rows_stride + d) : (vec){0};
            const vec second = k + 1 < h->length ? load(rows + (k + 1) * rows_stride + d) : (vec){0};
            h->values[(k / 2 * h->head_dim + d) / WIDTH] = pair(first, second);
        }
}

/* Scores of `rows` queries, starting at `query`, and `vectors` vectors of keys. */
INLINE void score_tile(const struct head *h, int64_t query, int64_t key, int rows, int vectors) {
    vec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (vec){0};
    for (int64_t d = 0; d < h->head_dim; d += 2) {
        ivec keys[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++) keys[c] = h->keys[(d / 2 * h->stride + key) / WIDTH + c];
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec values = splat_bf16(h->queries + (query + r) * h->head_dim + d);
            UNROLL for (int c = 0; c < vectors; c++) ADD_BF16_PRODUCTS(sums[r][c], values, keys[c]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < vectors; c++)
            store(h->scores + r * h->stride + key + c * WIDTH, sums[r][c] * h->scale);
}

INLINE void score(const struct head *h, int64_t query, int rows) {
    int64_t key = 0;
    for (; key + COLUMNS * WIDTH <= h->stride; key += COLUMNS * WIDTH) score_tile(h, query, key, rows, COLUMNS);
    const int64_t vectors = (h->stride - key) / WIDTH;
    if (vectors == 1) score_tile(h, query, key, rows, 1);
    if (vectors == 2) score_tile(h, query, key, rows, 2);
    if (vectors == 3) score_tile(h, query, key, rows, 3);
}

/* Round the numerator of the softmax, store it, and return what was stored. */
INLINE vec store_weight(uint16_t *to, vec weight) {
    store_bf16(to, weight);
    return (vec)(round_to_bf16(weight) << 16);
}

/* The numerators of the softmax of a row; return the denominator. */
INLINE float exponentiate(const float *scores, uint16_t *weights, int64_t length, int64_t stride) {
    const int64_t last = stride - WIDTH;
    const ivec valid = lanes() < (int32_t)(length - last);
    vec rest = blend(valid, load(scores + last), splat(-INFINITY)), highest = rest;
    for (int64_t k = 0; k < last; k += WIDTH) highest = maximum(load(scores + k), highest);
    const float shift = max_of(highest);
    vec total = store_weight(weights + last, (vec)((ivec)power_of_two(rest - shift) & valid));
    for (int64_t k = 0; k < last; k += WIDTH)
        total += store_weight(weights + k, power_of_two(load(scores + k) - shift));
    return sum_of(total);
}

/* Products of `rows` rows of weights and the values: `vectors` vectors of the output. */
INLINE void mix_tile(const struct head *h, const float *totals, int64_t d, float *output, int64_t output_stride,
                     int rows, int vectors) {
    vec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (vec){0};
    for (int64_t k = 0; k < h->length; k += 2) {
        ivec values[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++) values[c] = h->values[(k / 2 * h->head_dim + d) / WIDTH + c];
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec weight = splat_bf16(h->weights + r * h->stride + k);
            UNROLL for (int c = 0; c < vectors; c++) ADD_BF16_PRODUCTS(sums[r][c], weight, values[c]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        const float share = 1.0f / totals[r];
        UNROLL for (int c = 0; c < vectors; c++) store(output + r * output_stride + d + c * WIDTH, sums[r][c] * share);
    }
}

INLINE void attend_rows(const struct head *h, int64_t row, float *output, int64_t output_stride, int rows) {
    float totals[ROWS];
    score(h, row, rows);
    UNROLL for (int r = 0; r < rows; r++)
        totals[r] = exponentiate(h->scores + r * h->stride, h->weights + r * h->stride, h->length, h->stride);
    int64_t d = 0;
    for (; d + 2 * WIDTH <= h->head_dim; d += 2 * WIDTH)
        mix_tile(h, totals, d, output + row * output_stride, output_stride, rows, 2);
    if (d < h->head_dim) mix_tile(h, totals, d, output + row * output_stride, output_stride, rows, 1);
}

static void attend_head(const struct head *h, float *output, int64_t output_stride) {
    int64_t row = 0;
    for (; row + ROWS <= h->length; row += ROWS) attend_rows(h, row, output, output_stride, ROWS);
    for (; row + 2 <= h->length; row += 2) attend_rows(h, row, output, output_stride, 2);
    if (row < h->length) attend_rows(h, row, output, output_stride, 1);
}

/* The scratch memory that millpond_attention_bf16 needs per thread, in bytes; keeps the alignment of its arrays. */
int64_t millpond_attention_bf16_scratch(int64_t length, int64_t head_dim) {
    const int64_t stride = round_up_to_vectors(length), alignment = sizeof(vec);
    const int64_t lanes_per_thread = stride * head_dim + ROWS * stride;
    const int64_t halves_per_thread = length * head_dim + ROWS * stride;
    const int64_t bytes = 4 * lanes_per_thread + 2 * halves_per_thread + alignment;
    return (bytes + alignment - 1) / alignment * alignment;
}

/* Consecutive sequences of equal length. */
struct sequences {
    const float *query, *key, *value;
    int64_t query_stride, key_stride, value_stride, length, heads, kv_heads, head_dim;
    float scale, *output;
    char *scratch;
};

/* Attention of some key-value heads, numbered across all sequences, and the query heads that share them. */
static void attend(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct sequences *s = job;
    const int64_t shared = s->heads / s->kv_heads, length = s->length, head_dim = s->head_dim;
    const int64_t stride = round_up_to_vectors(length), output_stride = s->heads * head_dim;
    const uintptr_t memory = (uintptr_t)s->scratch + thread * millpond_attention_bf16_scratch(length, head_dim);
    struct head h = {.length = length, .stride = stride, .head_dim = head_dim};
    h.keys = (ivec *)((memory + sizeof(vec) - 1) / sizeof(vec) * sizeof(vec));
    h.values = h.keys + stride * head_dim / 2 / WIDTH;
    h.scores = (float *)(h.values + stride * head_dim / 2 / WIDTH);
    h.queries = (uint16_t *)(h.scores + ROWS * stride);
    h.weights = h.queries + length * head_dim;
    h.scale = s->scale * 1.44269504088896341f;
    for (int64_t kv_head = start; kv_head < stop; kv_head++) {
        const int64_t token = kv_head / s->kv_heads * length, column = kv_head % s->kv_heads * head_dim;
        transpose_keys(s->key + token * s->key_stride + column, s->key_stride, &h);
        pair_values(s->value + token * s->value_stride + column, s->value_stride, &h);
        for (int64_t head = 0; head < shared; head++) {
            const int64_t offset = column * shared + head * head_dim;
            round_queries(s->query + token * s->query_stride + offset, s->query_stride, &h);
            attend_head(&h, s->output + token * output_stride + offset, output_stride);
        }
    }
}

/* Like millpond_attention; scratch: millpond_attention_bf16_scratch() bytes per thread. */
void millpond_attention_bf16(const float *query, const float *key, const float *value, int64_t query_stride,
                             int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                             int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch,
                             int64_t threads) {
    const struct sequences all = {.query = query, .key = key, .value = value, .query_stride = query_stride,
                                  .key_stride = key_stride, .value_stride = value_stride, .length = length,
                                  .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .scale = scale,
                                  .output = output, .scratch = scratch};
    millpond_in_parts(attend, &all, sequences * kv_heads,
                      part_size(2 * length * length * head_dim * heads / kv_heads, MIN_PART_MACS), threads);
}

#endif
