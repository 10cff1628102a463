"""Matrix products: dense layers, batches of matrices, einsum, attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Array, Case, Later, given
from conformance.cases.reductions import softmax
from conformance.spelled import NONE, by_name, weighted

torch, F = Later("torch"), Later("torch.nn.functional")
K, L = Later("keras.ops"), Later("keras.layers")

_RNG = np.random.default_rng(1)
W, BIAS = _RNG.normal(0, 0.5, (5, 4)), _RNG.normal(0, 0.5, 5)  # (outputs, inputs)
HEADS = _RNG.normal(0, 0.5, (4, 2, 3))
SQUARE = _RNG.normal(0, 0.5, (4, 4))
X = (given("B T 4"),)
PAIR = (given("B T 4"), given("B T 4"))


def tensor(array: Array) -> object:
    return torch.tensor(array).float()


def attention(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return np.asarray(softmax(scores) @ v)


def causal(x: Array) -> Array:
    return np.tril(np.ones((x.shape[-2],) * 2)) > 0


def _onnx_attention(o: Any, *inputs: str, **attributes: Any) -> Any:
    """ONNX's own, one head: 4 axes."""
    o.opset = 23
    y = o("Attention", *(o("Unsqueeze", i, [1]) for i in inputs), **attributes)
    return o("Squeeze", y, [1])


def _keras_attention(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    """Keras's layer has no factor of its own but a weight, and takes value before key."""
    return weighted(L.Attention(use_scale=True), [np.float32(0.5)], [q, v, k], **keywords)


CASES: list[Case] = [
    by_name(
        "dense",
        X,
        lambda x: x @ W.T + BIAS,
        lambda o, x: o("Add", o("MatMul", x, W.T), BIAS),
        lambda x: F.linear(x, tensor(W), tensor(BIAS)),
        lambda x: weighted(L.Dense(5), [W.T, BIAS], x),
        lambda t, x: t("FULLY_CONNECTED", x, W, BIAS, keep_num_dims=True),
        lambda n, x: n("dense", x, kernel=W, bias=BIAS),
    ),
    by_name(
        "dense with an activation",
        X,
        lambda x: np.maximum(x @ W.T + BIAS, 0),
        NONE,
        NONE,
        lambda x: weighted(L.Dense(5, activation="relu"), [W.T, BIAS], x),
        lambda t, x: t("FULLY_CONNECTED", x, W, BIAS, keep_num_dims=True, activation=1),
        lambda n, x: n("dense", x, kernel=W, bias=BIAS, activation="relu"),
    ),
    by_name(
        "dense without a bias",
        (given("B 4"),),
        lambda x: x @ W.T,
        lambda o, x: o("Gemm", x, W, transB=1),
        lambda x: F.linear(x, tensor(W)),
        lambda x: weighted(L.Dense(5, use_bias=False), [W.T], x),
        lambda t, x: t("FULLY_CONNECTED", x, W, None),
        lambda n, x: n("dense", x, kernel=W),
    ),
    by_name(
        "gemm with factors",
        (given("B 4"),),
        lambda x: 0.5 * x @ W.T + 2 * BIAS,
        lambda o, x: o("Gemm", x, W, BIAS, transB=1, alpha=0.5, beta=2.0),
        lambda x: torch.addmm(tensor(BIAS), x, tensor(W.T), alpha=0.5, beta=2),
        NONE,
        NONE,
        NONE,
    ),
    by_name(
        "product with constants on the left",
        (given("B 4 T"),),
        lambda x: SQUARE @ x,
        lambda o, x: o("MatMul", SQUARE, x),
        lambda x: torch.matmul(tensor(SQUARE), x),
        "open frames only behind the batch",
        lambda t, x: t("BATCH_MATMUL", SQUARE[None], x, adj_x=False, adj_y=False),
        lambda n, x: n("MatMul", SQUARE, x),
    ),
    by_name(
        "product of two inputs",
        PAIR,
        lambda a, b: a @ b.swapaxes(1, 2),
        lambda o, a, b: o("MatMul", a, o("Transpose", b, perm=[0, 2, 1])),
        lambda a, b: a @ b.transpose(1, 2),
        lambda a, b: K.matmul(a, K.transpose(b, (0, 2, 1))),
        lambda t, a, b: t("BATCH_MATMUL", a, b, adj_x=False, adj_y=True),
        lambda n, a, b: n("MatMul", a, b, trans_b=1),
    ),
    by_name(
        "dot layer",
        PAIR,
        lambda a, b: a @ b.swapaxes(1, 2),
        NONE,
        NONE,
        lambda a, b: L.Dot(axes=2)([a, b]),
        NONE,
        NONE,
    ),
    by_name(
        "product with a vector",
        X,
        lambda x: x @ BIAS[:4],
        lambda o, x: o("MatMul", x, BIAS[:4]),
        lambda x: torch.matmul(x, tensor(BIAS[:4])),
        lambda x: K.matmul(x, BIAS[:4].astype(np.float32)),
        NONE,
        NONE,
    ),
    by_name(
        "einsum of two operands",
        PAIR,
        lambda a, b: np.einsum("bti,bsi->bts", a, b),
        lambda o, a, b: o("Einsum", a, b, equation="bti,bsi->bts"),
        lambda a, b: torch.einsum("bti,bsi->bts", a, b),
        lambda a, b: K.einsum("bti,bsi->bts", a, b),
        NONE,
        NONE,
    ),
    by_name(
        "einsum with an ellipsis",
        X,
        lambda x: np.einsum("...i,oi->...o", x, W),
        lambda o, x: o("Einsum", x, W, equation="...i,oi->...o"),
        lambda x: torch.einsum("...i,oi->...o", x, tensor(W)),
        lambda x: K.einsum("...i,oi->...o", x, W.astype(np.float32)),
        NONE,
        NONE,
    ),
    by_name(
        "einsum of three operands",
        (given("B T 4"), given("B T 4"), given("B 4")),
        lambda a, b, c: np.einsum("bti,bsi,bi->bts", a, b, c),
        lambda o, a, b, c: o("Einsum", a, b, c, equation="bti,bsi,bi->bts"),
        lambda a, b, c: torch.einsum("bti,bsi,bi->bts", a, b, c),
        lambda a, b, c: K.einsum("bti,bsi,bi->bts", a, b, c),
        NONE,
        NONE,
    ),
    by_name(
        "einsum of three operands with an ellipsis",
        PAIR,
        lambda a, b: np.einsum("...ti,...si,ij->...tsj", a, b, SQUARE),
        lambda o, a, b: o("Einsum", a, b, SQUARE, equation="...ti,...si,ij->...tsj"),
        lambda a, b: torch.einsum("...ti,...si,ij->...tsj", a, b, tensor(SQUARE)),
        lambda a, b: K.einsum("...ti,...si,ij->...tsj", a, b, SQUARE.astype(np.float32)),
        NONE,
        NONE,
    ),
    by_name(
        "einsum layer",
        X,
        lambda x: np.einsum("bti,iho->btho", x, HEADS),
        NONE,
        NONE,
        lambda x: weighted(L.EinsumDense("bti,iho->btho", (None, 2, 3)), [HEADS], x),
        NONE,
        NONE,
    ),
    by_name(
        "attention",
        (given("B T 4"), given("B T 4"), given("B T 4")),
        attention,
        lambda o, q, k, v: _onnx_attention(o, q, k, v),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
        lambda q, k, v: _keras_attention(q, k, v),
        NONE,
        NONE,
    ),
    by_name(
        "causal attention",
        (given("B T 4"), given("B T 4"), given("B T 4")),
        lambda q, k, v: attention(q, k, v, causal(q)),
        lambda o, q, k, v: _onnx_attention(o, q, k, v, is_causal=1),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: _keras_attention(q, k, v, use_causal_mask=True),
        NONE,
        NONE,
    ),
]
