/* Sliding windows over one or two spatial axes: what Conv, ConvTranspose and Pool share. */
#include "conv.h"

le_status le_window_pack(le_pack_ctx *ctx, le_window_attrs *a) {
    static const char *const layouts[] = {"channels_first", "channels_last", NULL};
    int layout = 0;
    LE_TRY(le_attr_word(ctx, "layout", "channels_first", layouts, &layout));
    a->channels_last = layout == 1;
    LE_TRY(le_attr_ints(ctx, "strides", 2, 1, LE_ATTR_LIMIT, a->stride, &a->n_stride));
    LE_TRY(le_attr_ints(ctx, "dilations", 2, 1, LE_ATTR_LIMIT, a->dilation, &a->n_dilation));
    return le_attr_ints(ctx, "pads", 4, 0, LE_ATTR_LIMIT, a->pad, &a->n_pad);
}

le_status le_filter_open(le_pack_ctx *ctx, int64_t groups, le_weight *weight, const le_tensor_def **def) {
    LE_TRY(le_weight_open(ctx, 1, weight, def));
    const le_tensor_def *w = *def;
    if (w && (w->rank < 3 || w->rank > 4 || w->dims[0] % groups))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT,
                          "input 1: expected a weight of rank 3 or 4 with rows in %lld groups, found rank %d and %lld rows",
                          (long long)groups, w->rank, (long long)(w->rank ? w->dims[0] : 0));
    return LE_OK;
}

le_status le_window_make(le_ctx *ctx, const le_window_attrs *a, const int64_t *kernel, int n_kernel, le_window *w) {
    const le_tensor *x = ctx->in[0];
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    LE_TRY(le_expect_rank(ctx, 0, 3, 4));
    int n = x->rank - 2;
    if (n_kernel != n || (a->n_stride && a->n_stride != n) || (a->n_dilation && a->n_dilation != n) || (a->n_pad && a->n_pad != 2 * n))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE,
                          "x of rank %d has %d spatial axes: expected as many kernel sizes, strides and dilations, and twice as many pads, "
                          "found %d, %d, %d, %d",
                          x->rank, n, n_kernel, a->n_stride, a->n_dilation, a->n_pad);
    *w = (le_window){.batch = x->dims[0], .channels = x->dims[a->channels_last ? x->rank - 1 : 1]};
    for (int d = 0; d < 2; d++) {
        w->size[d] = w->kernel[d] = w->stride[d] = w->dilation[d] = w->span[d] = 1;
        int s = d - (2 - n); /* the spatial axis that plays axis d */
        if (s < 0)
            continue;
        if (kernel[s] < 1 || kernel[s] > LE_ATTR_LIMIT)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "kernel size %d: expected 1 to 2^24, found %lld", s, (long long)kernel[s]);
        w->size[d] = x->dims[(a->channels_last ? 1 : 2) + s];
        w->kernel[d] = kernel[s];
        w->stride[d] = a->n_stride ? a->stride[s] : 1;
        w->dilation[d] = a->n_dilation ? a->dilation[s] : 1;
        w->begin[d] = a->n_pad ? a->pad[s] : 0;
        w->end[d] = a->n_pad ? a->pad[n + s] : 0;
        w->span[d] = (w->kernel[d] - 1) * w->dilation[d] + 1;
    }
    return LE_OK;
}

le_status le_window_shape(le_ctx *ctx, const le_window_attrs *a, const le_window *w, int64_t channels) {
    le_tensor *y = ctx->out[0];
    y->dtype = LE_F32;
    y->rank = ctx->in[0]->rank;
    int n = y->rank - 2;
    y->dims[0] = w->batch;
    y->dims[a->channels_last ? n + 1 : 1] = channels;
    for (int s = 0; s < n; s++)
        y->dims[(a->channels_last ? 1 : 2) + s] = w->out[2 - n + s];
    return le_check_size(ctx, y);
}

int64_t le_window_reach(const le_window *w, int d, int64_t k, int64_t *low, int64_t *high) {
    int64_t shift = k * w->dilation[d] - w->begin[d], stride = w->stride[d], last = w->out[d] - 1 - shift;
    *low = shift < 0 ? (-shift + stride - 1) / stride : 0;
    *high = last < 0 ? 0 : last / stride + 1;
    if (*high > w->size[d])
        *high = w->size[d];
    return *low * stride + shift;
}
