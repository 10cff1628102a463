/* MatMul: batched products of two tensors. Every element is summed in order of k, whichever of the three ways below is taken. */
#include "ops.h"

#include <string.h>

typedef struct {
    bool trans_a, trans_b;
    float scale;
    le_packed *b; /* one per matrix of a constant b; NULL when b is not constant */
} matmul;

static le_weight_view b_view(bool trans_b, int64_t n, int64_t k, int64_t matrix) {
    le_weight_view v = {.offset = matrix * n * k, .n = n, .n_stride = trans_b ? k : 1, .k0 = 1, .k1 = k, .k1_stride = trans_b ? 1 : n};
    return v;
}

static le_status pack_b(le_pack_ctx *ctx, matmul *p) {
    le_weight weight;
    const le_tensor_def *b;
    LE_TRY(le_weight_open(ctx, 1, &weight, &b));
    if (!b)
        return LE_OK;
    if (b->dtype != LE_F32 || b->rank < 2)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input 1: expected float32 of rank 2 or more");
    int64_t n = b->dims[b->rank - (p->trans_b ? 2 : 1)], k = b->dims[b->rank - (p->trans_b ? 1 : 2)];
    int64_t matrices = n && k ? le_product(b->dims, 0, b->rank - 2) : 0;
    if (matrices > INT32_MAX)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input 1: too many matrices");
    p->b = le_pack_alloc(ctx, (size_t)(matrices + 1) * sizeof *p->b);
    if (!p->b)
        return LE_ERR_MEMORY;
    for (int64_t m = 0; m < matrices; m++) {
        le_weight_view view = b_view(p->trans_b, n, k, m);
        LE_TRY(le_pack_weight(ctx, &weight, &view, &p->b[m]));
    }
    return LE_OK;
}

le_status le_pack_matmul(le_pack_ctx *ctx) {
    static const char *const keys[] = {"trans_a", "trans_b", "scale", NULL};
    matmul *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_flag(ctx, "trans_a", false, &p->trans_a));
    LE_TRY(le_attr_flag(ctx, "trans_b", false, &p->trans_b));
    LE_TRY(le_attr_float(ctx, "scale", 1, &p->scale));
    return pack_b(ctx, p);
}

typedef struct {
    int64_t m, n, k;
} sizes;

static sizes sizes_of(const matmul *p, const le_tensor *a, const le_tensor *b) {
    return (sizes){a->dims[a->rank - (p->trans_a ? 1 : 2)], b->dims[b->rank - (p->trans_b ? 2 : 1)],
                   a->dims[a->rank - (p->trans_a ? 2 : 1)]};
}

le_status le_shape_matmul(le_ctx *ctx) {
    const matmul *p = ctx->node->packed;
    le_tensor a = *ctx->in[0], b = *ctx->in[1], *y = ctx->out[0];
    for (int i = 0; i < 2; i++) {
        LE_TRY(le_expect_dtype(ctx, i, LE_F32));
        LE_TRY(le_expect_rank(ctx, i, 2, LE_MAX_RANK));
    }
    sizes s = sizes_of(p, &a, &b);
    int64_t k_b = b.dims[b.rank - (p->trans_b ? 1 : 2)];
    if (s.k != k_b)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "expected the same inner size, found %lld in a and %lld in b", (long long)s.k,
                          (long long)k_b);
    a.rank -= 2;
    b.rank -= 2;
    LE_TRY(le_broadcast(ctx, &a, &b, y));
    y->dims[y->rank++] = s.m;
    y->dims[y->rank++] = s.n;
    y->dtype = LE_F32;
    if (!p->b && p->trans_b)
        LE_TRY(le_add_packed_scratch(ctx, s.n, s.k, 1));
    if (p->trans_a && (p->b || p->trans_b)) {
        int64_t count;
        if (!le_mul_size(s.m, s.k, &count))
            count = INT64_MAX;
        LE_TRY(le_add_scratch(ctx, count, sizeof(float)));
    }
    return le_check_size(ctx, y);
}

/* y[r] = sum over k of a[r][k] b[k], row by row: b as it lies. */
static void add_rows(const le_kernels *kernels, const matmul *p, sizes s, const float *a, const float *b, float *y) {
    memset(y, 0, (size_t)(s.m * s.n) * sizeof *y);
    int64_t row = p->trans_a ? 1 : s.k, column = p->trans_a ? s.m : 1;
    for (int64_t r = 0; r < s.m; r++)
        for (int64_t k = 0; k < s.k; k++)
            kernels->axpy((ptrdiff_t)s.n, a[r * row + k * column], b + k * s.n, y + r * s.n);
}

static void multiply_packed(const le_kernels *kernels, const matmul *p, sizes s, const float *a, const le_packed *b, float *turned,
                            float *y) {
    if (p->trans_a) {
        le_transpose2(s.k, s.m, a, s.m, turned, s.k);
        a = turned;
    }
    le_matmul(kernels, s.m, a, s.k, b, NULL, 0, y, s.n, NULL);
}

static void multiply_all(le_ctx *ctx, const matmul *p, sizes s, const le_bcast *batch) {
    const float *a = ctx->in[0]->data, *b = ctx->in[1]->data;
    float *y = ctx->out[0]->data;
    uint8_t *at = ctx->scratch;
    le_packed packed = {.n = (int)s.n, .k = (int)s.k};
    if (!p->b && p->trans_b)
        packed.data = le_take_scratch(&at, 1, le_packed_stride(ctx->kernels, s.n, s.k));
    float *turned = (float *)(void *)at;
    int64_t index[LE_MAX_RANK] = {0}, offset[2] = {0}, packed_from = -1;
    do {
        const float *matrix = a + offset[0] * s.m * s.k;
        if (p->b) {
            multiply_packed(ctx->kernels, p, s, matrix, &p->b[offset[1]], turned, y);
        } else if (p->trans_b) {
            if (packed_from != offset[1]) {
                le_weight_view view = b_view(true, s.n, s.k, offset[1]);
                le_repack_weight(ctx->kernels, b, &view, NULL, &packed);
                packed_from = offset[1];
            }
            multiply_packed(ctx->kernels, p, s, matrix, &packed, turned, y);
        } else {
            add_rows(ctx->kernels, p, s, matrix, b + offset[1] * s.k * s.n, y);
        }
        y += s.m * s.n;
    } while (le_bcast_next(batch, batch->rank, 2, index, offset));
}

le_status le_run_matmul(le_ctx *ctx) {
    const matmul *p = ctx->node->packed;
    const le_tensor *a = ctx->in[0], *b = ctx->in[1], *y = ctx->out[0];
    sizes s = sizes_of(p, a, b);
    int64_t count = le_count(y);
    if (count == 0)
        return LE_OK;
    if (s.k == 0) {
        memset(y->data, 0, (size_t)count * sizeof(float));
        return LE_OK;
    }
    /* One b for all of a's matrices: all rows at once. */
    if (p->b && !p->trans_a && le_product(b->dims, 0, b->rank - 2) == 1) {
        le_matmul(ctx->kernels, count / s.n, a->data, s.k, &p->b[0], NULL, 0, y->data, s.n, NULL);
    } else {
        le_bcast batch;
        le_bcast_make(&batch, y->rank - 2, y->dims, 2, (int[]){a->rank - 2, b->rank - 2}, (const int64_t *const[]){a->dims, b->dims});
        multiply_all(ctx, p, s, &batch);
    }
    float *out = y->data;
    for (int64_t i = 0; p->scale != 1 && i < count; i++)
        out[i] *= p->scale;
    return LE_OK;
}
