/* Tensors that lie within others, so that nothing is copied: a Reshape's or Slice's output in its input, a Concat's inputs in its output. */
#include "stream.h"

/* The tensor whose memory `tensor` lies in, itself or another, and how many bytes behind its start. Those on the way are told, too: a long
 * chain of views is gone through once. */
static int holder_of(le_stream *s, int tensor, uint64_t *at) {
    int holder = tensor;
    for (*at = 0; s->within[holder].holder >= 0; holder = s->within[holder].holder)
        *at += s->within[holder].at;
    for (uint64_t behind = *at; s->within[tensor].holder >= 0;) {
        const le_place step = s->within[tensor];
        s->within[tensor] = (le_place){holder, behind};
        behind -= step.at;
        tensor = step.holder;
    }
    return holder;
}

/* Whether `part` lies `at` bytes behind the start of `whole`, or can: when it is all of something that a node makes and that has no other place. */
static bool lies_in(le_stream *s, int part, int whole, uint64_t at) {
    uint64_t bytes = le_tensor_bytes(&s->tensors[part]), from, to;
    int holder = holder_of(s, part, &from), other = holder_of(s, whole, &to);
    if (bytes == 0 || holder == other)
        return bytes == 0 || from == to + at;
    if (s->outside[holder] || from != 0 || bytes != le_tensor_bytes(&s->tensors[holder]))
        return false;
    s->within[holder] = (le_place){whole, at};
    return true;
}

/* Whether all that the node would do is done by where its inputs and its output lie. */
static bool is_done(le_stream *s, const le_ctx *ctx) {
    const int *in = ctx->node->in, out = ctx->node->out[0];
    if (ctx->view >= 0 && !s->outside[out]) {
        s->within[out] = (le_place){in[0], (uint64_t)ctx->view};
        return true;
    }
    if (ctx->view >= 0)
        return le_tensor_bytes(ctx->in[0]) == le_tensor_bytes(ctx->out[0]) && lies_in(s, in[0], out, 0);
    bool done = ctx->joins;
    uint64_t at = 0;
    for (int i = 0; ctx->joins && i < ctx->node->n_in; i++)
        if (in[i] >= 0) {
            done &= lies_in(s, in[i], out, at);
            at += le_tensor_bytes(ctx->in[i]);
        }
    return done;
}

void le_find_places(le_stream *s) {
    const int tensors = s->model->n_tensors, active = s->n_active;
    for (int t = 0; t < tensors; t++)
        s->within[t] = (le_place){-1, 0};
    s->n_active = 0;
    for (int i = 0; i < active; i++)
        if (!is_done(s, &s->nodes[s->active[i]]))
            s->active[s->n_active++] = s->active[i];
    for (int t = 0; t < tensors; t++)
        if (s->within[t].holder >= 0) {
            uint64_t at;
            const int holder = holder_of(s, t, &at);
            s->within[t] = (le_place){holder, at};
        }
}

void le_bind_places(le_stream *s) {
    s->n_moving = 0;
    for (int t = 0; t < s->model->n_tensors; t++) {
        const int holder = s->within[t].holder;
        if (holder >= 0 && s->outside[holder])
            s->moving[s->n_moving++] = t;
        else if (!s->outside[t])
            s->tensors[t].data = s->arena + s->offset[holder < 0 ? t : holder] + s->within[t].at;
    }
}
