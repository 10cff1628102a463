/* Normalize: layer and RMS normalisation over any axes, in two passes: mean, then squared deviations from it. */
#include "ops.h"

#include <math.h>

typedef struct {
    bool rms;
    float epsilon;
    int n_axes;
    int64_t axes[LE_MAX_RANK];
} normalize;

le_status le_pack_normalize(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axes", "epsilon", "kind", NULL};
    static const char *const kinds[] = {"layer", "rms", NULL};
    normalize *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    int kind = 0;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_word(ctx, "kind", "layer", kinds, &kind));
    p->rms = kind == 1;
    LE_TRY(le_attr_required(ctx, "epsilon"));
    LE_TRY(le_attr_float(ctx, "epsilon", 0, &p->epsilon));
    LE_TRY(le_attr_list(ctx, "axes", -LE_MAX_RANK, LE_MAX_RANK - 1, p->axes, &p->n_axes));
    if (p->n_axes == 0)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute axes: expected at least one axis");
    return LE_OK;
}

static const le_tensor *optional_input(const le_ctx *ctx, int i) { return i < ctx->node->n_in ? ctx->in[i] : NULL; }

static le_status check_affine(le_ctx *ctx, int i) {
    const le_tensor *x = ctx->in[0], *t = optional_input(ctx, i);
    if (!t)
        return LE_OK;
    LE_TRY(le_expect_dtype(ctx, i, LE_F32));
    bool fits = t->rank <= x->rank;
    for (int d = 0; fits && d < t->rank; d++)
        fits = t->dims[d] == 1 || t->dims[d] == x->dims[d + x->rank - t->rank];
    return fits ? LE_OK : le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %d: expected a shape that broadcasts to that of x", i);
}

/* Whether the reduced axes are the last ones: then every group to normalise is a contiguous row. */
static bool is_trailing(uint32_t mask, int rank) {
    uint32_t all = (1u << rank) - 1, lowest = mask & (0u - mask);
    return (mask | (lowest - 1)) == all;
}

le_status le_shape_normalize(le_ctx *ctx) {
    const normalize *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    uint32_t mask;
    LE_TRY(le_axis_mask(ctx, p->axes, p->n_axes, x->rank, &mask));
    LE_TRY(check_affine(ctx, 1));
    LE_TRY(check_affine(ctx, 2));
    if (!is_trailing(mask, x->rank)) {
        le_runs runs;
        le_runs_make(&runs, x->rank, x->dims, mask);
        LE_TRY(le_add_scratch(ctx, runs.kept, 2 * sizeof(float)));
    }
    le_like(ctx->out[0], x, LE_F32);
    return le_check_size(ctx, ctx->out[0]);
}

static void normalize_row(const normalize *p, int64_t n, const float *x, const float *scale, const float *bias, float *y) {
    float mean = p->rms ? 0 : le_row_sum(n, x) / (float)n;
    float factor = 1 / sqrtf(le_row_deviation(n, x, mean) / (float)n + p->epsilon);
    if (scale && bias)
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * factor * scale[i] + bias[i];
    else if (scale)
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * factor * scale[i];
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * factor;
}

/* Whether t holds one value for each element of a row of the last `axes` axes. */
static bool is_row(const le_tensor *t, int axes, int64_t n) {
    int first = t->rank > axes ? t->rank - axes : 0;
    return le_count(t) == n && le_product(t->dims, first, t->rank) == n;
}

static void apply_affine(const le_ctx *ctx, const le_tensor *scale, const le_tensor *bias) {
    const le_tensor *y = ctx->out[0];
    if (scale)
        le_binary_apply(le_row_mul_f32, y, scale, y);
    if (bias)
        le_binary_apply(le_row_add_f32, y, bias, y);
}

static void run_rows(le_ctx *ctx, const normalize *p, int64_t n) {
    const le_tensor *scale = optional_input(ctx, 1), *bias = optional_input(ctx, 2);
    const float *x = ctx->in[0]->data;
    float *y = ctx->out[0]->data;
    int64_t count = le_count(ctx->in[0]);
    bool fused = (!scale || is_row(scale, p->n_axes, n)) && (!bias || (scale && is_row(bias, p->n_axes, n)));
    for (int64_t at = 0; at < count; at += n)
        normalize_row(p, n, x + at, fused && scale ? scale->data : NULL, fused && bias ? bias->data : NULL, y + at);
    if (!fused)
        apply_affine(ctx, scale, bias);
}

typedef enum { SUM, DEVIATION, SCALE } walk_pass;

/* One walk over x; mean and factor have stride `step` (0 or 1) along a run. */
static void walk_run(walk_pass pass, int64_t n, const float *x, float *mean, float *factor, int step, float *y) {
    if (pass == SUM)
        for (int64_t i = 0; i < n; i++)
            mean[i * step] += x[i];
    else if (pass == DEVIATION)
        for (int64_t i = 0; i < n; i++) {
            float d = x[i] - mean[i * step];
            factor[i * step] += d * d;
        }
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean[i * step]) * factor[i * step];
}

static void walk(walk_pass pass, const le_runs *runs, const float *x, float *mean, float *factor, float *y) {
    int64_t index[LE_MAX_RANK] = {0}, offset = 0, n = runs->size[runs->n - 1];
    do {
        walk_run(pass, n, x, mean + offset, factor + offset, runs->last_reduced ? 0 : 1, y);
        x += n;
        y += n;
    } while (le_runs_next(runs, index, &offset));
}

static void run_axes(le_ctx *ctx, const normalize *p, uint32_t mask) {
    const le_tensor *t = ctx->in[0];
    le_runs runs;
    le_runs_make(&runs, t->rank, t->dims, mask);
    const float *x = t->data;
    float *y = ctx->out[0]->data, *mean = ctx->scratch, *factor = mean + runs.kept, n = (float)runs.reduced;
    for (int64_t i = 0; i < runs.kept; i++)
        mean[i] = factor[i] = 0;
    if (!p->rms)
        walk(SUM, &runs, x, mean, factor, y);
    for (int64_t i = 0; i < runs.kept; i++)
        mean[i] /= n;
    walk(DEVIATION, &runs, x, mean, factor, y);
    for (int64_t i = 0; i < runs.kept; i++)
        factor[i] = 1 / sqrtf(factor[i] / n + p->epsilon);
    walk(SCALE, &runs, x, mean, factor, y);
    apply_affine(ctx, optional_input(ctx, 1), optional_input(ctx, 2));
}

le_status le_run_normalize(le_ctx *ctx) {
    const normalize *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    if (le_count(x) == 0)
        return LE_OK;
    uint32_t mask;
    LE_TRY(le_axis_mask(ctx, p->axes, p->n_axes, x->rank, &mask));
    if (is_trailing(mask, x->rank))
        run_rows(ctx, p, le_product(x->dims, x->rank - p->n_axes, x->rank));
    else
        run_axes(ctx, p, mask);
    return LE_OK;
}
