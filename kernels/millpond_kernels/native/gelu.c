/* The exact GELU: x * Phi(x), Phi the normal distribution (Hendrycks and Gimpel, 2016). */

#include "pool.h"
#include "vector.h"

enum { LEAST = 1 << 14 }; /* numbers of a part, some microseconds */

/* The error function as x * P(x^2) / Q(x^2), fitted by least squares on |x| <= 3.9, beyond which it is 1 in single
 * precision. The fit is off by 4e-8, rounding by 4e-7 at most. */
INLINE vec error_function(vec x) {
    vec inside = between(x, -3.9f, 3.9f);
    vec t = inside * inside;
    vec p = splat(2.011217223868312e-08f);
    p = p * t - 1.9966933079803714e-06f;
    p = p * t + 0.00014749769484353946f;
    p = p * t + 0.0038978119868550653f;
    p = p * t + 0.051154159618875976f;
    p = p * t + 0.2042648106279829f;
    p = p * t + 1.1283788002572488f;
    vec q = splat(0.0010069274740613177f);
    q = q * t + 0.014733794995733383f;
    q = q * t + 0.11680195966485352f;
    q = q * t + 0.5143539919463479f;
    q = q * t + 1.0f;
    /* One rounding more than 1, so that what is 1 in exact arithmetic is cut to exactly 1. */
    return between(inside * p / q * 1.00000012f, -1.0f, 1.0f);
}

struct biased {
    float *x;
    const float *bias;
    int64_t columns;
};

static void activate(const void *job, int64_t start, int64_t stop, int64_t thread) {
    const struct biased *b = job;
    const float *bias = b->bias;
    const int64_t columns = b->columns;
    (void)thread;
    float *x = b->x + start * columns;
    for (int64_t row = start; row < stop; row++, x += columns) {
        int64_t column = 0;
        for (; column + WIDTH <= columns; column += WIDTH) {
            vec value = load(x + column) + load(bias + column);
            store(x + column, 0.5f * value * (1.0f + error_function(value * 0.70710678118654752f)));
        }
        for (; column < columns; column++) {
            float value = x[column] + bias[column];
            x[column] = 0.5f * value * (1.0f + erff(value * 0.70710678118654752f));
        }
    }
}

/* x = GELU(x + bias) in place; x is [rows, columns] without gaps, bias [columns]. */
void millpond_bias_gelu(float *x, const float *bias, int64_t rows, int64_t columns, int64_t threads) {
    const struct biased all = {.x = x, .bias = bias, .columns = columns};
    millpond_in_parts(activate, &all, rows, part_size(columns, LEAST), threads);
}
