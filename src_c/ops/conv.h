/* Convolutions of channels-first x whose planes, a channel's positions, are vectors: conv_planes.c, for conv.c and conv_transpose.c. */
#ifndef LE_CONV_H
#define LE_CONV_H

#include "ops.h"

/* Fewer positions, or fewer outputs of a group, are left to the ways of conv.c: kernels sum matrices with so few rows in another order. */
#define LE_ACROSS_LEAST 8

typedef struct {
    const le_kernels *kernels;
    const le_window *w;
    int64_t outputs, groups;
    const float *bias, *weights;
    float *scratch; /* le_planes_scratch floats */
} le_planes;

int64_t le_planes_scratch(const le_kernels *kernels, const le_window *w, int64_t per_group, bool across);
/* weights: a row of taps x channels of the group for each output. */
void le_conv_across(const le_planes *p, const float *x, float *y);
/* A filter for each channel. weights: taps x channels; the stride along the last axis is 1. */
void le_conv_planes(const le_planes *p, const float *x, float *y);
/* The same of ConvTranspose. */
void le_transposed_planes(const le_planes *p, const float *x, float *y);

/* Input positions *low..*high - 1 of axis d reach the output through tap k (ConvTranspose); the first of them at the returned position. */
int64_t le_window_reach(const le_window *w, int d, int64_t k, int64_t *low, int64_t *high);

#endif
