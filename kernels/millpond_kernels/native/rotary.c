/* Rotary position embeddings of queries and keys (Su et al., 2021, arXiv 2104.09864). */

#include "pool.h"
#include "vector.h"

enum { MIN_PART_VALUES = 1 << 14 }; /* values per part: some microseconds of work */

struct heads {
    float *x;
    const float *cos, *sin;
    int64_t heads, half, token_stride, head_stride;
};

static void rotate(const void *job, int64_t start, int64_t stop, int64_t thread) {
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

/* Rotate the first 2 * half values of each head in place: value i of their first half with value i of the second. x has
 * `heads` heads per token, with strides in floats; cos and sin are [tokens, half], contiguous. */
void millpond_rotary(float *x, const float *cos, const float *sin, int64_t tokens, int64_t heads, int64_t half,
                     int64_t token_stride, int64_t head_stride, int64_t threads) {
    const struct heads all = {.x = x, .cos = cos, .sin = sin, .heads = heads, .half = half,
                              .token_stride = token_stride, .head_stride = head_stride};
    millpond_in_parts(rotate, &all, tokens, part_size(2 * heads * half, MIN_PART_VALUES), threads);
}
