/* AVX2 with FMA. */
#include "kernels.h"

#if LE_X86

#include "avx2.inc"

typedef struct {
    __m256i value, magnitude;
} vx;

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
#define KERNEL(name) LE_JOIN(le_avx2_, name)
#include "floats.inc"
#include "fft_rows.inc"
#include "int8.inc"

LE_KERNEL_TABLE(avx2)

#else
typedef int le_no_avx2; /* a translation unit may not be empty */
#endif
