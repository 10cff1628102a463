/* step MODEL.lstm: loads a model, feeds it frames of a ramp, one at a time, and prints every answer.
 *
 *   cc step.c $(pkg-config --cflags --libs lstm_edge) -o step
 */
#include <lstm_edge.h>
#include <stdio.h>
#include <stdlib.h>

enum { FRAMES = 8 };

static int fail(const char *what, const le_error *err) {
    fprintf(stderr, "step: %s: %s\n", what, err->message);
    return 1;
}

/* Values of one frame of the input, for a batch of one: sizes that stand for the batch or the frames count once. */
static size_t frame_size(const le_port *port) {
    size_t size = 1;
    for (int d = 0; d < port->rank; d++)
        size *= (size_t)port->dims[d].coef;
    return size;
}

int main(int argc, char **argv) {
    le_error err;
    le_model *model = argc == 2 ? le_model_load(argv[1], NULL, &err) : NULL;
    if (!model)
        return argc == 2 ? fail("load", &err) : (fprintf(stderr, "usage: step MODEL.lstm\n"), 2);
    le_stream *stream = le_stream_open(model, 1, 1, &err); /* one sequence, one frame a call */
    if (!stream)
        return fail("stream", &err);

    const le_port in = le_model_port(model, LE_INPUT, 0), out = le_model_port(model, LE_OUTPUT, 0);
    int64_t dims[LE_MAX_RANK];
    const int rank = le_stream_output_shape(stream, 0, dims);
    if (in.dtype != LE_F32 || out.dtype != LE_F32 || rank < 0 || le_model_count(model, LE_INPUT) != 1 ||
        le_model_count(model, LE_OUTPUT) != 1) {
        fprintf(stderr, "step: expected one float32 input and one float32 output that every frame answers\n");
        return 1;
    }
    size_t n_in = frame_size(&in), n_out = 1;
    for (int d = 0; d < rank; d++)
        n_out *= (size_t)dims[d];
    float *x = calloc(n_in, sizeof *x), *y = calloc(n_out, sizeof *y);
    for (int t = 0; x && y && t < FRAMES; t++) {
        for (size_t i = 0; i < n_in; i++)
            x[i] = 0.125f * (float)t;
        if (le_stream_run(stream, 1, (const void *[]){x}, (void *[]){y}, &err) != LE_OK)
            return fail("run", &err);
        for (size_t i = 0; i < n_out; i++)
            printf("%.9g%c", y[i], i + 1 < n_out ? ' ' : '\n');
    }
    free(x);
    free(y);
    le_stream_close(stream);
    le_model_close(model);
    return 0;
}
