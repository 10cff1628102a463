/* The way of a product with block-sparse weights over rows and strips: the same for every ISA, which brings the blocks. */
#include "sparse.h"

#include <string.h>

/* Outputs of the last strip that do not exist are computed beside y. */
static void multiply_last(int rows, int lanes, le_sparse_args a, int strip, void (*multiply)(const le_sparse_args *, int)) {
    float beside[LE_SPARSE_MOST_ROWS * LE_SPARSE_ROWS] = {0};
    float *y = a.y;
    const ptrdiff_t y_stride = a.y_stride;
    for (int r = 0; a.init && r < rows; r++)
        memcpy(beside + r * LE_SPARSE_ROWS, a.init + r * a.init_stride, (size_t)lanes * sizeof *y);
    a.init = a.y = beside;
    a.init_stride = a.y_stride = LE_SPARSE_ROWS;
    multiply(&a, strip);
    for (int r = 0; r < rows; r++)
        memcpy(y + r * y_stride, beside + r * LE_SPARSE_ROWS, (size_t)lanes * sizeof *y);
}

static bool all_finite(int k, const float *x) {
    int32_t top = 0;
    for (int i = 0; i < k; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return top < 0x7f800000;
}

/* 0 times infinity is NaN in the dense product, and so it is here: in the outputs whose strip skips such a column. */
static void put_nan(const le_packed *w, const le_sparse *at, const float *x, float *y) {
    for (int strip = 0; strip < at->strips; strip++) {
        const uint16_t *column = at->column + at->first[strip], *end = at->column + at->first[strip + 1];
        float skipped = 0;
        for (int i = 0; i < w->k; i++) {
            const bool held = column != end && *column == i;
            column += held;
            skipped += held ? 0 : x[i] * 0.0f;
        }
        for (int j = strip * LE_SPARSE_ROWS; skipped != skipped && j < w->n && j < (strip + 1) * LE_SPARSE_ROWS; j++)
            y[j] = skipped;
    }
}

void le_sparse_multiply(const le_sparse_blocks *blocks, int rows, le_sparse_args a, const le_packed *w) {
    const int planes = w->kind == LE_PACKED_I8 && w->fine ? 2 : 1;
    const size_t width = w->kind == LE_PACKED_I8 ? 1 : sizeof(float);
    const le_sparse_args all = a;
    a.w = le_sparse_at(w);
    for (int strip = 0, strips; strip < a.w.strips; strip += strips) {
        const ptrdiff_t to = (ptrdiff_t)strip * LE_SPARSE_ROWS;
        const int lanes = w->n - (int)to;
        strips = (rows == 1 || blocks->n_rows == 1) && lanes >= blocks->n_strips * LE_SPARSE_ROWS ? blocks->n_strips : 1;
        for (int r = 0, count; r < rows; r += count) {
            count = rows - r >= blocks->n_rows ? blocks->n_rows : 1;
            a.x = (const char *)all.x + (size_t)r * (size_t)planes * (size_t)all.x_stride * width;
            a.x_scale = all.x_scale ? all.x_scale + r * planes : NULL;
            a.init = all.init ? all.init + r * all.init_stride + to : NULL;
            a.y = all.y + r * all.y_stride + to;
            if (lanes < LE_SPARSE_ROWS)
                multiply_last(count, lanes, a, strip, count > 1 ? blocks->rows : blocks->one);
            else
                (strips > 1 ? blocks->strips : count > 1 ? blocks->rows : blocks->one)(&a, strip);
        }
    }
    for (int r = 0; w->kind != LE_PACKED_I8 && r < rows; r++) {
        const float *x = (const float *)all.x + r * all.x_stride;
        if (!all_finite(w->k, x))
            put_nan(w, &a.w, x, all.y + r * all.y_stride);
    }
}
