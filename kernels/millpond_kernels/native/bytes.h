/* Vectors of bytes: conversion from floats, and sums of products with VNNI or dotprod. */

#ifndef MILLPOND_BYTES_H
#define MILLPOND_BYTES_H

#include "vector.h"

typedef uint8_t bytes __attribute__((vector_size(WIDTH)));

enum {
    BYTES_PER_LANE = 4,                 /* bytes whose products are added to one 32-bit sum */
    BYTE_OFFSET = WIDTH == 4 ? 128 : 0, /* subtracted from rows: NEON multiplies signed bytes, AVX unsigned with signed */
};

INLINE void store_bytes(uint8_t *to, ivec values) {
    const bytes packed = __builtin_convertvector(values, bytes);
    memcpy(to, &packed, sizeof packed);
}

#if WIDTH == 4
/* Round to the nearest integer from 0 to 255, and subtract BYTE_OFFSET; the result is undefined for NaN. */
INLINE void store_rounded(uint8_t *to, vec value) {
    const uint16x4_t words = vqmovn_u32(vcvtnq_u32_f32((float32x4_t)value));
    const uint8x8_t packed = veor_u8(vqmovn_u16(vcombine_u16(words, words)), vdup_n_u8(BYTE_OFFSET));
    memcpy(to, &packed, sizeof(bytes));
}
#elif WIDTH == 16
/* Round to the nearest integer; the result is undefined for values that are not finite. */
INLINE ivec nearest(vec value) { return (ivec)_mm512_cvtps_epi32(value); }

INLINE void store_rounded(uint8_t *to, vec value) {
    const __m128i packed = _mm512_cvtusepi32_epi8((__m512i)nearest(maximum(splat(0), value)));
    memcpy(to, &packed, sizeof packed);
}

/* The maximum magnitude of each lane, as the bits of a float. Infinity is above all numbers, NaN above infinity. */
INLINE ivec max_magnitude(ivec max, vec value) {
    return (ivec)_mm512_max_epu32((__m512i)max, (__m512i)((ivec)value & INT32_MAX));
}
#else
INLINE ivec nearest(vec value) { return (ivec)_mm256_cvtps_epi32((__m256)value); }

INLINE void store_rounded(uint8_t *to, vec value) {
    const __m256i integers = (__m256i)nearest(maximum(splat(0), value));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
    const __m128i packed = _mm_packus_epi16(words, words);
    memcpy(to, &packed, sizeof(bytes));
}
#endif

/* The same four bytes in every lane. */
INLINE ivec splat_bytes(const uint8_t *from) {
    int32_t lane;
    memcpy(&lane, from, sizeof lane);
    return (ivec){0} + lane;
}

INLINE ivec load_int(const void *from) {
    ivec value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The assembler may not support the instructions of AVX-VNNI and ARM (hatch_build.py checks). With 256 bits, vpdpbusd
 * has two encodings: AVX-VNNI, and AVX-512 VNNI, with which tests run the same code on processors without AVX-VNNI. */
#if defined(HAVE_I8MM)
#define HAS_DOT_PRODUCTS
#define HAS_BLOCK_PRODUCTS
#elif WIDTH == 16
#define HAS_DOT_PRODUCTS
#define VPDPBUSD "vpdpbusd"
#elif defined(AVX512_ENCODING)
#define HAS_DOT_PRODUCTS
#define VPDPBUSD "%{evex%} vpdpbusd"
#elif defined(HAVE_AVX_VNNI)
#define HAS_DOT_PRODUCTS
#define VPDPBUSD "%{vex%} vpdpbusd"
#endif

/* Marks functions that use instructions of ARM; dotprod and i8mm extend ARMv8.2. */
#if defined(__ARM_FEATURE_DOTPROD)
#define WITH(extension) __attribute__((target("+" extension)))
#elif defined(__aarch64__)
#define WITH(extension) __attribute__((target("arch=armv8.2-a+" extension)))
#else
#define WITH(extension)
#endif

/* ADD_PRODUCTS adds the products of four bytes of a row and four adjacent bytes of weights to each sum. The compiler's
 * intrinsics are not used: those for x86-64 copy all sums, those for ARM require the instructions in the whole file. */
#if WIDTH == 4
typedef float row_bytes; /* the first lane of a vector, which the instruction broadcasts */
INLINE row_bytes load_row_bytes(const uint8_t *from) {
    row_bytes value;
    memcpy(&value, from, sizeof value);
    return value;
}
#define ADD_PRODUCTS(sums, row, weights) __asm__("sdot %0.4s, %2.16b, %1.4b[0]" : "+w"(sums) : "w"(row), "w"(weights))
#else
typedef ivec row_bytes;
INLINE row_bytes load_row_bytes(const uint8_t *from) { return splat_bytes(from); }
#define ADD_PRODUCTS(sums, unsigned_bytes, signed_bytes) \
    __asm__(VPDPBUSD " %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes))
#endif

#ifdef HAS_BLOCK_PRODUCTS
/* Add the products of two rows of eight bytes and two outputs of eight bytes to a block of 2 x 2 sums. */
#define ADD_BLOCK_PRODUCTS(sums, rows, weights) \
    __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(rows), "w"(weights))
#endif

#endif
