/* Many streams in one call, worked on by several threads: the bits of one by one; a failed call changes nothing. `make test-threads` runs it
 * under ThreadSanitizer. */
#include <pthread.h>

#include "check.h"
#include "lstm_file.h"

enum { ROWS = 10, INPUTS = 6, HIDDEN = 9, STREAMS = 150, THREADS = 4, FRAMES = 2 };

/* Rows of a table -> RNN over (batch, frames), or (frames, batch), its h a state: a whole number beyond the table fails. */
static uint8_t *table_rnn(size_t *size, int time_major) {
    static builder f;
    static float weights[ROWS * INPUTS + HIDDEN * (INPUTS + HIDDEN)];
    memset(&f, 0, sizeof f);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        weights[i] = random_float();
    float *w = weights + ROWS * INPUTS, *r = w + HIDDEN * INPUTS;
    int x = tensor(&f, "x", LE_I32, 0, NULL, NULL), h = tensor(&f, "h", LE_F32, 0, NULL, NULL);
    int ti = tensor(&f, "t", LE_F32, 2, (int64_t[]){ROWS, INPUTS}, weights);
    int wi = tensor(&f, "w", LE_F32, 3, (int64_t[]){1, HIDDEN, INPUTS}, w);
    int ri = tensor(&f, "r", LE_F32, 3, (int64_t[]){1, HIDDEN, HIDDEN}, r);
    int e = tensor(&f, "e", LE_F32, 0, NULL, NULL), y = tensor(&f, "y", LE_F32, 0, NULL, NULL),
        hn = tensor(&f, "hn", LE_F32, 0, NULL, NULL);
    int_attr(&f, "axis", 0);
    node(&f, "Gather", "rows", 2, (int[]){ti, x}, 1, (int[]){e}, 1);
    int_attr(&f, "time_major", time_major);
    node(&f, "RNN", "rnn", 5, (int[]){e, wi, ri, -1, h}, 2, (int[]){y, hn}, 1);
    input(&f, "x", x, 2, time_major ? (le_dim[]){{1, LE_FRAMES}, {1, LE_BATCH}} : (le_dim[]){{1, LE_BATCH}, {1, LE_FRAMES}});
    output(&f, "y", y);
    state(&f, "rnn.h", h, hn, 3, (le_dim[]){{1, LE_NUMBER}, {1, LE_BATCH}, {HIDDEN, LE_NUMBER}});
    return finish(&f, size);
}

typedef struct {
    le_many *many;
    int thread;
} job;

static void *work(void *given) {
    job *j = given;
    le_many_work(j->many, j->thread);
    return NULL;
}

static le_status step(le_many *many, int threads, le_stream **streams, const int32_t *x, float *y, le_error *err) {
    le_status status = le_many_begin(many, STREAMS, streams, (const void *[]){x}, (void *[]){y}, err);
    if (status != LE_OK)
        return status;
    pthread_t started[THREADS];
    job jobs[THREADS];
    for (int i = 0; i < threads; i++) {
        jobs[i] = (job){many, i};
        CHECK(pthread_create(&started[i], NULL, work, &jobs[i]) == 0);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(started[i], NULL);
    return le_many_end(many, err);
}

static void test_threads(const le_model *model, int threads) {
    static float want[STREAMS * FRAMES * HIDDEN], got[STREAMS * FRAMES * HIDDEN];
    static le_stream *alone[STREAMS], *together[STREAMS];
    int32_t x[STREAMS * FRAMES];
    le_error err;
    le_many *many = le_many_open(model, 1, FRAMES, threads, &err);
    CHECK(many != NULL);
    CHECK(le_many_rows(many) > 1);
    for (int i = 0; i < STREAMS; i++) {
        alone[i] = le_stream_open(model, 1, 1, &err);
        together[i] = le_stream_open(model, 1, 1, &err);
    }
    le_stream_profile(together[7], 1);
    for (int t = 0; t < 12; t++) {
        for (int i = 0; i < STREAMS * FRAMES; i++)
            x[i] = (int32_t)(random_bits() % ROWS);
        if (t % 3 == 2) {
            int32_t kept = x[77 * FRAMES];
            x[77 * FRAMES] = x[78 * FRAMES] = x[140 * FRAMES] = ROWS;
            CHECK(step(many, threads, together, x, got, &err) == LE_ERR_VALUE);
            CHECK(strncmp(err.message, "stream 77: ", 11) == 0, "%s", err.message);
            x[77 * FRAMES] = x[78 * FRAMES] = x[140 * FRAMES] = kept;
        }
        for (int i = 0; i < STREAMS; i++)
            CHECK(le_stream_run(alone[i], FRAMES, (const void *[]){&x[i * FRAMES]}, (void *[]){want + i * FRAMES * HIDDEN}, &err) == LE_OK);
        CHECK(step(many, threads, together, x, got, &err) == LE_OK, "%s", err.message);
        CHECK(memcmp(got, want, sizeof want) == 0);
        CHECK(le_many_alone(many, 7) && !le_many_alone(many, 8));
    }
    for (int i = 0; i < STREAMS; i++) {
        int64_t dims[LE_MAX_RANK];
        CHECK(memcmp(le_stream_state(alone[i], 0, dims), le_stream_state(together[i], 0, dims), HIDDEN * sizeof(float)) == 0);
        le_stream_close(alone[i]);
        le_stream_close(together[i]);
    }
    le_many_close(many);
}

int main(void) {
    le_error err;
    for (int time_major = 0; time_major < 2; time_major++) {
        size_t size;
        uint8_t *file = table_rnn(&size, time_major);
        le_model *model = le_model_open(file, size, NULL, &err);
        CHECK(model != NULL, "%s", err.message);
        CHECK(le_model_rows_apart(model, 1));
        CHECK(le_many_open(model, 1, 1, 0, &err) == NULL && err.status == LE_ERR_VALUE);
        for (int threads = 1; threads <= THREADS; threads++)
            test_threads(model, threads);
        le_model_close(model);
        free(file);
    }
    return report();
}
