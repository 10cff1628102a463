/* lstm_edge: runs a trained recurrent network from one .lstm file. The whole public interface of the C library (docs/c-library.md).
 *
 *   le_error err;
 *   le_model *model = le_model_load("vad.lstm", NULL, &err);           // immutable; may be shared by threads
 *   le_stream *stream = le_stream_open(model, 1, 1, &err);             // batch 1, 1 frame a call; has its own state
 *   le_stream_run(stream, 1, inputs, outputs, &err);                   // no allocation, no lock, no system call
 *
 * Errors: what can fail returns a le_status, or NULL where it makes something, and fills `err` where that is not NULL: place, expected,
 * found. Nothing here prints, exits or aborts. Pointers are never NULL unless the text allows it, and indices lie within the counts that
 * are told here: neither is checked. Closing NULL does nothing.
 * Ownership: what le_*_open and le_model_load give is the caller's, who closes it. Pointers that other functions give belong to the object
 * they were asked of, and hold until it is closed unless the text says less. Arrays that are handed over are read or written during the call alone.
 * Threads: a model is never written after it was opened, so that any number of threads may use it at once. A stream, and a le_many, belong
 * to one thread at a time; different streams of one model run in different threads at once. There are no global variables.
 * Real time: le_stream_run, and le_stream_run_many, with no more frames than the stream was opened or prepared for, neither allocate nor lock
 * nor ask the system for anything. So do le_stream_reset, le_stream_state, le_stream_set_state and le_stream_output_shape.
 * Structs: fields are added at the end of those that start with `size`, and of no others. docs/format.md specifies the file, docs/ops.md the ops.
 */
#ifndef LSTM_EDGE_H
#define LSTM_EDGE_H

#include <stddef.h>
#include <stdint.h>

/* Which version this header is of; le_version tells the library's. Until 1.0 a new minor version may break programs, a patch never does. */
#define LE_VERSION_MAJOR 0
#define LE_VERSION_MINOR 1
#define LE_VERSION_PATCH 0
#define LE_VERSION_NUMBER (LE_VERSION_MAJOR * 10000 + LE_VERSION_MINOR * 100 + LE_VERSION_PATCH)

/* LE_BUILD_SHARED is defined while the shared library is compiled, LE_SHARED where a program for Windows links it: the CMake targets and
 * pkg-config do both. A static library needs neither. */
#if defined(_WIN32) && defined(LE_BUILD_SHARED)
#define LE_API __declspec(dllexport)
#elif defined(_WIN32) && defined(LE_SHARED)
#define LE_API __declspec(dllimport)
#elif defined(LE_BUILD_SHARED)
#define LE_API __attribute__((visibility("default")))
#else
#define LE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The library's LE_VERSION_NUMBER: of a shared one it may be later than the header's. */
LE_API int le_version(void);

#define LE_MAX_RANK 8
#define LE_MESSAGE_SIZE 480

typedef enum {
    LE_OK = 0,
    LE_ERR_FORMAT,      /* the file is damaged, foreign or of a newer major version */
    LE_ERR_UNSUPPORTED, /* an op, attribute, activation or ISA this build does not know */
    LE_ERR_SHAPE,       /* sizes that do not fit together */
    LE_ERR_VALUE,       /* an index out of range, a bad argument */
    LE_ERR_MEMORY,      /* the allocator gave nothing */
    LE_ERR_FILE,        /* le_model_load: the file cannot be read */
    LE_ERR_LIMIT        /* the file asks for more memory than it may have */
} le_status;

typedef struct {
    le_status status;
    char message[LE_MESSAGE_SIZE]; /* place, expected, found */
} le_error;

typedef enum { LE_F32 = 0, LE_I32 = 1, LE_BOOL = 2, LE_F16 = 3, LE_I8 = 4 } le_dtype;

/* A size of an input or state: coef, or coef times the symbol. Symbols from LE_LENGTH on are further open lengths, of inputs whose
 * frames are not those of the others (a decoder's beside an encoder's). */
typedef enum { LE_NUMBER = 0, LE_BATCH = 1, LE_FRAMES = 2, LE_LENGTH = 3 } le_symbol;
#define LE_MAX_LENGTHS 8
typedef struct {
    int64_t coef;
    le_symbol symbol;
} le_dim;

typedef enum { LE_INPUT = 0, LE_OUTPUT = 1, LE_STATE = 2 } le_role;

typedef struct {
    const char *name;
    le_dtype dtype;
    int rank;                 /* of an output: -1, its shape is known from a stream alone */
    le_dim dims[LE_MAX_RANK]; /* of inputs and states */
    int fill_axis;            /* states: the axis whose extent varies, -1 if none */
} le_port;

typedef struct le_model le_model;
typedef struct le_stream le_stream;

/* How a model is opened: {sizeof(le_options)} and zeros say nothing, as NULL does. Later versions add fields at the end; `size` tells which the caller knew. */
typedef struct {
    size_t size; /* sizeof(le_options) */
    const char *
        isa; /* a name of le_isa_name, or NULL for the best this CPU has (the environment variable LSTM_EDGE_ISA, when set, then decides) */
    /* Bytes that the model, and the model with any one of its streams, may hold, whatever a stream's sequences and frames. 0: 56 MiB and 16 times the
     * file's size, of which a stream may have as much for every frame of every sequence that its caller names. LE_ERR_LIMIT beyond it. */
    uint64_t max_memory;
} le_options;

/* Verifies and reads a model from memory, which it does not need afterwards, and packs its weights for one ISA. options: may be NULL. NULL on
 * failure. Files that nobody trusts may be opened: they are checked before they are believed. */
LE_API le_model *le_model_open(const void *data, size_t size, const le_options *options, le_error *err);
/* The same from a file (on Windows its name is in the system's code page). LE_ERR_FILE where it cannot be read. */
LE_API le_model *le_model_load(const char *path, const le_options *options, le_error *err);
LE_API void le_model_close(le_model *model); /* after its streams: they read its weights */

/* How many inputs, outputs or states it has; index: 0 to that, without it. A port's name is the model's. */
LE_API int le_model_count(const le_model *model, le_role role);
LE_API le_port le_model_port(const le_model *model, le_role role, int index);
LE_API const char *le_model_isa(const le_model *model);       /* the name of the kernels that it runs on, one of le_isa_name */
LE_API const char *le_model_precision(const le_model *model); /* the narrowest dtype of its constants: "int8", "float16" or "float32" */
/* JSON text as stored (docs/format.md), `size` bytes without a 0 at the end; size 0 when absent. */
LE_API const char *le_model_metadata(const le_model *model, size_t *size);
LE_API int le_model_lengths(const le_model *model); /* how many further open lengths its inputs have */
/* Its ops in the order in which they run. */
LE_API int le_model_op_count(const le_model *model);
LE_API const char *le_model_op_name(const le_model *model, int index, const char **op); /* the node's name and, if asked, its op */

/* ISA names in order of preference, best last; NULL past the end. supported: whether this CPU runs it. */
LE_API const char *le_isa_name(int index, int *supported);
LE_API const char *le_isa_needs(int index); /* the CPU features it needs by the names of /proc/cpuinfo, blanks between; NULL past the end */

/* A stream for `batch` sequences, laid out for up to `frames` frames a call (more later means a new layout). */
LE_API le_stream *le_stream_open(const le_model *model, int64_t batch, int64_t frames, le_error *err);
/* The same with the further open lengths, le_model_lengths of them, that its first calls have; le_stream_open takes each as 1. */
LE_API le_stream *le_stream_open_lengths(const le_model *model, int64_t batch, int64_t frames, const int64_t *lengths, le_error *err);
LE_API void le_stream_close(le_stream *stream); /* before or after its model, but in no other thread than the one that uses it */
LE_API void le_stream_reset(le_stream *stream); /* every state to its initial value */

/* The further open lengths of the next calls. */
LE_API le_status le_stream_set_lengths(le_stream *stream, const int64_t *lengths, le_error *err);

/* Prepares for a call with `frames` frames: allocates only if this is more than ever before. Then the outputs' shapes of that
 * call can be asked for. A rank of -1: the output will be absent (docs/ops.md). */
LE_API le_status le_stream_prepare(le_stream *stream, int64_t frames, le_error *err);
LE_API uint64_t le_stream_generation(const le_stream *stream); /* changes whenever the outputs' shapes may have */
LE_API int le_stream_output_shape(const le_stream *stream, int index, int64_t dims[LE_MAX_RANK]); /* returns the rank */

/* Runs `frames` frames: inputs and outputs are dense arrays in the model's order. Absent outputs are not written. On an error the
 * states are as before. Calls le_stream_prepare itself when `frames` differs from the last call. inputs, outputs: a pointer for each;
 * arrays start at an address that their dtype takes, and an output may lie over no input. */
LE_API le_status le_stream_run(le_stream *stream, int64_t frames, const void *const *inputs, void *const *outputs, le_error *err);

/* `count` runs in a row, of `frames` frames each, reading and writing arrays that lie one after the other. Stops at the first error.
 * LE_ERR_SHAPE where an answer would be of another size than that of the first run that had one. */
LE_API le_status le_stream_run_many(le_stream *stream, int64_t count, int64_t frames, const void *const *inputs, void *const *outputs,
                                    le_error *err);

/* ---- many streams of one model, one call of each: the same bits as one after the other, and the weights are read once for many ---- */

typedef struct le_many le_many;

/* What calls need, for streams of so many sequences, `frames` frames a call, in up to `threads` threads. Allocates, and runs the model a few
 * times to see whether sequences of a batch are each as if alone; where they are not, streams run one by one. */
LE_API le_many *le_many_open(const le_model *model, int64_t batch, int64_t frames, int threads, le_error *err);
LE_API void le_many_close(le_many *many);
int64_t le_many_rows(const le_many *many); /* how many streams go together; 1: each by itself */
/* The shape of an output of one stream whose windows are full; a rank of -1: it will be absent. */
LE_API int le_many_output_shape(const le_many *many, int index, int64_t dims[LE_MAX_RANK]);

/* Whether the sequences of a batch, in calls of so many frames, are each as if alone: seen by running it (which allocates), not proven. */
LE_API int le_model_rows_apart(const le_model *model, int64_t frames);

/* A call is begin, work, end. inputs, outputs: an array of each, all streams' values one after the other, in the order of `streams` (each
 * stream once, all of the model and the batch of le_many_open, with further lengths of 1: they are not checked). Allocates where there are
 * more streams than ever before. */
LE_API le_status le_many_begin(le_many *many, int64_t count, le_stream *const *streams, const void *const *inputs, void *const *outputs,
                               le_error *err);
/* Works until nothing is left: in one thread, or in several at once, which the core does not start itself. thread: 0 to threads - 1, its own. */
LE_API void le_many_work(le_many *many, int thread);
/* When all that worked have returned. An error names the first stream that failed; then all streams are as they were. */
LE_API le_status le_many_end(le_many *many, le_error *err);
/* Whether a stream of the last call ran by itself: le_stream_output_shape says what it answered (a window may not have been full). */
LE_API int le_many_alone(const le_many *many, int64_t index);

/* ---- forecasting: the stream's states are copied, and the copy is rolled forward; the stream itself stays where it is ---- */

/* A box of values of an output, of up to three sizes, and where it goes in an input. Offsets and steps count values of one run's arrays. */
typedef struct {
    int output, input;
    int64_t from, to;
    int64_t size[3], from_step[3], to_step[3];
} le_feed;

typedef struct {
    size_t size;           /* sizeof(le_roll) */
    int64_t count, frames; /* so many runs, of so many frames each */
    /* 1: every run starts from the initial states (networks that answer once, for a window); 0: from where the last one ended */
    int fresh;
    void *const *inputs; /* of the first run; what the feeds do not write stands there already */
    /* Per input, bytes from a run's array to the next one's: fewer than it has where runs overlap, 0 for the same again. */
    const int64_t *advance;
    void *const *outputs; /* before: the last answer, where the feeds read it; every run writes over them */
    const int64_t *room;  /* bytes of each output's array: a window that fills up may lengthen the answers */
    const le_feed *feeds; /* copied before every run, the first one too */
    int n_feeds;
    const le_feed *keeps; /* copied after every run to its `kept`, densely, run after run; input, to and to_step are not looked at */
    void *const *kept;
    int n_keeps;
} le_roll;

/* Runs the loop. Allocates the copy of the states the first time, and as le_stream_prepare does; nothing after that. Stops at the first
 * error, which leaves the states as they were, too. */
LE_API le_status le_stream_roll(le_stream *stream, const le_roll *roll, le_error *err);

/* A state's current shape and bytes, which hold until the next call; setting copies (dims: the shape of what is given; only fill_axis may differ
 * from the declared). */
LE_API const void *le_stream_state(const le_stream *stream, int index, int64_t dims[LE_MAX_RANK]);
LE_API le_status le_stream_set_state(le_stream *stream, int index, const int64_t dims[LE_MAX_RANK], const void *data, le_error *err);

/* Online adaptation (docs/adaptation.md): recursive least squares on the last Dense layer before an output, off unless asked for. */
typedef struct {
    size_t size;           /* sizeof(le_adaptation) */
    int output;            /* which; its frames come first in it (with the batch), its values last */
    int time_major;        /* 1: its frames lie before its batch */
    int64_t frames;        /* of a call that gives an answer: 1, or the model's hop */
    int64_t values;        /* of one sequence's one frame in the output: horizon x targets x each */
    int64_t horizon;       /* 1; of a forecast, how many frames ahead a frame's answer reaches */
    int64_t each, middle;  /* 1, 0; of quantiles, how many each value has, and which of them is compared with the observation */
    double forgetting;     /* lambda: in (0, 1] */
    double regularisation; /* delta: what holds the correction to 0, in squares of the layer's input */
} le_adaptation;

/* Turns it on, or on again from nothing learnt (allocates); options NULL: off, the model's own answers again. */
LE_API le_status le_stream_adaptation(le_stream *stream, const le_adaptation *options, le_error *err);
/* What was observed after the last frame, (batch, targets), NaN where unknown: once a frame; frames without it count as unknown. */
LE_API le_status le_stream_adapt(le_stream *stream, const double *y, le_error *err);
/* What it has learnt and keeps: arrays of double; NULL past the last and while it is off. Setting takes as many numbers. */
LE_API const double *le_stream_adaptation_state(const le_stream *stream, int index, const char **name, int *rank,
                                                int64_t dims[LE_MAX_RANK]);
LE_API le_status le_stream_set_adaptation_state(le_stream *stream, int index, const double *data, le_error *err);

/* Bytes: the stream's arena, the model's packed weights. */
LE_API size_t le_stream_bytes(const le_stream *stream);
LE_API size_t le_model_bytes(const le_model *model);

/* Seconds each op took in the last run with profiling on (off after opening); NULL when off. */
LE_API void le_stream_profile(le_stream *stream, int on);
LE_API const double *le_stream_op_seconds(const le_stream *stream);

/* Insight: what an LSTM, GRU, RNN or ConvLSTM computes within a call. The sizes of op `index` (in execution order) in the call that was prepared;
 * returns 0 where the op is none of these or will not run. */
typedef struct {
    int64_t directions, frames, batch;
    int64_t gates, hidden, width; /* gates in the order of docs/ops.md, an RNN has 0; width: of h. A ConvLSTM's units: positions x H */
    int has_cell, reverse;        /* reverse: the only direction goes backwards */
} le_traced;
LE_API int le_stream_traced(const le_stream *stream, int index, le_traced *sizes);
/* From now on each call writes, frame by frame in the order of the input, the op's gates after their activations (directions, frames,
 * batch, gates, hidden), its h (directions, frames, batch, width) and its c (..., hidden) after the frame. Any may be NULL; all NULL:
 * no more. Gates of a frame that lengths or a mask leave out are not written. */
LE_API void le_stream_trace(le_stream *stream, int index, float *gates, float *h, float *c);

LE_API size_t le_dtype_size(le_dtype dtype); /* bytes of one value */

#ifdef __cplusplus
}
#endif
#endif
