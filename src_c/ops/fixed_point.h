/* Whole numbers that stand for real ones: products, scales, sigmoid and tanh as TFLite and gemmlowp compute them, bit for bit. */
#ifndef LE_FIXED_POINT_H
#define LE_FIXED_POINT_H

#include "ops.h"

/* A positive real number, multiplier * 2^(shift - 31), the multiplier 0 or in [2^30, 2^31). */
typedef struct {
    int32_t multiplier;
    int shift;
} le_scale;

/* Whether a number is 0 or more and below 2^30; then *scale is it. */
bool le_scale_of(float number, le_scale *scale);
/* x * scale: what is beyond 31 bits halves up, then by a power of two, halves away from zero. */
int32_t le_rescale(int32_t x, le_scale scale);
/* x / 2^bits, halves away from zero. */
int32_t le_divide_by_power(int32_t x, int bits);
/* 1 / sqrt(x). */
le_scale le_inverse_sqrt(int32_t x);

int32_t le_saturate16(int64_t x);
/* Of x / 2^12, the result times 2^15. */
int32_t le_sigmoid16(int32_t x);
/* Of x / 2^(15 - bits), bits from 0 to 6; the result times 2^15. */
int32_t le_tanh16(int32_t x, int bits);

#endif
