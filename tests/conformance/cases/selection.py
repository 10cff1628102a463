"""Elements by their places: gather, scatter, one-hot, embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Array, Case, Later, given
from conformance.spelled import NONE, by_name, weighted

torch, F = Later("torch"), Later("torch.nn.functional")
K, L = Later("keras.ops"), Later("keras.layers")

X = (given("B T 4"),)
TABLE = np.random.default_rng(0).normal(0, 1, (4, 3))
IDS = (given("B T", "ids"),)
SIGNED = (given("B T", "signed_ids"),)
PICKED = (given("B T 4"), given("B T 2", "ids"))


def one_hot(x: Array) -> Array:
    return np.eye(4)[x % 4]


def put(x: Array, places: Array, values: Array) -> Array:
    made = x.copy()
    np.put_along_axis(made, places, values, -1)
    return made


CASES: list[Case] = [
    by_name(
        "embedding",
        IDS,
        lambda x: TABLE[x],
        lambda o, x: o("Gather", TABLE, x),
        lambda x: F.embedding(x, torch.tensor(TABLE).float()),
        lambda x: weighted(L.Embedding(4, 3), [TABLE], x),
        lambda t, x: t("GATHER", TABLE, x, axis=0, dtype="float32"),
        lambda n, x: n("embedding", x, table=TABLE),
    ),
    by_name(
        "embedding lookup",
        (given("5", "ids"),),
        lambda x: TABLE[x],
        NONE,
        NONE,
        NONE,
        lambda t, x: t("EMBEDDING_LOOKUP", x, TABLE, dtype="float32"),
        NONE,
    ),
    by_name(
        "gather of features",
        X,
        lambda x: x[:, :, [3, 1, 1]],
        lambda o, x: o("Gather", x, [3, 1, 1], axis=2),
        lambda x: torch.index_select(x, 2, torch.tensor([3, 1, 1])),
        lambda x: K.take(x, np.array([3, 1, 1]), axis=2),
        lambda t, x: t("GATHER", x, [3, 1, 1], axis=2),
        lambda n, x: n("Gather", x, np.array([3, 1, 1]), axis=2),
    ),
    by_name(
        "gather from the end",
        X,
        lambda x: x[:, :, [-1, 0]],
        lambda o, x: o("Gather", x, [-1, 0], axis=2),
        lambda x: x[:, :, [-1, 0]],
        lambda x: K.take(x, np.array([-1, 0]), axis=2),
        lambda t, x: t("GATHER", x, [-1, 0], axis=2),
        lambda n, x: n("Gather", x, np.array([-1, 0]), axis=2),
    ),
    by_name(
        "gather of elements",
        PICKED,
        lambda x, i: np.take_along_axis(x, i, -1),
        lambda o, x, i: o("GatherElements", x, i, axis=-1),
        lambda x, i: torch.gather(x, -1, i),
        lambda x, i: K.take_along_axis(x, i, -1),
        NONE,
        lambda n, x, i: n("GatherElements", x, i, axis=-1),
    ),
    by_name(
        "gather by places of several axes",
        (given("3 4 2"),),
        lambda x: x[[0, 2], [1, 3]],
        lambda o, x: o("GatherND", x, [[0, 1], [2, 3]]),
        "one tensor of places only",
        NONE,
        NONE,
        NONE,
    ),
    by_name(
        "scatter of elements",
        (given("B T 4"), given("B T 1", "ids"), given("B T 1")),
        put,
        lambda o, x, i, v: o("ScatterElements", x, i, v, axis=-1),
        lambda x, i, v: torch.scatter(x, -1, i, v),
        NONE,
        NONE,
        lambda n, x, i, v: n("ScatterElements", x, i, v, axis=-1),
    ),
    by_name(
        "scatter that adds",
        (given("B T 4"), given("B T 1", "ids"), given("B T 1")),
        lambda x, i, v: x + one_hot(i[..., 0]) * v,
        lambda o, x, i, v: o("ScatterElements", x, i, v, axis=-1, reduction="add"),
        lambda x, i, v: torch.scatter_add(x, -1, i, v),
        NONE,
        NONE,
        lambda n, x, i, v: n("ScatterElements", x, i, v, axis=-1, reduction="add"),
    ),
    by_name(
        "scatter by places of several axes",
        (given("3 4"), given("2")),
        lambda x, v: _written(x, v),
        lambda o, x, v: o("ScatterND", x, [[0, 1], [2, 3]], v),
        NONE,
        NONE,
        NONE,
        NONE,
    ),
    by_name(
        "compress",
        X,
        lambda x: x[:, :, [0, 2]],
        lambda o, x: o("Compress", x, np.array([True, False, True]), axis=2),
        NONE,
        NONE,
        NONE,
        NONE,
    ),
    by_name(
        "one-hot",
        IDS,
        one_hot,
        lambda o, x: o("OneHot", x, 4, np.array([0.0, 1.0])),
        NONE,
        lambda x: K.one_hot(x, 4),
        lambda t, x: t("ONE_HOT", x, 4, 1.0, 0.0, axis=-1, dtype="float32"),
        NONE,
    ),
    by_name(
        "one-hot, negative from the end",
        SIGNED,
        one_hot,
        lambda o, x: o("OneHot", x, 4, np.array([0.0, 1.0])),
        NONE,
        "negative is nowhere",
        "negative is nowhere",
        NONE,
    ),
    by_name(
        "one-hot, negative nowhere",
        SIGNED,
        lambda x: one_hot(x) * (x >= 0)[..., None],
        "negative is from the end",
        NONE,
        lambda x: K.one_hot(x, 4),
        lambda t, x: t("ONE_HOT", x, 4, 1.0, 0.0, axis=-1, dtype="float32"),
        NONE,
    ),
    by_name(
        "one-hot along another axis",
        IDS,
        lambda x: one_hot(x).transpose(0, 2, 1) * 3 - 1,
        lambda o, x: o("OneHot", x, 4, np.array([-1.0, 2.0]), axis=1),
        NONE,
        "values 0 and 1 only",
        lambda t, x: t("ONE_HOT", x, 4, 2.0, -1.0, axis=1, dtype="float32"),
        NONE,
    ),
]


def _written(x: Array, values: Array) -> Any:
    made = x.copy()
    made[[0, 2], [1, 3]] = values
    return made
