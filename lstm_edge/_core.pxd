# cython: language_level=3
"""What _core.pyx uses of src_c/lstm_edge.h: names alone, their sizes and values are the header's."""

from libc.stdint cimport int64_t, uint64_t

cdef extern from "lstm_edge.h" nogil:
    enum:
        LE_MAX_RANK
        LE_MAX_LENGTHS
        LE_MESSAGE_SIZE
    ctypedef enum le_status:
        LE_OK, LE_ERR_FORMAT, LE_ERR_UNSUPPORTED, LE_ERR_SHAPE, LE_ERR_VALUE, LE_ERR_MEMORY, LE_ERR_LIMIT
    ctypedef struct le_error:
        le_status status
        char message[LE_MESSAGE_SIZE]
    ctypedef enum le_dtype:
        LE_F32, LE_I32, LE_BOOL, LE_F16, LE_I8
    ctypedef enum le_symbol:
        LE_NUMBER, LE_BATCH, LE_FRAMES, LE_LENGTH
    ctypedef struct le_dim:
        int64_t coef
        le_symbol symbol
    ctypedef enum le_role:
        LE_INPUT, LE_OUTPUT, LE_STATE
    ctypedef struct le_port:
        const char *name
        le_dtype dtype
        int rank
        le_dim dims[LE_MAX_RANK]
        int fill_axis
    ctypedef struct le_model:
        pass
    ctypedef struct le_stream:
        pass
    ctypedef struct le_options:
        size_t size
        const char *isa
        uint64_t max_memory
    le_model *le_model_open(const void *data, size_t size, const le_options *options, le_error *err)
    void le_model_close(le_model *model)
    int le_model_count(const le_model *model, le_role role)
    le_port le_model_port(const le_model *model, le_role role, int index)
    const char *le_model_isa(const le_model *model)
    const char *le_model_precision(const le_model *model)
    const char *le_model_metadata(const le_model *model, size_t *size)
    int le_model_lengths(const le_model *model)
    int le_model_op_count(const le_model *model)
    const char *le_model_op_name(const le_model *model, int index, const char **op)
    const char *le_isa_name(int index, int *supported)
    const char *le_isa_needs(int index)
    le_stream *le_stream_open(const le_model *model, int64_t batch, int64_t frames, le_error *err)
    le_stream *le_stream_open_lengths(const le_model *model, int64_t batch, int64_t frames, const int64_t *lengths, le_error *err)
    le_status le_stream_set_lengths(le_stream *stream, const int64_t *lengths, le_error *err)
    void le_stream_close(le_stream *stream)
    void le_stream_reset(le_stream *stream)
    le_status le_stream_prepare(le_stream *stream, int64_t frames, le_error *err)
    uint64_t le_stream_generation(const le_stream *stream)
    int le_stream_output_shape(const le_stream *stream, int index, int64_t *dims)
    le_status le_stream_run(le_stream *stream, int64_t frames, const void **inputs, void **outputs, le_error *err)
    le_status le_stream_run_many(le_stream *stream, int64_t count, int64_t frames, const void **inputs, void **outputs, le_error *err)
    ctypedef struct le_many:
        pass
    le_many *le_many_open(const le_model *model, int64_t batch, int64_t frames, int threads, le_error *err)
    void le_many_close(le_many *many)
    int le_many_output_shape(const le_many *many, int index, int64_t *dims)
    int le_model_rows_apart(const le_model *model, int64_t frames)
    le_status le_many_begin(le_many *many, int64_t count, le_stream **streams, const void **inputs, void **outputs, le_error *err)
    void le_many_work(le_many *many, int thread)
    le_status le_many_end(le_many *many, le_error *err)
    int le_many_alone(const le_many *many, int64_t index)
    ctypedef struct le_feed:
        int output, input
        int64_t source "from"
        int64_t to
        int64_t size[3]
        int64_t from_step[3]
        int64_t to_step[3]
    ctypedef struct le_roll:
        size_t size
        int64_t count, frames
        int fresh
        void **inputs
        const int64_t *advance
        void **outputs
        const int64_t *room
        const le_feed *feeds
        int n_feeds
        const le_feed *keeps
        void **kept
        int n_keeps
    le_status le_stream_roll(le_stream *stream, const le_roll *roll, le_error *err)
    const void *le_stream_state(const le_stream *stream, int index, int64_t *dims)
    le_status le_stream_set_state(le_stream *stream, int index, const int64_t *dims, const void *data, le_error *err)
    ctypedef struct le_adaptation:
        size_t size
        int output, time_major
        int64_t frames, values, horizon, each, middle
        double forgetting, regularisation
    le_status le_stream_adaptation(le_stream *stream, const le_adaptation *options, le_error *err)
    le_status le_stream_adapt(le_stream *stream, const double *y, le_error *err)
    const double *le_stream_adaptation_state(const le_stream *stream, int index, const char **name, int *rank, int64_t *dims)
    le_status le_stream_set_adaptation_state(le_stream *stream, int index, const double *data, le_error *err)
    size_t le_stream_bytes(const le_stream *stream)
    size_t le_model_bytes(const le_model *model)
    void le_stream_profile(le_stream *stream, int on)
    const double *le_stream_op_seconds(const le_stream *stream)
    ctypedef struct le_traced:
        int64_t directions, frames, batch, gates, hidden, width
        int has_cell, reverse
    int le_stream_traced(const le_stream *stream, int index, le_traced *sizes)
    void le_stream_trace(le_stream *stream, int index, float *gates, float *h, float *c)


cdef extern from "binding.h" nogil:
    ctypedef enum le_probe_kind:
        LE_PROBE_READ
        LE_PROBE_F32
        LE_PROBE_I8
    double le_probe(const char *isa, le_probe_kind kind, const void *data, size_t size, int64_t times)


cdef extern from "core.h" nogil:
    void *le_alloc(size_t size)
    void le_free(void *data, size_t size)


cdef extern from "stream.h" nogil:
    le_stream *le_stream_open_by_file(const le_model *model, int64_t batch, int64_t frames, const int64_t *lengths, le_error *err)
