/* Convolutional LSTM: Shi et al., 2015, without peepholes. Its states are images of H channels, and a convolution that keeps their size
 * takes the place of R h. x holds the sums of the input's convolution, which is an op of its own: 4H channels of every frame. */
#include "recurrence.h"

#include <limits.h>
#include <string.h>

enum { X, W_HH, H0, C0 };        /* inputs */
enum { Y, H_N, C_N };            /* outputs */
enum { I, F, G, O, OUTPUT };     /* activations; the first four are the gates in order */
enum { GATES = 4, BLOCK = 64 };  /* BLOCK: positions of the image that are multiplied together */
enum { LARGEST = INT_MAX / 64 }; /* of a size of w_hh */

static const char *const names[] = {"x", "w_hh", "h0", "c0"};
static const char *const keys[] = {"activations", "activation_alpha", "activation_beta", NULL};
static const le_recurrence_spec spec = {
    .gates = GATES,
    .n_activations = 5,
    .activations = {LE_ACT_sigmoid, LE_ACT_sigmoid, LE_ACT_tanh, LE_ACT_sigmoid, LE_ACT_tanh},
};

typedef struct {
    le_recurrence base; /* the activations, hidden */
    le_packed w;        /* 4H rows of taps x H */
    int axes;           /* of the image: 1 or 2 */
    int64_t kernel[2];  /* with one axis, the first is 1 */
    int64_t patch;      /* taps x H */
    bool standard;
} conv_lstm;

/* ---- pack ---- */

le_status le_pack_conv_lstm(le_pack_ctx *ctx) {
    conv_lstm *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    le_recurrence *r = &p->base;
    r->spec = &spec;
    r->directions = 1;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_recurrence_activations(ctx, r));
    p->standard = le_recurrence_uses(r, spec.activations);

    le_weight weight;
    const le_tensor_def *w;
    LE_TRY(le_weight_open(ctx, W_HH, &weight, &w));
    if (!w)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_UNSUPPORTED,
                          "input w_hh: expected a constant, found a tensor that the model computes");
    if (w->rank < 3 || w->rank > 4)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input w_hh: expected rank 3 or 4, found %d", w->rank);
    for (int d = 0; d < w->rank; d++)
        if (w->dims[d] < 1 || w->dims[d] > LARGEST)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input w_hh: axis %d: expected a size of 1 to %d, found %lld", d, LARGEST,
                              (long long)w->dims[d]);
    if (w->dims[0] != GATES * w->dims[1])
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input w_hh: expected %d rows for each of %lld channels, found %lld rows",
                          GATES, (long long)w->dims[1], (long long)w->dims[0]);
    p->axes = w->rank - 2;
    p->kernel[0] = p->axes == 2 ? w->dims[2] : 1;
    p->kernel[1] = w->dims[w->rank - 1];
    r->hidden = (int)w->dims[1];
    const int64_t taps = p->kernel[0] * p->kernel[1];
    p->patch = taps * r->hidden;
    /* Kernel axes outside, channels inside, as Conv has them. */
    const le_weight_view view = {.n = w->dims[0], .n_stride = p->patch, .k0 = taps, .k0_stride = 1, .k1 = r->hidden, .k1_stride = taps};
    return le_pack_weight(ctx, &weight, &view, &p->w);
}

/* ---- shape ---- */

typedef struct {
    int64_t batch, frames, size[2], positions;
} sizes;

static sizes sizes_of(const conv_lstm *p, const le_tensor *x) {
    sizes s = {.batch = x->dims[0], .frames = x->dims[1], .size = {p->axes == 2 ? x->dims[2] : 1, x->dims[x->rank - 2]}};
    s.positions = s.size[0] * s.size[1];
    return s;
}

/* first, second, the image, H: of y (B,T) and of the states (1,B). */
static le_status set_output(le_ctx *ctx, int i, int64_t first, int64_t second) {
    const conv_lstm *p = ctx->node->packed;
    if (i >= ctx->node->n_out || !ctx->out[i])
        return LE_OK;
    le_tensor *t = ctx->out[i];
    le_like(t, ctx->in[X], LE_F32);
    t->dims[0] = first;
    t->dims[1] = second;
    t->dims[t->rank - 1] = p->base.hidden;
    return le_check_size(ctx, t);
}

static bool has_input(const le_ctx *ctx, int i) { return i < ctx->node->n_in && ctx->in[i]; }

static le_status expect_state(le_ctx *ctx, int i) {
    const conv_lstm *p = ctx->node->packed;
    const le_tensor *x = ctx->in[X];
    if (!has_input(ctx, i))
        return LE_OK;
    const le_tensor *t = ctx->in[i];
    LE_TRY(le_expect_dtype(ctx, i, LE_F32));
    bool fits = t->rank == x->rank && t->dims[0] == 1 && t->dims[1] == x->dims[0] && t->dims[t->rank - 1] == p->base.hidden;
    for (int d = 2; fits && d < t->rank - 1; d++)
        fits = t->dims[d] == x->dims[d];
    if (!fits)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %s: expected shape (1, batch, sizes of the image, %d)", names[i],
                          p->base.hidden);
    return LE_OK;
}

le_status le_shape_conv_lstm(le_ctx *ctx) {
    const conv_lstm *p = ctx->node->packed;
    const le_tensor *x = ctx->in[X];
    const int h = p->base.hidden;
    LE_TRY(le_expect_dtype(ctx, X, LE_F32));
    LE_TRY(le_expect_rank(ctx, X, p->axes + 3, p->axes + 3));
    if (x->dims[x->rank - 1] != GATES * (int64_t)h)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input x: expected %lld channels, found %lld", GATES * (long long)h,
                          (long long)x->dims[x->rank - 1]);
    LE_TRY(expect_state(ctx, H0));
    LE_TRY(expect_state(ctx, C0));
    LE_TRY(set_output(ctx, Y, x->dims[0], x->dims[1]));
    LE_TRY(set_output(ctx, H_N, 1, x->dims[0]));
    LE_TRY(set_output(ctx, C_N, 1, x->dims[0]));
    int64_t image;
    if (!le_dims_fit(x->rank, x->dims) || !le_mul_size(sizes_of(p, x).positions, h, &image))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input x has more than 2^40 elements");
    for (int i = 0; i < 3; i++) /* h before and after a frame, c */
        LE_TRY(le_add_scratch(ctx, image, sizeof(float)));
    LE_TRY(le_add_scratch(ctx, BLOCK * p->patch, sizeof(float)));
    LE_TRY(le_add_scratch(ctx, BLOCK * GATES * (int64_t)h, sizeof(float)));
    LE_TRY(le_add_scratch(ctx, h, sizeof(float)));
    return p->patch <= LE_MAX_I8_K ? le_add_scratch(ctx, 1, le_multiply_scratch((int)p->patch)) : LE_OK;
}

/* ---- run ---- */

typedef struct {
    const le_kernels *kernels;
    const conv_lstm *p;
    sizes s;
    float *h, *after, *c, *patches, *z, *spare; /* scratch */
    void *quantized;                            /* scratch of le_multiply */
    const le_trace *trace;                      /* or NULL */
    int64_t row;                                /* of the trace: frame * batch + sequence */
} job;

/* The window of h around a position, zero beyond the image; of an even kernel the larger half lies behind. */
static void copy_patch(const job *j, int64_t position, float *to) {
    const int64_t *size = j->s.size, *kernel = j->p->kernel, width = j->p->base.hidden;
    const int64_t top = position / size[1] - (kernel[0] - 1) / 2, left = position % size[1] - (kernel[1] - 1) / 2;
    for (int64_t row = top; row < top + kernel[0]; row++)
        for (int64_t column = left; column < left + kernel[1]; column++, to += width) {
            if (row >= 0 && row < size[0] && column >= 0 && column < size[1])
                memcpy(to, j->h + (row * size[1] + column) * width, (size_t)width * sizeof *to);
            else
                memset(to, 0, (size_t)width * sizeof *to);
        }
}

/* One position: z holds the arguments of the gates. */
static void cell(const job *j, float *z, float *c, float *h) {
    const int n = j->p->base.hidden;
    const le_activation *act = j->p->base.activations[0];
    if (j->p->standard) {
        j->kernels->lstm_cell(n, z, n, c, c, h);
        return;
    }
    float *gate[GATES];
    for (int g = 0; g < GATES; g++) {
        gate[g] = z + (ptrdiff_t)g * n;
        j->kernels->activate(act[g], n, gate[g], gate[g]);
    }
    for (int k = 0; k < n; k++) {
        const float kept = gate[F][k] * c[k];
        c[k] = kept + gate[I][k] * gate[G][k];
    }
    j->kernels->activate(act[OUTPUT], n, c, j->spare);
    for (int k = 0; k < n; k++)
        h[k] = gate[O][k] * j->spare[k];
}

/* Copies what a position has computed from z; units of a trace are positions x H. */
static void trace_cell(const job *j, int64_t position, const float *z) {
    const int64_t n = j->p->base.hidden, image = j->s.positions * n, at = position * n;
    const le_trace *to = j->trace;
    for (int g = 0; to->gates && g < GATES; g++) {
        float *gate = to->gates + (j->row * GATES + g) * image + at;
        memcpy(gate, z + g * n, (size_t)n * sizeof *gate);
        if (j->p->standard)
            j->kernels->activate(j->p->base.activations[0][g], n, gate, gate);
    }
    if (to->h)
        memcpy(to->h + j->row * image + at, j->after + at, (size_t)n * sizeof(float));
    if (to->c)
        memcpy(to->c + j->row * image + at, j->c + at, (size_t)n * sizeof(float));
}

/* One frame of one sequence: h and c become what they are after it. */
static void step(job *j, const float *x) {
    const int64_t h = j->p->base.hidden, columns = GATES * h;
    for (int64_t first = 0; first < j->s.positions; first += BLOCK) {
        const int64_t n = j->s.positions - first < BLOCK ? j->s.positions - first : BLOCK;
        for (int64_t i = 0; i < n; i++)
            copy_patch(j, first + i, j->patches + i * j->p->patch);
        le_matmul(j->kernels, n, j->patches, j->p->patch, &j->p->w, x + first * columns, columns, j->z, columns, j->quantized);
        for (int64_t i = 0; i < n; i++) {
            cell(j, j->z + i * columns, j->c + (first + i) * h, j->after + (first + i) * h);
            if (j->trace)
                trace_cell(j, first + i, j->z + i * columns);
        }
    }
    float *before = j->h;
    j->h = j->after;
    j->after = before;
}

static void start(const le_ctx *ctx, int i, int64_t b, int64_t count, float *to) {
    if (has_input(ctx, i))
        memcpy(to, (const float *)ctx->in[i]->data + b * count, (size_t)count * sizeof *to);
    else
        memset(to, 0, (size_t)count * sizeof *to);
}

static void keep(const le_ctx *ctx, int i, int64_t b, int64_t count, const float *from) {
    if (i < ctx->node->n_out && ctx->out[i])
        memcpy((float *)ctx->out[i]->data + b * count, from, (size_t)count * sizeof *from);
}

le_status le_run_conv_lstm(le_ctx *ctx) {
    const conv_lstm *p = ctx->node->packed;
    const int h = p->base.hidden;
    job j = {.kernels = ctx->kernels, .p = p, .s = sizes_of(p, ctx->in[X]), .trace = ctx->traced ? &ctx->trace : NULL};
    const int64_t image = j.s.positions * h;
    if (image == 0)
        return LE_OK;
    uint8_t *at = ctx->scratch;
    float **const images[] = {&j.h, &j.after, &j.c};
    for (int i = 0; i < 3; i++)
        *images[i] = le_take_scratch(&at, image, sizeof(float));
    j.patches = le_take_scratch(&at, BLOCK * p->patch, sizeof(float));
    j.z = le_take_scratch(&at, BLOCK * GATES * (int64_t)h, sizeof(float));
    j.spare = le_take_scratch(&at, h, sizeof(float));
    j.quantized = at;
    const float *x = ctx->in[X]->data;
    for (int64_t b = 0; b < j.s.batch; b++) {
        start(ctx, H0, b, image, j.h);
        start(ctx, C0, b, image, j.c);
        for (int64_t t = 0; t < j.s.frames; t++, x += GATES * image) {
            j.row = t * j.s.batch + b;
            step(&j, x);
            keep(ctx, Y, b * j.s.frames + t, image, j.h);
        }
        keep(ctx, H_N, b, image, j.h);
        keep(ctx, C_N, b, image, j.c);
    }
    return LE_OK;
}
