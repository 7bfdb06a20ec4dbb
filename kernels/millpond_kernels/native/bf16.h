/* Vectors of bfloat16: the upper halves of floats. A lane of 32 bits contains two, the first in the lower half. */

#ifndef MILLPOND_BF16_H
#define MILLPOND_BF16_H

#include "vector.h"

typedef uint32_t uvec __attribute__((vector_size(4 * WIDTH)));
typedef uint16_t halves __attribute__((vector_size(2 * WIDTH)));

enum { BF16_PER_LANE = 2 };

/* Round to bfloat16, to the nearest even value, in the lower half of each lane. NaN stays NaN. */
INLINE ivec round_to_bf16(vec value) {
    const uvec bits = (uvec)value, rounded = bits + 0x7fff + ((bits >> 16) & 1);
    const uvec quiet = bits | 0x400000; /* a NaN whose lower half is cut off must not become infinity */
    return (ivec)((uvec)blend(value != value, (vec)quiet, (vec)rounded) >> 16);
}

INLINE void store_bf16(uint16_t *to, vec value) {
    const halves packed = __builtin_convertvector((uvec)round_to_bf16(value), halves);
    memcpy(to, &packed, sizeof packed);
}

/* The same two values in every lane. */
INLINE ivec splat_bf16(const uint16_t *from) {
    int32_t lane;
    memcpy(&lane, from, sizeof lane);
    return (ivec){0} + lane;
}

/* The first and the second values of lanes as floats. */
INLINE vec first_bf16(ivec lanes) { return (vec)((uvec)lanes << 16); }
INLINE vec second_bf16(ivec lanes) { return (vec)((uvec)lanes & 0xffff0000); }

/* Add the products of the two pairs of values of each lane to a sum. The compiler's intrinsic copies all sums. */
#if WIDTH == 16
#define HAS_BF16_PRODUCTS
#define ADD_BF16_PRODUCTS(sums, one, other) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(one), "v"(other))
#endif

#endif
