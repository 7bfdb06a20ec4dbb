/* Vectors of bytes: conversion from floats, and sums of products with VNNI. */

#ifndef MILLPOND_BYTES_H
#define MILLPOND_BYTES_H

#include "vector.h"

typedef uint8_t bytes __attribute__((vector_size(WIDTH)));

enum { BYTES_PER_LANE = 4 }; /* bytes whose products are added to one 32-bit sum */

/* Round to the nearest integer from 0 to 255. */
INLINE ivec rounded(vec value) {
    const vec shifter = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    return (ivec)(clamp(value, 0, 255) + shifter) & 255;
}

INLINE void store_bytes(uint8_t *to, ivec values) {
    const bytes packed = __builtin_convertvector(values, bytes);
    memcpy(to, &packed, sizeof packed);
}

#if WIDTH == 16
/* Round to the nearest integer; the result is undefined for values that are not finite. */
INLINE ivec nearest(vec value) { return (ivec)_mm512_cvtps_epi32(value); }

/* Round to the nearest integer from 0 to 255; the result is undefined for NaN. */
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

/* With 256 bits, vpdpbusd has two encodings: AVX-VNNI, which the assembler may not support (hatch_build.py checks), and
 * AVX-512 VNNI, with which tests run the same code on processors without AVX-VNNI. */
#if WIDTH == 16
#define HAS_DOT_PRODUCTS
#define DOT_PRODUCTS "vpdpbusd"
#elif defined(AVX512_ENCODING)
#define HAS_DOT_PRODUCTS
#define DOT_PRODUCTS "%{evex%} vpdpbusd"
#elif defined(HAVE_AVX_VNNI)
#define HAS_DOT_PRODUCTS
#define DOT_PRODUCTS "%{vex%} vpdpbusd"
#endif

/* Add the products of four adjacent unsigned and signed bytes to each sum. The compiler's intrinsic copies all sums. */
#ifdef HAS_DOT_PRODUCTS
#define ADD_PRODUCTS(sums, unsigned_bytes, signed_bytes) \
    __asm__(DOT_PRODUCTS " %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes))
#endif

#endif
