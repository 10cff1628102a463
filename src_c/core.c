/* Errors, attributes, allocation and shape helpers: what model.c, stream.c and every op use. */
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) /* which watches what malloc gives */
#define OWN_MAPPINGS
#define _DEFAULT_SOURCE /* mmap, madvise */
#include <sys/mman.h>
#endif

#include "binding.h"
#include "core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

le_status le_fail(le_error *err, le_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (err) {
        err->status = status;
        vsnprintf(err->message, sizeof err->message, format, args);
    }
    va_end(args);
    return status;
}

le_status le_fail_op(le_error *err, const le_node *node, le_status status, const char *format, ...) {
    if (!err)
        return status;
    err->status = status;
    int used = snprintf(err->message, sizeof err->message, "node %.120s (%s): ", node->name, node->type->name);
    va_list args;
    va_start(args, format);
    vsnprintf(err->message + used, sizeof err->message - (size_t)used, format, args);
    va_end(args);
    return status;
}

le_status le_take_struct(const char *what, const void *given, size_t least, size_t known, void *taken, le_error *err) {
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size < least)
        return le_fail(err, LE_ERR_VALUE, "%s: size: expected sizeof(le_%s), %zu, found %zu", what, what, known, size);
    for (size_t i = known; i < size; i++)
        if (((const uint8_t *)given)[i])
            return le_fail(err, LE_ERR_VALUE, "%s: byte %zu: expected 0, as this version knows %zu bytes, found a newer field", what, i,
                           known);
    memset(taken, 0, known);
    memcpy(taken, given, size < known ? size : known);
    return LE_OK;
}

/* ---- numbers ---- */

size_t le_dtype_size(le_dtype dtype) {
    static const uint8_t size[] = {[LE_F32] = 4, [LE_I32] = 4, [LE_BOOL] = 1, [LE_F16] = 2, [LE_I8] = 1};
    return size[dtype];
}

enum { SLICES = 8 };

/* table[k][b]: what a byte b does to a checksum k bytes later, by zlib's polynomial. */
static void make_crc_table(uint32_t table[SLICES][256]) {
    for (uint32_t b = 0; b < 256; b++) {
        table[0][b] = b;
        for (int bit = 0; bit < 8; bit++)
            table[0][b] = table[0][b] >> 1 ^ (table[0][b] & 1 ? 0xedb88320 : 0);
    }
    for (int k = 1; k < SLICES; k++)
        for (int b = 0; b < 256; b++)
            table[k][b] = table[0][table[k - 1][b] & 255] ^ table[k - 1][b] >> 8;
}

/* Eight bytes at a time, which takes a fifth of the time of one after the other: it was half of the opening of a model. The table is made
 * anew, as that takes no longer than some kB of a file and a table in the program would be 8 kB of every wheel. */
uint32_t le_crc32(uint32_t crc, const void *data, size_t size) {
    uint32_t table[SLICES][256];
    make_crc_table(table);
    const uint8_t *bytes = data;
    crc = ~crc;
    for (; size >= SLICES; size -= SLICES, bytes += SLICES) {
        uint32_t next = 0, low, high;
        memcpy(&low, bytes, sizeof low);
        memcpy(&high, bytes + 4, sizeof high);
        low ^= crc;
        for (int k = 0; k < 4; k++)
            next ^= table[7 - k][low >> 8 * k & 255] ^ table[3 - k][high >> 8 * k & 255];
        crc = next;
    }
    for (size_t i = 0; i < size; i++)
        crc = table[0][(crc ^ bytes[i]) & 255] ^ crc >> 8;
    return ~crc;
}

bool le_mul_size(int64_t a, int64_t b, int64_t *out) {
    const int64_t limit = (int64_t)1 << 40;
    if (a < 0 || b < 0 || (a != 0 && b > limit / a))
        return false;
    *out = a * b;
    return true;
}

bool le_dims_fit(int rank, const int64_t *dims) {
    int64_t count = 1;
    for (int d = 0; d < rank; d++)
        if (dims[d] < 0 || !le_mul_size(count, dims[d] ? dims[d] : 1, &count))
            return false;
    return true;
}

/* ---- the model's memory ---- */

struct le_block {
    struct le_block *next;
    size_t size; /* with this head */
};

void *le_model_alloc(le_model *model, size_t size);
void le_model_free_blocks(le_model *model);

#ifdef OWN_MAPPINGS
enum { OWN_PAGES = 1 << 17, HUGE_PAGE = 1 << 21, LARGE = 2 * HUGE_PAGE };

/* Of 4 kB, or of the 64 kB that some kernels have, where there is something to cut off. */
static size_t whole_pages(size_t size) {
    const size_t page = size >= LARGE ? 1 << 16 : 1 << 12;
    return (size + page - 1) / page * page;
}

/* At a boundary of 2 MB, in pages of that size where the kernel has them: 100 float32 steps of 512x1024 took 0.86 of their time so (median of
 * 13 pairs). What lies before and behind goes back. */
static void *huge_pages(uint8_t *data, size_t size) {
    const size_t before = (size_t)(-(intptr_t)data & (HUGE_PAGE - 1));
    if (before)
        munmap(data, before);
    if (before < HUGE_PAGE)
        munmap(data + before + size, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(data + before, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* refused: pages are as ever */
#endif
    return data + before;
}

void *le_alloc(size_t size) {
    if (size < OWN_PAGES)
        return calloc(1, size);
    if (size > SIZE_MAX / 2)
        return NULL;
    const size_t pages = whole_pages(size);
    void *data = mmap(NULL, pages + (size >= LARGE ? HUGE_PAGE : 0), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return NULL;
    return size >= LARGE ? huge_pages(data, pages) : data;
}

void le_free(void *data, size_t size) {
    if (size < OWN_PAGES)
        free(data);
    else if (data)
        munmap(data, whole_pages(size));
}
#else
void *le_alloc(size_t size) { return calloc(1, size); }

void le_free(void *data, size_t size) {
    (void)size;
    free(data);
}
#endif

le_status le_fail_limit(le_error *err, const char *what, uint64_t more, uint64_t held, uint64_t limit) {
    return le_fail(
        err, LE_ERR_LIMIT,
        "%s asks for %llu bytes of memory beside %llu that are held, and the limit is %llu; for a file that you trust, max_memory "
        "raises it (lstm_edge.load, --max-memory, le_options)",
        what, (unsigned long long)more, (unsigned long long)held, (unsigned long long)limit);
}

bool le_model_may_hold(le_model *model, uint64_t more) {
    if (!model->limit || (model->bytes <= model->limit && more <= model->limit - model->bytes))
        return true;
    model->refused = more;
    return false;
}

/* At a boundary of 64 bytes, with as many zeros behind. */
void *le_model_alloc(le_model *model, size_t size) {
    const size_t room = sizeof(struct le_block) + size + 128;
    struct le_block *block = room > size && le_model_may_hold(model, room) ? le_alloc(room) : NULL;
    if (!block)
        return NULL;
    *block = (struct le_block){model->blocks, room};
    model->blocks = block;
    model->bytes += room;
    uint8_t *data = (uint8_t *)(block + 1);
    return data + (-(intptr_t)data & 63);
}

void le_model_free_blocks(le_model *model) {
    struct le_block *block = model->blocks;
    while (block) {
        struct le_block *next = block->next;
        le_free(block, block->size);
        block = next;
    }
    model->blocks = NULL;
}

void *le_pack_alloc(le_pack_ctx *ctx, size_t size) {
    void *data = le_model_alloc(ctx->model, size);
    if (!data)
        le_fail_op(ctx->err, ctx->node, LE_ERR_MEMORY, "cannot allocate %zu bytes", size);
    return data;
}

const le_tensor_def *le_pack_const(const le_pack_ctx *ctx, int i) {
    if (i >= ctx->node->n_in || ctx->node->in[i] < 0)
        return NULL;
    const le_tensor_def *tensor = &ctx->tensors[ctx->node->in[i]];
    return tensor->is_const ? tensor : NULL;
}

/* ---- attributes ---- */

const le_attr *le_attr_find(const le_node *node, const char *key) {
    for (int i = 0; i < node->n_attr; i++)
        if (strcmp(node->attrs[i].key, key) == 0)
            return &node->attrs[i];
    return NULL;
}

static le_status wrong_kind(le_pack_ctx *ctx, const char *key, const char *expected) {
    return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected %s", key, expected);
}

le_status le_attr_int(le_pack_ctx *ctx, const char *key, int64_t fallback, int64_t low, int64_t high, int64_t *value) {
    const le_attr *attr = le_attr_find(ctx->node, key);
    *value = fallback;
    if (!attr)
        return LE_OK;
    if (attr->kind != LE_ATTR_INT)
        return wrong_kind(ctx, key, "an int");
    *value = attr->ints[0];
    if (*value < low || *value > high)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected %lld to %lld, found %lld", key, (long long)low,
                          (long long)high, (long long)*value);
    return LE_OK;
}

le_status le_attr_float(le_pack_ctx *ctx, const char *key, float fallback, float *value) {
    const le_attr *attr = le_attr_find(ctx->node, key);
    *value = fallback;
    if (!attr)
        return LE_OK;
    if (attr->kind != LE_ATTR_FLOAT)
        return wrong_kind(ctx, key, "a float");
    *value = attr->floats[0];
    return LE_OK;
}

le_status le_attr_word(le_pack_ctx *ctx, const char *key, const char *fallback, const char *const *words, int *index) {
    const le_attr *attr = le_attr_find(ctx->node, key);
    if (attr && attr->kind != LE_ATTR_STR)
        return wrong_kind(ctx, key, "a string");
    const char *word = attr ? attr->strs[0] : fallback;
    for (*index = 0; words[*index]; ++*index)
        if (strcmp(words[*index], word) == 0)
            return LE_OK;
    *index = 0;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_UNSUPPORTED, "attribute %s: unknown word '%.60s'", key, word);
}

le_status le_attr_ints(le_pack_ctx *ctx, const char *key, int max, int64_t low, int64_t high, int64_t *values, int *count) {
    const le_attr *attr = le_attr_find(ctx->node, key);
    *count = 0;
    if (!attr)
        return LE_OK;
    if (attr->kind != LE_ATTR_INTS)
        return wrong_kind(ctx, key, "ints");
    if (attr->count > max)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected at most %d values, found %d", key, max, attr->count);
    for (int i = 0; i < attr->count; i++) {
        if (attr->ints[i] < low || attr->ints[i] > high)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s[%d]: expected %lld to %lld, found %lld", key, i,
                              (long long)low, (long long)high, (long long)attr->ints[i]);
        values[i] = attr->ints[i];
    }
    *count = attr->count;
    return LE_OK;
}

le_status le_attr_floats(le_pack_ctx *ctx, const char *key, int max, float *values, int *count) {
    const le_attr *attr = le_attr_find(ctx->node, key);
    *count = 0;
    if (!attr)
        return LE_OK;
    if (attr->kind != LE_ATTR_FLOATS)
        return wrong_kind(ctx, key, "floats");
    if (attr->count > max)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_FORMAT, "attribute %s: expected at most %d values, found %d", key, max, attr->count);
    *count = attr->count;
    memcpy(values, attr->floats, (size_t)attr->count * sizeof *values);
    return LE_OK;
}

le_status le_attr_check(le_pack_ctx *ctx, const char *const *keys) {
    for (int i = 0; i < ctx->node->n_attr; i++) {
        const char *const *key = keys;
        while (*key && strcmp(*key, ctx->node->attrs[i].key) != 0)
            key++;
        if (!*key)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_UNSUPPORTED, "unknown attribute '%.60s'", ctx->node->attrs[i].key);
    }
    return LE_OK;
}

le_status le_attr_activation(le_pack_ctx *ctx, const char *key, le_activation *act) {
    int kind = 0;
    le_status status = le_attr_word(ctx, key, "linear", le_act_names, &kind);
    act->kind = (le_act)kind;
    if (status == LE_OK)
        status = le_attr_float(ctx, "alpha", 0, &act->alpha);
    if (status == LE_OK)
        status = le_attr_float(ctx, "beta", 0, &act->beta);
    return status;
}

/* ---- shapes ---- */

int64_t le_count(const le_tensor *t) {
    int64_t count = 1;
    for (int d = 0; d < t->rank; d++)
        count *= t->dims[d];
    return count;
}

void le_like(le_tensor *out, const le_tensor *x, le_dtype dtype) {
    out->dtype = dtype;
    out->rank = x->rank;
    memcpy(out->dims, x->dims, sizeof out->dims);
}

le_status le_axis(le_ctx *ctx, int64_t axis, int rank, int *out) {
    if (axis < -rank || axis >= rank)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "axis: expected %d to %d, found %lld", -rank, rank - 1, (long long)axis);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return LE_OK;
}

le_status le_expect_dtype(le_ctx *ctx, int i, le_dtype dtype) {
    static const char *const names[] = {"float32", "int32", "bool", "float16", "int8"};
    if (ctx->in[i]->dtype == dtype)
        return LE_OK;
    return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "input %d: expected dtype %s, found %s", i, names[dtype],
                      names[ctx->in[i]->dtype]);
}

le_status le_broadcast(le_ctx *ctx, const le_tensor *a, const le_tensor *b, le_tensor *out) {
    int rank = a->rank > b->rank ? a->rank : b->rank;
    for (int d = 0; d < rank; d++) {
        int da = d - (rank - a->rank), db = d - (rank - b->rank);
        int64_t na = da < 0 ? 1 : a->dims[da], nb = db < 0 ? 1 : b->dims[db];
        if (na != nb && na != 1 && nb != 1)
            return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE,
                              "cannot broadcast: axis %d of the result is %lld in one input, %lld in another", d, (long long)na,
                              (long long)nb);
        out->dims[d] = na == 1 ? nb : na;
    }
    out->rank = rank;
    return LE_OK;
}
