/* ConvTranspose: a position of x times the matrices of all taps at once, and the products added to the positions of y that the taps reach. An output
 * element takes its bias, then the products in the order of x's positions; each reaches it through at most one tap. A depthwise one takes its taps in
 * order instead. */
#include "conv.h"

enum { BLOCK = 64, BLOCK_FLOATS = 1 << 14 }; /* most positions and, but for 4 positions, most products at once */

typedef struct {
    le_window_attrs window;
    int64_t groups, extra[2];
    int n_extra;
    le_activation act;
    bool is_packed;
    le_packed *w;     /* per group: outputs x taps rows */
    float *depthwise; /* taps x channels, where every channel is a group of its own; then w is not used */
} conv_transpose;

typedef struct {
    le_window w;
    int64_t outputs, group_inputs, group_outputs, taps;
    bool turns_in, turns_out; /* x, y are turned from, to channels first; the second where p->depthwise */
    int64_t block;            /* positions of x at once */
    bool planes;              /* conv_planes.c does it */
} plan;

static le_weight_view group_view(const plan *q, int64_t group) {
    const int64_t rows = q->group_outputs * q->taps;
    return (le_weight_view){
        .offset = group * q->group_inputs * rows, .n = rows, .n_stride = 1, .k0 = 1, .k1 = q->group_inputs, .k1_stride = rows};
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
    p->is_packed = true;
    if (q.group_inputs == 1 && q.group_outputs == 1) {
        p->depthwise = le_pack_alloc(ctx, (size_t)(q.taps * p->groups) * sizeof(float));
        for (int64_t tap = 0; p->depthwise && tap < q.taps; tap++)
            le_weight_widen(&weight, tap, p->groups, q.taps, p->depthwise + tap * p->groups);
        return p->depthwise ? LE_OK : LE_ERR_MEMORY;
    }
    p->w = le_pack_alloc(ctx, (size_t)p->groups * sizeof *p->w);
    if (!p->w)
        return LE_ERR_MEMORY;
    for (int64_t g = 0; g < p->groups; g++) {
        le_weight_view view = group_view(&q, g);
        LE_TRY(le_pack_weight(ctx, &weight, &view, &p->w[g]));
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
    int64_t rows;
    if (!le_mul_size(q->group_outputs, q->taps, &rows) || !le_mul_size(rows, q->group_inputs, &rows) || !le_mul_size(rows, BLOCK, &rows))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "the weight is too large");
    q->block = BLOCK_FLOATS / (q->group_outputs * q->taps + 1);
    q->block = q->block < 4 ? 4 : q->block > BLOCK ? BLOCK : q->block;
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
    q->planes = first && p->depthwise && w->stride[1] == 1 && w->out[1] >= LE_ACROSS_LEAST;
    q->turns_in = first && w->channels != 1 && (w->size[0] != 1 || w->size[1] != 1);
    q->turns_out = first && p->depthwise && q->outputs != 1 && (w->out[0] != 1 || w->out[1] != 1);
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
        LE_TRY(le_add_scratch(ctx, q.group_inputs * q.group_outputs * q.taps, sizeof(float)));
        LE_TRY(le_add_packed_scratch(ctx, q.group_outputs * q.taps, q.group_inputs, p->groups));
    }
    if (q.planes)
        return LE_OK;
    if (q.turns_in)
        LE_TRY(le_add_scratch(ctx, le_count(ctx->in[0]) / q.w.batch, sizeof(float)));
    if (q.turns_out)
        LE_TRY(le_add_scratch(ctx, le_count(ctx->out[0]) / q.w.batch, sizeof(float)));
    if (!p->depthwise)
        LE_TRY(le_add_scratch(ctx, q.block * q.group_outputs * q.taps, sizeof(float)));
    return q.group_inputs <= LE_MAX_I8_K ? le_add_scratch(ctx, 1, le_multiply_scratch((int)q.group_inputs)) : LE_OK;
}

typedef struct {
    const le_kernels *kernels;
    const plan *q;
    const conv_transpose *p;
    const float *bias;
    float *turned_in, *turned_out; /* scratch */
    float *products;               /* scratch: of a block of positions, a group's outputs x taps */
    uint8_t *packed;               /* scratch, of a w that is not constant */
    void *quantized;               /* scratch of le_matmul */
    size_t packed_stride;
} job;

static void pack_in_run(job *j, const float *w, uint8_t **at) {
    const plan *q = j->q;
    const int64_t rows = q->group_outputs * q->taps;
    float *gathered = le_take_scratch(at, q->group_inputs * rows, sizeof(float));
    j->packed_stride = le_packed_stride(j->kernels, rows, q->group_inputs);
    j->packed = le_take_scratch(at, j->p->groups, j->packed_stride);
    for (int64_t g = 0; g < j->p->groups; g++) {
        le_weight_view view = group_view(q, g);
        le_packed packed = {.data = j->packed + (size_t)g * j->packed_stride};
        le_repack_weight(j->kernels, w, &view, gathered, &packed);
    }
}

/* Adds the products z of positions (h, first .. end - 1) of x to a group's first output, whose positions of y are `step` apart, and to those `plane`
 * apart behind it. From the last tap to the first: so products reach an element in the order of their positions. */
static void add_line(const plan *q, int64_t h, int64_t first, int64_t end, const float *z, float *y, int64_t plane, int64_t step) {
    const le_window *w = &q->w;
    const int64_t rows = q->group_outputs * q->taps;
    for (int64_t tap = q->taps - 1; tap >= 0; tap--) {
        const int64_t kh = tap / w->kernel[1], kw = tap % w->kernel[1], oh = h * w->stride[0] + kh * w->dilation[0] - w->begin[0];
        int64_t low, high;
        le_window_reach(w, 1, kw, &low, &high);
        low = low > first ? low : first;
        high = high < end ? high : end;
        if (oh < 0 || oh >= w->out[0] || low >= high)
            continue;
        float *to = y + (oh * w->out[1] + low * w->stride[1] + kw * w->dilation[1] - w->begin[1]) * step;
        const float *from = z + (low - first) * rows + tap;
        for (int64_t o = 0; o < q->group_outputs; o++, to += plane, from += q->taps)
            for (int64_t i = 0; i < high - low; i++)
                to[i * w->stride[1] * step] += from[i * rows];
    }
}

/* Positions first .. first + n of one group. */
static void add_block(const job *j, int64_t group, int64_t first, int64_t n, const float *x, float *y) {
    const plan *q = j->q;
    const int64_t rows = q->group_outputs * q->taps, channels = q->w.channels, positions = q->w.out[0] * q->w.out[1];
    const bool last = j->p->window.channels_last;
    const int64_t plane = last ? 1 : positions, step = last ? q->outputs : 1;
    const le_packed in_run = {
        .n = (int)rows, .k = (int)q->group_inputs, .data = j->p->is_packed ? NULL : j->packed + (size_t)group * j->packed_stride};
    const float *from =
        q->group_inputs ? x + first * channels + group * q->group_inputs : x; /* without channels there may be no x at all */
    le_matmul(j->kernels, n, from, channels, j->p->is_packed ? &j->p->w[group] : &in_run, NULL, 0, j->products, rows, j->quantized);
    const float *z = j->products;
    int64_t h = first / q->w.size[1], w = first % q->w.size[1];
    for (; n > 0; h++, w = 0) {
        const int64_t left = q->w.size[1] - w, run = left < n ? left : n;
        add_line(q, h, w, w + run, z, y + group * q->group_outputs * plane, plane, step);
        z += run * rows;
        n -= run;
    }
}

static void add_tap_depthwise(const job *j, int64_t kh, int64_t kw, const float *x, float *y) {
    const le_window *w = &j->q->w;
    const int64_t channels = w->channels, step = w->stride[1] * channels;
    const float *weight = j->p->depthwise + (kh * w->kernel[1] + kw) * channels;
    int64_t h0, h1, w0, w1, oh = le_window_reach(w, 0, kh, &h0, &h1), ow = le_window_reach(w, 1, kw, &w0, &w1);
    for (int64_t h = h0; h < h1; h++, oh += w->stride[0]) {
        const float *from = x + (h * w->size[1] + w0) * channels;
        float *to = y + (oh * w->out[1] + ow) * channels;
        for (int64_t i = w0; i < w1; i++, from += channels, to += step)
            for (int64_t c = 0; c < channels; c++)
                to[c] += from[c] * weight[c];
    }
}

static void add_depthwise(const job *j, const float *x, float *y) {
    const le_window *w = &j->q->w;
    const int64_t outputs = w->out[0] * w->out[1], channels = w->channels;
    float *sum = j->q->turns_out ? j->turned_out : y;
    for (int64_t i = 0; i < outputs; i++)
        for (int64_t o = 0; o < channels; o++)
            sum[i * channels + o] = j->bias ? j->bias[o] : 0;
    for (int64_t kh = 0; kh < w->kernel[0]; kh++)
        for (int64_t kw = 0; kw < w->kernel[1]; kw++)
            add_tap_depthwise(j, kh, kw, x, sum);
    if (j->q->turns_out)
        le_transpose2(outputs, channels, sum, channels, y, outputs);
}

static void run_sequence(const job *j, const float *x, float *y) {
    const plan *q = j->q;
    const le_window *w = &q->w;
    const int64_t inputs = w->size[0] * w->size[1], outputs = w->out[0] * w->out[1];
    if (q->turns_in) {
        le_transpose2(w->channels, inputs, x, inputs, j->turned_in, w->channels);
        x = j->turned_in;
    }
    if (j->p->depthwise) {
        add_depthwise(j, x, y);
        return;
    }
    const bool last = j->p->window.channels_last;
    const int64_t plane = last ? 1 : outputs, step = last ? q->outputs : 1;
    for (int64_t o = 0; o < q->outputs; o++)
        for (int64_t i = 0; i < outputs; i++)
            y[o * plane + i * step] = j->bias ? j->bias[o] : 0;
    for (int64_t first = 0; first < inputs; first += q->block)
        for (int64_t g = 0; g < j->p->groups; g++)
            add_block(j, g, first, inputs - first < q->block ? inputs - first : q->block, x, y);
}

static le_status activate(const le_ctx *ctx, const conv_transpose *p) {
    float *y = ctx->out[0]->data;
    if (p->act.kind != LE_ACT_linear)
        ctx->kernels->activate(p->act, (ptrdiff_t)le_count(ctx->out[0]), y, y);
    return LE_OK;
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
    if (q.planes) {
        const le_planes planes = {.kernels = ctx->kernels, .w = &q.w, .outputs = q.outputs, .bias = j.bias, .weights = p->depthwise};
        le_transposed_planes(&planes, ctx->in[0]->data, ctx->out[0]->data);
        return activate(ctx, p);
    }
    int64_t x_size = le_count(ctx->in[0]) / q.w.batch, y_size = count / q.w.batch;
    if (q.turns_in)
        j.turned_in = le_take_scratch(&at, x_size, sizeof(float));
    if (q.turns_out)
        j.turned_out = le_take_scratch(&at, y_size, sizeof(float));
    if (!p->depthwise)
        j.products = le_take_scratch(&at, q.block * q.group_outputs * q.taps, sizeof(float));
    j.quantized = at;
    const float *x = ctx->in[0]->data;
    float *y = ctx->out[0]->data;
    for (int64_t b = 0; b < q.w.batch; b++)
        run_sequence(&j, x + b * x_size, y + b * y_size);
    return activate(ctx, p);
}
