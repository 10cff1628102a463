/* Binary and Where, broadcast. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* A row function: one loop for each of two contiguous inputs, or one input that is a single value. */
#define ROW(name, from, to, f)                                                              \
    static void name(int64_t n, const void *va, int sa, const void *vb, int sb, void *vy) { \
        const from *pa = va, *pb = vb;                                                      \
        to *y = vy;                                                                         \
        if (sa && sb)                                                                       \
            for (int64_t i = 0; i < n; i++) {                                               \
                from a = pa[i], b = pb[i];                                                  \
                y[i] = (to)(f);                                                             \
            }                                                                               \
        else if (sa) {                                                                      \
            const from b = *pb;                                                             \
            for (int64_t i = 0; i < n; i++) {                                               \
                from a = pa[i];                                                             \
                y[i] = (to)(f);                                                             \
            }                                                                               \
        } else {                                                                            \
            const from a = *pa;                                                             \
            for (int64_t i = 0; i < n; i++) {                                               \
                from b = pb[i * sb];                                                        \
                y[i] = (to)(f);                                                             \
            }                                                                               \
        }                                                                                   \
    }

/* The same for integers and bools, which are indices, lengths and masks: one loop for any step, an eighth of the code. */
#define SMALL_ROW(name, from, to, f)                                                        \
    static void name(int64_t n, const void *va, int sa, const void *vb, int sb, void *vy) { \
        const from *pa = va, *pb = vb;                                                      \
        to *y = vy;                                                                         \
        for (int64_t i = 0; i < n; i++, pa += sa, pb += sb) {                               \
            const from a = *pa, b = *pb;                                                    \
            y[i] = (to)(f);                                                                 \
        }                                                                                   \
    }

/* Chosen by a's bits, without a branch: compilers then do several at once. */
static inline float prelu(float a, float slope) {
    const float scaled = slope * a;
    uint32_t bits, other;
    memcpy(&bits, &a, sizeof bits);
    memcpy(&other, &scaled, sizeof other);
    const uint32_t negative = bits << 1 ? 0u - (bits >> 31) : 0;
    bits = (bits & ~negative) | (other & negative);
    memcpy(&a, &bits, sizeof a);
    return a;
}

static inline float mod_f32(float a, float b) {
    float r = fmodf(a, b);
    if (r == 0)
        return copysignf(r, b);
    return (r < 0) != (b < 0) ? r + b : r;
}

/* int32 arithmetic wraps; a division by 0 gives 0. */
static inline int32_t div_i32(int32_t a, int32_t b) { return b == 0 ? 0 : b == -1 ? (int32_t)(0u - (uint32_t)a) : a / b; }

static inline int32_t fmod_i32(int32_t a, int32_t b) { return b == 0 || b == -1 ? 0 : a % b; }

static inline int32_t mod_i32(int32_t a, int32_t b) {
    int32_t r = fmod_i32(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* Saturates, also 0 to a negative power; a fraction truncates to 0. Without libm's pow, which asks for glibc 2.29. */
static int32_t pow_i32(int32_t a, int32_t b) {
    if (a == 1 || b == 0)
        return 1;
    if (a == -1)
        return b & 1 ? -1 : 1;
    if (a == 0 || b < 0)
        return a == 0 && b < 0 ? INT32_MAX : 0;
    const int64_t base = a < 0 ? -(int64_t)a : a, beyond = INT64_C(1) << 31;
    int64_t size = 1;
    for (int32_t n = 0; n < b && size < beyond; n++)
        size *= base;
    const int64_t power = a < 0 && b & 1 ? -size : size;
    return power > INT32_MAX ? INT32_MAX : power < INT32_MIN ? INT32_MIN : (int32_t)power;
}

ROW(add_f32, float, float, a + b)
ROW(sub_f32, float, float, a - b)
ROW(mul_f32, float, float, a *b)
ROW(div_f32, float, float, a / b)
ROW(pow_f32, float, float, le_pow(a, b))
ROW(min_f32, float, float, a < b || a != a ? a : b)
ROW(max_f32, float, float, a > b || a != a ? a : b)
ROW(mod_f32_row, float, float, mod_f32(a, b))
ROW(fmod_f32, float, float, fmodf(a, b))
ROW(prelu_f32, float, float, prelu(a, b))
ROW(equal_f32, float, uint8_t, a == b)
ROW(not_equal_f32, float, uint8_t, a != b)
ROW(less_f32, float, uint8_t, a < b)
ROW(less_equal_f32, float, uint8_t, a <= b)
ROW(greater_f32, float, uint8_t, a > b)
ROW(greater_equal_f32, float, uint8_t, a >= b)

SMALL_ROW(add_i32, int32_t, int32_t, (uint32_t)a + (uint32_t)b)
SMALL_ROW(sub_i32, int32_t, int32_t, (uint32_t)a - (uint32_t)b)
SMALL_ROW(mul_i32, int32_t, int32_t, (uint32_t)a *(uint32_t)b)
SMALL_ROW(div_i32_row, int32_t, int32_t, div_i32(a, b))
SMALL_ROW(pow_i32_row, int32_t, int32_t, pow_i32(a, b))
SMALL_ROW(min_i32, int32_t, int32_t, a < b ? a : b)
SMALL_ROW(max_i32, int32_t, int32_t, a > b ? a : b)
SMALL_ROW(mod_i32_row, int32_t, int32_t, mod_i32(a, b))
SMALL_ROW(fmod_i32_row, int32_t, int32_t, fmod_i32(a, b))
SMALL_ROW(equal_i32, int32_t, uint8_t, a == b)
SMALL_ROW(not_equal_i32, int32_t, uint8_t, a != b)
SMALL_ROW(less_i32, int32_t, uint8_t, a < b)
SMALL_ROW(less_equal_i32, int32_t, uint8_t, a <= b)
SMALL_ROW(greater_i32, int32_t, uint8_t, a > b)
SMALL_ROW(greater_equal_i32, int32_t, uint8_t, a >= b)

SMALL_ROW(equal_bool, uint8_t, uint8_t, !a == !b)
SMALL_ROW(not_equal_bool, uint8_t, uint8_t, !a != !b)
SMALL_ROW(and_bool, uint8_t, uint8_t, a &&b)
SMALL_ROW(or_bool, uint8_t, uint8_t, a || b)
SMALL_ROW(xor_bool, uint8_t, uint8_t, !a != !b)

const le_binary_row le_row_add_f32 = add_f32, le_row_mul_f32 = mul_f32;

enum { FIRST_COMPARISON = 10 };

static const char *const kinds[] = {"add",   "sub",       "mul",  "div",        "pow",     "min",           "max", "mod", "fmod", "prelu",
                                    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "and", "or",  "xor",  NULL};

/* By kind and le_dtype (float32, int32, bool); NULL where the kind does not take the dtype. */
static const le_binary_row rows[][3] = {
    {add_f32, add_i32, NULL},
    {sub_f32, sub_i32, NULL},
    {mul_f32, mul_i32, NULL},
    {div_f32, div_i32_row, NULL},
    {pow_f32, pow_i32_row, NULL},
    {min_f32, min_i32, NULL},
    {max_f32, max_i32, NULL},
    {mod_f32_row, mod_i32_row, NULL},
    {fmod_f32, fmod_i32_row, NULL},
    {prelu_f32, NULL, NULL},
    {equal_f32, equal_i32, equal_bool},
    {not_equal_f32, not_equal_i32, not_equal_bool},
    {less_f32, less_i32, NULL},
    {less_equal_f32, less_equal_i32, NULL},
    {greater_f32, greater_i32, NULL},
    {greater_equal_f32, greater_equal_i32, NULL},
    {NULL, NULL, and_bool},
    {NULL, NULL, or_bool},
    {NULL, NULL, xor_bool},
};

le_status le_pack_binary(le_pack_ctx *ctx) {
    static const char *const keys[] = {"kind", NULL};
    int *kind = le_pack_alloc(ctx, sizeof *kind);
    if (!kind)
        return LE_ERR_MEMORY;
    ctx->node->packed = kind;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "kind"));
    return le_attr_word(ctx, "kind", "", kinds, kind);
}

le_status le_shape_binary(le_ctx *ctx) {
    int kind = *(const int *)ctx->node->packed;
    le_dtype dtype = ctx->in[0]->dtype;
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(le_expect_dtype(ctx, 1, dtype));
    if (!rows[kind][dtype])
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "%s does not take inputs of dtype %s", kinds[kind],
                          dtype == LE_F32   ? "float32"
                          : dtype == LE_I32 ? "int32"
                                            : "bool");
    LE_TRY(le_broadcast(ctx, ctx->in[0], ctx->in[1], ctx->out[0]));
    ctx->out[0]->dtype = kind >= FIRST_COMPARISON ? LE_BOOL : dtype;
    return le_check_size(ctx, ctx->out[0]);
}

le_status le_run_binary(le_ctx *ctx) {
    le_binary_apply(rows[*(const int *)ctx->node->packed][ctx->in[0]->dtype], ctx->in[0], ctx->in[1], ctx->out[0]);
    return LE_OK;
}

/* ---- Where ---- */

le_status le_pack_where(le_pack_ctx *ctx) {
    static const char *const keys[] = {NULL};
    return le_attr_check(ctx, keys);
}

le_status le_shape_where(le_ctx *ctx) {
    le_tensor *y = ctx->out[0], both;
    LE_TRY(le_expect_dtype(ctx, 0, LE_BOOL));
    LE_TRY(le_expect_run_dtype(ctx, 1));
    LE_TRY(le_expect_dtype(ctx, 2, ctx->in[1]->dtype));
    LE_TRY(le_broadcast(ctx, ctx->in[1], ctx->in[2], &both));
    LE_TRY(le_broadcast(ctx, ctx->in[0], &both, y));
    y->dtype = ctx->in[1]->dtype;
    return le_check_size(ctx, y);
}

static void where_row(int64_t n, size_t width, const uint8_t *c, const int64_t *step, const void *a, const void *b, void *y) {
    if (width == 4) {
        const le_word *pa = a, *pb = b;
        le_word *out = y;
        for (int64_t i = 0; i < n; i++)
            out[i] = c[i * step[0]] ? pa[i * step[1]] : pb[i * step[2]];
    } else {
        const uint8_t *pa = a, *pb = b;
        uint8_t *out = y;
        for (int64_t i = 0; i < n; i++)
            out[i] = c[i * step[0]] ? pa[i * step[1]] : pb[i * step[2]];
    }
}

le_status le_run_where(le_ctx *ctx) {
    const le_tensor *c = ctx->in[0], *a = ctx->in[1], *b = ctx->in[2], *y = ctx->out[0];
    if (le_count(y) == 0)
        return LE_OK;
    le_bcast bc;
    le_bcast_make(&bc, y->rank, y->dims, 3, (int[]){c->rank, a->rank, b->rank}, (const int64_t *const[]){c->dims, a->dims, b->dims});
    int last = bc.rank - 1;
    int64_t index[LE_MAX_RANK] = {0}, offset[3] = {0}, n = bc.dims[last];
    int64_t step[3] = {bc.stride[0][last], bc.stride[1][last], bc.stride[2][last]};
    size_t width = le_dtype_size(y->dtype);
    uint8_t *out = y->data;
    do {
        where_row(n, width, (const uint8_t *)c->data + offset[0], step, (const uint8_t *)a->data + offset[1] * (int64_t)width,
                  (const uint8_t *)b->data + offset[2] * (int64_t)width, out);
        out += (size_t)n * width;
    } while (le_bcast_next(&bc, last, 3, index, offset));
    return LE_OK;
}
