/* CPU kernels in single precision: attention of short sequences, bias + GELU, and bias + residual + LayerNorm.
 *
 * Each function works on one thread; callers run several at once on data of their own. The build compiles this file once
 * for AVX-512 and once for AVX2, with WIDTH floats in a vector (see LEVELS in hatch_build.py); one of them is loaded.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef WIDTH
#define WIDTH 8
#endif
#define INLINE static inline __attribute__((always_inline))

/* Rows and vectors of columns that are computed together: what the registers hold. */
enum { ROWS = 4, COLUMNS = WIDTH == 16 ? 4 : 2, WIDEST = 16 };

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH)));
typedef float quarter __attribute__((vector_size(16)));

INLINE vec load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *to, vec value) { memcpy(to, &value, sizeof value); }

INLINE vec splat(float value) { return (vec){0} + value; }

/* The lanes of one where the mask is set, of the other elsewhere. */
INLINE vec choose(ivec mask, vec one, vec other) { return (vec)(((ivec)one & mask) | ((ivec)other & ~mask)); }

/* NaN stays NaN. */
INLINE vec between(vec value, float lowest, float highest) {
    value = choose(value > highest, splat(highest), value);
    return choose(value < lowest, splat(lowest), value);
}

INLINE float sum_of(vec value) {
    quarter parts[WIDTH / 4];
    memcpy(parts, &value, sizeof value);
    for (int part = 1; part < WIDTH / 4; part++) parts[0] += parts[part];
    return (parts[0][0] + parts[0][1]) + (parts[0][2] + parts[0][3]);
}

INLINE float larger(float one, float other) { return one > other ? one : other; }

INLINE float largest_of(vec value) {
    quarter parts[WIDTH / 4];
    memcpy(parts, &value, sizeof value);
    float most = -INFINITY;
    for (int lane = 0; lane < 4; lane++) {
        float largest = parts[0][lane];
        for (int part = 1; part < WIDTH / 4; part++) largest = larger(parts[part][lane], largest);
        most = larger(largest, most);
    }
    return most;
}

/* exp(x) for x <= 0, as 2^n * exp(r) with |r| <= ln(2) / 2 and the Taylor series of exp to the seventh power: its error
 * is below that of rounding. Below -87 it stays at 1.6e-38, the least of normal numbers. NaN stays NaN. */
INLINE vec exp_of_negative(vec x) {
    const vec shifter = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer, in the low bits */
    vec clamped = choose(x < -87.0f, splat(-87.0f), x);
    vec n = clamped * 1.44269504088896341f + shifter;
    vec power = (vec)(((ivec)n + 127) << 23);
    n -= shifter;
    vec r = clamped - n * 0.693359375f; /* ln(2) in two parts, the first exact in few bits */
    r = r + n * 2.12194440e-4f;
    vec series = splat(1.0f / 5040.0f);
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    return series * power;
}

/* The error function as x * P(x^2) / Q(x^2), fitted by least squares on |x| <= 3.9, beyond which it is 1 in single
 * precision. The fit is off by 4e-8, rounding by 4e-7 at most. */
INLINE vec error_function(vec x) {
    vec inside = between(x, -3.9f, 3.9f);
    vec t = inside * inside;
    vec p = splat(2.011217223868312e-08f);
    p = p * t - 1.9966933079803714e-06f;
    p = p * t + 0.00014749769484353946f;
    p = p * t + 0.0038978119868550653f;
    p = p * t + 0.051154159618875976f;
    p = p * t + 0.2042648106279829f;
    p = p * t + 1.1283788002572488f;
    vec q = splat(0.0010069274740613177f);
    q = q * t + 0.014733794995733383f;
    q = q * t + 0.11680195966485352f;
    q = q * t + 0.5143539919463479f;
    q = q * t + 1.0f;
    /* One rounding more than 1, so that what is 1 in exact arithmetic is cut to exactly 1. */
    return between(inside * p / q * 1.00000012f, -1.0f, 1.0f);
}

/* x = GELU(x + bias) in place; x is [rows, columns] without gaps, bias [columns]. */
void millpond_bias_gelu(float *x, const float *bias, int64_t rows, int64_t columns) {
    for (int64_t row = 0; row < rows; row++, x += columns) {
        int64_t column = 0;
        for (; column + WIDTH <= columns; column += WIDTH) {
            vec value = load(x + column) + load(bias + column);
            store(x + column, 0.5f * value * (1.0f + error_function(value * 0.70710678118654752f)));
        }
        for (; column < columns; column++) {
            float value = x[column] + bias[column];
            x[column] = 0.5f * value * (1.0f + erff(value * 0.70710678118654752f));
        }
    }
}

/* x = LayerNorm(x + bias + residual) * weight + shift in place; x and residual are [rows, columns] without gaps. */
void millpond_residual_layer_norm(float *x, const float *bias, const float *residual, const float *weight,
                                                 const float *shift, float eps, int64_t rows, int64_t columns) {
    const int64_t whole = columns - columns % WIDTH;
    for (int64_t row = 0; row < rows; row++, x += columns, residual += columns) {
        vec sums = {0}, squares = {0};
        float tail_sum = 0, tail_squares = 0;
        for (int64_t column = 0; column < whole; column += WIDTH) {
            vec value = load(x + column) + load(bias + column) + load(residual + column);
            store(x + column, value);
            sums += value;
        }
        for (int64_t column = whole; column < columns; column++) {
            x[column] += bias[column] + residual[column];
            tail_sum += x[column];
        }
        const float mean = (sum_of(sums) + tail_sum) / (float)columns;
        for (int64_t column = 0; column < whole; column += WIDTH) {
            vec distance = load(x + column) - mean;
            squares += distance * distance;
        }
        for (int64_t column = whole; column < columns; column++)
            tail_squares += (x[column] - mean) * (x[column] - mean);
        const float scale = 1.0f / sqrtf((sum_of(squares) + tail_squares) / (float)columns + eps);
        for (int64_t column = 0; column < whole; column += WIDTH)
            store(x + column, (load(x + column) - mean) * scale * load(weight + column) + load(shift + column));
        for (int64_t column = whole; column < columns; column++)
            x[column] = (x[column] - mean) * scale * weight[column] + shift[column];
    }
}

/* Scores of ROWS queries against COLUMNS * WIDTH keys that lie transposed: [head_dim, stride]. */
INLINE void score_block(const float *query, int64_t query_stride, const float *keys, int64_t stride, int64_t head_dim,
                        float scale, float *scores) {
    vec sums[ROWS][COLUMNS] = {0};
    for (int64_t d = 0; d < head_dim; d++) {
        vec key[COLUMNS];
        for (int c = 0; c < COLUMNS; c++) key[c] = load(keys + d * stride + c * WIDTH);
        for (int r = 0; r < ROWS; r++) {
            float q = query[r * query_stride + d];
            for (int c = 0; c < COLUMNS; c++) sums[r][c] += key[c] * q;
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) store(scores + r * stride + c * WIDTH, sums[r][c] * scale);
}

/* The same for one vector of keys. */
INLINE void score_strip(const float *query, int64_t query_stride, const float *keys, int64_t stride, int64_t head_dim,
                        float scale, float *scores) {
    vec sums[ROWS] = {0};
    for (int64_t d = 0; d < head_dim; d++) {
        vec key = load(keys + d * stride);
        for (int r = 0; r < ROWS; r++) sums[r] += key * query[r * query_stride + d];
    }
    for (int r = 0; r < ROWS; r++) store(scores + r * stride, sums[r] * scale);
}

/* Softmax of one row in place, without the division: returns what to divide by. */
INLINE float exponentiate(float *scores, int64_t length, int64_t stride) {
    for (int64_t k = length; k < stride; k++) scores[k] = -INFINITY;
    vec highest = load(scores);
    for (int64_t k = WIDTH; k < stride; k += WIDTH) {
        vec value = load(scores + k);
        highest = choose(value > highest, value, highest);
    }
    vec shift = splat(largest_of(highest)), total = {0};
    for (int64_t k = 0; k < stride; k += WIDTH) {
        vec value = exp_of_negative(load(scores + k) - shift);
        store(scores + k, value);
        total += value;
    }
    return sum_of(total);
}

/* ROWS rows of weights times the values: one or two vectors of the output at a time. */
INLINE void mix_block(const float *weights, int64_t stride, const float *totals, const float *values,
                      int64_t value_stride, int64_t length, int vectors, float *output, int64_t output_stride, int rows) {
    vec sums[ROWS][2] = {0};
    for (int64_t k = 0; k < length; k++) {
        for (int v = 0; v < vectors; v++) {
            vec value = load(values + k * value_stride + v * WIDTH);
            for (int r = 0; r < ROWS; r++) sums[r][v] += value * weights[r * stride + k];
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) store(output + r * output_stride + v * WIDTH, sums[r][v] / totals[r]);
}

/* Bidirectional attention of sequences of one length that lie end to end.
 *
 * query, key, value: rows of one token each, `*_stride` floats apart, its heads side by side; head_dim is a multiple of
 * WIDEST. output: [sequences * length, heads, head_dim] without gaps. scratch: millpond_attention_scratch() floats.
 */
void millpond_attention(const float *query, const float *key, const float *value, int64_t query_stride,
                                       int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length,
                                       int64_t heads, int64_t kv_heads, int64_t head_dim, float scale, float *output,
                                       float *scratch) {
    const int64_t block = COLUMNS * WIDTH;
    const int64_t stride = (length + WIDTH - 1) / WIDTH * WIDTH;
    const int64_t output_stride = heads * head_dim;
    float *keys = scratch, *values = keys + head_dim * stride;
    float *scores = values + head_dim * stride, *queries = scores + ROWS * stride;
    for (int64_t sequence = 0; sequence < sequences; sequence++) {
        const int64_t first = sequence * length;
        for (int64_t head = 0; head < heads; head++) {
            const int64_t kv = head / (heads / kv_heads);
            if (head % (heads / kv_heads) == 0) { /* once for the queries that share it; side by side it stays in cache */
                for (int64_t k = 0; k < length; k++) {
                    const float *row = key + (first + k) * key_stride + kv * head_dim;
                    for (int64_t d = 0; d < head_dim; d++) keys[d * stride + k] = row[d];
                    memcpy(values + k * head_dim, value + (first + k) * value_stride + kv * head_dim,
                           sizeof(float) * head_dim);
                }
                for (int64_t d = 0; d < head_dim; d++)
                    for (int64_t k = length; k < stride; k++) keys[d * stride + k] = 0;
            }
            for (int64_t row = 0; row < length; row += ROWS) {
                const int rows = length - row < ROWS ? (int)(length - row) : ROWS;
                const float *q = query + (first + row) * query_stride + head * head_dim;
                int64_t q_stride = query_stride;
                if (rows < ROWS) { /* the last few rows are copied, so that no row behind the sequence is read */
                    memset(queries, 0, sizeof(float) * ROWS * head_dim);
                    for (int r = 0; r < rows; r++)
                        memcpy(queries + r * head_dim, q + r * query_stride, sizeof(float) * head_dim);
                    q = queries;
                    q_stride = head_dim;
                }
                int64_t column = 0;
                for (; column + block <= stride; column += block)
                    score_block(q, q_stride, keys + column, stride, head_dim, scale, scores + column);
                for (; column < stride; column += WIDTH)
                    score_strip(q, q_stride, keys + column, stride, head_dim, scale, scores + column);
                float totals[ROWS];
                for (int r = 0; r < ROWS; r++) totals[r] = exponentiate(scores + r * stride, length, stride);
                float *out = output + (first + row) * output_stride + head * head_dim;
                int64_t d = 0;
                for (; d + 2 * WIDTH <= head_dim; d += 2 * WIDTH)
                    mix_block(scores, stride, totals, values + d, head_dim, length, 2, out + d, output_stride, rows);
                for (; d < head_dim; d += WIDTH)
                    mix_block(scores, stride, totals, values + d, head_dim, length, 1, out + d, output_stride, rows);
            }
        }
    }
}

/* How many floats of scratch millpond_attention needs. */
int64_t millpond_attention_scratch(int64_t length, int64_t head_dim) {
    const int64_t stride = (length + WIDEST - 1) / WIDEST * WIDEST;
    return 2 * head_dim * stride + ROWS * stride + ROWS * head_dim;
}
