/* le_stream_roll without Python: equal to the loop written with le_stream_run, states untouched, no allocation, wrong places refused. */
#include "allocations.h"
#include "check.h"
#include "lstm_file.h"

enum { VALUES = 2, HIDDEN = 7, BATCH = 3, STEPS = 19 };

/* RNN -> Dense: y has the shape of x, (batch, frames, VALUES). */
static uint8_t *one_step_ahead(size_t *size) {
    static builder f;
    float weights[HIDDEN * (2 * VALUES + HIDDEN)];
    for (int i = 0; i < HIDDEN * (2 * VALUES + HIDDEN); i++)
        weights[i] = 0.5f * random_float();
    memset(&f, 0, sizeof f);
    int x = tensor(&f, "x", LE_F32, 0, NULL, NULL), h = tensor(&f, "h", LE_F32, 0, NULL, NULL);
    int w = tensor(&f, "w", LE_F32, 3, (int64_t[]){1, HIDDEN, VALUES}, weights);
    int r = tensor(&f, "r", LE_F32, 3, (int64_t[]){1, HIDDEN, HIDDEN}, weights + HIDDEN * VALUES);
    int d = tensor(&f, "d", LE_F32, 2, (int64_t[]){VALUES, HIDDEN}, weights + HIDDEN * (VALUES + HIDDEN));
    int all = tensor(&f, "all", LE_F32, 0, NULL, NULL), hn = tensor(&f, "hn", LE_F32, 0, NULL, NULL);
    int y = tensor(&f, "y", LE_F32, 0, NULL, NULL);
    node(&f, "RNN", "rnn", 5, (int[]){x, w, r, -1, h}, 2, (int[]){all, hn}, 0);
    node(&f, "Dense", "dense", 2, (int[]){all, d}, 1, (int[]){y}, 0);
    input(&f, "x", x, 3, (le_dim[]){{1, LE_BATCH}, {1, LE_FRAMES}, {VALUES, LE_NUMBER}});
    output(&f, "y", y);
    state(&f, "h", h, hn, 3, (le_dim[]){{1, LE_NUMBER}, {1, LE_BATCH}, {HIDDEN, LE_NUMBER}});
    return finish(&f, size);
}

static void copy_state(const le_stream *stream, float h[BATCH * HIDDEN]) {
    int64_t dims[LE_MAX_RANK];
    memcpy(h, le_stream_state(stream, 0, dims), BATCH * HIDDEN * sizeof *h);
}

/* Each value goes to the place of the other one: {first, second} becomes {second, first}. */
static const le_feed crossed[] = {
    {0, 0, 0, 1, {BATCH, 1, 1}, {VALUES, 0, 0}, {VALUES, 0, 0}},
    {0, 0, 1, 0, {BATCH, 1, 1}, {VALUES, 0, 0}, {VALUES, 0, 0}},
};
static const le_feed whole = {0, 0, 0, 0, {BATCH, 1, VALUES}, {VALUES, 0, 1}, {0, 0, 0}};

static void test_equals_the_loop(le_stream *stream) {
    float first[BATCH * VALUES], x[BATCH * VALUES], y[BATCH * VALUES], expected[STEPS][BATCH * VALUES], kept[STEPS][BATCH * VALUES];
    float before[BATCH * HIDDEN], after[BATCH * HIDDEN], inputs[STEPS][BATCH * VALUES], answer[BATCH * VALUES];
    le_error err;
    for (int i = 0; i < BATCH * VALUES; i++)
        x[i] = random_float();
    CHECK(le_stream_run(stream, 1, (const void *[]){x}, (void *[]){first}, &err) == LE_OK);
    copy_state(stream, before);
    const int64_t dims[LE_MAX_RANK] = {1, BATCH, HIDDEN}, advance = sizeof x, room = sizeof answer;
    const le_roll roll = {sizeof roll, STEPS,   1, 0,      (void *[]){inputs}, &advance, (void *[]){answer},
                          &room,       crossed, 2, &whole, (void *[]){kept},   1};
    for (int again = 0; again < 2; again++) {
        long allocated = allocations;
        memcpy(answer, first, sizeof first);
        CHECK(le_stream_roll(stream, &roll, &err) == LE_OK, "%s", err.message);
        copy_state(stream, after);
        CHECK(memcmp(before, after, sizeof before) == 0);
        CHECK(!again || allocations == allocated);
    }
    memcpy(y, first, sizeof y);
    for (int n = 0; n < STEPS; n++) {
        for (int b = 0; b < BATCH; b++)
            x[b * VALUES] = y[b * VALUES + 1], x[b * VALUES + 1] = y[b * VALUES];
        CHECK(le_stream_run(stream, 1, (const void *[]){x}, (void *[]){y}, &err) == LE_OK);
        memcpy(expected[n], y, sizeof y);
    }
    CHECK(memcmp(kept, expected, sizeof kept) == 0);
    CHECK(le_stream_set_state(stream, 0, dims, before, &err) == LE_OK);
}

/* Windows of FRAMES that overlap, each from the initial state: the last answer becomes the last frame of the next. */
static void test_windows(const le_model *model) {
    enum { FRAMES = 5 };
    float series[(FRAMES + STEPS) * VALUES], by_hand[(FRAMES + STEPS) * VALUES], y[FRAMES * VALUES], kept[STEPS * VALUES];
    le_error err;
    le_stream *stream = le_stream_open(model, 1, FRAMES, &err);
    for (int i = 0; i < (FRAMES + STEPS) * VALUES; i++)
        series[i] = by_hand[i] = random_float();
    const int last = (FRAMES - 1) * VALUES;
    const le_feed feed = {0, 0, last, last, {1, 1, VALUES}, {0, 0, 1}, {0, 0, 1}};
    const int64_t advance = VALUES * sizeof *series, room = sizeof y;
    const le_roll roll = {sizeof roll, STEPS, FRAMES, 1,     (void *[]){series}, &advance, (void *[]){y},
                          &room,       &feed, 1,      &feed, (void *[]){kept},   1};
    memcpy(y + last, series + last, VALUES * sizeof *y); /* the first feed leaves what is there */
    CHECK(stream && le_stream_roll(stream, &roll, &err) == LE_OK);
    for (int n = 0; stream && n < STEPS; n++) {
        le_stream_reset(stream);
        CHECK(le_stream_run(stream, FRAMES, (const void *[]){by_hand + n * VALUES}, (void *[]){y}, &err) == LE_OK);
        memcpy(by_hand + (FRAMES + n) * VALUES, y + last, VALUES * sizeof *y);
        CHECK(memcmp(kept + n * VALUES, y + last, VALUES * sizeof *y) == 0);
    }
    le_stream_close(stream);
}

static void test_refusals(le_stream *stream) {
    float x[BATCH * VALUES] = {0}, y[BATCH * VALUES] = {0}, kept[BATCH * VALUES];
    const int64_t advance = 0, enough = sizeof y, few = sizeof y - 1;
    const struct {
        le_feed feed;
        const int64_t *room;
        le_status status;
    } wrong[] = {
        {{1, 0, 0, 0, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}}, &enough, LE_ERR_VALUE},
        {{0, -1, 0, 0, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}}, &enough, LE_ERR_VALUE},
        {{0, 0, 0, 0, {BATCH, 1, VALUES}, {VALUES, 0, 1}, {VALUES, 0, 2}}, &enough, LE_ERR_SHAPE},
        {{0, 0, 1, 0, {BATCH, 1, VALUES}, {VALUES, 0, 1}, {VALUES, 0, 1}}, &enough, LE_ERR_SHAPE},
        {{0, 0, -1, 0, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}}, &enough, LE_ERR_SHAPE},
        {{0, 0, 0, INT64_MAX, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}}, &enough, LE_ERR_SHAPE},
        {{0, 0, 0, 0, {2, 1, 1}, {INT64_MAX, 0, 0}, {0, 0, 0}}, &enough, LE_ERR_SHAPE},
        {{0, 0, 0, 0, {0, 1, 1}, {0, 0, 0}, {0, 0, 0}}, &enough, LE_ERR_SHAPE},
        {{0, 0, 0, 0, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}}, &few, LE_ERR_SHAPE},
    };
    float before[BATCH * HIDDEN], after[BATCH * HIDDEN];
    copy_state(stream, before);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        le_error err = {LE_OK, ""};
        const le_roll roll = {sizeof roll,      1, 1, 0, (void *[]){x}, &advance, (void *[]){y}, wrong[i].room, &wrong[i].feed, 1, &whole,
                              (void *[]){kept}, 1};
        CHECK(le_stream_roll(stream, &roll, &err) == wrong[i].status && err.message[0], "%zu: %s", i, err.message);
        copy_state(stream, after);
        CHECK(memcmp(before, after, sizeof before) == 0);
    }
}

/* Each allocation of a first roll fails once: refused with its words, the states as they were, and the same stream rolls afterwards. */
static void test_failing_allocations(const le_model *model) {
    float x[BATCH * VALUES] = {0}, y[BATCH * VALUES] = {0}, kept[BATCH * VALUES];
    const int64_t advance = 0, room = sizeof y;
    le_roll roll = {sizeof roll, 1, 1, 0, (void *[]){x}, &advance, (void *[]){y}, &room, &whole, 1, &whole, (void *[]){kept}, 1};
    le_error err;
    le_stream *stream = le_stream_open(model, BATCH, 1, &err);
    CHECK(stream != NULL);
    int refused = 0;
    for (le_status status = LE_ERR_MEMORY; stream && status != LE_OK; refused++) {
        refused_allocation = allocations + 1 + refused;
        err = (le_error){LE_OK, ""};
        status = le_stream_roll(stream, &roll, &err);
        CHECK(status == LE_OK || (status == LE_ERR_MEMORY && strstr(err.message, "a copy of the states")), "%d: %s", refused, err.message);
    }
    refused_allocation = 0;
    CHECK(refused == 4, "%d", refused); /* the list, and both buffers of the state */
    roll.frames = -1;
    CHECK(stream && le_stream_roll(stream, &roll, &err) == LE_ERR_VALUE && strstr(err.message, "frames: expected 0"), "%s", err.message);
    roll.size = 1;
    CHECK(stream && le_stream_roll(stream, &roll, NULL) == LE_ERR_VALUE);
    le_stream_close(stream);
}

int main(void) {
    size_t size;
    uint8_t *file = one_step_ahead(&size);
    le_error err;
    le_model *model = le_model_open(file, size, NULL, &err);
    CHECK(model != NULL);
    le_stream *stream = model ? le_stream_open(model, BATCH, 1, &err) : NULL;
    CHECK(stream != NULL);
    if (stream) {
        test_equals_the_loop(stream);
        test_windows(model);
        test_failing_allocations(model);
        test_refusals(stream);
    }
    le_stream_close(stream);
    le_model_close(model);
    free(file);
    return report();
}
