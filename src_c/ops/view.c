/* Copies between strided views: Transpose, Slice, Expand, Tile, Resize and Pad are one of these. */
#include "ops.h"

#include <string.h>

#define TILE 16

/* Drops axes of size 1 and joins neighbours that are one run in both. False when there is nothing to copy. */
static bool join_axes(const le_view *in, le_view *out) {
    out->rank = 0;
    for (int d = 0; d < in->rank; d++) {
        if (in->dims[d] == 0)
            return false;
        if (in->dims[d] == 1)
            continue;
        int last = out->rank - 1;
        if (last >= 0 && out->src[last] == in->src[d] * in->dims[d] && out->dst[last] == in->dst[d] * in->dims[d]) {
            out->dims[last] *= in->dims[d];
            out->src[last] = in->src[d];
            out->dst[last] = in->dst[d];
            continue;
        }
        out->dims[out->rank] = in->dims[d];
        out->src[out->rank] = in->src[d];
        out->dst[out->rank++] = in->dst[d];
    }
    return true;
}

static void copy_row(int64_t n, size_t width, const uint8_t *src, int64_t ss, uint8_t *dst, int64_t ds) {
    if (ss == 1 && ds == 1) {
        memcpy(dst, src, (size_t)n * width);
    } else if (width == 4) {
        const le_word *s = (const le_word *)(const void *)src;
        le_word *d = (le_word *)(void *)dst;
        if (ss == 0 && ds == 1)
            for (int64_t i = 0; i < n; i++)
                d[i] = s[0];
        else
            for (int64_t i = 0; i < n; i++)
                d[i * ds] = s[i * ss];
    } else {
        for (int64_t i = 0; i < n; i++)
            dst[i * ds] = src[i * ss];
    }
}

/* Words whose neighbours in src are ss apart along dst's lines: four lines of dst at once, which lie side by side in src. Takes 2 instructions a word on
 * AArch64 where copy_row takes 5. Returns how many lines it did. */
static int64_t copy_four_lines(int64_t lines, int64_t n, const le_word *restrict src, int64_t ss, le_word *restrict dst, int64_t ds) {
    int64_t line = 0;
    for (; line + 4 <= lines; line += 4) {
        const le_word *s = src + line;
        le_word *a = dst + line * ds, *b = a + ds, *c = b + ds, *d = c + ds;
        for (int64_t i = 0; i < n; i++, s += ss) {
            a[i] = s[0];
            b[i] = s[1];
            c[i] = s[2];
            d[i] = s[3];
        }
    }
    return line;
}

/* Two axes in tiles, so that neither side walks through more than TILE cache lines at once. */
static void copy_plane(const le_view *v, int d, size_t width, const uint8_t *src, uint8_t *dst) {
    int64_t rows = v->dims[d], cols = v->dims[d + 1], w = (int64_t)width;
    bool tiled = v->src[d + 1] != 1 && v->src[d + 1] != 0 && rows > TILE && cols > TILE;
    bool turned = width == sizeof(le_word) && v->src[d] == 1 && v->dst[d + 1] == 1;
    int64_t row_step = tiled ? TILE : rows, col_step = tiled ? TILE : cols;
    for (int64_t r0 = 0; r0 < rows; r0 += row_step)
        for (int64_t c0 = 0; c0 < cols; c0 += col_step) {
            int64_t r1 = r0 + row_step < rows ? r0 + row_step : rows, n = c0 + col_step < cols ? col_step : cols - c0;
            const uint8_t *s = src + (r0 * v->src[d] + c0 * v->src[d + 1]) * w;
            uint8_t *t = dst + (r0 * v->dst[d] + c0 * v->dst[d + 1]) * w;
            int64_t r = r0;
            if (turned)
                r += copy_four_lines(r1 - r0, n, (const le_word *)(const void *)s, v->src[d + 1], (le_word *)(void *)t, v->dst[d]);
            for (; r < r1; r++)
                copy_row(n, width, s + (r - r0) * v->src[d] * w, v->src[d + 1], t + (r - r0) * v->dst[d] * w, v->dst[d + 1]);
        }
}

void le_view_copy(const le_view *view, size_t width, const void *src, void *dst) {
    le_view v;
    if (!join_axes(view, &v))
        return;
    if (v.rank <= 1) {
        copy_row(v.rank ? v.dims[0] : 1, width, src, v.rank ? v.src[0] : 1, dst, v.rank ? v.dst[0] : 1);
        return;
    }
    const uint8_t *s = src;
    uint8_t *t = dst;
    int64_t index[LE_VIEW_RANK] = {0};
    int outer = v.rank - 2;
    for (;;) {
        copy_plane(&v, outer, width, s, t);
        int d = outer - 1;
        for (; d >= 0; d--) {
            s += v.src[d] * (int64_t)width;
            t += v.dst[d] * (int64_t)width;
            if (++index[d] < v.dims[d])
                break;
            s -= v.src[d] * v.dims[d] * (int64_t)width;
            t -= v.dst[d] * v.dims[d] * (int64_t)width;
            index[d] = 0;
        }
        if (d < 0)
            return;
    }
}

void le_transpose2(int64_t rows, int64_t cols, const void *src, int64_t src_stride, void *dst, int64_t dst_stride) {
    le_view v = {.rank = 2, .dims = {cols, rows}, .src = {1, src_stride}, .dst = {dst_stride, 1}};
    le_view_copy(&v, 4, src, dst);
}
