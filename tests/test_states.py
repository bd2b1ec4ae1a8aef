"""States and masks: what does not fit is named, and the algebra is numpy's."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from lotterybook.limits import measures, wells
from lotterybook.retraining import magnitudes, weight_changes
from lotterybook.robustness import displacements
from lotterylib import curvature, data, landscape, limits, networks, perturbation, pruning, states, training

SHAPES = {"w": (2, 3), "b": (3,)}


def made(count=2, **changed):
    """A state of ``SHAPES`` with ``count`` replicates; ``None`` takes an entry away."""
    tree = {name: torch.full((count, *shape), float(len(name))) for name, shape in SHAPES.items()} | changed
    return {name: tensor for name, tensor in tree.items() if tensor is not None}


def test_a_state_that_fits_has_its_number_of_replicates():
    assert states.check("state", made(2), SHAPES) == states.check("state", made(2), SHAPES, 2) == 2
    assert states.check("state", made(1, t=torch.zeros(1)), {**SHAPES, "t": ()}) == 1  # 0-dim in the module
    mask = {name: tensor.bool() for name, tensor in made(3).items()}
    assert states.check("mask", mask, SHAPES, 3, torch.bool) == 3
    assert states.check_mask(made(3), {"w": mask["w"]}) == 3


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1], "state is a list; it must be a dict of tensors with a replicate axis"),
        ({}, "state is empty; it must be a dict"),
        (made(c=torch.zeros(2, 3)), "state entry is 'c', which is unknown; allowed are 'w', 'b'"),
        (made(w=None, W=torch.zeros(2, 2, 3)), "state entry is 'W', which is unknown"),
        (made(b=None), "state lacks the entry 'b'; it must hold w, b"),
        (made(w=np.zeros((2, 2, 3))), "state entry 'w' is a ndarray; it must be a tensor"),
        (made(w=torch.zeros(2, 2, 4)), r"'w' has shape \(2, 2, 4\); it must be \(R, 2, 3\), .* first axis$"),
        (made(b=torch.zeros(4, 3)), r"'b' has shape \(4, 3\); it must be \(2, 3\), with at least one rep"),
        (made(w=torch.zeros(2, 3)), r"'w' has shape \(2, 3\); it must be \(R, 2, 3\).*state_dict lacks that axis"),
        (made(0), r"'w' has shape \(0, 2, 3\); it must be \(R, 2, 3\), with at least one replicate"),
        (made(b=torch.tensor(1.0)), r"'b' has shape \(\); it must be \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(tree, message):
    with pytest.raises(ValueError, match=message):
        states.check("state", tree, SHAPES)


def test_numbers_and_types_that_are_asked_for():
    with pytest.raises(ValueError, match=r"mask entry 'w' has shape \(2, 2, 3\); it must be \(4, 2, 3\)"):
        states.check("mask", made(2), SHAPES, 4)
    with pytest.raises(ValueError, match="mask entry 'w' has type torch.float32; it must be torch.bool"):
        states.check("mask", made(2), SHAPES, 2, torch.bool)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"x": torch.ones(2, 3).bool()}, "mask entry is 'x', which is unknown; allowed are 'w', 'b'"),
        ({"b": torch.ones(3, 3).bool()}, r"mask entry 'b' has shape \(3, 3\); it must be \(2, 3\)"),
        ({"b": torch.ones(2, 3)}, "mask entry 'b' has type torch.float32; it must be torch.bool"),
        ({}, "mask is empty"),
        (None, "mask is a NoneType"),
    ],
)
def test_a_mask_fits_its_state(mask, message):
    with pytest.raises(ValueError, match=message):
        states.check_mask(made(2), mask)


def test_replicates_are_joined_and_selected():
    a, b = ({name: torch.randn(count, *shape) for name, shape in SHAPES.items()} for count in (2, 1))
    joined = states.concatenate([a, b])
    assert states.replicates(joined) == 3
    for name in SHAPES:
        assert np.array_equal(joined[name], np.concatenate([a[name], b[name]]))
        assert torch.equal(states.select(joined, [2])[name], b[name])
        assert torch.equal(states.select(joined, 0)[name], a[name][0])
    with pytest.raises(ValueError, match="number of states is 0; it must be >= 1"):
        states.concatenate([])
    for other in (made(b=None), made(c=torch.zeros(2, 3))):
        with pytest.raises(ValueError, match="states differ: '[bc]' is only in the (first|second)"):
            states.concatenate([a, other])
    with pytest.raises(ValueError, match=r"'b' is \(2, 3\) in the first and \(2, 4\) .* without the replicate axis"):
        states.concatenate([a, made(b=torch.zeros(2, 4))])


def test_states_are_alike_down_to_their_replicates():
    assert states.check_alike(made(2), made(2)) is None
    with pytest.raises(ValueError, match=r"'w' is \(2, 2, 3\) in the first and \(1, 2, 3\) .*numbers of replicates"):
        states.check_alike(made(2), made(1))


def test_products_and_lengths_are_numpys():
    rng = np.random.default_rng(0)
    arrays = [{name: rng.normal(size=(2, *shape)).astype(np.float32) for name, shape in SHAPES.items()} for _ in "uv"]
    u, v = ({name: torch.from_numpy(a) for name, a in one.items()} for one in arrays)
    flat = [[np.concatenate([a[r].ravel() for a in one.values()]).astype(float) for r in range(2)] for one in arrays]
    assert states.dot(u, v).dtype == torch.float64
    assert states.dot(u, v).tolist() == pytest.approx([a @ b for a, b in zip(*flat, strict=True)])
    assert states.dot({"b": u["b"]}, v).tolist() == pytest.approx((arrays[0]["b"] * arrays[1]["b"]).sum(1).tolist())
    assert states.length(u).tolist() == pytest.approx([np.linalg.norm(a) for a in flat[0]])
    scaled = states.times(u, torch.tensor([2.0, -0.5], dtype=torch.float64))
    for name, tensor in scaled.items():
        assert tensor.dtype == torch.float32
        assert np.allclose(tensor, arrays[0][name] * np.array([2, -0.5]).reshape(-1, *[1] * len(SHAPES[name])))


# Every function of states, with its states on another device


def everything(net, ds, several):
    """What functions of states return that lies on the device, and what comes to the CPU."""
    a, b, c = several
    (x, y), full, there = ds.training_set(), pruning.full(net, a), ds.device
    mask = pruning.magnitude(a, full, 0.2)
    w = curvature.weights(a, mask)
    direction = perturbation.random_direction(a, mask, [1.0, 2.0], 2)
    matrix, values = curvature.hessian(net, a, x, y, mask)[0], torch.linspace(0.1, 2, w.shape[1]).to(there)
    losses, errors = wells.projections(net, a, mask, ds, (0.2, 0.5))
    spectrum, limit = curvature.spectrum(net, a, x, y, mask, 2, 5), magnitudes.threshold(a, full, mask)
    on_device = [
        w, matrix, curvature.hvp(net, a, x, y, w[:, None], mask),
        *(tensor for tree in (
            mask, direction, pruning.layerwise(a, mask, 0.2), pruning.random(a, mask, 0.2, 1), pruning.shuffle(mask),
            pruning.pruned(full, mask), perturbation.perturb(a, direction, [0.5, 1.0]), states.concatenate([a, b]),
            perturbation.pruning_direction(a, full, mask), landscape.recalibrate(net, a, ds),
        ) for tensor in tree.values()),
    ]  # fmt: skip
    test = ds.test_x, ds.test_y
    on_cpu = [
        *spectrum, losses, errors, limit,
        measures.top(net, a, x, y, mask)[0],
        *(wells.subspace_losses(matrix, kept, order) for order in limits.ORDERS for kept in (w[0], w[0].cpu())),
        wells.meeting(values, 1.0, 0.1, 3), wells.crossing(torch.arange(3), losses.to(there), 2.0),
        torch.tensor([limits.gordon_fraction(values, w[0], 0.05, order=order) for order in limits.ORDERS]),
        torch.tensor([wells.meeting_fraction(values, 1.0, 0.1), pruning.density(mask)]),
        *landscape.error_barrier(net, a, b, *test, 3),
        landscape.all_pairs(partial(landscape.error, net, x=x, y=y), several, 3),
        *landscape.path(net, several, *test, 3), *landscape.plane(net, a, b, c, ds, 2),
        displacements.coordinates(net, a, b, c, a), landscape.distance(net, a, b), training.evaluate(net, a, x, y)[0],
        displacements.overlap(net, (a, b), (a, c)), magnitudes.refilled(b, mask, limit.to(there)),
        weight_changes.removed(a, full, mask), weight_changes.already_small(a, b, mask, 0.2),
        *weight_changes.agreement(a, b, mask), magnitudes.histogram(a, mask, torch.tensor([0, 0.1, 1]).to(there)),
    ]  # fmt: skip
    return on_device, on_cpu


def test_states_may_lie_on_any_device(ds, net):
    """Nothing mixes devices, and what is small comes back: the same numbers as on the CPU."""
    elsewhere = pytest.importorskip("elsewhere")
    several = [net.init(2, seed) for seed in (0, 5, 10)]
    expected = everything(net, ds, several)
    with elsewhere.machine() as there:
        tensors = {f.name: getattr(ds, f.name) for f in dataclasses.fields(ds)}
        moved = data.Dataset(**{name: v.to(there) if torch.is_tensor(v) else v for name, v in tensors.items()})
        placed = [{name: tensor.to(there) for name, tensor in state.items()} for state in several]
        found = everything(networks.build("cnn1d", moved, width=4), moved, placed)
        assert all(tensor.device == there for tensor in found[0])
        assert all(tensor.device.type == "cpu" for tensor in found[1])
        for before, after in zip(expected, found, strict=True):
            for one, other in zip(before, after, strict=True):
                assert torch.equal(one, other.cpu())
