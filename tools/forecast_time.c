/* forecast_time MODEL.lstm FRAMES QUANTILES COUNT TIMES: nanoseconds of COUNT runs of FRAMES frames that feed their answers back
 * (le_stream_roll), and of the same runs over the same inputs (le_stream_run_many), TIMES times in turn.
 * TIMES roll or steps: once, that one alone, for an instruction counter. The model: (1, frames, columns) to (1, frames, FRAMES, columns,
 * QUANTILES). tools/forecast_time.py calls it. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lstm_edge.h"

static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    void *data = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        *size = (size_t)ftell(file);
        rewind(file);
        data = malloc(*size);
        if (data && fread(data, 1, *size, file) != *size)
            *size = 0;
        fclose(file);
    }
    return data;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

int main(int n_arguments, char **arguments) {
    le_error err = {LE_OK, "wrong arguments"};
    size_t size = 0;
    void *file = n_arguments == 6 ? read_file(arguments[1], &size) : NULL;
    le_model *model = file ? le_model_open(file, size, NULL, &err) : NULL;
    const int64_t frames = model ? atoi(arguments[2]) : 1, quantiles = model ? atoi(arguments[3]) : 1,
                  count = model ? atoi(arguments[4]) : 1;
    le_stream *stream = model ? le_stream_open(model, 1, frames, &err) : NULL;
    if (!stream) {
        fprintf(stderr, "forecast_time: %s\n", err.message);
        return 2;
    }
    const int64_t columns = le_model_port(model, LE_INPUT, 0).dims[2].coef, row = columns * quantiles, answer = frames * row;
    const int64_t advance = frames * columns * (int64_t)sizeof(float), room = frames * answer * (int64_t)sizeof(float);
    float *inputs = calloc((size_t)count, (size_t)advance), *one = calloc(1, (size_t)room);
    float *kept = calloc((size_t)count, (size_t)answer * sizeof *kept), *all = calloc((size_t)count, (size_t)room);
    const int64_t last = (frames - 1) * answer;
    const le_feed feed = {
        .from = last + quantiles / 2, .size = {1, columns, frames}, .from_step = {0, quantiles, row}, .to_step = {0, 1, columns}};
    const le_feed keep = {.from = last, .size = {1, 1, answer}, .from_step = {0, 0, 1}};
    const le_roll roll = {sizeof roll, count, frames, 0, (void *[]){inputs}, &advance, (void *[]){one}, &room, &feed, 1, &keep, (void *[]){kept}, 1};
    const int times = atoi(arguments[5]);
    le_status status = LE_OK;
    for (int n = 0; n < (times ? times : 1) && status == LE_OK; n++) {
        double start = now(), took[2] = {0, 0};
        if (strcmp(arguments[5], "steps") != 0) {
            for (int64_t i = 0; i < frames * answer; i++)
                one[i] = 0.3f;
            status = le_stream_roll(stream, &roll, &err);
        }
        took[0] = now() - start;
        le_stream_reset(stream);
        start = now();
        if (status == LE_OK && strcmp(arguments[5], "roll") != 0)
            status = le_stream_run_many(stream, count, frames, (const void *[]){inputs}, (void *[]){all}, &err);
        took[1] = now() - start;
        le_stream_reset(stream);
        if (times)
            printf("%.0f %.0f\n", took[0], took[1]);
    }
    for (int64_t r = 0; times && r < count; r++)
        if (memcmp(kept + r * answer, all + r * frames * answer + last, (size_t)answer * sizeof *kept) != 0)
            return fprintf(stderr, "forecast_time: the answers differ\n"), 1;
    return status != LE_OK && fprintf(stderr, "forecast_time: %s\n", err.message);
}
