/* Rfft and Irfft: the Fourier transform of real rows. A complex transform of half as many points (of all, where n is odd) in Stockham's order,
 * factors 4, 2, 3, 5 and any other, real and imaginary parts apart, between tables that are made at load in double. Every sum has an order that n
 * alone decides, and no function of libm is called: rows give the same bits in any batch and on any machine. */
#include "ops.h"

#include <string.h>

enum { MOST_POINTS = 1 << 16, MOST_FACTORS = 16 };

typedef struct {
    int64_t n, points; /* of a row; of the complex transform */
    int factors;
    int radix[MOST_FACTORS];
    float *cosine, *sine;                /* of 2 pi k / n, k < n */
    const float *w_cosine[MOST_FACTORS]; /* for each factor r with m = rest / r: (r - 1) x m, of 2 pi p k / rest */
    const float *w_sine[MOST_FACTORS];
} fft;

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

static void factorise(fft *p) {
    static const int fast[] = {4, 2, 3, 5};
    int64_t rest = p->points;
    for (int i = 0; i < 4; i++)
        for (; rest % fast[i] == 0; rest /= fast[i])
            p->radix[p->factors++] = fast[i];
    for (int r = 7; rest > 1; r += 2)
        for (; rest % r == 0; rest /= r)
            p->radix[p->factors++] = r;
}

static le_status make_tables(le_pack_ctx *ctx, fft *p) {
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
    fft *p = le_pack_alloc(ctx, sizeof *p);
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

/* ---- the complex transform ---- */

typedef struct {
    float *re, *im;
} parts;

/* One factor r of the transform over `count` butterflies that lie side by side. Element j of butterfly i is x[j * apart + i]; its output k goes,
 * turned back by w[(k - 1) * w_row + i * w_step], to y[k * y_row + i * y_step]. */
#define PASS_ARGUMENTS                                                                                                                    \
    int64_t count, const float *restrict xr, const float *restrict xi, int64_t apart, const float *restrict wc, const float *restrict ws, \
        int64_t w_row, int64_t w_step, float *restrict yr, float *restrict yi, int64_t y_row, int64_t y_step
#define EACH for (int64_t i = 0; i < count; i++)
#define TAKE(j) float r##j = xr[(j)*apart + i], i##j = xi[(j)*apart + i]
#define GIVE_FIRST(re, im) yr[i * y_step] = (re), yi[i * y_step] = (im)
#define GIVE(k, re, im)                                                                   \
    do {                                                                                  \
        float c = wc[((k)-1) * w_row + i * w_step], s = ws[((k)-1) * w_row + i * w_step]; \
        yr[(k)*y_row + i * y_step] = (re)*c + (im)*s;                                     \
        yi[(k)*y_row + i * y_step] = (im)*c - (re)*s;                                     \
    } while (0)
#define PASS static inline __attribute__((always_inline)) void

PASS pass2(PASS_ARGUMENTS) {
    EACH {
        TAKE(0);
        TAKE(1);
        GIVE_FIRST(r0 + r1, i0 + i1);
        float a = r0 - r1, b = i0 - i1;
        GIVE(1, a, b);
    }
}

PASS pass3(PASS_ARGUMENTS) {
    const float half_root = 0.86602540378443864676f;
    EACH {
        TAKE(0);
        TAKE(1);
        TAKE(2);
        float tr = r1 + r2, ti = i1 + i2, ur = r0 - 0.5f * tr, ui = i0 - 0.5f * ti;
        float vr = half_root * (r1 - r2), vi = half_root * (i1 - i2);
        float ar = ur + vi, ai = ui - vr, br = ur - vi, bi = ui + vr;
        GIVE_FIRST(r0 + tr, i0 + ti);
        GIVE(1, ar, ai);
        GIVE(2, br, bi);
    }
}

PASS pass4(PASS_ARGUMENTS) {
    EACH {
        TAKE(0);
        TAKE(1);
        TAKE(2);
        TAKE(3);
        float ar = r0 + r2, ai = i0 + i2, br = r0 - r2, bi = i0 - i2;
        float cr = r1 + r3, ci = i1 + i3, dr = r1 - r3, di = i1 - i3;
        float er = br + di, ei = bi - dr, fr = ar - cr, fi = ai - ci, gr = br - di, gi = bi + dr;
        GIVE_FIRST(ar + cr, ai + ci);
        GIVE(1, er, ei);
        GIVE(2, fr, fi);
        GIVE(3, gr, gi);
    }
}

PASS pass5(PASS_ARGUMENTS) {
    const float c1 = 0.30901699437494742410f, c2 = -0.80901699437494742410f, s1 = 0.95105651629515357212f, s2 = 0.58778525229247312917f;
    EACH {
        TAKE(0);
        TAKE(1);
        TAKE(2);
        TAKE(3);
        TAKE(4);
        float pr = r1 + r4, pi = i1 + i4, qr = r2 + r3, qi = i2 + i3;
        float mr = r1 - r4, mi = i1 - i4, nr = r2 - r3, ni = i2 - i3;
        float ur = r0 + c1 * pr + c2 * qr, ui = i0 + c1 * pi + c2 * qi, tr = r0 + c2 * pr + c1 * qr, ti = i0 + c2 * pi + c1 * qi;
        float vr = s1 * mr + s2 * nr, vi = s1 * mi + s2 * ni, zr = s2 * mr - s1 * nr, zi = s2 * mi - s1 * ni;
        float ar = ur + vi, ai = ui - vr, br = tr + zi, bi = ti - zr, cr = tr - zi, ci = ti + zr, dr = ur - vi, di = ui + vr;
        GIVE_FIRST(r0 + pr + qr, i0 + pi + qi);
        GIVE(1, ar, ai);
        GIVE(2, br, bi);
        GIVE(3, cr, ci);
        GIVE(4, dr, di);
    }
}

/* Butterflies side by side: s of each of m. Of factor 4 there is the first stage as well, where s is 1: all m lie side by side. */
#define STAGE(r)                                                                                                           \
    static void stage##r(int64_t m, int64_t s, const float *wc, const float *ws, parts x, parts y) {                       \
        for (int64_t p = 0; p < m; p++)                                                                                    \
            pass##r(s, x.re + s * p, x.im + s * p, s * m, wc + p, ws + p, m, 0, y.re + s * r * p, y.im + s * r * p, s, 1); \
    }
STAGE(2)
STAGE(3)
STAGE(4)
STAGE(5)

static void first_stage4(int64_t m, const float *wc, const float *ws, parts x, parts y) {
    pass4(m, x.re, x.im, m, wc, ws, m, 1, y.re, y.im, 1, 4);
}

/* Any other factor: every output is the sum over its r inputs, each turned by an angle from the table of n. */
static void stage_any(const fft *p, int64_t r, int64_t m, int64_t s, parts x, parts y) {
    int64_t step = s * (p->n / p->points);
    for (int64_t row = 0; row < r * m; row++) {
        int64_t at = row / r, k = row % r, turned = k * at; /* of r m, the turn of input j: k (at + m j) */
        float *re = y.re + s * row, *im = y.im + s * row;
        memset(re, 0, (size_t)s * sizeof *re);
        memset(im, 0, (size_t)s * sizeof *im);
        for (int64_t j = 0; j < r; j++) {
            const float *xr = x.re + s * (at + m * j), *xi = x.im + s * (at + m * j);
            float c = p->cosine[turned * step], sine = p->sine[turned * step];
            for (int64_t q = 0; q < s; q++) {
                re[q] += xr[q] * c + xi[q] * sine;
                im[q] += xi[q] * c - xr[q] * sine;
            }
            turned += k * m;
            turned -= turned >= r * m ? r * m : 0;
        }
    }
}

/* The transform of x; x and y are both written. Returns where it is. */
static parts transform(const fft *p, parts x, parts y) {
    int64_t m = p->points, s = 1;
    for (int f = 0; f < p->factors; f++) {
        int64_t r = p->radix[f];
        m /= r;
        if (r == 2)
            stage2(m, s, p->w_cosine[f], p->w_sine[f], x, y);
        else if (r == 3)
            stage3(m, s, p->w_cosine[f], p->w_sine[f], x, y);
        else if (r == 4 && s == 1)
            first_stage4(m, p->w_cosine[f], p->w_sine[f], x, y);
        else if (r == 4)
            stage4(m, s, p->w_cosine[f], p->w_sine[f], x, y);
        else if (r == 5)
            stage5(m, s, p->w_cosine[f], p->w_sine[f], x, y);
        else
            stage_any(p, r, m, s, x, y);
        s *= r;
        parts swap = x;
        x = y;
        y = swap;
    }
    return x;
}

static le_status take_parts(le_ctx *ctx) {
    const fft *p = ctx->node->packed;
    return le_add_scratch(ctx, 4 * p->points, sizeof(float));
}

static void two_buffers(const le_ctx *ctx, parts *x, parts *y) {
    const fft *p = ctx->node->packed;
    float *at = ctx->scratch;
    *x = (parts){at, at + p->points};
    *y = (parts){at + 2 * p->points, at + 3 * p->points};
}

/* ---- Rfft ---- */

le_status le_shape_rfft(le_ctx *ctx) {
    const fft *p = ctx->node->packed;
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
    return take_parts(ctx);
}

/* The spectrum of x (of n, even) from Z, that of x[2j] + i x[2j + 1]: of its even and its odd samples, the latter turned back by k. */
static void unpack_spectrum(const fft *p, parts z, float *restrict re, float *restrict im) {
    int64_t half = p->points;
    re[0] = z.re[0] + z.im[0];
    re[half] = z.re[0] - z.im[0];
    im[0] = im[half] = 0;
    for (int64_t k = 1; k < half; k++) {
        float ar = z.re[k], ai = z.im[k], br = z.re[half - k], bi = z.im[half - k], c = p->cosine[k], s = p->sine[k];
        float er = 0.5f * (ar + br), ei = 0.5f * (ai - bi), odd_r = 0.5f * (ai + bi), odd_i = 0.5f * (br - ar);
        re[k] = er + (c * odd_r + s * odd_i);
        im[k] = ei + (c * odd_i - s * odd_r);
    }
}

/* Row x of `size` values, zeros behind it, to z: two to a point where n is even. */
static void load(const fft *p, int64_t size, const float *restrict x, parts z) {
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
    const fft *p = ctx->node->packed;
    const le_tensor *t = ctx->in[0];
    const float *x = t->data;
    float *y = ctx->out[0]->data;
    int64_t size = t->dims[t->rank - 1], rows = le_product(t->dims, 0, t->rank - 1), bins = p->n / 2 + 1;
    parts a, b;
    two_buffers(ctx, &a, &b);
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
    const fft *p = ctx->node->packed;
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
    return take_parts(ctx);
}

/* The inverse of unpack_spectrum, twice as large: real and imaginary parts change places, so that `transform` goes back. */
static void pack_spectrum(const fft *p, const float *restrict re, const float *restrict im, parts z) {
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
    const fft *p = ctx->node->packed;
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
