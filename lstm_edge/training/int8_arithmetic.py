"""The engine's int8 arithmetic in torch, with gradients: the same bits in the forward pass, roundings passed over in the backward.

What is computed is written in docs/quantization.md, and for one CPU in src_c/kernels (quantize.inc, matmul_i8.inc, pointwise.inc). Sums
of products of int8 are whole numbers, which floats hold exactly; all else is one sequence of float32 operations, here as there. Divisions
are by tensors, never by numbers: torch turns some of those into a multiplication, which rounds otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..ir.int8 import LEAST_COLUMNS, MOST_COLUMNS

LEAST_MAGNITUDE = 1e-30  # a row of activations below it counts as zero
REST = 254.0  # what rounding leaves is at most half a step, 127 / 254
MOST_IN_FLOAT32 = 2**24 // 127**2  # columns whose products of int8 float32 adds up exactly
# Of e^r - 1: 1 / ln 2; 1.5 * 2^23, adding which rounds to an integer that the low bits then hold; ln 2 in two parts; a polynomial.
REDUCTION = (1.44269504, 12582912.0, 0.693359375, -2.12194440e-4)
POLYNOMIAL = (0.00139485995, 0.00836916028, 0.0416662404, 0.166665051, 0.500000008, 1.0)


@dataclass(frozen=True)
class Rows:
    """A weight (..., N, K) in int8. turned: the whole numbers as floats (..., K, N); scale (..., 1, N); value (..., N, K): the
    weight that they stand for."""

    turned: Tensor
    scale: Tensor
    value: Tensor


def rows_of(weight: Tensor) -> Rows | None:
    """The weight as the engine stores it (lstm_edge.ir.int8); None where it stays float32."""
    if not LEAST_COLUMNS <= weight.shape[-1] <= MOST_COLUMNS:
        return None
    w = weight.detach()
    scale = _over(w.abs().amax(-1, keepdim=True), 127.0)
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, 0.0, scale)
    q = torch.clamp(torch.round(w / torch.where(scale > 0, scale, 1.0)), -127, 127)
    turned = q.transpose(-1, -2)
    exact = turned if w.shape[-1] <= MOST_IN_FLOAT32 else turned.double()
    return Rows(exact, scale.transpose(-1, -2), q * scale)


def stored_value(weight: Tensor) -> Tensor:
    """What the engine's form of the weight stands for."""
    rows = rows_of(weight)
    return weight if rows is None else rows.value


def _over(x: Tensor, number: float) -> Tensor:
    return torch.div(x, torch.full_like(x, number))


# ---- products --------------------------------------------------------------------------------------------------------


def product(x: Tensor, weight: Tensor, rows: Rows | None, start: Tensor | None, fine: bool) -> Tensor:
    """start + x W^T: x (..., R, K) with each row of it rounded by its own largest magnitude, to 15 bits where `fine`, else to 8;
    weight (..., N, K) with `rows` as rows_of gave them; start (..., R, N), or (..., 1, N) or (N,) for all rows.

    What gradients pass is the product with the weight's rounded value, as if nothing had been rounded besides.
    """
    if rows is None:
        exact = x * weight.transpose(-1, -2) if weight.shape[-1] == 1 else x @ weight.transpose(-1, -2)
        return exact if start is None else start + exact
    made: Tensor = _Product.apply(x, weight, start, rows, fine)  # type: ignore[no-untyped-call]
    return made


class _Product(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, start: Tensor | None, rows: Rows, fine: bool) -> Tensor:
        ctx.save_for_backward(x, rows.value)
        ctx.start = None if start is None else start.shape
        top = x.abs().amax(-1, keepdim=True)
        counts = top >= LEAST_MAGNITUDE
        inverse = torch.where(counts, torch.div(torch.full_like(top, 127.0), top), 0.0)
        scale = torch.where(counts, _over(top, 127.0), top * 0.0)
        steps = x * inverse
        q = torch.round(steps)
        y = _scaled(q, rows, scale)
        if start is not None:
            y = y.add_(start)
        if fine:
            y = y.add_(_scaled(steps.sub_(q).mul_(REST).round_(), rows, _over(scale, REST)))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, value = ctx.saved_tensors
        start = None if ctx.start is None else grad.sum_to_size(ctx.start)
        return grad @ value, grad.transpose(-1, -2) @ x, start, None, None


def _scaled(q: Tensor, rows: Rows, scale: Tensor) -> Tensor:
    sums = (q.to(rows.turned.dtype) @ rows.turned).float()
    return sums.mul_(rows.scale).mul_(scale)


# ---- activations and the LSTM's cell ---------------------------------------------------------------------------------


def sigmoid(x: Tensor) -> Tensor:
    y: Tensor = _Sigmoid.apply(x)  # type: ignore[no-untyped-call]
    return y


def tanh(x: Tensor) -> Tensor:
    y: Tensor = _Tanh.apply(x)  # type: ignore[no-untyped-call]
    return y


def lstm_cell(z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """h' and c' of the plain LSTM from the sums z (..., 4H) of its gates i, f, g, o, and c (..., H)."""
    h, c_new = _LSTMCell.apply(z, c)  # type: ignore[no-untyped-call]
    return h, c_new


class _Sigmoid(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        under = _sigmoid_under(x)
        y = torch.div(torch.ones_like(under), under)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grad * y * (1 - y)


class _Tanh(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        over, under = _tanh_ratio(x)
        y = over.div_(under)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grad * (1 - y * y)


class _LSTMCell(Function):
    """lstm_update of pointwise.inc, which divides by two functions at once."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        under_i, under_f, _, under_o = _sigmoid_under(z).chunk(4, -1)
        over, under = _tanh_ratio(z.chunk(4, -1)[2])
        c_new = (c / under_f).add_(over.div_(under.mul_(under_i)))
        over, under = _tanh_ratio(c_new)
        ctx.save_for_backward(z, c, c_new)
        return over.div_(under.mul_(under_o)), c_new

    @staticmethod
    def backward(ctx: Any, grad_h: Tensor, grad_c: Tensor) -> Any:
        z, c, c_new = ctx.saved_tensors
        i, f, _, o = torch.sigmoid(z).chunk(4, -1)
        g, t = torch.tanh(z.chunk(4, -1)[2]), torch.tanh(c_new)
        to_c = grad_c + grad_h * o * (1 - t * t)
        of_gates = [to_c * g * i * (1 - i), to_c * c * f * (1 - f), to_c * i * (1 - g * g), grad_h * t * o * (1 - o)]
        return torch.cat(of_gates, -1), to_c * f


# What follows runs inside of functions of autograd, and so may write to tensors of its own. add_(x, alpha=a) and addcmul would round
# once where the engine rounds twice.


def _sigmoid_under(x: Tensor) -> Tensor:
    """1 / sigmoid x = 1 + e^-x."""
    e, power = _expm1_reduced(x.neg().clamp_(-88.0, 89.0))
    one = _number(1.0, x.device)
    return e.add_(one).mul_(power).add_(one)


def _tanh_ratio(x: Tensor) -> tuple[Tensor, Tensor]:
    """tanh x as e / (e + 2) with e = e^2|x| - 1, under the sign of x."""
    a = x.abs().clamp_(max=10.0)
    e, power = _expm1_reduced(a.add_(a))
    e = e.mul_(power).add_(power.sub_(_number(1.0, x.device)))
    return torch.copysign(e, x), e.add_(_number(2.0, x.device))


def _expm1_reduced(x: Tensor) -> tuple[Tensor, Tensor]:
    """e^r - 1 and 2^n, with x = n ln2 + r; x is overwritten."""
    log2_e, magic, high, low = (_number(value, x.device) for value in REDUCTION)
    first, *others, last = (_number(value, x.device) for value in POLYNOMIAL)
    shifted = (x * log2_e).add_(magic)
    n = shifted - magic
    r = x.sub_(n * high).sub_(n.mul_(low))
    q = r * first
    for coefficient in others:
        q.add_(coefficient).mul_(r)
    power = shifted.view(torch.int32).bitwise_left_shift_(23).add_(0x3F800000)
    return q.add_(last).mul_(r), power.view(torch.float32)


_numbers: dict[tuple[float, torch.device], Tensor] = {}


def _number(value: float, device: torch.device) -> Tensor:
    """A number as float32 once and for all: torch converts a Python number anew for every operation."""
    if (value, device) not in _numbers:
        made = torch.tensor(value, dtype=torch.float32, device=device)
        if type(made) is not Tensor:  # one that only a trace of torch's own knows
            return made
        _numbers[value, device] = made
    return _numbers[value, device]
