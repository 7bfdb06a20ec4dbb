/* The exact GELU: x * Phi(x), with the normal distribution Phi (Hendrycks and Gimpel, 2016, arXiv 1606.08415). */

#ifndef MILLPOND_GELU_H
#define MILLPOND_GELU_H

#include "vector.h"

/* The error function as x * P(x^2) / Q(x^2), a least-squares fit for |x| <= 3.9; beyond, it is 1 in single precision.
 * The error of the fit is at most 4e-8, the rounding error at most 4e-7. */
INLINE vec error_function(vec x) {
    vec inside = clamp(x, -3.9f, 3.9f);
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
    /* The factor is one unit above 1, so that values that are 1 in exact arithmetic are clamped to exactly 1. */
    return clamp(inside * p / q * 1.00000012f, -1.0f, 1.0f);
}

INLINE vec gelu(vec x) { return 0.5f * x * (1.0f + error_function(x * 0.70710678118654752f)); }

#endif
