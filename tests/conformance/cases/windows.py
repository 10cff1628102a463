"""Convolutions and pooling, over frames and over images, with every padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from conformance.case import Array, Case, Later, given
from conformance.spelled import NONE, by_name, weighted

torch, F = Later("torch"), Later("torch.nn.functional")
L = Later("keras.layers")

STRIDED = "SAME padding with stride 2 on an axis of frames depends on that size"
_RNG = np.random.default_rng(3)
KERNEL, BIAS = _RNG.normal(0, 0.5, (5, 3, 3)), _RNG.normal(0, 0.5, 5)  # (outputs, inputs, size)
IMAGE_KERNEL = _RNG.normal(0, 0.5, (5, 3, 2, 3))
X = (given("B T 3"),)
DEPTHS = _RNG.normal(0, 0.5, (6, 1, 2, 3))  # two outputs for each of three channels
TRANSPOSED = _RNG.normal(0, 0.5, (3, 5, 3))  # (inputs, outputs, size)
IMAGE_TRANSPOSED = _RNG.normal(0, 0.5, (3, 5, 2, 3))
IMAGE = (given("B T 4 3"),)  # the height is open


def tensor(array: Array) -> Any:
    return torch.tensor(array).float()


def pads_of(padding: str, size: int, width: int, stride: int, dilation: int) -> tuple[int, int]:
    reach = (width - 1) * dilation
    if padding == "causal":
        return reach, 0
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0) if padding == "same" else 0
    return total // 2, total - total // 2


def frames_of(x: Array, width: int, stride: int, dilation: int, padding: str, fill: float = 0.0) -> Array:
    """The windows of frames (B, T', width, C)."""
    padded = np.pad(x, [(0, 0), pads_of(padding, x.shape[1], width, stride, dilation), (0, 0)], constant_values=fill)
    last = padded.shape[1] - (width - 1) * dilation
    return np.stack([padded[:, t : t + (width - 1) * dilation + 1 : dilation] for t in range(0, last, stride)], 1)


def conv(x: Array, stride: int, dilation: int, padding: str) -> Array:
    return np.asarray(np.einsum("btkc,ock->bto", frames_of(x, 3, stride, dilation, padding), KERNEL) + BIAS)


def first(o: Any, x: Any, make: Any) -> Any:
    """An ONNX operator over frames, which has channels first."""
    return o("Transpose", make(o("Transpose", x, perm=[0, 2, 1])), perm=[0, 2, 1])


def _onnx_pads(padding: str, dilation: int) -> dict[str, Any]:
    if padding == "causal":
        return {"pads": [2 * dilation, 0]}
    return {"auto_pad": "SAME_UPPER" if padding == "same" else "VALID"}


def _torch_conv(x: Any, stride: int, dilation: int, padding: str) -> Any:
    y = x.transpose(1, 2)
    if padding == "causal":
        y = F.pad(y, (2 * dilation, 0))
    way = "same" if padding == "same" else 0
    return F.conv1d(y, tensor(KERNEL), tensor(BIAS), stride, way, dilation).transpose(1, 2)


def _tflite_conv(t: Any, x: Any, stride: int, dilation: int, padding: str) -> Any:
    """Over an image of one column."""
    if padding == "causal":
        x, padding = t("PAD", x, [[0, 0], [2 * dilation, 0], [0, 0]]), "valid"
    weight = KERNEL.transpose(0, 2, 1)[:, :, None]
    options = {"stride_h": stride, "stride_w": 1, "dilation_h": dilation, "padding": int(padding == "valid")}
    return t("SQUEEZE", t("CONV_2D", t("EXPAND_DIMS", x, 2), weight, BIAS, **options), squeeze_dims=[2])


def _convolutions() -> Iterator[Case]:
    for padding, stride, dilation in product(("valid", "same", "causal"), (1, 2), (1, 2)):
        if stride > 1 and dilation > 1 or padding == "valid" and dilation > 1:
            continue
        how = (stride, dilation, padding)
        made = by_name(
            f"conv, {padding}, stride {stride}, dilation {dilation}",
            X,
            lambda x, how=how: conv(x, *how),
            lambda o, x, s=stride, d=dilation, p=padding: first(
                o, x, lambda y: o("Conv", y, KERNEL, BIAS, strides=[s], dilations=[d], **_onnx_pads(p, d))
            ),
            "same with stride 1 only" if padding == "same" and stride > 1 else lambda x, how=how: _torch_conv(x, *how),
            lambda x, s=stride, d=dilation, p=padding: weighted(
                L.Conv1D(5, 3, strides=s, dilation_rate=d, padding=p), [KERNEL.transpose(2, 1, 0), BIAS], x
            ),
            lambda t, x, how=how: _tflite_conv(t, x, *how),
            lambda n, x, s=stride, d=dilation, p=padding: n(
                "conv1d", x, kernel=KERNEL, bias=BIAS, stride=s, dilation=d, padding=p
            ),
        )
        yield replace(made, refused_open=STRIDED) if padding == "same" and stride > 1 else made


def _pool(x: Array, kind: str, padding: str, stride: int) -> Array:
    windows = frames_of(x, 2, stride, 1, padding, np.nan)
    return np.asarray({"max": np.nanmax, "average": np.nanmean}[kind](windows, axis=2))


def _pools() -> Iterator[Case]:
    for kind, padding, stride in product(("max", "average"), ("valid", "same"), (1, 2)):
        onnx, keras = {"max": "MaxPool", "average": "AveragePool"}[kind], {"max": "Max", "average": "Average"}[kind]
        tflite, torch_name = f"{kind.upper()}_POOL_2D", {"max": "max_pool1d", "average": "avg_pool1d"}[kind]
        yield by_name(
            f"{kind} pool, {padding}, stride {stride}",
            X,
            lambda x, k=kind, p=padding, s=stride: _pool(x, k, p, s),
            lambda o, x, op=onnx, p=padding, s=stride: first(
                o, x, lambda y: o(op, y, kernel_shape=[2], strides=[s], **_onnx_pads(p, 1))
            ),
            "no padding by size"
            if padding == "same"
            else lambda x, f=torch_name, s=stride: getattr(F, f)(x.transpose(1, 2), 2, s).transpose(1, 2),
            lambda x, k=keras, p=padding, s=stride: getattr(L, f"{k}Pooling1D")(2, strides=s, padding=p)(x),
            lambda t, x, op=tflite, p=padding, s=stride: t(
                "SQUEEZE",
                t(
                    op,
                    t("EXPAND_DIMS", x, 2),
                    filter_h=2,
                    filter_w=1,
                    stride_h=s,
                    stride_w=1,
                    padding=int(p == "valid"),
                ),
                squeeze_dims=[2],
            ),
            NONE,
        )


def _image_conv(x: Array) -> Array:
    """Strided SAME over an image, of which the height is open."""
    made = torch.nn.functional.conv2d
    top, side = pads_of("same", x.shape[1], 2, 2, 1), pads_of("same", x.shape[2], 3, 2, 1)
    padded = torch.tensor(np.pad(x, [(0, 0), top, side, (0, 0)])).permute(0, 3, 1, 2)
    return np.asarray(made(padded, torch.tensor(IMAGE_KERNEL), torch.tensor(BIAS), 2).permute(0, 2, 3, 1))


def image_first(x: Array) -> Any:
    return torch.tensor(x).permute(0, 3, 1, 2)


def _depthwise(x: Array) -> Array:
    made = F.conv2d(image_first(x), torch.tensor(DEPTHS), groups=3)
    return np.asarray(made.permute(0, 2, 3, 1))


def _separable(x: Array) -> Array:
    depths = np.stack([conv_of_channel(x[..., c], DEPTHS[2 * c + m, 0, 0]) for c in range(3) for m in (0, 1)], -1)
    return np.asarray(depths @ KERNEL[:, :, :2].reshape(5, 6).T + BIAS)


def conv_of_channel(x: Array, kernel: Array) -> Array:
    """Every row of x (B,T) under one window (3,)."""
    return np.asarray(sum(x[:, k : x.shape[1] - 2 + k] * kernel[k] for k in range(3)))


def _transposed(x: Array, stride: int, cut: tuple[int, int]) -> Array:
    """Every frame adds its window (3) to the answer, `stride` further on; what lies beyond the cut is left out."""
    total = (x.shape[1] - 1) * stride + 3
    y = np.zeros((len(x), total, 5))
    for t in range(x.shape[1]):
        y[:, t * stride : t * stride + 3] += np.einsum("bi,iok->bko", x[:, t], TRANSPOSED)
    return y[:, cut[0] : total - cut[1]] + BIAS


def _transposed_convolutions() -> Iterator[Case]:
    for padding, stride, cut in (("valid", 1, (0, 0)), ("valid", 2, (0, 0)), ("same", 1, (1, 1)), ("same", 2, (0, 1))):
        yield by_name(
            f"transposed conv, {padding}, stride {stride}",
            X,
            lambda x, s=stride, c=cut: _transposed(x, s, c),
            lambda o, x, s=stride, c=cut: first(
                o, x, lambda y: o("ConvTranspose", y, TRANSPOSED, BIAS, strides=[s], pads=list(c))
            ),
            lambda x, s=stride, c=cut: F.conv_transpose1d(
                x.transpose(1, 2), tensor(TRANSPOSED), tensor(BIAS), s
            ).transpose(1, 2)[:, c[0] : -c[1] if c[1] else None],
            lambda x, s=stride, p=padding: weighted(
                L.Conv1DTranspose(5, 3, strides=s, padding=p), [TRANSPOSED.transpose(2, 1, 0), BIAS], x
            ),
            NONE,
            NONE,
        )


CASES: list[Case] = [
    *_convolutions(),
    *_pools(),
    *_transposed_convolutions(),
    by_name(
        "transposed conv over an image, valid, stride 2",
        (given("B 3 4 3"),),
        lambda x: F.conv_transpose2d(image_first(x), torch.tensor(IMAGE_TRANSPOSED), torch.tensor(BIAS), 2).permute(
            0, 2, 3, 1
        ),
        lambda o, x: o(
            "Transpose",
            o("ConvTranspose", o("Transpose", x, perm=[0, 3, 1, 2]), IMAGE_TRANSPOSED, BIAS, strides=[2, 2]),
            perm=[0, 2, 3, 1],
        ),
        lambda x: F.conv_transpose2d(x.permute(0, 3, 1, 2), tensor(IMAGE_TRANSPOSED), tensor(BIAS), 2).permute(
            0, 2, 3, 1
        ),
        lambda x: weighted(L.Conv2DTranspose(5, (2, 3), strides=2), [IMAGE_TRANSPOSED.transpose(2, 3, 1, 0), BIAS], x),
        lambda t, x: t(
            "TRANSPOSE_CONV",
            [2, 6, 9, 5],
            IMAGE_TRANSPOSED.transpose(1, 2, 3, 0),
            x,
            BIAS,
            stride_h=2,
            stride_w=2,
            padding=1,
        ),
        NONE,
    ),
    by_name(
        "depthwise conv over an image, two outputs a channel",
        IMAGE,
        _depthwise,
        lambda o, x: o(
            "Transpose", o("Conv", o("Transpose", x, perm=[0, 3, 1, 2]), DEPTHS, group=3), perm=[0, 2, 3, 1]
        ),
        lambda x: F.conv2d(x.permute(0, 3, 1, 2), tensor(DEPTHS), groups=3).permute(0, 2, 3, 1),
        lambda x: weighted(
            L.DepthwiseConv2D((2, 3), depth_multiplier=2, use_bias=False),
            [DEPTHS[:, 0].reshape(3, 2, 2, 3).transpose(2, 3, 0, 1)],
            x,
        ),
        lambda t, x: t(
            "DEPTHWISE_CONV_2D",
            x,
            DEPTHS.transpose(1, 2, 3, 0),
            np.zeros(6, np.float32),
            stride_h=1,
            stride_w=1,
            depth_multiplier=2,
            padding=1,
        ),
        NONE,
    ),
    by_name(
        "separable conv over frames",
        X,
        _separable,
        lambda o, x: first(
            o, x, lambda y: o("Conv", o("Conv", y, DEPTHS[:, :, 0], group=3), KERNEL[:, :, :2].reshape(5, 6, 1), BIAS)
        ),
        lambda x: F.conv1d(
            F.conv1d(x.transpose(1, 2), tensor(DEPTHS[:, :, 0]), groups=3),
            tensor(KERNEL[:, :, :2].reshape(5, 6, 1)),
            tensor(BIAS),
        ).transpose(1, 2),
        lambda x: weighted(
            L.SeparableConv1D(5, 3, depth_multiplier=2),
            [
                DEPTHS[:, 0, 0].reshape(3, 2, 3).transpose(2, 0, 1),
                KERNEL[:, :, :2].reshape(5, 6).T[None],
                BIAS,
            ],
            x,
        ),
        NONE,
        lambda n, x: n(
            "conv1d",
            n("conv1d", x, kernel=DEPTHS[:, :, 0], groups=3),
            kernel=KERNEL[:, :, :2].reshape(5, 6, 1),
            bias=BIAS,
        ),
    ),
    by_name(
        "conv over an image, same, stride 2",
        IMAGE,
        _image_conv,
        lambda o, x: o(
            "Transpose",
            o(
                "Conv",
                o("Transpose", x, perm=[0, 3, 1, 2]),
                IMAGE_KERNEL,
                BIAS,
                strides=[2, 2],
                auto_pad="SAME_UPPER",
            ),
            perm=[0, 2, 3, 1],
        ),
        "same with stride 1 only",
        lambda x: weighted(
            L.Conv2D(5, (2, 3), strides=2, padding="same"), [IMAGE_KERNEL.transpose(2, 3, 1, 0), BIAS], x
        ),
        lambda t, x: t("CONV_2D", x, IMAGE_KERNEL.transpose(0, 2, 3, 1), BIAS, stride_h=2, stride_w=2, padding=0),
        NONE,
    ),
    by_name(
        "average over all frames",
        X,
        lambda x: x.mean(axis=1),
        lambda o, x: o("Squeeze", o("GlobalAveragePool", o("Transpose", x, perm=[0, 2, 1])), [2]),
        lambda x: F.adaptive_avg_pool1d(x.transpose(1, 2), 1).squeeze(2),
        lambda x: L.GlobalAveragePooling1D()(x),
        NONE,
        NONE,
    ),
    by_name(
        "largest of all frames",
        X,
        lambda x: x.max(axis=1),
        lambda o, x: o("Squeeze", o("GlobalMaxPool", o("Transpose", x, perm=[0, 2, 1])), [2]),
        lambda x: F.adaptive_max_pool1d(x.transpose(1, 2), 1).squeeze(2),
        lambda x: L.GlobalMaxPooling1D()(x),
        NONE,
        NONE,
    ),
]
