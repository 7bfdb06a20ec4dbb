/* Vectors of WIDTH floats, and operations on them.
 *
 * The build compiles the kernels for AVX-512 and for AVX2, or for NEON (see LEVELS in hatch_build.py); one library is
 * loaded. Every function is thread-safe for separate data; the argument `threads` limits the threads that it uses
 * itself.
 */

#ifndef MILLPOND_VECTOR_H
#define MILLPOND_VECTOR_H

#ifdef __aarch64__
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef WIDTH
#ifdef __aarch64__
#define WIDTH 4
#else
#define WIDTH 8
#endif
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* Rows, and vectors of columns, of a block. The sums of a block stay in registers: 32 with AVX-512 and NEON, 16 with
 * AVX2. */
enum { ROWS = 6, COLUMNS = WIDTH == 8 ? 2 : 4 };

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH)));

INLINE vec load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *to, vec value) { memcpy(to, &value, sizeof value); }

/* Load the first `count` lanes; the others are 0. */
INLINE vec load_some(const float *from, int64_t count) {
    vec value = {0};
    memcpy(&value, from, sizeof(float) * count);
    return value;
}

INLINE void store_some(float *to, vec value, int64_t count) { memcpy(to, &value, sizeof(float) * count); }

INLINE vec splat(float value) { return (vec){0} + value; }

/* The lanes of `one` where the mask is set, and of `other` elsewhere. */
INLINE vec blend(ivec mask, vec one, vec other) { return (vec)(((ivec)one & mask) | ((ivec)other & ~mask)); }

/* Maximum and minimum of each lane. NaN in `value` is kept; NaN in `other` is kept with NEON and dropped with AVX. */
#if WIDTH == 4
INLINE vec maximum(vec other, vec value) { return (vec)vmaxq_f32((float32x4_t)other, (float32x4_t)value); }
INLINE vec minimum(vec other, vec value) { return (vec)vminq_f32((float32x4_t)other, (float32x4_t)value); }
#elif WIDTH == 16
INLINE vec maximum(vec other, vec value) { return _mm512_max_ps(other, value); }
INLINE vec minimum(vec other, vec value) { return _mm512_min_ps(other, value); }
#else
INLINE vec maximum(vec other, vec value) { return _mm256_max_ps(other, value); }
INLINE vec minimum(vec other, vec value) { return _mm256_min_ps(other, value); }
#endif

/* NaN stays NaN. */
INLINE vec clamp(vec value, float low, float high) {
    return maximum(splat(low), minimum(splat(high), value));
}

/* Round up to a multiple of WIDTH. */
INLINE int64_t round_up_to_vectors(int64_t count) { return (count + WIDTH - 1) / WIDTH * WIDTH; }

/* The lane indices: 0, 1, 2 ... */
INLINE ivec lanes(void) {
    ivec numbers = {0};
    for (int lane = 0; lane < WIDTH; lane++) numbers[lane] = lane;
    return numbers;
}

/* Shuffle the lanes of two vectors: indices below WIDTH select from `one`, the others from `other`. */
INLINE vec shuffle(vec one, vec other, ivec indices) {
#ifdef __clang__
    vec shuffled;
    for (int lane = 0; lane < WIDTH; lane++)
        shuffled[lane] = indices[lane] < WIDTH ? one[indices[lane]] : other[indices[lane] - WIDTH];
    return shuffled;
#else
    return __builtin_shuffle(one, other, indices);
#endif
}

INLINE float sum_of(vec value) {
    UNROLL for (int step = WIDTH / 2; step > 0; step /= 2) value += shuffle(value, value, lanes() ^ step);
    return value[0];
}

INLINE float max_of(vec value) {
    UNROLL for (int step = WIDTH / 2; step > 0; step /= 2)
        value = maximum(shuffle(value, value, lanes() ^ step), value);
    return value[0];
}

/* Swap the off-diagonal blocks of `step` rows and columns within each block of twice that size. */
INLINE void swap_blocks(vec rows[WIDTH], int step) {
    const ivec upper = (lanes() & step) != 0;
    const ivec low = (upper & (lanes() - step + WIDTH)) | (~upper & lanes());
    const ivec high = (upper & (lanes() + WIDTH)) | (~upper & (lanes() + step));
    UNROLL for (int row = 0; row < WIDTH; row++) {
        if (row & step) continue;
        vec first = rows[row], second = rows[row + step];
        rows[row] = shuffle(first, second, low);
        rows[row + step] = shuffle(first, second, high);
    }
}

INLINE void transpose(vec rows[WIDTH]) {
    if (WIDTH > 8) swap_blocks(rows, 8);
    if (WIDTH > 4) swap_blocks(rows, 4);
    swap_blocks(rows, 2);
    swap_blocks(rows, 1);
}

/* 2^x for x <= 0, as 2^n * 2^r with |r| <= 1/2 and a minimax polynomial of degree 6 for 2^r, whose relative error is
 * below that of rounding. Below -126 the result is 1.2e-38, the smallest normal number. NaN stays NaN. */
INLINE vec power_of_two(vec x) {
    const vec shifter = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    const vec clamped = maximum(splat(-126.0f), x);
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
