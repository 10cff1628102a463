/* Calls a model that nothing is known of, on numbers of any kind: for the fuzzers and for test_faults.c. */
#ifndef CALL_ANY_H
#define CALL_ANY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

static inline uint32_t next_random(uint32_t *seed) { return (*seed = *seed * 1664525u + 1013904223u) >> 8; }

enum { MOST_PORTS = 16, MOST_ELEMENTS = 1 << 14 };

/* Elements of the input in a call, or -1: more than is tried. */
static inline int64_t input_elements(const le_port *port, int64_t batch, int64_t frames) {
    int64_t count = 1;
    for (int d = 0; d < port->rank; d++) {
        const int64_t times = port->dims[d].symbol == LE_BATCH ? batch : port->dims[d].symbol == LE_FRAMES ? frames : 1;
        if (port->dims[d].coef > MOST_ELEMENTS || (count *= port->dims[d].coef * times) > MOST_ELEMENTS)
            return -1;
    }
    return count;
}

static inline void fill(const le_port *port, int64_t count, uint32_t *seed, void *array) {
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = next_random(seed);
        const float number = bits % 16 == 0 ? (float)bits * 1e30f : (float)(bits % 257) / 64.0f - 2.0f; /* infinite now and then */
        const int32_t whole = (int32_t)(bits % 5) - 1;
        if (port->dtype == LE_F32)
            memcpy((float *)array + i, &number, sizeof number);
        else if (port->dtype == LE_I32)
            memcpy((int32_t *)array + i, &whole, sizeof whole);
        else
            ((uint8_t *)array)[i] = bits & 1;
    }
}

/* One call with arrays of just the size that it needs, so that ASan sees one byte too many; LE_ERR_MEMORY where there are none, or they would be large. */
static inline le_status call_any(const le_model *model, le_stream *stream, int64_t batch, int64_t frames, uint32_t *seed) {
    void *in[MOST_PORTS] = {NULL}, *out[MOST_PORTS] = {NULL};
    const int inputs = le_model_count(model, LE_INPUT), outputs = le_model_count(model, LE_OUTPUT);
    le_error err;
    le_status status = LE_ERR_MEMORY;
    int fits = le_stream_prepare(stream, frames, &err) == LE_OK;
    for (int i = 0; i < inputs && fits; i++) {
        const le_port port = le_model_port(model, LE_INPUT, i);
        const int64_t count = input_elements(&port, batch, frames);
        fits = count >= 0 && (in[i] = malloc((size_t)count * le_dtype_size(port.dtype) + !count)) != NULL;
        if (fits)
            fill(&port, count, seed, in[i]);
    }
    for (int i = 0; i < outputs && fits; i++) {
        int64_t dims[LE_MAX_RANK], count = 1;
        const int rank = le_stream_output_shape(stream, i, dims);
        for (int d = 0; d < rank && fits; d++)
            fits = (count *= dims[d]) <= MOST_ELEMENTS * 16;
        const size_t width = le_dtype_size(le_model_port(model, LE_OUTPUT, i).dtype);
        fits = fits && (out[i] = malloc(rank < 0 ? 1 : (size_t)count * width + !count)) != NULL;
    }
    if (fits)
        status = le_stream_run(stream, frames, (const void *const *)in, out, &err);
    for (int i = 0; i < MOST_PORTS; i++) {
        free(in[i]);
        free(out[i]);
    }
    return status;
}

#endif
