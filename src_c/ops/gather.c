/* Gather, GatherElements, ScatterElements and ReverseSequence: elements whose places are known in a run. */
#include "ops.h"

#include <string.h>

static le_status pack_axis(le_pack_ctx *ctx, int64_t *axis, bool required) {
    if (required)
        LE_TRY(le_attr_required(ctx, "axis"));
    return le_attr_int(ctx, "axis", 0, -LE_MAX_RANK, LE_MAX_RANK - 1, axis);
}

static le_status out_of_range(le_ctx *ctx, int32_t index, int64_t size) {
    return le_fail_op(ctx->err, ctx->node, LE_ERR_VALUE, "indices: expected %lld to %lld, found %d", (long long)-size, (long long)size - 1,
                      (int)index);
}

/* ---- Gather ---- */

le_status le_pack_gather(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axis", NULL};
    int64_t *axis = le_pack_alloc(ctx, sizeof *axis);
    if (!axis)
        return LE_ERR_MEMORY;
    ctx->node->packed = axis;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(pack_axis(ctx, axis, false));
    const le_tensor_def *data = le_pack_const(ctx, 0);
    if (!data || (data->dtype != LE_F16 && data->dtype != LE_I8))
        return LE_OK;
    le_weight weight;
    return le_weight_open(ctx, 0, &weight, &data);
}

static bool is_narrow(const le_tensor *t) { return t->dtype == LE_F16 || t->dtype == LE_I8; }

le_status le_shape_gather(le_ctx *ctx) {
    const le_tensor *data = ctx->in[0], *indices = ctx->in[1];
    le_tensor *y = ctx->out[0];
    int axis;
    LE_TRY(le_axis(ctx, *(const int64_t *)ctx->node->packed, data->rank, &axis));
    LE_TRY(le_expect_dtype(ctx, 1, LE_I32));
    if (is_narrow(data) && (axis != 0 || !data->is_const))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input 0: a float16 or int8 weight is gathered along axis 0 only");
    if (data->rank - 1 + indices->rank > LE_MAX_RANK)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "expected an output of rank at most %d, found %d", LE_MAX_RANK,
                          data->rank - 1 + indices->rank);
    y->dtype = is_narrow(data) ? LE_F32 : data->dtype;
    y->rank = 0;
    for (int d = 0; d < axis; d++)
        y->dims[y->rank++] = data->dims[d];
    for (int d = 0; d < indices->rank; d++)
        y->dims[y->rank++] = indices->dims[d];
    for (int d = axis + 1; d < data->rank; d++)
        y->dims[y->rank++] = data->dims[d];
    y->absent = data->dims[axis] == 0 && le_count(indices) != 0; /* asks for frames that are not there yet */
    return le_check_size(ctx, y);
}

le_status le_run_gather(le_ctx *ctx) {
    const le_tensor *data = ctx->in[0];
    int axis;
    LE_TRY(le_axis(ctx, *(const int64_t *)ctx->node->packed, data->rank, &axis));
    le_lines l = le_lines_of(data, axis);
    const int32_t *indices = ctx->in[1]->data;
    int64_t n = le_count(ctx->in[1]);
    bool narrow = is_narrow(data);
    le_weight weight = le_weight_of(data);
    size_t bytes = (size_t)l.inner * (narrow ? sizeof(float) : le_dtype_size(data->dtype));
    uint8_t *to = ctx->out[0]->data;
    for (int64_t i = 0; l.outer && i < n; i++)
        if (indices[i] < -l.size || indices[i] >= l.size)
            return out_of_range(ctx, indices[i], l.size);
    for (int64_t o = 0; bytes && o < l.outer; o++)
        for (int64_t i = 0; i < n; i++, to += bytes) {
            int64_t index = indices[i] < 0 ? indices[i] + l.size : indices[i];
            if (narrow)
                le_weight_widen(&weight, index * l.inner, l.inner, 1, (float *)(void *)to);
            else if (bytes == sizeof(le_word)) /* along the last axis: a call of memcpy takes longer than the word */
                *(le_word *)(void *)to = ((const le_word *)data->data)[o * l.size + index];
            else
                memcpy(to, (const uint8_t *)data->data + (size_t)(o * l.size + index) * bytes, bytes);
        }
    return LE_OK;
}

/* ---- GatherElements and ScatterElements ---- */

typedef struct {
    int64_t axis;
    bool add;
} elements;

static le_status pack_elements(le_pack_ctx *ctx, const char *const *keys, elements **out) {
    elements *p = *out = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    return pack_axis(ctx, &p->axis, true);
}

static le_status check_elements(le_ctx *ctx) {
    const elements *p = ctx->node->packed;
    const le_tensor *data = ctx->in[0], *indices = ctx->in[1];
    int axis;
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(le_expect_dtype(ctx, 1, LE_I32));
    LE_TRY(le_axis(ctx, p->axis, data->rank, &axis));
    LE_TRY(le_expect_rank(ctx, 1, data->rank, data->rank));
    for (int d = 0; d < data->rank; d++)
        if (d != axis && indices->dims[d] > data->dims[d])
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "indices: expected at most %lld on axis %d, found %lld",
                              (long long)data->dims[d], d, (long long)indices->dims[d]);
    return LE_OK;
}

le_status le_pack_gather_elements(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axis", NULL};
    elements *p;
    return pack_elements(ctx, keys, &p);
}

le_status le_shape_gather_elements(le_ctx *ctx) {
    LE_TRY(check_elements(ctx));
    le_like(ctx->out[0], ctx->in[1], ctx->in[0]->dtype);
    return LE_OK;
}

le_status le_pack_scatter_elements(le_pack_ctx *ctx) {
    static const char *const keys[] = {"axis", "reduction", NULL};
    static const char *const words[] = {"none", "add", NULL};
    elements *p;
    int reduction = 0;
    LE_TRY(pack_elements(ctx, keys, &p));
    LE_TRY(le_attr_word(ctx, "reduction", "none", words, &reduction));
    p->add = reduction == 1;
    return LE_OK;
}

le_status le_shape_scatter_elements(le_ctx *ctx) {
    const elements *p = ctx->node->packed;
    const le_tensor *indices = ctx->in[1], *updates = ctx->in[2];
    LE_TRY(check_elements(ctx));
    if (p->add)
        LE_TRY(le_expect_number(ctx, 0));
    LE_TRY(le_expect_dtype(ctx, 2, ctx->in[0]->dtype));
    LE_TRY(le_expect_rank(ctx, 2, indices->rank, indices->rank));
    for (int d = 0; d < indices->rank; d++)
        if (updates->dims[d] != indices->dims[d])
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "updates: expected %lld on axis %d as in indices, found %lld",
                              (long long)indices->dims[d], d, (long long)updates->dims[d]);
    le_like(ctx->out[0], ctx->in[0], ctx->in[0]->dtype);
    return LE_OK;
}

typedef struct {
    le_dtype dtype;
    bool scatter, add;
} transfer;

/* dense is element `at` of the indices' shape, sparse the element of data's shape that its index names. */
static void move_element(transfer t, void *dense, void *sparse, int64_t at, int64_t place) {
    if (t.add && t.dtype == LE_F32)
        ((float *)sparse)[place] += ((const float *)dense)[at];
    else if (t.add)
        ((uint32_t *)sparse)[place] += ((const uint32_t *)dense)[at];
    else if (le_dtype_size(t.dtype) == 4 && t.scatter)
        ((le_word *)sparse)[place] = ((const le_word *)dense)[at];
    else if (le_dtype_size(t.dtype) == 4)
        ((le_word *)dense)[at] = ((const le_word *)sparse)[place];
    else if (t.scatter)
        ((uint8_t *)sparse)[place] = ((const uint8_t *)dense)[at];
    else
        ((uint8_t *)dense)[at] = ((const uint8_t *)sparse)[place];
}

/* sparse has the shape of input 0. */
static le_status transfer_all(le_ctx *ctx, transfer t, void *dense, void *sparse) {
    const le_tensor *data = ctx->in[0], *index_tensor = ctx->in[1];
    const int32_t *indices = index_tensor->data;
    int axis, last = data->rank - 1;
    LE_TRY(le_axis(ctx, ((const elements *)ctx->node->packed)->axis, data->rank, &axis));
    int64_t strides[LE_MAX_RANK], at[LE_MAX_RANK] = {0}, count = le_count(index_tensor), n = index_tensor->dims[last], base = 0;
    le_dense_strides(data->rank, data->dims, strides);
    int64_t along = strides[axis], size = data->dims[axis], step = axis == last ? 0 : 1;
    for (int64_t row = 0; row < count; row += n) {
        for (int64_t j = 0; j < n; j++) {
            int32_t given = indices[row + j];
            int64_t index = given < 0 ? given + size : given;
            if (index < 0 || index >= size)
                return out_of_range(ctx, given, size);
            move_element(t, dense, sparse, row + j, base + j * step + index * along);
        }
        for (int d = last - 1; d >= 0; d--) {
            int64_t stride = d == axis ? 0 : strides[d];
            base += stride;
            if (++at[d] < index_tensor->dims[d])
                break;
            base -= stride * index_tensor->dims[d];
            at[d] = 0;
        }
    }
    return LE_OK;
}

le_status le_run_gather_elements(le_ctx *ctx) {
    transfer t = {.dtype = ctx->in[0]->dtype};
    return transfer_all(ctx, t, ctx->out[0]->data, ctx->in[0]->data);
}

le_status le_run_scatter_elements(le_ctx *ctx) {
    const le_tensor *data = ctx->in[0], *y = ctx->out[0];
    transfer t = {.dtype = data->dtype, .scatter = true, .add = ((const elements *)ctx->node->packed)->add};
    size_t bytes = (size_t)le_count(data) * le_dtype_size(data->dtype);
    if (bytes)
        memcpy(y->data, data->data, bytes);
    return transfer_all(ctx, t, ctx->in[2]->data, y->data);
}

/* ---- ReverseSequence ---- */

typedef struct {
    int64_t batch_axis, time_axis;
} reverse;

le_status le_pack_reverse_sequence(le_pack_ctx *ctx) {
    static const char *const keys[] = {"batch_axis", "time_axis", NULL};
    reverse *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "batch_axis"));
    LE_TRY(le_attr_required(ctx, "time_axis"));
    LE_TRY(le_attr_int(ctx, "batch_axis", 0, -LE_MAX_RANK, LE_MAX_RANK - 1, &p->batch_axis));
    return le_attr_int(ctx, "time_axis", 0, -LE_MAX_RANK, LE_MAX_RANK - 1, &p->time_axis);
}

le_status le_shape_reverse_sequence(le_ctx *ctx) {
    const reverse *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    int batch, time;
    LE_TRY(le_expect_run_dtype(ctx, 0));
    LE_TRY(le_axis(ctx, p->batch_axis, x->rank, &batch));
    LE_TRY(le_axis(ctx, p->time_axis, x->rank, &time));
    LE_TRY(le_expect_dtype(ctx, 1, LE_I32));
    LE_TRY(le_expect_rank(ctx, 1, 1, 1));
    if (batch == time || ctx->in[1]->dims[0] != x->dims[batch])
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "expected two axes and %lld lengths, found axes %d and %d and %lld lengths",
                          (long long)x->dims[batch], batch, time, (long long)ctx->in[1]->dims[0]);
    le_like(ctx->out[0], x, x->dtype);
    return LE_OK;
}

le_status le_run_reverse_sequence(le_ctx *ctx) {
    const reverse *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    if (le_count(x) == 0)
        return LE_OK;
    int batch, time;
    LE_TRY(le_axis(ctx, p->batch_axis, x->rank, &batch));
    LE_TRY(le_axis(ctx, p->time_axis, x->rank, &time));
    const int32_t *lengths = ctx->in[1]->data;
    for (int64_t b = 0; b < x->dims[batch]; b++)
        if (lengths[b] < 0 || lengths[b] > x->dims[time])
            return le_fail_op(ctx->err, ctx->node, LE_ERR_VALUE, "lengths[%lld]: expected 0 to %lld, found %d", (long long)b,
                              (long long)x->dims[time], (int)lengths[b]);
    /* Blocks of contiguous elements behind the later of the two axes; `i` counts along all axes up to it. */
    int last = batch > time ? batch : time;
    int64_t strides[LE_MAX_RANK];
    le_dense_strides(x->rank, x->dims, strides);
    int64_t blocks = le_product(x->dims, 0, last + 1), inner = strides[last], at[LE_MAX_RANK] = {0};
    size_t bytes = (size_t)inner * le_dtype_size(x->dtype);
    for (int64_t i = 0; i < blocks; i++) {
        int64_t t = at[time], length = lengths[at[batch]], from = i;
        if (t < length)
            from += (length - 1 - 2 * t) * (strides[time] / inner);
        memcpy((uint8_t *)ctx->out[0]->data + (size_t)i * bytes, (const uint8_t *)x->data + (size_t)from * bytes, bytes);
        for (int d = last; d >= 0 && ++at[d] == x->dims[d]; d--)
            at[d] = 0;
    }
    return LE_OK;
}
