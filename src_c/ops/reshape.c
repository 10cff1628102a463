/* Reshape, Expand and Fill: ops whose sizes a dims spec gives. */
#include "ops.h"

#include <string.h>

typedef struct {
    int rank;
    int64_t shape[LE_MAX_RANK], from_input[LE_MAX_RANK], from_axis[LE_MAX_RANK];
    le_dtype dtype; /* Fill */
    float value;
} dims_spec;

static le_status pack_spec(le_pack_ctx *ctx, dims_spec **out) {
    dims_spec *p = *out = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    int inputs, axes;
    LE_TRY(le_attr_list(ctx, "shape", -1, (int64_t)1 << 40, p->shape, &p->rank));
    LE_TRY(le_attr_ints(ctx, "from_input", LE_MAX_RANK, -1, ctx->node->n_in - 1, p->from_input, &inputs));
    LE_TRY(le_attr_ints(ctx, "from_axis", LE_MAX_RANK, -LE_MAX_RANK, LE_MAX_RANK - 1, p->from_axis, &axes));
    if ((inputs && inputs != p->rank) || (axes && axes != p->rank))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "from_input and from_axis: expected %d values as in shape, found %d and %d",
                          p->rank, inputs, axes);
    for (int d = 0; d < p->rank; d++) {
        if (!inputs)
            p->from_input[d] = -1;
        if (p->from_input[d] >= 0 && (ctx->node->in[p->from_input[d]] < 0 || p->shape[d] < 0))
            return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT,
                              "from_input[%d]: expected an input that is present and a shape of 0 or more", d);
    }
    return LE_OK;
}

/* The sizes asked for into y; *free_axis: the one that is -1, or -1. */
static le_status resolve_spec(le_ctx *ctx, const dims_spec *p, le_tensor *y, int *free_axis) {
    *free_axis = -1;
    y->rank = p->rank;
    for (int d = 0; d < p->rank; d++) {
        y->dims[d] = p->shape[d];
        if (p->from_input[d] >= 0) {
            const le_tensor *t = ctx->in[p->from_input[d]];
            int axis;
            LE_TRY(le_axis(ctx, p->from_axis[d], t->rank, &axis));
            if (!le_mul_size(p->shape[d], t->dims[axis], &y->dims[d]))
                return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "axis %d of the output is too large", d);
        } else if (p->shape[d] < 0) {
            if (*free_axis >= 0)
                return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "shape: expected -1 once at most");
            *free_axis = d;
        }
    }
    return LE_OK;
}

static le_status no_free_axis(le_ctx *ctx, int free_axis) {
    if (free_axis < 0)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "shape: expected sizes of 0 or more, found -1");
}

/* ---- Reshape ---- */

le_status le_pack_reshape(le_pack_ctx *ctx) {
    static const char *const keys[] = {"shape", "from_input", "from_axis", NULL};
    dims_spec *p;
    LE_TRY(le_attr_check(ctx, keys));
    return pack_spec(ctx, &p);
}

static int64_t product_but_zeros(const le_tensor *t) {
    int64_t product = 1;
    for (int d = 0; d < t->rank; d++)
        product *= t->dims[d] ? t->dims[d] : 1;
    return product;
}

le_status le_shape_reshape(le_ctx *ctx) {
    const le_tensor *x = ctx->in[0];
    le_tensor *y = ctx->out[0];
    int free_axis;
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(resolve_spec(ctx, ctx->node->packed, y, &free_axis));
    y->dtype = x->dtype;
    if (free_axis >= 0)
        y->dims[free_axis] = 1;
    LE_TRY(le_check_size(ctx, y));
    int64_t have = le_count(x), others = le_count(y);
    if (free_axis >= 0) {
        /* 0 left of 0 (no frames): what the other sizes say, so that features stay what they are with frames. */
        int64_t whole = product_but_zeros(x), part = product_but_zeros(y);
        y->dims[free_axis] = others ? have / others : whole % part == 0 ? whole / part : 0;
        LE_TRY(le_check_size(ctx, y));
    }
    int64_t want = le_count(y);
    if (have != want && have != 0)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "expected an output of the %lld elements of x, found %lld", (long long)have,
                          (long long)want);
    y->absent = have == 0 && want != 0;
    ctx->view = 0;
    return LE_OK;
}

le_status le_run_reshape(le_ctx *ctx) {
    const le_tensor *x = ctx->in[0], *y = ctx->out[0];
    size_t bytes = (size_t)le_count(x) * le_dtype_size(x->dtype);
    if (bytes && x->data != y->data)
        memcpy(y->data, x->data, bytes);
    return LE_OK;
}

/* ---- Expand ---- */

le_status le_pack_expand(le_pack_ctx *ctx) { return le_pack_reshape(ctx); }

le_status le_shape_expand(le_ctx *ctx) {
    le_tensor want, *y = ctx->out[0];
    int free_axis;
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(resolve_spec(ctx, ctx->node->packed, &want, &free_axis));
    LE_TRY(no_free_axis(ctx, free_axis));
    LE_TRY(le_broadcast(ctx, ctx->in[0], &want, y));
    y->dtype = ctx->in[0]->dtype;
    return le_check_size(ctx, y);
}

le_status le_run_expand(le_ctx *ctx) {
    const le_tensor *x = ctx->in[0], *y = ctx->out[0];
    le_view v = {.rank = y->rank};
    memcpy(v.dims, y->dims, sizeof y->dims);
    le_dense_strides(y->rank, y->dims, v.dst);
    int64_t dense[LE_MAX_RANK];
    le_dense_strides(x->rank, x->dims, dense);
    for (int d = y->rank - x->rank, i = 0; i < x->rank; d++, i++)
        v.src[d] = x->dims[i] == 1 ? 0 : dense[i];
    le_view_copy(&v, le_dtype_size(x->dtype), x->data, y->data);
    return LE_OK;
}

/* ---- Fill ---- */

le_status le_pack_fill(le_pack_ctx *ctx) {
    static const char *const keys[] = {"shape", "from_input", "from_axis", "value", "dtype", NULL};
    static const char *const words[] = {"float32", "int32", "bool", NULL}; /* in le_dtype's order */
    dims_spec *p;
    int dtype = 0;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(pack_spec(ctx, &p));
    LE_TRY(le_attr_required(ctx, "value"));
    LE_TRY(le_attr_float(ctx, "value", 0, &p->value));
    LE_TRY(le_attr_word(ctx, "dtype", "float32", words, &dtype));
    p->dtype = (le_dtype)dtype;
    return LE_OK;
}

le_status le_shape_fill(le_ctx *ctx) {
    const dims_spec *p = ctx->node->packed;
    int free_axis;
    LE_TRY(resolve_spec(ctx, p, ctx->out[0], &free_axis));
    LE_TRY(no_free_axis(ctx, free_axis));
    ctx->out[0]->dtype = p->dtype;
    return le_check_size(ctx, ctx->out[0]);
}

le_status le_run_fill(le_ctx *ctx) {
    const dims_spec *p = ctx->node->packed;
    le_fill(le_count(ctx->out[0]), p->dtype, p->value, ctx->out[0]->data);
    return LE_OK;
}
