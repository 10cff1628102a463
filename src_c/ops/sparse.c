/* Packs a weight without the blocks that are zero (kernels/sparse.h), where that is faster than the dense form. */
#include "ops.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/sparse.h"

/* Runs once, at load: small rather than fast. */
#define COLD __attribute__((cold, noinline))

/* Columns of a block. */
static int columns_of(le_packed_kind kind) { return kind == LE_PACKED_I8 ? 4 : 1; }

static size_t width_of(le_packed_kind kind) { return kind == LE_PACKED_I8 ? 1 : kind == LE_PACKED_F16 ? 2 : sizeof(float); }

/* Rows of the strip, and where they are. */
typedef struct {
    const uint8_t *rows;
    ptrdiff_t stride; /* bytes */
    int count, k;
    size_t width;
} strip_rows;

static strip_rows strip_of(const le_packed *w, const void *rows, ptrdiff_t stride, int strip) {
    const int first = strip * LE_SPARSE_ROWS, left = w->n - first;
    const size_t width = width_of(w->kind);
    const ptrdiff_t bytes = stride * (ptrdiff_t)width;
    return (strip_rows){(const uint8_t *)rows + first * bytes, bytes, left < LE_SPARSE_ROWS ? left : LE_SPARSE_ROWS, w->k, width};
}

/* Marks the blocks of a strip that hold anything but zero bytes; returns how many do. */
static COLD int mark(const strip_rows *s, int columns, uint8_t *held) {
    const int blocks = (s->k + columns - 1) / columns;
    static const uint8_t zeros[sizeof(float)];
    int count = 0;
    memset(held, 0, (size_t)blocks);
    for (int j = 0; j < s->count && count < blocks; j++)
        for (int b = 0; b < blocks; b++) {
            if (held[b])
                continue;
            const int first = b * columns, end = first + columns < s->k ? first + columns : s->k;
            held[b] = memcmp(s->rows + j * s->stride + (size_t)first * s->width, zeros, (size_t)(end - first) * s->width) != 0;
            count += held[b];
        }
    return count;
}

/* Blocks the weight holds; INT64_MAX as soon as they are too many to pay. */
static int64_t count_blocks(const le_packed *w, const void *rows, ptrdiff_t stride, uint8_t *held) {
    const int columns = columns_of(w->kind), strips = (w->n + LE_SPARSE_ROWS - 1) / LE_SPARSE_ROWS;
    const int64_t most = (int64_t)strips * ((w->k + columns - 1) / columns) * LE_SPARSE_PERCENT / 100;
    int64_t count = 0;
    for (int strip = 0; strip < strips; strip++) {
        const strip_rows s = strip_of(w, rows, stride, strip);
        count += mark(&s, columns, held);
        if (count > most)
            return INT64_MAX;
    }
    return count;
}

/* The block of 16 rows and four columns as the table multiplies it, and what it adds to where sums start. */
static COLD void put_i8(const le_kernels *kernels, const strip_rows *s, int column, int8_t *to, int32_t *start) {
    enum { HEADER = LE_SPARSE_ROWS * 8 };
    static const float scale[LE_SPARSE_ROWS];
    int8_t block[LE_SPARSE_ROWS * 4] = {0};
    _Alignas(64) uint8_t packed[HEADER + sizeof block];
    for (int j = 0; j < s->count; j++)
        for (int i = 0; i < 4 && column + i < s->k; i++)
            block[j * 4 + i] = (int8_t)s->rows[j * s->stride + column + i];
    kernels->pack_i8(LE_SPARSE_ROWS, 4, block, 4, scale, packed);
    const int32_t *starts = (const int32_t *)(const void *)(packed + HEADER / 2);
    memcpy(to, packed + HEADER, sizeof block);
    for (int j = 0; j < LE_SPARSE_ROWS; j++)
        start[j] += starts[j];
}

static COLD void put_float(const strip_rows *s, int column, uint8_t *to) {
    for (int j = 0; j < s->count; j++)
        memcpy(to + (size_t)j * s->width, s->rows + j * s->stride + (size_t)column * s->width, s->width);
}

COLD le_status le_pack_sparse(le_pack_ctx *ctx, const void *rows, ptrdiff_t stride, const float *scale, le_packed *w) {
    if (w->n < LE_SPARSE_ROWS || w->k > LE_SPARSE_MAX_K)
        return LE_OK;
    uint8_t *held = malloc((size_t)w->k);
    if (!held)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_MEMORY, "cannot allocate %d bytes", w->k);
    const int64_t count = count_blocks(w, rows, stride, held);
    if (count != INT64_MAX)
        w->data = le_pack_alloc(ctx, le_sparse_layout(w, (size_t)count).size);
    if (count == INT64_MAX || !w->data) {
        free(held);
        return count == INT64_MAX ? LE_OK : LE_ERR_MEMORY;
    }
    w->sparse = true;
    const le_sparse at = le_sparse_layout(w, (size_t)count);
    const int columns = columns_of(w->kind);
    uint8_t *to = at.blocks;
    uint32_t done = 0;
    for (int strip = 0; strip < at.strips; strip++) {
        const strip_rows s = strip_of(w, rows, stride, strip);
        mark(&s, columns, held);
        for (int column = 0; column < w->k; column += columns) {
            if (!held[column / columns])
                continue;
            at.column[done++] = (uint16_t)column;
            if (w->kind == LE_PACKED_I8)
                put_i8(ctx->kernels, &s, column, (int8_t *)to, at.start + strip * LE_SPARSE_ROWS);
            else
                put_float(&s, column, to);
            to += LE_SPARSE_ROWS * (w->kind == LE_PACKED_I8 ? 4 : s.width);
        }
        at.first[strip + 1] = done;
    }
    if (w->kind == LE_PACKED_I8)
        memcpy(at.scale, scale, (size_t)w->n * sizeof *scale);
    free(held);
    return LE_OK;
}
