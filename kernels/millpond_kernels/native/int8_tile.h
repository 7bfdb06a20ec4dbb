/* Products of rows of bytes with a panel of weights, which are signed bytes: exact 32-bit sums in registers.
 *
 * With VNNI, `vpdpbusd` adds four products to a sum at once, for any weights; with ARM's dotprod, `sdot` does. Without
 * VNNI, `vpmaddubsw` multiplies and adds two adjacent products in 16 bits, two such results are added in 16 bits, and
 * `vpmaddwd` adds two adjacent results in 32 bits. No step may overflow: the four weights that share a 16-bit sum are
 * limited so that positive ones add up to at most 128 and negative ones to at least -128 (255 * 128 < 2^15). See
 * `quantize_weight_for_16_bits` in linear/int8.py. With NEON, two products share a 16-bit sum, and rows are signed
 * (BYTE_OFFSET): 2 * 128 * 127 < 2^15, so weights from -127 to 127 are not limited further.
 *
 * Panels are [inputs / 4, PANEL8, 4]. A lane of 32 bits contains four inputs of an output. Without VNNI, the four
 * weights that share a 16-bit sum are the first (or last) two of a lane and of the lane with the next four inputs.
 *
 * With ARM's i8mm, `smmla` multiplies two rows with two outputs, and adds eight products to each of the four sums.
 * Panels are then [inputs / 8, PANEL8, 8].
 */

#ifndef MILLPOND_INT8_TILE_H
#define MILLPOND_INT8_TILE_H

#include "bytes.h"

enum {
    COLUMNS8 = WIDTH == 4 ? 4 : 2, /* vectors of a panel */
    PANEL8 = COLUMNS8 * WIDTH,
    ROWS_DOT = WIDTH == 16 ? 12 : 6, /* rows whose sums fit in the registers */
    ROWS_PAIRS = WIDTH == 16 ? 8 : 4,
    INPUT_MULTIPLE = 16, /* rows and panels are padded with zeros to a multiple of this number of inputs */
};

/* The instructions that weights are laid out for: the values of `dot_products` in struct linear_weights. */
enum { PAIR_PRODUCTS, DOT_PRODUCTS, BLOCK_PRODUCTS };

/* Sums of the products of eight bytes of a row, four of them in every lane of `row` and four in `next`, and the bytes of
 * each lane of `first` and of `second`. */
#if WIDTH == 4
INLINE ivec sum_of_eight(ivec row, ivec next, ivec first, ivec second) {
    const int8x16_t a = (int8x16_t)row, b = (int8x16_t)next, c = (int8x16_t)first, d = (int8x16_t)second;
    const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(c)), vget_low_s8(b), vget_low_s8(d));
    const int16x8_t high = vmlal_high_s8(vmull_high_s8(a, c), b, d);
    return (ivec)vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
}
#else
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
INLINE ivec sum_of_eight(ivec row, ivec next, ivec first, ivec second) {
    return widen_pairs(add_int16(multiply_pairs(row, first), multiply_pairs(next, second)));
}
#endif

INLINE void clear_sums(ivec sums[][COLUMNS8], int rows) {
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < COLUMNS8; c++) sums[r][c] = (ivec){0};
}

#ifdef HAS_DOT_PRODUCTS
/* sums[r][c] = row r times vector c of the panel. The row stride is `inputs` bytes. */
INLINE void sum_dot_products(const uint8_t *q, int64_t inputs, const int8_t *panel, ivec sums[][COLUMNS8], int rows) {
    clear_sums(sums, rows);
    for (int64_t k = 0; k < inputs; k += BYTES_PER_LANE, panel += BYTES_PER_LANE * PANEL8) {
        ivec weight[COLUMNS8];
        UNROLL for (int c = 0; c < COLUMNS8; c++) weight[c] = load_int(panel + BYTES_PER_LANE * c * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const row_bytes row = load_row_bytes(q + r * inputs + k);
            UNROLL for (int c = 0; c < COLUMNS8; c++) ADD_PRODUCTS(sums[r][c], row, weight[c]);
        }
    }
}
#endif

#ifdef HAS_BLOCK_PRODUCTS
/* Eight bytes of a row, and of the row that follows after `stride` bytes. */
INLINE ivec load_two_rows(const uint8_t *q, int64_t stride) {
    return (ivec)vcombine_u8(vld1_u8(q), vld1_u8(q + stride));
}

/* The same with blocks of two rows and two outputs. If `rows` is odd, the last row is multiplied twice. */
INLINE void sum_block_products(const uint8_t *q, int64_t inputs, const int8_t *panel, ivec sums[][COLUMNS8], int rows) {
    enum { EIGHT = 2 * BYTES_PER_LANE, PAIRS = PANEL8 / 2 };
    ivec blocks[ROWS_DOT / 2][PAIRS];
    UNROLL for (int r = 0; r < rows; r += 2) UNROLL for (int o = 0; o < PAIRS; o++) blocks[r / 2][o] = (ivec){0};
    for (int64_t k = 0; k < inputs; k += EIGHT, panel += EIGHT * PANEL8) {
        ivec two_rows[ROWS_DOT / 2];
        UNROLL for (int r = 0; r < rows; r += 2)
            two_rows[r / 2] = load_two_rows(q + r * inputs + k, r + 1 < rows ? inputs : 0);
        UNROLL for (int o = 0; o < PAIRS; o++) {
            const ivec two_outputs = load_int(panel + 2 * EIGHT * o);
            UNROLL for (int r = 0; r < rows; r += 2) ADD_BLOCK_PRODUCTS(blocks[r / 2][o], two_rows[r / 2], two_outputs);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < COLUMNS8; c++) {
            const int64x2_t first = (int64x2_t)blocks[r / 2][2 * c], second = (int64x2_t)blocks[r / 2][2 * c + 1];
            sums[r][c] = (ivec)(r % 2 ? vzip2q_s64(first, second) : vzip1q_s64(first, second));
        }
}
#endif

/* The same without these instructions. */
INLINE void sum_pairs(const uint8_t *q, int64_t inputs, const int8_t *panel, ivec sums[][COLUMNS8], int rows) {
    clear_sums(sums, rows);
    for (int64_t k = 0; k < inputs; k += 2 * BYTES_PER_LANE, panel += 2 * BYTES_PER_LANE * PANEL8) {
        ivec first[COLUMNS8], second[COLUMNS8];
        UNROLL for (int c = 0; c < COLUMNS8; c++) {
            first[c] = load_int(panel + BYTES_PER_LANE * c * WIDTH);
            second[c] = load_int(panel + BYTES_PER_LANE * (PANEL8 + c * WIDTH));
        }
        UNROLL for (int r = 0; r < rows; r++) {
            const ivec row = splat_bytes(q + r * inputs + k), next = splat_bytes(q + r * inputs + k + BYTES_PER_LANE);
            UNROLL for (int c = 0; c < COLUMNS8; c++) sums[r][c] += sum_of_eight(row, next, first[c], second[c]);
        }
    }
}

#endif
