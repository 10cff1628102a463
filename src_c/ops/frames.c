/* Frames: windows of the last axis that overlap, one behind the other. */
#include "ops.h"

#include <string.h>

typedef struct {
    int64_t size, hop;
} frames;

le_status le_pack_frames(le_pack_ctx *ctx) {
    static const char *const keys[] = {"size", "hop", NULL};
    frames *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "size"));
    LE_TRY(le_attr_required(ctx, "hop"));
    LE_TRY(le_attr_int(ctx, "size", 1, 1, LE_ATTR_LIMIT, &p->size));
    return le_attr_int(ctx, "hop", 1, 1, LE_ATTR_LIMIT, &p->hop);
}

le_status le_shape_frames(le_ctx *ctx) {
    const frames *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    le_tensor *y = ctx->out[0];
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    LE_TRY(le_expect_rank(ctx, 0, 1, LE_MAX_RANK - 1));
    le_like(y, x, LE_F32);
    int64_t samples = x->dims[x->rank - 1];
    y->dims[x->rank - 1] = samples < p->size ? 0 : (samples - p->size) / p->hop + 1;
    y->dims[y->rank++] = p->size;
    return le_check_size(ctx, y);
}

le_status le_run_frames(le_ctx *ctx) {
    const frames *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0], *y = ctx->out[0];
    int64_t samples = x->dims[x->rank - 1], rows = le_product(x->dims, 0, x->rank - 1), count = y->dims[x->rank - 1];
    const float *from = x->data;
    float *to = y->data;
    for (int64_t row = 0; row < rows; row++, from += samples)
        for (int64_t i = 0; i < count; i++, to += p->size)
            memcpy(to, from + i * p->hop, (size_t)p->size * sizeof *to);
    return LE_OK;
}
