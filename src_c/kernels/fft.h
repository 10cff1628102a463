/* What a Fourier transform of real rows knows: made by ops/fft.c at load, read by fft.inc. */
#ifndef LE_FFT_H
#define LE_FFT_H

#include <stdint.h>

enum { LE_FFT_FACTORS = 16 };

typedef struct le_fft {
    int64_t n, points; /* of a row; of the complex transform */
    int factors;
    int radix[LE_FFT_FACTORS];
    float *cosine, *sine;                  /* of 2 pi k / n, k < n */
    const float *w_cosine[LE_FFT_FACTORS]; /* for each factor r with m = rest / r: (r - 1) x m, of 2 pi p k / rest */
    const float *w_sine[LE_FFT_FACTORS];
} le_fft;

#endif
