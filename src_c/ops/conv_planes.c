/* Convolutions without turning x or y: positions lie along the vectors, channels are broadcast. */
#include "conv.h"

#include <string.h>

#define BLOCK 64 /* output positions at once */

static int64_t block_of(const le_kernels *kernels) { return kernels->panel < BLOCK ? kernels->panel : BLOCK; }

/* Floats from one k to the next of a packed matrix of so many columns. */
static int64_t packed_step(const le_kernels *kernels, int64_t n) { return (int64_t)(kernels->pack_f32_size((int)n, 1) / sizeof(float)); }

int64_t le_planes_scratch(const le_kernels *kernels, const le_window *w, int64_t per_group, bool across) {
    if (!across)
        return w->size[1] + w->begin[1] + w->end[1];
    return packed_step(kernels, block_of(kernels)) * per_group * w->kernel[0] * w->kernel[1];
}

/* out[i] = what the window of output i of a row has at offset `at` from its begin, 0 outside of `line`, which is NULL when it is all padding. */
static void gather_row(const le_window *w, const float *line, int64_t at, int64_t n, float *out) {
    const int64_t stride = w->stride[1], size = line ? w->size[1] : 0;
    int64_t i = 0, from = at;
    for (; i < n && (from < 0 || !line); i++, from += stride)
        out[i] = 0;
    int64_t inside = from >= size ? 0 : stride == 1 ? size - from : (size - from + stride - 1) / stride;
    inside = inside < n - i ? inside : n - i;
    if (stride == 1) {
        memcpy(out + i, line ? line + from : out, (size_t)inside * sizeof *out);
        i += inside;
    } else {
        for (int64_t end = i + inside; i < end; i++, from += stride)
            out[i] = line[from];
    }
    for (; i < n; i++)
        out[i] = 0;
}

static const float *line_of(const le_window *w, const float *plane, int64_t h) {
    return h < 0 || h >= w->size[0] ? NULL : plane + h * w->size[1];
}

/* One channel's values under one tap for n positions from one on. */
static void gather_tap(const le_window *w, const float *plane, int64_t kh, int64_t kw, int64_t row, int64_t column, int64_t n, float *out) {
    for (; n > 0; row++, column = 0) {
        const int64_t left = w->out[1] - column, run = left < n ? left : n;
        const int64_t at = column * w->stride[1] + kw * w->dilation[1] - w->begin[1];
        gather_row(w, line_of(w, plane, row * w->stride[0] + kh * w->dilation[0] - w->begin[0]), at, run, out);
        out += run;
        n -= run;
    }
}

/* The positions' windows, packed as if they were the rows of a weight matrix, and W in the place of x: so W's outputs are the rows of y. */
static void multiply_block(const le_planes *p, const float *x, int64_t group, int64_t first, int64_t n, float *y) {
    const le_window *w = p->w;
    const int64_t channels = w->channels / p->groups, taps = w->kernel[0] * w->kernel[1], k = taps * channels;
    const int64_t plane = w->size[0] * w->size[1], positions = w->out[0] * w->out[1], outputs = p->outputs / p->groups;
    const int64_t step = packed_step(p->kernels, n), row = first / w->out[1], column = first % w->out[1];
    float *at = p->scratch;
    for (int64_t kh = 0; kh < w->kernel[0]; kh++)
        for (int64_t kw = 0; kw < w->kernel[1]; kw++)
            for (int64_t c = 0; c < channels; c++, at += step) {
                gather_tap(w, x + (group * channels + c) * plane, kh, kw, row, column, n, at);
                for (int64_t i = n; i < step; i++)
                    at[i] = 0;
            }
    y += group * outputs * positions + first;
    for (int64_t o = 0; p->bias && o < outputs; o++)
        for (int64_t i = 0; i < n; i++)
            y[o * positions + i] = p->bias[group * outputs + o];
    const le_packed packed = {.n = (int)n, .k = (int)k, .kind = LE_PACKED_F32, .data = p->scratch};
    p->kernels->matmul_f32((int)outputs, p->weights + group * outputs * k, k, &packed, p->bias ? y : NULL, positions, y, positions);
}

void le_conv_across(const le_planes *p, const float *x, float *y) {
    const le_window *w = p->w;
    const int64_t positions = w->out[0] * w->out[1], most = block_of(p->kernels);
    const int64_t blocks =
        (positions + most - 1) / most; /* as equal as can be: none has so few columns that the order of sums would be another */
    for (int64_t b = 0; b < w->batch; b++, x += w->channels * w->size[0] * w->size[1], y += p->outputs * positions)
        for (int64_t group = 0; group < p->groups; group++)
            for (int64_t i = 0; i < blocks; i++) {
                const int64_t first = positions * i / blocks;
                multiply_block(p, x, group, first, positions * (i + 1) / blocks - first, y);
            }
}

static void start_plane(const le_planes *p, int64_t channel, int64_t n, float *y) {
    const float start = p->bias ? p->bias[channel] : 0;
    for (int64_t i = 0; i < n; i++)
        y[i] = start;
}

/* Adds what a line of x gives to a row of y. The padding takes part as zeros, as it does where windows are copied. */
static void add_line(const le_planes *p, const float *line, const float *taps, int64_t step, float *y) {
    const le_window *w = p->w;
    if (!line || w->begin[1] || w->end[1]) {
        gather_row(&(le_window){.size = {1, w->size[1]}, .stride = {1, 1}}, line, -w->begin[1], w->size[1] + w->begin[1] + w->end[1],
                   p->scratch);
        line = p->scratch;
    }
    for (int64_t kw = 0; kw < w->kernel[1]; kw++)
        p->kernels->axpy(w->out[1], taps[kw * step], line + kw * w->dilation[1], y);
}

void le_conv_planes(const le_planes *p, const float *x, float *y) {
    const le_window *w = p->w;
    for (int64_t b = 0; b < w->batch; b++)
        for (int64_t c = 0; c < w->channels; c++, x += w->size[0] * w->size[1])
            for (int64_t h = 0; h < w->out[0]; h++, y += w->out[1]) {
                start_plane(p, c, w->out[1], y);
                for (int64_t kh = 0; kh < w->kernel[0]; kh++)
                    add_line(p, line_of(w, x, h * w->stride[0] + kh * w->dilation[0] - w->begin[0]),
                             p->weights + kh * w->kernel[1] * w->channels + c, w->channels, y);
            }
}

/* All channels under one tap: so that a row is not read just after it was written at another alignment, which would wait for the write. */
static void add_tap(const le_planes *p, int64_t kh, int64_t kw, const float *x, float *y) {
    const le_window *w = p->w;
    const int64_t inputs = w->size[0] * w->size[1], outputs = w->out[0] * w->out[1];
    const float *weights = p->weights + (kh * w->kernel[1] + kw) * w->channels;
    int64_t h0, h1, w0, w1, oh = le_window_reach(w, 0, kh, &h0, &h1), ow = le_window_reach(w, 1, kw, &w0, &w1);
    for (int64_t h = h0; w1 > w0 && h < h1; h++, oh += w->stride[0])
        for (int64_t c = 0; c < w->channels; c++)
            p->kernels->axpy(w1 - w0, weights[c], x + c * inputs + h * w->size[1] + w0, y + c * outputs + oh * w->out[1] + ow);
}

void le_transposed_planes(const le_planes *p, const float *x, float *y) {
    const le_window *w = p->w;
    const int64_t inputs = w->channels * w->size[0] * w->size[1], outputs = w->out[0] * w->out[1];
    for (int64_t b = 0; b < w->batch; b++, x += inputs, y += w->channels * outputs) {
        for (int64_t c = 0; c < w->channels; c++)
            start_plane(p, c, outputs, y + c * outputs);
        for (int64_t kh = 0; kh < w->kernel[0]; kh++)
            for (int64_t kw = 0; kw < w->kernel[1]; kw++)
                add_tap(p, kh, kw, x, y);
    }
}
