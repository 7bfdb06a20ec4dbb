/* Bidirectional attention in 8-bit integers, each head of each sequence on its own: queries and keys have one scale each,
 * values one a column, and the weights of the softmax are such that the largest of a row is 255. Sums of products are
 * exact integers. */

#include "bytes.h"
#include "ops.h"
#include "pool.h"

#if WIDTH == 16

enum {
    OFFSET = 128, /* a query's byte is its integer plus the offset: one factor must be unsigned */
    LARGEST = 127,
    LEAST = 1 << 16, /* multiply-and-adds of a part, some microseconds */
};

/* One head of one sequence. `length` is what there is, `stride` that rounded up to whole vectors of keys. */
struct head {
    int64_t length, stride, head_dim;
    uint8_t *queries;         /* [length, head_dim] */
    int32_t *keys, *key_sums; /* [head_dim / 4, stride]: four bytes of a key in a lane; [stride]: times the offset */
    int32_t *values;          /* [stride / 4, head_dim]: the bytes of four keys in a lane */
    float *value_scales;      /* [head_dim] */
    float scale, *scores;     /* what makes scores of products; [ROWS, stride] */
    uint8_t *weights;         /* [ROWS, stride] */
};

/* The scale of the largest magnitude; NaN of what is not finite. */
INLINE vec scale_of(vec most) { return most / LARGEST + most * 0; }

/* What rows are divided by, so that the largest magnitude is LARGEST. NaN and infinity give NaN. */
INLINE float scale_of_rows(const float *rows, int64_t stride, int64_t length, int64_t head_dim) {
    ivec most = (ivec)splat(1e-30f);
    for (int64_t row = 0; row < length; row++)
        for (int64_t d = 0; d < head_dim; d += WIDTH) most = larger_magnitude(most, load(rows + row * stride + d));
    return scale_of((vec)((ivec){0} + (int32_t)_mm512_reduce_max_epu32((__m512i)most)))[0];
}

/* Returns the scale, as the next function. */
static float quantise_queries(const float *rows, int64_t rows_stride, const struct head *h) {
    const float scale = scale_of_rows(rows, rows_stride, h->length, h->head_dim), inverse = 1.0f / scale;
    for (int64_t row = 0; row < h->length; row++)
        for (int64_t d = 0; d < h->head_dim; d += WIDTH)
            store_bytes(h->queries + row * h->head_dim + d,
                        nearest(load(rows + row * rows_stride + d) * inverse) + OFFSET);
    return scale;
}

static float quantise_keys(const float *rows, int64_t rows_stride, const struct head *h) {
    const float scale = scale_of_rows(rows, rows_stride, h->length, h->head_dim), inverse = 1.0f / scale;
    for (int64_t k = 0; k < h->stride; k++)
        for (int64_t d = 0; d < h->head_dim; d += WIDTH) {
            int32_t fours[WIDTH / FOUR] = {0};
            if (k < h->length)
                store_bytes((uint8_t *)fours, nearest(load(rows + k * rows_stride + d) * inverse));
            for (int i = 0; i < WIDTH / FOUR; i++) h->keys[(d / FOUR + i) * h->stride + k] = fours[i];
        }
    for (int64_t k = 0; k < h->stride; k += WIDTH) {
        ivec sums = {0};
        for (int64_t d = 0; d < h->head_dim / FOUR; d++)
            ADD_PRODUCTS(sums, (ivec){0} + 0x01010101, load_int(h->keys + d * h->stride + k));
        sums *= OFFSET;
        memcpy(h->key_sums + k, &sums, sizeof sums);
    }
    return scale;
}

static void quantise_values(const float *rows, int64_t rows_stride, const struct head *h) {
    for (int64_t d = 0; d < h->head_dim; d += WIDTH) {
        ivec most = (ivec)splat(1e-30f);
        for (int64_t k = 0; k < h->length; k++) most = larger_magnitude(most, load(rows + k * rows_stride + d));
        const vec scale = scale_of((vec)most), inverse = 1.0f / scale;
        store(h->value_scales + d, scale);
        for (int64_t k = 0; k < h->stride; k += FOUR) {
            ivec four = {0};
            UNROLL for (int i = 0; i < FOUR; i++) {
                if (k + i >= h->length) continue;
                four |= (nearest(load(rows + (k + i) * rows_stride + d) * inverse) & 255) << (8 * i);
            }
            memcpy(h->values + k / FOUR * h->head_dim + d, &four, sizeof four);
        }
    }
}

/* `rows` queries from `query` on against `vectors` vectors of keys. */
INLINE void score_tile(const struct head *h, int64_t query, int64_t key, int rows, int vectors) {
    ivec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (ivec){0};
    for (int64_t d = 0; d < h->head_dim / FOUR; d++) {
        ivec keys[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++) keys[c] = load_int(h->keys + d * h->stride + key + c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec bytes_of_query = splat_four(h->queries + (query + r) * h->head_dim + FOUR * d);
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

/* 255 * 2^x for x <= 0, rounded: 2^floor(x) times a polynomial for the rest, fitted for the least relative error, which
 * is 8e-5, a fiftieth of a step. */
INLINE ivec weight_of(vec x) {
    const vec rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    vec series = splat(19.8962510f);
    series = series * rest + 57.6471278f;
    series = series * rest + 177.437552f;
    series = series * rest + 254.980931f;
    return nearest(_mm512_scalef_ps(series, x));
}

/* Scores of one row -> weights from 0 to 255; returns the sum of these. */
INLINE float weigh(const float *scores, uint8_t *weights, int64_t length, int64_t stride) {
    const int64_t last = stride - WIDTH;
    const ivec real = lanes() < (int32_t)(length - last);
    vec highest = choose(real, load(scores + last), splat(-INFINITY));
    for (int64_t k = 0; k < last; k += WIDTH) highest = larger(highest, load(scores + k));
    const float shift = largest_of(highest);
    ivec weight = weight_of(load(scores + last) - shift) & real, total = weight;
    store_bytes(weights + last, weight);
    for (int64_t k = 0; k < last; k += WIDTH) {
        weight = weight_of(load(scores + k) - shift);
        store_bytes(weights + k, weight);
        total += weight;
    }
    return sum_of(__builtin_convertvector(total, vec));
}

/* `rows` rows of weights times the values: `vectors` vectors of the output. */
INLINE void mix_tile(const struct head *h, const float *shares, int64_t d, float *output, int64_t output_stride,
                     int rows, int vectors) {
    ivec sums[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < vectors; c++) sums[r][c] = (ivec){0};
    for (int64_t k = 0; k < h->length; k += FOUR) {
        ivec values[COLUMNS];
        UNROLL for (int c = 0; c < vectors; c++)
            values[c] = load_int(h->values + k / FOUR * h->head_dim + d + c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec weight = splat_four(h->weights + r * h->stride + k);
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
    const float spoilt = h->scale * 0; /* no integer tells of a NaN: the scale does */
    float shares[ROWS];
    score(h, row, rows);
    UNROLL for (int r = 0; r < rows; r++)
        shares[r] = 1.0f / weigh(h->scores + r * h->stride, h->weights + r * h->stride, h->length, h->stride) + spoilt;
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

/* How many bytes of scratch millpond_attention_int8 needs for a thread; a multiple of what its numbers are aligned to. */
int64_t millpond_attention_int8_scratch(int64_t length, int64_t head_dim) {
    const int64_t stride = whole_vectors(length);
    return sizeof(float) * (2 * stride * head_dim / FOUR + stride + head_dim + ROWS * stride) + length * head_dim +
           ROWS * stride;
}

/* Sequences of one length that lie end to end. */
struct sequences {
    const float *query, *key, *value;
    int64_t query_stride, key_stride, value_stride, length, heads, kv_heads, head_dim;
    float scale, *output;
    char *scratch;
};

/* Some heads' keys and values, counted over all sequences, with the queries that share them. */
static void attend(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct sequences *s = job;
    const int64_t shared = s->heads / s->kv_heads, length = s->length, head_dim = s->head_dim;
    const int64_t stride = whole_vectors(length), output_stride = s->heads * head_dim;
    struct head h = {.length = length, .stride = stride, .head_dim = head_dim};
    h.keys = (int32_t *)(s->scratch + thread * millpond_attention_int8_scratch(length, head_dim));
    h.key_sums = h.keys + stride * head_dim / FOUR;
    h.values = h.key_sums + stride;
    h.value_scales = (float *)(h.values + stride * head_dim / FOUR);
    h.scores = h.value_scales + head_dim;
    h.queries = (uint8_t *)(h.scores + ROWS * stride);
    h.weights = h.queries + length * head_dim;
    for (int64_t place = start; place < stop; place++) {
        const int64_t token = place / s->kv_heads * length, column = place % s->kv_heads * head_dim;
        const float key_scale = quantise_keys(s->key + token * s->key_stride + column, s->key_stride, &h);
        quantise_values(s->value + token * s->value_stride + column, s->value_stride, &h);
        for (int64_t head = 0; head < shared; head++) {
            const int64_t own = column * shared + head * head_dim;
            const float query_scale = quantise_queries(s->query + token * s->query_stride + own, s->query_stride, &h);
            h.scale = query_scale * key_scale * s->scale * 1.44269504088896341f; /* log2(e): powers are those of two */
            attend_head(&h, s->output + token * output_stride + own, output_stride);
        }
    }
}

/* As millpond_attention; scratch: millpond_attention_int8_scratch() bytes for each thread. */
void millpond_attention_int8(const float *query, const float *key, const float *value, int64_t query_stride,
                             int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                             int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch,
                             int64_t threads) {
    const struct sequences all = {.query = query, .key = key, .value = value, .query_stride = query_stride,
                                  .key_stride = key_stride, .value_stride = value_stride, .length = length,
                                  .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .scale = scale,
                                  .output = output, .scratch = scratch};
    millpond_in_parts(attend, &all, sequences * kv_heads,
                      part_size(2 * length * length * head_dim * heads / kv_heads, LEAST), threads);
}

#endif
