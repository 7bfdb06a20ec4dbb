/* Products of rows of unsigned bytes with a panel of weights, which are signed bytes: exact 32-bit sums in registers.
 *
 * With VNNI, `vpdpbusd` adds four products to a sum at once, for any weights. Without VNNI, `vpmaddubsw` multiplies and
 * adds two adjacent products in 16 bits, two such results are added in 16 bits, and `vpmaddwd` adds two adjacent
 * results in 32 bits. No step may overflow: the four weights that share a 16-bit sum are limited so that positive ones
 * add up to at most 128 and negative ones to at least -128 (255 * 128 < 2^15). See `quantise_weight_for_16_bits` in
 * linear/int8.py.
 *
 * Panels are [inputs / 4, PANEL8, 4]. In both cases a lane of 32 bits contains four inputs of an output. The four
 * weights that share a 16-bit sum are the first (or last) two of a lane and of the lane with the next four inputs.
 */

#ifndef MILLPOND_INT8_TILE_H
#define MILLPOND_INT8_TILE_H

#include "bytes.h"

enum {
    COLUMNS8 = 2, /* vectors of a panel */
    PANEL8 = COLUMNS8 * WIDTH,
    ROWS_DOT = WIDTH == 16 ? 12 : 6, /* rows whose sums fit in the registers */
    ROWS_PAIRS = WIDTH == 16 ? 8 : 4,
    INPUT_MULTIPLE = 16, /* rows and panels are padded with zeros to a multiple of this number of inputs */
};

#if WIDTH == 16
INLINE ivec multiply_pairs(ivec row, ivec weight) {
    return (ivec)_mm512_maddubs_epi16((__m512i)row, (__m512i)weight);
}
INLINE ivec add_int16(ivec one, ivec other) { return (ivec)_mm512_add_epi16((__m512i)one, (__m512i)other); }
INLINE ivec widen_pairs(ivec pairs) { return (ivec)_mm512_madd_epi16((__m512i)pairs, _mm512_set1_epi16(1)); }
#else
INLINE ivec multiply_pairs(ivec row, ivec weight) {
    return (ivec)_mm256_maddubs_epi16((__m256i)row, (__m256i)weight);
}
INLINE ivec add_int16(ivec one, ivec other) { return (ivec)_mm256_add_epi16((__m256i)one, (__m256i)other); }
INLINE ivec widen_pairs(ivec pairs) { return (ivec)_mm256_madd_epi16((__m256i)pairs, _mm256_set1_epi16(1)); }
#endif

#ifdef HAS_DOT_PRODUCTS
/* sums[r][c] = row r times vector c of the panel. The row stride is `inputs` bytes. */
INLINE void sum_dot_products(const uint8_t *q, int64_t inputs, const int8_t *panel, ivec sums[][COLUMNS8], int rows) {
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < COLUMNS8; c++) sums[r][c] = (ivec){0};
    for (int64_t k = 0; k < inputs; k += BYTES_PER_LANE, panel += BYTES_PER_LANE * PANEL8) {
        ivec weight[COLUMNS8];
        UNROLL for (int c = 0; c < COLUMNS8; c++) weight[c] = load_int(panel + BYTES_PER_LANE * c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_bytes(q + r * inputs + k);
            UNROLL for (int c = 0; c < COLUMNS8; c++) ADD_PRODUCTS(sums[r][c], row, weight[c]);
        }
    }
}
#endif

/* The same without VNNI. */
INLINE void sum_pairs(const uint8_t *q, int64_t inputs, const int8_t *panel, ivec sums[][COLUMNS8], int rows) {
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < COLUMNS8; c++) sums[r][c] = (ivec){0};
    for (int64_t k = 0; k < inputs; k += 2 * BYTES_PER_LANE, panel += 2 * BYTES_PER_LANE * PANEL8) {
        ivec first[COLUMNS8], second[COLUMNS8];
        UNROLL for (int c = 0; c < COLUMNS8; c++) {
            first[c] = load_int(panel + BYTES_PER_LANE * c * WIDTH);
            second[c] = load_int(panel + BYTES_PER_LANE * (PANEL8 + c * WIDTH));
        }
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_bytes(q + r * inputs + k), next = splat_bytes(q + r * inputs + k + BYTES_PER_LANE);
            UNROLL for (int c = 0; c < COLUMNS8; c++)
                sums[r][c] += widen_pairs(add_int16(multiply_pairs(row, first[c]), multiply_pairs(next, second[c])));
        }
    }
}

#endif
