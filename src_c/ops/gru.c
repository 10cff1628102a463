/* Gated recurrent units: Cho et al., 2014 (reset_after 0), and the form whose reset gate acts after R h (reset_after 1). */
#include "recurrence.h"

#include <string.h>

enum { R, Z, N };

static const char *const gru_keys[] = {"activations", "activation_alpha", "activation_beta", "direction", "time_major", "masked_output",
                                       "clip",        "reset_after",      "input_bits",      NULL};
enum { BIAS_HH = 4 };

typedef struct {
    le_recurrence base;
    le_packed w_hh[2];         /* reset_after 1: all gates */
    le_packed w_rz[2], w_n[2]; /* reset_after 0: R_n multiplies r * h */
    const float *bias_hh[2];   /* or NULL */
} gru;

static bool is_live(const le_frame *f, int b) { return !f->live || f->live[b]; }

/* u = R h + c of all gates. */
static void multiply_hidden(const gru *self, const le_frame *f) {
    const int h = self->base.hidden, d = f->direction;
    le_multiply_hidden(f, &self->w_hh[d], self->bias_hh[d], 0, f->work, 3 * (ptrdiff_t)h);
}

static void gru_step_standard(const le_recurrence *r, const le_frame *f) {
    const int h = r->hidden;
    multiply_hidden((const gru *)r, f);
    for (int b = 0; b < f->batch; b++)
        if (is_live(f, b))
            f->kernels->gru_cell(h, f->z + b * f->z_stride, h, f->work + (ptrdiff_t)b * 3 * h, h, f->h_prev + b * f->h_prev_stride,
                                 f->h + b * f->h_stride);
}

static void gate(const le_recurrence *r, const le_frame *f, int which, float *z) {
    le_clip(r->clip, r->hidden, z);
    f->kernels->activate(r->activations[f->direction][which], r->hidden, z, z);
}

/* h' = (1 - z) n + z h of sequence b. */
static void blend(int n, const le_frame *f, int b, const float *z, const float *candidate) {
    const float *before = f->h_prev + b * f->h_prev_stride;
    float *h = f->h + b * f->h_stride;
    for (int j = 0; j < n; j++) {
        float fresh = (1.0f - z[j]) * candidate[j];
        h[j] = fresh + z[j] * before[j];
    }
}

/* z = r, z and n of sequence b, from W x + b there and R h + c in work. */
static void open_after(const le_recurrence *r, const le_frame *f, int b) {
    const int h = r->hidden;
    float *z = f->z + b * f->z_stride, *candidate = z + 2 * (ptrdiff_t)h;
    const float *u = f->work + (ptrdiff_t)b * 3 * h, *u_n = u + 2 * (ptrdiff_t)h;
    for (int j = 0; j < 2 * h; j++)
        z[j] += u[j];
    gate(r, f, R, z);
    gate(r, f, Z, z + h);
    for (int j = 0; j < h; j++)
        candidate[j] += z[j] * u_n[j];
    gate(r, f, N, candidate);
}

static void gru_step_after(const le_recurrence *r, const le_frame *f) {
    const int h = r->hidden;
    multiply_hidden((const gru *)r, f);
    for (int b = 0; b < f->batch; b++) {
        if (!is_live(f, b))
            continue;
        open_after(r, f, b);
        const float *z = f->z + b * f->z_stride;
        blend(h, f, b, z + h, z + 2 * (ptrdiff_t)h);
    }
}

/* The gates of sequence b: the standard step leaves their arguments, the others themselves. */
static void gru_gates(const le_recurrence *r, const le_frame *f, int b, float *out) {
    if (r->step == LE_STEP_STANDARD)
        open_after(r, f, b);
    memcpy(out, f->z + b * f->z_stride, 3 * (size_t)r->hidden * sizeof *out);
}

/* b and c are one sum here: neither is multiplied by r. */
static void gru_step_before(const le_recurrence *r, const le_frame *f) {
    const gru *self = (const gru *)r;
    const int h = r->hidden, d = f->direction;
    le_multiply_hidden(f, &self->w_rz[d], f->z, f->z_stride, f->z, f->z_stride);
    for (int b = 0; b < f->batch; b++) {
        float *z = f->z + b * f->z_stride, *reset = f->work + (ptrdiff_t)b * h;
        const float *state = f->h_prev + b * f->h_prev_stride;
        gate(r, f, R, z);
        gate(r, f, Z, z + h);
        for (int j = 0; j < h; j++)
            reset[j] = z[j] * state[j];
    }
    float *candidate = f->z + 2 * (ptrdiff_t)h;
    le_multiply(f->kernels, f->batch, f->work, h, &self->w_n[d], candidate, f->z_stride, candidate, f->z_stride, f->quantized);
    for (int b = 0; b < f->batch; b++, candidate += f->z_stride) {
        if (!is_live(f, b))
            continue;
        gate(r, f, N, candidate);
        blend(h, f, b, candidate - h, candidate);
    }
}

static const le_recurrence_spec gru_spec = {
    .gates = 3,
    .n_activations = 3,
    .activations = {LE_ACT_sigmoid, LE_ACT_sigmoid, LE_ACT_tanh},
    .keys = gru_keys,
    .h0 = 5,
    .c0 = -1,
    .lengths = 6,
    .mask = 7,
    .step = {[LE_STEP_STANDARD] = gru_step_standard, [LE_STEP_GENERAL] = gru_step_after, [LE_STEP_BEFORE] = gru_step_before},
    .trace = gru_gates};

static le_status pack_after(le_pack_ctx *ctx, gru *self, const le_weight *w_hh, le_gates g) {
    g.n_listed = 3;
    LE_TRY(le_gates_pack(ctx, w_hh, &g, &self->w_hh[g.direction]));
    self->base.work_per_row = 3 * self->base.hidden;
    self->base.step = le_recurrence_uses(&self->base, gru_spec.activations) && self->base.clip == 0 ? LE_STEP_STANDARD : LE_STEP_GENERAL;
    return LE_OK;
}

static le_status pack_before(le_pack_ctx *ctx, gru *self, const le_weight *w_hh, le_gates g) {
    const int d = g.direction, rows = 3 * self->base.hidden;
    g.n_listed = 2;
    LE_TRY(le_gates_pack(ctx, w_hh, &g, &self->w_rz[d]));
    g.n_listed = 1;
    g.listed[0] = N;
    LE_TRY(le_gates_pack(ctx, w_hh, &g, &self->w_n[d]));
    const float *b = self->base.bias[d], *c = self->bias_hh[d];
    if (c) {
        float *sum = le_pack_alloc(ctx, (size_t)rows * sizeof *sum);
        if (!sum)
            return LE_ERR_MEMORY;
        for (int j = 0; j < rows; j++)
            sum[j] = b ? b[j] + c[j] : c[j];
        self->base.bias[d] = sum;
    }
    self->base.work_per_row = self->base.hidden;
    self->base.step = LE_STEP_BEFORE;
    return LE_OK;
}

le_status le_pack_gru(le_pack_ctx *ctx) {
    gru *self = le_pack_alloc(ctx, sizeof *self);
    if (!self)
        return LE_ERR_MEMORY;
    le_recurrence *r = &self->base;
    bool reset_after;
    LE_TRY(le_recurrence_open(ctx, &gru_spec, r));
    LE_TRY(le_attr_flag(ctx, "reset_after", true, &reset_after));
    LE_TRY(le_recurrence_pack_inputs(ctx, r, 3, (const int[]){R, Z, N}));
    const int64_t dims[3] = {r->directions, 3 * (int64_t)r->hidden, r->hidden};
    le_weight w_hh, bias;
    LE_TRY(le_gates_open(ctx, LE_W_HH, "w_hh", 3, dims, &w_hh));
    if (le_has_input(ctx, BIAS_HH))
        LE_TRY(le_gates_open(ctx, BIAS_HH, "bias_hh", 2, dims, &bias));
    for (int d = 0; d < r->directions; d++) {
        const le_gates g = {.direction = d, .gates = 3, .rows = r->hidden, .columns = r->hidden, .listed = {R, Z, N}};
        le_gates vector = g;
        vector.columns = 1;
        vector.n_listed = 3;
        if (le_has_input(ctx, BIAS_HH))
            LE_TRY(le_gates_widen(ctx, &bias, &vector, &self->bias_hh[d]));
        LE_TRY((reset_after ? pack_after : pack_before)(ctx, self, &w_hh, g));
    }
    ctx->node->packed = self;
    return LE_OK;
}

le_status le_shape_gru(le_ctx *ctx) { return le_recurrence_shape(ctx, ctx->node->packed); }

le_status le_run_gru(le_ctx *ctx) { return le_recurrence_run(ctx, ctx->node->packed); }
