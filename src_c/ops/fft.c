/* Rfft and Irfft: the Fourier transform of real rows. A complex transform of half as many points (of all, where n is odd) in Stockham's order,
 * factors 4, 2, 3, 5 and any other, real and imaginary parts apart, between tables that are made at load in double. Every sum has an order that n
 * alone decides, and no function of libm is called: rows give the same bits in any batch and on any machine. */
#include "ops.h"

#include <string.h>

#define FFT_T float
#define FFT_SET(x) (x)
#include "kernels/fft.inc"

enum { MOST_POINTS = 1 << 16 };

/* cos and sin of 2 pi k / n, brought to the first eighth of the circle, where series of double are exact to 1e-16. */
static void turn(int64_t k, int64_t n, float *cosine, float *sine) {
    int64_t eighths = 8 * (k % n), octant = eighths / n, rest = eighths % n;
    double x = (double)(octant % 2 ? n - rest : rest) / (double)n * 0.78539816339744830962, square = x * x, c = 1, s = 1;
    for (int i = 18; i > 0; i -= 2) {
        c = 1 - square * c / (i * (i - 1));
        s = 1 - square * s / (i * (i + 1));
    }
    s *= x;
    double a = (octant + 1) / 2 % 2 ? s : c, b = (octant + 1) / 2 % 2 ? c : s;
    *cosine = (float)(octant >= 2 && octant < 6 ? -a : a);
    *sine = (float)(octant >= 4 ? -b : b);
}

static void factorise(le_fft *p) {
    static const int fast[] = {4, 2, 3, 5};
    int64_t rest = p->points;
    for (int i = 0; i < 4; i++)
        for (; rest % fast[i] == 0; rest /= fast[i])
            p->radix[p->factors++] = fast[i];
    for (int r = 7; rest > 1; r += 2)
        for (; rest % r == 0; rest /= r)
            p->radix[p->factors++] = r;
}

static le_status make_tables(le_pack_ctx *ctx, le_fft *p) {
    p->cosine = le_pack_alloc(ctx, (size_t)(2 * p->n + 2 * p->points + 1) * sizeof(float));
    if (!p->cosine)
        return LE_ERR_MEMORY;
    p->sine = p->cosine + p->n;
    for (int64_t k = 0; k < p->n; k++)
        turn(k, p->n, p->cosine + k, p->sine + k);
    float *at = p->sine + p->n;
    int64_t rest = p->points;
    for (int f = 0; f < p->factors && p->radix[f] <= 5; f++) {
        int64_t r = p->radix[f], m = rest / r, count = (r - 1) * m;
        for (int64_t i = 0; i < count; i++)
            turn((i / m + 1) * (i % m), rest, at + i, at + count + i);
        p->w_cosine[f] = at;
        p->w_sine[f] = at + count;
        at += 2 * count;
        rest = m;
    }
    return LE_OK;
}

static le_status pack(le_pack_ctx *ctx) {
    static const char *const keys[] = {"n", NULL};
    le_fft *p = le_pack_alloc(ctx, sizeof *p);
    if (!p)
        return LE_ERR_MEMORY;
    ctx->node->packed = p;
    LE_TRY(le_attr_check(ctx, keys));
    LE_TRY(le_attr_required(ctx, "n"));
    LE_TRY(le_attr_int(ctx, "n", 1, 1, MOST_POINTS, &p->n));
    p->points = p->n % 2 ? p->n : p->n / 2;
    factorise(p);
    return make_tables(ctx, p);
}

le_status le_pack_rfft(le_pack_ctx *ctx) { return pack(ctx); }

le_status le_pack_irfft(le_pack_ctx *ctx) { return pack(ctx); }

static le_status take_parts(le_ctx *ctx, int64_t lanes) {
    const le_fft *p = ctx->node->packed;
    return le_add_scratch(ctx, 4 * (p->points + 1) * lanes, sizeof(float));
}

static void two_buffers(const le_ctx *ctx, parts *x, parts *y) {
    const le_fft *p = ctx->node->packed;
    float *at = ctx->scratch;
    *x = (parts){at, at + p->points};
    *y = (parts){at + 2 * p->points, at + 3 * p->points};
}

/* ---- Rfft ---- */

le_status le_shape_rfft(le_ctx *ctx) {
    const le_fft *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    le_tensor *y = ctx->out[0];
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    LE_TRY(le_expect_rank(ctx, 0, 1, LE_MAX_RANK - 1));
    if (x->dims[x->rank - 1] > p->n)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "last axis of input 0: expected at most %lld values, found %lld",
                          (long long)p->n, (long long)x->dims[x->rank - 1]);
    le_like(y, x, LE_F32);
    y->dims[y->rank - 1] = 2;
    y->dims[y->rank++] = p->n / 2 + 1;
    LE_TRY(le_check_size(ctx, y));
    return take_parts(ctx, ctx->kernels->fft_rows > 1 ? ctx->kernels->fft_rows : 1);
}

/* Row x of `size` values, zeros behind it, to z: two to a point where n is even. */
static void load(const le_fft *p, int64_t size, const float *restrict x, parts z) {
    int64_t width = p->n / p->points, whole = size / width;
    memset(z.re, 0, (size_t)(2 * p->points) * sizeof *z.re);
    if (width == 1) {
        memcpy(z.re, x, (size_t)size * sizeof *x);
        return;
    }
    for (int64_t j = 0; j < whole; j++) {
        z.re[j] = x[2 * j];
        z.im[j] = x[2 * j + 1];
    }
    if (size % 2)
        z.re[whole] = x[size - 1];
}

le_status le_run_rfft(le_ctx *ctx) {
    const le_fft *p = ctx->node->packed;
    const le_tensor *t = ctx->in[0];
    const float *x = t->data;
    float *y = ctx->out[0]->data;
    int64_t size = t->dims[t->rank - 1], rows = le_product(t->dims, 0, t->rank - 1), bins = p->n / 2 + 1;
    parts a, b;
    two_buffers(ctx, &a, &b);
    while (ctx->kernels->fft_rows && rows > 1) {
        const int64_t most = ctx->kernels->fft_rows, now = rows < most ? rows : most;
        ctx->kernels->rfft(p, (int)now, size, x, y, ctx->scratch);
        x += now * size;
        y += 2 * now * bins;
        rows -= now;
    }
    for (int64_t i = 0; i < rows; i++, x += size, y += 2 * bins) {
        load(p, size, x, a);
        parts z = transform(p, a, b);
        if (p->n % 2 == 0) {
            unpack_spectrum(p, z, y, y + bins);
            continue;
        }
        memcpy(y, z.re, (size_t)bins * sizeof *y);
        memcpy(y + bins, z.im, (size_t)bins * sizeof *y);
        y[bins] = 0;
    }
    return LE_OK;
}

/* ---- Irfft ---- */

le_status le_shape_irfft(le_ctx *ctx) {
    const le_fft *p = ctx->node->packed;
    const le_tensor *x = ctx->in[0];
    le_tensor *y = ctx->out[0];
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    LE_TRY(le_expect_rank(ctx, 0, 2, LE_MAX_RANK));
    int64_t bins = p->n / 2 + 1;
    if (x->dims[x->rank - 2] != 2 || x->dims[x->rank - 1] != bins)
        return le_fail_op(ctx->err, ctx->node, LE_ERR_SHAPE, "last axes of input 0: expected 2 x %lld, found %lld x %lld", (long long)bins,
                          (long long)x->dims[x->rank - 2], (long long)x->dims[x->rank - 1]);
    le_like(y, x, LE_F32);
    y->rank--;
    y->dims[y->rank - 1] = p->n;
    LE_TRY(le_check_size(ctx, y));
    return take_parts(ctx, 1);
}

/* The inverse of unpack_spectrum, twice as large: real and imaginary parts change places, so that `transform` goes back. */
static void pack_spectrum(const le_fft *p, const float *restrict re, const float *restrict im, parts z) {
    int64_t half = p->points;
    z.im[0] = re[0] + re[half];
    z.re[0] = re[0] - re[half];
    for (int64_t k = 1; k < half; k++) {
        float ar = re[k], ai = im[k], br = re[half - k], bi = im[half - k], c = p->cosine[k], s = p->sine[k];
        float dr = ar - br, di = ai + bi, odd_r = c * dr - s * di, odd_i = c * di + s * dr;
        z.im[k] = (ar + br) - odd_i;
        z.re[k] = (ai - bi) + odd_r;
    }
}

le_status le_run_irfft(le_ctx *ctx) {
    const le_fft *p = ctx->node->packed;
    const le_tensor *t = ctx->in[0];
    const float *x = t->data;
    float *y = ctx->out[0]->data, scale = 1 / (float)p->n;
    int64_t rows = le_product(t->dims, 0, t->rank - 2), bins = p->n / 2 + 1;
    parts a, b;
    two_buffers(ctx, &a, &b);
    for (int64_t i = 0; i < rows; i++, x += 2 * bins, y += p->n) {
        if (p->n % 2 == 0) {
            pack_spectrum(p, x, x + bins, a);
            parts z = transform(p, a, b);
            for (int64_t j = 0; j < p->points; j++) {
                y[2 * j] = scale * z.im[j];
                y[2 * j + 1] = scale * z.re[j];
            }
            continue;
        }
        a.im[0] = x[0];
        a.re[0] = 0;
        for (int64_t k = 1; k < bins; k++) {
            a.im[k] = a.im[p->n - k] = x[k];
            a.re[k] = x[bins + k];
            a.re[p->n - k] = -x[bins + k];
        }
        parts z = transform(p, a, b);
        for (int64_t j = 0; j < p->n; j++)
            y[j] = scale * z.im[j];
    }
    return LE_OK;
}
