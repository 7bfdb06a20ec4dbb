/* The exact GELU: x * Phi(x), Phi the normal distribution (Hendrycks and Gimpel, 2016). */

#ifndef MILLPOND_GELU_H
#define MILLPOND_GELU_H

#include "vector.h"

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

INLINE vec gelu(vec x) { return 0.5f * x * (1.0f + error_function(x * 0.70710678118654752f)); }

#endif
