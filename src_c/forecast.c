/* Rolling a stream forward on a copy of its states: what a run answers is fed back to the next as input. */
#include <stdlib.h>
#include <string.h>

#include "stream.h"
#include "system.h"

/* ---- the copy of the states: slots of the same sizes, which change places with the stream's own for the time of a roll ---- */

static void free_slots(le_state_slot *slots, int count) {
    for (int i = 0; slots && i < count; i++) {
        le_free_aligned(slots[i].now);
        le_free_aligned(slots[i].next);
    }
    free(slots);
}

void le_forecast_free(le_stream *s) { free_slots(s->spare, s->n_states); }

static le_status allocate_spare(le_stream *s) {
    uint64_t room = 0;
    for (int i = 0; i < s->n_states; i++)
        room += 2 * (uint64_t)le_state_room(s->states[i].capacity);
    if (!le_stream_may_hold(s, s->held + s->arena_size, room))
        return le_fail_within(s, "the copy of its states", s->held + s->arena_size, room, s->frames);
    le_state_slot *spare = calloc((size_t)s->n_states + 1, sizeof *spare);
    bool enough = spare != NULL;
    for (int i = 0; enough && i < s->n_states; i++) {
        spare[i].direct = s->states[i].direct;
        spare[i].capacity = s->states[i].capacity;
        spare[i].now = le_alloc_aligned(le_state_room(spare[i].capacity));
        spare[i].next = le_alloc_aligned(le_state_room(spare[i].capacity));
        enough = spare[i].now && spare[i].next;
    }
    if (enough) {
        s->spare = spare;
        return LE_OK;
    }
    free_slots(spare, s->n_states);
    return le_fail(&s->error, LE_ERR_MEMORY, "cannot allocate a copy of the states");
}

/* The stream's states and the spare ones change places; shapes are inferred again where a window is not as full. */
static void exchange(le_stream *s) {
    bool same = true;
    for (int i = 0; i < s->n_states; i++) {
        const le_state_slot own = s->states[i];
        s->states[i] = s->spare[i];
        s->spare[i] = own;
        same &= memcmp(own.dims, s->states[i].dims, sizeof own.dims) == 0;
        le_bind_state(s, i);
    }
    if (!same)
        le_forget_shapes(s);
}

static void copy_states(le_stream *s) {
    for (int i = 0; i < s->n_states; i++) {
        memcpy(s->spare[i].now, s->states[i].now, s->states[i].capacity);
        memcpy(s->spare[i].dims, s->states[i].dims, sizeof s->states[i].dims);
    }
}

/* ---- what goes from a run to the next ---- */

static const le_tensor *output_of(const le_stream *s, int index) { return &s->tensors[s->model->outputs[index].tensor]; }

static const le_tensor *input_of(const le_stream *s, int index) { return &s->tensors[s->model->inputs[index].tensor]; }

/* Whether the box lies within so many elements. */
static bool lies_within(const int64_t size[3], int64_t at, const int64_t step[3], uint64_t elements) {
    const int64_t most = (int64_t)1 << 40; /* beyond any arena: nothing below overflows */
    for (int d = 0; d < 3; d++) {
        if (size[d] < 1 || size[d] > INT32_MAX || step[d] < 0 || at < 0 || at > most || step[d] > most / size[d])
            return false;
        at += (size[d] - 1) * step[d];
    }
    return (uint64_t)at < elements;
}

static uint64_t elements_of(const le_tensor *t) { return le_tensor_bytes(t) / le_dtype_size(t->dtype); }

static le_status check_output(le_stream *s, const le_feed *box, const char *what) {
    if (box->output < 0 || box->output >= s->model->n_outputs)
        return le_fail(&s->error, LE_ERR_VALUE, "%s: expected output 0 to %d, found %d", what, s->model->n_outputs - 1, box->output);
    const le_tensor *t = output_of(s, box->output);
    const char *name = s->model->outputs[box->output].name;
    if (t->absent)
        return le_fail(&s->error, LE_ERR_VALUE, "%s: output %.60s has no answer yet", what, name);
    if (!lies_within(box->size, box->from, box->from_step, elements_of(t)))
        return le_fail(&s->error, LE_ERR_SHAPE, "%s: expected places within the %llu values of output %.60s, found others", what,
                       (unsigned long long)elements_of(t), name);
    return LE_OK;
}

static le_status check_input(le_stream *s, const le_feed *feed) {
    if (feed->input < 0 || feed->input >= s->model->n_inputs)
        return le_fail(&s->error, LE_ERR_VALUE, "feed: expected input 0 to %d, found %d", s->model->n_inputs - 1, feed->input);
    const le_tensor *from = output_of(s, feed->output), *to = input_of(s, feed->input);
    const char *name = s->model->inputs[feed->input].name;
    if (from->dtype != to->dtype)
        return le_fail(&s->error, LE_ERR_SHAPE, "feed: expected the dtype of input %.60s, found another in output %.60s", name,
                       s->model->outputs[feed->output].name);
    if (!lies_within(feed->size, feed->to, feed->to_step, elements_of(to)))
        return le_fail(&s->error, LE_ERR_SHAPE, "feed: expected places within the %llu values of input %.60s, found others",
                       (unsigned long long)elements_of(to), name);
    return LE_OK;
}

static le_status check_room(le_stream *s, int output, int64_t room) {
    const le_tensor *t = output_of(s, output);
    if (t->absent || le_tensor_bytes(t) <= (uint64_t)room)
        return LE_OK;
    return le_fail(&s->error, LE_ERR_SHAPE, "output %.60s: expected room for %llu bytes, found %lld", s->model->outputs[output].name,
                   (unsigned long long)le_tensor_bytes(t), (long long)room);
}

/* Holds for the shapes that the stream is laid out for now. */
static le_status check_places(le_stream *s, const le_roll *roll) {
    le_status status = LE_OK;
    for (int i = 0; i < s->model->n_outputs && status == LE_OK; i++)
        status = check_room(s, i, roll->room[i]);
    for (int i = 0; i < roll->n_keeps && status == LE_OK; i++)
        status = check_output(s, &roll->keeps[i], "keep");
    for (int i = 0; i < roll->n_feeds && status == LE_OK; i++) {
        status = check_output(s, &roll->feeds[i], "feed");
        if (status == LE_OK)
            status = check_input(s, &roll->feeds[i]);
    }
    return status;
}

static void copy_row(int64_t count, size_t width, const uint8_t *from, int64_t from_step, uint8_t *to, int64_t to_step) {
    if (from_step == 1 && to_step == 1)
        memcpy(to, from, (size_t)count * width);
    else if (width == sizeof(float)) /* a copy of known size is one instruction */
        for (int64_t k = 0; k < count; k++)
            memcpy(to + (size_t)(k * to_step) * sizeof(float), from + (size_t)(k * from_step) * sizeof(float), sizeof(float));
    else
        for (int64_t k = 0; k < count; k++)
            memcpy(to + (size_t)(k * to_step) * width, from + (size_t)(k * from_step) * width, width);
}

static void copy_box(const int64_t size[3], size_t width, const uint8_t *from, const int64_t from_step[3], uint8_t *to,
                     const int64_t to_step[3]) {
    for (int64_t i = 0; i < size[0]; i++)
        for (int64_t j = 0; j < size[1]; j++)
            copy_row(size[2], width, from + (size_t)(i * from_step[0] + j * from_step[1]) * width, from_step[2],
                     to + (size_t)(i * to_step[0] + j * to_step[1]) * width, to_step[2]);
}

static void feed_back(const le_stream *s, const le_roll *roll, const void *const *inputs) {
    for (int i = 0; i < roll->n_feeds; i++) {
        const le_feed *f = &roll->feeds[i];
        const size_t width = le_dtype_size(output_of(s, f->output)->dtype);
        const uint8_t *from = (const uint8_t *)roll->outputs[f->output] + (size_t)f->from * width;
        uint8_t *to = (uint8_t *)(uintptr_t)inputs[f->input] + (size_t)f->to * width; /* the caller gave it to be written */
        copy_box(f->size, width, from, f->from_step, to, f->to_step);
    }
}

/* Copies what is kept of the answer of run n, densely. */
static void keep(const le_stream *s, const le_roll *roll, int64_t n) {
    for (int i = 0; i < roll->n_keeps; i++) {
        const le_feed *k = &roll->keeps[i];
        const size_t width = le_dtype_size(output_of(s, k->output)->dtype);
        const int64_t dense[3] = {k->size[1] * k->size[2], k->size[2], 1};
        const uint8_t *from = (const uint8_t *)roll->outputs[k->output] + (size_t)k->from * width;
        copy_box(k->size, width, from, k->from_step, (uint8_t *)roll->kept[i] + (size_t)(n * k->size[0] * dense[0]) * width, dense);
    }
}

/* ---- rolling ---- */

/* Lays out for the next run; the places are looked at again when the shapes are new. */
static le_status lay_out(le_stream *s, const le_roll *roll, uint64_t *checked) {
    if (roll->fresh)
        le_stream_reset(s);
    le_status status = le_stream_prepare(s, roll->frames, NULL);
    if (status == LE_OK && *checked != s->generation)
        status = check_places(s, roll);
    *checked = s->generation;
    return status;
}

static le_status run_on_copy(le_stream *s, const le_roll *roll) {
    const int n_inputs = s->model->n_inputs;
    const void **in = s->many_in;
    uint64_t checked = 0; /* no generation: opening a stream already counts */
    le_status status = LE_OK;
    for (int i = 0; i < n_inputs; i++)
        in[i] = roll->inputs[i];
    for (int64_t n = 0; n < roll->count && status == LE_OK; n++) {
        status = lay_out(s, roll, &checked);
        if (status != LE_OK)
            break;
        feed_back(s, roll, in);
        status = le_stream_run(s, roll->frames, in, roll->outputs, NULL);
        if (status != LE_OK)
            break;
        keep(s, roll, n);
        for (int i = 0; i < n_inputs; i++)
            in[i] = (const uint8_t *)in[i] + roll->advance[i];
    }
    return status;
}

le_status le_stream_roll(le_stream *s, const le_roll *given, le_error *err) {
    le_roll roll;
    le_status status = le_take_struct("roll", given, sizeof roll, sizeof roll, &roll, &s->error);
    if (status == LE_OK && !s->spare)
        status = allocate_spare(s);
    if (status == LE_OK) {
        le_adapt *const adapt = s->adapt;
        s->adapt = NULL; /* answers are still corrected; frames that are no observations are not learnt from */
        copy_states(s);
        exchange(s);
        status = run_on_copy(s, &roll);
        exchange(s);
        s->adapt = adapt;
    }
    if (status != LE_OK && err)
        *err = s->error;
    return status;
}
