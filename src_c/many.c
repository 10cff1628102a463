/* Many streams of one model in one call. Streams alike go as the rows of one batch, so that weights are read once for all of them: their
 * states are gathered into a batched stream, its nodes run, and the new states are scattered back. Promise 1 makes that the same bits: the
 * order of a sum depends on sizes of the model alone, never on how many rows there are. What is not alike (a window that is not full,
 * adaptation, profiling, tracing) runs by itself. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapt.h"
#include "stream.h"

enum {
    MOST_ROWS = 64,         /* beyond it the products gain nothing more */
    BLOCK_BYTES = 1 << 19,  /* of a block's activations: with the weights of a layer they stay in a cache of the second level */
    MOST_THREADS = 1 << 10, /* a larger number is an error of the caller's */
    PROBED = 3              /* rows of the batch that shows whether rows mix */
};

/* How one stream's array lies in a batch's: `outer` pieces of `bytes`, and in the batch each piece of all rows together. */
typedef struct {
    int64_t outer;
    size_t bytes, size; /* size: of the whole array */
} row_form;

/* What one thread works with. Blocks are counted in pointers' width: there are fewer than streams, and 32-bit CPUs have no wider atomics. */
typedef struct {
    atomic_intptr_t next; /* the block that follows, of those that this thread begins with */
    int64_t end;
    le_stream *batched; /* of up to `rows` streams' sequences; NULL where streams run by themselves */
    int64_t rows;       /* that its shapes stand for now */
    void **arrays;      /* inputs, then outputs, of a block whose rows do not lie one after the other */
    const void **in;    /* the arrays of a run */
    void **out;
    int64_t failed;      /* the first stream that failed here; -1 none */
    le_error error, why; /* of a run; of `failed` */
} worker;

struct le_many {
    const le_model *model;
    int64_t batch, frames, rows; /* rows: of a block, 1 where streams run by themselves */
    int n_inputs, n_outputs, n_states, n_workers;
    row_form *forms; /* inputs, outputs, states */
    worker *workers;
    le_stream *one; /* of one stream's sequences, its windows full: it never runs after opening, and has the shapes */
    /* the call */
    int64_t count, room, n_blocks;
    le_stream *const *streams;
    const void *const *inputs;
    void *const *outputs;
    uint8_t *done;          /* per stream */
    atomic_intptr_t failed; /* the first block that failed; those behind it need not run */
};

enum { UNTOUCHED = 0, AS_ROW, ALONE };

/* ---- rows of a batch ---- */

static const uint8_t *const_at(const void *base, size_t offset) { return (const uint8_t *)base + offset; }

static void put_row(const row_form *f, void *batch, int64_t rows, int64_t row, const void *array) {
    for (int64_t o = 0; o < f->outer; o++)
        memcpy((uint8_t *)batch + (size_t)(o * rows + row) * f->bytes, const_at(array, (size_t)o * f->bytes), f->bytes);
}

static void take_row(const row_form *f, const void *batch, int64_t rows, int64_t row, void *array) {
    for (int64_t o = 0; o < f->outer; o++)
        memcpy((uint8_t *)array + (size_t)o * f->bytes, const_at(batch, (size_t)(o * rows + row) * f->bytes), f->bytes);
}

static row_form *input_form(const le_many *m, int i) { return &m->forms[i]; }
static row_form *output_form(const le_many *m, int i) { return &m->forms[m->n_inputs + i]; }
static row_form *state_form(const le_many *m, int i) { return &m->forms[m->n_inputs + m->n_outputs + i]; }

/* Of an array whose rows lie along `axis`. */
static void set_form(row_form *f, int rank, const int64_t *dims, int axis, size_t width) {
    *f = (row_form){.outer = 1, .bytes = width};
    for (int d = 0; d < rank; d++) {
        if (d < axis)
            f->outer *= dims[d];
        else
            f->bytes *= (size_t)dims[d];
    }
    f->size = (size_t)f->outer * f->bytes;
}

/* ---- opening ---- */

/* The only axis whose size follows the batch; -1 where there is none or another. */
static int batch_axis(int rank, const le_dim *dims) {
    int found = -1;
    for (int d = 0; d < rank; d++) {
        if (dims[d].symbol != LE_BATCH)
            continue;
        if (found >= 0)
            return -1;
        found = d;
    }
    return found;
}

/* A batched stream for `rows` streams whose windows are full; what it has as states is written before each run. */
static le_status set_rows(le_stream *s, int64_t batch, int64_t frames) {
    s->batch = batch;
    for (int i = 0; i < s->n_states; i++)
        for (int d = 0; d < s->model->states[i].rank; d++)
            s->states[i].dims[d] = le_state_size(s, i, d);
    le_forget_shapes(s);
    return le_stream_prepare(s, frames, NULL);
}

static le_stream *open_full(const le_many *m, int64_t rows, le_error *err) {
    le_stream *s = le_stream_open(m->model, rows * m->batch, m->frames, err);
    if (s && set_rows(s, rows * m->batch, m->frames) != LE_OK) {
        if (err)
            *err = s->error;
        le_stream_close(s);
        return NULL;
    }
    return s;
}

/* Sizes of one stream's arrays, and where rows lie in inputs and states. False where one of these has no axis for them. */
static bool measure_rows(const le_many *m) {
    const le_model *model = m->model;
    const le_stream *one = m->one;
    bool batched = model->n_lengths == 0;
    for (int i = 0; i < m->n_inputs; i++) {
        const le_tensor *t = &one->tensors[model->inputs[i].tensor];
        int axis = batch_axis(model->inputs[i].rank, model->inputs[i].dims);
        batched &= axis >= 0;
        set_form(input_form(m, i), t->rank, t->dims, axis, le_dtype_size(t->dtype));
    }
    for (int i = 0; i < m->n_states; i++) {
        const le_tensor *t = &one->tensors[model->states[i].read], *w = &one->tensors[model->states[i].write];
        int axis = batch_axis(t->rank, model->states[i].dims), fill = model->states[i].fill_axis;
        batched &= axis >= 0 && !w->absent && (fill < 0 || w->dims[fill] == t->dims[fill]);
        set_form(state_form(m, i), t->rank, t->dims, axis, le_dtype_size(t->dtype));
    }
    for (int i = 0; i < m->n_outputs; i++) {
        const le_tensor *t = &one->tensors[model->outputs[i].tensor];
        batched &= !t->absent;
        set_form(output_form(m, i), t->absent ? 0 : t->rank, t->dims, -1, t->absent ? 0 : le_dtype_size(t->dtype));
    }
    return batched;
}

/* Where rows lie in the outputs: along the only axis that has as many times its size in a batch. */
static bool measure_outputs(const le_many *m, const le_stream *several, int64_t rows) {
    for (int i = 0; i < m->n_outputs; i++) {
        const le_tensor *a = &m->one->tensors[m->model->outputs[i].tensor], *b = &several->tensors[m->model->outputs[i].tensor];
        int axis = -1;
        if (b->absent || a->rank != b->rank)
            return false;
        for (int d = 0; d < a->rank; d++) {
            if (a->dims[d] == b->dims[d])
                continue;
            if (axis >= 0 || b->dims[d] != rows * a->dims[d])
                return false;
            axis = d;
        }
        if (axis < 0)
            return false;
        set_form(output_form(m, i), a->rank, a->dims, axis, le_dtype_size(a->dtype));
    }
    return true;
}

/* The stream that has one stream's shapes. batched: whether rows can be told. */
static le_status open_one(le_many *m, bool *batched, le_error *err) {
    m->forms = calloc((size_t)(m->n_inputs + m->n_outputs + m->n_states) + 1, sizeof *m->forms);
    if (!m->forms)
        return le_fail(err, LE_ERR_MEMORY, "cannot allocate the call of many streams");
    m->one = open_full(m, 1, err);
    if (!m->one)
        return LE_ERR_MEMORY;
    *batched = measure_rows(m);
    return LE_OK;
}

typedef enum { WHAT_COUNTS, FAR_OFF, NOT_A_NUMBER } contents;

/* Values for the probe, from a generator of its own. */
static void fill(void *array, size_t size, le_dtype dtype, contents what, uint32_t *seed) {
    size_t width = le_dtype_size(dtype);
    for (size_t i = 0; i < size / width; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        float number = ((float)(*seed >> 8) / (float)(1 << 23) - 1.0f) * (what == FAR_OFF ? 1000.0f : 1.0f);
        uint32_t nan = 0x7fc00000u;
        int32_t whole = what == FAR_OFF;
        if (dtype == LE_F32)
            memcpy((uint8_t *)array + 4 * i, what == NOT_A_NUMBER ? (void *)&nan : (void *)&number, 4);
        else if (dtype == LE_I32)
            memcpy((uint8_t *)array + 4 * i, &whole, 4);
        else
            memset((uint8_t *)array + width * i, what != FAR_OFF, width);
    }
}

/* Fills input or state `f` of both streams: the middle row of the batch is what the single stream has, the others are something else. */
static void fill_both(const row_form *f, le_dtype dtype, void *single, void *batch, contents others, uint32_t *seed) {
    fill(batch, PROBED * f->size, dtype, others, seed);
    fill(single, f->size, dtype, WHAT_COUNTS, seed);
    put_row(f, batch, PROBED, PROBED / 2, single);
}

static bool same_row(const row_form *f, const void *single, const void *batch) {
    for (int64_t o = 0; o < f->outer; o++)
        if (memcmp(const_at(single, (size_t)o * f->bytes), const_at(batch, (size_t)(o * PROBED + PROBED / 2) * f->bytes), f->bytes) != 0)
            return false;
    return true;
}

typedef struct {
    le_stream *stream;
    const void **in;
    void **out;
} probed;

/* One run of both; false where the middle row's answers or new states are not the single stream's. */
static bool rows_alike(const le_many *m, const probed *single, const probed *batch, contents others) {
    uint32_t seed = 1;
    for (int i = 0; i < m->n_inputs; i++)
        fill_both(input_form(m, i), m->model->tensors[m->model->inputs[i].tensor].dtype, (void *)(uintptr_t)single->in[i],
                  (void *)(uintptr_t)batch->in[i], others, &seed);
    for (int i = 0; i < m->n_states; i++)
        fill_both(state_form(m, i), m->model->tensors[m->model->states[i].read].dtype, single->stream->states[i].now,
                  batch->stream->states[i].now, others, &seed);
    if (le_stream_compute(single->stream, m->frames, single->in, single->out, NULL) != LE_OK)
        return false;
    if (le_stream_compute(batch->stream, m->frames, batch->in, batch->out, NULL) != LE_OK)
        return others == NOT_A_NUMBER; /* a NaN can be no index */
    bool same = true;
    for (int i = 0; i < m->n_outputs; i++)
        same &= same_row(output_form(m, i), single->out[i], batch->out[i]);
    for (int i = 0; i < m->n_states; i++) {
        int made = m->model->states[i].write;
        same &= same_row(state_form(m, i), single->stream->tensors[made].data, batch->stream->tensors[made].data);
    }
    return same;
}

/* Gives a stream arrays for `rows` rows; `memory` owns them. */
static bool give_arrays(const le_many *m, probed *p, int64_t rows, void **memory) {
    int n = m->n_inputs + m->n_outputs;
    size_t size = 0, at = 0;
    for (int i = 0; i < n; i++)
        size += ((size_t)rows * m->forms[i].size + 63) / 64 * 64;
    void **pointers = *memory = calloc(1, (size_t)n * sizeof *pointers + size + 64);
    if (!pointers)
        return false;
    uint8_t *data = (uint8_t *)(((uintptr_t)(pointers + n) + 63) / 64 * 64);
    for (int i = 0; i < n; i++) {
        pointers[i] = data + at;
        at += ((size_t)rows * m->forms[i].size + 63) / 64 * 64;
    }
    p->in = (const void **)pointers;
    p->out = pointers + m->n_inputs;
    return true;
}

/* Whether rows of a batch are each what they would be alone: no op of docs/ops.md must be, as any may go along the batch axis (a Softmax or a
 * mean over it). It is seen in two runs of a batch whose other rows hold large values, then NaN, which anything that reads them would show. */
static bool rows_apart(const le_many *m) {
    le_stream *several = open_full(m, PROBED, NULL);
    void *memory[2] = {NULL, NULL};
    probed single = {.stream = m->one}, batch = {.stream = several};
    bool apart = several && measure_outputs(m, several, PROBED) && give_arrays(m, &single, 1, &memory[0]) &&
                 give_arrays(m, &batch, PROBED, &memory[1]) && rows_alike(m, &single, &batch, FAR_OFF) &&
                 rows_alike(m, &single, &batch, NOT_A_NUMBER);
    free(memory[0]);
    free(memory[1]);
    le_stream_close(several);
    return apart;
}

/* How many streams make a block. */
static int64_t choose_rows(const le_many *m) {
    uint64_t bytes = m->one->arena_size + 1;
    for (int i = 0; i < m->n_inputs + m->n_outputs + m->n_states; i++)
        bytes += m->forms[i].size;
    int64_t rows = (int64_t)(BLOCK_BYTES / bytes);
    if (rows > MOST_ROWS / m->batch)
        rows = MOST_ROWS / m->batch;
    return rows < 1 ? 1 : rows;
}

/* Whether a block's rows lie one after the other in the caller's arrays. */
static bool in_order(const row_form *f) { return f->outer == 1; }

static le_status open_worker(const le_many *m, worker *w, le_error *err) {
    int n = m->n_inputs + m->n_outputs;
    w->arrays = calloc((size_t)n + 1, sizeof *w->arrays);
    w->in = calloc((size_t)m->n_inputs + 1, sizeof *w->in);
    w->out = calloc((size_t)m->n_outputs + 1, sizeof *w->out);
    bool room = w->arrays && w->in && w->out;
    for (int i = 0; i < n && room && m->rows > 1; i++)
        if (!in_order(&m->forms[i]))
            room = (w->arrays[i] = malloc((size_t)m->rows * m->forms[i].size)) != NULL;
    if (!room)
        return le_fail(err, LE_ERR_MEMORY, "cannot allocate what a thread needs for %lld streams", (long long)m->rows);
    if (m->rows > 1) {
        w->batched = open_full(m, m->rows, err);
        w->rows = m->rows;
        return w->batched ? LE_OK : LE_ERR_MEMORY;
    }
    return LE_OK;
}

static le_status open_many(le_many *m, int threads, le_error *err) {
    if (threads < 1 || threads > MOST_THREADS)
        return le_fail(err, LE_ERR_VALUE, "threads: expected 1 to %d, found %d", MOST_THREADS, threads);
    m->workers = calloc((size_t)threads, sizeof *m->workers);
    if (!m->workers)
        return le_fail(err, LE_ERR_MEMORY, "cannot allocate the call of many streams");
    m->n_workers = threads;
    bool batched = false;
    le_status status = open_one(m, &batched, err);
    if (status != LE_OK)
        return status;
    int64_t rows = choose_rows(m);
    m->rows = batched && rows > 1 && rows_apart(m) ? rows : 1;
    for (int i = 0; i < threads && status == LE_OK; i++)
        status = open_worker(m, &m->workers[i], err);
    return status;
}

static le_many with_sizes(const le_model *model, int64_t batch, int64_t frames) {
    return (le_many){.model = model,
                     .batch = batch,
                     .frames = frames,
                     .n_inputs = model->n_inputs,
                     .n_outputs = model->n_outputs,
                     .n_states = model->n_states};
}

le_many *le_many_open(const le_model *model, int64_t batch, int64_t frames, int threads, le_error *err) {
    le_many *m = calloc(1, sizeof *m);
    if (!m) {
        le_fail(err, LE_ERR_MEMORY, "cannot allocate the call of many streams");
        return NULL;
    }
    *m = with_sizes(model, batch, frames);
    if (open_many(m, threads, err) == LE_OK)
        return m;
    le_many_close(m);
    return NULL;
}

void le_many_close(le_many *m) {
    if (!m)
        return;
    for (int i = 0; i < m->n_workers; i++) {
        worker *w = &m->workers[i];
        for (int j = 0; w->arrays && j < m->n_inputs + m->n_outputs; j++)
            free(w->arrays[j]);
        free(w->arrays);
        free(w->in);
        free(w->out);
        le_stream_close(w->batched);
    }
    le_stream_close(m->one);
    free(m->workers);
    free(m->forms);
    free(m->done);
    free(m);
}

int le_model_rows_apart(const le_model *model, int64_t frames) {
    le_many m = with_sizes(model, 1, frames);
    bool batched = false;
    bool apart = open_one(&m, &batched, NULL) == LE_OK && batched && rows_apart(&m);
    le_stream_close(m.one);
    free(m.forms);
    return apart;
}

int64_t le_many_rows(const le_many *m) { return m->rows; }

/* ---- one call ---- */

le_status le_many_begin(le_many *m, int64_t count, le_stream *const *streams, const void *const *inputs, void *const *outputs,
                        le_error *err) {
    if (count > m->room) {
        free(m->done);
        m->room = 0;
        m->done = malloc((size_t)count);
        if (!m->done)
            return le_fail(err, LE_ERR_MEMORY, "cannot allocate the call of %lld streams", (long long)count);
        m->room = count;
    }
    memset(m->done, UNTOUCHED, (size_t)count);
    m->count = count;
    m->streams = streams;
    m->inputs = inputs;
    m->outputs = outputs;
    m->n_blocks = (count + m->rows - 1) / m->rows;
    m->n_blocks = (m->n_blocks + m->n_workers - 1) / m->n_workers * m->n_workers; /* so that the threads get as much each */
    for (int i = 0; i < m->n_workers; i++) {
        worker *w = &m->workers[i];
        w->failed = -1;
        w->end = m->n_blocks / m->n_workers * (i + 1);
        atomic_store(&w->next, (intptr_t)(m->n_blocks / m->n_workers * i));
    }
    atomic_store(&m->failed, (intptr_t)m->n_blocks);
    return LE_OK;
}

/* Whether a stream may be a row: nothing of its own beside its states, and these as large as the batch's. */
static bool may_be_row(const le_many *m, const le_stream *s) {
    if (s->adapt || s->seconds || s->traced)
        return false;
    for (int i = 0; i < m->n_states; i++) {
        int fill = m->model->states[i].fill_axis;
        if (fill >= 0 && s->states[i].dims[fill] != m->model->states[i].dims[fill].coef)
            return false;
    }
    return true;
}

static const void *input_at(const le_many *m, int i, int64_t stream) {
    return const_at(m->inputs[i], (size_t)stream * input_form(m, i)->size);
}

static void *output_at(const le_many *m, int i, int64_t stream) {
    return (uint8_t *)m->outputs[i] + (size_t)stream * output_form(m, i)->size;
}

static le_status run_alone(le_many *m, worker *w, int64_t index) {
    le_stream *s = m->streams[index];
    le_status status = le_stream_prepare(s, m->frames, &w->error);
    for (int i = 0; i < m->n_outputs && status == LE_OK; i++) {
        size_t size = (size_t)le_tensor_bytes(&s->tensors[m->model->outputs[i].tensor]);
        if (size > output_form(m, i)->size)
            status = le_fail(&w->error, LE_ERR_SHAPE, "output %.60s: expected at most %zu bytes, found %zu", m->model->outputs[i].name,
                             output_form(m, i)->size, size);
    }
    for (int i = 0; i < m->n_inputs; i++)
        w->in[i] = input_at(m, i, index);
    for (int i = 0; i < m->n_outputs; i++)
        w->out[i] = output_at(m, i, index);
    if (status == LE_OK)
        status = le_stream_compute(s, m->frames, w->in, w->out, &w->error);
    if (status == LE_OK)
        m->done[index] = ALONE;
    return status;
}

enum { AHEAD = 4 }; /* streams: what a copy of so many takes is what memory takes to answer */

/* Has the states of a stream that comes soon brought near: each lies somewhere else. */
static void fetch_states(const le_many *m, int64_t index, int64_t end) {
    if (index + 2 * AHEAD < end)
        __builtin_prefetch(m->streams[index + 2 * AHEAD]->states);
    if (index + AHEAD < end)
        for (int i = 0; i < m->n_states; i++) {
            __builtin_prefetch(m->streams[index + AHEAD]->states[i].now);
            __builtin_prefetch(m->streams[index + AHEAD]->states[i].next, 1);
        }
}

static void gather(const le_many *m, worker *w, int64_t first, int64_t rows) {
    for (int i = 0; i < m->n_inputs; i++) {
        w->in[i] = input_at(m, i, first);
        if (in_order(input_form(m, i)))
            continue;
        for (int64_t r = 0; r < rows; r++)
            put_row(input_form(m, i), w->arrays[i], rows, r, input_at(m, i, first + r));
        w->in[i] = w->arrays[i];
    }
    for (int i = 0; i < m->n_outputs; i++)
        w->out[i] = in_order(output_form(m, i)) ? output_at(m, i, first) : w->arrays[m->n_inputs + i];
    for (int64_t r = 0; r < rows; r++) {
        fetch_states(m, first + r, first + rows);
        for (int i = 0; i < m->n_states; i++)
            put_row(state_form(m, i), w->batched->states[i].now, rows, r, m->streams[first + r]->states[i].now);
    }
}

static void exchange_states(le_stream *s) {
    for (int i = 0; i < s->n_states; i++) {
        void *before = s->states[i].now;
        s->states[i].now = s->states[i].next;
        s->states[i].next = before;
    }
    s->unbound = true;
}

/* The new states take the old ones' places, which stay in `next` until le_many_end knows that no stream has failed. */
static void scatter(le_many *m, worker *w, int64_t first, int64_t rows) {
    for (int i = 0; i < m->n_outputs; i++)
        for (int64_t r = 0; r < rows && !in_order(output_form(m, i)); r++)
            take_row(output_form(m, i), w->out[i], rows, r, output_at(m, i, first + r));
    for (int64_t r = 0; r < rows; r++) {
        le_stream *s = m->streams[first + r];
        for (int i = 0; i < m->n_states; i++)
            take_row(state_form(m, i), w->batched->tensors[m->model->states[i].write].data, rows, r, s->states[i].next);
        exchange_states(s);
        m->done[first + r] = AS_ROW;
    }
}

static le_status run_rows(le_many *m, worker *w, int64_t first, int64_t rows) {
    if (w->rows != rows) {
        w->rows = -1;
        if (set_rows(w->batched, rows * m->batch, m->frames) != LE_OK) {
            w->error = w->batched->error;
            return w->error.status;
        }
        w->rows = rows;
    }
    gather(m, w, first, rows);
    le_status status = le_stream_compute(w->batched, m->frames, w->in, w->out, &w->error);
    if (status == LE_OK)
        scatter(m, w, first, rows);
    return status;
}

/* Runs streams by themselves; the first that fails, or -1. */
static int64_t run_each(le_many *m, worker *w, int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++)
        if (run_alone(m, w, i) != LE_OK)
            return i;
    return -1;
}

/* Streams first..end: those next to each other that may be rows together, the others by themselves. The first that fails, or -1. */
static int64_t run_block(le_many *m, worker *w, int64_t first, int64_t end) {
    int64_t failed = -1;
    while (first < end && failed < 0) {
        bool row = m->rows > 1 && may_be_row(m, m->streams[first]);
        int64_t next = first + 1;
        while (next < end && (m->rows > 1 && may_be_row(m, m->streams[next])) == row)
            next++;
        if (!row || next - first < 2) {
            failed = run_each(m, w, first, next);
        } else if (run_rows(m, w, first, next - first) != LE_OK) {
            failed = run_each(m, w, first, next); /* which of them it was, they say by themselves */
            if (failed < 0)
                failed = first;
        }
        first = next;
    }
    return failed;
}

static void note_failure(le_many *m, worker *w, int64_t block, int64_t stream) {
    if (w->failed < 0 || stream < w->failed) {
        w->failed = stream;
        w->why = w->error;
    }
    intptr_t before = atomic_load(&m->failed);
    while (block < before && !atomic_compare_exchange_weak(&m->failed, &before, (intptr_t)block)) {
    }
}

/* Takes blocks that `from` begins with. Those before one that failed are run all the same, so that the error is always the first's. */
static void run_blocks(le_many *m, worker *w, worker *from) {
    for (;;) {
        int64_t block = atomic_fetch_add(&from->next, 1);
        if (block >= from->end)
            return;
        if (block > atomic_load(&m->failed))
            continue;
        int64_t each = m->count / m->n_blocks, more = m->count % m->n_blocks; /* `more` blocks have one stream more */
        int64_t first = block * each + (block < more ? block : more);
        int64_t failed = run_block(m, w, first, first + each + (block < more));
        if (failed >= 0)
            note_failure(m, w, block, failed);
    }
}

/* Each thread begins with blocks of its own, the same in every call, so that a stream's states stay in its core's cache. */
void le_many_work(le_many *m, int thread) {
    for (int i = 0; i < m->n_workers; i++)
        run_blocks(m, &m->workers[thread], &m->workers[(thread + i) % m->n_workers]);
}

le_status le_many_end(le_many *m, le_error *err) {
    const worker *worst = NULL;
    for (int i = 0; i < m->n_workers; i++)
        if (m->workers[i].failed >= 0 && (!worst || m->workers[i].failed < worst->failed))
            worst = &m->workers[i];
    for (int64_t i = 0; i < m->count; i++) {
        if (worst && m->done[i] == AS_ROW)
            exchange_states(m->streams[i]);
        else if (!worst && m->done[i] == ALONE)
            le_stream_commit(m->streams[i]);
    }
    if (worst)
        return le_fail(err, worst->why.status, "stream %lld: %s", (long long)worst->failed, worst->why.message);
    return LE_OK;
}

int le_many_output_shape(const le_many *m, int index, int64_t dims[LE_MAX_RANK]) { return le_stream_output_shape(m->one, index, dims); }

int le_many_alone(const le_many *m, int64_t index) { return m->done[index] == ALONE; }
