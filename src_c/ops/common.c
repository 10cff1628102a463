/* Attribute and shape checks that many ops make. */
#include "ops.h"

#include <string.h>

le_status le_attr_required(le_pack_ctx *ctx, const char *key) {
    if (le_attr_find(ctx->node, key))
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s is missing", key);
}

le_status le_attr_flag(le_pack_ctx *ctx, const char *key, bool fallback, bool *value) {
    int64_t number = 0;
    LE_TRY(le_attr_int(ctx, key, fallback, 0, 1, &number));
    *value = number != 0;
    return LE_OK;
}

le_status le_attr_fine(le_pack_ctx *ctx, bool *fine) {
    enum { COARSE = 8, FINE = 15 };
    int64_t bits;
    LE_TRY(le_attr_int(ctx, "input_bits", FINE, COARSE, FINE, &bits));
    if (bits != COARSE && bits != FINE)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute input_bits: expected 8 or 15, found %lld", (long long)bits);
    *fine = bits == FINE;
    return LE_OK;
}

le_status le_attr_list(le_pack_ctx *ctx, const char *key, int64_t low, int64_t high, int64_t *values, int *count) {
    LE_TRY(le_attr_required(ctx, key));
    return le_attr_ints(ctx, key, LE_MAX_RANK, low, high, values, count);
}

static const char *dtype_name(le_dtype dtype) {
    static const char *const names[] = {"float32", "int32", "bool", "float16", "int8"};
    return names[dtype];
}

le_status le_expect_run_dtype(le_ctx *ctx, int i) {
    le_dtype dtype = ctx->in[i]->dtype;
    if (dtype == LE_F32 || dtype == LE_I32 || dtype == LE_BOOL)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %d: expected dtype float32, int32 or bool, found %s", i, dtype_name(dtype));
}

le_status le_expect_number(le_ctx *ctx, int i) {
    le_dtype dtype = ctx->in[i]->dtype;
    if (dtype == LE_F32 || dtype == LE_I32)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %d: expected dtype float32 or int32, found %s", i, dtype_name(dtype));
}

le_status le_expect_rank(le_ctx *ctx, int i, int low, int high) {
    int rank = ctx->in[i]->rank;
    if (rank >= low && rank <= high)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %d: expected rank %d to %d, found %d", i, low, high, rank);
}

le_status le_expect_vector(le_ctx *ctx, int i, int64_t n) {
    if (i >= ctx->node->n_in || !ctx->in[i])
        return LE_OK;
    LE_TRY(le_expect_dtype(ctx, i, LE_F32));
    LE_TRY(le_expect_rank(ctx, i, 1, 1));
    if (ctx->in[i]->dims[0] == n)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %d: expected %lld elements, found %lld", i, (long long)n,
                      (long long)ctx->in[i]->dims[0]);
}

le_status le_check_size(le_ctx *ctx, const le_tensor *out) {
    for (int d = 0; d < out->rank; d++)
        if (out->dims[d] < 0)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "axis %d of the output: expected a size of 0 or more, found %lld", d,
                              (long long)out->dims[d]);
    if (le_dims_fit(out->rank, out->dims))
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "the output has more than 2^40 elements");
}

static size_t round64(size_t bytes) { return (bytes + 63) / 64 * 64; }

le_status le_add_scratch(le_ctx *ctx, int64_t count, size_t size) {
    int64_t bytes;
    if (!le_mul_size(count, (int64_t)size, &bytes) || (uint64_t)bytes > SIZE_MAX - ctx->scratch_size - 64)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "needs scratch memory for %lld elements, more than can be addressed",
                          (long long)count);
    ctx->scratch_size += round64((size_t)bytes);
    return LE_OK;
}

int64_t le_product(const int64_t *dims, int first, int end) {
    int64_t product = 1;
    for (int d = first; d < end; d++)
        product *= dims[d];
    return product;
}

void le_dense_strides(int rank, const int64_t *dims, int64_t *strides) {
    int64_t stride = 1;
    for (int d = rank - 1; d >= 0; d--) {
        strides[d] = stride;
        stride *= dims[d];
    }
}

le_lines le_lines_of(const le_tensor *t, int axis) {
    return (le_lines){le_product(t->dims, 0, axis), t->dims[axis], le_product(t->dims, axis + 1, t->rank)};
}

int32_t le_saturate(float x) {
    if (!(x == x))
        return 0;
    return x >= 2147483648.0f ? INT32_MAX : x <= -2147483648.0f ? INT32_MIN : (int32_t)x;
}

void le_fill(int64_t n, le_dtype dtype, float value, void *y) {
    if (dtype == LE_BOOL) {
        memset(y, value != 0, (size_t)n);
        return;
    }
    const int32_t whole = le_saturate(value);
    le_word word;
    memcpy(&word, dtype == LE_F32 ? (const void *)&value : &whole, sizeof word);
    for (int64_t i = 0; i < n; i++)
        ((le_word *)y)[i] = word;
}
