/* Bidirectional attention in 8-bit integers, for each head of each sequence separately. Queries and keys have one scale
 * each, values have one per column, and softmax weights are scaled so that the maximum of a row is 255. Sums of
 * products are exact integers. */

#include "bytes.h"
#include "ops.h"
#include "pool.h"

#if WIDTH == 16

enum {
    OFFSET = 128, /* added to the integers of queries, because one factor must be unsigned */
    MAX_INT8 = 127,
    MIN_PART_MACS = 1 << 16, /* multiply-add operations per part: some microseconds of work */
};

/* One head of one sequence. `stride` is `length` rounded up to a multiple of WIDTH. */
struct head {
    int64_t length, stride, head_dim;
    uint8_t *queries;         /* [length, head_dim] */
    int32_t *keys, *key_sums; /* [head_dim / 4, stride]: four bytes of a key per lane; [stride]: times the offset */
    int32_t *values;          /* [stride / 4, head_dim]: the bytes of four keys per lane */
    float *value_scales;      /* [head_dim] */
    float scale, *scores;     /* score = product * scale; [ROWS, stride] */
    uint8_t *weights;         /* [ROWS, stride] */
};

/* The scale for a maximum magnitude; NaN if it is not finite. */
INLINE vec scale_of(vec max) { return max / MAX_INT8 + max * 0; }

/* The divisor of rows for which the maximum magnitude becomes MAX_INT8; NaN for NaN and infinity. */
INLINE float scale_of_rows(const float *rows, int64_t stride, int64_t length, int64_t head_dim) {
    ivec max = (ivec)splat(1e-30f);
    for (int64_t row = 0; row < length; row++)
        for (int64_t d = 0; d < head_dim; d += WIDTH) max = max_magnitude(max, load(rows + row * stride + d));
    return scale_of((vec)((ivec){0} + (int32_t)_mm512_reduce_max_epu32((__m512i)max)))[0];
}

/* Return the scale, like quantize_keys. */
static float quantize_queries(const float *rows, int64_t rows_stride, const struct head *h) {
    const float scale = scale_of_rows(rows, rows_stride, h->length, h->head_dim), inverse = 1.0f / scale;
    for (int64_t row = 0; row < h->length; row++)
        for (int64_t d = 0; d < h->head_dim; d += WIDTH)
            store_bytes(h->queries + row * h->head_dim + d,
                        nearest(load(rows + row * rows_stride + d) * inverse) + OFFSET);
    return scale;
}

static float quantize_keys(const float *rows, int64_t rows_stride, const struct head *h) {
    const float scale = scale_of_rows(rows, rows_stride, h->length, h->head_dim), inverse = 1.0f / scale;
    for (int64_t k = 0; k < h->stride; k++)
        for (int64_t d = 0; d < h->head_dim; d += WIDTH) {
            int32_t lanes_of_key[WIDTH / BYTES_PER_LANE] = {0};
            if (k < h->length)
                store_bytes((uint8_t *)lanes_of_key, nearest(load(rows + k * rows_stride + d) * inverse));
            for (int i = 0; i < WIDTH / BYTES_PER_LANE; i++)
                h->keys[(d / BYTES_PER_LANE + i) * h->stride + k] = lanes_of_key[i];
        }
    for (int64_t k = 0; k < h->stride; k += WIDTH) {
        ivec sums = {0};
        for (int64_t d = 0; d < h->head_dim / BYTES_PER_LANE; d++)
            ADD_PRODUCTS(sums, (ivec){0} + 0x01010101, load_int(h->keys + d * h->stride + k));
        sums *= OFFSET;
        memcpy(h->key_sums + k, &sums, sizeof sums);
    }
    return scale;
}

static void quantize_values(const float *rows, int64_t rows_stride, const struct head *h) {
    for (int64_t d = 0; d < h->head_dim; d += WIDTH) {
        ivec max = (ivec)splat(1e-30f);
        for (int64_t k = 0; k < h->length; k++) max = max_magnitude(max, load(rows + k * rows_stride + d));
        const vec scale = scale_of((vec)max), inverse = 1.0f / scale;
        store(h->value_scales + d, scale);
        for (int64_t k = 0; k < h->stride; k += BYTES_PER_LANE) {
            ivec packed = {0};
            UNROLL for (int i = 0; i < BYTES_PER_LANE; i++) {
                if (k + i >= h->length) continue;
                packed |= (nearest(load(rows + (k + i) * rows_stride + d) * inverse) & 255) << (8 * i);
            }
            memcpy(h->values + k / BYTES_PER_LANE * h->head_dim + d, &packed, sizeof packed);
        }
    }
}

/* Scores of `rows` queries, starting at `query`, and `vectors` vectors of keys. */
INLINE void score_tile(const struct head *h, int64_t query, int64_t key, int rows, int vectors) {
    ivec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (ivec){0};
    for (int64_t d = 0; d < h->head_dim / BYTES_PER_LANE; d++) {
        ivec keys[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++) keys[c] = load_int(h->keys + d * h->stride + key + c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec bytes_of_query = splat_bytes(h->queries + (query + r) * h->head_dim + BYTES_PER_LANE * d);
            UNROLL for (int c = 0; c < vectors; c++) ADD_PRODUCTS(sums[r][c], bytes_of_query, keys[c]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < vectors; c++) {
            const ivec exact = sums[r][c] - load_int(h->key_sums + key + c * WIDTH);
            store(h->scores + r * h->stride + key + c * WIDTH, __builtin_convertvector(exact, vec) * h->scale);
        }
}

INLINE void score(const struct head *h, int64_t query, int rows) {
    int64_t key = 0;
    for (; key + COLUMNS * WIDTH <= h->stride; key += COLUMNS * WIDTH) score_tile(h, query, key, rows, COLUMNS);
    const int64_t vectors = (h->stride - key) / WIDTH;
    if (vectors == 1) score_tile(h, query, key, rows, 1);
    if (vectors == 2) score_tile(h, query, key, rows, 2);
    if (vectors == 3) score_tile(h, query, key, rows, 3);
}

/* 255 * 2^x for x <= 0, rounded: 2^floor(x) times a minimax polynomial for the fraction. Its relative error is 8e-5, or
 * 2% of a quantization step. */
INLINE ivec weight_of(vec x) {
    const vec rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    vec series = splat(19.8962510f);
    series = series * rest + 57.6471278f;
    series = series * rest + 177.437552f;
    series = series * rest + 254.980931f;
    return nearest(_mm512_scalef_ps(series, x));
}

/* Convert the scores of a row to weights from 0 to 255; return the sum of the weights. */
INLINE float quantized_softmax(const float *scores, uint8_t *weights, int64_t length, int64_t stride) {
    const int64_t last = stride - WIDTH;
    const ivec valid = lanes() < (int32_t)(length - last);
    vec highest = blend(valid, load(scores + last), splat(-INFINITY));
    for (int64_t k = 0; k < last; k += WIDTH) highest = maximum(highest, load(scores + k));
    const float shift = max_of(highest);
    ivec weight = weight_of(load(scores + last) - shift) & valid, total = weight;
    store_bytes(weights + last, weight);
    for (int64_t k = 0; k < last; k += WIDTH) {
        weight = weight_of(load(scores + k) - shift);
        store_bytes(weights + k, weight);
        total += weight;
    }
    return sum_of(__builtin_convertvector(total, vec));
}

/* Products of `rows` rows of weights and the values: `vectors` vectors of the output. */
INLINE void mix_tile(const struct head *h, const float *shares, int64_t d, float *output, int64_t output_stride,
                     int rows, int vectors) {
    ivec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (ivec){0};
    for (int64_t k = 0; k < h->length; k += BYTES_PER_LANE) {
        ivec values[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++)
            values[c] = load_int(h->values + k / BYTES_PER_LANE * h->head_dim + d + c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec weight = splat_bytes(h->weights + r * h->stride + k);
            UNROLL for (int c = 0; c < vectors; c++) ADD_PRODUCTS(sums[r][c], weight, values[c]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < vectors; c++) {
            const vec exact = __builtin_convertvector(sums[r][c], vec) * load(h->value_scales + d + c * WIDTH);
            store(output + r * output_stride + d + c * WIDTH, exact * shares[r]);
        }
}

INLINE void attend_rows(const struct head *h, int64_t row, float *output, int64_t output_stride, int rows) {
    const float nonfinite = h->scale * 0; /* NaN if an input was not finite: integers cannot represent it */
    float shares[ROWS];
    score(h, row, rows);
    UNROLL for (int r = 0; r < rows; r++)
        shares[r] = nonfinite + 1.0f / quantized_softmax(h->scores + r * h->stride, h->weights + r * h->stride,
                                                         h->length, h->stride);
    int64_t d = 0;
    for (; d + 2 * WIDTH <= h->head_dim; d += 2 * WIDTH)
        mix_tile(h, shares, d, output + row * output_stride, output_stride, rows, 2);
    if (d < h->head_dim) mix_tile(h, shares, d, output + row * output_stride, output_stride, rows, 1);
}

static void attend_head(const struct head *h, float *output, int64_t output_stride) {
    int64_t row = 0;
    for (; row + ROWS <= h->length; row += ROWS) attend_rows(h, row, output, output_stride, ROWS);
    for (; row + 2 <= h->length; row += 2) attend_rows(h, row, output, output_stride, 2);
    if (row < h->length) attend_rows(h, row, output, output_stride, 1);
}

/* The scratch memory that millpond_attention_int8 needs per thread, in bytes; keeps the alignment of its arrays. */
int64_t millpond_attention_int8_scratch(int64_t length, int64_t head_dim) {
    const int64_t stride = round_up_to_vectors(length);
    const int64_t lanes_per_thread = 2 * stride * head_dim / BYTES_PER_LANE + stride + head_dim + ROWS * stride;
    return sizeof(float) * lanes_per_thread + length * head_dim + ROWS * stride;
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
    struct head h = {.length = length, .stride = stride, .head_dim = head_dim};
    h.keys = (int32_t *)(s->scratch + thread * millpond_attention_int8_scratch(length, head_dim));
    h.key_sums = h.keys + stride * head_dim / BYTES_PER_LANE;
    h.values = h.key_sums + stride;
    h.value_scales = (float *)(h.values + stride * head_dim / BYTES_PER_LANE);
    h.scores = h.value_scales + head_dim;
    h.queries = (uint8_t *)(h.scores + ROWS * stride);
    h.weights = h.queries + length * head_dim;
    for (int64_t kv_head = start; kv_head < stop; kv_head++) {
        const int64_t token = kv_head / s->kv_heads * length, column = kv_head % s->kv_heads * head_dim;
        const float key_scale = quantize_keys(s->key + token * s->key_stride + column, s->key_stride, &h);
        quantize_values(s->value + token * s->value_stride + column, s->value_stride, &h);
        for (int64_t head = 0; head < shared; head++) {
            const int64_t offset = column * shared + head * head_dim;
            const float *query = s->query + token * s->query_stride + offset;
            const float query_scale = quantize_queries(query, s->query_stride, &h);
            /* log2(e), because weight_of computes powers of two */
            h.scale = query_scale * key_scale * s->scale * 1.44269504088896341f;
            attend_head(&h, s->output + token * output_stride + offset, output_stride);
        }
    }
}

/* Like millpond_attention; scratch: millpond_attention_int8_scratch() bytes per thread. */
void millpond_attention_int8(const float *query, const float *key, const float *value, int64_t query_stride,
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
