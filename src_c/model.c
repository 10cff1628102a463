/* Reads a .lstm file: verifies all of it (docs/format.md), then packs the weights for one ISA. */
#include <stdlib.h>
#include <string.h>

#include "binding.h"
#include "core.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "lstm_edge reads its little-endian files in place and is built for little-endian machines only"
#endif

#define FORMAT_MAJOR 2 /* files with neither block-stored constants nor input_bits are version 1 */

/* What a file may ask for by itself when its caller sets no limit; with what Python and the file's own bytes take, 64 MB and 20 times the file. */
enum { FREE_BYTES = 56 << 20, PER_BYTE = 16 };
/* Bytes of shared constants are looked at by every node that has them: so many times the limit, and a file is refused. */
enum { WORK = 16 };
/* More than any writer makes, few enough to be compared with one another. */
enum { MOST_SECTIONS = 1024, MOST_ATTRS = 64, MOST_STRINGS = 64, NAMES = 4 << 20 };

void *le_model_alloc(le_model *model, size_t size);
void le_model_free_blocks(le_model *model);

/* ---- records as they lie in the file ---- */

typedef struct {
    char magic[8];
    uint16_t major, minor;
    uint32_t crc;
    uint64_t file_size;
    uint32_t sections, zero;
    uint8_t reserved[32];
} file_header;

typedef struct {
    char kind[4];
    uint32_t count;
    uint64_t offset, size, zero;
} file_section;

typedef struct {
    uint32_t name;
    uint8_t dtype, is_const, zero[2];
} file_tensor;

enum { BY_BLOCKS = 2 }; /* is_const */

typedef struct {
    uint32_t tensor, rank;
    uint64_t data_offset, data_size, scale_offset, scale_count;
    int64_t dims[LE_MAX_RANK];
} file_const;

typedef struct {
    uint32_t op, name, first_index;
    uint16_t n_in, n_out;
    uint32_t first_attr, n_attr;
    uint64_t zero;
} file_node;

typedef struct {
    uint32_t key;
    uint8_t kind, zero8[3];
    uint32_t count, zero;
    uint64_t offset;
} file_attr;

typedef struct {
    int64_t coef;
    uint32_t symbol, zero;
} file_dim;

typedef struct {
    uint32_t name, tensor;
    int32_t rank;
    uint32_t zero;
    file_dim dims[LE_MAX_RANK];
} file_port;

typedef struct {
    uint32_t name, read, write, rank;
    int32_t fill_axis, initial;
    uint64_t zero;
    file_dim dims[LE_MAX_RANK];
} file_state;

_Static_assert(sizeof(file_header) == 64 && sizeof(file_section) == 32 && sizeof(file_tensor) == 8 && sizeof(file_const) == 104,
               "docs/format.md");
_Static_assert(sizeof(file_node) == 32 && sizeof(file_attr) == 24 && sizeof(file_port) == 144 && sizeof(file_state) == 160,
               "docs/format.md");

enum { STRS, TENS, CNST, DATA, NODE, IDXS, ATTR, VALS, INPT, OUTP, STAT, META, TEST, KINDS };
static const struct {
    char kind[5];
    uint8_t record; /* bytes; 0: a byte section */
    uint8_t needed;
    uint8_t kept; /* the model points into it */
} kinds[KINDS] = {{"STRS", 0, 1, 1},
                  {"TENS", sizeof(file_tensor), 1, 0},
                  {"CNST", sizeof(file_const), 1, 0},
                  {"DATA", 0, 1, 0},
                  {"NODE", sizeof(file_node), 1, 0},
                  {"IDXS", 4, 1, 1},
                  {"ATTR", sizeof(file_attr), 1, 0},
                  {"VALS", 0, 1, 1},
                  {"INPT", sizeof(file_port), 1, 0},
                  {"OUTP", sizeof(file_port), 1, 0},
                  {"STAT", sizeof(file_state), 1, 0},
                  {"META", 0, 0, 1},
                  {"TEST", 0, 0, 0}};

typedef struct {
    const uint8_t *file; /* the caller's: gone when the model is open */
    size_t size;
    file_section section[KINDS];
    const uint8_t *at[KINDS]; /* in the file, or in what the model keeps of it */
    le_attr *attrs;           /* of all nodes, in the order of the file's */
    uint64_t work;            /* bytes of constants that were looked at: nodes may share them, and each looks anew */
    uint64_t spelled;         /* bytes of names */
    le_model *model;
    le_error *err;
} reader;

#define BAD(...) le_fail(r->err, LE_ERR_FORMAT, __VA_ARGS__)
#define TRY(call)              \
    do {                       \
        le_status s_ = (call); \
        if (s_ != LE_OK)       \
            return s_;         \
    } while (0)

static const void *records(const reader *r, int kind) { return r->at[kind]; }

static int record_count(const reader *r, int kind) { return (int)r->section[kind].count; }

static const char *string_at(const reader *r, uint32_t offset) {
    return offset < r->section[STRS].size ? (const char *)r->at[STRS] + offset : NULL;
}

/* Names may share a string, or be the end of a longer one: their lengths are added up, since whoever lists them has each by itself. */
static le_status read_name(reader *r, uint32_t offset, const char *place, int index, const char **name) {
    *name = string_at(r, offset);
    if (!*name)
        return BAD("%s %d: name at %u is outside the %llu bytes of section STRS", place, index, offset,
                   (unsigned long long)r->section[STRS].size);
    r->spelled += strlen(*name);
    return r->spelled <= NAMES + 4 * (uint64_t)r->size ? LE_OK
                                                       : BAD("%s %d: the names up to here have %llu bytes, in a file of %zu", place, index,
                                                             (unsigned long long)r->spelled, r->size);
}

static void *model_array(reader *r, int count, size_t size) {
    void *data = le_model_alloc(r->model, (size_t)count * size);
    if (!data)
        le_fail(r->err, LE_ERR_MEMORY, "cannot allocate %d records of %zu bytes", count, size);
    return data;
}

/* ---- header and sections ---- */

static le_status check_header(const void *data, size_t size, le_error *err) {
    if (size < sizeof(file_header))
        return le_fail(err, LE_ERR_FORMAT, "header: expected at least 64 bytes, found %zu", size);
    file_header head;
    memcpy(&head, data, sizeof head);
    if (memcmp(head.magic, "LSTMEDGE", 8) != 0)
        return le_fail(
            err, LE_ERR_FORMAT,
            "header: expected magic 'LSTMEDGE': this is not a .lstm file; convert it first: lstm_edge.convert or lstm-edge convert");
    if (head.major > FORMAT_MAJOR || head.major == 0)
        return le_fail(err, LE_ERR_FORMAT, "header: expected major version %d or older, found %u.%u: a newer lstm_edge wrote this file",
                       FORMAT_MAJOR, head.major, head.minor);
    if (head.file_size != size)
        return le_fail(err, LE_ERR_FORMAT, "header: expected %llu bytes, found %zu: the file is truncated or grew",
                       (unsigned long long)head.file_size, size);
    uint32_t crc = le_crc32(0, (const uint8_t *)data + 16, size - 16);
    if (crc != head.crc)
        return le_fail(err, LE_ERR_FORMAT, "header: expected CRC32 %08x, found %08x: the file is damaged", head.crc, crc);
    if (head.sections > (size - sizeof head) / sizeof(file_section))
        return le_fail(err, LE_ERR_FORMAT, "header: %u sections do not fit in %zu bytes", head.sections, size);
    if (head.sections > MOST_SECTIONS)
        return le_fail(err, LE_ERR_FORMAT, "header: expected at most %d sections, found %u", MOST_SECTIONS, head.sections);
    return LE_OK;
}

static le_status check_section(reader *r, const file_section *s, int known, uint64_t table_end) {
    uint64_t size = r->size;
    if (s->offset % 64 || s->offset < table_end || s->offset > size || s->size > size - s->offset)
        return BAD("section %.4s: offset %llu and size %llu do not fit in a file of %llu bytes", s->kind, (unsigned long long)s->offset,
                   (unsigned long long)s->size, (unsigned long long)size);
    if (known < 0)
        return LE_OK;
    if (r->section[known].kind[0])
        return BAD("section %.4s occurs twice", s->kind);
    if (kinds[known].record ? s->size != (uint64_t)s->count * kinds[known].record : s->count != 0)
        return BAD("section %.4s: %u records of %d bytes, but %llu bytes", s->kind, s->count, kinds[known].record,
                   (unsigned long long)s->size);
    if (s->count > (1u << 24))
        return BAD("section %.4s: expected at most 2^24 records, found %u", s->kind, s->count);
    r->section[known] = *s;
    return LE_OK;
}

static size_t rounded(uint64_t size) { return (size_t)((size + 63) / 64 * 64); }

/* Copies what the model points into; weights follow by themselves, since most are needed until they are packed and no longer. */
static le_status keep_sections(reader *r) {
    size_t size = 0;
    for (int k = 0; k < KINDS; k++)
        size += kinds[k].kept ? rounded(r->section[k].size) : 0;
    uint8_t *to = le_model_alloc(r->model, size);
    if (!to)
        return le_fail(r->err, LE_ERR_MEMORY, "cannot allocate %zu bytes", size);
    for (int k = 0; k < KINDS; k++) {
        r->at[k] = r->file + r->section[k].offset;
        if (!kinds[k].kept || !r->section[k].size)
            continue;
        memcpy(to, r->at[k], (size_t)r->section[k].size);
        r->at[k] = to;
        to += rounded(r->section[k].size);
    }
    r->model->metadata = (const char *)r->at[META];
    r->model->metadata_size = (size_t)r->section[META].size;
    return LE_OK;
}

static le_status read_sections(reader *r) {
    const file_header *head = (const void *)r->file;
    const file_section *table = (const void *)(r->file + sizeof *head);
    uint64_t table_end = sizeof *head + (uint64_t)head->sections * sizeof *table;
    for (uint32_t i = 0; i < head->sections; i++) {
        int known = KINDS - 1;
        while (known >= 0 && memcmp(kinds[known].kind, table[i].kind, 4) != 0)
            known--;
        TRY(check_section(r, &table[i], known, table_end));
        for (uint32_t j = 0; j < i; j++)
            if (table[i].offset < table[j].offset + table[j].size && table[j].offset < table[i].offset + table[i].size)
                return BAD("sections %.4s and %.4s overlap", table[j].kind, table[i].kind);
    }
    for (int k = 0; k < KINDS; k++)
        if (kinds[k].needed && !r->section[k].kind[0])
            return BAD("section %s is missing", kinds[k].kind);
    const file_section *strs = &r->section[STRS];
    if (strs->size == 0 || r->file[strs->offset + strs->size - 1] != 0)
        return BAD("section STRS does not end with a zero byte");
    return keep_sections(r);
}

/* ---- records ---- */

static bool in_data(const reader *r, uint64_t offset, uint64_t size) {
    const file_section *s = &r->section[DATA];
    return offset % 64 == 0 && offset >= s->offset && offset - s->offset <= s->size && size <= s->size - (offset - s->offset);
}

/* ---- constants stored by their blocks: BLOCK_ROWS rows of one column ---- */

enum { BLOCK_ROWS = 16 };

static int64_t block_count(const le_tensor_def *t, int64_t elements) {
    const int64_t columns = t->dims[t->rank - 1];
    return columns ? (elements / columns + BLOCK_ROWS - 1) / BLOCK_ROWS * columns : 0;
}

static int64_t bits_size(int64_t blocks) { return (blocks + 511) / 512 * 64; }

static bool holds(const uint8_t *bits, int64_t block) { return bits[block / 8] >> block % 8 & 1; }

/* As many bytes as the bits say, and no bit behind the last block. */
static le_status read_blocks(reader *r, const file_const *f, int64_t elements, le_tensor_def *t) {
    if (t->rank < 2 || (t->dtype != LE_F32 && t->dtype != LE_F16 && t->dtype != LE_I8))
        return BAD("tensor %u (%.60s): expected a weight of rank 2 or more to be stored by its blocks", f->tensor, t->name);
    const int64_t blocks = block_count(t, elements);
    int64_t held = 0;
    if (!in_data(r, f->data_offset, f->data_size) || (uint64_t)((blocks + 7) / 8) > f->data_size)
        return BAD("tensor %u (%.60s): expected %lld blocks inside section DATA, found %llu bytes at %llu", f->tensor, t->name,
                   (long long)blocks, (unsigned long long)f->data_size, (unsigned long long)f->data_offset);
    t->blocks = r->file + f->data_offset;
    for (int64_t b = 0; b < (blocks + 7) / 8 * 8; b++) {
        if (holds(t->blocks, b) && b >= blocks)
            return BAD("tensor %u (%.60s): it has %lld blocks, but bits behind them", f->tensor, t->name, (long long)blocks);
        held += holds(t->blocks, b);
    }
    const uint64_t size = (uint64_t)bits_size(blocks) + (uint64_t)held * BLOCK_ROWS * le_dtype_size(t->dtype);
    return f->data_size == size ? LE_OK
                                : BAD("tensor %u (%.60s): expected %llu bytes for %lld blocks, found %llu", f->tensor, t->name,
                                      (unsigned long long)size, (long long)held, (unsigned long long)f->data_size);
}

static size_t constant_size(const le_tensor_def *t) {
    size_t count = 1;
    for (int d = 0; d < t->rank; d++)
        count *= (size_t)t->dims[d];
    return count * le_dtype_size(t->dtype);
}

/* The whole weight, from le_alloc; NULL when memory is out. */
static void *join_blocks(const le_tensor_def *t) {
    int64_t elements = 1;
    for (int d = 0; d < t->rank; d++)
        elements *= t->dims[d];
    const size_t width = le_dtype_size(t->dtype);
    const int64_t columns = t->dims[t->rank - 1], blocks = block_count(t, elements);
    uint8_t *whole = le_alloc(constant_size(t));
    const uint8_t *from = t->blocks + bits_size(blocks);
    for (int64_t b = 0; whole && b < blocks; b++) {
        if (!holds(t->blocks, b))
            continue;
        for (int64_t at = b / columns * BLOCK_ROWS * columns + b % columns, j = 0; j < BLOCK_ROWS; j++, at += columns, from += width)
            if (at < elements)
                memcpy(whole + (size_t)at * width, from, width);
    }
    return whole;
}

/* Whether a node reads a constant there in its pack alone, and may be given one that is stored by its blocks. */
static bool may_be_blocks(const le_node *node, int input) {
    static const char *const recurrences[] = {"LSTM", "GRU", "RNN"};
    if (strcmp(node->type->name, "Dense") == 0)
        return input == 1;
    for (int i = 0; i < 3; i++)
        if (strcmp(node->type->name, recurrences[i]) == 0)
            return input == 1 || input == 2 || (i == 0 && input == 9 /* w_proj */);
    return false;
}

/* Whether a node reads a constant there in its pack alone. */
static bool only_packs(const le_node *node, int input) {
    static const char *const products[] = {"Conv", "ConvTranspose", "MatMul", "ConvLSTM"};
    for (int i = 0; i < 4; i++)
        if (strcmp(node->type->name, products[i]) == 0)
            return input == 1;
    return may_be_blocks(node, input);
}

static le_status add_work(reader *r, uint64_t bytes) {
    r->work += bytes;
    return r->work / WORK <= r->model->limit
               ? LE_OK
               : le_fail(r->err, LE_ERR_LIMIT,
                         "constants: expected nodes and records that share at most %d times the limit of memory, %llu bytes, found more; "
                         "max_memory raises it",
                         WORK, (unsigned long long)r->model->limit);
}

static le_status read_constant(reader *r, const file_const *f, bool by_blocks, le_tensor_def *t) {
    if (f->rank > LE_MAX_RANK)
        return BAD("tensor %u (%.60s): expected rank 0 to %d, found %u", f->tensor, t->name, LE_MAX_RANK, f->rank);
    t->rank = (int)f->rank;
    memcpy(t->dims, f->dims, sizeof t->dims);
    if (!le_dims_fit(t->rank, t->dims))
        return BAD("tensor %u (%.60s): its sizes are negative or too large", f->tensor, t->name);
    int64_t count = 1;
    for (int d = 0; d < t->rank; d++)
        count *= t->dims[d];
    const size_t most = SIZE_MAX / 2 / sizeof(float); /* where size_t has 32 bits, a weight widened to float32 must still have a size */
    if ((uint64_t)count > most)
        return BAD("tensor %u (%.60s): expected at most %zu elements on this machine, found %lld", f->tensor, t->name, most,
                   (long long)count);
    TRY(add_work(r, f->data_size));
    if (by_blocks)
        TRY(read_blocks(r, f, count, t));
    else if (f->data_size != (uint64_t)count * le_dtype_size(t->dtype) || !in_data(r, f->data_offset, f->data_size))
        return BAD("tensor %u (%.60s): expected %lld elements inside section DATA, found %llu bytes at %llu", f->tensor, t->name,
                   (long long)count, (unsigned long long)f->data_size, (unsigned long long)f->data_offset);
    if (!by_blocks)
        t->data = r->file + f->data_offset;
    if (t->dtype == LE_BOOL)
        for (int64_t j = 0; j < count; j++)
            if (((const uint8_t *)t->data)[j] > 1)
                return BAD("tensor %u (%.60s): bool element %lld is %d", f->tensor, t->name, (long long)j, ((const uint8_t *)t->data)[j]);
    if (t->dtype != LE_I8)
        return f->scale_count == 0 ? LE_OK : BAD("tensor %u (%.60s): scales without int8", f->tensor, t->name);
    if (f->scale_count == 0 || f->scale_count > (uint64_t)INT32_MAX || (uint64_t)count % f->scale_count ||
        !in_data(r, f->scale_offset, f->scale_count * 4))
        return BAD("tensor %u (%.60s): %llu scales at %llu do not fit %lld elements", f->tensor, t->name,
                   (unsigned long long)f->scale_count, (unsigned long long)f->scale_offset, (long long)count);
    t->scale = (const float *)(const void *)(r->file + f->scale_offset);
    t->n_scale = (int64_t)f->scale_count;
    return LE_OK;
}

/* Records of CNST belong to the constants in order. */
static le_status read_constants(reader *r) {
    const file_const *file = records(r, CNST);
    int n = record_count(r, CNST), next = 0;
    for (int i = 0; i < r->model->n_tensors; i++) {
        le_tensor_def *t = &r->model->tensors[i];
        if (!t->is_const)
            continue;
        if (next == n || file[next].tensor != (uint32_t)i)
            return BAD("tensor %d (%.60s): section CNST has no record of this constant in its place", i, t->name);
        const file_tensor *tensor = (const file_tensor *)records(r, TENS) + i;
        TRY(read_constant(r, &file[next++], tensor->is_const == BY_BLOCKS, t));
    }
    return next == n ? LE_OK : BAD("section CNST: %d records, but %d constants", n, next);
}

static le_status read_tensors(reader *r) {
    const file_tensor *file = records(r, TENS);
    int n = record_count(r, TENS);
    le_tensor_def *tensors = model_array(r, n, sizeof *tensors);
    if (!tensors)
        return LE_ERR_MEMORY;
    r->model->tensors = tensors;
    r->model->n_tensors = n;
    for (int i = 0; i < n; i++) {
        TRY(read_name(r, file[i].name, "tensor", i, &tensors[i].name));
        tensors[i].is_const = file[i].is_const != 0;
        if (file[i].dtype > LE_I8 || file[i].is_const > BY_BLOCKS || (!tensors[i].is_const && file[i].dtype > LE_BOOL))
            return BAD("tensor %d (%.60s): dtype %d, constant %d are not possible", i, tensors[i].name, file[i].dtype, file[i].is_const);
        tensors[i].dtype = (le_dtype)file[i].dtype;
    }
    return read_constants(r);
}

static le_status read_attr(reader *r, int index, const file_attr *f, le_attr *attr) {
    attr->key = string_at(r, f->key);
    uint64_t width = (f->kind % 3 == LE_ATTR_INT) ? 8 : 4, size = r->section[VALS].size;
    if (!attr->key || f->kind > LE_ATTR_STRS || (f->kind < LE_ATTR_INTS && f->count != 1) || f->count > (1u << 20) || f->offset % 8 ||
        f->offset > size || f->count * width > size - f->offset || (f->kind == LE_ATTR_STRS && f->count > MOST_STRINGS))
        return BAD("attribute %d: kind %d with %u values at %llu does not fit section VALS", index, f->kind, f->count,
                   (unsigned long long)f->offset);
    attr->kind = (le_attr_kind)f->kind;
    attr->count = (int)f->count;
    const void *values = r->at[VALS] + f->offset;
    switch (f->kind % 3) {
    case LE_ATTR_INT: attr->ints = values; return LE_OK;
    case LE_ATTR_FLOAT: attr->floats = values; return LE_OK;
    }
    const uint32_t *offsets = values;
    const char **strs = model_array(r, attr->count, sizeof *strs);
    if (!strs)
        return LE_ERR_MEMORY;
    attr->strs = strs;
    for (int i = 0; i < attr->count; i++)
        TRY(read_name(r, offsets[i], "attribute value", i, &strs[i]));
    return LE_OK;
}

static const le_op_type *find_op(const char *name) {
    for (int i = 0; i < le_op_type_count; i++)
        if (strcmp(le_op_types[i].name, name) == 0)
            return &le_op_types[i];
    return NULL;
}

static le_status read_node(reader *r, int i, const file_node *f, le_node *node) {
    const char *op = string_at(r, f->op);
    TRY(read_name(r, f->name, "node", i, &node->name));
    if (!op || !(node->type = find_op(op)))
        return le_fail(r->err, LE_ERR_UNSUPPORTED, "node %d (%.120s): op '%.60s' is not one this version runs", i, node->name,
                       op ? op : "");
    uint32_t indices = r->section[IDXS].count, attrs = r->section[ATTR].count;
    if (f->first_index > indices || (uint32_t)f->n_in + f->n_out > indices - f->first_index || f->first_attr > attrs ||
        f->n_attr > attrs - f->first_attr)
        return BAD("node %d (%.120s): its inputs, outputs or attributes pass the end of their section", i, node->name);
    const le_op_type *type = node->type;
    if (f->n_in < type->min_in || f->n_in > type->max_in || f->n_out < type->min_out || f->n_out > type->max_out)
        return BAD("node %d (%.120s): %s takes %d to %d inputs and gives %d to %d outputs, found %d and %d", i, node->name, op,
                   type->min_in, type->max_in, type->min_out, type->max_out, f->n_in, f->n_out);
    node->n_in = f->n_in;
    node->n_out = f->n_out;
    node->in = (const int *)records(r, IDXS) + f->first_index;
    node->out = node->in + f->n_in;
    if (f->n_attr > MOST_ATTRS)
        return BAD("node %d (%.120s): expected at most %d attributes, found %u", i, node->name, MOST_ATTRS, f->n_attr);
    node->n_attr = (int)f->n_attr;
    node->attrs = r->attrs + f->first_attr;
    return LE_OK;
}

/* Every tensor has one origin, and a node reads only what exists before it. `defined` has one byte per tensor. */
static le_status check_order(reader *r, uint8_t *defined) {
    le_model *m = r->model;
    for (int i = 0; i < m->n_tensors; i++)
        defined[i] = m->tensors[i].is_const;
    for (int i = 0; i < m->n_inputs + m->n_states; i++) {
        int t = i < m->n_inputs ? m->inputs[i].tensor : m->states[i - m->n_inputs].read;
        if (defined[t]++)
            return BAD("tensor %d (%.60s) is an input or state, and something else too", t, m->tensors[t].name);
    }
    for (int i = 0; i < m->n_nodes; i++) {
        const le_node *node = &m->nodes[i];
        for (int j = 0; j < node->n_in + node->n_out; j++) {
            int t = node->in[j]; /* the outputs lie behind the inputs */
            bool optional = j < node->n_in ? j >= node->type->min_in : j - node->n_in >= node->type->min_out;
            if (t == -1 && optional)
                continue;
            if (t < 0 || t >= m->n_tensors)
                return BAD("node %d (%.120s): tensor number %d is not one of %d", i, node->name, t, m->n_tensors);
            if (m->tensors[t].blocks && !may_be_blocks(node, j))
                return BAD("node %d (%.120s): tensor %d (%.60s) is stored by its blocks, which input %d cannot be", i, node->name, t,
                           m->tensors[t].name, j);
            if (j < node->n_in ? !defined[t] : defined[t]++)
                return BAD("node %d (%.120s): tensor %d (%.60s) is %s", i, node->name, t, m->tensors[t].name,
                           j < node->n_in ? "read before it is written" : "written twice");
        }
    }
    for (int i = 0; i < m->n_outputs + m->n_states; i++) {
        int t = i < m->n_outputs ? m->outputs[i].tensor : m->states[i - m->n_outputs].write;
        if (!defined[t])
            return BAD("tensor %d (%.60s) is an output or state but is never written", t, m->tensors[t].name);
    }
    return LE_OK;
}

static le_status read_nodes(reader *r) {
    const file_node *file = records(r, NODE);
    int n = record_count(r, NODE);
    r->model->nodes = model_array(r, n, sizeof *r->model->nodes);
    r->attrs = model_array(r, record_count(r, ATTR), sizeof *r->attrs);
    if (!r->model->nodes || !r->attrs)
        return LE_ERR_MEMORY;
    r->model->n_nodes = n;
    const file_attr *attrs = records(r, ATTR);
    for (int i = 0; i < record_count(r, ATTR); i++)
        TRY(read_attr(r, i, &attrs[i], &r->attrs[i]));
    uint64_t named = 0;
    for (int i = 0; i < n; i++) {
        TRY(read_node(r, i, &file[i], &r->model->nodes[i]));
        named += (uint64_t)(r->model->nodes[i].n_in + r->model->nodes[i].n_out);
    }
    if (named > r->section[IDXS].count) /* they would be told apart in every stream */
        return BAD("section IDXS: %llu tensors are named by nodes, but %u stand there: nodes do not share them", (unsigned long long)named,
                   r->section[IDXS].count);
    uint8_t *defined = calloc((size_t)r->model->n_tensors + 1, 1);
    if (!defined)
        return le_fail(r->err, LE_ERR_MEMORY, "cannot allocate %d bytes", r->model->n_tensors);
    le_status status = check_order(r, defined);
    free(defined);
    return status;
}

static le_status read_dims(reader *r, const char *place, const char *name, int rank, const file_dim *file, int max_symbol, le_dim *dims) {
    if (rank < 0 || rank > LE_MAX_RANK)
        return BAD("%s %.60s: expected rank 0 to %d, found %d", place, name, LE_MAX_RANK, rank);
    for (int d = 0; d < rank; d++) {
        if (file[d].coef < 0 || file[d].coef > ((int64_t)1 << 40) || file[d].symbol > (uint32_t)max_symbol)
            return BAD("%s %.60s: size %lld times symbol %u of axis %d is not possible", place, name, (long long)file[d].coef,
                       file[d].symbol, d);
        dims[d].coef = file[d].coef;
        dims[d].symbol = (le_symbol)file[d].symbol;
        if (dims[d].symbol >= LE_LENGTH && r->model->n_lengths <= (int)(dims[d].symbol - LE_LENGTH))
            r->model->n_lengths = (int)(dims[d].symbol - LE_LENGTH) + 1;
    }
    return LE_OK;
}

static le_status check_tensor_number(reader *r, const char *place, const char *name, int64_t t, bool may_be_const) {
    if (t < 0 || t >= r->model->n_tensors)
        return BAD("%s %.60s: tensor number %lld is not one of %d", place, name, (long long)t, r->model->n_tensors);
    if (!may_be_const && r->model->tensors[t].is_const)
        return BAD("%s %.60s: tensor %lld is a constant", place, name, (long long)t);
    if (may_be_const && (r->model->tensors[t].dtype > LE_BOOL || r->model->tensors[t].blocks))
        return BAD("%s %.60s: a weight cannot be an output", place, name);
    return LE_OK;
}

static le_status read_ports(reader *r, int kind, int *count, struct le_io **ports) {
    const file_port *file = records(r, kind);
    const char *place = kind == INPT ? "input" : "output";
    int n = record_count(r, kind);
    struct le_io *list = model_array(r, n, sizeof *list);
    if (!list)
        return LE_ERR_MEMORY;
    *ports = list;
    *count = n;
    for (int i = 0; i < n; i++) {
        TRY(read_name(r, file[i].name, place, i, &list[i].name));
        TRY(check_tensor_number(r, place, list[i].name, file[i].tensor, kind == OUTP));
        list[i].tensor = (int)file[i].tensor;
        list[i].rank = file[i].rank;
        if (kind == INPT)
            TRY(read_dims(r, place, list[i].name, file[i].rank, file[i].dims, LE_LENGTH + LE_MAX_LENGTHS - 1, list[i].dims));
        else if (file[i].rank != -1)
            return BAD("output %.60s: expected rank -1, found %d", list[i].name, file[i].rank);
    }
    return LE_OK;
}

static le_status check_initial(reader *r, const struct le_state_def *s) {
    if (s->initial == -1)
        return LE_OK;
    if (s->initial < 0 || s->initial >= r->model->n_tensors || !r->model->tensors[s->initial].is_const)
        return BAD("state %.60s: its initial value, tensor %d, is not a constant", s->name, s->initial);
    const le_tensor_def *t = &r->model->tensors[s->initial];
    bool fits = t->dtype == r->model->tensors[s->read].dtype && t->rank <= s->rank && !t->blocks;
    for (int d = 0; fits && d < t->rank; d++) {
        int axis = s->rank - t->rank + d;
        fits = axis == s->fill_axis ? t->dims[d] <= s->dims[axis].coef
                                    : t->dims[d] == 1 || (s->dims[axis].symbol == LE_NUMBER && t->dims[d] == s->dims[axis].coef);
    }
    if (s->fill_axis >= 0 && t->rank < s->rank - s->fill_axis)
        fits = false;
    return fits ? LE_OK : BAD("state %.60s: its initial value does not broadcast to its shape", s->name);
}

static le_status read_states(reader *r) {
    const file_state *file = records(r, STAT);
    int n = record_count(r, STAT);
    struct le_state_def *list = model_array(r, n, sizeof *list);
    if (!list)
        return LE_ERR_MEMORY;
    r->model->states = list;
    r->model->n_states = n;
    for (int i = 0; i < n; i++) {
        TRY(read_name(r, file[i].name, "state", i, &list[i].name));
        TRY(check_tensor_number(r, "state", list[i].name, file[i].read, false));
        TRY(check_tensor_number(r, "state", list[i].name, file[i].write, true));
        list[i].read = (int)file[i].read;
        list[i].write = (int)file[i].write;
        list[i].rank = (int)(file[i].rank > LE_MAX_RANK ? LE_MAX_RANK + 1 : file[i].rank);
        list[i].fill_axis = file[i].fill_axis;
        list[i].initial = file[i].initial;
        TRY(read_dims(r, "state", list[i].name, list[i].rank, file[i].dims, LE_BATCH, list[i].dims));
        if (list[i].fill_axis < -1 || list[i].fill_axis >= list[i].rank ||
            (list[i].fill_axis >= 0 && list[i].dims[list[i].fill_axis].symbol != LE_NUMBER))
            return BAD("state %.60s: fill axis %d does not fit rank %d", list[i].name, list[i].fill_axis, list[i].rank);
        TRY(check_initial(r, &list[i]));
    }
    return LE_OK;
}

/* A model that holds int8 gives the same bits on every ISA (promise 2): in its float32 layers too. */
static void choose_same_bits(le_model *m) {
    for (int i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].dtype == LE_I8)
            m->kernels = m->kernels->same_bits;
}

/* Of the node's constants that are stored by blocks: whole for `pack`, or gone again. */
static le_status join_constants(reader *r, const le_node *node) {
    for (int j = 0; j < node->n_in; j++) {
        le_tensor_def *t = node->in[j] < 0 ? NULL : &r->model->tensors[node->in[j]];
        if (t && t->is_const)
            TRY(add_work(r, constant_size(t)));
        if (t && t->blocks && !t->data && !(le_model_may_hold(r->model, constant_size(t)) && (t->data = join_blocks(t))))
            return le_fail(r->err, LE_ERR_MEMORY, "tensor %d (%.60s): cannot allocate it", node->in[j], t->name);
    }
    return LE_OK;
}

static void free_joined(reader *r, const le_node *node) {
    for (int j = 0; j < node->n_in; j++) {
        le_tensor_def *t = node->in[j] < 0 ? NULL : &r->model->tensors[node->in[j]];
        if (t && t->blocks) {
            le_free((void *)t->data, constant_size(t));
            t->data = NULL;
        }
    }
}

/* Which constants are read when the model runs: a byte per tensor. */
static void mark_kept(const le_model *m, uint8_t *kept) {
    for (int i = 0; i < m->n_nodes; i++)
        for (int j = 0; j < m->nodes[i].n_in; j++)
            if (m->nodes[i].in[j] >= 0 && !only_packs(&m->nodes[i], j))
                kept[m->nodes[i].in[j]] = 1;
    for (int i = 0; i < m->n_outputs; i++)
        kept[m->outputs[i].tensor] = 1;
    for (int i = 0; i < m->n_states; i++) {
        kept[m->states[i].write] = 1;
        if (m->states[i].initial >= 0)
            kept[m->states[i].initial] = 1;
    }
}

static const void *keep_bytes(uint8_t **to, const void *from, size_t size) {
    uint8_t *kept = *to;
    if (size)
        memcpy(kept, from, size);
    *to += rounded(size);
    return kept;
}

/* Copies the constants of `kept` and their scales into the model, and lets the others end with the opening. */
static le_status keep_constants(reader *r, const uint8_t *kept) {
    const le_model *m = r->model;
    uint64_t size = 0; /* of constants that share their bytes, which size_t may not hold where it has 32 bits */
    for (int i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].is_const && kept[i])
            size += (uint64_t)rounded(constant_size(&m->tensors[i])) + rounded((uint64_t)m->tensors[i].n_scale * sizeof(float));
    uint8_t *to = le_model_may_hold(r->model, size) ? le_model_alloc(r->model, (size_t)size) : NULL;
    if (!to)
        return le_fail(r->err, LE_ERR_MEMORY, "cannot allocate %llu bytes", (unsigned long long)size);
    for (int i = 0; i < m->n_tensors; i++) {
        le_tensor_def *t = &m->tensors[i];
        if (!t->is_const || !kept[i])
            continue;
        t->data = keep_bytes(&to, t->data, constant_size(t));
        if (t->n_scale)
            t->scale = keep_bytes(&to, t->scale, (size_t)t->n_scale * sizeof(float));
    }
    return LE_OK;
}

static void forget_constants(le_model *m, const uint8_t *kept) {
    for (int i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].is_const && !kept[i]) {
            m->tensors[i].data = NULL;
            m->tensors[i].blocks = NULL;
            m->tensors[i].scale = NULL;
        }
}

static le_status pack_nodes(reader *r) {
    choose_same_bits(r->model);
    for (int i = 0; i < r->model->n_nodes; i++) {
        le_node *node = &r->model->nodes[i];
        le_pack_ctx ctx = {node, r->model->tensors, r->model->kernels, r->model, r->err};
        le_status status = join_constants(r, node);
        if (status == LE_OK)
            status = node->type->pack(&ctx);
        free_joined(r, node);
        TRY(status);
    }
    return LE_OK;
}

static le_status read_model(reader *r) {
    TRY(read_sections(r));
    TRY(read_tensors(r));
    TRY(read_ports(r, INPT, &r->model->n_inputs, &r->model->inputs));
    TRY(read_ports(r, OUTP, &r->model->n_outputs, &r->model->outputs));
    TRY(read_states(r));
    TRY(read_nodes(r));
    uint8_t *kept = calloc((size_t)r->model->n_tensors + 1, 1);
    if (!kept)
        return le_fail(r->err, LE_ERR_MEMORY, "cannot allocate %d bytes", r->model->n_tensors);
    mark_kept(r->model, kept);
    le_status status = keep_constants(r, kept);
    if (status == LE_OK)
        status = pack_nodes(r);
    forget_constants(r->model, kept);
    free(kept);
    return status;
}

/* ---- public ---- */

static le_model *open_aligned(const void *data, size_t size, const le_kernels *kernels, uint64_t max_memory, le_error *err) {
    le_model *model = calloc(1, sizeof *model);
    if (!model) {
        le_fail(err, LE_ERR_MEMORY, "cannot allocate %zu bytes", sizeof *model);
        return NULL;
    }
    const uint64_t limit = max_memory ? max_memory : FREE_BYTES + (uint64_t)size * PER_BYTE;
    model->kernels = kernels;
    model->fixed = max_memory != 0;
    model->limit = limit;
    reader r = {.file = data, .size = size, .model = model, .err = err};
    if (read_model(&r) == LE_OK)
        return model;
    if (model->refused)
        le_fail_limit(err, "the model", model->refused, model->bytes, limit);
    le_model_close(model);
    return NULL;
}

le_model *le_model_open(const void *data, size_t size, const le_options *given, le_error *err) {
    le_options options = {.size = sizeof options};
    if (given && le_take_struct("options", given, offsetof(le_options, isa) + sizeof given->isa, sizeof options, &options, err) != LE_OK)
        return NULL;
    const le_kernels *kernels = le_choose_kernels(options.isa, err);
    if (!kernels || check_header(data, size, err) != LE_OK)
        return NULL;
    if ((uintptr_t)data % sizeof(uint64_t) == 0)
        return open_aligned(data, size, kernels, options.max_memory, err);
    void *copy = le_alloc(size);
    if (!copy) {
        le_fail(err, LE_ERR_MEMORY, "cannot allocate %zu bytes", size);
        return NULL;
    }
    memcpy(copy, data, size);
    le_model *model = open_aligned(copy, size, kernels, options.max_memory, err);
    le_free(copy, size);
    return model;
}

void le_model_close(le_model *model) {
    if (!model)
        return;
    le_model_free_blocks(model);
    free(model);
}

int le_model_count(const le_model *model, le_role role) {
    return role == LE_INPUT ? model->n_inputs : role == LE_OUTPUT ? model->n_outputs : model->n_states;
}

int le_model_lengths(const le_model *model) { return model->n_lengths; }

le_port le_model_port(const le_model *model, le_role role, int index) {
    le_port port = {.fill_axis = -1};
    const le_dim *dims;
    if (role == LE_STATE) {
        const struct le_state_def *s = &model->states[index];
        port = (le_port){.name = s->name, .dtype = model->tensors[s->read].dtype, .rank = s->rank, .fill_axis = s->fill_axis};
        dims = s->dims;
    } else {
        const struct le_io *io = role == LE_INPUT ? &model->inputs[index] : &model->outputs[index];
        port = (le_port){.name = io->name, .dtype = model->tensors[io->tensor].dtype, .rank = io->rank, .fill_axis = -1};
        dims = io->dims;
    }
    memcpy(port.dims, dims, sizeof port.dims);
    return port;
}

const char *le_model_isa(const le_model *model) { return model->kernels->name; }

const char *le_model_precision(const le_model *model) {
    static const char *const names[] = {"float32", "float16", "int8"};
    int narrowest = 0;
    for (int i = 0; i < model->n_tensors; i++) {
        const le_dtype dtype = model->tensors[i].dtype;
        const int narrow = dtype == LE_I8 ? 2 : dtype == LE_F16;
        narrowest = narrow > narrowest ? narrow : narrowest;
    }
    return names[narrowest];
}

const char *le_model_metadata(const le_model *model, size_t *size) {
    *size = model->metadata_size;
    return model->metadata;
}

int le_model_op_count(const le_model *model) { return model->n_nodes; }

const char *le_model_op_name(const le_model *model, int index, const char **op) {
    if (op)
        *op = model->nodes[index].type->name;
    return model->nodes[index].name;
}

size_t le_model_bytes(const le_model *model) { return model->bytes; }
