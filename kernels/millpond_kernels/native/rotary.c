/* Rotary positions: heads of queries and keys are turned (Su et al., 2021, arXiv 2104.09864). */

#include "pool.h"
#include "vector.h"

enum { LEAST = 1 << 14 }; /* numbers of a part, some microseconds */

struct heads {
    float *x;
    const float *cos, *sin;
    int64_t heads, half, token_stride, head_stride;
};

static void turn(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct heads *h = job;
    const int64_t half = h->half;
    (void)thread;
    for (int64_t token = start; token < stop; token++) {
        const float *cos = h->cos + token * half, *sin = h->sin + token * half;
        for (int64_t head = 0; head < h->heads; head++) {
            float *first = h->x + token * h->token_stride + head * h->head_stride, *second = first + half;
            int64_t i = 0;
            for (; i + WIDTH <= half; i += WIDTH) {
                const vec one = load(first + i), other = load(second + i), c = load(cos + i), s = load(sin + i);
                store(first + i, one * c - other * s);
                store(second + i, other * c + one * s);
            }
            if (i < half) {
                const vec one = load_some(first + i, half - i), other = load_some(second + i, half - i);
                const vec c = load_some(cos + i, half - i), s = load_some(sin + i, half - i);
                store_some(first + i, one * c - other * s, half - i);
                store_some(second + i, other * c + one * s, half - i);
            }
        }
    }
}

/* Turns the first 2 * half values of each head in place, value i of their first half with i of the second. x: `heads`
 * heads a token, `*_stride` floats apart; cos and sin: [tokens, half] without gaps. */
void millpond_rotary(float *x, const float *cos, const float *sin, int64_t tokens, int64_t heads, int64_t half,
                     int64_t token_stride, int64_t head_stride, int64_t threads) {
    const struct heads all = {.x = x, .cos = cos, .sin = sin, .heads = heads, .half = half,
                              .token_stride = token_stride, .head_stride = head_stride};
    millpond_in_parts(turn, &all, tokens, part_size(2 * heads * half, LEAST), threads);
}
