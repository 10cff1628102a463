/* AVX-512 (F, BW, DQ, VL) with VNNI; compiled with these flags. */
#include "kernels.h"

#if LE_X86

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__) || !defined(__AVX512VNNI__)
#error "compile kernels/avx512.c with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
#endif

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define V_WIDTH 16
typedef __m512 vf;

static inline __mmask16 lane_mask(ptrdiff_t n) { return (__mmask16)((1u << n) - 1); }

static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
static inline vf v_load_n(const float *p, ptrdiff_t n) { return _mm512_maskz_loadu_ps(lane_mask(n), p); }
static inline void v_store_n(float *p, vf v, ptrdiff_t n) { _mm512_mask_storeu_ps(p, lane_mask(n), v); }
static inline vf v_set1(float x) { return _mm512_set1_ps(x); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_fmadd(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
static inline vf v_copy_sign(vf x, vf s) { return _mm512_or_ps(x, _mm512_and_ps(_mm512_set1_ps(-0.0f), s)); }

static inline vf v_select_lt(vf a, vf b, vf x, vf y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }

static inline vf v_select_le(vf a, vf b, vf x, vf y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ), y, x); }

static inline vf v_exp2_shift(vf t) {
    const __m512i shifted = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(shifted, _mm512_set1_epi32(0x3f800000)));
}

static inline vf v_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }

static inline vf v_split(vf x, vf *n) {
    const __m512i bits = _mm512_castps_si512(x), fraction = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffff));
    *n = _mm512_cvtepi32_ps(_mm512_srli_epi32(bits, 23));
    return _mm512_castsi512_ps(_mm512_or_si512(fraction, _mm512_set1_epi32(0x3f800000)));
}

typedef __m512i vi;
typedef __m512i vx;

static inline vi i_load(const int32_t *p) { return _mm512_loadu_si512(p); }
static inline vf v_from_int(vi v) { return _mm512_cvtepi32_ps(v); }

/* vpdpbusd multiplies unsigned by signed: rows of q hold 128 more (I8_OFFSET), and 128 times the sum of the weights is taken off where the sum starts.
 * So a load alone spreads four of them. */
static inline vx x_spread(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_set1_epi32(four);
}

/* In assembly, because compilers copy the sum of the intrinsic from register to register in a loop (gcc 12 all eight of a block). */
static inline vi i_dot4(vi sum, vx x, const int8_t *w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "m"(*(const __m512i_u *)(const void *)w));
    return sum;
}

#define I8_OFFSET 128
#define LE_BLOCK_TILES 4    /* of the 32 registers */
#define LE_I8_BLOCK_TILES 4 /* 16 of them are sums */
#define KERNEL(name) LE_JOIN(le_avx512_, name)
#include "floats.inc"
#include "int8.inc"

LE_KERNEL_TABLE(avx512)

#else
typedef int le_no_avx512; /* a translation unit may not be empty */
#endif
