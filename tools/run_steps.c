/* run_steps MODEL.lstm COUNT [FRAMES]: that many calls of one frame, or of FRAMES, on zeros, and nothing else; tools/cycle_model and
 * tools/instruction_guard.py count its instructions. */
#include <stdio.h>
#include <stdlib.h>

#include "lstm_edge.h"

enum { MOST_PORTS = 64, MOST_BYTES = 1 << 22 };

static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    void *data = malloc(*size);
    if (data && fread(data, 1, *size, file) != *size)
        *size = 0;
    fclose(file);
    return data;
}

int main(int count, char **arguments) {
    le_error err;
    size_t size = 0;
    const int64_t frames = count == 4 ? atoi(arguments[3]) : 1;
    void *file = count == 3 || count == 4 ? read_file(arguments[1], &size) : NULL;
    le_model *model = file ? le_model_open(file, size, NULL, &err) : NULL;
    le_stream *stream = model ? le_stream_open(model, 1, frames, &err) : NULL;
    if (!stream) {
        fprintf(stderr, "usage: run_steps MODEL.lstm COUNT [FRAMES]: %s\n", file ? err.message : "no such file");
        return 2;
    }
    const void *inputs[MOST_PORTS];
    void *outputs[MOST_PORTS];
    for (int i = 0; i < MOST_PORTS; i++) {
        inputs[i] = calloc(1, MOST_BYTES);
        outputs[i] = calloc(1, MOST_BYTES);
    }
    for (int n = atoi(arguments[2]); n > 0; n--)
        if (le_stream_run(stream, frames, inputs, outputs, &err) != LE_OK) {
            fprintf(stderr, "run_steps: %s\n", err.message);
            return 1;
        }
    printf("%s %zu\n", le_model_isa(model), le_model_bytes(model) - size); /* of the model's own copy of the file, a step reads little */
    return 0;
}
