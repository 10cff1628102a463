/* Reduce: axes in runs of reduced and kept ones, x walked once in order. An element takes its terms in the order of x, but for a last run
 * that is reduced: there LANES partial sums, in an order that depends on the run's length alone. */
#include "ops.h"

#include <math.h>
#include <string.h>

#define LANES 8

/* ---- runs ---- */

le_status le_axis_mask(le_ctx *ctx, const int64_t *axes, int count, int rank, uint32_t *mask) {
    *mask = 0;
    for (int i = 0; i < count; i++) {
        int axis;
        LE_TRY(le_axis(ctx, axes[i], rank, &axis));
        if (*mask & (1u << axis))
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "axes: axis %d is named twice", axis);
        *mask |= 1u << axis;
    }
    return LE_OK;
}

void le_runs_make(le_runs *r, int rank, const int64_t *dims, uint32_t mask) {
    r->n = 0;
    r->kept = r->reduced = 1;
    for (int d = 0; d < rank; d++) {
        bool reduced = mask >> d & 1;
        *(reduced ? &r->reduced : &r->kept) *= dims[d];
        if (d > 0 && reduced == (mask >> (d - 1) & 1)) {
            r->size[r->n - 1] *= dims[d];
        } else {
            r->size[r->n] = dims[d];
            r->stride[r->n++] = reduced ? 0 : 1;
        }
    }
    if (r->n == 0)
        r->size[r->n] = r->stride[r->n] = 1, r->n = 1;
    r->last_reduced = r->stride[r->n - 1] == 0;
    int64_t stride = 1;
    for (int i = r->n - 1; i >= 0; i--)
        if (r->stride[i]) {
            r->stride[i] = stride;
            stride *= r->size[i];
        }
}

bool le_runs_next(const le_runs *r, int64_t *index, int64_t *offset) {
    for (int i = r->n - 2; i >= 0; i--) {
        *offset += r->stride[i];
        if (++index[i] < r->size[i])
            return true;
        *offset -= r->stride[i] * r->size[i];
        index[i] = 0;
    }
    return false;
}

/* ---- the op ---- */

typedef enum { SUM, MEAN, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP } reduce_kind;

typedef struct {
    int kind;
    bool keepdims;
    int n_axes;
    int64_t axes[LE_MAX_RANK];
} reduce;

le_status le_pack_reduce(le_pack_ctx *ctx) {
    static const char *const keys[] = {"kind", "axes", "keepdims", NULL};
    static const char *const kinds[] = {"sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum", "log_sum_exp", NULL};
    reduce *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "kind"));
    LE_TRY(le_attr_word(ctx, "kind", "", kinds, &p->kind));
    LE_TRY(le_attr_flag(ctx, "keepdims", true, &p->keepdims));
    return le_attr_ints(ctx, "axes", LE_MAX_RANK, -LE_MAX_RANK, LE_MAX_RANK - 1, p->axes, &p->n_axes);
}

static le_status mask_of(le_ctx *ctx, const reduce *p, uint32_t *mask) {
    LE_TRY(le_axis_mask(ctx, p->axes, p->n_axes, ctx->in[0]->rank, mask));
    if (p->n_axes == 0)
        *mask = (1u << ctx->in[0]->rank) - 1;
    return LE_OK;
}

le_status le_shape_reduce(le_ctx *ctx) {
    const reduce *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    le_tensor *y = ctx->out[0];
    if (p->kind == MAX || p->kind == MIN)
        LE_TRY(le_expect_run_dtype(ctx, 0));
    else if (p->kind == L2 || p->kind == LOG_SUM || p->kind == LOG_SUM_EXP)
        LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    else
        LE_TRY(le_expect_number(ctx, 0));
    uint32_t mask;
    LE_TRY(mask_of(ctx, p, &mask));
    le_runs runs;
    le_runs_make(&runs, x->rank, x->dims, mask);
    y->dtype = x->dtype;
    y->rank = 0;
    for (int d = 0; d < x->rank; d++)
        if (p->keepdims || !(mask >> d & 1))
            y->dims[y->rank++] = mask >> d & 1 ? 1 : x->dims[d];
    y->absent = runs.reduced == 0;
    if (p->kind == LOG_SUM_EXP)
        return le_add_scratch(ctx, runs.kept, sizeof(float));
    return x->dtype == LE_I32 && p->kind == MEAN ? le_add_scratch(ctx, runs.kept, sizeof(int64_t)) : LE_OK;
}

/* One run of x into y[0..n) (kept) or y[0] (row). m: LOG_SUM_EXP's maxima or a mean, alongside y.
 * Lanes are joined one by one: read as vectors just after single lanes were written, they wait (rows of 33: 15 ns more on AVX2). */
typedef void (*fold)(int64_t n, const float *x, const float *m, float *y);

#define FOLD_KEPT(name, term)                                               \
    static void name(int64_t n, const float *x, const float *m, float *y) { \
        (void)m;                                                            \
        for (int64_t i = 0; i < n; i++)                                     \
            y[i] = term;                                                    \
    }
#define FOLD_ROW(name, join, identity, term)                                \
    static void name(int64_t n, const float *x, const float *m, float *y) { \
        (void)m;                                                            \
        float lane[LANES];                                                  \
        int64_t i = 0;                                                      \
        for (int l = 0; l < LANES; l++)                                     \
            lane[l] = identity;                                             \
        for (; i + LANES <= n; i += LANES)                                  \
            for (int l = 0; l < LANES; l++)                                 \
                lane[l] = join(lane[l], (term));                            \
        int64_t end = n - i;                                                \
        for (int l = 0; l < end; l++)                                       \
            lane[l] = join(lane[l], (term));                                \
        float even = join(join(lane[0], lane[4]), join(lane[2], lane[6]));  \
        float odd = join(join(lane[1], lane[5]), join(lane[3], lane[7]));   \
        *y = join(*y, join(even, odd));                                     \
    }

static inline float add(float a, float b) { return a + b; }
static inline float multiply(float a, float b) { return a * b; }
static inline float larger(float a, float b) { return b > a || b != b ? b : a; }
static inline float smaller(float a, float b) { return b < a || b != b ? b : a; }

FOLD_KEPT(kept_sum, y[i] + x[i])
FOLD_KEPT(kept_max, larger(y[i], x[i]))
FOLD_KEPT(kept_min, smaller(y[i], x[i]))
FOLD_KEPT(kept_prod, y[i] * x[i])
FOLD_KEPT(kept_abs, y[i] + fabsf(x[i]))
FOLD_KEPT(kept_square, y[i] + x[i] * x[i])
FOLD_KEPT(kept_exp, y[i] + le_exp(x[i] - m[i]))
FOLD_ROW(row_sum, add, 0.0f, x[i + l])
FOLD_ROW(row_max, larger, -INFINITY, x[i + l])
FOLD_ROW(row_min, smaller, INFINITY, x[i + l])
FOLD_ROW(row_prod, multiply, 1.0f, x[i + l])
FOLD_ROW(row_abs, add, 0.0f, fabsf(x[i + l]))
FOLD_ROW(row_square, add, 0.0f, x[i + l] * x[i + l])
FOLD_ROW(row_exp, add, 0.0f, le_exp(x[i + l] - *m))
FOLD_ROW(row_deviation, add, 0.0f, (x[i + l] - *m) * (x[i + l] - *m))

float le_row_sum(int64_t n, const float *x) {
    float sum = 0;
    row_sum(n, x, NULL, &sum);
    return sum;
}

float le_row_deviation(int64_t n, const float *x, float mean) {
    float sum = 0;
    row_deviation(n, x, &mean, &sum);
    return sum;
}

typedef struct {
    float identity;
    fold kept, row;
} fold_pair;

static const fold_pair folds[] = {
    [SUM] = {0, kept_sum, row_sum},         [MEAN] = {0, kept_sum, row_sum},
    [MAX] = {-INFINITY, kept_max, row_max}, [MIN] = {INFINITY, kept_min, row_min},
    [PROD] = {1, kept_prod, row_prod},      [L1] = {0, kept_abs, row_abs},
    [L2] = {0, kept_square, row_square},    [SUM_SQUARE] = {0, kept_square, row_square},
    [LOG_SUM] = {0, kept_sum, row_sum},     [LOG_SUM_EXP] = {0, kept_exp, row_exp},
};

static void fold_f32(const le_runs *runs, const fold_pair *pair, const float *x, const float *m, float *y) {
    for (int64_t i = 0; i < runs->kept; i++)
        y[i] = pair->identity;
    fold f = runs->last_reduced ? pair->row : pair->kept;
    int64_t index[LE_MAX_RANK] = {0}, offset = 0, n = runs->size[runs->n - 1];
    do {
        f(n, x, m ? m + offset : NULL, y + offset);
        x += n;
    } while (le_runs_next(runs, index, &offset));
}

static void reduce_f32(const reduce *p, const le_runs *runs, const float *x, float *m, float *y) {
    int64_t kept = runs->kept;
    if (p->kind == LOG_SUM_EXP) {
        fold_f32(runs, &folds[MAX], x, NULL, m);
        for (int64_t i = 0; i < kept; i++)
            m[i] = isfinite(m[i]) ? m[i] : 0; /* infinities and NaN then come out of the sum itself */
    }
    fold_f32(runs, &folds[p->kind], x, p->kind == LOG_SUM_EXP ? m : NULL, y);
    if (p->kind == MEAN)
        for (int64_t i = 0; i < kept; i++)
            y[i] /= (float)runs->reduced;
    else if (p->kind == L2)
        for (int64_t i = 0; i < kept; i++)
            y[i] = sqrtf(y[i]);
    else if (p->kind == LOG_SUM || p->kind == LOG_SUM_EXP)
        for (int64_t i = 0; i < kept; i++)
            y[i] = le_log(y[i]) + (p->kind == LOG_SUM_EXP ? m[i] : 0);
}

/* int32: sums and products wrap, a mean sums in 64 bits and truncates. bool: max is or, min is and. */
static void term_i32(int kind, int64_t n, const int32_t *x, int32_t *y, int64_t *sums, int step) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t v = (uint32_t)x[i], *to = (uint32_t *)&y[i * step];
        switch (kind) {
        case SUM: *to += v; break;
        case MEAN: sums[i * step] += x[i]; break;
        case MAX: y[i * step] = x[i] > y[i * step] ? x[i] : y[i * step]; break;
        case MIN: y[i * step] = x[i] < y[i * step] ? x[i] : y[i * step]; break;
        case PROD: *to *= v; break;
        case L1: *to += x[i] < 0 ? 0u - v : v; break;
        default: *to += v * v; break; /* SUM_SQUARE */
        }
    }
}

static void reduce_i32(const reduce *p, const le_runs *runs, const int32_t *x, int64_t *sums, int32_t *y) {
    for (int64_t i = 0; i < runs->kept; i++) {
        y[i] = p->kind == MAX ? INT32_MIN : p->kind == MIN ? INT32_MAX : p->kind == PROD;
        if (p->kind == MEAN)
            sums[i] = 0;
    }
    int64_t index[LE_MAX_RANK] = {0}, offset = 0, n = runs->size[runs->n - 1];
    do {
        term_i32(p->kind, n, x, y + offset, p->kind == MEAN ? sums + offset : NULL, runs->last_reduced ? 0 : 1);
        x += n;
    } while (le_runs_next(runs, index, &offset));
    for (int64_t i = 0; p->kind == MEAN && i < runs->kept; i++)
        y[i] = (int32_t)(sums[i] / runs->reduced);
}

static void reduce_bool(const reduce *p, const le_runs *runs, const uint8_t *x, uint8_t *y) {
    memset(y, p->kind == MIN, (size_t)runs->kept);
    int64_t index[LE_MAX_RANK] = {0}, offset = 0, n = runs->size[runs->n - 1], step = runs->last_reduced ? 0 : 1;
    do {
        for (int64_t i = 0; i < n; i++) {
            uint8_t *to = y + offset + i * step;
            *to = p->kind == MIN ? *to && x[i] : *to || x[i];
        }
        x += n;
    } while (le_runs_next(runs, index, &offset));
}

le_status le_run_reduce(le_ctx *ctx) {
    const reduce *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    if (le_count(x) == 0)
        return LE_OK;
    uint32_t mask;
    LE_TRY(mask_of(ctx, p, &mask));
    le_runs runs;
    le_runs_make(&runs, x->rank, x->dims, mask);
    if (x->dtype == LE_F32)
        reduce_f32(p, &runs, x->data, ctx->scratch, ctx->out[0]->data);
    else if (x->dtype == LE_I32)
        reduce_i32(p, &runs, x->data, ctx->scratch, ctx->out[0]->data);
    else
        reduce_bool(p, &runs, x->data, ctx->out[0]->data);
    return LE_OK;
}
