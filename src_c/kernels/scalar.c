/* Portable C: the table every other one is measured against. Four lanes where the compiler's baseline has them (SSE2, AArch64), one elsewhere;
 * arithmetic is lane by lane, so that changes no bit. */
#include <math.h>
#include <string.h>

#include "kernels.h"

#ifdef __ARM_FEATURE_SIMD32
#include <arm_acle.h>
#endif

#if defined(__SSE2__) || defined(__aarch64__)
#define V_WIDTH 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
#define MASK(comparison) (comparison)
#else
#define V_WIDTH 1
typedef float vf;
typedef int32_t vi;
#define MASK(comparison) (-(int32_t)(comparison))
#endif

static inline vf as_float(vi bits) {
    vf v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline vi as_int(vf v) {
    vi bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline vf v_load(const float *p) {
#if V_WIDTH == 4
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
#else
    return *p; /* into a floating-point register at once */
#endif
}

static inline void v_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

static inline vf v_load_n(const float *p, ptrdiff_t n) {
    float lane[V_WIDTH] = {0};
    memcpy(lane, p, (size_t)n * sizeof *p);
    return v_load(lane);
}

static inline void v_store_n(float *p, vf v, ptrdiff_t n) { memcpy(p, &v, (size_t)n * sizeof *p); }

static inline vf v_set1(float x) {
#if V_WIDTH == 4
    return (vf){x, x, x, x};
#else
    return x;
#endif
}

static inline vf v_add(vf a, vf b) { return a + b; }
static inline vf v_sub(vf a, vf b) { return a - b; }
static inline vf v_mul(vf a, vf b) { return a * b; }
static inline vf v_div(vf a, vf b) { return a / b; }
static inline vf v_fmadd(vf a, vf b, vf c) { return a * b + c; } /* two roundings: no contraction */
static inline vf v_select(vi mask, vf x, vf y) { return as_float((as_int(x) & mask) | (as_int(y) & ~mask)); }
static inline vf v_select_lt(vf a, vf b, vf x, vf y) { return v_select(MASK(a < b), x, y); }
static inline vf v_select_le(vf a, vf b, vf x, vf y) { return v_select(MASK(a <= b), x, y); }
static inline vf v_min(vf a, vf b) { return v_select_lt(a, b, a, b); }
static inline vf v_max(vf a, vf b) { return v_select_lt(b, a, a, b); }
static inline vf v_abs(vf a) { return as_float(as_int(a) & 0x7fffffff); }
static inline vf v_copy_sign(vf x, vf s) { return as_float(as_int(x) | (as_int(s) & INT32_MIN)); }

static inline vf v_exp2_shift(vf t) {
    /* Unsigned: the integer part's upper bits are meant to fall off. */
#if V_WIDTH == 4
    typedef uint32_t vu __attribute__((vector_size(16)));
#else
    typedef uint32_t vu;
#endif
    vu bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(&t, &bits, sizeof t);
    return t;
}

static inline vi i_load(const int32_t *p) {
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vf v_from_int(vi v) {
#if V_WIDTH == 4
    return __builtin_convertvector(v, vf);
#else
    return (float)v;
#endif
}

static inline vf v_split(vf x, vf *n) {
    *n = v_from_int(as_int(x) >> 23);
    return as_float((as_int(x) & 0x7fffff) | 0x3f800000);
}

#if V_WIDTH == 1 && defined(__ARM_FEATURE_SIMD32)
/* ARMv6's pairs of 16 bits: columns 0 and 2, 1 and 3. */
typedef struct {
    int16x2_t even, odd;
} vx;

static inline vx x_spread(const int8_t *q) {
    uint32_t four;
    memcpy(&four, q, sizeof four);
    return (vx){__sxtb16(four), __sxtb16(four >> 8 | four << 24)};
}

static inline vi i_dot4(vi sum, vx x, const int8_t *w) {
    const vx weights = x_spread(w);
    return __smlad(x.odd, weights.odd, __smlad(x.even, weights.even, sum));
}
#else
typedef const int8_t *vx;
static inline vx x_spread(const int8_t *q) { return q; }

static inline vi i_dot4(vi sum, vx x, const int8_t *w) {
    int32_t lane[V_WIDTH];
    for (int j = 0; j < V_WIDTH; j++)
        lane[j] = x[0] * w[4 * j] + x[1] * w[4 * j + 1] + x[2] * w[4 * j + 2] + x[3] * w[4 * j + 3];
    return sum + i_load(lane);
}
#endif

#define I8_OFFSET 0
#define LE_NO_FMA
#define LE_NO_F16
#define KERNEL(name) LE_JOIN(le_scalar_, name)
#include "floats.inc"
#include "int8.inc"

LE_KERNEL_TABLE(scalar)
