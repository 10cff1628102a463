/* ArgReduce, CumSum and TopK: ops along the lines of one axis. */
#include "ops.h"

/* ---- ArgReduce ---- */

typedef struct {
    bool min, keepdims, select_last;
    int64_t axis;
} arg_reduce;

le_status le_pack_arg_reduce(le_pack_ctx *ctx) {
    static const char *const keys[] = {"kind", "axis", "keepdims", "select_last", NULL};
    static const char *const kinds[] = {"max", "min", NULL};
    arg_reduce *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    int kind = 0;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "kind"));
    LE_TRY(le_attr_word(ctx, "kind", "", kinds, &kind));
    p->min = kind == 1;
    LE_TRY(le_attr_required(ctx, "axis"));
    LE_TRY(le_attr_int(ctx, "axis", 0, -LE_MAX_RANK, LE_MAX_RANK - 1, &p->axis));
    LE_TRY(le_attr_flag(ctx, "keepdims", true, &p->keepdims));
    return le_attr_flag(ctx, "select_last", false, &p->select_last);
}

static le_status check_index_range(le_ctx *ctx, int64_t size) {
    if (size <= INT32_MAX)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "axis: expected a size below 2^31, found %lld", (long long)size);
}

le_status le_shape_arg_reduce(le_ctx *ctx) {
    const arg_reduce *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    le_tensor *y = ctx->out[0];
    int axis;
    LE_TRY(le_expect_number(ctx, 0));
    LE_TRY(le_axis(ctx, p->axis, x->rank, &axis));
    LE_TRY(check_index_range(ctx, x->dims[axis]));
    y->dtype = LE_I32;
    y->rank = 0;
    for (int d = 0; d < x->rank; d++)
        if (p->keepdims || d != axis)
            y->dims[y->rank++] = d == axis ? 1 : x->dims[d];
    y->absent = x->dims[axis] == 0;
    return LE_OK;
}

/* As NumPy: a NaN is beyond every number, and the first one wins. */
static bool beats_f32(const arg_reduce *p, float v, float best) {
    if (v != v || best != best)
        return v != v && (best == best || p->select_last);
    return v == best ? p->select_last : p->min ? v < best : v > best;
}

static bool beats_i32(const arg_reduce *p, int32_t v, int32_t best) { return v == best ? p->select_last : p->min ? v < best : v > best; }

static int32_t best_f32(const arg_reduce *p, int64_t n, int64_t stride, const float *x) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (beats_f32(p, x[i * stride], x[best * stride]))
            best = i;
    return (int32_t)best;
}

static int32_t best_i32(const arg_reduce *p, int64_t n, int64_t stride, const int32_t *x) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (beats_i32(p, x[i * stride], x[best * stride]))
            best = i;
    return (int32_t)best;
}

le_status le_run_arg_reduce(le_ctx *ctx) {
    const arg_reduce *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    if (le_count(x) == 0)
        return LE_OK;
    int axis;
    LE_TRY(le_axis(ctx, p->axis, x->rank, &axis));
    le_lines l = le_lines_of(x, axis);
    int32_t *y = ctx->out[0]->data;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t j = 0; j < l.inner; j++) {
            int64_t at = o * l.size * l.inner + j;
            *y++ = x->dtype == LE_F32 ? best_f32(p, l.size, l.inner, (const float *)x->data + at)
                                      : best_i32(p, l.size, l.inner, (const int32_t *)x->data + at);
        }
    return LE_OK;
}

/* ---- CumSum ---- */

typedef struct {
    int64_t axis;
    bool exclusive, reverse;
} cum_sum;

le_status le_pack_cum_sum(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axis", "exclusive", "reverse", NULL};
    cum_sum *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "axis"));
    LE_TRY(le_attr_int(ctx, "axis", 0, -LE_MAX_RANK, LE_MAX_RANK - 1, &p->axis));
    LE_TRY(le_attr_flag(ctx, "exclusive", false, &p->exclusive));
    return le_attr_flag(ctx, "reverse", false, &p->reverse);
}

le_status le_shape_cum_sum(le_ctx *ctx) {
    const cum_sum *p = ctx->node->packed;
    int axis;
    LE_TRY(le_expect_number(ctx, 0));
    LE_TRY(le_axis(ctx, p->axis, ctx->in[0]->rank, &axis));
    le_like(ctx->out[0], ctx->in[0], ctx->in[0]->dtype);
    return LE_OK;
}

/* y[i] = y[i before] + x[i], or + x[i before] when exclusive, for slices of `inner` elements; int32 wraps. */
#define CUMULATE(name, type, unsigned_type)                                                                                  \
    static void name(const cum_sum *p, int64_t size, int64_t inner, const type *x, type *y) {                                \
        int64_t step = p->reverse ? -inner : inner, at = p->reverse ? (size - 1) * inner : 0;                                \
        for (int64_t j = 0; j < inner; j++)                                                                                  \
            y[at + j] = p->exclusive ? 0 : x[at + j];                                                                        \
        for (int64_t i = 1; i < size; i++, at += step)                                                                       \
            for (int64_t j = 0; j < inner; j++)                                                                              \
                y[at + step + j] = (type)((unsigned_type)y[at + j] + (unsigned_type)x[(p->exclusive ? at : at + step) + j]); \
    }
CUMULATE(cumulate_f32, float, float)
CUMULATE(cumulate_i32, int32_t, uint32_t)

le_status le_run_cum_sum(le_ctx *ctx) {
    const cum_sum *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0], *y = ctx->out[0];
    if (le_count(x) == 0)
        return LE_OK;
    int axis;
    LE_TRY(le_axis(ctx, p->axis, x->rank, &axis));
    le_lines l = le_lines_of(x, axis);
    for (int64_t o = 0; o < l.outer; o++) {
        int64_t at = o * l.size * l.inner;
        if (x->dtype == LE_F32)
            cumulate_f32(p, l.size, l.inner, (const float *)x->data + at, (float *)y->data + at);
        else
            cumulate_i32(p, l.size, l.inner, (const int32_t *)x->data + at, (int32_t *)y->data + at);
    }
    return LE_OK;
}

/* ---- TopK ---- */

typedef struct {
    int64_t k, axis;
    bool largest;
} top_k;

le_status le_pack_top_k(le_pack_ctx *ctx) {
    static const char *const keys[] = {"k", "axis", "largest", NULL};
    top_k *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "k"));
    LE_TRY(le_attr_int(ctx, "k", 0, 0, INT32_MAX, &p->k));
    LE_TRY(le_attr_int(ctx, "axis", -1, -LE_MAX_RANK, LE_MAX_RANK - 1, &p->axis));
    return le_attr_flag(ctx, "largest", true, &p->largest);
}

le_status le_shape_top_k(le_ctx *ctx) {
    const top_k *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    int axis;
    LE_TRY(le_expect_number(ctx, 0));
    LE_TRY(le_axis(ctx, p->axis, x->rank, &axis));
    LE_TRY(check_index_range(ctx, x->dims[axis]));
    bool empty = x->dims[axis] == 0 && p->k > 0;
    if (p->k > x->dims[axis] && !empty)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "k: expected at most the axis's %lld, found %lld", (long long)x->dims[axis],
                          (long long)p->k);
    for (int i = 0; i < ctx->node->n_out; i++) {
        if (!ctx->out[i])
            continue;
        le_like(ctx->out[i], x, i == 0 ? x->dtype : LE_I32);
        ctx->out[i]->dims[axis] = p->k;
        ctx->out[i]->absent = empty;
    }
    return le_add_scratch(ctx, p->k, sizeof(int32_t));
}

/* A line of x in the order wanted: NaN after every number, equal values by their place. */
typedef struct {
    const void *x;
    int64_t stride;
    bool is_f32, largest;
} line;

static int compare(const line *l, int32_t i, int32_t j) {
    if (!l->is_f32) {
        int32_t a = ((const int32_t *)l->x)[i * l->stride], b = ((const int32_t *)l->x)[j * l->stride];
        return (a > b) - (a < b);
    }
    float a = ((const float *)l->x)[i * l->stride], b = ((const float *)l->x)[j * l->stride];
    if (a != a || b != b)
        return ((a != a) - (b != b)) * (l->largest ? -1 : 1);
    return (a > b) - (a < b);
}

static bool before(const line *l, int32_t i, int32_t j) {
    int order = compare(l, i, j);
    return order == 0 ? i < j : l->largest ? order > 0 : order < 0;
}

/* heap[0] is the last of those kept: heap[at] sinks until its children come before it. */
static void sink(const line *l, int32_t *heap, int64_t n, int64_t at) {
    int32_t value = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(l, heap[child], heap[child + 1]))
            child++;
        if (before(l, heap[child], value))
            break;
        heap[at] = heap[child];
    }
    heap[at] = value;
}

static void select_top(const line *l, int64_t size, int64_t k, int32_t *heap) {
    for (int64_t i = 0; i < k; i++)
        heap[i] = (int32_t)i;
    for (int64_t i = k / 2; i-- > 0;)
        sink(l, heap, k, i);
    for (int64_t i = k; i < size; i++)
        if (before(l, (int32_t)i, heap[0])) {
            heap[0] = (int32_t)i;
            sink(l, heap, k, 0);
        }
    for (int64_t n = k - 1; n > 0; n--) {
        int32_t last = heap[0];
        heap[0] = heap[n];
        heap[n] = last;
        sink(l, heap, n, 0);
    }
}

le_status le_run_top_k(le_ctx *ctx) {
    const top_k *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    if (le_count(x) == 0 || p->k == 0)
        return LE_OK;
    int axis;
    LE_TRY(le_axis(ctx, p->axis, x->rank, &axis));
    le_lines lines = le_lines_of(x, axis);
    const le_word *data = x->data;
    le_word *values = ctx->out[0]->data;
    int32_t *indices = ctx->node->n_out > 1 && ctx->out[1] ? ctx->out[1]->data : NULL, *heap = ctx->scratch;
    for (int64_t o = 0; o < lines.outer; o++)
        for (int64_t j = 0; j < lines.inner; j++) {
            int64_t from = o * lines.size * lines.inner + j, to = o * p->k * lines.inner + j;
            line l = {data + from, lines.inner, x->dtype == LE_F32, p->largest};
            select_top(&l, lines.size, p->k, heap);
            for (int64_t i = 0; i < p->k; i++) {
                values[to + i * lines.inner] = data[from + heap[i] * lines.inner];
                if (indices)
                    indices[to + i * lines.inner] = heap[i];
            }
        }
    return LE_OK;
}
