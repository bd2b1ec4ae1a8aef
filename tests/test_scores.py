"""EL2N against plain modules and numpy, one replicate and one example at a time."""

import dataclasses

import numpy as np
import pytest
import torch
import twins
from test_case_matrix import REPLICATES, case, moved  # noqa: F401 (a fixture)

from lotterylib import data, landscape, networks, scores, training

RECIPE = training.Recipe(steps=6, batch_size=16, lr=0.1, momentum=0.9)


def by_hand(net, state, ds):
    """The score of every example of every replicate, by a loop and numpy's float64, ``(R, N)``."""
    x, y = ds.training_set()
    found = []
    for r in range(len(next(iter(state.values())))):
        with torch.no_grad():
            logits = twins.module(net, state, r).eval()(x).double().numpy()
        for z, label in zip(logits, y.tolist(), strict=True):
            guess = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            guess[label] -= 1
            found.append(np.sqrt((guess**2).sum()))
    return np.reshape(found, (-1, len(y)))


@pytest.fixture(scope="module")
def cases(ds, net, pictures, picture):
    """A stacked network on features and one that is computed one by one on images, both after a few steps."""
    pair = (net, ds), (networks.wrap(picture, "cpu"), pictures)
    return [(n, training.train(n, n.init(3, seed=5), data, RECIPE, order_seed=2), data) for n, data in pair]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("size", [1000, 7])
def test_scores_are_those_that_numpy_computes(cases, which, size):
    net, state, ds = cases[which]
    found, expected = scores.el2n(net, state, ds, batch_size=size), by_hand(net, state, ds)
    assert found.each.dtype == torch.float64 and found.each.shape == (3, len(ds.train_y))
    assert found.each.numpy() == pytest.approx(expected, abs=1e-6)
    assert found.mean.numpy() == pytest.approx(expected.mean(0), abs=1e-6)
    assert found.std.numpy() == pytest.approx(expected.std(0, ddof=1), abs=1e-6)
    assert found.each.min() >= 0 and found.each.max() <= 2**0.5


def test_every_kind_of_network_is_scored(case):  # noqa: F811
    net, ds = case.make()
    state = moved(net, ds, net.init(REPLICATES, seed=4))
    found = scores.el2n(net, state, ds, batch_size=8)
    assert found.each.numpy() == pytest.approx(by_hand(net, state, ds), abs=2e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_scores_on_a_device_are_those_of_the_cpu(cases):
    for net, state, ds in cases:
        there = {name: tensor.cuda() for name, tensor in state.items()}
        fields = {f.name: getattr(ds, f.name) for f in dataclasses.fields(ds)}
        moved_ds = dataclasses.replace(ds, **{n: v.cuda() for n, v in fields.items() if torch.is_tensor(v)})
        found = scores.el2n(networks.wrap(net.make, "cuda"), there, moved_ds, batch_size=50)
        assert found.mean.device.type == "cpu"
        assert found.each.numpy() == pytest.approx(scores.el2n(net, state, ds).each.numpy(), abs=1e-4)


def test_a_sure_guess_scores_nothing_or_the_square_root_of_two():
    class Sure(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            torch.nn.init.eye_(self.weight)
            torch.nn.init.zeros_(self.bias)
            self.weight.data *= 200
            self.weight.data += torch.rand(2, 2) * 1e-3  # drawn by torch's seed

    x = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
    ds = data.from_arrays("sure", np.repeat(x, 2, 0), [1, 0, 0, 1], x, [1, 0], device="cpu")
    net = networks.wrap(Sure, "cpu")
    found = scores.el2n(net, net.init(2), ds)
    assert found.mean.numpy() == pytest.approx([0, 2**0.5, 0, 2**0.5], abs=1e-6)
    assert found.std.numpy() == pytest.approx([0] * 4, abs=1e-6)


def test_one_replicate_has_no_spread(cases):
    net, state, ds = cases[0]
    found = scores.el2n(net, {name: tensor[:1] for name, tensor in state.items()}, ds)
    assert found.std.isnan().all() and torch.equal(found.mean, found.each[0])


def test_scores_go_by_the_statistics_of_the_state(cases):
    """Not by those of a batch: an example's score does not depend on the others, and recalibration changes it."""
    net, state, ds = cases[0]
    some = dataclasses.replace(ds, train_x=ds.train_x[:5], train_y=ds.train_y[:5])
    assert torch.allclose(scores.el2n(net, state, some).each, scores.el2n(net, state, ds).each[:, :5])
    anew = scores.el2n(net, landscape.recalibrate(net, state, ds), ds)
    assert not torch.allclose(anew.mean, scores.el2n(net, state, ds).mean, atol=1e-3)


def test_nothing_is_drawn_or_changed(cases):
    net, state, ds = cases[1]
    before = {name: tensor.clone() for name, tensor in state.items()}
    torch.manual_seed(1)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    scores.el2n(net, state, ds)  # of a set that training augments
    assert torch.equal(torch.rand(1), drawn)
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.items())


def test_what_does_not_fit_is_named(cases, ds, pictures):
    net, state, _ = cases[0]
    for arguments, message in (
        ((net, state, pictures), "the network does not take inputs x of shape"),
        ((net, {}, ds), "state is empty"),
        ((net, {**state, "more": torch.ones(3)}, ds), "state entry is 'more'"),
        ((net, state, ds.train_x), "(?s)ds is .*; it must be a Dataset"),
        (("net", state, ds), "net is 'net', a str; it must be a Network"),
        ((net, state, ds, 0), "batch_size is 0; it must be >= 1"),
        ((net, state, dataclasses.replace(ds, train_y=ds.train_y + 3)), "ds.train_y runs from 3 to 5"),
    ):
        with pytest.raises(ValueError, match=message):
            scores.el2n(*arguments)
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken["linear.weight"][1] = torch.nan
    with pytest.raises(ValueError, match=r"logits are not finite in replicates \[1\]; their training has diverged"):
        scores.el2n(net, broken, ds)
