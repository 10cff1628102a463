/* Unary and Cast. Activations and the logarithm are kernels; the other functions are libm's. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* clang-format off */
#define EXTRA(X)                                                                                                                       \
    X(log)                                                                                                                             \
    X(neg)                                                                                                                             \
    X(abs)                                                                                                                             \
    X(sqrt) X(floor) X(ceil) X(round) X(reciprocal) X(sign) X(sin) X(cos) X(tan) X(asin) X(acos) X(atan) X(sinh) X(cosh) X(erf) \
        X(not) X(clip) X(is_nan)
/* clang-format on */

enum {
    FIRST = LE_ACT_COUNT - 1, /* so that KIND_log is LE_ACT_log */
#define X(name) KIND_##name,
    EXTRA(X)
#undef X
};

static const char *const kinds[] = {
#define X(name) #name,
    LE_ACTIVATIONS(X) EXTRA(X)
#undef X
        NULL};

typedef struct {
    int kind; /* an le_act, else KIND_ */
    float alpha, beta;
} unary;

le_status le_pack_unary(le_pack_ctx *ctx) {
    static const char *const keys[] = {"kind", "alpha", "beta", NULL};
    unary *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "kind"));
    LE_TRY(le_attr_word(ctx, "kind", "", kinds, &p->kind));
    LE_TRY(le_attr_float(ctx, "alpha", 0, &p->alpha));
    return le_attr_float(ctx, "beta", 0, &p->beta);
}

static bool has_int32(int kind) {
    return kind == KIND_neg || kind == KIND_abs || kind == KIND_sign || kind == KIND_clip || kind == LE_ACT_relu;
}

le_status le_shape_unary(le_ctx *ctx) {
    int kind = ((const unary *)ctx->node->packed)->kind;
    if (kind == KIND_not)
        LE_TRY(le_expect_dtype(ctx, 0, LE_BOOL));
    else if (has_int32(kind))
        LE_TRY(le_expect_number(ctx, 0));
    else
        LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    le_like(ctx->out[0], ctx->in[0], kind == KIND_is_nan ? LE_BOOL : ctx->in[0]->dtype);
    return LE_OK;
}

static float sign(float x) { return x > 0 ? 1 : x < 0 ? -1 : x; /* zero and NaN stay */ }

static float clip(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static void run_f32(const unary *p, int64_t n, const float *x, float *y) {
#define EACH(name, f)                   \
    case KIND_##name:                   \
        for (int64_t i = 0; i < n; i++) \
            y[i] = f;                   \
        break;
    switch (p->kind) {
        EACH(neg, -x[i])
        EACH(abs, fabsf(x[i]))
        EACH(sqrt, sqrtf(x[i]))
        EACH(floor, floorf(x[i]))
        EACH(ceil, ceilf(x[i]))
        EACH(round, rintf(x[i]))
        EACH(reciprocal, 1 / x[i])
        EACH(sign, sign(x[i]))
        EACH(sin, sinf(x[i]))
        EACH(cos, cosf(x[i]))
        EACH(tan, tanf(x[i]))
        EACH(asin, asinf(x[i]))
        EACH(acos, acosf(x[i]))
        EACH(atan, atanf(x[i]))
        EACH(sinh, sinhf(x[i]))
        EACH(cosh, coshf(x[i]))
        EACH(erf, le_erf(x[i]))
        EACH(clip, clip(x[i], p->alpha, p->beta))
    }
#undef EACH
}

static void run_i32(const unary *p, int64_t n, const int32_t *x, int32_t *y) {
    int32_t low = le_saturate(p->alpha), high = le_saturate(p->beta);
    for (int64_t i = 0; i < n; i++) {
        int32_t v = x[i], negated = (int32_t)(0u - (uint32_t)v); /* of INT32_MIN: itself */
        switch (p->kind) {
        case KIND_neg: y[i] = negated; break;
        case KIND_abs: y[i] = v < 0 ? negated : v; break;
        case KIND_sign: y[i] = (v > 0) - (v < 0); break;
        case KIND_clip:
            v = v < low ? low : v;
            y[i] = v > high ? high : v;
            break;
        default: y[i] = v < 0 ? 0 : v; break; /* relu */
        }
    }
}

le_status le_run_unary(le_ctx *ctx) {
    const unary *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    int64_t n = le_count(x);
    if (n == 0)
        return LE_OK;
    const float *f = x->data;
    uint8_t *bytes = ctx->out[0]->data;
    if (x->dtype == LE_I32) {
        run_i32(p, n, x->data, ctx->out[0]->data);
    } else if (p->kind == KIND_not) {
        for (int64_t i = 0; i < n; i++)
            bytes[i] = !((const uint8_t *)x->data)[i];
    } else if (p->kind == KIND_is_nan) {
        for (int64_t i = 0; i < n; i++)
            bytes[i] = f[i] != f[i];
    } else if (p->kind <= LE_ACT_log) {
        le_activation act = {(le_act)p->kind, p->alpha, p->beta};
        ctx->kernels->activate(act, (ptrdiff_t)n, f, ctx->out[0]->data);
    } else {
        run_f32(p, n, f, ctx->out[0]->data);
    }
    return LE_OK;
}

/* ---- Cast ---- */

le_status le_pack_cast(le_pack_ctx *ctx) {
    static const char *const keys[] = {"to", NULL};
    static const char *const words[] = {"float32", "int32", "bool", NULL}; /* in le_dtype's order */
    int *to = le_pack_alloc(ctx, sizeof *to);
    if (!to)
        return LE_ERR_MEMORY;
    ctx->node->packed = to;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "to"));
    return le_attr_word(ctx, "to", "", words, to);
}

le_status le_shape_cast(le_ctx *ctx) {
    LE_TRY(le_expect_run_dtype(ctx, 0));
    le_like(ctx->out[0], ctx->in[0], (le_dtype) * (const int *)ctx->node->packed);
    return LE_OK;
}

le_status le_run_cast(le_ctx *ctx) {
    const le_tensor *x = ctx->in[0], *y = ctx->out[0];
    int64_t n = le_count(x);
    if (n == 0)
        return LE_OK;
    if (x->dtype == y->dtype) {
        memcpy(y->data, x->data, (size_t)n * le_dtype_size(x->dtype));
        return LE_OK;
    }
#define CONVERT(from, to, value)        \
    do {                                \
        const from *in = x->data;       \
        to *out = y->data;              \
        for (int64_t i = 0; i < n; i++) \
            out[i] = value;             \
    } while (0)
    if (x->dtype == LE_F32 && y->dtype == LE_I32)
        CONVERT(float, int32_t, le_saturate(in[i]));
    else if (x->dtype == LE_F32)
        CONVERT(float, uint8_t, in[i] != 0);
    else if (x->dtype == LE_I32 && y->dtype == LE_F32)
        CONVERT(int32_t, float, (float)in[i]);
    else if (x->dtype == LE_I32)
        CONVERT(int32_t, uint8_t, in[i] != 0);
    else if (y->dtype == LE_F32)
        CONVERT(uint8_t, float, in[i] != 0 ? 1.0f : 0.0f);
    else
        CONVERT(uint8_t, int32_t, in[i] != 0);
#undef CONVERT
    return LE_OK;
}
