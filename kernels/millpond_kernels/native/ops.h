/* The ops that other code here is made of; each says in its own file what it takes. */

#ifndef MILLPOND_OPS_H
#define MILLPOND_OPS_H

#include "vector.h"

void millpond_linear(const float *x, const float *panels, const float *bias, float *y, int64_t rows, int64_t inputs,
                     int64_t outputs, int64_t threads);
void millpond_bias_gelu(float *x, const float *bias, int64_t rows, int64_t columns, int64_t threads);
void millpond_residual_layer_norm(float *x, const float *bias, const float *residual, const float *weight,
                                  const float *shift, float eps, int64_t rows, int64_t columns, int64_t threads);
void millpond_attention(const float *query, const float *key, const float *value, int64_t query_stride,
                        int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                        int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch, int64_t threads,
                        int64_t attended, const float *bias, int64_t bias_stride);
int64_t millpond_attention_scratch(int64_t length, int64_t head_dim);

#if WIDTH == 16
void millpond_linear_int8(const float *x, const int8_t *panels, const float *scales, const int32_t *sums,
                          const float *bias, float *y, int64_t rows, int64_t inputs, int64_t outputs, uint8_t *scratch,
                          int64_t threads);
int64_t millpond_linear_int8_scratch(int64_t inputs);
void millpond_feed_forward_int8(const float *x, const int8_t *panels, const float *scales, const int32_t *sums,
                                const float *bias, const int8_t *second_panels, const float *second_scales,
                                const int32_t *second_sums, float *y, int64_t rows, int64_t inputs, int64_t inner,
                                int64_t outputs, char *scratch, int64_t threads);
int64_t millpond_feed_forward_int8_scratch(int64_t inputs, int64_t inner);
void millpond_attention_int8(const float *query, const float *key, const float *value, int64_t query_stride,
                             int64_t key_stride, int64_t value_stride, int64_t sequences, int64_t length, int64_t heads,
                             int64_t kv_heads, int64_t head_dim, float scale, float *output, char *scratch,
                             int64_t threads);
int64_t millpond_attention_int8_scratch(int64_t length, int64_t head_dim);
#endif

#endif
