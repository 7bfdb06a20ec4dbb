/* Gated activations: activation(gate) * up (Shazeer, 2020, arXiv 2002.05202). */

#ifndef MILLPOND_GATE_H
#define MILLPOND_GATE_H

#include "gelu.h"

enum activation { GELU, GELU_TANH, QUICK_GELU, RELU, SILU }; /* in the order of ACTIVATIONS in gated.py */

/* 1 / (1 + e^-x), computed with e^-|x| to avoid overflow. */
INLINE vec sigmoid(vec x) {
    const vec power = power_of_two(-1.44269504088896341f * maximum(-x, x));
    return blend(x < 0, power, splat(1)) / (1.0f + power);
}

INLINE vec activate(vec x, enum activation activation) {
    switch (activation) {
        case GELU: return gelu(x);
        /* 1 + tanh(y) = 2 * sigmoid(2 * y); the factor is 2 * sqrt(2 / pi). */
        case GELU_TANH: return x * sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));
        case QUICK_GELU: return x * sigmoid(1.702f * x);
        case RELU: return maximum(splat(0), x);
        default: return x * sigmoid(x);
    }
}

INLINE void gate_row_with(const float *gate, const float *up, float *to, int64_t columns, enum activation activation) {
    int64_t column = 0;
    for (; column + WIDTH <= columns; column += WIDTH)
        store(to + column, activate(load(gate + column), activation) * load(up + column));
    if (column < columns) {
        const int64_t rest = columns - column;
        const vec last = activate(load_some(gate + column, rest), activation) * load_some(up + column, rest);
        store_some(to + column, last, rest);
    }
}

#define GATE(activation) \
    case activation: gate_row_with(gate, up, to, columns, activation); break;

/* to = activation(gate) * up; `to` may be `gate` or `up`. */
INLINE void gate_row(const float *gate, const float *up, float *to, int64_t columns, enum activation activation) {
    switch (activation) { GATE(GELU) GATE(GELU_TANH) GATE(QUICK_GELU) GATE(RELU) GATE(SILU) }
}

#endif
