/* The core without Python: a file made in memory is opened, run and streamed; damaged files are refused; runs allocate nothing. */
#include <math.h>

#include "allocations.h"
#include "check.h"
#include "lstm_file.h"

enum { INPUTS = 5, HIDDEN = 11, OUTPUTS = 3 };

/* LSTM -> Dense over (batch, frames, INPUTS), h and c kept as states. */
static uint8_t *lstm_dense(size_t *size, float *weights) {
    static builder f;
    memset(&f, 0, sizeof f);
    float *w = weights, *r = w + 4 * HIDDEN * INPUTS, *b = r + 4 * HIDDEN * HIDDEN, *d = b + 4 * HIDDEN;
    for (int i = 0; i < 4 * HIDDEN * (INPUTS + HIDDEN + 1) + OUTPUTS * HIDDEN; i++)
        weights[i] = 0.5f * random_float();
    int x = tensor(&f, "x", LE_F32, 0, NULL, NULL), h = tensor(&f, "h", LE_F32, 0, NULL, NULL), c = tensor(&f, "c", LE_F32, 0, NULL, NULL);
    int wi = tensor(&f, "w", LE_F32, 3, (int64_t[]){1, 4 * HIDDEN, INPUTS}, w);
    int ri = tensor(&f, "r", LE_F32, 3, (int64_t[]){1, 4 * HIDDEN, HIDDEN}, r);
    int bi = tensor(&f, "b", LE_F32, 2, (int64_t[]){1, 4 * HIDDEN}, b);
    int di = tensor(&f, "d", LE_F32, 2, (int64_t[]){OUTPUTS, HIDDEN}, d);
    int y = tensor(&f, "y", LE_F32, 0, NULL, NULL), hn = tensor(&f, "hn", LE_F32, 0, NULL, NULL),
        cn = tensor(&f, "cn", LE_F32, 0, NULL, NULL);
    int z = tensor(&f, "z", LE_F32, 0, NULL, NULL);
    int_attr(&f, "time_major", 0);
    node(&f, "LSTM", "lstm", 6, (int[]){x, wi, ri, bi, h, c}, 3, (int[]){y, hn, cn}, 1);
    node(&f, "Dense", "dense", 2, (int[]){y, di}, 1, (int[]){z}, 0);
    input(&f, "x", x, 3, (le_dim[]){{1, LE_BATCH}, {1, LE_FRAMES}, {INPUTS, LE_NUMBER}});
    output(&f, "z", z);
    le_dim state_dims[] = {{1, LE_NUMBER}, {1, LE_BATCH}, {HIDDEN, LE_NUMBER}};
    state(&f, "lstm.h", h, hn, 3, state_dims);
    state(&f, "lstm.c", c, cn, 3, state_dims);
    return finish(&f, size);
}

static double sigmoid(double v) { return 1 / (1 + exp(-v)); }

/* The equations of docs/ops.md in double. */
static void oracle(const float *weights, int frames, const float *x, double *z) {
    const float *w = weights, *r = w + 4 * HIDDEN * INPUTS, *b = r + 4 * HIDDEN * HIDDEN, *d = b + 4 * HIDDEN;
    double h[HIDDEN] = {0}, c[HIDDEN] = {0}, gate[4 * HIDDEN];
    for (int t = 0; t < frames; t++) {
        for (int j = 0; j < 4 * HIDDEN; j++) {
            gate[j] = b[j];
            for (int k = 0; k < INPUTS; k++)
                gate[j] += (double)w[j * INPUTS + k] * x[t * INPUTS + k];
            for (int k = 0; k < HIDDEN; k++)
                gate[j] += r[j * HIDDEN + k] * h[k];
        }
        for (int k = 0; k < HIDDEN; k++) {
            c[k] = sigmoid(gate[HIDDEN + k]) * c[k] + sigmoid(gate[k]) * tanh(gate[2 * HIDDEN + k]);
            h[k] = sigmoid(gate[3 * HIDDEN + k]) * tanh(c[k]);
        }
        for (int o = 0; o < OUTPUTS; o++) {
            z[t * OUTPUTS + o] = 0;
            for (int k = 0; k < HIDDEN; k++)
                z[t * OUTPUTS + o] += d[o * HIDDEN + k] * h[k];
        }
    }
}

enum { FRAMES = 23 };

/* Programs that were compiled with another version's header have shorter or longer options. */
static void test_options(const uint8_t *file, size_t size) {
    struct {
        le_options known;
        size_t later;
    } newer = {{sizeof newer, "scalar"}, 0};
    le_error err;
    CHECK(le_model_open(file, size, &(le_options){sizeof(le_options), "no-such-isa"}, &err) == NULL && err.status == LE_ERR_UNSUPPORTED);
    CHECK(le_model_open(file, size, &(le_options){0, "scalar"}, &err) == NULL && err.status == LE_ERR_VALUE);
    le_model *model = le_model_open(file, size, &newer.known, &err);
    CHECK(model && strcmp(le_model_isa(model), "scalar") == 0);
    le_model_close(model);
    newer.later = 1;
    CHECK(le_model_open(file, size, &newer.known, &err) == NULL && err.status == LE_ERR_VALUE);
}

static void test_runs(const uint8_t *file, size_t size, const float *weights, const char *isa) {
    float x[FRAMES * INPUTS], whole[FRAMES * OUTPUTS], cut[FRAMES * OUTPUTS];
    double expected[FRAMES * OUTPUTS];
    for (int i = 0; i < FRAMES * INPUTS; i++)
        x[i] = random_float();
    oracle(weights, FRAMES, x, expected);
    le_error err;
    le_model *model = le_model_open(file, size, &(le_options){sizeof(le_options), isa}, &err);
    CHECK(model != NULL);
    if (!model)
        return;
    CHECK(strcmp(le_model_isa(model), isa) == 0);
    le_stream *stream = le_stream_open(model, 1, FRAMES, &err);
    CHECK(le_stream_run(stream, FRAMES, (const void *[]){x}, (void *[]){whole}, &err) == LE_OK);
    double worst = 0;
    for (int i = 0; i < FRAMES * OUTPUTS; i++)
        worst = fmax(worst, fabs(whole[i] - expected[i]));
    CHECK(worst < 2e-6); /* 24-bit sums of 11 products below 1, over 23 frames */
    for (int chunk = 1; chunk <= FRAMES; chunk++) {
        le_stream_reset(stream);
        long before = allocations;
        for (int t = 0; t < FRAMES; t += chunk) {
            int n = FRAMES - t < chunk ? FRAMES - t : chunk;
            CHECK(le_stream_run(stream, n, (const void *[]){x + t * INPUTS}, (void *[]){cut + t * OUTPUTS}, &err) == LE_OK);
        }
        CHECK(allocations == before);
        CHECK(memcmp(whole, cut, sizeof whole) == 0);
    }
    le_stream_close(stream);
    le_model_close(model);
}

/* The trace against the answer's own equations: c' = f c + i g, h = o tanh(c'), z = D h; and the same bits with it and without. */
static void test_trace(const uint8_t *file, size_t size, const float *weights, const char *isa) {
    const float *d = weights + 4 * HIDDEN * (INPUTS + HIDDEN + 1);
    static float gates[FRAMES][4][HIDDEN], h[FRAMES][HIDDEN], c[FRAMES][HIDDEN];
    float x[FRAMES * INPUTS], plain[FRAMES][OUTPUTS], traced[FRAMES][OUTPUTS];
    for (int i = 0; i < FRAMES * INPUTS; i++)
        x[i] = random_float();
    le_error err;
    le_traced sizes;
    le_model *model = le_model_open(file, size, &(le_options){sizeof(le_options), isa}, &err);
    le_stream *stream = model ? le_stream_open(model, 1, FRAMES, &err) : NULL;
    CHECK(stream != NULL);
    if (!stream)
        return;
    CHECK(le_stream_run(stream, FRAMES, (const void *[]){x}, (void *[]){plain}, &err) == LE_OK);
    CHECK(!le_stream_traced(stream, 1, &sizes) && le_stream_traced(stream, 0, &sizes));
    CHECK(sizes.directions == 1 && sizes.frames == FRAMES && sizes.batch == 1 && sizes.gates == 4 && sizes.hidden == HIDDEN);
    CHECK(sizes.width == HIDDEN && sizes.has_cell && !sizes.reverse);
    le_stream_reset(stream);
    long before = allocations;
    le_stream_trace(stream, 0, gates[0][0], h[0], c[0]);
    CHECK(le_stream_run(stream, FRAMES, (const void *[]){x}, (void *[]){traced}, &err) == LE_OK);
    CHECK(allocations == before && memcmp(plain, traced, sizeof plain) == 0);
    double worst = 0;
    for (int t = 0; t < FRAMES; t++) {
        for (int k = 0; k < HIDDEN; k++) {
            const double cell = (double)gates[t][1][k] * (t ? c[t - 1][k] : 0) + (double)gates[t][0][k] * gates[t][2][k];
            worst = fmax(worst, fmax(fabs(cell - c[t][k]), fabs(gates[t][3][k] * tanh(cell) - h[t][k])));
        }
        for (int o = 0; o < OUTPUTS; o++) {
            double z = 0;
            for (int k = 0; k < HIDDEN; k++)
                z += (double)d[o * HIDDEN + k] * h[t][k];
            worst = fmax(worst, fabs(z - traced[t][o]));
        }
    }
    CHECK(worst < 1e-6);
    memset(h, 0, sizeof h);
    le_stream_trace(stream, 0, NULL, NULL, NULL);
    CHECK(le_stream_run(stream, FRAMES, (const void *[]){x}, (void *[]){traced}, &err) == LE_OK && h[0][0] == 0);
    le_stream_close(stream);
    le_model_close(model);
}

enum { TABLE = 4 };
static const float table[TABLE] = {2, 3, 5, 7};

/* An RNN whose h is a state, what a second state keeps and an output; a third state gets the h before. Gather then picks z = table[index]: a wrong index
 * fails the run when the new h has already been made. */
static uint8_t *shared_state(size_t *size) {
    static builder f;
    float weights[HIDDEN * (INPUTS + HIDDEN)];
    for (int i = 0; i < HIDDEN * (INPUTS + HIDDEN); i++)
        weights[i] = 0.5f * random_float();
    memset(&f, 0, sizeof f);
    int x = tensor(&f, "x", LE_F32, 0, NULL, NULL), index = tensor(&f, "index", LE_I32, 0, NULL, NULL);
    int h = tensor(&f, "h", LE_F32, 0, NULL, NULL), kept = tensor(&f, "kept", LE_F32, 0, NULL, NULL);
    int old = tensor(&f, "old", LE_F32, 0, NULL, NULL);
    int w = tensor(&f, "w", LE_F32, 3, (int64_t[]){1, HIDDEN, INPUTS}, weights);
    int r = tensor(&f, "r", LE_F32, 3, (int64_t[]){1, HIDDEN, HIDDEN}, weights + HIDDEN * INPUTS);
    int values = tensor(&f, "table", LE_F32, 1, (int64_t[]){TABLE}, table);
    int y = tensor(&f, "y", LE_F32, 0, NULL, NULL), hn = tensor(&f, "hn", LE_F32, 0, NULL, NULL);
    int z = tensor(&f, "z", LE_F32, 0, NULL, NULL);
    node(&f, "RNN", "rnn", 5, (int[]){x, w, r, -1, h}, 2, (int[]){y, hn}, 0);
    int_attr(&f, "axis", 0);
    node(&f, "Gather", "pick", 2, (int[]){values, index}, 1, (int[]){z}, 1);
    input(&f, "x", x, 3, (le_dim[]){{1, LE_BATCH}, {1, LE_FRAMES}, {INPUTS, LE_NUMBER}});
    input(&f, "index", index, 1, (le_dim[]){{1, LE_NUMBER}});
    output(&f, "z", z);
    output(&f, "kept", kept);
    le_dim dims[] = {{1, LE_NUMBER}, {1, LE_BATCH}, {HIDDEN, LE_NUMBER}};
    state(&f, "h", h, hn, 3, dims);
    state(&f, "kept", kept, hn, 3, dims);
    state(&f, "old", old, h, 3, dims);
    return finish(&f, size);
}

static void check_states(const le_stream *stream, const float *h, const float *kept, const float *old) {
    int64_t dims[LE_MAX_RANK];
    const float *const expected[] = {h, kept, old};
    for (int i = 0; i < 3; i++)
        CHECK(memcmp(le_stream_state(stream, i, dims), expected[i], HIDDEN * sizeof *h) == 0);
}

static void test_states_are_committed_together(void) {
    size_t size;
    uint8_t *file = shared_state(&size);
    le_error err;
    le_model *model = le_model_open(file, size, NULL, &err);
    CHECK(model != NULL);
    le_stream *stream = model ? le_stream_open(model, 1, 1, &err) : NULL;
    CHECK(stream != NULL);
    float h[HIDDEN] = {0}, before[HIDDEN] = {0}, x[INPUTS], z, kept[HIDDEN];
    int64_t dims[LE_MAX_RANK];
    for (int run = 0; stream && run < 9; run++) {
        for (int i = 0; i < INPUTS; i++)
            x[i] = random_float();
        const int32_t wrong = TABLE, right = run % TABLE;
        check_states(stream, h, h, before);
        CHECK(le_stream_run(stream, 1, (const void *[]){x, &wrong}, (void *[]){&z, kept}, &err) == LE_ERR_VALUE);
        check_states(stream, h, h, before);
        CHECK(le_stream_run(stream, 1, (const void *[]){x, &right}, (void *[]){&z, kept}, &err) == LE_OK);
        CHECK(z == table[right] && memcmp(kept, h, sizeof h) == 0);
        memcpy(before, h, sizeof h);
        memcpy(h, le_stream_state(stream, 0, dims), sizeof h);
        CHECK(memcmp(h, before, sizeof h) != 0);
        check_states(stream, h, h, before);
    }
    le_stream_close(stream);
    le_model_close(model);
    free(file);
}

/* An input of frames and one of another length, side by side: one call joins them. */
static void test_further_lengths(void) {
    static builder f;
    memset(&f, 0, sizeof f);
    int a = tensor(&f, "a", LE_F32, 0, NULL, NULL), b = tensor(&f, "b", LE_F32, 0, NULL, NULL), y = tensor(&f, "y", LE_F32, 0, NULL, NULL);
    int_attr(&f, "axis", 0);
    node(&f, "Concat", "join", 2, (int[]){a, b}, 1, (int[]){y}, 1);
    input(&f, "a", a, 1, (le_dim[]){{1, LE_FRAMES}});
    input(&f, "b", b, 1, (le_dim[]){{2, LE_LENGTH}});
    output(&f, "y", y);
    size_t size;
    uint8_t *file = finish(&f, &size);
    le_error err;
    le_model *model = le_model_open(file, size, NULL, &err);
    CHECK(model != NULL && le_model_lengths(model) == 1);
    le_stream *stream = model ? le_stream_open_lengths(model, 1, 3, (int64_t[]){2}, &err) : NULL;
    CHECK(stream != NULL);
    const float x[] = {1, 2, 3}, z[] = {4, 5, 6, 7, 8, 9};
    for (int64_t length = 2; stream && length >= 0; length--) {
        float joined[9] = {0};
        int64_t dims[LE_MAX_RANK];
        CHECK(le_stream_set_lengths(stream, &length, &err) == LE_OK);
        CHECK(le_stream_run(stream, 3, (const void *[]){x, z}, (void *[]){joined}, &err) == LE_OK);
        CHECK(le_stream_output_shape(stream, 0, dims) == 1 && dims[0] == 3 + 2 * length);
        for (int64_t i = 0; i < 9; i++)
            CHECK(joined[i] == (i < 3 + 2 * length ? (float)(i + 1) : 0));
    }
    CHECK(stream && le_stream_set_lengths(stream, (int64_t[]){-1}, &err) == LE_ERR_VALUE);
    CHECK(model && !le_stream_open_lengths(model, 1, 3, (int64_t[]){-1}, &err) && err.status == LE_ERR_VALUE);
    le_stream_close(stream);
    le_model_close(model);
    free(file);
}

static void run_if_opens(const uint8_t *file, size_t size) {
    float x[4 * FRAMES * 64], z[4 * FRAMES * 64];
    memset(x, 0, sizeof x);
    le_error err = {LE_OK, ""};
    le_model *model = le_model_open(file, size, NULL, &err);
    if (!model) {
        CHECK(err.status != LE_OK && err.message[0]);
        return;
    }
    le_stream *stream = le_stream_open(model, 1, 2, &err);
    int64_t dims[LE_MAX_RANK], count = 1;
    if (stream && le_model_count(model, LE_INPUT) == 1 && le_model_count(model, LE_OUTPUT) == 1) {
        int rank = le_stream_output_shape(stream, 0, dims);
        for (int d = 0; d < rank; d++)
            count *= dims[d];
        le_port port = le_model_port(model, LE_INPUT, 0);
        int64_t in = 1;
        for (int d = 0; d < port.rank; d++)
            in *= port.dims[d].coef * (port.dims[d].symbol == LE_FRAMES ? 2 : 1);
        if (count <= 4 * FRAMES * 64 && in <= 4 * FRAMES * 64)
            le_stream_run(stream, 2, (const void *[]){x}, (void *[]){z}, &err);
    }
    le_stream_close(stream);
    le_model_close(model);
    passed++;
}

static void test_damage(const uint8_t *file, size_t size) {
    uint8_t *copy = malloc(size);
    le_error err;
    for (size_t cut = 0; cut < size; cut += 1 + cut / 50)
        CHECK(le_model_open(file, cut, NULL, &err) == NULL && err.status == LE_ERR_FORMAT);
    memcpy(copy, file, size);
    for (size_t i = 0; i < size; i += 1 + (i > 2048) * 7) { /* any flipped bit is found */
        copy[i] ^= (uint8_t)(1 << i % 8);
        le_model *model = le_model_open(copy, size, NULL, &err);
        CHECK(model == NULL || (i >= 10 && i < 12)); /* the minor version may differ */
        le_model_close(model);
        copy[i] = file[i];
    }
    for (int n = 0; n < 20000; n++) { /* made on purpose: the checksum is right */
        memcpy(copy, file, size);
        for (int k = 0; k < 1 + n % 3; k++) {
            uint32_t at = random_bits() % (uint32_t)size;
            if (at >= 64)
                copy[at] = n % 2 ? (uint8_t)(copy[at] + 1 + n % 7) : (uint8_t)random_bits();
        }
        repair_crc(copy, size);
        run_if_opens(copy, size);
    }
    free(copy);
}

/* Where size_t has 32 bits, a constant that could not be counted in bytes is refused before anything is allocated for it. */
static void test_a_constant_too_large_for_the_machine(const uint8_t *file, size_t size) {
    enum { SECTION = 32, RANK = 4, DIMS = 40 };
    const int64_t side = 1 << 16;
    uint8_t *copy = malloc(size);
    memcpy(copy, file, size);
    size_t section = 64;
    while (memcmp(copy + section, "CNST", 4) != 0)
        section += SECTION;
    uint64_t at;
    uint32_t rank;
    memcpy(&at, copy + section + 8, sizeof at);
    memcpy(&rank, copy + at + RANK, sizeof rank);
    memcpy(copy + at + DIMS + 8 * (rank - 2), &side, sizeof side);
    memcpy(copy + at + DIMS + 8 * (rank - 1), &side, sizeof side);
    repair_crc(copy, size);
    le_error err;
    CHECK(le_model_open(copy, size, NULL, &err) == NULL && err.status == LE_ERR_FORMAT, "%s", err.message);
    CHECK(sizeof(size_t) > 4 || strstr(err.message, "on this machine"), "%s", err.message);
    free(copy);
}

int main(void) {
    float weights[4 * HIDDEN * (INPUTS + HIDDEN + 1) + OUTPUTS * HIDDEN];
    size_t size;
    uint8_t *file = lstm_dense(&size, weights);
    int supported;
    const char *isa;
    for (int i = 0; (isa = le_isa_name(i, &supported)); i++)
        if (supported) {
            test_runs(file, size, weights, isa);
            test_trace(file, size, weights, isa);
        }
    test_options(file, size);
    test_damage(file, size);
    test_a_constant_too_large_for_the_machine(file, size);
    free(file);
    test_states_are_committed_together();
    test_further_lengths();
    return report();
}
