/* What programs in C want beside the core: the version, and models out of files. Not part of the Python module, which opens files itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../core.h"

int le_version(void) { return LE_VERSION_NUMBER; }

/* The file's bytes in memory that goes back to the system (le_free), which holds `room` of them; NULL, and err set, where there is none. */
static void *read_file(FILE *file, const char *path, size_t *size, size_t *room, le_error *err) {
    const long end = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (end < 0 || fseek(file, 0, SEEK_SET) != 0) {
        le_fail(err, LE_ERR_FILE, "%.300s: expected a file, found what has no size: %s", path, strerror(errno));
        return NULL;
    }
    *room = (size_t)end + 1; /* never nothing */
    void *data = le_alloc(*room);
    if (!data) {
        le_fail(err, LE_ERR_MEMORY, "%.300s: cannot allocate %zu bytes", path, *room);
        return NULL;
    }
    *size = fread(data, 1, (size_t)end, file);
    if (!ferror(file))
        return data;
    le_fail(err, LE_ERR_FILE, "%.300s: cannot be read: %s", path, strerror(errno));
    le_free(data, *room);
    return NULL;
}

/* Puts the path in front of what went wrong with its content. */
static void name_path(le_error *err, const char *path) {
    le_error inner = *err;
    le_fail(err, inner.status, "%.200s: %s", path, inner.message);
}

le_model *le_model_load(const char *path, const le_options *options, le_error *err) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        le_fail(err, LE_ERR_FILE, "%.300s: cannot be opened: %s", path, strerror(errno));
        return NULL;
    }
    size_t size = 0, room = 0;
    void *data = read_file(file, path, &size, &room, err);
    fclose(file);
    if (!data)
        return NULL;
    le_model *model = le_model_open(data, size, options, err);
    if (!model && err)
        name_path(err, path);
    le_free(data, room);
    return model;
}
