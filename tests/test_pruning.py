"""prune_gradually: exact zeros in whole blocks after every step of any optimiser, along the cubic schedule."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_edge.errors import LstmEdgeError
from lstm_edge.ir.sparse import BLOCK

torch = pytest.importorskip("torch")
nn = torch.nn

from lstm_edge.training import export, fake_quantize, prune_gradually, recurrent  # noqa: E402
from lstm_edge.training.pruning import stop_pruning  # noqa: E402

OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
}


class Network(nn.Module):
    def __init__(self, cell="lstm", hidden=20):
        super().__init__()
        self.cell, self.out = recurrent(cell, 3, hidden), nn.Linear(hidden, 2)

    def forward(self, x):
        return self.out(self.cell(x))


def train(module, optimizer, steps, after=lambda: None):
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        x = torch.randn(4, 5, 3, generator=generator)
        loss = (module(x) - x[..., :2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()


def share_of_blocks(weight, blocks):
    """Of the blocks, cut one by one, those with something in them."""
    matrix = weight.detach().numpy().reshape(-1, weight.shape[-1])
    (n, k), (rows, columns) = matrix.shape, blocks
    cut = [matrix[i : i + rows, j : j + columns] for i in range(0, n, rows) for j in range(0, k, columns)]
    return np.mean([bool(block.any()) for block in cut])


@settings(max_examples=12)
@given(
    st.sampled_from(["lstm", "gru", "peephole"]),
    st.sampled_from(sorted(OPTIMIZERS)),
    st.integers(1, 24),
    st.floats(0.05, 1),
    st.tuples(st.integers(1, 20), st.integers(1, 5)),
    st.integers(0, 3),
    st.integers(0, 6),
    st.integers(1, 4),
)
def test_zeros_are_exact_after_every_step(cell, optimizer, hidden, density, blocks, start, steps, every):
    torch.manual_seed(hidden)
    module = Network(cell, hidden)
    pruning = prune_gradually(module, density, blocks, start=start, steps=steps, every=every)
    gone = {}

    def zeros_stay():
        for name, kept in pruning.kept.items():
            weight = module.get_parameter(name).detach()
            assert not weight[~kept].numpy().view(np.uint32).any()  # 0.0, and no -0.0
            assert not (kept & ~gone.get(name, kept)).any()  # what went stays away
            gone[name] = kept

    train(module, OPTIMIZERS[optimizer](module.parameters()), start + steps + 2, zeros_stay)
    assert pruning.done == start + steps + 2 and pruning.density_now == pytest.approx(density)
    for name in pruning.names:
        kept = pruning.kept[name]
        count = share_of_blocks(kept, blocks)
        total = round(1 / share_of_blocks_of_one(kept, blocks))
        assert round(count * total) == max(1, round(density * total))


def share_of_blocks_of_one(kept, blocks):
    one = torch.zeros_like(kept)
    one.view(-1)[0] = True
    return share_of_blocks(one, blocks)


def test_the_schedule_is_cubic():
    module = Network()
    pruning = prune_gradually(module, 0.2, start=10, steps=100)
    found = []
    for pruning.done in (0, 10, 35, 60, 110, 500):
        found.append(pruning.density_now)
    np.testing.assert_allclose(found, [1, 1, 0.2 + 0.8 * 0.75**3, 0.2 + 0.8 * 0.125, 0.2, 0.2])


def test_the_smallest_blocks_go_first():
    layer = nn.Linear(4, 32, bias=False)
    layer.weight.data = torch.ones(32, 4)
    layer.weight.data[16:, 2] = 0.1
    layer.weight.data[:16, 1] = 0.2
    pruning = prune_gradually(layer, 6 / 8, steps=0)
    assert pruning.blocks == BLOCK and pruning.density_now == 0.75
    zero = layer.weight.detach() == 0
    assert zero[16:, 2].all() and zero[:16, 1].all() and zero.sum() == 32


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_checkpoint_goes_on_to_the_same_bits(optimizer):
    torch.manual_seed(0)
    module = Network()
    prune_gradually(module, 0.3, steps=6, every=2)
    its_optimizer = OPTIMIZERS[optimizer](module.parameters())
    train(module, its_optimizer, 3)
    buffer = io.BytesIO()
    torch.save([module.state_dict(), its_optimizer.state_dict()], buffer)
    buffer.seek(0)
    weights, state = torch.load(buffer, weights_only=True)
    other = Network()
    other.load_state_dict(weights)
    pruning = prune_gradually(other, 0.3, steps=6, every=2)
    resumed = OPTIMIZERS[optimizer](other.parameters())
    resumed.load_state_dict(state)
    for each, its in ((module, its_optimizer), (other, resumed)):
        train(each, its, 6)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters()))
    assert pruning.done == 9 and share_of_blocks(other.out.weight, BLOCK) == pytest.approx(0.3)


def test_other_modules_and_names_are_left_alone():
    pruned, free = Network(), Network()
    prune_gradually(pruned, 0.1, steps=0, only="cell.*weight_hh*")
    optimizer = torch.optim.Adam([*pruned.parameters(), *free.parameters()], 0.01)
    train(nn.Sequential(pruned, nn.Linear(2, 3), free), optimizer, 1)
    zeros = {
        name: int((p == 0).sum()) for name, p in (*pruned.named_parameters(), *free.named_parameters(prefix="free"))
    }
    assert [name for name, count in zeros.items() if count] == ["cell.layers.0.rnn.weight_hh_l0"]
    stop_pruning(pruned)
    train(pruned, optimizer, 1)
    assert not (pruned.cell.layers[0].rnn.weight_hh_l0 == 0).any()


def test_zeros_come_out_in_an_int8_file(tmp_path):
    from lstm_edge import format

    module = fake_quantize(Network(hidden=32))
    prune_gradually(module, 0.25, steps=4, every=1)
    train(module, torch.optim.Adam(module.parameters(), 0.01), 5)
    export(module, tmp_path / "a.lstm", torch.randn(2, 4, 3))
    w_hh = next(t for t in format.read(tmp_path / "a.lstm").tensors.values() if t.shape == (1, 128, 32))
    assert w_hh.dtype == "int8" and share_of_blocks(torch.from_numpy(w_hh.data), BLOCK) <= 0.25


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"density": 0}, "density: expected a share above 0"),
        ({"blocks": (0, 1)}, "blocks: expected"),
        ({"every": 0}, "every: expected a whole number of 1 or more"),
        ({"only": "rnn.*"}, r"only: no weight is named rnn.\*; there are cell.layers.0.rnn.weight_ih_l0"),
    ],
)
def test_what_is_refused(wrong, said):
    with pytest.raises(LstmEdgeError, match=said):
        prune_gradually(Network(), **{"density": 0.5, **wrong})
