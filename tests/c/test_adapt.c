/* Online adaptation without Python: against plain recursive least squares, in both orders of batch and frames; no allocation in a step or in
 * adapt; a failed run and a wrong state leave what was learnt as it was. */
#include <math.h>

#include "allocations.h"
#include "check.h"
#include "lstm_file.h"

enum { FEATURES = 4, VALUES = 2, BATCH = 2, FRAMES = 30, N = FEATURES + 1, STATES = 7 };

/* Dense of the features; then Gather picks from a table of one, so that an index of 1 fails a run in which Dense has answered. */
static le_model *open_model(int time_major) {
    static builder f;
    memset(&f, 0, sizeof f);
    float w[VALUES * FEATURES], one = 1;
    for (int i = 0; i < VALUES * FEATURES; i++)
        w[i] = (float)(i % 3) - 1;
    int x = tensor(&f, "x", LE_F32, 0, NULL, NULL), index = tensor(&f, "index", LE_I32, 0, NULL, NULL);
    int wi = tensor(&f, "w", LE_F32, 2, (int64_t[]){VALUES, FEATURES}, w), ti = tensor(&f, "one", LE_F32, 1, (int64_t[]){1}, &one);
    int y = tensor(&f, "y", LE_F32, 0, NULL, NULL), z = tensor(&f, "z", LE_F32, 0, NULL, NULL);
    node(&f, "Dense", "dense", 2, (int[]){x, wi}, 1, (int[]){y}, 0);
    int_attr(&f, "axis", 0);
    node(&f, "Gather", "pick", 2, (int[]){ti, index}, 1, (int[]){z}, 1);
    const le_dim batch = {1, LE_BATCH}, frames = {1, LE_FRAMES}, features = {FEATURES, LE_NUMBER};
    input(&f, "x", x, 3, time_major ? (le_dim[]){frames, batch, features} : (le_dim[]){batch, frames, features});
    input(&f, "index", index, 1, (le_dim[]){{1, LE_NUMBER}});
    output(&f, "y", y);
    output(&f, "z", z);
    size_t size;
    uint8_t *file = finish(&f, &size);
    le_error err;
    le_model *model = le_model_open(file, size, NULL, &err);
    CHECK(model != NULL);
    free(file);
    return model;
}

static const le_adaptation plain = {.size = sizeof(le_adaptation),
                                    .output = 0,
                                    .frames = 1,
                                    .values = VALUES,
                                    .horizon = 1,
                                    .each = 1,
                                    .forgetting = 1,
                                    .regularisation = 0.5};

typedef struct {
    double p[N][N], w[N][VALUES];
} learner;

static void begin(learner *r) {
    memset(r, 0, sizeof *r);
    for (int i = 0; i < N; i++)
        r->p[i][i] = 1 / plain.regularisation;
}

/* Haykin's recursion with a forgetting factor of 1. error: of the answer that was given, by the weights before. */
static void learn(learner *r, const float *x, const double *error) {
    double phi[N], q[N], power = 1;
    for (int i = 0; i < N; i++)
        phi[i] = i < FEATURES ? (double)x[i] : 1;
    for (int i = 0; i < N; i++) {
        q[i] = 0;
        for (int j = 0; j < N; j++)
            q[i] += r->p[i][j] * phi[j];
        power += phi[i] * q[i];
    }
    for (int i = 0; i < N; i++) {
        for (int v = 0; v < VALUES; v++)
            r->w[i][v] += q[i] / power * error[v];
        for (int j = 0; j < N; j++)
            r->p[i][j] -= q[i] * q[j] / power;
    }
}

static const double *learnt(const le_stream *stream) {
    const char *name;
    int rank;
    int64_t dims[LE_MAX_RANK];
    const double *w = le_stream_adaptation_state(stream, 0, &name, &rank, dims);
    CHECK(w && strcmp(name, "adapt.weights") == 0 && rank == 3 && dims[0] == BATCH && dims[1] == N && dims[2] == VALUES);
    return w;
}

static void fill(float *x, int n) {
    for (int i = 0; i < n; i++)
        x[i] = random_float();
}

static void test_learns(int time_major) {
    le_error err;
    le_model *model = open_model(time_major);
    le_stream *stream = model ? le_stream_open(model, BATCH, 2, &err) : NULL;
    le_adaptation options = plain;
    options.time_major = time_major;
    CHECK(stream && le_stream_adaptation(stream, &options, &err) == LE_OK);
    learner learners[BATCH];
    for (int b = 0; b < BATCH; b++)
        begin(&learners[b]);
    const int32_t right = 0, wrong = 1;
    const long before = allocations;
    for (int t = 0; stream && t < FRAMES; t++) { /* two frames a run: the second is learnt from */
        float x[2 * BATCH * FEATURES], y[2 * BATCH * VALUES], z;
        double wanted[BATCH * VALUES];
        fill(x, 2 * BATCH * FEATURES);
        CHECK(le_stream_run(stream, 2, (const void *[]){x, &wrong}, (void *[]){y, &z}, &err) == LE_ERR_VALUE);
        CHECK(le_stream_adapt(stream, wanted, &err) == LE_ERR_VALUE); /* nothing was answered */
        CHECK(le_stream_run(stream, 2, (const void *[]){x, &right}, (void *[]){y, &z}, &err) == LE_OK);
        for (int b = 0; b < BATCH; b++) {
            const int row = time_major ? BATCH + b : 2 * b + 1;
            double error[VALUES];
            for (int v = 0; v < VALUES; v++) {
                wanted[b * VALUES + v] = 3 * (double)random_float();
                error[v] = wanted[b * VALUES + v] - (double)y[row * VALUES + v];
            }
            learn(&learners[b], x + row * FEATURES, error);
        }
        CHECK(le_stream_adapt(stream, wanted, &err) == LE_OK);
        double worst = 0;
        for (int b = 0; b < BATCH; b++)
            for (int i = 0; i < N * VALUES; i++)
                worst = fmax(worst, fabs(learnt(stream)[b * N * VALUES + i] - learners[b].w[i / VALUES][i % VALUES]));
        CHECK(worst < 1e-10, "%g", worst);
    }
    CHECK(allocations == before);
    le_stream_close(stream);
    le_model_close(model);
}

static void test_wrong_states_and_options(void) {
    le_error err;
    le_model *model = open_model(0);
    le_stream *stream = model ? le_stream_open(model, BATCH, 1, &err) : NULL;
    CHECK(stream && le_stream_adaptation(stream, &plain, &err) == LE_OK);
    const char *name;
    int rank;
    int64_t dims[LE_MAX_RANK];
    double wrong[BATCH * N * N];
    for (int i = 0; i < BATCH * N * N; i++)
        wrong[i] = NAN;
    for (int i = 0; stream && i < STATES; i++) {
        CHECK(le_stream_adaptation_state(stream, i, &name, &rank, dims) != NULL);
        CHECK(le_stream_set_adaptation_state(stream, i, wrong, &err) == LE_ERR_VALUE && strstr(err.message, name));
    }
    CHECK(le_stream_adaptation_state(stream, STATES, &name, &rank, dims) == NULL);
    le_adaptation bad[6] = {plain, plain, plain, plain, plain, plain};
    bad[0].forgetting = 0;
    bad[1].regularisation = NAN;
    bad[2].output = 2;
    bad[3].horizon = 3;
    bad[4].middle = 1;
    bad[5].values = INT64_MAX;
    for (int i = 0; i < 6; i++)
        CHECK(le_stream_adaptation(stream, &bad[i], &err) != LE_OK && err.message[0]);
    CHECK(learnt(stream) != NULL); /* still on */
    CHECK(le_stream_adaptation(stream, NULL, &err) == LE_OK && le_stream_adapt(stream, NULL, &err) == LE_ERR_VALUE);
    CHECK(le_stream_adaptation_state(stream, 0, &name, &rank, dims) == NULL);
    le_stream_close(stream);
    le_model_close(model);
}

/* Each allocation of turning it on fails once: refused with its words, and then it turns on. */
static void test_failing_allocations(void) {
    le_error err;
    le_model *model = open_model(0);
    le_stream *stream = model ? le_stream_open(model, BATCH, 1, &err) : NULL;
    CHECK(stream != NULL);
    int refused = 0;
    for (le_status status = LE_ERR_MEMORY; stream && status != LE_OK; refused++) {
        refused_allocation = allocations + 1 + refused;
        err = (le_error){LE_OK, ""};
        status = le_stream_adaptation(stream, &plain, &err);
        CHECK(status == LE_OK || (status == LE_ERR_MEMORY && strstr(err.message, "cannot allocate")), "%d: %s", refused, err.message);
    }
    refused_allocation = 0;
    CHECK(refused > 2, "%d", refused);
    le_stream_close(stream);
    le_model_close(model);
}

int main(void) {
    test_failing_allocations();
    test_learns(0);
    test_learns(1);
    test_wrong_states_and_options();
    return report();
}
