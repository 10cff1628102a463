/* Weights as stored (float32, float16, int8 with scales) made into what a kernel table multiplies with. */
#include "ops.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7fff, bits;
    float value;
    if (magnitude < 0x0400) { /* zero and subnormals: exact in float32 */
        value = (float)magnitude * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    } else {
        bits = sign | ((magnitude << 13) + (magnitude >= 0x7c00 ? 0x70000000u : 0x38000000u));
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t per_scale(int64_t count, int64_t n_scale) { return n_scale > 0 && count >= n_scale ? count / n_scale : 1; }

le_status le_weight_open(le_pack_ctx *ctx, int i, le_weight *weight, const le_tensor_def **def) {
    const le_tensor_def *t = *def = le_pack_const(ctx, i);
    if (!t)
        return LE_OK;
    if (t->dtype != LE_F32 && t->dtype != LE_F16 && t->dtype != LE_I8)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input %d: expected a weight of dtype float32, float16 or int8", i);
    if (!le_dims_fit(t->rank, t->dims))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input %d: its sizes are negative or too large", i);
    int64_t count = le_product(t->dims, 0, t->rank);
    if (t->dtype == LE_I8 && (!t->scale || t->n_scale < 1 || count % t->n_scale))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input %d: int8 weight of %lld elements cannot have %lld scales", i,
                          (long long)count, (long long)t->n_scale);
    *weight = (le_weight){t->data, t->dtype, t->scale, per_scale(count, t->n_scale)};
    return LE_OK;
}

le_weight le_weight_of(const le_tensor *t) { return (le_weight){t->data, t->dtype, t->scale, per_scale(le_count(t), t->n_scale)}; }

static void widen_i8(const le_weight *w, int64_t offset, int64_t n, int64_t stride, float *out) {
    const int8_t *q = w->data;
    if (stride != 1) {
        for (int64_t i = 0, e = offset; i < n; i++, e += stride)
            out[i] = (float)q[e] * w->scale[e / w->per_scale];
        return;
    }
    for (int64_t i = 0; i < n;) {
        int64_t row = (offset + i) / w->per_scale, end = (row + 1) * w->per_scale - offset;
        float scale = w->scale[row];
        for (end = end < n ? end : n; i < end; i++)
            out[i] = (float)q[offset + i] * scale;
    }
}

void le_weight_widen(const le_weight *w, int64_t offset, int64_t n, int64_t stride, float *out) {
    if (w->dtype == LE_I8) {
        widen_i8(w, offset, n, stride, out);
    } else if (w->dtype == LE_F16) {
        const uint16_t *h = w->data;
        for (int64_t i = 0; i < n; i++)
            out[i] = half_to_float(h[offset + i * stride]);
    } else {
        const float *f = w->data;
        for (int64_t i = 0; i < n; i++)
            out[i] = f[offset + i * stride];
    }
}

void le_weight_gather(const le_weight *w, const le_weight_view *v, float *rows) {
    for (int64_t j = 0; j < v->n; j++)
        for (int64_t a = 0; a < v->k0; a++, rows += v->k1)
            le_weight_widen(w, v->offset + j * v->n_stride + a * v->k0_stride, v->k1, v->k1_stride, rows);
}

/* Kernels round both up to whole vectors. */
static bool packable(int64_t n, int64_t k) {
    const int64_t most = INT_MAX - 63;
    int64_t count;
    return n >= 0 && k >= 0 && n <= most && k <= most && le_mul_size(n, k, &count);
}

/* Whether the view's rows lie in place: no gathering. */
static bool contiguous(const le_weight_view *v) { return (v->k1 == 1 || v->k1_stride == 1) && (v->k0 == 1 || v->k0_stride == v->k1); }

size_t le_packed_stride(const le_kernels *kernels, int64_t n, int64_t k) {
    return n && k ? (kernels->pack_f32_size((int)n, (int)k) + 63) / 64 * 64 : 0;
}

/* Elements as stored, row by row. */
static void gather_stored(const le_weight *w, const le_weight_view *v, uint8_t *rows) {
    const size_t width = le_dtype_size(w->dtype);
    for (int64_t j = 0; j < v->n; j++)
        for (int64_t a = 0; a < v->k0; a++)
            for (int64_t b = 0; b < v->k1; b++, rows += width)
                memcpy(rows, (const uint8_t *)w->data + (size_t)(v->offset + j * v->n_stride + a * v->k0_stride + b * v->k1_stride) * width,
                       width);
}

/* The scale of every row of the view; false when a row has several, or holds -128, which the int8 kernels do not multiply. */
static bool row_scales(const le_weight *w, const le_weight_view *v, float *scale) {
    const int8_t *q = w->data;
    for (int64_t j = 0; j < v->n; j++) {
        const int64_t row = v->offset + j * v->n_stride, index = row / w->per_scale;
        for (int64_t a = 0; a < v->k0; a++)
            for (int64_t b = 0; b < v->k1; b++) {
                const int64_t at = row + a * v->k0_stride + b * v->k1_stride;
                if (at / w->per_scale != index || q[at] == -128)
                    return false;
            }
        scale[j] = w->scale[index];
    }
    return true;
}

/* How a weight is multiplied. A model whose answers must be the same on every ISA has no fused float16 product. */
static le_packed_kind kind_of(const le_kernels *kernels, const le_weight *w, int64_t k) {
    if (w->dtype == LE_I8)
        return k <= LE_MAX_I8_K ? LE_PACKED_I8 : LE_PACKED_F32;
    return w->dtype == LE_F16 && kernels->matmul_f16 && kernels != kernels->same_bits ? LE_PACKED_F16 : LE_PACKED_F32;
}

static size_t packed_size(const le_kernels *kernels, const le_packed *p) {
    return p->kind == LE_PACKED_I8    ? kernels->pack_i8_size(p->n, p->k)
           : p->kind == LE_PACKED_F16 ? kernels->pack_f16_size(p->n, p->k)
                                      : kernels->pack_f32_size(p->n, p->k);
}

static le_status pack_rows(le_pack_ctx *ctx, le_packed *p, const void *rows, ptrdiff_t stride, const float *scale) {
    LE_TRY(le_pack_sparse(ctx, rows, stride, scale, p));
    if (p->sparse)
        return LE_OK;
    const le_kernels *kernels = ctx->kernels;
    p->data = le_pack_alloc(ctx, packed_size(kernels, p));
    if (!p->data)
        return LE_ERR_MEMORY;
    if (p->kind == LE_PACKED_I8)
        kernels->pack_i8(p->n, p->k, rows, stride, scale, p->data);
    else if (p->kind == LE_PACKED_F16)
        kernels->pack_f16(p->n, p->k, rows, stride, p->data);
    else
        kernels->pack_f32(p->n, p->k, rows, stride, p->data);
    return LE_OK;
}

/* Rows of all views in `rows` (stored form, or float32 when out->kind says so); false when int8 rows have no scale of their own. */
static bool gather_views(const le_weight *w, int count, const le_weight_view *views, const le_packed *out, uint8_t *rows, float *scale) {
    const bool widen = out->kind == LE_PACKED_F32;
    const size_t width = widen ? sizeof(float) : le_dtype_size(w->dtype);
    for (int i = 0; i < count; i++) {
        if (widen)
            le_weight_gather(w, &views[i], (float *)(void *)rows);
        else
            gather_stored(w, &views[i], rows);
        if (out->kind == LE_PACKED_I8 && !row_scales(w, &views[i], scale))
            return false;
        rows += (size_t)views[i].n * (size_t)out->k * width;
        scale += views[i].n;
    }
    return true;
}

le_status le_pack_views(le_pack_ctx *ctx, const le_weight *w, int count, const le_weight_view *views, le_packed *out) {
    int64_t n = 0, k;
    for (int i = 0; i < count; i++)
        n += views[i].n;
    if (!le_mul_size(views[0].k0, views[0].k1, &k) || !packable(n, k))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "a weight of %lld rows is too large", (long long)n);
    *out = (le_packed){.n = (int)n, .k = (int)k, .kind = kind_of(ctx->kernels, w, k)};
    if (n == 0 || k == 0)
        return LE_OK;
    if (w->dtype == LE_F32 && count == 1 && contiguous(views))
        return pack_rows(ctx, out, (const float *)w->data + views->offset, (ptrdiff_t)views->n_stride, NULL);
    const size_t scales = (size_t)n * sizeof(float);
    const size_t room = scales + (size_t)n * (size_t)k * sizeof(float);
    uint8_t *rows = le_model_may_hold(ctx->model, room) ? le_alloc(room) : NULL;
    if (!rows)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_MEMORY, "cannot allocate %lld floats", (long long)(n * k));
    float *scale = (float *)(void *)rows;
    if (!gather_views(w, count, views, out, rows + scales, scale)) {
        out->kind = LE_PACKED_F32;
        gather_views(w, count, views, out, rows + scales, scale);
    }
    const le_status status = pack_rows(ctx, out, rows + scales, (ptrdiff_t)k, scale);
    le_free(rows, room);
    return status;
}

le_status le_pack_weight(le_pack_ctx *ctx, const le_weight *w, const le_weight_view *v, le_packed *out) {
    return le_pack_views(ctx, w, 1, v, out);
}

void le_repack_weight(const le_kernels *kernels, const float *w, const le_weight_view *v, float *rows, le_packed *out) {
    int64_t k = v->k0 * v->k1;
    out->n = (int)v->n;
    out->k = (int)k;
    out->kind = LE_PACKED_F32;
    if (v->n == 0 || k == 0)
        return;
    if (contiguous(v)) {
        kernels->pack_f32(out->n, out->k, w + v->offset, (ptrdiff_t)v->n_stride, out->data);
        return;
    }
    le_weight_gather(&(le_weight){.data = w, .dtype = LE_F32}, v, rows);
    kernels->pack_f32(out->n, out->k, rows, (ptrdiff_t)k, out->data);
}

le_status le_add_packed_scratch(le_ctx *ctx, int64_t n, int64_t k, int64_t count) {
    if (!packable(n, k))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "a weight of %lld x %lld is too large", (long long)n, (long long)k);
    return le_add_scratch(ctx, count, le_packed_stride(ctx->kernels, n, k));
}

/* Rows quantised at once. */
enum { I8_ROWS = 16 };

size_t le_multiply_scratch(int k) { return 2 * I8_ROWS * ((size_t)le_quantized_stride(k) + sizeof(float)); }

void le_multiply_i8(const le_kernels *kernels, int rows, const float *x, ptrdiff_t x_stride, const le_packed *w, const float *init,
                    ptrdiff_t init_stride, float *y, ptrdiff_t y_stride, void *scratch) {
    float *scale = scratch;
    int8_t *q = (int8_t *)(scale + 2 * I8_ROWS);
    for (int r = 0; r < rows; r += I8_ROWS) {
        const int count = rows - r < I8_ROWS ? rows - r : I8_ROWS;
        (w->fine ? kernels->quantize_fine : kernels->quantize)(count, w->k, x + r * x_stride, x_stride, q, scale);
        kernels->matmul_i8(count, q, le_quantized_stride(w->k), scale, w, init ? init + r * init_stride : NULL, init_stride,
                           y + r * y_stride, y_stride);
    }
}

void le_matmul(const le_kernels *kernels, int64_t rows, const float *x, int64_t x_stride, const le_packed *w, const float *init,
               int64_t init_stride, float *y, int64_t y_stride, void *scratch) {
    const int64_t block = 1 << 20;
    if (w->n == 0)
        return;
    for (int64_t r = 0; w->k == 0 && r < rows; r++)
        for (int j = 0; j < w->n; j++)
            y[r * y_stride + j] = init ? init[r * init_stride + j] : 0;
    for (int64_t r = 0; w->k != 0 && r < rows; r += block)
        le_multiply(kernels, (int)(rows - r < block ? rows - r : block), x + r * x_stride, (ptrdiff_t)x_stride, w,
                    init ? init + r * init_stride : NULL, (ptrdiff_t)init_stride, y + r * y_stride, (ptrdiff_t)y_stride, scratch);
}
