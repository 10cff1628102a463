/* Every bound of the file's records: one more than it allows is refused by name, what it allows opens. States: absent ones, and tensors named twice. */
#include "check.h"
#include "lstm_file.h"

enum { WIDTH = 8, SECTION_ROW = 32 };

static void word_attr(builder *f, const char *key, const char *word) {
    align(&f->vals, 8);
    put_u32(&f->attr, string(f, key));
    put_u32(&f->attr, 2);
    put_u32(&f->attr, 1);
    put_u32(&f->attr, 0);
    put_u64(&f->attr, f->vals.size);
    put_u32(&f->vals, string(f, word));
    f->n_attr++;
}

/* A list of one number. */
static void list_attr(builder *f, const char *key, int64_t value) {
    int_attr(f, key, value);
    f->attr.bytes[f->attr.size - 24 + 4] = 3;
}

typedef struct {
    uint8_t *bytes;
    size_t size;
} file;

/* Where the records of a section begin, and its row in the table. */
static size_t row_of(const file *f, const char *kind) {
    size_t row = 64;
    while (memcmp(f->bytes + row, kind, 4) != 0)
        row += SECTION_ROW;
    return row;
}

static uint64_t get(const file *f, size_t at, size_t width) {
    uint64_t value = 0;
    memcpy(&value, f->bytes + at, width);
    return value;
}

static size_t section(const file *f, const char *kind) { return (size_t)get(f, row_of(f, kind) + 8, 8); }

static size_t section_size(const file *f, const char *kind) { return (size_t)get(f, row_of(f, kind) + 16, 8); }

static const float weights[WIDTH * WIDTH] = {1, 2, 3, 4, 5, 6, 7, 8};

/* x + b, with bools, int8 weights and a state with an initial value beside it: a record of every kind. */
static file of_every_kind(void) {
    static builder f;
    memset(&f, 0, sizeof f);
    static const uint8_t bools[4] = {0, 1, 1, 0};
    int x = tensor(&f, "x", LE_F32, 0, NULL, NULL), h = tensor(&f, "h", LE_F32, 0, NULL, NULL);
    int b = tensor(&f, "b", LE_F32, 1, (int64_t[]){WIDTH}, weights), t = tensor(&f, "t", LE_BOOL, 1, (int64_t[]){4}, bools);
    int y = tensor(&f, "y", LE_F32, 0, NULL, NULL), next = tensor(&f, "next", LE_F32, 0, NULL, NULL);
    int as = tensor(&f, "as", LE_I32, 1, (int64_t[]){WIDTH}, weights);
    (void)t, (void)as;
    word_attr(&f, "kind", "add");
    node(&f, "Binary", "sum", 2, (int[]){x, b}, 1, (int[]){y}, 1);
    word_attr(&f, "kind", "add");
    node(&f, "Binary", "next", 2, (int[]){h, y}, 1, (int[]){next}, 1);
    input(&f, "x", x, 1, (le_dim[]){{WIDTH, LE_NUMBER}});
    output(&f, "y", y);
    state(&f, "h", h, next, 1, (le_dim[]){{WIDTH, LE_NUMBER}});
    memcpy(f.stat.bytes + 20, &b, 4); /* its initial value */
    file made;
    made.bytes = finish(&f, &made.size);
    return made;
}

/* Opens the file with `width` bytes at `at` replaced. */
static void expect(const file *f, size_t at, size_t width, uint64_t value, const char *words, int line) {
    file copy = {malloc(f->size), f->size};
    memcpy(copy.bytes, f->bytes, f->size);
    memcpy(copy.bytes + at, &value, width);
    repair_crc(copy.bytes, copy.size);
    le_error err = {LE_OK, ""};
    le_model *model = le_model_open(copy.bytes, copy.size, NULL, &err);
    if (words)
        CHECK(model == NULL && strstr(err.message, words), "line %d: expected '%s', found '%s'", line, words, err.message);
    else
        CHECK(model != NULL, "line %d: %s", line, err.message);
    le_model_close(model);
    free(copy.bytes);
}
#define REFUSED(at, width, value, words) expect(&f, at, width, (uint64_t)(value), words, __LINE__)
#define OPENS(at, width, value) expect(&f, at, width, (uint64_t)(value), NULL, __LINE__)

enum { TENSORS = 7, H = 1, B = 2, T = 3, AS = 6 };

static void test_sections_and_names(const file f) {
    OPENS(0, 1, 'L');
    REFUSED(section(&f, "TENS"), 4, section_size(&f, "STRS"), "outside the");
    OPENS(section(&f, "TENS"), 4, section_size(&f, "STRS") - 1);
    REFUSED(section(&f, "STRS") + section_size(&f, "STRS") - 1, 1, 'x', "does not end with a zero byte");
    REFUSED(row_of(&f, "STAT") + 8, 8, section(&f, "STAT") + 4, "do not fit");
    REFUSED(row_of(&f, "INPT") + 8, 8, section(&f, "INPT") + 8, "do not fit"); /* it fits, but not at a multiple of 64 */
    REFUSED(row_of(&f, "STAT") + 8, 8, (f.size + 63) / 64 * 64, "do not fit");
    REFUSED(row_of(&f, "STAT") + 16, 8, f.size, "do not fit");
    REFUSED(row_of(&f, "STAT") + 16, 8, f.size - section(&f, "STAT") + 1, "do not fit");
    REFUSED(row_of(&f, "INPT") + 16, 8, section_size(&f, "INPT") + 1, "records of");
    REFUSED(row_of(&f, "INPT") + 4, 4, 0, "records of");
    REFUSED(row_of(&f, "STAT"), 1, 'X', "section STAT is missing");
    REFUSED(row_of(&f, "DATA") + 8, 8, section(&f, "TENS"), "overlap");
    REFUSED(row_of(&f, "VALS"), 4, 0x53525453, "section STRS occurs twice");
    REFUSED(24, 4, f.size / SECTION_ROW, "sections do not fit");
    file longer = {calloc(1, f.size + 64), f.size + 64};
    memcpy(longer.bytes, f.bytes, f.size);
    repair_crc(longer.bytes, longer.size);
    le_error err;
    CHECK(!le_model_open(longer.bytes, longer.size, NULL, &err) && strstr(err.message, "truncated or grew"), "%s", err.message);
    free(longer.bytes);
}

static void test_constants(const file f) {
    enum { RECORD = 104, DATA_AT = 8, SIZE = 16, SCALES = 24, COUNT = 32, DIMS = 40 };
    const size_t b = section(&f, "CNST"), t = b + RECORD, as = b + 2 * RECORD;
    REFUSED(b + 4, 4, LE_MAX_RANK + 1, "rank");
    REFUSED(b + DIMS, 8, -1, "negative or too large");
    REFUSED(b + DIMS, 8, WIDTH - 1, "elements inside section DATA");
    REFUSED(b + DATA_AT, 8, section(&f, "DATA") - 64, "inside section DATA");
    REFUSED(b + DATA_AT, 8, section(&f, "DATA") + 4, "inside section DATA");
    REFUSED(b + DATA_AT, 8, (section(&f, "DATA") + section_size(&f, "DATA")) / 64 * 64 + 64, "inside section DATA");
    REFUSED(as + DATA_AT, 8, (section(&f, "DATA") + section_size(&f, "DATA") - 8) / 64 * 64 + 64, "inside section DATA");
    REFUSED(as + COUNT, 8, 1, "scales without int8");
    REFUSED((size_t)get(&f, t + DATA_AT, 8) + 1, 1, 2, "bool element 1 is 2");
    REFUSED(t, 4, B, "no record of this constant");
    REFUSED(section(&f, "TENS") + 8 * B + 4, 1, 5, "not possible");
    REFUSED(section(&f, "TENS") + 8 * H + 4, 1, LE_I8, "not possible");
    REFUSED(section(&f, "TENS") + 8 * AS + 5, 1, 0, "constants");
}

static void test_nodes(const file f) {
    enum { FIRST_INDEX = 8, INPUTS = 12, FIRST_ATTR = 16, ATTRS = 20, RECORD = 32 };
    const size_t last = section(&f, "NODE") + RECORD, indices = section(&f, "IDXS"), attr = section(&f, "ATTR");
    REFUSED(last + FIRST_INDEX, 4, 4, "pass the end");
    REFUSED(last + FIRST_INDEX, 4, 7, "pass the end");
    REFUSED(last + FIRST_ATTR, 4, 2, "pass the end");
    REFUSED(last + FIRST_ATTR, 4, 3, "pass the end");
    REFUSED(last + ATTRS, 4, 2, "pass the end");
    REFUSED(last + INPUTS, 2, 1, "takes 2 to 2 inputs");
    REFUSED(last, 4, 0, "is not one this version runs");
    REFUSED(indices, 4, TENSORS, "tensor number 7 is not one of 7");
    REFUSED(indices, 4, -1, "tensor number -1 is not one of 7");
    REFUSED(indices, 4, TENSORS - 2, "read before it is written");
    REFUSED(indices + 5 * 4, 4, 4, "written twice");
    REFUSED(indices + 2 * 4, 4, B, "written twice");
    REFUSED(attr + 4, 1, 6, "does not fit section VALS");
    REFUSED(attr + 8, 4, 0, "does not fit section VALS");
    REFUSED(attr + 8, 4, 2, "does not fit section VALS");
    REFUSED(attr + 16, 8, 4, "does not fit section VALS");
    REFUSED(attr + 16, 8, (section_size(&f, "VALS") + 7) / 8 * 8, "does not fit section VALS");
    REFUSED(attr, 4, section_size(&f, "STRS"), "does not fit section VALS");
    REFUSED(section(&f, "VALS"), 4, section_size(&f, "STRS"), "attribute value 0");
    /* as many words as four bytes more than there are */
    file words = {malloc(f.size), f.size};
    memcpy(words.bytes, f.bytes, f.size);
    words.bytes[attr + 4] = 5;
    file kept = words;
    expect(&kept, attr + 8, 4, (section_size(&f, "VALS") / 4) + 1, "does not fit section VALS", __LINE__);
    memcpy(kept.bytes + attr + 16, &(uint64_t){8}, 8);
    expect(&kept, attr + 8, 4, section_size(&f, "VALS") / 4, "does not fit section VALS", __LINE__);
    free(words.bytes);
}

static void test_states(const file f) {
    enum { READ = 4, WRITE = 8, RANK = 12, FILL = 16, INITIAL = 20, DIMS = 32 };
    const size_t s = section(&f, "STAT");
    OPENS(s + INITIAL, 4, -1);
    REFUSED(s + INITIAL, 4, AS, "does not broadcast"); /* int32 */
    REFUSED(s + INITIAL, 4, T, "does not broadcast");
    REFUSED(s + INITIAL, 4, H, "is not a constant");
    REFUSED(s + INITIAL, 4, TENSORS, "is not a constant");
    REFUSED(s + INITIAL, 4, -2, "is not a constant");
    REFUSED(s + DIMS, 8, WIDTH + 1, "does not broadcast");
    REFUSED(s + DIMS, 8, WIDTH - 1, "does not broadcast");
    REFUSED(s + DIMS, 8, ((int64_t)1 << 40) + 1, "is not possible");
    REFUSED(s + DIMS + 8, 4, LE_FRAMES, "is not possible");
    REFUSED(s + RANK, 4, LE_MAX_RANK + 1, "rank");
    REFUSED(s + FILL, 4, 1, "fill axis 1");
    REFUSED(s + FILL, 4, -2, "fill axis -2");
    REFUSED(s + READ, 4, TENSORS, "is not one of 7");
    REFUSED(s + READ, 4, B, "is a constant");
    REFUSED(s + READ, 4, 0, "is an input or state, and something else too");
    REFUSED(s + WRITE, 4, TENSORS, "is not one of 7");
    REFUSED(section(&f, "OUTP") + READ, 4, TENSORS, "is not one of 7");
    REFUSED(section(&f, "OUTP") + 8, 4, 0, "expected rank -1");
    REFUSED(section(&f, "INPT") + READ, 4, B, "is a constant");
}

/* A file need not lie at a boundary of eight bytes. */
static void test_bytes_anywhere(const file f) {
    uint8_t *moved = malloc(f.size + 1);
    memcpy(moved + 1, f.bytes, f.size);
    le_error err;
    le_model *model = le_model_open(moved + 1, f.size, NULL, &err);
    CHECK(model != NULL, "%s", err.message);
    memset(moved, 0xff, f.size + 1); /* it is not looked at again */
    le_stream *stream = model ? le_stream_open(model, 1, 1, &err) : NULL;
    const float x[WIDTH] = {1, 1, 1, 1, 1, 1, 1, 1};
    float y[WIDTH] = {0};
    CHECK(stream && le_stream_run(stream, 1, (const void *[]){x}, (void *[]){y}, &err) == LE_OK);
    CHECK(y[0] == weights[0] + 1 && y[7] == weights[7] + 1);
    CHECK(model && strcmp(le_model_precision(model), "float32") == 0);
    le_stream_close(stream);
    le_model_close(model);
    free(moved);
}

/* Kernels count a weight's rows in an int, and round them up to whole vectors. */
static void test_as_many_rows_as_an_int_counts(void) {
    static builder b;
    memset(&b, 0, sizeof b);
    int x = tensor(&b, "x", LE_F32, 0, NULL, NULL), w = tensor(&b, "w", LE_F32, 0, NULL, NULL), y = tensor(&b, "y", LE_F32, 0, NULL, NULL);
    node(&b, "Conv", "wide", 2, (int[]){x, w}, 1, (int[]){y}, 0);
    input(&b, "x", x, 3, (le_dim[]){{1, LE_NUMBER}, {1, LE_NUMBER}, {1, LE_NUMBER}});
    input(&b, "w", w, 3, (le_dim[]){{INT32_MAX, LE_NUMBER}, {1, LE_NUMBER}, {1, LE_NUMBER}});
    output(&b, "y", y);
    size_t size;
    uint8_t *bytes = finish(&b, &size);
    le_error err;
    le_model *model = le_model_open(bytes, size, &(le_options){sizeof(le_options), NULL, INT64_MAX}, &err);
    CHECK(model != NULL, "%s", err.message);
    CHECK(model && !le_stream_open(model, 1, 1, &err) && strstr(err.message, "2147483647 x 1 is too large"), "%s", err.message);
    le_model_close(model);
    free(bytes);
}

/* The logarithm of a softmax, along the last axis and along one before it: that of 1, e and e^2 less log(1 + e + e^2). */
static void test_logarithm_of_softmax(int rows, int columns, int axis) {
    static builder b;
    memset(&b, 0, sizeof b);
    int x = tensor(&b, "x", LE_F32, 0, NULL, NULL), y = tensor(&b, "y", LE_F32, 0, NULL, NULL);
    int_attr(&b, "axis", axis);
    int_attr(&b, "log", 1);
    node(&b, "Softmax", "log", 1, (int[]){x}, 1, (int[]){y}, 2);
    input(&b, "x", x, 2, (le_dim[]){{rows, LE_NUMBER}, {columns, LE_NUMBER}});
    output(&b, "y", y);
    size_t size;
    uint8_t *bytes = finish(&b, &size);
    le_error err;
    le_model *model = le_model_open(bytes, size, NULL, &err);
    le_stream *stream = model ? le_stream_open(model, 1, 1, &err) : NULL;
    const float in[6] = {0, 1, 2, 0, 1, 2}, across[6] = {0, 0, 1, 1, 2, 2};
    float out[6] = {0};
    CHECK(stream && le_stream_run(stream, 1, (const void *[]){axis ? in : across}, (void *[]){out}, &err) == LE_OK, "%s", err.message);
    for (int i = 0; i < 6; i++) {
        const float wanted = (float)(axis ? i % 3 : i / 2) - 2.4076059644f;
        CHECK(out[i] - wanted < 1e-6f && wanted - out[i] < 1e-6f, "%d: %g", i, (double)out[i]);
    }
    le_stream_close(stream);
    le_model_close(model);
    free(bytes);
}

/* Numbers of streams and frames that no call takes. */
static void test_sizes_of_calls(const file f) {
    le_error err;
    le_model *model = le_model_open(f.bytes, f.size, NULL, &err);
    CHECK(model != NULL);
    const int64_t wrong[] = {-1, (int64_t)1 << 31, INT64_MAX, INT64_MIN};
    for (size_t i = 0; model && i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(!le_stream_open(model, wrong[i], 1, &err) && strstr(err.message, "batch: expected 1 to 2^31-1"), "%s", err.message);
        CHECK(!le_stream_open(model, 1, wrong[i], &err) && strstr(err.message, "frames: expected 0 to 2^31-1"), "%s", err.message);
    }
    CHECK(model && !le_stream_open(model, 0, 1, &err) && err.status == LE_ERR_VALUE);
    CHECK(model && !le_stream_open(model, 1, -1, NULL));
    le_model_close(model);
}

/* A weight by its blocks: 16 rows of 8 columns in 8 blocks, two of which it holds; and int8 with scales. */
static void test_blocks_and_scales(void) {
    static builder b;
    memset(&b, 0, sizeof b);
    static uint8_t held[64 + 2 * 64] = {0x81};
    static const int8_t small[WIDTH * 2] = {1, 2, 3};
    int x = tensor(&b, "x", LE_F32, 0, NULL, NULL), y = tensor(&b, "y", LE_F32, 0, NULL, NULL), z = tensor(&b, "z", LE_F32, 0, NULL, NULL);
    int w = tensor(&b, "w", LE_F32, 2, (int64_t[]){sizeof held / 4 / 8, 8}, held);
    int q = tensor(&b, "q", LE_I8, 2, (int64_t[]){2, WIDTH}, small);
    b.tens.bytes[w * 8 + 5] = 2; /* by its blocks, which has two sizes of its own: */
    memcpy(b.cnst.bytes + 40, &(int64_t){16}, 8);
    align(&b.data, 64);
    const uint64_t scales = b.data.size, two = 2;
    put(&b.data, weights, 16);
    memcpy(b.cnst.bytes + 104 + 24, &scales, 8);
    memcpy(b.cnst.bytes + 104 + 32, &two, 8);
    node(&b, "Dense", "wide", 2, (int[]){x, w}, 1, (int[]){y}, 0);
    node(&b, "Dense", "small", 2, (int[]){x, q}, 1, (int[]){z}, 0);
    input(&b, "x", x, 1, (le_dim[]){{WIDTH, LE_NUMBER}});
    output(&b, "y", y);
    output(&b, "z", z);
    file f;
    f.bytes = finish(&b, &f.size);
    const size_t record = section(&f, "CNST"), bits = (size_t)get(&f, record + 8, 8), scaled = record + 104;
    const uint64_t at = section(&f, "DATA") + scales;
    memcpy(f.bytes + scaled + 24, &at, 8);
    le_error err;
    repair_crc(f.bytes, f.size);
    le_model *model = le_model_open(f.bytes, f.size, NULL, &err);
    CHECK(model && strcmp(le_model_precision(model), "int8") == 0, "%s", err.message);
    le_model_close(model);
    OPENS(scaled + 32, 8, 2);
    OPENS(scaled + 32, 8, 4);
    REFUSED(scaled + 32, 8, 3, "scales at");
    REFUSED(scaled + 32, 8, 0, "scales at");
    REFUSED(scaled + 32, 8, 16, "scales at");
    REFUSED(scaled + 24, 8, at + 4, "scales at");
    REFUSED(bits, 1, 0x80, "bytes for 1 blocks");
    REFUSED(record + 48, 8, 7, "but bits behind them"); /* 7 blocks: the last bit is the first behind them */
    REFUSED(record + 48, 8, 6, "but bits behind them");
    REFUSED(record + 4, 4, 1, "rank 2 or more");
    OPENS(bits, 1, 0x11);
    free(f.bytes);
}

/* y = x, twice an output and twice a state's next value; a window of 3 that fills up, and what cannot answer before it has. */
static void test_tensors_named_twice_and_absent_states(void) {
    static builder b;
    memset(&b, 0, sizeof b);
    int x = tensor(&b, "x", LE_F32, 0, NULL, NULL), y = tensor(&b, "y", LE_F32, 0, NULL, NULL);
    int h = tensor(&b, "h", LE_F32, 0, NULL, NULL), k = tensor(&b, "k", LE_F32, 0, NULL, NULL);
    int past = tensor(&b, "past", LE_F32, 0, NULL, NULL), window = tensor(&b, "window", LE_F32, 0, NULL, NULL);
    int three = tensor(&b, "three", LE_F32, 0, NULL, NULL), left = tensor(&b, "left", LE_F32, 0, NULL, NULL);
    int kept = tensor(&b, "kept", LE_F32, 0, NULL, NULL);
    int one = tensor(&b, "one", LE_F32, 3, (int64_t[]){1, 1, 3}, (const float[]){1, 1, 1});
    int next = tensor(&b, "next", LE_F32, 3, (int64_t[]){1, 1, 1}, (const float[]){9});
    (void)next;
    word_attr(&b, "kind", "neg");
    node(&b, "Unary", "turn", 1, (int[]){x}, 1, (int[]){y}, 1);
    int_attr(&b, "axis", 2);
    node(&b, "Concat", "window", 2, (int[]){past, x}, 1, (int[]){window}, 1);
    node(&b, "Conv", "three", 2, (int[]){window, one}, 1, (int[]){three}, 0);
    word_attr(&b, "kind", "max");
    list_attr(&b, "axes", 2);
    node(&b, "Reduce", "kept", 1, (int[]){three}, 1, (int[]){kept}, 2); /* of no answers there is no largest: absent */
    list_attr(&b, "axes", 2);
    list_attr(&b, "starts", -2);
    list_attr(&b, "ends", 1000);
    node(&b, "Slice", "left", 1, (int[]){window}, 1, (int[]){left}, 3);
    le_dim dims[] = {{1, LE_NUMBER}, {1, LE_NUMBER}, {1, LE_NUMBER}}, two[] = {{1, LE_NUMBER}, {1, LE_NUMBER}, {2, LE_NUMBER}};
    input(&b, "x", x, 3, dims);
    output(&b, "y", y);
    output(&b, "again", y);
    output(&b, "kept", k);
    state(&b, "h", h, y, 3, dims);
    state(&b, "k", k, kept, 3, dims);
    memcpy(b.stat.bytes + 160 + 20, &next, 4); /* starts as 9 */
    state(&b, "past", past, left, 3, two);
    memcpy(b.stat.bytes + 320 + 16, &(int32_t){2}, 4); /* fills up */
    file f;
    f.bytes = finish(&b, &f.size);
    le_error err;
    le_model *model = le_model_open(f.bytes, f.size, NULL, &err);
    CHECK(model != NULL, "%s", err.message);
    le_stream *stream = model ? le_stream_open(model, 1, 1, &err) : NULL;
    CHECK(stream != NULL, "%s", err.message);
    for (int round = 0; stream && round < 2; round++) {
        float sum[3] = {0};
        for (int t = 0; t < 6; t++) {
            const float in = random_float();
            float first = 0, again = 0, before = 0;
            int64_t shape[LE_MAX_RANK];
            CHECK(le_stream_run(stream, 1, (const void *[]){&in}, (void *[]){&first, &again, &before}, &err) == LE_OK, "%s", err.message);
            CHECK(first == -in && again == -in);
            CHECK(((const float *)le_stream_state(stream, 0, shape))[0] == -in);
            /* The window answers from the third frame on; until then k stays what it was. */
            const float expected = t < 3 ? 9 : sum[0] + sum[1] + sum[2];
            CHECK(before - expected < 1e-6f && expected - before < 1e-6f, "frame %d: %g, %g", t, (double)before, (double)expected);
            sum[0] = sum[1];
            sum[1] = sum[2];
            sum[2] = in;
        }
        le_stream_reset(stream);
    }
    le_stream_close(stream);
    le_model_close(model);
    free(f.bytes);
}

int main(void) {
    const file f = of_every_kind();
    test_sections_and_names(f);
    test_constants(f);
    test_nodes(f);
    test_states(f);
    test_bytes_anywhere(f);
    test_as_many_rows_as_an_int_counts();
    test_logarithm_of_softmax(2, 3, 1);
    test_logarithm_of_softmax(3, 2, 0);
    test_sizes_of_calls(f);
    free(f.bytes);
    test_blocks_and_scales();
    test_tensors_named_twice_and_absent_states();
    return report();
}
