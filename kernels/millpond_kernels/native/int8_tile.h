/* Rows of unsigned bytes times a panel of weights, which are signed bytes: exact sums of 32 bits, in registers.
 *
 * With VNNI, `vpdpbusd` adds four products to a sum at once, of any weights. Without it, `vpmaddubsw` multiplies and adds
 * two neighbours in 16 bits, two such results are added in 16 bits, and `vpmaddwd` adds two neighbours of these in 32
 * bits. No step may overflow: of the four weights whose products share 16 bits, the positive ones add up to at most
 * 128, and the negative ones to at least -128 (255 * 128 < 2^15). See `quantise_weight_for_16_bits` in linear/int8.py.
 *
 * Panels are [inputs / 4, PANEL8, 4]. For both ways a lane of 32 bits holds four inputs of an output. The four weights
 * that share 16 bits are the first or the second two of a lane and of the lane of the next four inputs.
 */

#ifndef MILLPOND_INT8_TILE_H
#define MILLPOND_INT8_TILE_H

#include "bytes.h"

enum {
    COLUMNS8 = 2, /* vectors of a panel */
    PANEL8 = COLUMNS8 * WIDTH,
    ROWS_DOT = WIDTH == 16 ? 12 : 6, /* rows whose sums fit into the registers */
    ROWS_PAIRS = WIDTH == 16 ? 8 : 4,
    INPUTS_TOGETHER = 16, /* rows and panels are filled up with zeros to a multiple of so many inputs */
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
/* sums[r][c] = row r times vector c of the panel; rows are `inputs` bytes apart. */
INLINE void sum_dot_products(const uint8_t *q, int64_t inputs, const int8_t *panel, ivec sums[][COLUMNS8], int rows) {
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < COLUMNS8; c++) sums[r][c] = (ivec){0};
    for (int64_t k = 0; k < inputs; k += FOUR, panel += FOUR * PANEL8) {
        ivec weight[COLUMNS8];
        UNROLL for (int c = 0; c < COLUMNS8; c++) weight[c] = load_int(panel + FOUR * c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_four(q + r * inputs + k);
            UNROLL for (int c = 0; c < COLUMNS8; c++) ADD_PRODUCTS(sums[r][c], row, weight[c]);
        }
    }
}
#endif

/* The same without VNNI. */
INLINE void sum_pairs(const uint8_t *q, int64_t inputs, const int8_t *panel, ivec sums[][COLUMNS8], int rows) {
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < COLUMNS8; c++) sums[r][c] = (ivec){0};
    for (int64_t k = 0; k < inputs; k += 2 * FOUR, panel += 2 * FOUR * PANEL8) {
        ivec first[COLUMNS8], second[COLUMNS8];
        UNROLL for (int c = 0; c < COLUMNS8; c++) {
            first[c] = load_int(panel + FOUR * c * WIDTH);
            second[c] = load_int(panel + FOUR * (PANEL8 + c * WIDTH));
        }
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_four(q + r * inputs + k), next = splat_four(q + r * inputs + k + FOUR);
            UNROLL for (int c = 0; c < COLUMNS8; c++)
                sums[r][c] += widen_pairs(add_int16(multiply_pairs(row, first[c]), multiply_pairs(next, second[c])));
        }
    }
}

#endif
