/* What the op files share: prototypes of every row of ops.def, strided copies, broadcasting, weights, windows. */
#ifndef LE_OPS_H
#define LE_OPS_H

#include "core.h"

#define OP(name, suffix, min_in, max_in, min_out, max_out) \
    le_status le_pack_##suffix(le_pack_ctx *ctx);          \
    le_status le_shape_##suffix(le_ctx *ctx);              \
    le_status le_run_##suffix(le_ctx *ctx);
#include "ops.def"
#undef OP

#define LE_TRY(call)                \
    do {                            \
        le_status status_ = (call); \
        if (status_ != LE_OK)       \
            return status_;         \
    } while (0)

/* Attributes that count or place something stay below this, so that products of two of them and a size fit in int64. */
#define LE_ATTR_LIMIT ((int64_t)1 << 24)

/* 4-byte elements of any dtype. */
typedef uint32_t __attribute__((may_alias)) le_word;

/* ---- attributes and shapes (common.c) ---- */

le_status le_attr_required(le_pack_ctx *ctx, const char *key);
le_status le_attr_flag(le_pack_ctx *ctx, const char *key, bool fallback, bool *value);
/* input_bits: whether int8 weights multiply what comes into the op in 15 bits, the default, or in 8. */
le_status le_attr_fine(le_pack_ctx *ctx, bool *fine);
/* A required list of at most LE_MAX_RANK values. */
le_status le_attr_list(le_pack_ctx *ctx, const char *key, int64_t low, int64_t high, int64_t *values, int *count);

/* Input i has a dtype that runs: float32, int32 or bool. */
le_status le_expect_run_dtype(le_ctx *ctx, int i);
le_status le_expect_number(le_ctx *ctx, int i); /* float32 or int32 */
le_status le_expect_rank(le_ctx *ctx, int i, int low, int high);
/* A present input i is a float32 vector of n. */
le_status le_expect_vector(le_ctx *ctx, int i, int64_t n);
/* An error when a size of the output is negative or the sizes do not fit. */
le_status le_check_size(le_ctx *ctx, const le_tensor *out);
/* *total += count * size bytes, rounded up to 64: how scratch is laid out. */
le_status le_add_scratch(le_ctx *ctx, int64_t count, size_t size);

int64_t le_product(const int64_t *dims, int first, int end);
void le_dense_strides(int rank, const int64_t *dims, int64_t *strides);
/* Size before, on and after an axis. */
typedef struct {
    int64_t outer, size, inner;
} le_lines;
le_lines le_lines_of(const le_tensor *t, int axis);
int32_t le_saturate(float x); /* truncates; NaN gives 0 */
void le_fill(int64_t n, le_dtype dtype, float value, void *y);

/* Takes count * size bytes from *at, rounded up as le_add_scratch does. */
static inline void *le_take_scratch(uint8_t **at, int64_t count, size_t size) {
    void *taken = *at;
    *at += ((size_t)count * size + 63) / 64 * 64;
    return taken;
}

/* ---- strided copies (view.c) ---- */

#define LE_VIEW_RANK (2 * LE_MAX_RANK)
typedef struct {
    int rank;
    int64_t dims[LE_VIEW_RANK], src[LE_VIEW_RANK], dst[LE_VIEW_RANK]; /* strides in elements */
} le_view;
void le_view_copy(const le_view *view, size_t width, const void *src, void *dst);
/* dst[c][r] = src[r][c] of 4-byte elements; row strides in elements. */
void le_transpose2(int64_t rows, int64_t cols, const void *src, int64_t src_stride, void *dst, int64_t dst_stride);

/* ---- broadcasting (broadcast.c) ---- */

/* Up to three inputs broadcast to one shape, axes joined where all allow it. The last axis has stride 0 or 1 in each. */
typedef struct {
    int rank; /* at least 1 */
    int64_t dims[LE_MAX_RANK], stride[3][LE_MAX_RANK];
} le_bcast;
void le_bcast_make(le_bcast *b, int rank, const int64_t *dims, int n, const int *ranks, const int64_t *const *in_dims);
/* Steps over axes 0..axes-1, offsets of the n inputs alongside; false after the last. */
bool le_bcast_next(const le_bcast *b, int axes, int n, int64_t *index, int64_t *offset);

/* y[i] = f(a[i * sa], b[i * sb]), sa and sb 0 or 1; y may be a or b where that one's stride is 1. */
typedef void (*le_binary_row)(int64_t n, const void *a, int sa, const void *b, int sb, void *y);
void le_binary_apply(le_binary_row row, const le_tensor *a, const le_tensor *b, const le_tensor *y);
extern const le_binary_row le_row_add_f32, le_row_mul_f32;

/* ---- reduction (reduce.c) ---- */

/* Axes in runs of reduced and kept ones. Runs follow from the axes alone, never from sizes, so that the order of summation does too. */
typedef struct {
    int n;                                          /* at least 1 */
    int64_t size[LE_MAX_RANK], stride[LE_MAX_RANK]; /* stride of the result; 0 for reduced runs */
    int64_t kept, reduced;
    bool last_reduced;
} le_runs;
void le_runs_make(le_runs *r, int rank, const int64_t *dims, uint32_t reduced_axes);
bool le_runs_next(const le_runs *r, int64_t *index, int64_t *offset); /* over all runs but the last */
le_status le_axis_mask(le_ctx *ctx, const int64_t *axes, int count, int rank, uint32_t *mask);

/* Of one row, in an order that depends on its length alone: the sum of x, and that of (x - mean)^2. */
float le_row_sum(int64_t n, const float *x);
float le_row_deviation(int64_t n, const float *x, float mean);

/* ---- functions without libm (elementary.c) ---- */

float le_exp(float x);
float le_log(float x);
float le_pow(float a, float b);
float le_erf(float x);

/* ---- weights (weights.c) ---- */

enum { LE_SPARSE_PERCENT = 50 };

/* W as n rows of k0 * k1 columns within a constant: element (j, a, b) lies at offset + j n_stride + a k0_stride + b k1_stride. */
typedef struct {
    int64_t offset, n, n_stride, k0, k0_stride, k1, k1_stride;
} le_weight_view;

/* A weight as stored: LE_F32, LE_F16 or LE_I8 with a scale for each per_scale elements in order. */
typedef struct {
    const void *data;
    le_dtype dtype;
    const float *scale;
    int64_t per_scale;
} le_weight;

/* The constant at input i as a weight, its scales checked; *def NULL when that input is not constant. */
le_status le_weight_open(le_pack_ctx *ctx, int i, le_weight *weight, const le_tensor_def **def);
le_weight le_weight_of(const le_tensor *t);
/* Elements offset, offset + stride, ... as float32. */
void le_weight_widen(const le_weight *w, int64_t offset, int64_t n, int64_t stride, float *out);
void le_weight_gather(const le_weight *w, const le_weight_view *view, float *rows); /* rows: n x k0 k1 */
/* Packs a constant weight once, at load, in the form it is stored in; int8 without one scale per row is widened to float32. */
le_status le_pack_views(le_pack_ctx *ctx, const le_weight *w, int count, const le_weight_view *views, le_packed *out);
le_status le_pack_weight(le_pack_ctx *ctx, const le_weight *w, const le_weight_view *view, le_packed *out);
/* Packs rows of w's kind, `stride` elements apart, without their zero blocks where at most LE_SPARSE_PERCENT of them hold something; else w stays
 * as it is. scale: int8's. */
le_status le_pack_sparse(le_pack_ctx *ctx, const void *rows, ptrdiff_t stride, const float *scale, le_packed *w);
/* The same of a float32 tensor in a run; rows: n x k0 k1 floats of scratch, out->data given. */
void le_repack_weight(const le_kernels *kernels, const float *w, const le_weight_view *view, float *rows, le_packed *out);
/* Whether n x k can be packed; adds the bytes for `count` of them to the scratch. */
le_status le_add_packed_scratch(le_ctx *ctx, int64_t n, int64_t k, int64_t count);
size_t le_packed_stride(const le_kernels *kernels, int64_t n, int64_t k);

/* Bytes of scratch that multiplying with an int8 weight of k columns takes. */
size_t le_multiply_scratch(int k);
void le_multiply_i8(const le_kernels *kernels, int rows, const float *x, ptrdiff_t x_stride, const le_packed *w, const float *init,
                    ptrdiff_t init_stride, float *y, ptrdiff_t y_stride, void *scratch);

/* y = init + x W^T, whatever W is stored as; kernels.h says how. scratch: le_multiply_scratch(w->k) bytes, read for int8 alone. */
static inline void le_multiply(const le_kernels *kernels, int rows, const float *x, ptrdiff_t x_stride, const le_packed *w,
                               const float *init, ptrdiff_t init_stride, float *y, ptrdiff_t y_stride, void *scratch) {
    if (w->kind == LE_PACKED_F32)
        kernels->matmul_f32(rows, x, x_stride, w, init, init_stride, y, y_stride);
    else if (w->kind == LE_PACKED_F16)
        kernels->matmul_f16(rows, x, x_stride, w, init, init_stride, y, y_stride);
    else
        le_multiply_i8(kernels, rows, x, x_stride, w, init, init_stride, y, y_stride, scratch);
}

/* le_multiply for any number of rows and for n or k of 0. */
void le_matmul(const le_kernels *kernels, int64_t rows, const float *x, int64_t x_stride, const le_packed *w, const float *init,
               int64_t init_stride, float *y, int64_t y_stride, void *scratch);

/* ---- windows: Conv, ConvTranspose, Pool (window.c) ---- */

typedef struct {
    bool channels_last;
    int n_stride, n_dilation, n_pad; /* 0: defaults */
    int64_t stride[2], dilation[2], pad[4];
} le_window_attrs;

/* x as (batch, size[0], size[1], channels) in either layout; with one spatial axis, axis 0 is a dummy of 1. */
typedef struct {
    int64_t batch, channels, size[2], kernel[2], stride[2], dilation[2], begin[2], end[2], span[2], out[2];
} le_window;

le_status le_window_pack(le_pack_ctx *ctx, le_window_attrs *attrs);
/* le_weight_open of the filter at input 1. */
le_status le_filter_open(le_pack_ctx *ctx, int64_t groups, le_weight *weight, const le_tensor_def **def);
/* kernel: as many sizes as x has spatial axes. out[] is left to the op. */
le_status le_window_make(le_ctx *ctx, const le_window_attrs *attrs, const int64_t *kernel, int n_kernel, le_window *w);
le_status le_window_shape(le_ctx *ctx, const le_window_attrs *attrs, const le_window *w, int64_t channels);

#endif
