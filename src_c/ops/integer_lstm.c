/* LSTM on whole numbers, 8 bits for x and h, 16 for c and the gates, with the roundings of TFLite's integer kernels. */
#include "fixed_point.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { X, W_IH, W_HH, BIAS, H0, C0, PEEPHOLE, NORM, W_PROJ, B_PROJ, N_INPUTS };
enum { I, F, G, O, GATES };
enum { Y, H_N, C_N };
enum { MOST_8 = 255, MOST_16 = INT16_MAX }; /* of an 8-bit number less its zero point, and of a 16-bit one */

typedef struct {
    int input, hidden, width, cell_bits;
    bool coupled;
    const int32_t *constant[N_INPUTS]; /* in the order of the inputs; NULL where there is none */
    le_scale x_scale[GATES], h_scale[GATES], peephole_scale[GATES], norm_scale[GATES], hidden_scale, proj_scale;
    int32_t norm_guard[GATES], cell_clip;
    int64_t hidden_bounds[2], state_bounds[2];
} integer_lstm;

/* ---- pack ---- */

static const char *const names[N_INPUTS] = {"x", "w_ih", "w_hh", "bias", "h0", "c0", "peephole", "norm", "w_proj", "b_proj"};

static bool has_input(const le_node *node, int i) { return i < node->n_in && node->in[i] >= 0; }

/* The int32 constant at input i of this rank, its first size 1; *def NULL where the node has none. */
static le_status open_constant(le_pack_ctx *ctx, int i, int rank, const le_tensor_def **def) {
    *def = NULL;
    if (!has_input(ctx->node, i))
        return LE_OK;
    *def = le_pack_const(ctx, i);
    if (!*def)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_UNSUPPORTED, "input %s: expected a constant, found a tensor that the model computes",
                          names[i]);
    if ((*def)->dtype != LE_I32 || (*def)->rank != rank || (*def)->dims[0] != 1)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %s: expected int32 of rank %d, its first size 1", names[i], rank);
    for (int d = 1; d < rank; d++)
        if ((*def)->dims[d] < 1 || (*def)->dims[d] > INT_MAX / 64)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %s: axis %d: expected a size of 1 to %d, found %lld", names[i], d,
                              INT_MAX / 64, (long long)(*def)->dims[d]);
    return LE_OK;
}

/* A constant with `rows` (0: given by rank 2) of `columns` numbers, none beyond `most`. */
static le_status read_constant(le_pack_ctx *ctx, int i, int64_t rows, int64_t columns, int64_t most, integer_lstm *p) {
    const le_tensor_def *def;
    LE_TRY(open_constant(ctx, i, rows ? 3 : 2, &def));
    if (!def)
        return LE_OK;
    if (def->dims[def->rank - 1] != columns || (rows && def->dims[1] != rows))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %s: expected %lld rows of %lld", names[i], (long long)(rows ? rows : 1),
                          (long long)columns);
    const int32_t *values = def->data;
    for (int64_t n = 0; n < (rows ? rows : 1) * columns; n++)
        if (values[n] > most || values[n] < -most - 1)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "input %s: expected %lld to %lld, found %lld", names[i],
                              (long long)(-most - 1), (long long)most, (long long)values[n]);
    p->constant[i] = values;
    return LE_OK;
}

static le_status read_constants(le_pack_ctx *ctx, integer_lstm *p) {
    const le_tensor_def *w_ih, *w_hh;
    LE_TRY(open_constant(ctx, W_IH, 3, &w_ih));
    LE_TRY(open_constant(ctx, W_HH, 3, &w_hh));
    if (!w_ih || !w_hh || w_ih->dims[1] % GATES)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "expected w_ih and w_hh with a multiple of %d rows", GATES);
    p->input = (int)w_ih->dims[2];
    p->hidden = (int)(w_ih->dims[1] / GATES);
    p->width = (int)w_hh->dims[2];
    const int64_t rows = w_ih->dims[1];
    LE_TRY(read_constant(ctx, W_IH, rows, p->input, INT8_MAX, p));
    LE_TRY(read_constant(ctx, W_HH, rows, p->width, INT8_MAX, p));
    LE_TRY(read_constant(ctx, BIAS, 0, rows, INT32_MAX, p));
    LE_TRY(read_constant(ctx, PEEPHOLE, 3, p->hidden, INT16_MAX, p));
    LE_TRY(read_constant(ctx, NORM, GATES, p->hidden, INT16_MAX, p));
    LE_TRY(read_constant(ctx, W_PROJ, p->width, p->hidden, INT8_MAX, p));
    LE_TRY(read_constant(ctx, B_PROJ, 0, p->width, INT32_MAX, p));
    if (!p->constant[W_PROJ] && p->width != p->hidden)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input w_hh: expected %d columns, found %d", p->hidden, p->width);
    return LE_OK;
}

static le_status read_scales(le_pack_ctx *ctx, const char *key, int count, const int *gates, le_scale *scales, float *values) {
    int found;
    LE_TRY(le_attr_required(ctx, key));
    LE_TRY(le_attr_floats(ctx, key, count, values, &found));
    for (int n = 0; n < count; n++)
        if (found != count || !le_scale_of(values[n], &scales[gates[n]]))
            return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected %d numbers of 0 or more, below 2^30", key, count);
    return LE_OK;
}

static le_status read_scale(le_pack_ctx *ctx, const char *key, le_scale *scale) {
    float value;
    LE_TRY(le_attr_required(ctx, key));
    LE_TRY(le_attr_float(ctx, key, 0, &value));
    if (!le_scale_of(value, scale))
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected a number of 0 or more, below 2^30", key);
    return LE_OK;
}

static le_status read_bounds(le_pack_ctx *ctx, const char *key, int64_t *bounds) {
    int count;
    LE_TRY(le_attr_required(ctx, key));
    LE_TRY(le_attr_ints(ctx, key, 2, -MOST_8, MOST_8, bounds, &count));
    if (count != 2 || bounds[0] > bounds[1])
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected the least and the most", key);
    return LE_OK;
}

static le_status read_attributes(le_pack_ctx *ctx, integer_lstm *p) {
    static const char *const keys[] = {"x_scale",       "h_scale",      "peephole_scale", "norm_scale", "hidden_scale", "proj_scale",
                                       "hidden_bounds", "state_bounds", "cell_bits",      "cell_limit", "coupled",      NULL};
    static const char *const words[] = {"none", "i=1-f", NULL};
    static const int all[] = {I, F, G, O}, looking[] = {I, F, O};
    float values[GATES];
    int64_t bits, limit;
    int coupled;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_word(ctx, "coupled", "none", words, &coupled));
    LE_TRY(le_attr_required(ctx, "cell_bits"));
    LE_TRY(le_attr_int(ctx, "cell_bits", 0, 9, 15, &bits));
    LE_TRY(le_attr_int(ctx, "cell_limit", 0, 0, MOST_16, &limit));
    p->coupled = coupled == 1;
    p->cell_bits = (int)bits;
    p->cell_clip = (int32_t)limit;
    LE_TRY(read_scales(ctx, "x_scale", GATES, all, p->x_scale, values));
    LE_TRY(read_scales(ctx, "h_scale", GATES, all, p->h_scale, values));
    LE_TRY(read_scales(ctx, "peephole_scale", GATES - 1, looking, p->peephole_scale, values));
    LE_TRY(read_scales(ctx, "norm_scale", GATES, all, p->norm_scale, values));
    for (int g = 0; g < GATES; g++) {
        p->norm_guard[g] = le_saturate(10000 * values[g]);
        p->norm_guard[g] = p->norm_guard[g] < 1 ? 1 : p->norm_guard[g];
        p->norm_scale[g].shift += 12;
    }
    LE_TRY(read_scale(ctx, "hidden_scale", &p->hidden_scale));
    LE_TRY(read_scale(ctx, "proj_scale", &p->proj_scale));
    LE_TRY(read_bounds(ctx, "hidden_bounds", p->hidden_bounds));
    return read_bounds(ctx, "state_bounds", p->state_bounds);
}

le_status le_pack_integer_lstm(le_pack_ctx *ctx) {
    integer_lstm *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    memset(p, 0, sizeof *p);
    ctx->node->packed = p;
    LE_TRY(read_attributes(ctx, p));
    return read_constants(ctx, p);
}

/* ---- shape ---- */

static le_status expect_sizes(le_ctx *ctx, int i, int64_t batch, int64_t last) {
    if (!has_input(ctx->node, i))
        return LE_OK;
    const le_tensor *t = ctx->in[i];
    LE_TRY(le_expect_dtype(ctx, i, LE_I32));
    if (t->rank != 3 || t->dims[0] != 1 || t->dims[1] != batch || t->dims[2] != last)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %s: expected shape (1, %lld, %lld)", names[i], (long long)batch,
                          (long long)last);
    return LE_OK;
}

static le_status set_output(le_ctx *ctx, int i, int64_t first, int64_t second, int64_t last) {
    if (i >= ctx->node->n_out || !ctx->out[i])
        return LE_OK;
    le_tensor *t = ctx->out[i];
    t->dtype = LE_I32;
    t->rank = 3;
    t->dims[0] = first;
    t->dims[1] = second;
    t->dims[2] = last;
    return le_check_size(ctx, t);
}

le_status le_shape_integer_lstm(le_ctx *ctx) {
    const integer_lstm *p = ctx->node->packed;
    const le_tensor *x = ctx->in[X];
    LE_TRY(le_expect_dtype(ctx, X, LE_I32));
    LE_TRY(le_expect_rank(ctx, X, 3, 3));
    if (x->dims[2] != p->input)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input x: expected %d features, found %lld", p->input, (long long)x->dims[2]);
    const int64_t batch = x->dims[0];
    LE_TRY(expect_sizes(ctx, H0, batch, p->width));
    LE_TRY(expect_sizes(ctx, C0, batch, p->hidden));
    LE_TRY(le_add_scratch(ctx, p->width + p->hidden * (2 + GATES), sizeof(int32_t)));
    LE_TRY(set_output(ctx, Y, batch, x->dims[1], p->width));
    LE_TRY(set_output(ctx, H_N, 1, batch, p->width));
    return set_output(ctx, C_N, 1, batch, p->hidden);
}

/* ---- run ---- */

static int32_t clamped(int32_t x, int64_t low, int64_t high) { return x < low ? (int32_t)low : x > high ? (int32_t)high : x; }

/* The low 32 bits of bias + w x. */
static int32_t product(int n, const int32_t *w, const int32_t *x, const int32_t *bias) {
    uint32_t sum = bias ? (uint32_t)*bias : 0;
    for (int k = 0; k < n; k++)
        sum += (uint32_t)w[k] * (uint32_t)x[k];
    int32_t y;
    memcpy(&y, &sum, sizeof y);
    return y;
}

/* z less its mean, divided by its deviation, times the gate's weights, plus its bias. */
static void normalize(const integer_lstm *p, int gate, int32_t *z) {
    const int n = p->hidden;
    const int32_t *weight = p->constant[NORM] + (ptrdiff_t)gate * n;
    const int32_t *bias = p->constant[BIAS] ? p->constant[BIAS] + (ptrdiff_t)gate * n : NULL;
    int64_t sum = 0, squares = 0;
    for (int j = 0; j < n; j++) {
        sum += z[j];
        squares += (int64_t)z[j] * z[j];
    }
    const int32_t mean = (int32_t)(sum * 1024 / n); /* 2^10 of it */
    int32_t variance = (int32_t)((squares * ((1 << 20) / n) - (int64_t)mean * mean) / (1 << 20));
    if (variance < 1)
        variance = p->norm_guard[gate];
    const le_scale inverse = le_inverse_sqrt(variance);
    for (int j = 0; j < n; j++) {
        const int32_t unit = le_rescale(1024 * z[j] - mean, inverse);
        const int32_t y = product(1, &weight[j], &unit, bias ? &bias[j] : NULL);
        const int32_t rounded = (int32_t)(((int64_t)y + (y > 0 ? 512 : -512)) / 1024);
        z[j] = le_saturate16(le_rescale(rounded, p->norm_scale[gate]));
    }
}

/* z = the argument of a gate's activation; c as it is when the gate looks at it. */
static void gate_argument(const integer_lstm *p, int gate, const int32_t *x, const int32_t *h, const int32_t *c, int32_t *z) {
    static const int looks[GATES] = {[I] = 0, [F] = 1, [G] = -1, [O] = 2};
    const int n = p->hidden;
    const ptrdiff_t first = (ptrdiff_t)gate * n;
    const int32_t *w_ih = p->constant[W_IH] + first * p->input, *w_hh = p->constant[W_HH] + first * p->width;
    const int32_t *bias = p->constant[BIAS] && !p->constant[NORM] ? p->constant[BIAS] + first : NULL;
    for (int j = 0; j < n; j++, w_ih += p->input, w_hh += p->width) {
        const int32_t of_x = le_saturate16(le_rescale(product(p->input, w_ih, x, bias ? &bias[j] : NULL), p->x_scale[gate]));
        z[j] = le_saturate16((int64_t)le_rescale(product(p->width, w_hh, h, NULL), p->h_scale[gate]) + of_x);
    }
    if (p->constant[PEEPHOLE] && looks[gate] >= 0) {
        const int32_t *look = p->constant[PEEPHOLE] + (ptrdiff_t)looks[gate] * n;
        for (int j = 0; j < n; j++)
            z[j] = le_saturate16((int64_t)le_rescale(look[j] * c[j], p->peephole_scale[gate]) + z[j]);
    }
    if (p->constant[NORM])
        normalize(p, gate, z);
}

/* One frame of one sequence: h (width) and c (hidden) become what they are after it. work: hidden * (1 + GATES). */
static void step(const integer_lstm *p, const int32_t *x, int32_t *h, int32_t *c, int32_t *work) {
    const int n = p->hidden, bits = p->cell_bits;
    int32_t *z[GATES], *hidden = work + (ptrdiff_t)GATES * n;
    for (int g = 0; g < GATES; g++)
        z[g] = work + (ptrdiff_t)g * n;
    for (int g = p->coupled ? F : I; g <= G; g++)
        gate_argument(p, g, x, h, c, z[g]);
    for (int j = 0; j < n; j++) {
        const int32_t f = le_sigmoid16(z[F][j]), i = p->coupled ? MOST_16 - f : le_sigmoid16(z[I][j]);
        const int32_t kept = le_divide_by_power(f * c[j], 15), added = le_divide_by_power(i * le_tanh16(z[G][j], 3), 30 - bits);
        c[j] = le_saturate16(kept + added);
        if (p->cell_clip > 0)
            c[j] = clamped(c[j], -p->cell_clip, p->cell_clip);
    }
    gate_argument(p, O, x, h, c, z[O]);
    for (int j = 0; j < n; j++) {
        const int32_t y = le_rescale(le_sigmoid16(z[O][j]) * le_tanh16(c[j], 15 - bits), p->hidden_scale);
        hidden[j] = clamped(y, p->hidden_bounds[0], p->hidden_bounds[1]);
    }
    const int32_t *w = p->constant[W_PROJ], *bias = p->constant[B_PROJ];
    if (!w)
        memcpy(h, hidden, (size_t)n * sizeof *h);
    for (int j = 0; w && j < p->width; j++, w += n)
        h[j] = clamped(le_rescale(product(n, w, hidden, bias ? &bias[j] : NULL), p->proj_scale), p->state_bounds[0], p->state_bounds[1]);
}

/* `count` numbers of sequence b of a state, bounded; zeros where it is not given. */
static void start(const le_ctx *ctx, int i, int64_t b, int count, int32_t most, int32_t *to) {
    const int32_t *from = has_input(ctx->node, i) ? (const int32_t *)ctx->in[i]->data + b * count : NULL;
    for (int k = 0; k < count; k++)
        to[k] = from ? clamped(from[k], -most - 1, most) : 0;
}

static void finish(const le_ctx *ctx, int i, int64_t b, int count, const int32_t *from) {
    if (i < ctx->node->n_out && ctx->out[i])
        memcpy((int32_t *)ctx->out[i]->data + b * count, from, (size_t)count * sizeof *from);
}

le_status le_run_integer_lstm(le_ctx *ctx) {
    const integer_lstm *p = ctx->node->packed;
    const int64_t batch = ctx->in[X]->dims[0], frames = ctx->in[X]->dims[1];
    int32_t *h = (int32_t *)ctx->scratch, *c = h + p->width, *work = c + p->hidden;
    const int32_t *x = ctx->in[X]->data;
    int32_t *y = ctx->out[Y] ? ctx->out[Y]->data : NULL;
    for (int64_t b = 0; b < batch; b++) {
        start(ctx, H0, b, p->width, MOST_8, h);
        start(ctx, C0, b, p->hidden, MOST_16, c);
        for (int64_t t = 0; t < frames; t++, x += p->input) {
            step(p, x, h, c, work);
            if (y)
                memcpy(y + (b * frames + t) * p->width, h, (size_t)p->width * sizeof *h);
        }
        finish(ctx, H_N, b, p->width, h);
        finish(ctx, C_N, b, p->hidden, c);
    }
    return LE_OK;
}
