/* exp, log, pow and erf of floats without libm, whose last bit differs between C libraries and CPUs (promise 2). Each is one sequence of IEEE double
 * operations, accurate to 1e-12 and then rounded once: within 0.50001 ulp of exact. */
#include "ops.h"

#include <math.h>
#include <string.h>

#define LN2_HIGH 0x1.62e42fee00000p-1 /* 32 bits: exact times any exponent */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LN2_INVERSE 1.4426950408889634
#define MAGIC 0x1.8p52 /* adding it rounds to an integer in the low bits */

/* 2^n for -1022 <= n <= 1023. */
static double power_of_two(int64_t n) {
    const uint64_t bits = (uint64_t)(n + 1023) << 52;
    double p;
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* e^x, x clamped to where floats overflow and vanish; NaN stays. */
static double exp_double(double x) {
    if (x != x)
        return x;
    x = x < -110 ? -110 : x > 90 ? 90 : x;
    const double n = x * LN2_INVERSE + MAGIC - MAGIC;
    const double r = (x - n * LN2_HIGH) - n * LN2_LOW;
    double p = 1.0; /* Taylor to r^12 / 12!: |r| <= ln2 / 2 leaves 2e-16 */
    for (int i = 12; i > 0; i--)
        p = 1.0 + p * r / i;
    return p * power_of_two((int64_t)n);
}

/* ln x of finite x > 0: x = 2^n m, m within [sqrt 1/2, sqrt 2), ln m = 2 atanh s with s = (m - 1) / (m + 1). */
static double log_double(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint64_t offset = bits - 0x3fe6a09e667f3bcdu; /* sqrt 1/2 */
    const int64_t n = (int64_t)(offset >> 52) - (offset >> 63 ? 4096 : 0);
    bits -= (uint64_t)n << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    const double s = (m - 1.0) / (m + 1.0), t = s * s;
    double p = 0; /* 1 + t/3 + t^2/5 + ...: t <= 0.0295, so that t^8/17 is below 4e-14 */
    for (int i = 15; i > 0; i -= 2)
        p = p * t + 1.0 / i;
    return (double)n * LN2_HIGH + (2.0 * s * p + (double)n * LN2_LOW);
}

float le_exp(float x) { return (float)exp_double(x); }

float le_log(float x) {
    if (!(x > 0))
        return x == 0 ? -INFINITY : NAN;
    return x > 3.40282347e+38f ? x : (float)log_double(x);
}

/* C's pow: what a negative or infinite base and a whole exponent give is spelled out there. */
float le_pow(float a, float b) {
    if (b == 2)
        return a * a;
    if (a == 1 || b == 0)
        return 1;
    if (a != a || b != b)
        return a + b;
    const float size = fabsf(a);
    const bool whole = b == floorf(b), odd = whole && fabsf(b) < 0x1p24f && fmodf(b, 2) != 0;
    const float sign = odd && signbit(a) ? -1.0f : 1.0f;
    if (isinf(b))
        return size == 1 ? 1 : (size > 1) == (b > 0) ? INFINITY : 0;
    if (size == 0 || isinf(size))
        return sign * ((size == 0) == (b > 0) ? 0.0f : INFINITY);
    if (a < 0 && !whole)
        return NAN;
    return sign * (float)exp_double((double)b * log_double(size));
}

/* 2 / sqrt(pi) e^(-x^2) times the sum of x (2 x^2)^n / (1 3 5 .. 2n+1): no term cancels another. A float's erf is 1 from 4 on. */
float le_erf(float x) {
    const double a = fabs((double)x), t = 2 * a * a;
    if (x != x || a == 0)
        return x;
    if (a >= 4)
        return x > 0 ? 1.0f : -1.0f;
    double term = a, sum = a;
    for (int n = 3; term > sum * 1e-14; n += 2) {
        term *= t / n;
        sum += term;
    }
    const double y = 1.1283791670955126 * exp_double(-a * a) * sum;
    return (float)(x > 0 ? y : -y);
}
