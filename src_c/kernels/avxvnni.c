/* AVX2 with AVX-VNNI: CPUs that have the 256-bit form of the int8 dot product and no AVX-512. */
#include "kernels.h"

#if LE_AVXVNNI

#pragma GCC target("avxvnni")
#include "avx2.inc"

typedef __m256i vx;

/* vpdpbusd multiplies unsigned by signed: rows of q hold 128 more (I8_OFFSET), and 128 times the sum of the weights is taken off where the sum starts.
 * So a load alone spreads four of them. */
static inline vx x_spread(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

/* In assembly, because compilers copy the sum of the intrinsic from register to register in a loop (gcc 12 all eight of a block). */
static inline vi i_dot4(vi sum, vx x, const int8_t *w) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "m"(*(const __m256i_u *)(const void *)w));
    return sum;
}

#define I8_OFFSET 128
#define KERNEL(name) LE_JOIN(le_avx2_, name) /* all but the int8 product is AVX2's */
#include "int8.inc"

LE_KERNEL_TABLE(avxvnni)

#else
typedef int le_no_avxvnni; /* a translation unit may not be empty */
#endif
