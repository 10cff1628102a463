/* Pool: maximum or average over windows. Channels first is channels last with every channel a sequence of its own. */
#include "ops.h"

#include <math.h>

typedef struct {
    le_window_attrs window;
    int64_t kernel[2];
    int n_kernel;
    bool is_max, ceil_mode, count_pad;
} pool;

le_status le_pack_pool(le_pack_ctx *ctx) {
    static const char *const keys[] = {"kind", "kernel", "strides", "dilations", "pads", "ceil_mode", "count_include_pad", "layout", NULL};
    static const char *const kinds[] = {"average", "max", NULL};
    pool *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    int kind = 0;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "kind"));
    LE_TRY(le_attr_word(ctx, "kind", "", kinds, &kind));
    p->is_max = kind == 1;
    LE_TRY(le_attr_required(ctx, "kernel"));
    LE_TRY(le_attr_ints(ctx, "kernel", 2, 1, LE_ATTR_LIMIT, p->kernel, &p->n_kernel));
    LE_TRY(le_attr_flag(ctx, "ceil_mode", false, &p->ceil_mode));
    LE_TRY(le_attr_flag(ctx, "count_include_pad", false, &p->count_pad));
    return le_window_pack(ctx, &p->window);
}

static le_status make_window(le_ctx *ctx, const pool *p, le_window *w) {
    LE_TRY(le_window_make(ctx, &p->window, p->kernel, p->n_kernel, w));
    for (int d = 0; d < 2; d++) {
        if (w->begin[d] >= w->span[d] || w->end[d] >= w->span[d])
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "pads: expected less than the kernel's span of %lld, found %lld and %lld",
                              (long long)w->span[d], (long long)w->begin[d], (long long)w->end[d]);
        int64_t slack = w->begin[d] + w->end[d] - w->span[d] + w->stride[d];
        if (p->ceil_mode) /* a window may pass the end of the padding, but begins before the end of x */
            slack = (slack < w->begin[d] ? slack : w->begin[d]) + w->stride[d] - 1;
        int64_t room = w->size[d] + slack;
        w->out[d] = room < 0 ? 0 : room / w->stride[d];
    }
    return LE_OK;
}

le_status le_shape_pool(le_ctx *ctx) {
    const pool *p = ctx->node->packed;
    le_window w;
    LE_TRY(make_window(ctx, p, &w));
    LE_TRY(le_window_shape(ctx, &p->window, &w, w.channels));
    ctx->out[0]->absent = w.size[0] == 0 || w.size[1] == 0;
    return LE_OK;
}

/* Taps first..end - 1 of the window at output position o lie in x; *counted: those that an average divides by. */
static void taps_inside(const le_window *w, int d, int64_t o, bool count_pad, int64_t *first, int64_t *end, int64_t *counted) {
    int64_t start = o * w->stride[d] - w->begin[d], step = w->dilation[d], room = w->size[d] - start, padded = room + w->end[d];
    *first = start < 0 ? (-start + step - 1) / step : 0;
    *end = room <= 0 ? 0 : (room - 1) / step + 1;
    if (*end > w->kernel[d])
        *end = w->kernel[d];
    int64_t all = padded <= 0 ? 0 : (padded - 1) / step + 1;
    *counted = count_pad ? (all < w->kernel[d] ? all : w->kernel[d]) : *end > *first ? *end - *first : 0;
}

static void take_tap(bool is_max, int64_t n, const float *x, float *y) {
    if (is_max) {
        for (int64_t c = 0; c < n; c++)
            y[c] = x[c] > y[c] || x[c] != x[c] ? x[c] : y[c];
    } else {
        for (int64_t c = 0; c < n; c++)
            y[c] += x[c];
    }
}

static void pool_window(const pool *p, const le_window *w, int64_t channels, int64_t oh, int64_t ow, const float *x, float *y) {
    int64_t h0, h1, w0, w1, count_h, count_w;
    taps_inside(w, 0, oh, p->count_pad, &h0, &h1, &count_h);
    taps_inside(w, 1, ow, p->count_pad, &w0, &w1, &count_w);
    for (int64_t c = 0; c < channels; c++)
        y[c] = p->is_max ? -INFINITY : 0;
    for (int64_t h = h0; h < h1; h++) {
        int64_t row = (oh * w->stride[0] - w->begin[0] + h * w->dilation[0]) * w->size[1];
        for (int64_t k = w0; k < w1; k++)
            take_tap(p->is_max, channels, x + (row + ow * w->stride[1] - w->begin[1] + k * w->dilation[1]) * channels, y);
    }
    float count = (float)(count_h * count_w);
    if (!p->is_max)
        for (int64_t c = 0; c < channels; c++)
            y[c] /= count;
}

le_status le_run_pool(le_ctx *ctx) {
    const pool *p = ctx->node->packed;
    int64_t count = le_count(ctx->out[0]);
    if (count == 0)
        return LE_OK;
    le_window w;
    LE_TRY(make_window(ctx, p, &w));
    bool last = p->window.channels_last;
    int64_t sequences = last ? w.batch : w.batch * w.channels, channels = last ? w.channels : 1;
    const float *x = ctx->in[0]->data;
    float *y = ctx->out[0]->data;
    for (int64_t s = 0; s < sequences; s++, x += w.size[0] * w.size[1] * channels)
        for (int64_t oh = 0; oh < w.out[0]; oh++)
            for (int64_t ow = 0; ow < w.out[1]; ow++, y += channels)
                pool_window(p, &w, channels, oh, ow, x, y);
    return LE_OK;
}
