"""RNN over cells that the user described: one recurrence where the rule spells one, else as many steps as frames."""

from __future__ import annotations

import pytest
from keras_helpers import check, randomise

import lstm_edge
from lstm_edge.dialect import arithmetic, known, movement, products
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers import plugins


@pytest.fixture
def cell(keras, monkeypatch):
    """make(rule, states): a Keras class of a cell by that name and its rule, registered while the test runs."""
    monkeypatch.setattr(plugins, "_LAYERS", {})

    def make(step, count, register=True):
        class OwnCell(keras.layers.Layer):
            def __init__(self, units, **options):
                super().__init__(**options)
                self.units, self.state_size = units, [units] * count

            def build(self, shape):
                self.w = self.add_weight(shape=(shape[-1], 4 * self.units), name="w")
                self.u = self.add_weight(shape=(self.units, 4 * self.units), name="u")

            def call(self, x, states):
                return step(keras.ops, x, *states, self.w, self.u)

            def get_config(self):
                return {**super().get_config(), "units": self.units}

        if register:
            lstm_edge.register_layer("OwnCell", rule_of(count))
        return OwnCell

    return make


def lstm_step(o, x, h, c, w, u):
    i, f, g, out = o.split(o.matmul(x, w) + o.matmul(h, u), 4, axis=-1)
    c = o.sigmoid(f) * c + o.sigmoid(i) * o.tanh(g)
    h = o.sigmoid(out) * o.tanh(c)
    return h, [h, c]


def odd_step(o, x, h, w, u):
    """A minimal gated unit without a reset gate, its output twice its state."""
    z, n, _, _ = o.split(o.matmul(x, w) + o.matmul(h, u), 4, axis=-1)
    h = o.sigmoid(z) * h + (1 - o.sigmoid(z)) * o.sin(n)
    return 2 * h, [h]


def rule_of(count):
    def rule(d, inputs, config, weights):
        x, h, *more = inputs
        w, u = weights.values()
        sums = d.binary("add", products.matmul(d, x, known(w)), products.matmul(d, h, known(u)))
        i, f, g, out = movement.split(d, sums, -1, [config["units"]] * 4)
        if count == 1:
            z = d.unary("sigmoid", i)
            h = d.binary("add", d.binary("mul", z, h), d.binary("mul", d.binary("sub", 1.0, z), d.unary("sin", f)))
            return [arithmetic.scaled(d, h, 2.0), h]
        kept = d.binary("mul", d.unary("sigmoid", f), *more)
        c = d.binary("add", kept, d.binary("mul", d.unary("sigmoid", i), d.unary("tanh", g)))
        h = d.binary("mul", d.unary("sigmoid", out), d.unary("tanh", c))
        return [h, h, c]

    return rule


@pytest.mark.parametrize("options", [{"return_sequences": True}, {}, {"go_backwards": True, "return_sequences": True}])
def test_a_cell_that_spells_an_lstm_is_one(keras, cell, tmp_path, options):
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.RNN(cell(lstm_step, 2)(4), **options)])
    graph = check(model, tmp_path)
    assert [n.op for n in graph.nodes if n.op in ("LSTM", "MatMul", "Dense")] == ["LSTM"]
    assert any("made by the registered rule" in n for n in graph.metadata["notes"])


def test_its_states_go_in_and_out(keras, cell, tmp_path):
    x, h, c = keras.Input((None, 3)), keras.Input((4,)), keras.Input((4,))
    layer = keras.layers.RNN(cell(lstm_step, 2)(4), return_state=True)
    check(keras.Model([x, h, c], layer(x, initial_state=[h, c])), tmp_path)


def test_another_cell_takes_one_step_after_the_other(keras, cell, tmp_path):
    own = cell(odd_step, 1)
    graph = check(
        keras.Sequential([keras.Input((7, 3)), keras.layers.RNN(own(4), return_sequences=True)]), tmp_path, free=False
    )
    assert any("unrolled 7 trips" in n for n in graph.metadata["notes"])
    with pytest.raises(UnsupportedModelError, match="rnn.*no recurrence.*number of trips is frames"):
        lstm_edge.convert(keras.Sequential([keras.Input((None, 3)), keras.layers.RNN(own(4))]))


def test_cells_that_nobody_described(keras, cell):
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.RNN(cell(lstm_step, 2, register=False)(4))])
    with pytest.raises(UnsupportedModelError, match="rnn.*/own_cell.*custom class OwnCell.*register_layer"):
        lstm_edge.convert(model)


def test_rules_that_give_something_else(keras, cell):
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.RNN(cell(lstm_step, 2)(4))])
    randomise(model)
    lstm_edge.register_layer("OwnCell", lambda d, inputs, config, weights: [inputs[1]])
    with pytest.raises(UnsupportedModelError, match="rnn.*gave 1 values: expected 2"):
        lstm_edge.convert(model)
    lstm_edge.register_layer("OwnCell", lambda d, inputs, config, weights: [inputs[1], inputs[0]])
    with pytest.raises(UnsupportedModelError, match=r"gave a state \(batch, 3\): expected \(batch, 4\)"):
        lstm_edge.convert(model)


def test_masks_over_registered_cells_are_refused(keras, cell):
    L = keras.layers
    model = keras.Sequential([keras.Input((None, 3)), L.Masking(), L.RNN(cell(lstm_step, 2)(4))])
    with pytest.raises(UnsupportedModelError, match="rnn.*a mask"):
        lstm_edge.convert(model)
