/* Softmax and its logarithm along one axis, the largest value subtracted first. */
#include "ops.h"

#include <math.h>

typedef struct {
    int64_t axis;
    bool log;
} softmax;

le_status le_pack_softmax(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axis", "log", NULL};
    softmax *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_int(ctx, "axis", -1, -LE_MAX_RANK, LE_MAX_RANK - 1, &p->axis));
    return le_attr_flag(ctx, "log", false, &p->log);
}

le_status le_shape_softmax(le_ctx *ctx) {
    const softmax *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    int axis;
    LE_TRY(le_axis(ctx, p->axis, x->rank, &axis));
    le_like(ctx->out[0], x, LE_F32);
    ctx->out[0]->absent = x->dims[axis] == 0;
    le_lines lines = le_lines_of(x, axis);
    if (axis == x->rank - 1)
        return p->log ? le_add_scratch(ctx, lines.size, sizeof(float)) : LE_OK;
    LE_TRY(le_add_scratch(ctx, lines.inner, 2 * sizeof(float)));
    return p->log ? le_add_scratch(ctx, lines.inner, sizeof(float)) : LE_OK;
}

static float row_max(int64_t n, const float *x) {
    float m = x[0];
    for (int64_t i = 1; i < n; i++)
        m = x[i] > m ? x[i] : m; /* a NaN reaches every element through the sum */
    return m;
}

static const le_activation exponential = {LE_ACT_exp, 0, 0};

static void softmax_row(const le_kernels *kernels, bool log, int64_t n, const float *x, float *scratch, float *y) {
    float m = row_max(n, x);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] - m;
    float *e = log ? scratch : y;
    kernels->activate(exponential, (ptrdiff_t)n, y, e);
    float sum = le_row_sum(n, e);
    if (log) {
        float shift = le_log(sum);
        for (int64_t i = 0; i < n; i++)
            y[i] -= shift;
    } else {
        for (int64_t i = 0; i < n; i++)
            y[i] /= sum;
    }
}

/* `inner` lines side by side: element j of them at x[j], next along the axis `inner` further. */
static void softmax_lines(const le_kernels *kernels, bool log, int64_t size, int64_t inner, const float *x, float *m, float *y) {
    float *sum = m + inner, *e = sum + inner;
    for (int64_t j = 0; j < inner; j++) {
        m[j] = x[j];
        sum[j] = 0;
    }
    for (int64_t i = 1; i < size; i++)
        for (int64_t j = 0; j < inner; j++)
            m[j] = x[i * inner + j] > m[j] ? x[i * inner + j] : m[j];
    for (int64_t i = 0; i < size; i++) {
        float *to = y + i * inner, *power = log ? e : to;
        for (int64_t j = 0; j < inner; j++)
            to[j] = x[i * inner + j] - m[j];
        kernels->activate(exponential, (ptrdiff_t)inner, to, power);
        for (int64_t j = 0; j < inner; j++)
            sum[j] += power[j];
    }
    for (int64_t j = 0; log && j < inner; j++)
        sum[j] = le_log(sum[j]);
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < inner; j++)
            y[i * inner + j] = log ? y[i * inner + j] - sum[j] : y[i * inner + j] / sum[j];
}

le_status le_run_softmax(le_ctx *ctx) {
    const softmax *p = ctx->node->packed;
    const le_tensor *t = ctx->in[0];
    if (le_count(t) == 0)
        return LE_OK;
    int axis;
    LE_TRY(le_axis(ctx, p->axis, t->rank, &axis));
    le_lines lines = le_lines_of(t, axis);
    int64_t step = lines.size * lines.inner;
    const float *x = t->data;
    float *y = ctx->out[0]->data;
    for (int64_t o = 0; o < lines.outer; o++, x += step, y += step)
        if (axis == t->rank - 1)
            softmax_row(ctx->kernels, p->log, lines.size, x, ctx->scratch, y);
        else
            softmax_lines(ctx->kernels, p->log, lines.size, lines.inner, x, ctx->scratch, y);
    return LE_OK;
}
