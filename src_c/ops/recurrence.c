#include "recurrence.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Frames whose W x is computed at once: enough rows that a matrix-matrix kernel reads the weights once for many, little enough scratch
 * to stay in L2. Bits do not depend on it. */
enum { MAX_BLOCK_FRAMES = 32, MIN_BLOCK_FRAMES = 4, BLOCK_FLOATS = 1 << 16, MAX_BATCH = 1 << 24 };

/* ---- pack ---- */

bool le_has_input(const le_pack_ctx *ctx, int i) { return i >= 0 && i < ctx->node->n_in && ctx->node->in[i] >= 0; }

static le_status wrong_sizes(le_error *err, const le_node *node, const char *name, int rank, const int64_t *dims, int found_rank,
                             const int64_t *found) {
    char text[2][96];
    const int ranks[2] = {rank, found_rank};
    const int64_t *const both[2] = {dims, found};
    for (int i = 0; i < 2; i++) {
        size_t used = 0;
        text[i][0] = 0;
        for (int d = 0; d < ranks[i] && used < sizeof text[i] - 24; d++)
            used += (size_t)snprintf(text[i] + used, sizeof text[i] - used, d ? ", %lld" : "%lld", (long long)both[i][d]);
    }
    return le_fail_op(err, node, LE_ERR_SHAPE, "input %s: expected shape (%s), found (%s)", name, text[0], text[1]);
}

le_status le_gates_open(le_pack_ctx *ctx, int i, const char *name, int rank, const int64_t *dims, le_weight *weight) {
    const le_tensor_def *def;
    if (!le_has_input(ctx, i))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input %s is missing", name);
    LE_TRY(le_weight_open(ctx, i, weight, &def));
    if (!def)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_UNSUPPORTED, "input %s: expected a constant, found a tensor that the model computes",
                          name);
    if (def->rank != rank || memcmp(def->dims, dims, (size_t)rank * sizeof *dims) != 0)
        return wrong_sizes(ctx->err, ctx->node, name, rank, dims, def->rank, def->dims);
    return LE_OK;
}

/* Sizes come from the weights, which lie in the file: products of them are the file's size at most. */
static le_status read_sizes(le_pack_ctx *ctx, int gates, le_recurrence *r) {
    static const char *const names[] = {"", "w_ih", "w_hh"};
    const le_tensor_def *w[3] = {0};
    for (int i = LE_W_IH; i <= LE_W_HH; i++) {
        w[i] = le_pack_const(ctx, i);
        if (!w[i])
            return le_fail_op(ctx->err, ctx->node, LE_ERR_UNSUPPORTED, "input %s: expected a constant, found %s", names[i],
                              le_has_input(ctx, i) ? "a tensor that the model computes" : "none");
        if (w[i]->rank != 3)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %s: expected rank 3, found %d", names[i], w[i]->rank);
        for (int d = 0; d < 3; d++)
            if (w[i]->dims[d] < 1 || w[i]->dims[d] > INT_MAX / 64)
                return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %s: axis %d: expected a size of 1 to %d, found %lld", names[i],
                                  d, INT_MAX / 64, (long long)w[i]->dims[d]);
    }
    const int64_t rows = w[LE_W_IH]->dims[1];
    if (rows % gates)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input w_ih: expected a multiple of %d rows, found %lld", gates,
                          (long long)rows);
    r->hidden = (int)(rows / gates);
    r->input = (int)w[LE_W_IH]->dims[2];
    r->width = (int)w[LE_W_HH]->dims[2];
    return LE_OK;
}

le_status le_recurrence_activations(le_pack_ctx *ctx, le_recurrence *r) {
    const le_recurrence_spec *spec = r->spec;
    const int per = spec->n_activations, count = per * r->directions;
    float alpha[2 * LE_MAX_GATE_ACTIVATIONS] = {0}, beta[2 * LE_MAX_GATE_ACTIVATIONS] = {0};
    int n_alpha, n_beta;
    LE_TRY(le_attr_floats(ctx, "activation_alpha", count, alpha, &n_alpha));
    LE_TRY(le_attr_floats(ctx, "activation_beta", count, beta, &n_beta));
    if ((n_alpha && n_alpha != count) || (n_beta && n_beta != count))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attributes activation_alpha and activation_beta: expected %d values", count);
    const le_attr *names = le_attr_find(ctx->node, "activations");
    if (names && (names->kind != LE_ATTR_STRS || names->count != count))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute activations: expected %d names, found %d values", count,
                          names->count);
    for (int i = 0; i < count; i++) {
        int kind = spec->activations[i % per];
        if (names) {
            for (kind = 0; le_act_names[kind] && strcmp(le_act_names[kind], names->strs[i]) != 0;)
                kind++;
            if (!le_act_names[kind])
                return le_fail_op(ctx->err, ctx->node, LE_ERR_UNSUPPORTED, "attribute activations: unknown activation '%.60s'",
                                  names->strs[i]);
        }
        r->activations[i / per][i % per] = (le_activation){(le_act)kind, alpha[i], beta[i]};
    }
    return LE_OK;
}

le_status le_recurrence_clip(le_pack_ctx *ctx, const char *key, float *clip) {
    LE_TRY(le_attr_float(ctx, key, 0, clip));
    if (!(*clip >= 0))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected 0 or more, found %g", key, (double)*clip);
    return LE_OK;
}

le_status le_recurrence_open(le_pack_ctx *ctx, const le_recurrence_spec *spec, le_recurrence *r) {
    static const char *const directions[] = {"forward", "reverse", "bidirectional", NULL};
    static const char *const masked_outputs[] = {"previous", "zero", NULL};
    int direction, masked_output;
    r->spec = spec;
    LE_TRY(le_attr_check(ctx, spec->keys));
    LE_TRY(le_attr_word(ctx, "direction", "forward", directions, &direction));
    LE_TRY(le_attr_word(ctx, "masked_output", "previous", masked_outputs, &masked_output));
    LE_TRY(le_attr_flag(ctx, "time_major", false, &r->time_major));
    LE_TRY(le_recurrence_clip(ctx, "clip", &r->clip));
    r->reverse = direction == 1;
    r->directions = direction == 2 ? 2 : 1;
    r->masked_zero = masked_output == 1;
    LE_TRY(le_recurrence_activations(ctx, r));
    return read_sizes(ctx, spec->gates, r);
}

bool le_recurrence_uses(const le_recurrence *r, const le_act *activations) {
    for (int d = 0; d < r->directions; d++)
        for (int i = 0; i < r->spec->n_activations; i++)
            if (r->activations[d][i].kind != activations[i])
                return false;
    return true;
}

static void gather(const le_weight *weight, const le_gates *g, float *to) {
    const int64_t block = (int64_t)g->rows * g->columns;
    for (int i = 0; i < g->n_listed; i++, to += block)
        le_weight_widen(weight, (g->direction * (int64_t)g->gates + g->listed[i]) * block, block, 1, to);
}

le_status le_gates_widen(le_pack_ctx *ctx, const le_weight *weight, const le_gates *g, const float **out) {
    float *to = le_pack_alloc(ctx, (size_t)g->n_listed * (size_t)g->rows * (size_t)g->columns * sizeof *to);
    if (!to)
        return LE_ERR_MEMORY;
    gather(weight, g, to);
    *out = to;
    return LE_OK;
}

le_status le_gates_pack(le_pack_ctx *ctx, const le_weight *weight, const le_gates *g, le_packed *out) {
    const int64_t block = (int64_t)g->rows * g->columns;
    le_weight_view views[LE_MAX_GATES];
    for (int i = 0; i < g->n_listed; i++)
        views[i] = (le_weight_view){.offset = (g->direction * (int64_t)g->gates + g->listed[i]) * block,
                                    .n = g->rows,
                                    .n_stride = g->columns,
                                    .k0 = 1,
                                    .k1 = g->columns,
                                    .k1_stride = 1};
    return le_pack_views(ctx, weight, g->n_listed, views, out);
}

le_status le_recurrence_pack_inputs(le_pack_ctx *ctx, le_recurrence *r, int n_listed, const int *listed) {
    const int gates = r->spec->gates;
    const int64_t dims[3] = {r->directions, (int64_t)gates * r->hidden, r->input};
    bool fine;
    LE_TRY(le_attr_fine(ctx, &fine));
    le_weight weight, bias;
    LE_TRY(le_gates_open(ctx, LE_W_IH, "w_ih", 3, dims, &weight));
    const bool has_bias = le_has_input(ctx, LE_BIAS);
    if (has_bias)
        LE_TRY(le_gates_open(ctx, LE_BIAS, r->spec->gates == 3 ? "bias_ih" : "bias", 2, dims, &bias));
    le_gates g = {.gates = gates, .rows = r->hidden, .n_listed = n_listed};
    memcpy(g.listed, listed, (size_t)n_listed * sizeof *listed);
    for (g.direction = 0; g.direction < r->directions; g.direction++) {
        g.columns = r->input;
        LE_TRY(le_gates_pack(ctx, &weight, &g, &r->w_ih[g.direction]));
        r->w_ih[g.direction].fine = fine;
        g.columns = 1;
        if (has_bias)
            LE_TRY(le_gates_widen(ctx, &bias, &g, &r->bias[g.direction]));
    }
    r->gate_rows = n_listed * r->hidden;
    return LE_OK;
}

/* ---- shape ---- */

static const le_tensor *input_at(const le_ctx *ctx, int i) { return i >= 0 && i < ctx->node->n_in ? ctx->in[i] : NULL; }

static le_tensor *output_at(const le_ctx *ctx, int i) { return i < ctx->node->n_out ? ctx->out[i] : NULL; }

static le_status expect(le_ctx *ctx, int i, const char *name, le_dtype dtype, int rank, const int64_t *dims) {
    const le_tensor *t = input_at(ctx, i);
    if (!t)
        return LE_OK;
    LE_TRY(le_expect_dtype(ctx, i, dtype));
    if (t->rank != rank || memcmp(t->dims, dims, (size_t)rank * sizeof *dims) != 0)
        return wrong_sizes(ctx->err, ctx->node, name, rank, dims, t->rank, t->dims);
    return LE_OK;
}

static void set_output(le_ctx *ctx, int i, const int64_t *dims) {
    le_tensor *out = output_at(ctx, i);
    if (!out)
        return;
    out->dtype = LE_F32;
    out->rank = 3;
    memcpy(out->dims, dims, 3 * sizeof *dims);
}

static int64_t block_frames(const le_recurrence *r, int64_t batch, int64_t frames) {
    if (frames <= MIN_BLOCK_FRAMES)
        return frames;
    int64_t fit = BLOCK_FLOATS / (r->gate_rows * (batch ? batch : 1));
    fit = fit > MAX_BLOCK_FRAMES ? MAX_BLOCK_FRAMES : fit < MIN_BLOCK_FRAMES ? MIN_BLOCK_FRAMES : fit;
    return fit < frames ? fit : frames;
}

static size_t quantized_size(const le_recurrence *r) {
    int widest = r->input > r->width ? r->input : r->width;
    return le_multiply_scratch(widest > r->hidden ? widest : r->hidden);
}

le_status le_recurrence_shape(le_ctx *ctx, const le_recurrence *r) {
    const le_recurrence_spec *s = r->spec;
    if (!ctx->in[LE_X])
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input x is missing");
    LE_TRY(le_expect_dtype(ctx, LE_X, LE_F32));
    LE_TRY(le_expect_rank(ctx, LE_X, 3, 3));
    const int64_t *x = ctx->in[LE_X]->dims;
    const int64_t batch = x[r->time_major], frames = x[!r->time_major], d = r->directions;
    if (x[2] != r->input)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input x: expected %d features, found %lld", r->input, (long long)x[2]);
    if (batch > MAX_BATCH)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input x: expected a batch of at most %d, found %lld", MAX_BATCH,
                          (long long)batch);
    const int64_t h_dims[3] = {d, batch, r->width}, c_dims[3] = {d, batch, r->hidden}, y_dims[3] = {x[0], x[1], d * r->width};
    LE_TRY(expect(ctx, s->h0, "h0", LE_F32, 3, h_dims));
    LE_TRY(expect(ctx, s->c0, "c0", LE_F32, 3, c_dims));
    LE_TRY(expect(ctx, s->lengths, "lengths", LE_I32, 1, &batch));
    LE_TRY(expect(ctx, s->mask, "mask", LE_BOOL, 2, x));
    set_output(ctx, 0, y_dims);
    set_output(ctx, 1, h_dims);
    if (s->c0 >= 0)
        set_output(ctx, 2, c_dims);

    int64_t z;
    if (!le_mul_size(block_frames(r, batch, frames) * r->gate_rows, batch, &z))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input x: a batch of %lld is too large", (long long)batch);
    LE_TRY(le_add_scratch(ctx, z, sizeof(float)));
    LE_TRY(le_add_scratch(ctx, batch * r->width, sizeof(float)));
    LE_TRY(le_add_scratch(ctx, batch * r->hidden, sizeof(float)));
    LE_TRY(le_add_scratch(ctx, batch * r->work_per_row + r->work_once, sizeof(float)));
    LE_TRY(le_add_scratch(ctx, batch, 2));
    return le_add_scratch(ctx, 1, quantized_size(r));
}

/* ---- run ---- */

/* One call: where its arrays are. Strides in floats; y's includes all directions. */
typedef struct {
    const le_recurrence *r;
    const le_kernels *kernels;
    int batch;
    int64_t frames, block;
    const float *x;
    float *y, *z; /* y or NULL */
    ptrdiff_t x_batch, x_frame, y_batch, y_frame, z_batch, z_frame;
    const int32_t *lengths;
    const uint8_t *mask;
    ptrdiff_t mask_batch, mask_frame;
    void *quantized;       /* scratch of le_multiply */
    uint8_t *live, *seen;  /* flags per sequence, used with lengths or a mask: runs at this frame, has run at one before */
    const le_trace *trace; /* or NULL */
} call;

void le_clip(float bound, ptrdiff_t n, float *x) {
    if (bound == 0)
        return;
    for (ptrdiff_t j = 0; j < n; j++)
        x[j] = x[j] > bound ? bound : x[j] < -bound ? -bound : x[j];
}

static call open_call(le_ctx *ctx, const le_recurrence *r, uint8_t **scratch) {
    const le_tensor *x = ctx->in[LE_X], *y = ctx->out[0];
    const le_tensor *lengths = input_at(ctx, r->spec->lengths), *mask = input_at(ctx, r->spec->mask);
    const int64_t batch = x->dims[r->time_major], frames = x->dims[!r->time_major];
    const ptrdiff_t in = r->input, out = (ptrdiff_t)r->directions * r->width, z = r->gate_rows;
    call c = {
        .r = r, .kernels = ctx->kernels, .batch = (int)batch, .frames = frames, .block = block_frames(r, batch, frames), .x = x->data};
    c.y = y ? y->data : NULL;
    c.trace = ctx->traced ? &ctx->trace : NULL;
    c.lengths = lengths ? lengths->data : NULL;
    c.mask = mask ? mask->data : NULL;
    const bool by_frame = r->time_major;
    c.x_batch = by_frame ? in : in * frames;
    c.x_frame = by_frame ? in * batch : in;
    c.y_batch = by_frame ? out : out * frames;
    c.y_frame = by_frame ? out * batch : out;
    c.z_batch = by_frame ? z : z * c.block;
    c.z_frame = by_frame ? z * batch : z;
    c.mask_batch = by_frame ? 1 : frames;
    c.mask_frame = by_frame ? batch : 1;
    c.z = le_take_scratch(scratch, c.block * batch * r->gate_rows, sizeof(float));
    return c;
}

/* z = W x + b for frames first..first + count. */
static void project(const call *c, int direction, int64_t first, int count) {
    const le_packed *w = &c->r->w_ih[direction];
    const float *bias = c->r->bias[direction], *x = c->x + first * c->x_frame;
    const ptrdiff_t in = c->r->input, rows = c->r->gate_rows;
    if (c->batch == 1 || c->r->time_major)
        le_multiply(c->kernels, count * c->batch, x, in, w, bias, 0, c->z, rows, c->quantized);
    else if (count == 1)
        le_multiply(c->kernels, c->batch, x, c->x_batch, w, bias, 0, c->z, c->z_batch, c->quantized);
    else
        for (int b = 0; b < c->batch; b++)
            le_multiply(c->kernels, count, x + b * c->x_batch, in, w, bias, 0, c->z + b * c->z_batch, rows, c->quantized);
}

/* Whether any sequence runs at frame t. */
static bool mark_live(const call *c, int64_t t) {
    bool any = false;
    for (int b = 0; b < c->batch; b++) {
        c->live[b] = (!c->lengths || t < c->lengths[b]) && (!c->mask || c->mask[b * c->mask_batch + t * c->mask_frame]);
        any |= c->live[b];
    }
    return any;
}

/* A masked frame repeats what its sequence gave last: that is h, which has stayed. */
static void write_masked_y(const call *c, int direction, int64_t t, const float *h) {
    const size_t width = (size_t)c->r->width;
    float *y = c->y + t * c->y_frame + (ptrdiff_t)direction * c->r->width;
    for (int b = 0; b < c->batch; b++, y += c->y_batch, h += width) {
        const bool past = c->lengths && t >= c->lengths[b];
        if (c->live[b] || (!past && !c->r->masked_zero && c->seen[b]))
            memcpy(y, h, width * sizeof *y);
        else
            memset(y, 0, width * sizeof *y);
        c->seen[b] |= c->live[b];
    }
}

/* Without lengths and mask h is made where y wants it, and read there by the next frame. */
static void step_frame(const call *c, le_frame *f, int64_t t) {
    if (c->y) {
        f->h = c->y + t * c->y_frame + (ptrdiff_t)f->direction * c->r->width;
        f->h_stride = c->y_batch;
    }
    c->r->spec->step[c->r->step](c->r, f);
    f->h_prev = f->h;
    f->h_prev_stride = f->h_stride;
    f->c_prev = f->c;
}

/* With them h and c are updated in place, so that those of a sequence that does not run stay. */
static void step_masked_frame(const call *c, const le_frame *f, int64_t t) {
    if (mark_live(c, t))
        c->r->spec->step[c->r->step](c->r, f);
    if (c->y)
        write_masked_y(c, f->direction, t, f->h);
}

static bool is_live(const call *c, int b) { return !c->live || c->live[b]; }

/* Copies what frame t has computed. The tap lies outside the steps: they are the same with it and without. */
static void trace_frame(const call *c, const le_frame *f, int64_t t) {
    const le_recurrence *r = c->r;
    const size_t hidden = (size_t)r->hidden, width = (size_t)r->width, gates = hidden * (size_t)r->spec->gates;
    size_t row = (size_t)((f->direction * c->frames + t) * c->batch);
    for (int b = 0; b < c->batch; b++, row++) {
        if (c->trace->gates && r->spec->trace && is_live(c, b))
            r->spec->trace(r, f, b, c->trace->gates + row * gates);
        if (c->trace->h)
            memcpy(c->trace->h + row * width, f->h + b * f->h_stride, width * sizeof(float));
        if (c->trace->c && f->c)
            memcpy(c->trace->c + row * hidden, f->c + (size_t)b * hidden, hidden * sizeof(float));
    }
}

static void run_direction(const call *c, le_frame *f) {
    const bool backwards = c->r->reverse || f->direction == 1;
    if (c->live)
        memset(c->seen, 0, (size_t)c->batch);
    for (int64_t done = 0; done < c->frames; done += c->block) {
        const int64_t left = c->frames - done;
        const int count = (int)(left < c->block ? left : c->block);
        const int64_t first = backwards ? left - count : done;
        project(c, f->direction, first, count);
        for (int i = 0; i < count; i++) {
            const int at = backwards ? count - 1 - i : i;
            f->z = c->z + at * c->z_frame;
            f->backwards = !f->backwards;
            if (c->live)
                step_masked_frame(c, f, first + at);
            else
                step_frame(c, f, first + at);
            if (c->trace)
                trace_frame(c, f, first + at);
        }
    }
}

/* Where direction d's state starts: at `initial`, or in `last`, as zeros or, where it is updated in place, as a copy. */
static const float *start_state(const le_tensor *initial, float *last, int d, size_t count, bool in_place) {
    if (!initial) {
        memset(last, 0, count * sizeof *last);
        return last;
    }
    const float *first = (const float *)initial->data + (size_t)d * count;
    if (!in_place)
        return first;
    memcpy(last, first, count * sizeof *last);
    return last;
}

/* Where direction d's last state goes: to the output that asks for it, or to scratch. */
static float *last_state(const le_tensor *output, float *scratch, int d, size_t count) {
    return output ? (float *)output->data + (size_t)d * count : scratch;
}

static void copy_rows(int rows, size_t width, const float *from, ptrdiff_t stride, float *to) {
    for (int b = 0; b < rows; b++, from += stride, to += width)
        memcpy(to, from, width * sizeof *to);
}

static void run_with_states(le_ctx *ctx, const call *c, le_frame *f, float *h_scratch, float *c_scratch) {
    const le_recurrence *r = c->r;
    const int d = f->direction;
    const bool in_place = c->live || c->frames == 0;
    const size_t h_count = (size_t)c->batch * (size_t)r->width, c_count = (size_t)c->batch * (size_t)r->hidden;
    const le_tensor *h_n = output_at(ctx, 1);
    float *h_last = last_state(h_n, h_scratch, d, h_count);
    f->h = h_last;
    f->h_prev = start_state(input_at(ctx, r->spec->h0), h_last, d, h_count, in_place);
    f->h_stride = f->h_prev_stride = r->width;
    if (r->spec->c0 >= 0) {
        f->c = last_state(output_at(ctx, 2), c_scratch, d, c_count);
        f->c_prev = start_state(input_at(ctx, r->spec->c0), f->c, d, c_count, in_place);
    }
    run_direction(c, f);
    if (h_n && f->h != h_last)
        copy_rows(c->batch, (size_t)r->width, f->h, f->h_stride, h_last);
}

le_status le_recurrence_run(le_ctx *ctx, const le_recurrence *r) {
    uint8_t *scratch = ctx->scratch;
    call c = open_call(ctx, r, &scratch);
    float *h = le_take_scratch(&scratch, (int64_t)c.batch * r->width, sizeof(float));
    float *cell = le_take_scratch(&scratch, (int64_t)c.batch * r->hidden, sizeof(float));
    float *work = le_take_scratch(&scratch, (int64_t)c.batch * r->work_per_row + r->work_once, sizeof(float));
    uint8_t *flags = le_take_scratch(&scratch, c.batch, 2);
    c.quantized = scratch;
    if (c.lengths || c.mask) {
        c.live = flags;
        c.seen = c.live + c.batch;
    }
    for (int b = 0; c.lengths && b < c.batch; b++)
        if (c.lengths[b] < 0 || c.lengths[b] > c.frames)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_VALUE, "input lengths[%d]: expected 0 to %lld, found %d", b, (long long)c.frames,
                              (int)c.lengths[b]);
    if (c.batch == 0)
        return LE_OK;
    for (int d = 0; d < r->directions; d++) {
        le_frame f = {.kernels = ctx->kernels,
                      .direction = d,
                      .batch = c.batch,
                      .z_stride = c.z_batch,
                      .live = c.live,
                      .work = work,
                      .quantized = c.quantized};
        run_with_states(ctx, &c, &f, h, cell);
    }
    return LE_OK;
}

/* ---- trace ---- */

int le_trace_sizes(const le_ctx *ctx, le_traced *sizes) {
    le_status (*run)(le_ctx *) = ctx->node->type->run;
    const bool image = run == le_run_conv_lstm;
    if ((run != le_run_lstm && run != le_run_gru && run != le_run_rnn && !image) || ctx->in[LE_X]->absent)
        return 0;
    const le_recurrence *r = ctx->node->packed;
    const int64_t *x = ctx->in[LE_X]->dims;
    if (image) {
        const int64_t units = le_product(x, 2, ctx->in[LE_X]->rank - 1) * r->hidden;
        *sizes = (le_traced){1, x[1], x[0], r->spec->gates, units, units, 1, 0};
        return 1;
    }
    *sizes = (le_traced){.directions = r->directions,
                         .frames = x[!r->time_major],
                         .batch = x[r->time_major],
                         .gates = r->spec->trace ? r->spec->gates : 0,
                         .hidden = r->hidden,
                         .width = r->width,
                         .has_cell = r->spec->c0 >= 0,
                         .reverse = r->reverse};
    return 1;
}
