/* Declarations of ops that other ops call. Their arguments are documented in their own files. */

#ifndef MILLPOND_OPS_H
#define MILLPOND_OPS_H

#include "vector.h"

/* The weights of a linear layer. Vectors have one value per output, padded to whole panels. */
struct linear_weights {
    const void *panels;  /* float, bfloat16 or int8 */
    const float *scales; /* int8 only */
    const int32_t *sums; /* int8 only */
    const float *bias;   /* or NULL */
    int64_t inputs, outputs;
    int64_t dot_products; /* of int8: the instructions that the weights are for (int8_tile.h); 1 if bfloat16 weights
                           * are for vdpbf16ps */
};

void millpond_linear(const struct linear_weights *weights, const float *x, float *y, int64_t rows, int64_t add_bias,
                     char *scratch, int64_t threads);
void millpond_bias_gelu(float *x, const float *bias, int64_t rows, int64_t columns, int64_t threads);
void millpond_residual_layer_norm(float *x, const float *bias, const float *residual, const float *weight,
                                  const float *shift, float eps, int64_t rows, int64_t columns, int64_t threads);
void millpond_attention(const float *query, const float *key, const float *value, int64_t query_stride,
                        int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                        int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch, int64_t threads,
                        int64_t attended, const float *bias, int64_t bias_stride);
int64_t millpond_attention_scratch(int64_t length, int64_t head_dim);

void millpond_linear_int8(const struct linear_weights *weights, const float *x, float *y, int64_t rows,
                          int64_t add_bias, char *scratch, int64_t threads);
int64_t millpond_linear_int8_scratch(const struct linear_weights *weights);
void millpond_feed_forward_int8(const struct linear_weights *up, const struct linear_weights *down, const float *x,
                                float *y, int64_t rows, char *scratch, int64_t threads);
int64_t millpond_feed_forward_int8_scratch(const struct linear_weights *up);

void millpond_linear_bf16(const struct linear_weights *weights, const float *x, float *y, int64_t rows,
                          int64_t add_bias, char *scratch, int64_t threads);
int64_t millpond_linear_bf16_scratch(const struct linear_weights *weights);
void millpond_feed_forward_bf16(const struct linear_weights *up, const struct linear_weights *down, const float *x,
                                float *y, int64_t rows, char *scratch, int64_t threads);
int64_t millpond_feed_forward_bf16_scratch(const struct linear_weights *up);

#if WIDTH == 16
void millpond_attention_int8(const float *query, const float *key, const float *value, int64_t query_stride,
                             int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                             int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch,
                             int64_t threads);
int64_t millpond_attention_int8_scratch(int64_t length, int64_t head_dim);

void millpond_attention_bf16(const float *query, const float *key, const float *value, int64_t query_stride,
                             int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                             int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch,
                             int64_t threads);
int64_t millpond_attention_bf16_scratch(int64_t length, int64_t head_dim);
#endif

#endif
