"""Every layer and operation of Keras 3 against Keras itself."""

from __future__ import annotations

import numpy as np
import pytest
from keras_helpers import RNG, check, close, graph_of, merged, run, stack

import lstm_edge
from lstm_edge.importers.keras.model import read

ACTIVATIONS = (
    "linear relu sigmoid tanh hard_sigmoid elu selu softplus softsign gelu silu mish relu6 exponential softmax "
    "log_softmax leaky_relu "
    "hard_silu celu log_sigmoid hard_tanh tanh_shrink squareplus"
).split()


LAYERS = {
    **{
        f"lstm_{a}_{r}": stack(
            lambda L, a=a, r=r: L.LSTM(6, activation=a, recurrent_activation=r, return_sequences=True)
        )
        for a, r in (("tanh", "sigmoid"), ("softsign", "hard_sigmoid"), ("elu", "tanh"), ("silu", "hard_silu"))
    },
    "lstm_no_bias": stack(lambda L: L.LSTM(6, use_bias=False)),
    "lstm_backwards": stack(lambda L: L.LSTM(6, go_backwards=True)),
    "lstm_backwards_sequences": stack(lambda L: L.LSTM(6, go_backwards=True, return_sequences=True)),
    "lstm_unrolled": stack(lambda L: L.LSTM(6, unroll=True), shape=(7, 5)),
    "gru_after": stack(lambda L: L.GRU(6, return_sequences=True)),
    "gru_before": stack(lambda L: L.GRU(6, reset_after=False, return_sequences=True)),
    "gru_no_bias": stack(lambda L: L.GRU(6, use_bias=False)),
    "gru_hard": stack(lambda L: L.GRU(6, recurrent_activation="hard_sigmoid")),
    "simple_rnn": stack(lambda L: L.SimpleRNN(6, return_sequences=True)),
    "simple_rnn_relu": stack(lambda L: L.SimpleRNN(6, activation="relu")),
    "rnn_cell": stack(lambda L: L.RNN(L.LSTMCell(6), return_sequences=True)),
    "rnn_stacked": stack(lambda L: L.RNN([L.LSTMCell(6), L.GRUCell(4), L.SimpleRNNCell(3)])),
    "rnn_stacked_backwards": stack(
        lambda L: L.RNN([L.LSTMCell(6), L.LSTMCell(4)], go_backwards=True, return_sequences=True)
    ),
    **{
        f"bidirectional_{m}_{s}": stack(
            lambda L, m=m, s=s: L.Bidirectional(L.LSTM(4, return_sequences=s), merge_mode=m)
        )
        for m in ("concat", "sum", "mul", "ave")
        for s in (True, False)
    },
    "bidirectional_rnn": stack(lambda L: L.Bidirectional(L.SimpleRNN(4, return_sequences=True))),
    "bidirectional_stacked": stack(
        lambda L: L.Bidirectional(L.RNN([L.LSTMCell(3), L.GRUCell(4)], return_sequences=True))
    ),
    "bidirectional_mixed": stack(
        lambda L: L.Bidirectional(
            L.LSTM(4, return_sequences=True), backward_layer=L.GRU(4, go_backwards=True, return_sequences=True)
        )
    ),
    "conv_lstm": stack(lambda L: L.ConvLSTM2D(3, (2, 3), return_sequences=True), shape=(None, 5, 6, 2)),
    "conv_lstm_last": stack(
        lambda L: L.ConvLSTM2D(3, 3, strides=2, padding="same", activation="relu", use_bias=False), shape=(7, 5, 6, 2)
    ),
    "conv_lstm_dilated": stack(
        lambda L: L.ConvLSTM2D(3, 2, dilation_rate=2, recurrent_activation="hard_sigmoid"), shape=(None, 5, 6, 2)
    ),
    "conv_lstm_channels_first": stack(
        lambda L: L.ConvLSTM2D(3, 2, data_format="channels_first", return_sequences=True), shape=(None, 2, 5, 6)
    ),
    "conv_lstm_backwards": stack(
        lambda L: L.ConvLSTM1D(3, 2, go_backwards=True, return_sequences=True), shape=(None, 6, 2)
    ),
    **{
        f"conv_lstm_both_{m}_{s}": stack(
            lambda L, m=m, s=s: L.Bidirectional(L.ConvLSTM1D(3, 2, return_sequences=s), merge_mode=m),
            shape=(None, 6, 2),
        )
        for m, s in (("concat", True), ("ave", True), ("concat", False))
    },
    "conv_lstm_network": stack(
        lambda L: L.TimeDistributed(L.Conv2D(2, 2)),
        lambda L: L.ConvLSTM2D(3, 2, padding="same", return_sequences=True),
        lambda L: L.BatchNormalization(),
        lambda L: L.TimeDistributed(L.Flatten()),
        lambda L: L.LSTM(4),
        shape=(7, 5, 6, 2),
    ),
    "time_distributed_dense": stack(
        lambda L: L.LSTM(4, return_sequences=True), lambda L: L.TimeDistributed(L.Dense(3, activation="relu"))
    ),
    "time_distributed_conv": stack(
        lambda L: L.TimeDistributed(L.Conv1D(4, 3, padding="same")),
        lambda L: L.TimeDistributed(L.MaxPooling1D(2)),
        lambda L: L.TimeDistributed(L.Flatten()),
        lambda L: L.LSTM(5),
        shape=(None, 8, 2),
    ),
    "time_distributed_conv2d": stack(
        lambda L: L.TimeDistributed(L.Conv2D(4, 3, strides=2)),
        lambda L: L.TimeDistributed(L.GlobalAveragePooling2D()),
        lambda L: L.GRU(5),
        shape=(None, 8, 8, 1),
    ),
    "time_distributed_lstm": stack(lambda L: L.TimeDistributed(L.LSTM(4)), lambda L: L.LSTM(3), shape=(None, 6, 2)),
    "embedding": stack(lambda L: L.Embedding(6, 4), lambda L: L.LSTM(3), shape=(None,), dtype="int32"),
    "embedding_float_input": stack(lambda L: L.Embedding(6, 4), lambda L: L.LSTM(3), shape=(9,), dtype="int64"),
    **{f"dense_{a}": stack(lambda L, a=a: L.Dense(6, activation=a)) for a in ACTIVATIONS},
    "activation": stack(lambda L: L.Activation("hard_sigmoid"), lambda L: L.LSTM(3)),
    **{
        f"act_{n}": stack(make, lambda L: L.LSTM(3))
        for n, make in {
            "leaky": lambda L: L.LeakyReLU(0.13),
            "elu": lambda L: L.ELU(0.7),
            "relu6": lambda L: L.ReLU(6.0),
            "relu_all": lambda L: L.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.3),
            "relu_slope": lambda L: L.ReLU(negative_slope=0.2),
            "prelu_shared": lambda L: L.PReLU(shared_axes=[1]),
            "softmax": lambda L: L.Softmax(),
        }.items()
    },
    "regularisers": stack(
        lambda L: L.Dropout(0.5),
        lambda L: L.GaussianNoise(0.1),
        lambda L: L.SpatialDropout1D(0.2),
        lambda L: L.AlphaDropout(0.1),
        lambda L: L.GaussianDropout(0.1),
        lambda L: L.ActivityRegularization(0.1),
        lambda L: L.LSTM(3),
    ),
    "repeat": stack(lambda L: L.LSTM(4), lambda L: L.RepeatVector(3), lambda L: L.LSTM(2, return_sequences=True)),
    "crop_pad_up": stack(
        lambda L: L.ZeroPadding1D((1, 2)),
        lambda L: L.Cropping1D((2, 1)),
        lambda L: L.UpSampling1D(2),
        lambda L: L.LSTM(3),
    ),
    "pad2d": stack(
        lambda L: L.ZeroPadding2D(((1, 0), (2, 1))),
        lambda L: L.UpSampling2D((1, 2)),
        lambda L: L.Conv2D(3, 3),
        lambda L: L.TimeDistributed(L.Flatten()),
        lambda L: L.LSTM(3),
        shape=(None, 6, 2),
    ),
    "conv1d_valid": stack(lambda L: L.Conv1D(6, 3, activation="relu"), lambda L: L.LSTM(3)),
    "conv1d_causal": stack(lambda L: L.Conv1D(6, 3, padding="causal", dilation_rate=2), lambda L: L.LSTM(3)),
    "conv1d_same": stack(lambda L: L.Conv1D(6, 4, padding="same", activation="softmax"), lambda L: L.LSTM(3)),
    "conv1d_same_stride": stack(lambda L: L.Conv1D(6, 2, strides=2, padding="same"), lambda L: L.LSTM(3)),
    "images": stack(
        lambda L: L.Conv2D(4, 3, padding="same", activation="relu"),
        lambda L: L.MaxPooling2D(2),
        lambda L: L.Reshape((4, 16)),
        lambda L: L.LSTM(3),
        shape=(8, 8, 1),
    ),
    "conv1d_groups": stack(lambda L: L.Conv1D(6, 3, groups=2), lambda L: L.LSTM(3), shape=(None, 4)),
    "conv1d_transpose": stack(lambda L: L.Conv1DTranspose(6, 3, strides=2, padding="same"), lambda L: L.LSTM(3)),
    "conv1d_transpose_valid": stack(lambda L: L.Conv1DTranspose(6, 2, strides=3), lambda L: L.LSTM(3)),
    "depthwise1d": stack(lambda L: L.DepthwiseConv1D(3, depth_multiplier=2, padding="same"), lambda L: L.LSTM(3)),
    "separable1d": stack(lambda L: L.SeparableConv1D(6, 3, depth_multiplier=2, activation="tanh"), lambda L: L.LSTM(3)),
    "max_pool_same": stack(lambda L: L.MaxPooling1D(2, padding="same"), lambda L: L.LSTM(3)),
    "average_pool": stack(lambda L: L.AveragePooling1D(3, strides=1), lambda L: L.LSTM(3)),
    "global_average": stack(lambda L: L.LSTM(4, return_sequences=True), lambda L: L.GlobalAveragePooling1D()),
    "global_max": stack(lambda L: L.LSTM(4, return_sequences=True), lambda L: L.GlobalMaxPooling1D()),
    "batch_norm": stack(lambda L: L.BatchNormalization(), lambda L: L.LSTM(3)),
    "batch_norm_bare": stack(lambda L: L.BatchNormalization(scale=False, center=False), lambda L: L.LSTM(3)),
    "layer_norm": stack(lambda L: L.LayerNormalization(), lambda L: L.LSTM(3)),
    "rms_norm": stack(lambda L: L.RMSNormalization(), lambda L: L.LSTM(3)),
    "group_norm": stack(lambda L: L.GroupNormalization(2), lambda L: L.LSTM(3), shape=(7, 4)),
    "unit_norm": stack(lambda L: L.UnitNormalization(), lambda L: L.LSTM(3)),
    "einsum_dense": stack(
        lambda L: L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", activation="relu"),
        lambda L: L.EinsumDense("abde,def->abf", (None, 4), bias_axes="f"),
        lambda L: L.LSTM(3),
    ),
    "einsum_dense_inside": stack(lambda L: L.EinsumDense("abc,cd->adb", (3, None), bias_axes="d"), shape=(None, 4)),
    "multi_head_output": graph_of(lambda k, x: k.layers.MultiHeadAttention(3, 2, output_shape=7, use_bias=False)(x, x)),
    "rescaling": stack(lambda L: L.Rescaling(0.1, offset=-0.5), lambda L: L.LSTM(3)),
    "normalization": stack(
        lambda L: L.Normalization(mean=[1.0, 2, 3, 4, 5], variance=[1.0, 2, 3, 4, 5]), lambda L: L.LSTM(3)
    ),
    **{
        f"merge_{c}": merged(lambda L, c=c: getattr(L, c)())
        for c in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    },
    "concatenate_time": merged(lambda L: L.Concatenate(axis=1)),
    "dot_features": merged(lambda L: L.Dot(axes=2)),
    "dot_time": merged(lambda L: L.Dot(axes=(1, 1), normalize=True)),
    "attention": merged(lambda L: L.Attention(use_scale=True)),
    "attention_concat": merged(lambda L: L.Attention(score_mode="concat", use_scale=True)),
    "additive_attention": merged(lambda L: L.AdditiveAttention()),
    "multi_head": graph_of(lambda k, x: k.layers.MultiHeadAttention(2, 3, value_dim=5)(x, x)),
    "multi_head_causal": graph_of(lambda k, x: k.layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)),
    "ops_arithmetic": graph_of(lambda k, x: 2.0 * k.layers.LSTM(3, return_sequences=True)(x) - x[:, :, :3] / 4.0 + 1.0),
    "ops_last_step": graph_of(lambda k, x: k.layers.LSTM(3, return_sequences=True)(x)[:, -1, :]),
    "ops_reduce": graph_of(
        lambda k, x: k.ops.mean(k.layers.GRU(3, return_sequences=True)(x), axis=1) + k.ops.max(x[..., :3], axis=1)
    ),
    "ops_shape": graph_of(
        lambda k, x: k.ops.concatenate(
            [k.ops.expand_dims(k.layers.LSTM(3)(x), 1), k.ops.transpose(x, (0, 2, 1))[:, :3, :3]], axis=1
        ),
        (7, 4),
    ),
    "ops_softmax_matmul": graph_of(
        lambda k, x: k.ops.matmul(
            k.ops.softmax(k.ops.matmul(x, k.ops.transpose(x, (0, 2, 1))), axis=-1),
            k.layers.LSTM(3, return_sequences=True)(x),
        )
    ),
    "ops_unary": graph_of(
        lambda k, x: k.layers.LSTM(3)(k.ops.clip(k.ops.sqrt(k.ops.abs(x)) + k.ops.square(k.ops.tanh(x)), 0.1, 1.5))
    ),
    "ops_where": graph_of(lambda k, x: k.layers.LSTM(3)(k.ops.where(x > 0.0, x, 0.1 * x))),
    "ops_reshape": graph_of(lambda k, x: k.layers.LSTM(3)(k.ops.reshape(x, (-1, 7, 2, 2))[:, :, 0]), (7, 4)),
    "ops_split": graph_of(lambda k, x: k.layers.LSTM(3)(k.ops.concatenate(k.ops.split(x, 2, axis=-1)[::-1], axis=-1))),
}
# One operation each: what keras.ops has beyond the above.
OPS = {
    "amax_amin": lambda o, x: o.amax(x, axis=-1) - o.amin(x, axis=-1),
    "swapaxes": lambda o, x: o.swapaxes(o.swapaxes(x, 1, 2), -1, -2),
    "stop_gradient": lambda o, x: o.stop_gradient(x) + o.convert_to_tensor(x),
    "true_divide": lambda o, x: o.true_divide(x, 3.0),
    "expm1": lambda o, x: o.expm1(x),
    "exp2": lambda o, x: o.exp2(x),
    "logs": lambda o, x: o.log2(o.abs(x)) + o.log10(o.abs(x)) + o.log1p(o.abs(x)),
    "trunc_round": lambda o, x: o.trunc(3 * x) + o.round(x),
    "inverse_hyperbolic": lambda o, x: o.arcsinh(x) + o.arccosh(1 + o.abs(x)) + o.arctanh(0.5 * o.tanh(x)),
    "is_inf_is_finite": lambda o, x: o.cast(o.isinf(1 / (x - x)), "float32") + o.cast(o.isfinite(x), "float32"),
    "nan_to_num": lambda o, x: o.nan_to_num(o.log(x), nan=2.0),
    "activations": lambda o, x: o.log_sigmoid(x) + o.hard_tanh(x) + o.tanh_shrink(x) + o.celu(x, alpha=0.5),
    "shrink": lambda o, x: o.soft_shrink(x, 0.3) + o.hard_shrink(x, 0.6) + o.threshold(x, 0.2, 0.7),
    "glu": lambda o, x: o.glu(x),
    "floor_divide": lambda o, x: o.floor_divide(x, 0.3) + o.mod(x, 0.7),
    "logic": lambda o, x: o.cast(o.logical_or(o.logical_and(x > 0, x < 1), o.logical_not(x > -1)), "float32"),
    "any_all": lambda o, x: o.cast(o.any(x > 1, axis=-1), "float32") + o.cast(o.all(x > -1, axis=-1), "float32"),
    "variance": lambda o, x: o.var(x, axis=-1, keepdims=True) + o.std(x, axis=-1, keepdims=True),
    "sort": lambda o, x: o.sort(x) + o.cast(o.argsort(x), "float32"),
    "top_k": lambda o, x: o.top_k(x, 2)[0] + o.cast(o.top_k(x, 2)[1], "float32"),
    "einsum": lambda o, x: o.einsum("btf,bsf->bts", x, x),
    "take": lambda o, x: o.take(x, [2, 0, 0], axis=-1),
    "take_along_axis": lambda o, x: o.take_along_axis(x, o.argsort(-x), axis=-1),
    "roll": lambda o, x: o.roll(x, 1, axis=-1) + o.roll(x, 2, axis=1),
    "repeat": lambda o, x: o.repeat(x, 3, axis=2),
    "moveaxis": lambda o, x: o.moveaxis(o.moveaxis(x, 1, 2), 2, 1),
    "triangles": lambda o, x: o.tril(o.einsum("btf,bsf->bts", x, x), 1) + o.triu(o.einsum("btf,bsf->bts", x, x)),
    "full_like": lambda o, x: o.full_like(x, 2.5) + o.ones_like(x) * x,
    "one_hot": lambda o, x: o.one_hot(o.argmax(x, axis=-1), 4),
    "split_stack": lambda o, x: o.stack(o.split(x, [1, 3], axis=-1)[:1] * 2, axis=1),
}


@pytest.mark.parametrize("name", OPS)
def test_operations(keras, tmp_path, name):
    check(graph_of(lambda k, x: OPS[name](k.ops, x))(keras), tmp_path)


@pytest.mark.parametrize("name", LAYERS)
def test_layers(keras, tmp_path, name):
    check(LAYERS[name](keras), tmp_path, frames=9 if name == "embedding_float_input" else 7)


def test_conv_lstm_carries_its_states(keras):
    L = keras.layers
    x = keras.Input((None, 5, 2))
    y = L.ConvLSTM1D(3, 2, padding="same", return_sequences=True)(x)
    model = keras.Model(x, L.TimeDistributed(L.Flatten())(L.ConvLSTM1D(2, 3, return_sequences=True)(y)))
    converted = lstm_edge.convert(model)
    frames = RNG.normal(0, 1, (2, 9, 5, 2)).astype(np.float32)
    stream = converted.stream(batch=2)
    pieces = [stream.run(np.ascontiguousarray(frames[:, a:b])) for a, b in ((0, 1), (1, 5), (5, 9))]
    whole = converted.run(frames)
    np.testing.assert_array_equal(np.concatenate(pieces, 1), whole)
    np.testing.assert_allclose(whole, model.predict(frames, verbose=0), atol=1e-5)


def test_conv_lstm_states_in_and_out(keras, tmp_path):
    L = keras.layers
    x, y = keras.Input((None, 5, 6, 2)), keras.Input((None, 4, 5, 3))
    _, h, c = L.ConvLSTM2D(3, 2, return_state=True)(x)
    out = L.ConvLSTM2D(3, 2, padding="same", return_sequences=True)(y, initial_state=[h, c])
    check(keras.Model([x, y], [out, h, c]), tmp_path)


FIXED = {  # the frames cannot be free
    "flatten": stack(
        lambda L: L.LSTM(3, return_sequences=True), lambda L: L.Flatten(), lambda L: L.Dense(4), shape=(7, 5)
    ),
    "permute": stack(lambda L: L.Permute((2, 1)), lambda L: L.Dense(6), lambda L: L.LSTM(3), shape=(7, 5)),
    "reshape": stack(lambda L: L.Reshape((5, 7)), lambda L: L.LSTM(3), shape=(7, 5)),
    "prelu": stack(lambda L: L.PReLU(), lambda L: L.LSTM(3), shape=(7, 5)),
    "conv_stride": stack(lambda L: L.Conv1D(4, 3, strides=2, padding="same"), lambda L: L.LSTM(3), shape=(7, 5)),
    "layer_norm_time": stack(lambda L: L.LayerNormalization(axis=[1, 2]), lambda L: L.LSTM(3), shape=(7, 5)),
    "batch_norm_time": stack(lambda L: L.BatchNormalization(axis=1), lambda L: L.LSTM(3), shape=(7, 5)),
    "features": stack(lambda L: L.Dense(12), lambda L: L.Reshape((3, 4)), lambda L: L.LSTM(3), shape=(5,)),
    "conv2d_all": stack(
        lambda L: L.DepthwiseConv2D(3, strides=2, padding="same"),
        lambda L: L.SeparableConv2D(4, 2),
        lambda L: L.AveragePooling2D(2),
        lambda L: L.Conv2DTranspose(3, 3, strides=2),
        lambda L: L.BatchNormalization(),
        lambda L: L.Flatten(),
        lambda L: L.Dense(3),
        shape=(11, 11, 2),
    ),
    "channels_first": stack(
        lambda L: L.Conv1D(4, 3, data_format="channels_first"),
        lambda L: L.MaxPooling1D(2, data_format="channels_first"),
        lambda L: L.GlobalAveragePooling1D(data_format="channels_first"),
        lambda L: L.Dense(3),
        shape=(6, 20),
    ),
    "adaptive_pools": stack(
        lambda L: L.AdaptiveAveragePooling2D((4, 2)), lambda L: L.AdaptiveMaxPooling2D(2), shape=(8, 8, 3)
    ),
    "adaptive_pools_of_frames": stack(
        lambda L: L.AdaptiveAveragePooling1D(6), lambda L: L.AdaptiveMaxPooling1D(3), shape=(12, 4)
    ),
    "images": stack(
        lambda L: L.Cropping2D(((1, 0), (2, 1))),
        lambda L: L.SpatialDropout2D(0.3),
        lambda L: L.GlobalMaxPooling2D(),
        shape=(8, 8, 3),
    ),
    "no_time": stack(lambda L: L.Dense(4, activation="relu"), lambda L: L.Dense(2), shape=(5,)),
}


@pytest.mark.parametrize("name", FIXED)
def test_layers_that_fix_the_frames(keras, tmp_path, name):
    graph = check(FIXED[name](keras), tmp_path, free=False)
    if name in ("flatten", "permute", "reshape", "conv_stride"):
        assert any("frames fixed at 7, because" in n for n in graph.metadata["notes"])


def test_normalization_that_was_adapted(keras, tmp_path):
    layer = keras.layers.Normalization()
    layer.adapt(RNG.normal(3, 2, (50, 7, 4)))
    x = keras.Input((7, 4))
    model = keras.Model(x, keras.layers.LSTM(3)(layer(x)))
    xs = [RNG.normal(3, 2, (3, 7, 4)).astype(np.float32)]
    wanted = model.predict(xs[0], verbose=0)
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        close(run(read(path), *xs), [wanted])
    close(run(read(model), *xs), [wanted])
