/* A stream: shapes for a call's frames, one arena for all activations, the states. le_stream_run touches no allocator. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapt.h"
#include "stream.h"
#include "system.h"

/* ---- the limit ---- */

static uint64_t limit_of(const le_stream *s) {
    const uint64_t limit = s->model->limit;
    return s->model->fixed ? limit : limit > UINT64_MAX / s->shares ? UINT64_MAX : limit * s->shares;
}

bool le_stream_may_hold(const le_stream *s, uint64_t held, uint64_t more) {
    const uint64_t limit = limit_of(s);
    held += s->model->bytes;
    return held <= limit && more <= limit - held;
}

le_status le_fail_within(le_stream *s, const char *what, uint64_t held, uint64_t more, int64_t frames) {
    char asked[160];
    snprintf(asked, sizeof asked, "a stream of batch %lld, %lld frames a call: %.90s", (long long)s->batch, (long long)frames, what);
    return le_fail_limit(&s->error, asked, more, held + s->model->bytes, limit_of(s));
}

static uint64_t shares_of(const le_stream *s, int64_t frames) {
    uint64_t all = (uint64_t)(frames > 0 ? frames : 0);
    for (int i = 0; i < s->model->n_lengths; i++)
        all += (uint64_t)s->lengths[i];
    return (uint64_t)s->batch * (all ? all : 1);
}

/* The arrays of answers are the caller's, but how large they are is the file's word; a stream remembers the newest of them. */
static le_status check_outputs(le_stream *s, int64_t frames) {
    uint64_t bytes = 0;
    for (int i = 0; i < s->model->n_outputs && bytes <= LE_MAX_ARENA; i++)
        bytes += 2 * le_tensor_bytes(&s->tensors[s->model->outputs[i].tensor]);
    return le_stream_may_hold(s, s->held, bytes) ? LE_OK : le_fail_within(s, "its answers", s->held, bytes, frames);
}

/* ---- layout ---- */

static le_status prepare(le_stream *s, int64_t frames) {
    s->frames = -1;
    s->generation++;
    if (frames < 0 || frames > INT32_MAX)
        return le_fail(&s->error, LE_ERR_VALUE, "frames: expected 0 to 2^31-1, found %lld", (long long)frames);
    if (!s->by_file)
        s->shares = shares_of(s, frames);
    le_status status = le_infer(s, frames, false);
    if (status == LE_OK)
        status = check_outputs(s, frames);
    if (status == LE_OK && (le_plan_grow(s) || !s->arena))
        status = le_plan_arena(s, frames);
    if (status == LE_OK) {
        le_bind_places(s);
        s->frames = frames;
    }
    return status;
}

/* ---- states ---- */

static size_t state_elements(const le_stream *s, int index, const int64_t *dims) {
    size_t count = 1;
    for (int d = 0; d < s->model->states[index].rank; d++)
        count *= (size_t)dims[d];
    return count;
}

/* Writes a constant, broadcast, over a state's current shape. */
static void fill_initial(le_stream *s, int index, const le_tensor_def *value) {
    const struct le_state_def *def = &s->model->states[index];
    size_t width = le_dtype_size(value->dtype), count = state_elements(s, index, s->states[index].dims);
    uint8_t *out = s->states[index].now;
    for (size_t i = 0; i < count; i++) {
        size_t rest = i, at = 0, step = 1;
        for (int d = def->rank - 1; d >= 0; d--) {
            size_t position = rest % (size_t)s->states[index].dims[d];
            rest /= (size_t)s->states[index].dims[d];
            int vd = d - (def->rank - value->rank);
            if (vd >= 0) {
                at += (value->dims[vd] == 1 ? 0 : position) * step;
                step *= (size_t)value->dims[vd];
            }
        }
        memcpy(out + i * width, (const uint8_t *)value->data + at * width, width);
    }
}

void le_forget_shapes(le_stream *s) {
    s->frames = -1;
    s->generation++;
}

void le_stream_reset(le_stream *s) {
    const le_model *m = s->model;
    for (int i = 0; i < m->n_states; i++) {
        const struct le_state_def *def = &m->states[i];
        const le_tensor_def *value = def->initial >= 0 ? &m->tensors[def->initial] : NULL;
        int64_t before = def->fill_axis >= 0 ? s->states[i].dims[def->fill_axis] : 0;
        for (int d = 0; d < def->rank; d++)
            s->states[i].dims[d] = le_state_size(s, i, d);
        if (def->fill_axis >= 0) {
            int64_t now = value ? value->dims[def->fill_axis - (def->rank - value->rank)] : 0;
            s->states[i].dims[def->fill_axis] = now;
            if (now != before)
                le_forget_shapes(s);
        }
        memset(s->states[i].now, 0, s->states[i].capacity);
        if (value)
            fill_initial(s, i, value);
    }
    if (s->adapt)
        le_adapt_reset(s->adapt);
}

void le_bind_state(le_stream *s, int index) {
    const struct le_state_def *def = &s->model->states[index];
    s->tensors[def->read].data = s->states[index].now;
    if (s->states[index].direct)
        s->tensors[def->write].data = s->states[index].next;
}

size_t le_state_room(size_t bytes) { return (bytes + 127) / 64 * 64; }

static le_status allocate_states(le_stream *s, int64_t frames) {
    const le_model *m = s->model;
    for (int i = 0; i < m->n_states; i++) {
        int64_t bytes = (int64_t)le_dtype_size(m->tensors[m->states[i].read].dtype), size[LE_MAX_RANK];
        bool fits = true;
        for (int d = 0; d < m->states[i].rank; d++)
            fits &= le_resolve(s, m->states[i].dims[d], 0, &size[d]);
        if (!fits || !le_dims_fit(m->states[i].rank, size))
            return le_fail(&s->error, LE_ERR_MEMORY, "state %.60s is too large for batch %lld", m->states[i].name, (long long)s->batch);
        for (int d = 0; d < m->states[i].rank; d++)
            bytes *= size[d];
        if ((uint64_t)bytes > LE_MAX_ARENA || (uint64_t)bytes > SIZE_MAX - 128)
            return le_fail(&s->error, LE_ERR_MEMORY, "state %.60s: cannot allocate %lld bytes", m->states[i].name, (long long)bytes);
        const uint64_t room = 2 * (uint64_t)le_state_room((size_t)bytes);
        if (!le_stream_may_hold(s, s->held, room)) {
            char place[80];
            snprintf(place, sizeof place, "state %.60s", m->states[i].name);
            return le_fail_within(s, place, s->held, room, frames);
        }
        s->held += room;
        s->states[i].capacity = (size_t)bytes;
        s->states[i].now = le_alloc_aligned(le_state_room((size_t)bytes));
        s->states[i].next = le_alloc_aligned(le_state_room((size_t)bytes));
        if (!s->states[i].now || !s->states[i].next)
            return le_fail(&s->error, LE_ERR_MEMORY, "state %.60s: cannot allocate %lld bytes", m->states[i].name, (long long)bytes);
        le_bind_state(s, i);
    }
    return LE_OK;
}

/* New values of all states, taken at once: those that no node made in place are copied before any state is overwritten. An absent one keeps the old. */
static void commit_states(le_stream *s) {
    const le_model *m = s->model;
    for (int i = 0; i < m->n_states; i++) {
        const le_tensor *w = &s->tensors[m->states[i].write];
        if (!s->states[i].direct && !w->absent)
            memcpy(s->states[i].next, w->data, (size_t)le_tensor_bytes(w));
    }
    for (int i = 0; i < m->n_states; i++) {
        const le_tensor *w = &s->tensors[m->states[i].write];
        le_state_slot *slot = &s->states[i];
        if (w->absent)
            continue;
        void *before = slot->now;
        slot->now = slot->next;
        slot->next = before;
        le_bind_state(s, i);
        int fill = m->states[i].fill_axis;
        if (fill >= 0 && slot->dims[fill] != w->dims[fill]) {
            slot->dims[fill] = w->dims[fill];
            le_forget_shapes(s);
        }
    }
}

const void *le_stream_state(const le_stream *s, int index, int64_t dims[LE_MAX_RANK]) {
    memcpy(dims, s->states[index].dims, sizeof s->states[index].dims);
    return s->states[index].now;
}

le_status le_stream_set_state(le_stream *s, int index, const int64_t dims[LE_MAX_RANK], const void *data, le_error *err) {
    const struct le_state_def *def = &s->model->states[index];
    for (int d = 0; d < def->rank; d++) {
        int64_t declared = le_state_size(s, index, d);
        if (d == def->fill_axis ? dims[d] < 0 || dims[d] > declared : dims[d] != declared)
            return le_fail(err, LE_ERR_SHAPE, "state %.60s: axis %d: expected %s%lld, found %lld", def->name, d,
                           d == def->fill_axis ? "at most " : "", (long long)declared, (long long)dims[d]);
    }
    if (def->fill_axis >= 0 && dims[def->fill_axis] != s->states[index].dims[def->fill_axis])
        le_forget_shapes(s);
    memcpy(s->states[index].dims, dims, (size_t)def->rank * sizeof *dims);
    memcpy(s->states[index].now, data, state_elements(s, index, dims) * le_dtype_size(s->model->tensors[def->read].dtype));
    return LE_OK;
}

/* ---- opening ---- */

static void connect_nodes(le_stream *s) {
    const le_model *m = s->model;
    le_tensor **next = s->pointers;
    for (int i = 0; i < m->n_nodes; i++) {
        const le_node *node = &m->nodes[i];
        s->nodes[i] = (le_ctx){.node = node, .kernels = m->kernels, .in = next, .out = next + node->n_in, .err = &s->error};
        for (int j = 0; j < node->n_in + node->n_out; j++)
            *next++ = node->in[j] >= 0 ? &s->tensors[node->in[j]] : NULL;
    }
}

static void describe_tensors(le_stream *s) {
    const le_model *m = s->model;
    for (int t = 0; t < m->n_tensors; t++) {
        const le_tensor_def *def = &m->tensors[t];
        s->tensors[t] =
            (le_tensor){.dtype = def->dtype, .is_const = def->is_const, .rank = def->rank, .scale = def->scale, .n_scale = def->n_scale};
        if (def->is_const) {
            s->tensors[t].data = (void *)(uintptr_t)def->data; /* ops read constants only */
            memcpy(s->tensors[t].dims, def->dims, sizeof def->dims);
        }
    }
}

/* Whether nothing else says where the tensor lies: then a node makes it, and makes it in this output's or state's place. */
static bool claim(le_stream *s, int tensor) {
    bool unclaimed = !s->outside[tensor];
    s->outside[tensor] = true;
    return unclaimed;
}

/* What lies outside the arena. Of a tensor that several outputs and states name, all but the first get copies. */
static void find_places(le_stream *s) {
    const le_model *m = s->model;
    for (int t = 0; t < m->n_tensors; t++)
        s->outside[t] = m->tensors[t].is_const;
    for (int i = 0; i < m->n_inputs; i++)
        s->outside[m->inputs[i].tensor] = true;
    for (int i = 0; i < m->n_states; i++)
        s->outside[m->states[i].read] = true;
    for (int i = 0; i < m->n_outputs; i++)
        s->direct[i] = claim(s, m->outputs[i].tensor);
    for (int i = 0; i < m->n_states; i++)
        s->states[i].direct = claim(s, m->states[i].write);
}

static void *zeroed(size_t count, size_t size) { return calloc(count ? count : 1, size); }

static size_t count_pointers(const le_model *m) {
    size_t pointers = 0;
    for (int i = 0; i < m->n_nodes; i++)
        pointers += (size_t)(m->nodes[i].n_in + m->nodes[i].n_out);
    return pointers;
}

/* Bytes of what `allocate` takes, but for what goes by inputs and outputs alone. */
static uint64_t table_bytes(const le_stream *s) {
    const le_model *m = s->model;
    const uint64_t tensors = (uint64_t)m->n_tensors, nodes = (uint64_t)m->n_nodes;
    return tensors * (sizeof *s->tensors + sizeof *s->within + sizeof *s->planned + sizeof *s->moving + sizeof *s->outside) +
           nodes * (sizeof *s->nodes + sizeof *s->active) + (tensors + nodes) * (sizeof *s->capacity + sizeof *s->offset) +
           le_plan_list_size((size_t)tensors, (size_t)nodes) + count_pointers(m) * sizeof *s->pointers +
           (uint64_t)m->n_states * sizeof *s->states;
}

static bool allocate(le_stream *s) {
    const le_model *m = s->model;
    size_t tensors = (size_t)m->n_tensors, nodes = (size_t)m->n_nodes, pointers = count_pointers(m);
    s->tensors = zeroed(tensors, sizeof *s->tensors);
    s->pointers = zeroed(pointers, sizeof *s->pointers);
    s->nodes = zeroed(nodes, sizeof *s->nodes);
    s->active = zeroed(nodes, sizeof *s->active);
    s->capacity = zeroed(tensors + nodes, sizeof *s->capacity);
    s->offset = zeroed(tensors + nodes, sizeof *s->offset);
    s->within = zeroed(tensors, sizeof *s->within);
    s->planned = zeroed(tensors, sizeof *s->planned);
    s->moving = zeroed(tensors, sizeof *s->moving);
    s->lists = zeroed(1, le_plan_list_size(tensors, nodes));
    s->outside = zeroed(tensors, sizeof *s->outside);
    s->direct = zeroed((size_t)m->n_outputs, sizeof *s->direct);
    s->states = zeroed((size_t)m->n_states, sizeof *s->states);
    s->many_in = zeroed((size_t)m->n_inputs, sizeof *s->many_in);
    s->many_out = zeroed((size_t)m->n_outputs, sizeof *s->many_out);
    s->many_bytes = zeroed((size_t)m->n_outputs, sizeof *s->many_bytes);
    return s->many_bytes && s->within && s->planned && s->moving && s->lists && s->many_in && s->many_out && s->tensors && s->pointers &&
           s->nodes && s->active && s->capacity && s->offset && s->outside && s->direct && s->states;
}

/* Whether any state's extent varies: a convolution's window that fills up. */
static bool has_windows(const le_model *m) {
    for (int i = 0; i < m->n_states; i++)
        if (m->states[i].fill_axis >= 0)
            return true;
    return false;
}

static le_status open_stream(le_stream *s, int64_t frames) {
    if (s->batch < 1 || s->batch > INT32_MAX)
        return le_fail(&s->error, LE_ERR_VALUE, "batch: expected 1 to 2^31-1, found %lld", (long long)s->batch);
    s->shares = s->by_file ? (uint64_t)s->batch : shares_of(s, frames);
    if (!le_stream_may_hold(s, 0, table_bytes(s)))
        return le_fail_within(s, "tables of its tensors and nodes", 0, table_bytes(s), frames);
    s->held = table_bytes(s);
    if (!allocate(s))
        return le_fail(&s->error, LE_ERR_MEMORY, "cannot allocate a stream");
    connect_nodes(s);
    describe_tensors(s);
    find_places(s);
    le_status status = allocate_states(s, frames);
    if (status != LE_OK)
        return status;
    le_stream_reset(s);
    if (has_windows(s->model) && frames >= 0 && frames <= INT32_MAX && le_infer(s, frames, true) == LE_OK && le_plan_grow(s))
        le_plan_arena(s, frames); /* with room for full windows, so that filling them allocates nothing later */
    return prepare(s, frames);
}

le_stream *le_stream_open(const le_model *model, int64_t batch, int64_t frames, le_error *err) {
    return le_stream_open_lengths(model, batch, frames, NULL, err);
}

static le_stream *open_new(const le_model *model, int64_t batch, int64_t frames, const int64_t *lengths, bool by_file, le_error *err) {
    le_stream *s = calloc(1, sizeof *s);
    if (!s) {
        le_fail(err, LE_ERR_MEMORY, "cannot allocate a stream");
        return NULL;
    }
    s->model = model;
    s->n_states = model->n_states;
    s->batch = batch;
    s->by_file = by_file;
    s->frames = -1;
    for (int i = 0; i < LE_MAX_LENGTHS; i++)
        s->lengths[i] = 1;
    if ((!lengths || le_stream_set_lengths(s, lengths, NULL) == LE_OK) && open_stream(s, frames) == LE_OK) {
        s->by_file = false;
        return s;
    }
    if (err)
        *err = s->error;
    le_stream_close(s);
    return NULL;
}

le_stream *le_stream_open_lengths(const le_model *model, int64_t batch, int64_t frames, const int64_t *lengths, le_error *err) {
    return open_new(model, batch, frames, lengths, false, err);
}

le_stream *le_stream_open_by_file(const le_model *model, int64_t batch, int64_t frames, const int64_t *lengths, le_error *err) {
    return open_new(model, batch, frames, lengths, true, err);
}

le_status le_stream_set_lengths(le_stream *s, const int64_t *lengths, le_error *err) {
    for (int i = 0; i < s->model->n_lengths; i++) {
        if (lengths[i] < 0 || lengths[i] > INT32_MAX) {
            le_fail(&s->error, LE_ERR_VALUE, "length %d: expected 0 to 2^31-1, found %lld", i, (long long)lengths[i]);
            if (err)
                *err = s->error;
            return s->error.status;
        }
    }
    if (memcmp(s->lengths, lengths, (size_t)s->model->n_lengths * sizeof *lengths) != 0) {
        memcpy(s->lengths, lengths, (size_t)s->model->n_lengths * sizeof *lengths);
        le_forget_shapes(s);
    }
    return LE_OK;
}

void le_stream_close(le_stream *s) {
    if (!s)
        return;
    for (int i = 0; s->states && i < s->n_states; i++) {
        le_free_aligned(s->states[i].now);
        le_free_aligned(s->states[i].next);
    }
    le_forecast_free(s);
    free(s->tensors);
    free(s->pointers);
    free(s->nodes);
    free(s->active);
    free(s->capacity);
    free(s->offset);
    free(s->within);
    free(s->planned);
    free(s->moving);
    free(s->lists);
    free(s->outside);
    free(s->direct);
    free(s->states);
    free(s->many_in);
    free(s->many_out);
    free(s->many_bytes);
    le_free_aligned(s->arena);
    free(s->seconds);
    le_adapt_free(s->adapt);
    free(s);
}

/* ---- running ---- */

le_status le_stream_prepare(le_stream *s, int64_t frames, le_error *err) {
    le_status status = frames == s->frames ? LE_OK : prepare(s, frames);
    if (status != LE_OK && err)
        *err = s->error;
    return status;
}

uint64_t le_stream_generation(const le_stream *s) { return s->generation; }

int le_stream_output_shape(const le_stream *s, int index, int64_t dims[LE_MAX_RANK]) {
    const le_tensor *t = &s->tensors[s->model->outputs[index].tensor];
    if (t->absent)
        return -1;
    memcpy(dims, t->dims, sizeof t->dims);
    return t->rank;
}

static void bind_states(le_stream *s) {
    for (int i = 0; i < s->n_states; i++)
        le_bind_state(s, i);
    s->unbound = false;
}

static void bind_arrays(le_stream *s, const void *const *inputs, void *const *outputs) {
    const le_model *m = s->model;
    for (int i = 0; i < m->n_inputs; i++)
        s->tensors[m->inputs[i].tensor].data = (void *)(uintptr_t)inputs[i]; /* read only */
    for (int i = 0; i < m->n_outputs; i++)
        if (s->direct[i])
            s->tensors[m->outputs[i].tensor].data = outputs[i];
    for (int i = 0; i < s->n_moving; i++) {
        const le_place *place = &s->within[s->moving[i]];
        s->tensors[s->moving[i]].data = (uint8_t *)s->tensors[place->holder].data + place->at;
    }
}

static void copy_outputs(le_stream *s, void *const *outputs) {
    for (int i = 0; i < s->model->n_outputs; i++) {
        const le_tensor *t = &s->tensors[s->model->outputs[i].tensor];
        if (!s->direct[i] && !t->absent)
            memcpy(outputs[i], t->data, (size_t)le_tensor_bytes(t));
    }
}

static le_status run_nodes(le_stream *s) {
    for (int i = 0; i < s->n_active; i++) {
        le_ctx *ctx = &s->nodes[s->active[i]];
        le_status status = ctx->node->type->run(ctx);
        if (status != LE_OK)
            return status;
    }
    return LE_OK;
}

static le_status run_nodes_timed(le_stream *s) {
    memset(s->seconds, 0, (size_t)s->model->n_nodes * sizeof *s->seconds);
    for (int i = 0; i < s->n_active; i++) {
        le_ctx *ctx = &s->nodes[s->active[i]];
        double start = le_seconds();
        le_status status = ctx->node->type->run(ctx);
        s->seconds[s->active[i]] = le_seconds() - start;
        if (status != LE_OK)
            return status;
    }
    return LE_OK;
}

le_status le_stream_compute(le_stream *s, int64_t frames, const void *const *inputs, void *const *outputs, le_error *err) {
    le_status status = frames == s->frames ? LE_OK : prepare(s, frames);
    if (status == LE_OK) {
        if (s->unbound)
            bind_states(s);
        bind_arrays(s, inputs, outputs);
        status = s->seconds ? run_nodes_timed(s) : run_nodes(s);
    }
    if (status == LE_OK)
        copy_outputs(s, outputs);
    else if (err)
        *err = s->error;
    return status;
}

void le_stream_commit(le_stream *s) {
    if (s->adapt)
        le_adapt_commit(s);
    commit_states(s);
}

le_status le_stream_run(le_stream *s, int64_t frames, const void *const *inputs, void *const *outputs, le_error *err) {
    le_status status = le_stream_compute(s, frames, inputs, outputs, err);
    if (status == LE_OK)
        le_stream_commit(s);
    return status;
}

/* Answers of several runs lie one after the other in room for as many of the first's size: a state that fills up must not make a later one
 * larger. */
static le_status expect_answers_alike(le_stream *s, int64_t frames) {
    le_status status = frames == s->frames ? LE_OK : prepare(s, frames);
    for (int i = 0; i < s->model->n_outputs && status == LE_OK; i++) {
        const le_tensor *t = &s->tensors[s->model->outputs[i].tensor];
        uint64_t bytes = le_tensor_bytes(t), *before = &s->many_bytes[i];
        if (t->absent && *before == UINT64_MAX)
            continue;
        if (*before != UINT64_MAX && (t->absent || bytes != *before))
            status =
                le_fail(&s->error, LE_ERR_SHAPE, "output %.60s: expected %llu bytes as of the first run, found %llu: run them one by one",
                        s->model->outputs[i].name, (unsigned long long)*before, (unsigned long long)bytes);
        *before = bytes;
    }
    return status;
}

le_status le_stream_run_many(le_stream *s, int64_t count, int64_t frames, const void *const *inputs, void *const *outputs, le_error *err) {
    const le_model *m = s->model;
    const void **in = s->many_in;
    void **out = s->many_out;
    memcpy(in, inputs, (size_t)m->n_inputs * sizeof *in);
    memcpy(out, outputs, (size_t)m->n_outputs * sizeof *out);
    memset(s->many_bytes, 0xff, (size_t)m->n_outputs * sizeof *s->many_bytes);
    le_status status = LE_OK;
    for (int64_t n = 0; n < count && status == LE_OK; n++) {
        if (n == 0 || frames != s->frames)
            status = expect_answers_alike(s, frames);
        if (status != LE_OK) {
            if (err)
                *err = s->error;
            break;
        }
        status = le_stream_run(s, frames, in, out, err);
        for (int i = 0; i < m->n_inputs && status == LE_OK; i++)
            in[i] = (const uint8_t *)in[i] + le_tensor_bytes(&s->tensors[m->inputs[i].tensor]);
        for (int i = 0; i < m->n_outputs && status == LE_OK; i++)
            out[i] = (uint8_t *)out[i] + le_tensor_bytes(&s->tensors[m->outputs[i].tensor]);
    }
    return status;
}

/* ---- figures ---- */

size_t le_stream_bytes(const le_stream *s) {
    size_t bytes = (size_t)s->arena_size;
    for (int i = 0; i < s->model->n_states; i++)
        bytes += (s->spare ? 4 : 2) * s->states[i].capacity;
    return bytes + (s->adapt ? le_adapt_bytes(s->adapt) : 0);
}

void le_stream_profile(le_stream *s, int on) {
    free(s->seconds);
    s->seconds = on ? calloc((size_t)s->model->n_nodes + 1, sizeof *s->seconds) : NULL;
}

const double *le_stream_op_seconds(const le_stream *s) { return s->seconds; }

int le_stream_traced(const le_stream *s, int index, le_traced *sizes) { return le_trace_sizes(&s->nodes[index], sizes); }

void le_stream_trace(le_stream *s, int index, float *gates, float *h, float *c) {
    s->nodes[index].trace = (le_trace){gates, h, c};
    s->nodes[index].traced = gates || h || c;
    s->traced |= s->nodes[index].traced;
}
