/* Long short-term memory: Hochreiter and Schmidhuber, 1997, with forget gates and peepholes (Gers and Schmidhuber, 2000; Graves, 2013),
 * coupled gates (Greff et al., 2017) and projection (Sak et al., 2014). */
#include "recurrence.h"

enum { I, F, G, O, OUTPUT };                 /* activations; the first four are the gates in order */
enum { C0 = 5, PEEPHOLE = 8, W_PROJ = 9 };   /* inputs */
enum { COUPLED_NONE, COUPLED_F, COUPLED_I }; /* f = 1 - i; i = 1 - f */
enum { PEEP_NONE, PEEP_DIAGONAL, PEEP_FULL };

static const char *const lstm_keys[] = {"activations", "activation_alpha", "activation_beta", "direction", "time_major", "masked_output",
                                        "clip",        "coupled",          "cell_clip",       "proj_clip", "input_bits", NULL};
typedef struct {
    le_recurrence base;
    le_packed w_hh[2], w_proj[2]; /* w_proj's data is NULL without projection */
    bool standard;                /* the variant of the fused kernel */
    int coupled, peephole;
    int slot[4]; /* place of a gate in z; -1: it follows from the other */
    bool has_peephole[4];
    const float *diagonal[2][4];
    le_packed full[2][4];
    float cell_clip, proj_clip;
} lstm;

/* ---- step ---- */

static void add_peephole(const lstm *self, const le_frame *f, int gate, const float *c, float *z) {
    const int h = self->base.hidden, d = f->direction;
    if (!self->has_peephole[gate])
        return;
    if (self->peephole == PEEP_FULL) {
        le_multiply(f->kernels, 1, c, h, &self->full[d][gate], z, h, z, h, f->quantized);
        return;
    }
    const float *p = self->diagonal[d][gate];
    for (int j = 0; j < h; j++)
        z[j] += p[j] * c[j];
}

static void open_gate(const lstm *self, const le_frame *f, int gate, const float *c, float *z) {
    add_peephole(self, f, gate, c, z);
    le_clip(self->base.clip, self->base.hidden, z);
    f->kernels->activate(self->base.activations[f->direction][gate], self->base.hidden, z, z);
}

/* The step of one sequence in any variant, the cell from `before` to `c`; `spare` is hidden floats. */
static void general_cell(const lstm *self, const le_frame *f, float *z, const float *before, float *c, float *out, float *spare) {
    const int h = self->base.hidden;
    float *gate[4];
    for (int i = 0; i < 4; i++) {
        gate[i] = self->slot[i] < 0 ? spare : z + (ptrdiff_t)self->slot[i] * h;
        if (i != O && self->slot[i] >= 0)
            open_gate(self, f, i, before, gate[i]);
    }
    if (self->coupled != COUPLED_NONE) {
        const float *other = self->coupled == COUPLED_F ? gate[I] : gate[F];
        for (int j = 0; j < h; j++)
            spare[j] = 1.0f - other[j];
    }
    for (int j = 0; j < h; j++) {
        float kept = gate[F][j] * before[j];
        c[j] = kept + gate[I][j] * gate[G][j];
    }
    le_clip(self->cell_clip, h, c);
    open_gate(self, f, O, c, gate[O]);
    f->kernels->activate(self->base.activations[f->direction][OUTPUT], h, c, spare);
    for (int j = 0; j < h; j++)
        out[j] = gate[O][j] * spare[j];
}

static void project_hidden(const lstm *self, const le_frame *f, int first, int count) {
    const int width = self->base.width, hidden = self->base.hidden;
    float *h = f->h + first * f->h_stride;
    le_multiply(f->kernels, count, f->work + (ptrdiff_t)first * hidden, hidden, &self->w_proj[f->direction], NULL, 0, h, f->h_stride,
                f->quantized);
    for (int b = 0; b < count; b++)
        le_clip(self->proj_clip, width, h + b * f->h_stride);
}

static inline void step_with(const lstm *self, const le_frame *f, bool standard) {
    const int hidden = self->base.hidden;
    const bool projects = self->w_proj[0].data != NULL;
    float *spare = f->work + (ptrdiff_t)f->batch * self->base.work_per_row;
    le_multiply_hidden(f, &self->w_hh[f->direction], f->z, f->z_stride, f->z, f->z_stride);
    for (int b = 0; b < f->batch; b++) {
        if (f->live && !f->live[b])
            continue;
        float *z = f->z + b * f->z_stride, *c = f->c + (ptrdiff_t)b * hidden;
        const float *before = f->c_prev + (ptrdiff_t)b * hidden;
        float *out = projects ? f->work + (ptrdiff_t)b * hidden : f->h + b * f->h_stride;
        if (standard)
            f->kernels->lstm_cell(hidden, z, hidden, before, c, out);
        else
            general_cell(self, f, z, before, c, out, spare);
        if (projects && f->live)
            project_hidden(self, f, b, 1);
    }
    if (projects && !f->live)
        project_hidden(self, f, 0, f->batch);
}

/* The gates of sequence b: the standard step leaves their arguments in z, the general one themselves. */
static void lstm_gates(const le_recurrence *r, const le_frame *f, int b, float *out) {
    const lstm *self = (const lstm *)r;
    const int h = r->hidden;
    for (int i = 0; i < 4; i++)
        for (int j = 0; self->slot[i] >= 0 && j < h; j++)
            out[i * h + j] = f->z[b * f->z_stride + self->slot[i] * h + j];
    for (int i = 0; self->standard && i < 4; i++)
        f->kernels->activate(r->activations[f->direction][i], h, out + i * h, out + i * h);
    for (int j = 0; self->coupled != COUPLED_NONE && j < h; j++)
        out[(self->coupled == COUPLED_F ? F : I) * h + j] = 1.0f - out[(self->coupled == COUPLED_F ? I : F) * h + j];
}

static void lstm_step_standard(const le_recurrence *r, const le_frame *f) { step_with((const lstm *)r, f, true); }

static void lstm_step_general(const le_recurrence *r, const le_frame *f) { step_with((const lstm *)r, f, false); }

static const le_recurrence_spec lstm_spec = {.gates = 4,
                                             .n_activations = 5,
                                             .activations = {LE_ACT_sigmoid, LE_ACT_sigmoid, LE_ACT_tanh, LE_ACT_sigmoid, LE_ACT_tanh},
                                             .keys = lstm_keys,
                                             .h0 = 4,
                                             .c0 = C0,
                                             .lengths = 6,
                                             .mask = 7,
                                             .step = {[LE_STEP_STANDARD] = lstm_step_standard, [LE_STEP_GENERAL] = lstm_step_general},
                                             .trace = lstm_gates};

/* ---- pack ---- */

static le_status pack_peephole(le_pack_ctx *ctx, lstm *self) {
    static const int order[4] = {I, F, O, G};
    const le_recurrence *r = &self->base;
    const int h = r->hidden;
    const le_tensor_def *def = le_pack_const(ctx, PEEPHOLE);
    const int64_t rows = def && def->rank == 3 ? def->dims[1] : 3;
    const int64_t dims[3] = {r->directions, rows, h};
    le_weight weight;
    LE_TRY(le_gates_open(ctx, PEEPHOLE, "peephole", 3, dims, &weight));
    /* With a hidden size of 1 both forms are the same. */
    const bool full = rows != 3 && rows != 4;
    if (full && rows != 3 * (int64_t)h && rows != 4 * (int64_t)h)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input peephole: expected 3, 4, %lld or %lld rows, found %lld",
                          3 * (long long)h, 4 * (long long)h, (long long)rows);
    const int count = (int)(full ? rows / h : rows);
    self->peephole = full ? PEEP_FULL : PEEP_DIAGONAL;
    for (int i = 0; i < count; i++) {
        const int gate = order[i];
        self->has_peephole[gate] = true;
        for (int d = 0; d < r->directions; d++) {
            const le_gates g = {.direction = d, .gates = count, .rows = full ? h : 1, .columns = h, .n_listed = 1, .listed = {i}};
            LE_TRY(full ? le_gates_pack(ctx, &weight, &g, &self->full[d][gate])
                        : le_gates_widen(ctx, &weight, &g, &self->diagonal[d][gate]));
        }
    }
    return LE_OK;
}

static le_status pack_projection(le_pack_ctx *ctx, lstm *self) {
    const le_recurrence *r = &self->base;
    const int64_t dims[3] = {r->directions, r->width, r->hidden};
    le_weight weight;
    LE_TRY(le_gates_open(ctx, W_PROJ, "w_proj", 3, dims, &weight));
    for (int d = 0; d < r->directions; d++) {
        const le_gates g = {.direction = d, .gates = 1, .rows = r->width, .columns = r->hidden, .n_listed = 1, .listed = {0}};
        LE_TRY(le_gates_pack(ctx, &weight, &g, &self->w_proj[d]));
    }
    return LE_OK;
}

/* The gates whose weights are read, and their places in z. */
static int list_gates(lstm *self, int *listed) {
    int n = 0;
    for (int gate = 0; gate < 4; gate++) {
        const bool follows = (self->coupled == COUPLED_F && gate == F) || (self->coupled == COUPLED_I && gate == I);
        self->slot[gate] = follows ? -1 : n;
        if (!follows)
            listed[n++] = gate;
    }
    return n;
}

le_status le_pack_lstm(le_pack_ctx *ctx) {
    static const char *const couplings[] = {"none", "f=1-i", "i=1-f", NULL};
    lstm *self = le_pack_alloc(ctx, sizeof *self);
    if (!self)
        return LE_ERR_MEMORY;
    le_recurrence *r = &self->base;
    LE_TRY(le_recurrence_open(ctx, &lstm_spec, r));
    LE_TRY(le_attr_word(ctx, "coupled", "none", couplings, &self->coupled));
    LE_TRY(le_recurrence_clip(ctx, "cell_clip", &self->cell_clip));
    LE_TRY(le_recurrence_clip(ctx, "proj_clip", &self->proj_clip));

    le_gates g = {.gates = 4, .rows = r->hidden, .columns = r->width};
    g.n_listed = list_gates(self, g.listed);
    LE_TRY(le_recurrence_pack_inputs(ctx, r, g.n_listed, g.listed));
    const bool projects = le_has_input(ctx, W_PROJ);
    const int64_t dims[3] = {r->directions, 4 * (int64_t)r->hidden, projects ? r->width : r->hidden};
    le_weight w_hh;
    LE_TRY(le_gates_open(ctx, LE_W_HH, "w_hh", 3, dims, &w_hh));
    for (; g.direction < r->directions; g.direction++)
        LE_TRY(le_gates_pack(ctx, &w_hh, &g, &self->w_hh[g.direction]));
    if (le_has_input(ctx, PEEPHOLE))
        LE_TRY(pack_peephole(ctx, self));
    if (projects)
        LE_TRY(pack_projection(ctx, self));

    self->standard = le_recurrence_uses(r, lstm_spec.activations) && self->coupled == COUPLED_NONE && self->peephole == PEEP_NONE &&
                     r->clip == 0 && self->cell_clip == 0;
    r->work_per_row = projects ? r->hidden : 0;
    r->work_once = self->standard ? 0 : r->hidden;
    r->step = self->standard ? LE_STEP_STANDARD : LE_STEP_GENERAL;
    ctx->node->packed = self;
    return LE_OK;
}

le_status le_shape_lstm(le_ctx *ctx) { return le_recurrence_shape(ctx, ctx->node->packed); }

le_status le_run_lstm(le_ctx *ctx) { return le_recurrence_run(ctx, ctx->node->packed); }
