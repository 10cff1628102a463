/* Fixed-point arithmetic by the definitions of gemmlowp's fixedpoint.h and TFLite's MultiplyByQuantizedMultiplier: Qm.n numbers of 16
 * bits have m bits before the point, and a product of Qa and Qb is a Q(a + b). */
#include "fixed_point.h"

#include <limits.h>
#include <string.h>

static int32_t wrap32(int64_t x) {
    const uint32_t low = (uint32_t)x;
    int32_t y;
    memcpy(&y, &low, sizeof y);
    return y;
}

static int32_t wrap16(int32_t x) { return ((x + 0x8000) & 0xFFFF) - 0x8000; }

int32_t le_saturate16(int64_t x) { return x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : (int32_t)x; }

static int32_t saturate32(int64_t x) { return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x; }

/* a b / 2^31 and a b / 2^15, halves up. */
static int32_t high32(int32_t a, int32_t b) { return saturate32(((int64_t)a * b + (1 << 30)) >> 31); }
static int32_t high16(int32_t a, int32_t b) {
    const int32_t y = (a * b + (1 << 14)) >> 15;
    return y > INT16_MAX ? INT16_MAX : y;
}

int32_t le_divide_by_power(int32_t x, int bits) {
    const int32_t mask = (int32_t)((1u << bits) - 1);
    return (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0));
}

/* x 2^bits, what is beyond the type's range at its ends. */
static int32_t shifted16(int32_t x, int bits) {
    const int32_t most = (1 << (15 - bits)) - 1;
    return x > most ? INT16_MAX : x < -most ? INT16_MIN : wrap16(x * (1 << bits));
}
static int32_t shifted32(int32_t x, int bits) {
    const int32_t most = (1 << (31 - bits)) - 1;
    return x > most ? INT32_MAX : x < -most ? INT32_MIN : wrap32((int64_t)x * (1 << bits));
}

/* ---- scales ---- */

bool le_scale_of(float number, le_scale *scale) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    const int exponent = (int)(bits >> 23 & 0xFF) - 126; /* number = 0.1mmm * 2^exponent */
    *scale = (le_scale){0, 0};
    if (!(number >= 0) || exponent > 30)
        return false;
    if (exponent >= -31)
        *scale = (le_scale){(int32_t)((bits & 0x7FFFFF) | 0x800000) << 7, exponent};
    return true;
}

int32_t le_rescale(int32_t x, le_scale scale) {
    const int left = scale.shift > 0 ? scale.shift : 0;
    return le_divide_by_power(high32(wrap32((int64_t)((uint64_t)(int64_t)x << left)), scale.multiplier), left - scale.shift);
}

/* Newton's iteration from 1, in Q3 of 32 bits, on x brought to [2^27, 2^29). */
le_scale le_inverse_sqrt(int32_t x) {
    if (x <= 1)
        return (le_scale){INT32_MAX, 0};
    int right = 11, pairs = 0;
    for (; x >= 1 << 29; right++)
        x /= 4;
    for (; x < 1 << 27; pairs++)
        x *= 4;
    right -= pairs;
    const int32_t half = le_divide_by_power(x >> 1, 1), three_halves = (1 << 28) + (1 << 27);
    int32_t y = 1 << 28;
    for (int i = 0; i < 5; i++) {
        const int32_t cube = shifted32(high32(high32(y, y), y), 6);
        y = shifted32(wrap32((int64_t)high32(three_halves, y) - high32(half, cube)), 3);
    }
    y = high32(y, 1518500250); /* sqrt(2) / 2 */
    return right < 0 ? (le_scale){wrap32((int64_t)((uint64_t)(int64_t)y << -right)), 0} : (le_scale){y, -right};
}

/* ---- functions of 16 bits ---- */

/* exp(x) in Q0 for x in [-1/4, 0) in Q0: Taylor's series at -1/8. */
static int32_t exp_of_quarter(int32_t x) {
    enum { EXP_EIGHTH = 28918, THIRD = 10923 };
    const int32_t a = x + (1 << 12), a2 = high16(a, a), a3 = high16(a2, a), a4 = high16(a2, a2);
    const int32_t high = le_divide_by_power(wrap16(high16(wrap16(le_divide_by_power(a4, 2) + a3), THIRD) + a2), 1);
    return le_saturate16(EXP_EIGHTH + high16(EXP_EIGHTH, wrap16(a + high)));
}

/* exp(x) in Q0 for x <= 0 in Q`bits`: of the last quarter by the series, times exp(-2^e) for each further bit. */
static int32_t exp_of_negative(int32_t x, int bits) {
    static const int16_t factors[] = {25520, 19875, 12055, 4435, 600, 11, 0}; /* exp(-2^e) for e from -2 */
    const int fraction = 15 - bits;
    const int32_t quarter = 1 << (fraction - 2), last = (x & (quarter - 1)) - quarter, rest = last - x;
    if (x == 0)
        return INT16_MAX;
    if (bits > 5 && x < -(1 << (20 - bits))) /* below -32 */
        return 0;
    int32_t y = exp_of_quarter(shifted16(last, bits));
    for (int e = -2; e < bits && e <= 4; e++)
        if (rest & (1 << (fraction + e)))
            y = high16(y, factors[e + 2]);
    return y;
}

/* 2 / (1 + x) in Q2 for x in (0, 1) in Q0: Newton's iteration for the inverse of half of it. */
static int32_t twice_inverse_of_one_plus(int32_t x) {
    enum { ONE_Q2 = 1 << 13, FIRST = 23130, SLOPE = -15420 }; /* 48/17 and -32/17 */
    const int32_t half = (x + INT16_MAX + 1) / 2;
    int32_t y = wrap16(FIRST + high16(half, SLOPE));
    for (int i = 0; i < 3; i++)
        y = wrap16(y + shifted16(high16(y, wrap16(ONE_Q2 - high16(half, y))), 2));
    return y;
}

int32_t le_sigmoid16(int32_t x) {
    if (x == 0)
        return 1 << 14;
    const int32_t y = shifted16(twice_inverse_of_one_plus(exp_of_negative(x > 0 ? -x : x, 3)), 1);
    return x > 0 ? y : INT16_MAX - y;
}

int32_t le_tanh16(int32_t x, int bits) {
    if (x == 0)
        return 0;
    const int32_t inverse = twice_inverse_of_one_plus(exp_of_negative(x > 0 ? -x : x, bits + 1));
    const int32_t y = shifted16(wrap16(inverse - (1 << 13)), 2);
    return x > 0 ? y : wrap16(-y);
}
