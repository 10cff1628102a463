/* Dense: y = act(x W^T + bias). */
#include "ops.h"

typedef struct {
    le_activation act;
    bool is_packed;
    le_packed w;
} dense;

le_status le_pack_dense(le_pack_ctx *ctx) {
    static const char *const keys[] = {"activation", "alpha", "beta", "input_bits", NULL};
    dense *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_activation(ctx, "activation", &p->act));
    bool fine;
    LE_TRY(le_attr_fine(ctx, &fine));
    le_weight weight;
    const le_tensor_def *w;
    LE_TRY(le_weight_open(ctx, 1, &weight, &w));
    if (!w)
        return LE_OK;
    if (w->rank != 2)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input 1: expected a weight of rank 2, found %d", w->rank);
    p->is_packed = true;
    le_weight_view view = {.n = w->dims[0], .n_stride = w->dims[1], .k0 = 1, .k1 = w->dims[1], .k1_stride = 1};
    LE_TRY(le_pack_weight(ctx, &weight, &view, &p->w));
    p->w.fine = fine;
    return LE_OK;
}

le_status le_shape_dense(le_ctx *ctx) {
    const dense *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0], *w = ctx->in[1];
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    LE_TRY(le_expect_rank(ctx, 0, 1, LE_MAX_RANK));
    LE_TRY(le_expect_rank(ctx, 1, 2, 2));
    if (x->dims[x->rank - 1] != w->dims[1])
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "expected %lld features in the last axis of x, found %lld",
                          (long long)w->dims[1], (long long)x->dims[x->rank - 1]);
    LE_TRY(le_expect_vector(ctx, 2, w->dims[0]));
    if (!p->is_packed) {
        LE_TRY(le_expect_dtype(ctx, 1, LE_F32));
        LE_TRY(le_add_packed_scratch(ctx, w->dims[0], w->dims[1], 1));
    }
    if (p->w.kind == LE_PACKED_I8)
        LE_TRY(le_add_scratch(ctx, 1, le_multiply_scratch(p->w.k)));
    le_like(ctx->out[0], x, LE_F32);
    ctx->out[0]->dims[x->rank - 1] = w->dims[0];
    return le_check_size(ctx, ctx->out[0]);
}

le_status le_run_dense(le_ctx *ctx) {
    const dense *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0], *w = ctx->in[1];
    const float *bias = ctx->node->n_in > 2 && ctx->in[2] ? ctx->in[2]->data : NULL;
    int64_t rows = le_product(x->dims, 0, x->rank - 1), n = w->dims[0], k = w->dims[1];
    if (rows == 0 || n == 0)
        return LE_OK;
    le_packed packed = p->w;
    if (!p->is_packed) {
        le_weight_view view = {.n = n, .n_stride = k, .k0 = 1, .k1 = k, .k1_stride = 1};
        packed.data = ctx->scratch;
        le_repack_weight(ctx->kernels, w->data, &view, NULL, &packed);
    }
    float *y = ctx->out[0]->data;
    le_matmul(ctx->kernels, rows, x->data, k, &packed, bias, 0, y, n, ctx->scratch);
    if (p->act.kind != LE_ACT_linear)
        ctx->kernels->activate(p->act, (ptrdiff_t)(rows * n), y, y);
    return LE_OK;
}
