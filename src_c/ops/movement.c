/* Transpose, Slice, Tile, Resize, Concat and Pad: ops that move elements, most of them one strided copy. */
#include "ops.h"

#include <string.h>

typedef struct {
    int n;
    int64_t values[LE_MAX_RANK];
} axis_values; /* one value per axis: perm, repeats, scales */

static le_status pack_values(le_pack_ctx *ctx, const char *key, int64_t low, int64_t high) {
    axis_values *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    return le_attr_list(ctx, key, low, high, p->values, &p->n);
}

static le_status expect_values(le_ctx *ctx, const char *key, int found) {
    if (found == ctx->in[0]->rank)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "%s: expected %d values, found %d", key, ctx->in[0]->rank, found);
}

/* A copy of x to a dense y of the same elements' shape, both strides dense: to be changed by the op. */
static le_view dense_view(const le_tensor *x) {
    le_view v = {.rank = x->rank};
    memcpy(v.dims, x->dims, sizeof x->dims);
    le_dense_strides(x->rank, x->dims, v.src);
    return v;
}

static le_status copy(le_ctx *ctx, const le_view *v, int64_t src_offset, int64_t dst_offset) {
    size_t width = le_dtype_size(ctx->in[0]->dtype);
    if (le_count(ctx->in[0]) != 0)
        le_view_copy(v, width, (const uint8_t *)ctx->in[0]->data + src_offset * (int64_t)width,
                     (uint8_t *)ctx->out[0]->data + dst_offset * (int64_t)width);
    return LE_OK;
}

/* ---- Transpose ---- */

le_status le_pack_transpose(le_pack_ctx *ctx) {
    static const char *const keys[] = {"perm", NULL};
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(pack_values(ctx, "perm", 0, LE_MAX_RANK - 1));
    const axis_values *p = ctx->node->packed;
    uint32_t seen = 0;
    for (int d = 0; d < p->n; d++)
        seen |= 1u << p->values[d];
    if (seen != (1u << p->n) - 1)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "perm: expected a permutation of %d axes", p->n);
    return LE_OK;
}

le_status le_shape_transpose(le_ctx *ctx) {
    const axis_values *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(expect_values(ctx, "perm", p->n));
    ctx->out[0]->dtype = x->dtype;
    ctx->out[0]->rank = x->rank;
    int64_t last = -1;
    bool ordered = true; /* the axes that are more than one element keep their order */
    for (int d = 0; d < x->rank; d++) {
        ctx->out[0]->dims[d] = x->dims[p->values[d]];
        if (ctx->out[0]->dims[d] == 1)
            continue;
        ordered &= p->values[d] > last;
        last = p->values[d];
    }
    if (ordered)
        ctx->view = 0;
    return LE_OK;
}

le_status le_run_transpose(le_ctx *ctx) {
    const axis_values *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0], *y = ctx->out[0];
    int64_t strides[LE_MAX_RANK];
    le_dense_strides(x->rank, x->dims, strides);
    le_view v = {.rank = x->rank};
    for (int d = 0; d < x->rank; d++) {
        v.dims[d] = y->dims[d];
        v.src[d] = strides[p->values[d]];
    }
    le_dense_strides(y->rank, y->dims, v.dst);
    return copy(ctx, &v, 0, 0);
}

/* ---- Tile and Resize: every axis as two, one of which does not move in x ---- */

static le_status shape_multiplied(le_ctx *ctx, const char *key) {
    const axis_values *p = ctx->node->packed;
    le_tensor *y = ctx->out[0];
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(expect_values(ctx, key, p->n));
    le_like(y, ctx->in[0], ctx->in[0]->dtype);
    for (int d = 0; d < y->rank; d++)
        if (!le_mul_size(y->dims[d], p->values[d], &y->dims[d]))
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "axis %d of the output is too large", d);
    return le_check_size(ctx, y);
}

/* outside: the axis that repeats is outside (Tile) or inside (Resize) the one of x. */
static le_status copy_repeated(le_ctx *ctx, bool outside) {
    const axis_values *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    int64_t strides[LE_MAX_RANK];
    le_dense_strides(x->rank, x->dims, strides);
    le_view v = {.rank = 2 * x->rank};
    for (int d = 0; d < x->rank; d++) {
        int repeat = 2 * d + (outside ? 0 : 1), own = 2 * d + (outside ? 1 : 0);
        v.dims[repeat] = p->values[d];
        v.dims[own] = x->dims[d];
        v.src[own] = strides[d];
    }
    le_dense_strides(v.rank, v.dims, v.dst);
    return copy(ctx, &v, 0, 0);
}

le_status le_pack_tile(le_pack_ctx *ctx) {
    static const char *const keys[] = {"repeats", NULL};
    LE_TRY(le_attr_check(ctx, keys));
    return pack_values(ctx, "repeats", 0, INT32_MAX);
}

le_status le_shape_tile(le_ctx *ctx) { return shape_multiplied(ctx, "repeats"); }

le_status le_run_tile(le_ctx *ctx) { return copy_repeated(ctx, true); }

le_status le_pack_resize(le_pack_ctx *ctx) {
    static const char *const keys[] = {"scales", "mode", NULL};
    static const char *const modes[] = {"nearest", NULL};
    int mode;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_word(ctx, "mode", "nearest", modes, &mode));
    return pack_values(ctx, "scales", 1, INT32_MAX);
}

le_status le_shape_resize(le_ctx *ctx) { return shape_multiplied(ctx, "scales"); }

le_status le_run_resize(le_ctx *ctx) { return copy_repeated(ctx, false); }

/* ---- Slice ---- */

typedef struct {
    int n;
    int64_t axes[LE_MAX_RANK], starts[LE_MAX_RANK], ends[LE_MAX_RANK], steps[LE_MAX_RANK];
} slice;

le_status le_pack_slice(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axes", "starts", "ends", "steps", NULL};
    slice *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    int starts, ends, steps;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_list(ctx, "axes", -LE_MAX_RANK, LE_MAX_RANK - 1, p->axes, &p->n));
    LE_TRY(le_attr_list(ctx, "starts", INT64_MIN, INT64_MAX, p->starts, &starts));
    LE_TRY(le_attr_list(ctx, "ends", INT64_MIN, INT64_MAX, p->ends, &ends));
    LE_TRY(le_attr_ints(ctx, "steps", LE_MAX_RANK, -INT64_MAX, INT64_MAX, p->steps, &steps));
    if (starts != p->n || ends != p->n || (steps && steps != p->n))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "expected %d starts, ends and steps, found %d, %d and %d", p->n, starts, ends,
                          steps);
    for (int i = 0; i < p->n; i++) {
        if (!steps)
            p->steps[i] = 1;
        if (p->steps[i] == 0)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "steps[%d]: expected any number but 0", i);
    }
    return LE_OK;
}

/* First element and number of elements of an axis of n, as NumPy has it. */
static int64_t slice_axis(int64_t n, int64_t start, int64_t end, int64_t step, int64_t *first) {
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    start = start < 0 ? start + n : start;
    end = end < 0 ? end + n : end;
    start = start < low ? low : start > high ? high : start;
    end = end < low ? low : end > high ? high : end;
    *first = start;
    int64_t span = step > 0 ? end - start : start - end;
    return span <= 0 ? 0 : (span - 1) / (step > 0 ? step : -step) + 1;
}

le_status le_shape_slice(le_ctx *ctx) {
    const slice *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    uint32_t mask;
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(le_axis_mask(ctx, p->axes, p->n, x->rank, &mask));
    le_tensor *y = ctx->out[0];
    le_like(y, x, x->dtype);
    int64_t strides[LE_MAX_RANK], offset = 0;
    bool in_one = true;
    le_dense_strides(x->rank, x->dims, strides);
    for (int i = 0; i < p->n; i++) {
        int64_t axis = p->axes[i] < 0 ? p->axes[i] + x->rank : p->axes[i], first;
        y->dims[axis] = slice_axis(x->dims[axis], p->starts[i], p->ends[i], p->steps[i], &first);
        offset += first * strides[axis];
        in_one &= p->steps[i] == 1 || y->dims[axis] == 1;
    }
    int outermost = 0; /* what is cut along another axis lies in pieces */
    while (outermost < y->rank - 1 && y->dims[outermost] == 1)
        outermost++;
    for (int d = outermost + 1; d < y->rank; d++)
        in_one &= y->dims[d] == x->dims[d];
    if (in_one && le_count(y) > 0)
        ctx->view = offset * (int64_t)le_dtype_size(x->dtype);
    return LE_OK;
}

le_status le_run_slice(le_ctx *ctx) {
    const slice *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    if (le_count(ctx->out[0]) == 0)
        return LE_OK;
    le_view v = dense_view(x);
    int64_t offset = 0;
    for (int i = 0; i < p->n; i++) {
        int64_t axis = p->axes[i] < 0 ? p->axes[i] + x->rank : p->axes[i], first;
        v.dims[axis] = slice_axis(x->dims[axis], p->starts[i], p->ends[i], p->steps[i], &first);
        offset += first * v.src[axis];
        v.src[axis] = v.dims[axis] == 1 ? 0 : v.src[axis] * p->steps[i];
    }
    le_dense_strides(v.rank, v.dims, v.dst);
    return copy(ctx, &v, offset, 0);
}

/* ---- Concat ---- */

le_status le_pack_concat(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axis", NULL};
    int64_t *axis = le_pack_alloc(ctx, sizeof *axis);
    if (!axis)
        return LE_ERR_MEMORY;
    ctx->node->packed = axis;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "axis"));
    return le_attr_int(ctx, "axis", 0, -LE_MAX_RANK, LE_MAX_RANK - 1, axis);
}

le_status le_shape_concat(le_ctx *ctx) {
    const le_tensor *first = ctx->in[0];
    le_tensor *y = ctx->out[0];
    int axis;
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(le_axis(ctx, *(const int64_t *)ctx->node->packed, first->rank, &axis));
    le_like(y, first, first->dtype);
    for (int i = 1; i < ctx->node->n_in; i++) {
        const le_tensor *t = ctx->in[i];
        if (!t)
            continue;
        LE_TRY(le_expect_dtype(ctx, i, first->dtype));
        bool fits = t->rank == first->rank;
        for (int d = 0; fits && d < t->rank; d++)
            fits = d == axis || t->dims[d] == first->dims[d];
        if (!fits)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %d: expected the shape of input 0 but for axis %d", i, axis);
        y->dims[axis] += t->dims[axis];
        LE_TRY(le_check_size(ctx, y));
    }
    ctx->joins = le_product(y->dims, 0, axis) == 1;
    return LE_OK;
}

le_status le_run_concat(le_ctx *ctx) {
    const le_tensor *y = ctx->out[0];
    int axis;
    LE_TRY(le_axis(ctx, *(const int64_t *)ctx->node->packed, y->rank, &axis));
    if (le_count(y) == 0)
        return LE_OK;
    le_lines l = le_lines_of(y, axis);
    size_t width = le_dtype_size(y->dtype);
    uint8_t *to = y->data;
    for (int i = 0; i < ctx->node->n_in; i++) {
        const le_tensor *t = ctx->in[i];
        int64_t length = t ? t->dims[axis] * l.inner : 0;
        if (length == 0)
            continue;
        le_view v = {.rank = 2, .dims = {l.outer, length}, .src = {length, 1}, .dst = {l.size * l.inner, 1}};
        const uint8_t *from = t->data;
        size_t bytes = (size_t)length * width;
        if (length == 1) /* one strided copy where a part is an element wide */
            le_view_copy(&v, width, from, to);
        for (int64_t o = 0; length > 1 && from != to && o < l.outer; o++)
            memcpy(to + (size_t)(o * l.size * l.inner) * width, from + (size_t)o * bytes, bytes);
        to += bytes;
    }
    return LE_OK;
}

/* ---- Pad ---- */

typedef struct {
    int n, mode;
    int64_t pads[2 * LE_MAX_RANK];
    float value;
} pad;

enum { CONSTANT, REFLECT, EDGE };

le_status le_pack_pad(le_pack_ctx *ctx) {
    static const char *const keys[] = {"pads", "mode", "value", NULL};
    static const char *const modes[] = {"constant", "reflect", "edge", NULL};
    pad *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "pads"));
    LE_TRY(le_attr_ints(ctx, "pads", 2 * LE_MAX_RANK, 0, (int64_t)1 << 40, p->pads, &p->n));
    LE_TRY(le_attr_word(ctx, "mode", "constant", modes, &p->mode));
    return le_attr_float(ctx, "value", 0, &p->value);
}

le_status le_shape_pad(le_ctx *ctx) {
    const pad *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    LE_TRY(le_expect_run_dtype(ctx, 0));
    if (p->n != 2 * x->rank)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "pads: expected %d values, found %d", 2 * x->rank, p->n);
    le_like(ctx->out[0], x, x->dtype);
    for (int d = 0; d < x->rank; d++) {
        int64_t before = p->pads[d], after = p->pads[x->rank + d], larger = before > after ? before : after, size = x->dims[d];
        int64_t most = p->mode == REFLECT && size > 0 ? size - 1 : size > 0 ? larger : 0;
        if (p->mode != CONSTANT && larger > most)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "pads: expected at most %lld on axis %d, found %lld", (long long)most, d,
                              (long long)larger);
        ctx->out[0]->dims[d] += before + after;
    }
    return le_check_size(ctx, ctx->out[0]);
}

/* Fills `count` elements of `inner` values, which lie from `edge`, the last element inside, towards `step`. */
static void copy_border(int mode, int64_t count, int64_t inner, size_t width, uint8_t *edge, int64_t step) {
    le_view v = {.rank = 2, .dims = {count, inner}, .src = {mode == EDGE ? 0 : -step * inner, 1}, .dst = {step * inner, 1}};
    const int64_t ahead = step * inner * (int64_t)width;
    le_view_copy(&v, width, mode == EDGE ? edge : edge - ahead, edge + ahead);
}

/* Fills the borders along axis d of y, whose inside along that axis is there, from that inside. */
static void mirror(const pad *p, const le_tensor *x, const le_tensor *y, int d) {
    le_lines l = le_lines_of(y, d);
    int64_t before = p->pads[d], n = x->dims[d];
    size_t width = le_dtype_size(y->dtype), bytes = (size_t)l.inner * width;
    for (int64_t o = 0; o < l.outer; o++) {
        uint8_t *line = (uint8_t *)y->data + (size_t)(o * l.size) * bytes, *first = line + (size_t)before * bytes;
        copy_border(p->mode, before, l.inner, width, first, -1);
        copy_border(p->mode, l.size - before - n, l.inner, width, first + (size_t)(n - 1) * bytes, 1);
    }
}

le_status le_run_pad(le_ctx *ctx) {
    const pad *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0], *y = ctx->out[0];
    int64_t count = le_count(y);
    if (count == 0)
        return LE_OK;
    /* Borders of mirrored modes are overwritten below, axis by axis, but read as others' source before: no byte may be undefined. */
    le_fill(count, y->dtype, p->mode == CONSTANT ? p->value : 0, y->data);
    le_view v = dense_view(x);
    le_dense_strides(y->rank, y->dims, v.dst);
    int64_t offset = 0;
    for (int d = 0; d < x->rank; d++)
        offset += p->pads[d] * v.dst[d];
    copy(ctx, &v, 0, offset);
    for (int d = x->rank - 1; p->mode != CONSTANT && d >= 0; d--)
        if (p->pads[d] || p->pads[x->rank + d])
            mirror(p, x, y, d);
    return LE_OK;
}
