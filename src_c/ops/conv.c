/* Conv: windows of x, channels last, times W^T. x is turned to channels last (and padded) in scratch first where it is not;
 * a window that then lies in one piece is multiplied where it is, others are copied to patches. With channels first nothing is turned where
 * conv_planes.c can do it. All of these give an output element the same terms in the same order: kernel axes outside, channels inside. */
#include "conv.h"

#include <string.h>

#define BLOCK 64 /* output positions per patch matrix */

typedef struct {
    le_window_attrs window;
    int64_t groups;
    le_activation act;
    bool is_packed;
    le_packed *w;     /* per group */
    float *depthwise; /* one input channel per group: taps x outputs */
    float *rows;      /* or NULL: W as le_conv_across takes it, kept beside w where it is small */
} conv;

enum { MOST_ROWS = 1 << 13 }; /* weights */

typedef struct {
    int64_t outputs, per_group, taps; /* per_group: outputs and input channels of a group */
    int64_t group_outputs;
    bool depthwise;
} filter;

static filter filter_of(const conv *p, const int64_t *dims, int rank) {
    filter f = {.outputs = dims[0], .per_group = dims[1], .taps = le_product(dims, 2, rank)};
    f.group_outputs = dims[0] / p->groups;
    f.depthwise = dims[1] == 1 && p->groups > 1;
    return f;
}

static le_weight_view group_view(const filter *f, int64_t group) {
    int64_t row = f->per_group * f->taps;
    le_weight_view v = {.offset = group * f->group_outputs * row,
                        .n = f->group_outputs,
                        .n_stride = row,
                        .k0 = f->taps,
                        .k0_stride = 1,
                        .k1 = f->per_group,
                        .k1_stride = f->taps};
    return v;
}

static le_weight_view depthwise_view(const filter *f) {
    return (le_weight_view){.n = f->taps, .n_stride = 1, .k0 = 1, .k1 = f->outputs, .k1_stride = f->taps};
}

static le_status pack_rows(le_pack_ctx *ctx, conv *p, const le_weight *weight, const filter *f) {
    const int64_t row = f->taps * f->per_group, count = f->outputs * row;
    bool can = count > 0 && count <= MOST_ROWS && f->group_outputs >= LE_ACROSS_LEAST;
    for (int64_t g = 0; can && g < p->groups; g++) /* of int8 weights a group with -128 is float32; then the others are int8 still */
        can = p->w[g].kind != LE_PACKED_I8;
    if (!can)
        return LE_OK;
    p->rows = le_pack_alloc(ctx, (size_t)count * sizeof(float));
    for (int64_t g = 0; p->rows && g < p->groups; g++) {
        le_weight_view view = group_view(f, g);
        le_weight_gather(weight, &view, p->rows + g * f->group_outputs * row);
    }
    return p->rows ? LE_OK : LE_ERR_MEMORY;
}

static le_status pack_filter(le_pack_ctx *ctx, conv *p, bool fine) {
    le_weight weight;
    const le_tensor_def *w;
    LE_TRY(le_filter_open(ctx, p->groups, &weight, &w));
    if (!w)
        return LE_OK;
    p->is_packed = true;
    filter f = filter_of(p, w->dims, w->rank);
    if (f.depthwise) {
        le_weight_view view = depthwise_view(&f);
        p->depthwise = le_pack_alloc(ctx, (size_t)(f.taps * f.outputs) * sizeof(float));
        if (!p->depthwise)
            return LE_ERR_MEMORY;
        le_weight_gather(&weight, &view, p->depthwise);
        return LE_OK;
    }
    p->w = le_pack_alloc(ctx, (size_t)p->groups * sizeof *p->w);
    if (!p->w)
        return LE_ERR_MEMORY;
    for (int64_t g = 0; g < p->groups; g++) {
        le_weight_view view = group_view(&f, g);
        LE_TRY(le_pack_weight(ctx, &weight, &view, &p->w[g]));
        p->w[g].fine = fine;
    }
    return p->window.channels_last ? LE_OK : pack_rows(ctx, p, &weight, &f);
}

le_status le_pack_conv(le_pack_ctx *ctx) {
    static const char *const keys[] = {"layout",     "strides", "dilations", "pads",       "groups",
                                       "activation", "alpha",   "beta",      "input_bits", NULL};
    conv *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_window_pack(ctx, &p->window));
    LE_TRY(le_attr_int(ctx, "groups", 1, 1, LE_ATTR_LIMIT, &p->groups));
    LE_TRY(le_attr_activation(ctx, "activation", &p->act));
    bool fine;
    LE_TRY(le_attr_fine(ctx, &fine));
    return pack_filter(ctx, p, fine);
}

/* What a call does, from its sizes. */
typedef struct {
    le_window w;
    filter f;
    int64_t height, width;          /* of the padded x */
    int64_t positions, step, block; /* step: elements from one window to the next, 0 when that varies */
    bool copies, turns;             /* x is copied to scratch; results are turned to channels first */
    bool direct;                    /* windows are multiplied where they lie */
    bool across, planes;            /* conv_planes.c does it, the second of depthwise filters */
} plan;

static le_status product3(le_ctx *ctx, int64_t a, int64_t b, int64_t c, int64_t *out) {
    if (le_mul_size(a, b, out) && le_mul_size(*out, c, out))
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "the padded input or a patch is too large");
}

static le_status make_plan(le_ctx *ctx, const conv *p, plan *q) {
    const le_tensor *t = ctx->in[1];
    LE_TRY(le_expect_rank(ctx, 1, 3, 4));
    LE_TRY(le_window_make(ctx, &p->window, t->dims + 2, t->rank - 2, &q->w));
    le_window *w = &q->w;
    q->f = filter_of(p, t->dims, t->rank);
    for (int d = 0; d < 2; d++) {
        int64_t room = w->size[d] + w->begin[d] + w->end[d] - w->span[d];
        w->out[d] = room < 0 ? 0 : room / w->stride[d] + 1;
    }
    q->height = w->size[0] + w->begin[0] + w->end[0];
    q->width = w->size[1] + w->begin[1] + w->end[1];
    int64_t c = w->channels, taps = q->f.taps, limit;
    LE_TRY(product3(ctx, q->height, q->width, c ? c : 1, &limit)); /* then no product of a stride and these overflows below */
    LE_TRY(product3(ctx, w->out[0], w->out[1], 1, &q->positions));
    bool padded = q->height != w->size[0] || q->width != w->size[1];
    q->copies = padded || !(p->window.channels_last || c == 1 || w->size[0] * w->size[1] == 1);
    q->turns = !p->window.channels_last && q->f.outputs != 1 && q->positions != 1;
    bool rows_in_one = w->kernel[1] == 1 || w->dilation[1] == 1;
    bool window_in_one =
        taps == 1 || (p->groups == 1 && ((w->kernel[0] == 1 && rows_in_one) ||
                                         (w->kernel[1] == q->width && w->dilation[1] == 1 && (w->kernel[0] == 1 || w->dilation[0] == 1))));
    if (q->positions <= 1)
        q->step = 0;
    else if (w->out[0] == 1)
        q->step = w->stride[1] * c;
    else if (w->out[1] == 1)
        q->step = w->stride[0] * q->width * c;
    else
        q->step = w->stride[0] == 1 && w->out[1] * w->stride[1] == q->width ? w->stride[1] * c : 0;
    q->direct = window_in_one && (q->step || q->positions <= 1) && !q->f.depthwise;
    bool apart = q->turns && w->out[1] >= LE_ACROSS_LEAST && w->stride[1] == 1;
    q->across = apart && p->rows;
    q->planes = apart && q->f.depthwise && q->f.group_outputs == 1;
    q->block = q->direct && !q->turns ? q->positions : q->positions < BLOCK ? q->positions : BLOCK;
    return LE_OK;
}

static le_status check_filter(le_ctx *ctx, const conv *p, const plan *q) {
    if (q->f.per_group * p->groups != q->w.channels || q->f.outputs % p->groups)
        return le_fail_op(
            ctx->err, ctx->node, LE_ERR_SHAPE,
            "expected %lld channels of x (%lld in each of %lld groups) and rows of w in that many groups, found %lld channels "
            "and %lld rows",
            (long long)(q->f.per_group * p->groups), (long long)q->f.per_group, (long long)p->groups, (long long)q->w.channels,
            (long long)q->f.outputs);
    return le_expect_vector(ctx, 2, q->f.outputs);
}

le_status le_shape_conv(le_ctx *ctx) {
    const conv *p = ctx->node->packed;
    plan q;
    LE_TRY(make_plan(ctx, p, &q));
    LE_TRY(check_filter(ctx, p, &q));
    LE_TRY(le_window_shape(ctx, &p->window, &q.w, q.f.outputs));
    if (le_count(ctx->out[0]) == 0)
        return LE_OK;
    int64_t patch, count;
    LE_TRY(product3(ctx, q.f.taps, q.f.per_group, q.f.depthwise ? 1 : q.f.group_outputs, &count));
    LE_TRY(product3(ctx, q.f.taps, q.f.per_group, 1, &patch));
    if (!p->is_packed) {
        LE_TRY(le_expect_dtype(ctx, 1, LE_F32));
        if (!q.f.depthwise)
            LE_TRY(le_add_packed_scratch(ctx, q.f.group_outputs, patch, p->groups));
        LE_TRY(le_add_scratch(ctx, q.f.depthwise ? q.f.outputs * q.f.taps : count, sizeof(float)));
    }
    if (q.across || q.planes)
        return le_add_scratch(ctx, le_planes_scratch(ctx->kernels, &q.w, q.f.per_group, q.across), sizeof(float));
    if (q.copies) {
        LE_TRY(product3(ctx, q.height, q.width, q.w.channels, &count));
        LE_TRY(le_add_scratch(ctx, count, sizeof(float)));
    }
    if (!q.direct && !q.f.depthwise) {
        LE_TRY(product3(ctx, patch, q.block, 1, &count));
        LE_TRY(le_add_scratch(ctx, count, sizeof(float)));
    }
    if (q.turns) {
        LE_TRY(product3(ctx, q.f.outputs, q.block, 1, &count));
        LE_TRY(le_add_scratch(ctx, count, sizeof(float)));
    }
    return patch <= LE_MAX_I8_K ? le_add_scratch(ctx, 1, le_multiply_scratch((int)patch)) : LE_OK;
}

typedef struct {
    const le_kernels *kernels;
    const plan *q;
    const conv *p;
    const float *bias;
    float *rows, *padded, *patches, *turned; /* scratch */
    le_packed packed;                        /* scratch: group 0 of a w that is not constant, the others packed_stride bytes apart */
    size_t packed_stride;
    const float *taps_w;
    void *quantized; /* scratch of le_matmul */
} job;

/* A w that is not constant is packed in every run. */
static void pack_in_run(job *j, const float *w, uint8_t **at) {
    const filter *f = &j->q->f;
    int64_t patch = f->taps * f->per_group;
    j->rows = le_take_scratch(at, f->depthwise ? f->outputs * f->taps : patch * f->group_outputs, sizeof(float));
    if (f->depthwise) {
        le_weight_view view = depthwise_view(f);
        le_weight_gather(&(le_weight){.data = w, .dtype = LE_F32}, &view, j->rows);
        j->taps_w = j->rows;
        return;
    }
    j->packed_stride = le_packed_stride(j->kernels, f->group_outputs, patch);
    uint8_t *data = le_take_scratch(at, j->p->groups, j->packed_stride);
    for (int64_t g = 0; g < j->p->groups; g++) {
        le_weight_view view = group_view(f, g);
        j->packed.data = data + (size_t)g * j->packed_stride;
        le_repack_weight(j->kernels, w, &view, j->rows, &j->packed);
    }
    j->packed.data = data;
}

/* One sequence's x, channels last and padded. */
static const float *lay_out_input(const job *j, const float *x) {
    const le_window *w = &j->q->w;
    if (!j->q->copies)
        return x;
    int64_t c = w->channels, row = j->q->width * c, plane = w->size[0] * w->size[1];
    if (j->q->height != w->size[0] || j->q->width != w->size[1])
        memset(j->padded, 0, (size_t)(j->q->height * row) * sizeof *x);
    bool last = j->p->window.channels_last;
    le_view v = {.rank = 3,
                 .dims = {w->size[0], w->size[1], c},
                 .src = {last ? w->size[1] * c : w->size[1], last ? c : 1, last ? 1 : plane},
                 .dst = {row, c, 1}};
    le_view_copy(&v, sizeof *x, x, j->padded + w->begin[0] * row + w->begin[1] * c);
    return j->padded;
}

static const float *window_at(const plan *q, const float *x, int64_t position) {
    int64_t h = position / q->w.out[1], w = position % q->w.out[1];
    return x + (h * q->w.stride[0] * q->width + w * q->w.stride[1]) * q->w.channels;
}

static void copy_patches(const plan *q, const float *x, int64_t first, int64_t n, int64_t group, float *patch) {
    const le_window *w = &q->w;
    int64_t c = w->channels, depth = q->f.per_group, step = w->dilation[1] * c;
    bool joined = depth == c && w->dilation[1] == 1;
    int64_t runs = joined ? 1 : w->kernel[1], length = joined ? w->kernel[1] * c : depth;
    for (int64_t i = 0; i < n; i++) {
        const float *window = window_at(q, x, first + i) + group * depth;
        for (int64_t kh = 0; kh < w->kernel[0]; kh++) {
            const float *run = window + kh * w->dilation[0] * q->width * c;
            for (int64_t kw = 0; kw < runs; kw++, run += step, patch += length)
                for (int64_t e = 0; e < length; e++)
                    patch[e] = run[e];
        }
    }
}

static void add_tap(int64_t outputs, int64_t multiplier, const float *restrict x, const float *restrict w, float *restrict y) {
    if (multiplier == 1) {
        for (int64_t o = 0; o < outputs; o++)
            y[o] += w[o] * x[o];
        return;
    }
    for (int64_t c = 0, o = 0; o < outputs; c++)
        for (int64_t m = 0; m < multiplier; m++, o++)
            y[o] += w[o] * x[c];
}

static void depthwise_block(const job *j, const float *x, int64_t first, int64_t n, float *y) {
    const le_window *w = &j->q->w;
    int64_t outputs = j->q->f.outputs;
    for (int64_t i = 0; i < n; i++, y += outputs) {
        const float *window = window_at(j->q, x, first + i), *weight = j->taps_w;
        if (j->bias)
            memcpy(y, j->bias, (size_t)outputs * sizeof *y);
        else
            memset(y, 0, (size_t)outputs * sizeof *y);
        for (int64_t kh = 0; kh < w->kernel[0]; kh++)
            for (int64_t kw = 0; kw < w->kernel[1]; kw++, weight += outputs)
                add_tap(outputs, j->q->f.group_outputs, window + (kh * w->dilation[0] * j->q->width + kw * w->dilation[1]) * w->channels,
                        weight, y);
    }
}

/* Positions first .. first + n of one group: its columns of y, whose rows are `outputs` long. */
static void group_block(const job *j, const float *x, int64_t first, int64_t n, int64_t group, float *y) {
    const plan *q = j->q;
    int64_t at = group * q->f.group_outputs, stride = q->f.taps * q->f.per_group;
    const float *rows = j->patches, *bias = j->bias ? j->bias + at : NULL;
    if (q->direct) {
        rows = window_at(q, x, first) + group * q->f.per_group;
        stride = q->step;
    } else {
        copy_patches(q, x, first, n, group, j->patches);
    }
    le_packed w = j->p->is_packed ? j->p->w[group] : j->packed;
    if (!j->p->is_packed)
        w.data = (uint8_t *)j->packed.data + (size_t)group * j->packed_stride;
    le_matmul(j->kernels, n, rows, stride, &w, bias, 0, y + at, q->f.outputs, j->quantized);
}

static void run_sequence(const job *j, const float *x, float *y) {
    const plan *q = j->q;
    int64_t outputs = q->f.outputs;
    x = lay_out_input(j, x);
    for (int64_t first = 0; first < q->positions; first += q->block) {
        int64_t n = q->positions - first < q->block ? q->positions - first : q->block;
        float *block = q->turns ? j->turned : y + first * outputs;
        if (q->f.depthwise)
            depthwise_block(j, x, first, n, block);
        for (int64_t g = 0; !q->f.depthwise && g < j->p->groups; g++)
            group_block(j, x, first, n, g, block);
        if (q->turns)
            le_transpose2(n, outputs, block, outputs, y + first, q->positions);
    }
}

static void activate(const le_ctx *ctx, const conv *p) {
    float *y = ctx->out[0]->data;
    if (p->act.kind != LE_ACT_linear)
        ctx->kernels->activate(p->act, (ptrdiff_t)le_count(ctx->out[0]), y, y);
}

le_status le_run_conv(le_ctx *ctx) {
    const conv *p = ctx->node->packed;
    int64_t count = le_count(ctx->out[0]);
    if (count == 0)
        return LE_OK;
    plan q;
    LE_TRY(make_plan(ctx, p, &q));
    const float *x = ctx->in[0]->data;
    float *y = ctx->out[0]->data;
    uint8_t *at = ctx->scratch;
    job j = {.kernels = ctx->kernels, .q = &q, .p = p, .taps_w = p->depthwise};
    j.bias = ctx->node->n_in > 2 && ctx->in[2] ? ctx->in[2]->data : NULL;
    if (!p->is_packed)
        pack_in_run(&j, ctx->in[1]->data, &at);
    if (q.across || q.planes) {
        le_planes planes = {.kernels = ctx->kernels, .w = &q.w, .outputs = q.f.outputs, .groups = p->groups, .bias = j.bias};
        planes.scratch = (float *)(void *)at;
        planes.weights = q.across ? p->rows : j.taps_w;
        (q.across ? le_conv_across : le_conv_planes)(&planes, x, y);
        activate(ctx, p);
        return LE_OK;
    }
    if (q.copies)
        j.padded = le_take_scratch(&at, q.height * q.width * q.w.channels, sizeof(float));
    if (!q.direct && !q.f.depthwise)
        j.patches = le_take_scratch(&at, q.f.taps * q.f.per_group * q.block, sizeof(float));
    if (q.turns)
        j.turned = le_take_scratch(&at, q.f.outputs * q.block, sizeof(float));
    j.quantized = at;
    int64_t x_size = le_count(ctx->in[0]) / q.w.batch, y_size = count / q.w.batch;
    for (int64_t b = 0; b < q.w.batch; b++)
        run_sequence(&j, x + b * x_size, y + b * y_size);
    activate(ctx, p);
    return LE_OK;
}
