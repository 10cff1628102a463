/* What LSTM, GRU and RNN share: attributes, packed gates, shapes, and the way over frames, directions, lengths and masks. */
#ifndef LE_RECURRENCE_H
#define LE_RECURRENCE_H

#include "ops.h"

#define LE_MAX_GATES 4
#define LE_MAX_GATE_ACTIVATIONS 5

/* Inputs that LSTM, GRU and RNN have at the same places; a spec says where they have the others. */
enum { LE_X, LE_W_IH, LE_W_HH, LE_BIAS };

typedef struct le_recurrence le_recurrence;
typedef struct le_frame le_frame;

/* The steps an op has: with its own activations, all in one kernel; any other; a GRU whose reset gate acts before R h. */
typedef enum { LE_STEP_STANDARD, LE_STEP_GENERAL, LE_STEP_BEFORE, LE_STEPS } le_step;

/* Where an op has its inputs (-1: it has none such), what its attributes default to, and its steps. */
typedef struct {
    int gates, n_activations;
    le_act activations[LE_MAX_GATE_ACTIVATIONS];
    const char *const *keys; /* attributes the op knows, NULL-ended */
    int h0, c0, lengths, mask;
    void (*step[LE_STEPS])(const le_recurrence *r, const le_frame *frame);
    /* After a step, for a trace: the gates of sequence b after their activations, `gates` * hidden of them. NULL: the op has none */
    void (*trace)(const le_recurrence *r, const le_frame *frame, int b, float *out);
} le_recurrence_spec;

/* All sequences at one frame, one direction. */
struct le_frame {
    const le_kernels *kernels;
    int direction, batch;
    float *z; /* W x + b; a row per sequence, for the step to use up */
    ptrdiff_t z_stride;
    /* The states before and after this frame, (batch, width) and (batch, hidden); rows of h may lie apart. Before and after may be one place. */
    const float *h_prev, *c_prev;
    float *h, *c;
    ptrdiff_t h_prev_stride, h_stride;
    const uint8_t *live; /* a flag per sequence; NULL: all are. Of others nothing is written: their states before and after are one place */
    float *work;
    void *quantized; /* scratch of le_multiply */
    bool backwards;  /* whether le_multiply_hidden goes through the panels backwards: every other frame */
};

/* First member of what each op packs. */
struct le_recurrence {
    const le_recurrence_spec *spec;
    int directions, input, hidden, width;
    int gate_rows;    /* columns of z */
    int work_per_row; /* floats of work a sequence needs, and floats needed once */
    int work_once;
    bool reverse, time_major, masked_zero; /* reverse: the first direction's */
    float clip;
    le_activation activations[2][LE_MAX_GATE_ACTIVATIONS];
    le_packed w_ih[2];
    const float *bias[2]; /* or NULL */
    le_step step;
};

/* Reads the shared attributes and sizes: H from w_ih's rows, P from w_hh's columns. The op then packs gates and sets step. */
le_status le_recurrence_open(le_pack_ctx *ctx, const le_recurrence_spec *spec, le_recurrence *r);
/* The activations of every direction: the spec's, or those that the node names. */
le_status le_recurrence_activations(le_pack_ctx *ctx, le_recurrence *r);
le_status le_recurrence_clip(le_pack_ctx *ctx, const char *key, float *clip);
bool le_recurrence_uses(const le_recurrence *r, const le_act *activations);

/* The constant at input i as a (rank 2 or 3) weight of these sizes; refused by `name` when it is computed in the model. */
le_status le_gates_open(le_pack_ctx *ctx, int i, const char *name, int rank, const int64_t *dims, le_weight *weight);
/* Rows of the listed gates, `rows` each, of direction d of a (D, gates * rows, columns) weight. */
typedef struct {
    int direction, gates, rows, columns;
    int n_listed, listed[LE_MAX_GATES];
} le_gates;
le_status le_gates_pack(le_pack_ctx *ctx, const le_weight *weight, const le_gates *gates, le_packed *out);
le_status le_gates_widen(le_pack_ctx *ctx, const le_weight *weight, const le_gates *gates, const float **out);
/* w_ih and bias of every direction into r. */
le_status le_recurrence_pack_inputs(le_pack_ctx *ctx, le_recurrence *r, int n_listed, const int *listed);

le_status le_recurrence_shape(le_ctx *ctx, const le_recurrence *r);
le_status le_recurrence_run(le_ctx *ctx, const le_recurrence *r);

bool le_has_input(const le_pack_ctx *ctx, int i);
/* y = init + W h of every sequence, W of the hidden state. Weights that a cache does not hold whole are read to and fro, so that what a frame read last
 * is found there by the next one. */
static inline void le_multiply_hidden(const le_frame *f, const le_packed *w, const float *init, ptrdiff_t init_stride, float *y,
                                      ptrdiff_t y_stride) {
    le_packed turned = *w;
    turned.backwards = f->backwards;
    le_multiply(f->kernels, f->batch, f->h_prev, f->h_prev_stride, &turned, init, init_stride, y, y_stride, f->quantized);
}

/* x to within [-bound, bound] where bound is not 0; NaN stays. */
void le_clip(float bound, ptrdiff_t n, float *x);

#endif
