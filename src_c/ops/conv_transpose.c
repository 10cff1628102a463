/* ConvTranspose: for each kernel tap, x times the tap's matrix is added to the positions of y the tap reaches. An output element takes
 * its bias, then its taps in order; each tap reaches it from at most one input position. */
#include "ops.h"

typedef struct {
    le_window_attrs window;
    int64_t groups, extra[2];
    int n_extra;
    le_activation act;
    bool is_packed;
    le_packed *w;     /* taps x groups */
    float *depthwise; /* taps x channels, where every channel is a group of its own; then w is not used */
} conv_transpose;

typedef struct {
    le_window w;
    int64_t outputs, group_inputs, group_outputs, taps;
    bool turns_in, turns_out; /* x, y are turned from, to channels first */
} plan;

static le_weight_view tap_view(const plan *q, int64_t tap, int64_t group) {
    return (le_weight_view){.offset = group * q->group_inputs * q->group_outputs * q->taps + tap,
                            .n = q->group_outputs,
                            .n_stride = q->taps,
                            .k0 = 1,
                            .k1 = q->group_inputs,
                            .k1_stride = q->group_outputs * q->taps};
}

static void read_filter(const conv_transpose *p, const int64_t *dims, int rank, plan *q) {
    q->group_inputs = dims[0] / p->groups;
    q->group_outputs = dims[1];
    q->taps = le_product(dims, 2, rank);
}

static le_status pack_filter(le_pack_ctx *ctx, conv_transpose *p) {
    le_weight weight;
    const le_tensor_def *w;
    LE_TRY(le_filter_open(ctx, p->groups, &weight, &w));
    if (!w)
        return LE_OK;
    plan q;
    read_filter(p, w->dims, w->rank, &q);
    int64_t matrices;
    if (!le_mul_size(q.taps, p->groups, &matrices) || matrices > INT32_MAX)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input 1: too many taps and groups");
    p->is_packed = true;
    if (q.group_inputs == 1 && q.group_outputs == 1) {
        p->depthwise = le_pack_alloc(ctx, (size_t)matrices * sizeof(float));
        for (int64_t tap = 0; p->depthwise && tap < q.taps; tap++)
            le_weight_widen(&weight, tap, p->groups, q.taps, p->depthwise + tap * p->groups);
        return p->depthwise ? LE_OK : LE_ERR_MEMORY;
    }
    p->w = le_pack_alloc(ctx, (size_t)(matrices + 1) * sizeof *p->w);
    if (!p->w)
        return LE_ERR_MEMORY;
    for (int64_t i = 0; i < matrices; i++) {
        le_weight_view view = tap_view(&q, i / p->groups, i % p->groups);
        LE_TRY(le_pack_weight(ctx, &weight, &view, &p->w[i]));
    }
    return LE_OK;
}

le_status le_pack_conv_transpose(le_pack_ctx *ctx) {
    static const char *const keys[] = {"layout",     "strides", "dilations", "pads",           "groups",
                                       "activation", "alpha",   "beta",      "output_padding", NULL};
    conv_transpose *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_window_pack(ctx, &p->window));
    LE_TRY(le_attr_int(ctx, "groups", 1, 1, LE_ATTR_LIMIT, &p->groups));
    LE_TRY(le_attr_ints(ctx, "output_padding", 2, 0, LE_ATTR_LIMIT, p->extra, &p->n_extra));
    LE_TRY(le_attr_activation(ctx, "activation", &p->act));
    return pack_filter(ctx, p);
}

static le_status make_plan(le_ctx *ctx, const conv_transpose *p, plan *q) {
    const le_tensor *t = ctx->in[1];
    LE_TRY(le_expect_rank(ctx, 1, 3, 4));
    LE_TRY(le_window_make(ctx, &p->window, t->dims + 2, t->rank - 2, &q->w));
    int n = t->rank - 2;
    le_window *w = &q->w;
    if (t->dims[0] != w->channels || t->dims[0] % p->groups || (p->n_extra && p->n_extra != n))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE,
                          "expected %lld channels of x as rows of w, in %lld groups, and %d of output_padding, found %lld channels and %d",
                          (long long)t->dims[0], (long long)p->groups, n, (long long)w->channels, p->n_extra);
    read_filter(p, t->dims, t->rank, q);
    if (!le_mul_size(q->group_outputs, p->groups, &q->outputs))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "too many output channels");
    for (int d = 0; d < 2; d++) {
        int64_t extra = d >= 2 - n && p->n_extra ? p->extra[d - (2 - n)] : 0, reach;
        if (extra && extra >= w->stride[d] && extra >= w->dilation[d])
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "output_padding: expected less than stride or dilation, found %lld",
                              (long long)extra);
        if (!le_mul_size(w->size[d] ? w->size[d] - 1 : 0, w->stride[d], &reach))
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "the output is too large");
        int64_t out = reach + w->span[d] + extra - w->begin[d] - w->end[d];
        w->out[d] = w->size[d] == 0 || out < 0 ? 0 : out;
    }
    bool first = !p->window.channels_last;
    q->turns_in = first && w->channels != 1 && (w->size[0] != 1 || w->size[1] != 1);
    q->turns_out = first && q->outputs != 1 && (w->out[0] != 1 || w->out[1] != 1);
    return LE_OK;
}

le_status le_shape_conv_transpose(le_ctx *ctx) {
    const conv_transpose *p = ctx->node->packed;
    plan q;
    LE_TRY(make_plan(ctx, p, &q));
    LE_TRY(le_expect_vector(ctx, 2, q.outputs));
    LE_TRY(le_window_shape(ctx, &p->window, &q.w, q.outputs));
    if (le_count(ctx->out[0]) == 0)
        return LE_OK;
    if (!p->is_packed) {
        LE_TRY(le_expect_dtype(ctx, 1, LE_F32));
        int64_t matrices, rows;
        if (!le_mul_size(q.taps, p->groups, &matrices) || !le_mul_size(q.group_inputs, q.group_outputs, &rows))
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "the weight is too large");
        LE_TRY(le_add_scratch(ctx, rows, sizeof(float)));
        LE_TRY(le_add_packed_scratch(ctx, q.group_outputs, q.group_inputs, matrices));
    }
    if (q.turns_in)
        LE_TRY(le_add_scratch(ctx, le_count(ctx->in[0]) / q.w.batch, sizeof(float)));
    if (q.turns_out)
        LE_TRY(le_add_scratch(ctx, le_count(ctx->out[0]) / q.w.batch, sizeof(float)));
    return q.group_inputs <= LE_MAX_I8_K ? le_add_scratch(ctx, 1, le_multiply_scratch((int)q.group_inputs)) : LE_OK;
}

typedef struct {
    const le_kernels *kernels;
    const plan *q;
    const conv_transpose *p;
    const float *bias;
    float *turned_in, *turned_out; /* scratch */
    uint8_t *packed;               /* scratch, of a w that is not constant */
    void *quantized;               /* scratch of le_matmul */
    size_t packed_stride;
} job;

static void pack_in_run(job *j, const float *w, uint8_t **at) {
    const plan *q = j->q;
    float *rows = le_take_scratch(at, q->group_inputs * q->group_outputs, sizeof(float));
    j->packed_stride = le_packed_stride(j->kernels, q->group_outputs, q->group_inputs);
    j->packed = le_take_scratch(at, q->taps * j->p->groups, j->packed_stride);
    for (int64_t i = 0; i < q->taps * j->p->groups; i++) {
        le_weight_view view = tap_view(q, i / j->p->groups, i % j->p->groups);
        le_packed packed = {.data = j->packed + (size_t)i * j->packed_stride};
        le_repack_weight(j->kernels, w, &view, rows, &packed);
    }
}

/* Input positions low..high - 1 of axis d reach y through tap k; the first of them at the returned output position. */
static int64_t reach(const le_window *w, int d, int64_t k, int64_t *low, int64_t *high) {
    int64_t shift = k * w->dilation[d] - w->begin[d], stride = w->stride[d], last = w->out[d] - 1 - shift;
    *low = shift < 0 ? (-shift + stride - 1) / stride : 0;
    *high = last < 0 ? 0 : last / stride + 1;
    if (*high > w->size[d])
        *high = w->size[d];
    return *low * stride + shift;
}

static void add_tap(const job *j, int64_t kh, int64_t kw, const float *x, float *y) {
    const plan *q = j->q;
    const le_window *w = &q->w;
    int64_t h0, h1, w0, w1, oh = reach(w, 0, kh, &h0, &h1), ow = reach(w, 1, kw, &w0, &w1), tap = kh * w->kernel[1] + kw;
    if (w1 <= w0)
        return;
    for (int64_t h = h0; h < h1; h++, oh += w->stride[0])
        for (int64_t g = 0; g < j->p->groups; g++) {
            int64_t at = tap * j->p->groups + g;
            le_packed packed = {.n = (int)q->group_outputs, .k = (int)q->group_inputs, .data = j->packed + (size_t)at * j->packed_stride};
            float *to = y + (oh * w->out[1] + ow) * q->outputs + g * q->group_outputs;
            int64_t stride = w->stride[1] * q->outputs;
            le_matmul(j->kernels, w1 - w0, x + (h * w->size[1] + w0) * w->channels + g * q->group_inputs, w->channels,
                      j->p->is_packed ? &j->p->w[at] : &packed, to, stride, to, stride, j->quantized);
        }
}

static void add_tap_depthwise(const job *j, int64_t kh, int64_t kw, const float *x, float *y) {
    const le_window *w = &j->q->w;
    const int64_t channels = w->channels, step = w->stride[1] * channels;
    const float *weight = j->p->depthwise + (kh * w->kernel[1] + kw) * channels;
    int64_t h0, h1, w0, w1, oh = reach(w, 0, kh, &h0, &h1), ow = reach(w, 1, kw, &w0, &w1);
    for (int64_t h = h0; h < h1; h++, oh += w->stride[0]) {
        const float *from = x + (h * w->size[1] + w0) * channels;
        float *to = y + (oh * w->out[1] + ow) * channels;
        for (int64_t i = w0; i < w1; i++, from += channels, to += step)
            for (int64_t c = 0; c < channels; c++)
                to[c] += from[c] * weight[c];
    }
}

static void run_sequence(const job *j, const float *x, float *y) {
    const plan *q = j->q;
    const le_window *w = &q->w;
    int64_t inputs = w->size[0] * w->size[1], outputs = w->out[0] * w->out[1];
    if (q->turns_in) {
        le_transpose2(w->channels, inputs, x, inputs, j->turned_in, w->channels);
        x = j->turned_in;
    }
    float *sum = q->turns_out ? j->turned_out : y;
    for (int64_t i = 0; i < outputs; i++)
        for (int64_t o = 0; o < q->outputs; o++)
            sum[i * q->outputs + o] = j->bias ? j->bias[o] : 0;
    for (int64_t kh = 0; kh < w->kernel[0]; kh++)
        for (int64_t kw = 0; kw < w->kernel[1]; kw++)
            (j->p->depthwise ? add_tap_depthwise : add_tap)(j, kh, kw, x, sum);
    if (q->turns_out)
        le_transpose2(outputs, q->outputs, sum, q->outputs, y, outputs);
}

le_status le_run_conv_transpose(le_ctx *ctx) {
    const conv_transpose *p = ctx->node->packed;
    int64_t count = le_count(ctx->out[0]);
    if (count == 0)
        return LE_OK;
    plan q;
    LE_TRY(make_plan(ctx, p, &q));
    uint8_t *at = ctx->scratch;
    job j = {.kernels = ctx->kernels, .q = &q, .p = p};
    j.bias = ctx->node->n_in > 2 && ctx->in[2] ? ctx->in[2]->data : NULL;
    if (!p->is_packed)
        pack_in_run(&j, ctx->in[1]->data, &at);
    int64_t x_size = le_count(ctx->in[0]) / q.w.batch, y_size = count / q.w.batch;
    if (q.turns_in)
        j.turned_in = le_take_scratch(&at, x_size, sizeof(float));
    if (q.turns_out)
        j.turned_out = le_take_scratch(&at, y_size, sizeof(float));
    j.quantized = at;
    const float *x = ctx->in[0]->data;
    float *y = ctx->out[0]->data;
    for (int64_t b = 0; b < q.w.batch; b++)
        run_sequence(&j, x + b * x_size, y + b * y_size);
    if (p->act.kind != LE_ACT_linear)
        ctx->kernels->activate(p->act, (ptrdiff_t)count, y, y);
    return LE_OK;
}
