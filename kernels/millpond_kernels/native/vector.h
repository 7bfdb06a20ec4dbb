/* Vectors of floats, WIDTH of them, and what the kernels compute with them.
 *
 * The build compiles the kernels once for AVX-512 and once for AVX2 (see LEVELS in hatch_build.py); one is loaded. Every
 * function may be called by several threads at once, on data of their own, and says how many it may use itself.
 */

#ifndef MILLPOND_VECTOR_H
#define MILLPOND_VECTOR_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef WIDTH
#define WIDTH 8
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* Rows and vectors of columns that are computed together: sums of a block stay in the registers, of which there are 32
 * with AVX-512 and 16 with AVX2. */
enum { ROWS = 6, COLUMNS = WIDTH == 16 ? 4 : 2 };

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH)));

INLINE vec load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *to, vec value) { memcpy(to, &value, sizeof value); }

/* The same of less than a vector; the lanes behind are 0. */
INLINE vec load_some(const float *from, int64_t count) {
    vec value = {0};
    memcpy(&value, from, sizeof(float) * count);
    return value;
}

INLINE void store_some(float *to, vec value, int64_t count) { memcpy(to, &value, sizeof(float) * count); }

INLINE vec splat(float value) { return (vec){0} + value; }

/* The lanes of one where the mask is set, of the other elsewhere. */
INLINE vec choose(ivec mask, vec one, vec other) { return (vec)(((ivec)one & mask) | ((ivec)other & ~mask)); }

/* The larger and the smaller of each lane; a NaN in `value` stays, one in the other gives way. */
#if WIDTH == 16
INLINE vec larger(vec other, vec value) { return _mm512_max_ps(other, value); }
INLINE vec smaller(vec other, vec value) { return _mm512_min_ps(other, value); }
#else
INLINE vec larger(vec other, vec value) { return _mm256_max_ps(other, value); }
INLINE vec smaller(vec other, vec value) { return _mm256_min_ps(other, value); }
#endif

/* NaN stays NaN. */
INLINE vec between(vec value, float lowest, float highest) {
    return larger(splat(lowest), smaller(splat(highest), value));
}

/* So many rounded up to whole vectors. */
INLINE int64_t whole_vectors(int64_t count) { return (count + WIDTH - 1) / WIDTH * WIDTH; }

/* The numbers of the lanes: 0, 1, 2 ... */
INLINE ivec lanes(void) {
    ivec numbers = {0};
    for (int lane = 0; lane < WIDTH; lane++) numbers[lane] = lane;
    return numbers;
}

/* Lanes of two vectors: `places` below WIDTH mean one, from there on the other. */
INLINE vec pick(vec one, vec other, ivec places) {
#ifdef __clang__
    vec picked;
    for (int lane = 0; lane < WIDTH; lane++)
        picked[lane] = places[lane] < WIDTH ? one[places[lane]] : other[places[lane] - WIDTH];
    return picked;
#else
    return __builtin_shuffle(one, other, places);
#endif
}

INLINE float sum_of(vec value) {
    UNROLL for (int step = WIDTH / 2; step > 0; step /= 2) value += pick(value, value, lanes() ^ step);
    return value[0];
}

INLINE float largest_of(vec value) {
    UNROLL for (int step = WIDTH / 2; step > 0; step /= 2) value = larger(pick(value, value, lanes() ^ step), value);
    return value[0];
}

/* Swaps the blocks of `step` rows and columns that lie beside the diagonal of twice that size. */
INLINE void swap_blocks(vec rows[WIDTH], int step) {
    const ivec upper = (lanes() & step) != 0;
    const ivec low = (upper & (lanes() - step + WIDTH)) | (~upper & lanes());
    const ivec high = (upper & (lanes() + WIDTH)) | (~upper & (lanes() + step));
    UNROLL for (int row = 0; row < WIDTH; row++) {
        if (row & step) continue;
        vec first = rows[row], second = rows[row + step];
        rows[row] = pick(first, second, low);
        rows[row + step] = pick(first, second, high);
    }
}

INLINE void transpose(vec rows[WIDTH]) {
    if (WIDTH == 16) swap_blocks(rows, WIDTH / 2);
    swap_blocks(rows, 4);
    swap_blocks(rows, 2);
    swap_blocks(rows, 1);
}

/* 2^x for x <= 0, as 2^n * 2^r with |r| <= 1/2 and a polynomial of degree 6 for 2^r, fitted for the least relative
 * error, which is below that of rounding. Below -126 it stays at 1.2e-38, the least of normal numbers. NaN stays NaN. */
INLINE vec power_of_two(vec x) {
    const vec shifter = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer, in the low bits */
    const vec clamped = larger(splat(-126.0f), x);
    vec n = clamped + shifter;
    const vec power = (vec)(((ivec)n + 127) << 23);
    n -= shifter;
    const vec r = clamped - n;
    vec series = splat(0.00015353362f);
    series = series * r + 0.0013398875f;
    series = series * r + 0.00961843692f;
    series = series * r + 0.0555033237f;
    series = series * r + 0.240226477f;
    series = series * r + 0.693147182f;
    series = series * r + 1.0f;
    return series * power;
}

#endif
