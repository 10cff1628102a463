"""Fixed-point arithmetic as gemmlowp and TFLite define it, on int64 arrays that hold numbers of 16 or 32 bits.

Qm numbers have m bits before the point: a number x of 16 bits in Qm stands for x / 2^(15 - m).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Numbers = Any  # int64 arrays
INT16 = (-(2**15), 2**15 - 1)
INT32 = (-(2**31), 2**31 - 1)


def wrapped(x: Numbers, bits: int) -> Numbers:
    """x as a two's complement number of `bits` bits."""
    half = 1 << (bits - 1)
    return ((x + half) & ((1 << bits) - 1)) - half


def saturated(x: Numbers) -> Numbers:
    return np.clip(x, *INT16)


def divided(x: Numbers, bits: int) -> Numbers:
    """x / 2^bits, halves away from zero (RoundingDivideByPOT)."""
    mask = (1 << bits) - 1
    return (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0))


def high(a: Numbers, b: Numbers, bits: int) -> Numbers:
    """a b / 2^(bits - 1), halves up (SaturatingRoundingDoublingHighMul)."""
    return np.minimum((a * b + (1 << (bits - 2))) >> (bits - 1), (1 << (bits - 1)) - 1)


def shifted(x: Numbers, by: int, bits: int) -> Numbers:
    """x 2^by, at the ends of the type where it goes beyond them (SaturatingRoundingMultiplyByPOT)."""
    most = (1 << (bits - 1 - by)) - 1
    top = (1 << (bits - 1)) - 1
    return np.where(x > most, top, np.where(x < -most, -top - 1, wrapped(x << by, bits)))


def scale_of(number: float) -> tuple[int, int]:
    """(multiplier, shift) with number = multiplier 2^(shift - 31), the multiplier 0 or in [2^30, 2^31)."""
    fraction, exponent = math.frexp(float(np.float32(number)))
    return (0, 0) if number == 0 or exponent < -31 else (int(fraction * 2**31), exponent)


def rescaled(x: Numbers, multiplier: int, shift: int) -> Numbers:
    """x times a scale (MultiplyByQuantizedMultiplier)."""
    left = max(shift, 0)
    return divided(high(wrapped(x << left, 32), np.int64(multiplier), 32), left - shift)


def inverse_sqrt(x: int) -> tuple[int, int]:
    """1 / sqrt(x) as a scale: Newton's iteration from 1, in Q3 of 32 bits (GetInvSqrtQuantizedMultiplierExp)."""
    if x <= 1:
        return INT32[1], 0
    right = 11
    while x >= 1 << 29:
        x, right = x // 4, right + 1
    while x < 1 << 27:
        x, right = x * 4, right - 1
    half, three_halves, y = divided(np.int64(x >> 1), 1), np.int64((1 << 28) + (1 << 27)), np.int64(1 << 28)
    for _ in range(5):
        cube = shifted(high(high(y, y, 32), y, 32), 6, 32)
        y = shifted(high(three_halves, y, 32) - high(half, cube, 32), 3, 32)
    y = high(y, np.int64(1518500250), 32)  # sqrt(2) / 2
    return (int(wrapped(y << -right, 32)), 0) if right < 0 else (int(y), -right)


# ---- functions of 16 bits --------------------------------------------------------------------------------------------


def _constant(q31: int) -> Numbers:
    """A constant of 16 bits from the one of 32 bits that gemmlowp gives."""
    return divided(np.int64(q31), 16)


_EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)  # exp(-2^e) for e from -2


def _exp_of_quarter(x: Numbers) -> Numbers:
    """exp in Q0 of x in [-1/4, 0) in Q0: Taylor's series at -1/8."""
    base, third = _constant(1895147668), _constant(715827883)
    a = x + (1 << 12)
    a2 = high(a, a, 16)
    a3, a4 = high(a2, a, 16), high(a2, a2, 16)
    rest = divided(wrapped(high(wrapped(divided(a4, 2) + a3, 16), third, 16) + a2, 16), 1)
    return saturated(base + high(base, wrapped(a + rest, 16), 16))


def _exp_of_negative(x: Numbers, bits: int) -> Numbers:
    """exp in Q0 of x <= 0 in Q`bits`: of the last quarter by the series, times exp(-2^e) for each further bit."""
    fraction = 15 - bits
    quarter = 1 << (fraction - 2)
    last = (x & (quarter - 1)) - quarter
    y = _exp_of_quarter(shifted(last, bits, 16))
    for e, factor in enumerate(_EXP_FACTORS, -2):
        if e < bits:
            y = np.where((last - x) & (1 << (fraction + e)), high(y, _constant(factor), 16), y)
    if bits > 5:
        y = np.where(x < -(1 << (20 - bits)), 0, y)  # below -32
    return np.where(x == 0, INT16[1], y)


def _twice_inverse_of_one_plus(x: Numbers) -> Numbers:
    """2 / (1 + x) in Q2 of x in (0, 1) in Q0: Newton's iteration for the inverse of half of it."""
    half = (x + INT16[1] + 1) // 2
    y = wrapped(_constant(1515870810) + high(half, _constant(-1010580540), 16), 16)  # 48/17 - 32/17 half
    for _ in range(3):
        y = wrapped(y + shifted(high(y, wrapped((1 << 13) - high(half, y, 16), 16), 16), 2, 16), 16)
    return y


def sigmoid(x: Numbers) -> Numbers:
    """In Q0 of x in Q3."""
    y = shifted(_twice_inverse_of_one_plus(_exp_of_negative(np.where(x > 0, -x, x), 3)), 1, 16)
    return np.where(x == 0, 1 << 14, np.where(x > 0, y, INT16[1] - y))


def tanh(x: Numbers, bits: int) -> Numbers:
    """In Q0 of x in Q`bits`."""
    inverse = _twice_inverse_of_one_plus(_exp_of_negative(np.where(x > 0, -x, x), bits + 1))
    y = shifted(wrapped(inverse - (1 << 13), 16), 2, 16)
    return np.where(x == 0, 0, np.where(x > 0, y, wrapped(-y, 16)))
