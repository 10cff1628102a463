/* What stream.c, infer.c and plan.c share: a stream from inside. */
#ifndef LE_STREAM_H
#define LE_STREAM_H

#include "core.h"

/* Bytes of an arena or a state: far beyond any model; a damaged size is refused before the allocator is asked. */
#define LE_MAX_ARENA ((uint64_t)1 << 34)

typedef struct {
    void *now, *next; /* a run reads one and its new value goes to the other; they are swapped when the run has succeeded */
    bool direct;      /* a node makes the new value in `next`; otherwise it is copied there */
    int64_t dims[LE_MAX_RANK];
    size_t capacity;
} le_state_slot;

/* Where a tensor lies within another's memory: holder -1, in its own. */
typedef struct {
    int holder;
    uint64_t at; /* bytes */
} le_place;

typedef struct le_adapt le_adapt; /* adapt.c */

struct le_stream {
    const le_model *model;
    int64_t batch, frames; /* frames: what the shapes stand for now; -1 none */
    int64_t lengths[LE_MAX_LENGTHS];
    uint64_t generation;
    le_tensor *tensors;
    le_tensor **pointers; /* every node's inputs and outputs */
    le_ctx *nodes;
    int *active, n_active; /* nodes that run: those without an absent input */
    uint64_t *capacity;    /* bytes in the arena per tensor, then scratch per node */
    uint64_t *offset;
    le_place *within; /* of every tensor, and from `planned` on as the arena was laid out for */
    le_place *planned;
    int *moving, n_moving; /* tensors within others that have another address in every run: inputs, outputs, states */
    int *lists;            /* plan.c's */
    bool *outside;         /* tensors that have no place in the arena: constants, inputs, states, and what nodes make in place */
    bool *direct;          /* outputs that a node makes in the caller's array */
    uint8_t *arena;
    uint64_t arena_size;
    uint64_t held;   /* bytes of tables and states, beside the arena */
    bool by_file;    /* while opening: le_stream_open_by_file */
    uint64_t shares; /* the model's limit goes for so many frames of sequences, which the caller named */
    le_state_slot *states;
    le_state_slot *spare; /* forecast.c: the copy that is rolled forward; NULL before the first time */
    int n_states;         /* kept here: a stream may be closed after its model */
    const void **many_in; /* le_stream_run_many's moving pointers */
    void **many_out;
    uint64_t *many_bytes; /* of each of its answers so far; UINT64_MAX before there is one */
    double *seconds;
    bool traced;     /* whether a node ever was: then it is no row of many.c's */
    bool unbound;    /* the states' buffers have changed places: the tensors are told by the next run of the stream's own */
    le_adapt *adapt; /* NULL: off */
    le_error error;
};

/* stream.c */
/* The next run has other shapes: whoever remembers the last one's must look again. */
void le_forget_shapes(le_stream *s);
/* Whether the model's limit leaves room for so many bytes more than the stream holds. */
bool le_stream_may_hold(const le_stream *s, uint64_t held, uint64_t more);
/* The error where it does not: `what` of so many frames. */
le_status le_fail_within(le_stream *s, const char *what, uint64_t held, uint64_t more, int64_t frames);
/* A stream whose first frames nobody but the file has named: they do not raise the limit. */
le_stream *le_stream_open_by_file(const le_model *model, int64_t batch, int64_t frames, const int64_t *lengths, le_error *err);
/* Points the tensors that read and make a state at its buffers. */
void le_bind_state(le_stream *s, int index);
/* Bytes to allocate for a state's buffer. */
size_t le_state_room(size_t bytes);

/* le_stream_run in two: what a run answers, and that its new states hold from now on. Several runs before the latter count as the last one. */
le_status le_stream_compute(le_stream *s, int64_t frames, const void *const *inputs, void *const *outputs, le_error *err);
void le_stream_commit(le_stream *s);

/* forecast.c */
void le_forecast_free(le_stream *s);

/* infer.c: shapes of all tensors for so many frames, the nodes that run, and their scratch. full_states: as if every window were full. */
le_status le_infer(le_stream *s, int64_t frames, bool full_states);
/* A size for this batch and these frames; false when it is too large. */
bool le_resolve(const le_stream *s, le_dim dim, int64_t frames, int64_t *size);
/* The declared size of a state's axis, once it is known to fit. */
int64_t le_state_size(const le_stream *s, int index, int axis);

/* places.c: what lies within what, for the shapes that le_infer gave, and the nodes that still have something to do. */
void le_find_places(le_stream *s);
/* Gives all tensors in the arena their addresses, and lists those that move. */
void le_bind_places(le_stream *s);

/* plan.c */
uint64_t le_tensor_bytes(const le_tensor *t);
/* Whether the arena must be laid out anew: the shapes now need more than the capacities, which it raises, or other tensors share their memory. */
bool le_plan_grow(le_stream *s);
/* Bytes of the lists that laying out takes. */
size_t le_plan_list_size(size_t tensors, size_t nodes);
/* Lays out the arena for the capacities, and allocates it where it is too small; on failure the capacities are 0 and the old arena stays. */
le_status le_plan_arena(le_stream *s, int64_t frames);

#endif
