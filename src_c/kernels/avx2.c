/* AVX2 with FMA; compiled with -mavx2 -mfma -mf16c. */
#include "kernels.h"

#if LE_X86

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile kernels/avx2.c with -mavx2 -mfma -mf16c"
#endif

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define V_WIDTH 8
typedef __m256 vf;

static inline __m256i lane_mask(ptrdiff_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
static inline vf v_load_n(const float *p, ptrdiff_t n) { return _mm256_maskload_ps(p, lane_mask(n)); }
static inline void v_store_n(float *p, vf v, ptrdiff_t n) { _mm256_maskstore_ps(p, lane_mask(n), v); }
static inline vf v_set1(float x) { return _mm256_set1_ps(x); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_fmadd(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

static inline vf v_copy_sign(vf x, vf s) { return _mm256_or_ps(x, _mm256_and_ps(_mm256_set1_ps(-0.0f), s)); }

static inline vf v_select_lt(vf a, vf b, vf x, vf y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

static inline vf v_select_le(vf a, vf b, vf x, vf y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LE_OQ));
}

static inline vf v_exp2_shift(vf t) {
    const __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(shifted, _mm256_set1_epi32(0x3f800000)));
}

static inline vf v_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }

typedef __m256i vi;
typedef struct {
    __m256i value, magnitude;
} vx;

static inline vi i_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
static inline vf v_from_int(vi v) { return _mm256_cvtepi32_ps(v); }

static inline vx x_spread(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    const __m256i value = _mm256_set1_epi32(four);
    return (vx){value, _mm256_abs_epi8(value)};
}

/* |x| (unsigned) times w under the sign of x: pairs sum to at most 2 * 127 * 127 = 32258, so vpmaddubsw never saturates. */
static inline vi i_dot4(vi sum, vx x, const int8_t *w) {
    const __m256i weights = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)(const void *)w), x.value);
    const __m256i pairs = _mm256_maddubs_epi16(x.magnitude, weights);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#define I8_OFFSET 0
#include "matmuls.inc"
#include "pointwise.inc"

LE_KERNEL_TABLE(avx2)

#else
typedef int le_no_avx2; /* a translation unit may not be empty */
#endif
