/* Every file of tests/corpus, which has every op: any one allocation of its life may fail, and any one field of it may be another. What follows is an
 * answer or an error with its words; ASan sees the rest. A few places of each file here, of fewer files
 * under emulation (LSTM_EDGE_TEST_STRIDE), all of them with LSTM_EDGE_TEST_THOROUGH (make coverage). */
#define _FILE_OFFSET_BITS 64 /* 32-bit readers of folders else refuse the numbers of files of a 64-bit system, as under qemu */
#include <dirent.h>

#include "allocations.h"
#include "call_any.h"
#include "check.h"
#include "lstm_file.h"

enum { MOST_BYTES = 1 << 13, FRAMES = 3, MEMORY = 1 << 20, EVERY_FILE = 20, EVERY_WORD = 397 };

static int thorough;

static le_status adapted(const le_model *model, le_stream *stream, le_error *err) {
    const le_port port = le_model_port(model, LE_OUTPUT, 0);
    const le_adaptation options = {.size = sizeof options,
                                   .time_major = port.rank % 2,
                                   .frames = 1,
                                   .values = 2,
                                   .horizon = 1,
                                   .each = 1,
                                   .forgetting = 1,
                                   .regularisation = 1};
    return le_stream_adaptation(stream, &options, err);
}

/* Opened, streamed in calls of 1, 3 and 0 frames, adapted, one of many: the first error of it. */
static le_status live(const uint8_t *file, size_t size, le_error *err) {
    uint32_t seed = (uint32_t)size;
    *err = (le_error){LE_OK, ""};
    le_model *model = le_model_open(file, size, &(le_options){sizeof(le_options), NULL, MEMORY}, err);
    if (!model)
        return err->status;
    const int few = le_model_count(model, LE_INPUT) <= MOST_PORTS && le_model_count(model, LE_OUTPUT) <= MOST_PORTS;
    le_stream *stream = few ? le_stream_open(model, 2, 1, err) : NULL;
    le_status status = stream ? LE_OK : err->status;
    if (stream) {
        if (le_model_count(model, LE_OUTPUT))
            (void)adapted(model, stream, &(le_error){LE_OK, ""});
        for (int frames = 0; frames <= FRAMES; frames++) {
            const le_status called = call_any(model, stream, 2, (frames + 1) % (FRAMES + 1), &seed);
            status = status == LE_OK ? called : status;
        }
        le_stream_reset(stream);
        le_many *many = le_many_open(model, 1, 1, 1, err);
        status = status == LE_OK && !many ? err->status : status;
        le_many_close(many);
    }
    le_stream_close(stream);
    le_model_close(model);
    return status;
}

static void test_failing_allocations(const char *name, const uint8_t *file, size_t size) {
    le_error err;
    const long before = allocations;
    const le_status whole = live(file, size, &err);
    const long count = allocations - before;
    for (long k = 1; k <= count; k++) {
        refused_allocation = allocations + k;
        const le_status status = live(file, size, &err);
        CHECK(status == LE_OK || status == LE_ERR_MEMORY || status == whole, "%s: allocation %ld of %ld: %d %s", name, k, count,
              (int)status, err.message);
        CHECK(err.status == LE_OK || err.message[0], "%s: allocation %ld: no words", name, k);
    }
    refused_allocation = 0;
}

static void test_changed_fields(const uint8_t *file, size_t size) {
    uint8_t copy[MOST_BYTES];
    memcpy(copy, file, size);
    for (size_t at = 64; at + 4 <= size; at += thorough ? 4 : 4 * EVERY_WORD) {
        uint32_t word;
        memcpy(&word, file + at, sizeof word);
        const uint32_t others[] = {0, 1, word - 1, word + 1, word ^ 0x100, 0x7fffffff, 0xffffffff};
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            memcpy(copy + at, &others[i], sizeof word);
            repair_crc(copy, size);
            le_error err;
            (void)live(copy, size, &err);
            CHECK(err.status == LE_OK || err.message[0], "byte %zu: no words", at);
        }
        memcpy(copy + at, &word, sizeof word);
    }
}

int main(void) {
    thorough = getenv("LSTM_EDGE_TEST_THOROUGH") != NULL;
    const uint32_t share = getenv("LSTM_EDGE_TEST_STRIDE") ? 8 : 1;
    DIR *folder = opendir("tests/corpus");
    CHECK(folder != NULL, "expected the root of the repository as the current folder");
    int files = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[512];
        uint8_t bytes[MOST_BYTES];
        snprintf(path, sizeof path, "tests/corpus/%s", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!file)
            continue;
        const size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        files++;
        const uint32_t chance = le_crc32(0, bytes, size);
        if (thorough || chance % EVERY_FILE == 0)
            test_failing_allocations(entry->d_name, bytes, size);
        if (thorough || chance % share == 0)
            test_changed_fields(bytes, size);
    }
    if (folder)
        closedir(folder);
    CHECK(files >= 100, "%d files", files);
    return report();
}
