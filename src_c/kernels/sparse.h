/* Block-sparse weights as they are packed: the same for every ISA, but for the order of bytes within a block of int8.
 *
 * A strip is LE_SPARSE_ROWS rows of W, the last one padded with zeros. It holds blocks: of float weights the strip's part of a column, of int8
 * that of four neighbouring columns, each where it is not all zero. Blocks lie strip by strip, in order of k:
 *
 *   u32 first[strips + 1]      the first block of each strip, and behind the last one's how many there are
 *   float scale, i32 start     int8: as matmul_i8.inc has them, padded to whole strips
 *   u16 column[blocks]         where each block begins
 *   blocks                     LE_SPARSE_ROWS weights for each of its columns
 *
 * every part beginning at a multiple of 64 bytes. */
#ifndef LE_SPARSE_H
#define LE_SPARSE_H

#include "kernels.h"

enum { LE_SPARSE_ROWS = 16, LE_SPARSE_MAX_K = 65536 };

typedef struct {
    int strips;
    uint32_t *first;
    float *scale;
    int32_t *start;
    uint16_t *column;
    void *blocks;
    size_t size; /* of all */
} le_sparse;

/* Where the parts of w lie, if it has so many blocks; w->data may be NULL, to ask for the size. */
static inline le_sparse le_sparse_layout(const le_packed *w, size_t blocks) {
    const size_t width = w->kind == LE_PACKED_F32 ? 4 : w->kind == LE_PACKED_F16 ? 2 : 4 /* columns of int8 */;
    le_sparse at = {.strips = (w->n + LE_SPARSE_ROWS - 1) / LE_SPARSE_ROWS};
    const size_t padded = w->kind == LE_PACKED_I8 ? (size_t)at.strips * LE_SPARSE_ROWS * 4 : 0;
    const size_t scale = (((size_t)at.strips + 1) * 4 + 63) / 64 * 64, start = scale + padded, column = start + padded;
    const size_t block = column + (blocks * 2 + 63) / 64 * 64;
    uint8_t *data = w->data;
    at.size = block + blocks * LE_SPARSE_ROWS * width;
    if (!data)
        return at;
    at.first = (uint32_t *)(void *)data;
    at.scale = (float *)(void *)(data + scale);
    at.start = (int32_t *)(void *)(data + start);
    at.column = (uint16_t *)(void *)(data + column);
    at.blocks = data + block;
    return at;
}

static inline le_sparse le_sparse_at(const le_packed *w) {
    const uint32_t *first = w->data;
    return le_sparse_layout(w, first[(w->n + LE_SPARSE_ROWS - 1) / LE_SPARSE_ROWS]);
}

/* One product, from some row and strip on. */
typedef struct {
    le_sparse w;
    const void *x;      /* float, or quantised rows */
    ptrdiff_t x_stride; /* elements from one row to the next */
    const float *x_scale;
    const float *init; /* or NULL */
    ptrdiff_t init_stride;
    float *y;
    ptrdiff_t y_stride;
} le_sparse_args;

/* What a kernel table multiplies: `rows` rows by the strip at hand; one row by it and those behind it; one row by it. */
typedef struct {
    int n_rows, n_strips;
    void (*rows)(const le_sparse_args *a, int strip);
    void (*strips)(const le_sparse_args *a, int strip);
    void (*one)(const le_sparse_args *a, int strip);
} le_sparse_blocks;

enum { LE_SPARSE_MOST_ROWS = 4 };

/* All rows by all strips (sparse.c); a.w is filled in. */
void le_sparse_multiply(const le_sparse_blocks *blocks, int rows, le_sparse_args a, const le_packed *w);

#endif
