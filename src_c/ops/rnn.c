/* h' = act(W x + R h + b); Elman, "Finding structure in time", 1990. */
#include "recurrence.h"

static const char *const rnn_keys[] = {
    "activations", "activation_alpha", "activation_beta", "direction", "time_major", "masked_output", "clip", "input_bits", NULL};
typedef struct {
    le_recurrence base;
    le_packed w_hh[2];
} rnn;

static void rnn_step(const le_recurrence *r, const le_frame *f) {
    const rnn *self = (const rnn *)r;
    const int d = f->direction, hidden = r->hidden;
    le_multiply_hidden(f, &self->w_hh[d], f->z, f->z_stride, f->z, f->z_stride);
    for (int b = 0; b < f->batch; b++) {
        if (f->live && !f->live[b])
            continue;
        float *z = f->z + b * f->z_stride;
        le_clip(r->clip, hidden, z);
        f->kernels->activate(r->activations[d][0], hidden, z, f->h + b * f->h_stride);
    }
}

static const le_recurrence_spec rnn_spec = {.gates = 1,
                                            .n_activations = 1,
                                            .activations = {LE_ACT_tanh},
                                            .keys = rnn_keys,
                                            .h0 = 4,
                                            .c0 = -1,
                                            .lengths = 5,
                                            .mask = 6,
                                            .step = {[LE_STEP_GENERAL] = rnn_step}};

le_status le_pack_rnn(le_pack_ctx *ctx) {
    rnn *self = le_pack_alloc(ctx, sizeof *self);
    if (!self)
        return LE_ERR_MEMORY;
    le_recurrence *r = &self->base;
    LE_TRY(le_recurrence_open(ctx, &rnn_spec, r));
    LE_TRY(le_recurrence_pack_inputs(ctx, r, 1, (const int[]){0}));
    const int64_t dims[3] = {r->directions, r->hidden, r->hidden};
    le_weight w_hh;
    LE_TRY(le_gates_open(ctx, LE_W_HH, "w_hh", 3, dims, &w_hh));
    le_gates g = {.gates = 1, .rows = r->hidden, .columns = r->hidden, .n_listed = 1, .listed = {0}};
    for (; g.direction < r->directions; g.direction++)
        LE_TRY(le_gates_pack(ctx, &w_hh, &g, &self->w_hh[g.direction]));
    r->step = LE_STEP_GENERAL;
    ctx->node->packed = self;
    return LE_OK;
}

le_status le_shape_rnn(le_ctx *ctx) { return le_recurrence_shape(ctx, ctx->node->packed); }

le_status le_run_rnn(le_ctx *ctx) { return le_recurrence_run(ctx, ctx->node->packed); }
