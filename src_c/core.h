/* What the rooms of the core share: tensors, nodes, the model, errors. Not installed. */
#ifndef LE_CORE_H
#define LE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "lstm_edge.h"

typedef struct le_op_type le_op_type;

typedef struct {
    const char *name;
    le_dtype dtype;
    bool is_const;
    int rank;                  /* constants */
    int64_t dims[LE_MAX_RANK]; /* constants */
    /* Constants: in `pack` where the file lies, later a copy of the model's own, 64-byte aligned; NULL then for weights that only packs read. */
    const void *data;
    const uint8_t *blocks; /* in `pack`, constants stored by their blocks: a bit for each, and those that are not zero */
    const float *scale;    /* LE_I8 constants: n_scale of them, each for 1/n_scale of the elements in order */
    int64_t n_scale;
} le_tensor_def;

typedef enum { LE_ATTR_INT = 0, LE_ATTR_FLOAT, LE_ATTR_STR, LE_ATTR_INTS, LE_ATTR_FLOATS, LE_ATTR_STRS } le_attr_kind;

typedef struct {
    const char *key;
    le_attr_kind kind;
    int count;
    const int64_t *ints; /* a single value is a list of one */
    const float *floats;
    const char *const *strs;
} le_attr;

typedef struct {
    const le_op_type *type;
    const char *name;
    int n_in, n_out, n_attr;
    const int *in; /* tensor ids, -1 absent */
    const int *out;
    const le_attr *attrs;
    void *packed; /* what the op's pack made: parameters and packed weights, immutable; from le_pack_alloc */
} le_node;

struct le_model {
    const le_kernels *kernels;
    const char *metadata;
    size_t metadata_size;
    int n_tensors, n_nodes, n_inputs, n_outputs, n_states, n_lengths;
    le_tensor_def *tensors;
    le_node *nodes;
    struct le_io {
        const char *name;
        int tensor;
        int rank;
        le_dim dims[LE_MAX_RANK];
    } * inputs, *outputs;
    struct le_state_def {
        const char *name;
        int read, write, rank, fill_axis;
        le_dim dims[LE_MAX_RANK];
        int initial; /* constant tensor id or -1 */
    } * states;
    struct le_block *blocks; /* everything allocated for the model, freed in one go */
    size_t bytes;
    uint64_t limit;   /* of bytes that the model may hold, and it and a stream together; 0: none */
    uint64_t refused; /* what was asked for beyond it; 0 before that */
    bool fixed;       /* the caller said the limit: it does not grow with a call's sequences and frames */
};

/* A tensor while a stream runs. data is NULL during shape inference, except for constants. */
typedef struct {
    void *data;
    le_dtype dtype;
    bool is_const, absent;
    int rank;
    int64_t dims[LE_MAX_RANK];
    const float *scale; /* LE_I8 constants, n_scale of them */
    int64_t n_scale;
} le_tensor;

/* Where a recurrence writes what it computes; le_stream_trace says how. */
typedef struct {
    float *gates, *h, *c;
} le_trace;

/* What an op's shape and run functions get. in[i] / out[i] is NULL when absent from the node. */
typedef struct {
    const le_node *node;
    const le_kernels *kernels;
    le_tensor *const *in;
    le_tensor *const *out;
    void *scratch;       /* run: 64-byte aligned, as many bytes as shape asked for */
    size_t scratch_size; /* shape: set this */
    int64_t view; /* shape: set to n >= 0 where out[0] is nothing but the bytes of in[0] from the n-th on, in their order (places.c) */
    bool joins;   /* shape: set where out[0] is the bytes of all inputs, one after another; run finds some there already */
    le_error *err;
    le_trace trace;
    bool traced;
} le_ctx;

/* What pack gets: constants have data; nothing is known of other tensors but their ids in node->in. */
typedef struct {
    le_node *node;
    const le_tensor_def *tensors;
    const le_kernels *kernels;
    le_model *model; /* owner of what le_pack_alloc gives */
    le_error *err;
} le_pack_ctx;

/* One row of ops.def.
 * pack:  once at load. Checks attributes (le_attr_* and le_attr_check), stores what run needs in node->packed, packs constant weights.
 * shape: sets dtype, rank and dims (or absent) of every out, and scratch_size; checks that the inputs fit. Called when a call's shapes change;
 *        allocates nothing.
 * run:   computes. Shapes are final; no input is absent. LE_ERR_VALUE is the only error it may give. */
struct le_op_type {
    const char *name;
    int min_in, max_in, min_out, max_out;
    le_status (*pack)(le_pack_ctx *ctx);
    le_status (*shape)(le_ctx *ctx);
    le_status (*run)(le_ctx *ctx);
};

/* le_stream_traced of one node (recurrence.c). */
int le_trace_sizes(const le_ctx *ctx, le_traced *sizes);

extern const le_op_type le_op_types[];
extern const int le_op_type_count;

/* C11's conversions (%zu, %lld) on every system: mingw-w64's printf follows them, but gcc there checks for those of Microsoft unless told. */
#if defined(__MINGW32__) && !defined(__clang__)
#define LE_PRINTF(format_at, values_at) __attribute__((format(gnu_printf, format_at, values_at)))
#else
#define LE_PRINTF(format_at, values_at) __attribute__((format(printf, format_at, values_at)))
#endif

/* Fills err: "node NAME (OP): " and the formatted message. Both return the status. */
le_status le_fail(le_error *err, le_status status, const char *format, ...) LE_PRINTF(3, 4);
le_status le_fail_op(le_error *err, const le_node *node, le_status status, const char *format, ...) LE_PRINTF(4, 5);

/* Copies a struct of the public header that starts with its size, `known` bytes here, at least `least` in every version: what the caller's version lacks
 * is zero, and what this one does not know must be. what: its name in messages. */
le_status le_take_struct(const char *what, const void *given, size_t least, size_t known, void *taken, le_error *err);

/* The kernel table to use (le_options says which); NULL, and err set, when `isa` is unknown or this CPU cannot run it. */
const le_kernels *le_choose_kernels(const char *isa, le_error *err);

/* The limit in words: `what` asks for `more` bytes beside those that are held. */
le_status le_fail_limit(le_error *err, const char *what, uint64_t more, uint64_t held, uint64_t limit);
/* Whether the model may hold so many more bytes, be it for a moment. False is remembered: the opening ends with the limit in words. */
bool le_model_may_hold(le_model *model, uint64_t more);

/* Zeroed, 64-byte aligned, owned by the model; NULL (and err set) when memory is out. */
void *le_pack_alloc(le_pack_ctx *ctx, size_t size);

/* Attributes. Missing ones give the default; a wrong kind is an LE_ERR_FORMAT error. */
const le_attr *le_attr_find(const le_node *node, const char *key);
le_status le_attr_int(le_pack_ctx *ctx, const char *key, int64_t fallback, int64_t low, int64_t high, int64_t *value);
le_status le_attr_float(le_pack_ctx *ctx, const char *key, float fallback, float *value);
/* The index of the attribute's word in `words` (NULL-ended); an unknown word is LE_ERR_UNSUPPORTED. */
le_status le_attr_word(le_pack_ctx *ctx, const char *key, const char *fallback, const char *const *words, int *index);
/* Copies at most `max` values; *count is how many there were (0 when missing). Each is checked against low..high. */
le_status le_attr_ints(le_pack_ctx *ctx, const char *key, int max, int64_t low, int64_t high, int64_t *values, int *count);
le_status le_attr_floats(le_pack_ctx *ctx, const char *key, int max, float *values, int *count);
/* Refuses attributes whose key is not in `keys` (NULL-ended). */
le_status le_attr_check(le_pack_ctx *ctx, const char *const *keys);
/* Reads the activation named by attribute `key` with `alpha`, `beta` attributes. */
le_status le_attr_activation(le_pack_ctx *ctx, const char *key, le_activation *act);

/* The constant tensor at input i, or NULL when that input is absent or not constant. */
const le_tensor_def *le_pack_const(const le_pack_ctx *ctx, int i);

/* Zeros; NULL when memory is out. From 128 kB on in pages of their own, which go back to the system when they are freed, whatever is allocated
 * in between: malloc would keep them from the second on, and a model hold its file's bytes beside its weights. */
void *le_alloc(size_t size);
void le_free(void *data, size_t size);

/* Shape helpers. */
int64_t le_count(const le_tensor *t); /* number of elements */
void le_like(le_tensor *out, const le_tensor *x, le_dtype dtype);
le_status le_axis(le_ctx *ctx, int64_t axis, int rank, int *out); /* normalises a negative axis */
le_status le_expect_dtype(le_ctx *ctx, int i, le_dtype dtype);
/* NumPy broadcast of two shapes into out's. */
le_status le_broadcast(le_ctx *ctx, const le_tensor *a, const le_tensor *b, le_tensor *out);
/* Products that may not overflow: false when they would pass 2^40. */
bool le_mul_size(int64_t a, int64_t b, int64_t *out);
/* Whether the sizes other than 0 multiply to at most 2^40: then no product of some of them overflows. */
bool le_dims_fit(int rank, const int64_t *dims);

#endif
