/* The shapes of a call: inputs and states have sizes, every node follows from its inputs, and what a state gets must fit it. */
#include <string.h>

#include "stream.h"

bool le_resolve(const le_stream *s, le_dim dim, int64_t frames, int64_t *size) {
    int64_t stands_for = 1;
    if (dim.symbol == LE_BATCH)
        stands_for = s->batch;
    else if (dim.symbol == LE_FRAMES)
        stands_for = frames;
    else if (dim.symbol >= LE_LENGTH)
        stands_for = s->lengths[dim.symbol - LE_LENGTH];
    return le_mul_size(dim.coef, stands_for, size);
}

/* The declared size of a state's axis; allocate_states has seen that it fits. */
int64_t le_state_size(const le_stream *s, int index, int axis) {
    int64_t size = 0;
    le_resolve(s, s->model->states[index].dims[axis], 0, &size);
    return size;
}

static le_status fail(le_stream *s, le_status status) {
    s->error.status = status;
    return status;
}

static le_status set_inputs(le_stream *s, int64_t frames) {
    const le_model *m = s->model;
    for (int i = 0; i < m->n_inputs; i++) {
        le_tensor *t = &s->tensors[m->inputs[i].tensor];
        t->rank = m->inputs[i].rank;
        for (int d = 0; d < t->rank; d++)
            if (!le_resolve(s, m->inputs[i].dims[d], frames, &t->dims[d]))
                t->dims[d] = -1;
        if (!le_dims_fit(t->rank, t->dims))
            return le_fail(&s->error, LE_ERR_SHAPE, "input %.60s is too large for batch %lld, frames %lld", m->inputs[i].name,
                           (long long)s->batch, (long long)frames);
    }
    return LE_OK;
}

static void set_states(le_stream *s, bool full) {
    const le_model *m = s->model;
    for (int i = 0; i < m->n_states; i++) {
        le_tensor *t = &s->tensors[m->states[i].read];
        t->rank = m->states[i].rank;
        memcpy(t->dims, s->states[i].dims, sizeof t->dims);
        if (full && m->states[i].fill_axis >= 0)
            t->dims[m->states[i].fill_axis] = m->states[i].dims[m->states[i].fill_axis].coef;
    }
}

static bool any_absent(const le_ctx *ctx) {
    for (int i = 0; i < ctx->node->n_in; i++)
        if (ctx->in[i] && ctx->in[i]->absent)
            return true;
    return false;
}

static le_status check_outputs(le_stream *s, le_ctx *ctx) {
    for (int i = 0; i < ctx->node->n_out; i++) {
        if (!ctx->out[i] || ctx->out[i]->absent)
            continue;
        const le_tensor_def *def = &s->model->tensors[ctx->node->out[i]];
        if (!le_dims_fit(ctx->out[i]->rank, ctx->out[i]->dims))
            return le_fail_op(&s->error, ctx->node, LE_ERR_SHAPE, "output %d: its size is negative or too large", i);
        if (ctx->out[i]->dtype != def->dtype)
            return le_fail_op(&s->error, ctx->node, LE_ERR_FORMAT, "output %d: the file says dtype %d, the op gives %d", i, def->dtype,
                              ctx->out[i]->dtype);
    }
    return LE_OK;
}

static le_status infer_node(le_stream *s, int index) {
    le_ctx *ctx = &s->nodes[index];
    bool absent = any_absent(ctx);
    ctx->scratch_size = 0;
    ctx->view = -1;
    ctx->joins = false;
    for (int i = 0; i < ctx->node->n_out; i++)
        if (ctx->out[i])
            ctx->out[i]->absent = absent;
    if (absent)
        return LE_OK;
    le_status status = ctx->node->type->shape(ctx);
    if (status == LE_OK)
        status = check_outputs(s, ctx);
    if (status == LE_OK) /* an op may find that it has nothing to answer: then it does not run */
        for (int i = 0; i < ctx->node->n_out; i++)
            absent |= ctx->out[i] && ctx->out[i]->absent;
    if (status == LE_OK && !absent)
        s->active[s->n_active++] = index;
    return status;
}

/* What a run leaves in a state must fit the state. */
static le_status check_states(le_stream *s) {
    const le_model *m = s->model;
    for (int i = 0; i < m->n_states; i++) {
        const le_tensor *w = &s->tensors[m->states[i].write];
        const struct le_state_def *def = &m->states[i];
        if (w->absent)
            continue;
        bool fits = w->rank == def->rank && w->dtype == m->tensors[def->read].dtype;
        for (int d = 0; fits && d < def->rank; d++) {
            int64_t declared = le_state_size(s, i, d);
            fits = d == def->fill_axis ? w->dims[d] <= declared : w->dims[d] == declared;
        }
        if (!fits)
            return le_fail(&s->error, LE_ERR_SHAPE, "state %.60s: tensor %.60s that updates it has another shape or dtype", def->name,
                           m->tensors[def->write].name);
    }
    return LE_OK;
}

le_status le_infer(le_stream *s, int64_t frames, bool full_states) {
    le_status status = set_inputs(s, frames);
    if (status != LE_OK)
        return fail(s, status);
    set_states(s, full_states);
    s->n_active = 0;
    for (int i = 0; i < s->model->n_nodes; i++) {
        status = infer_node(s, i);
        if (status != LE_OK)
            return fail(s, status);
    }
    le_find_places(s);
    return check_states(s);
}
