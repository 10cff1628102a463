/* Opens what libFuzzer makes, and where it is a model, runs it with kernels that its size chooses: two lengths of call, a reset, a state set, on values that the file's bytes choose. */
#include "mutator.h"

enum { FRAMES = 3 };

static int kernel_tables;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    while (le_isa_name(kernel_tables, NULL))
        kernel_tables++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *isa = le_isa_name((int)(size / 16 % (size_t)kernel_tables), NULL);
    le_model *model = open_with(data, size, isa);
    if (!model)
        return 0;
    le_error err;
    uint32_t seed = (uint32_t)size;
    const int64_t batch = 1 + (int64_t)(size / 8 % 2);
    const int few = le_model_count(model, LE_INPUT) <= MOST_PORTS && le_model_count(model, LE_OUTPUT) <= MOST_PORTS;
    le_stream *stream = few ? le_stream_open(model, batch, 1, &err) : NULL;
    if (stream && le_stream_bytes(stream) < 1 << 22) {
        call_any(model, stream, batch, 1, &seed);
        call_any(model, stream, batch, FRAMES, &seed);
        int64_t dims[LE_MAX_RANK];
        if (le_model_count(model, LE_STATE)) {
            const void *state = le_stream_state(stream, 0, dims);
            le_stream_set_state(stream, 0, dims, state, &err);
        }
        call_any(model, stream, batch, 0, &seed);
        le_stream_reset(stream);
        call_any(model, stream, batch, 1, &seed);
    }
    le_stream_close(stream);
    le_model_close(model);
    return 0;
}
