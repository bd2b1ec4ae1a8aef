"""Angles between displacements and coordinates in a plane, against numpy and torch."""

import numpy as np
import pytest
import torch
import twins
from torch.testing import assert_close

from lotterybook.robustness import displacements
from lotterylib import landscape, perturbation, pruning, states


def test_overlap_is_the_cosine(net):
    """Of displacements, wherever the two trainings start."""
    state, other = net.init(3, seed=0), net.init(3, seed=20)
    mask = pruning.full(net, state)
    a, b = (perturbation.random_direction(state, mask, norm, seed) for norm, seed in ((2.0, 1), (3.0, 9)))
    ends = perturbation.perturb(state, a, 1.0), perturbation.perturb(other, b, 1.0)
    flat = [[torch.cat([d[n][r].double().flatten() for n in net.parameters]) for r in range(3)] for d in (a, b)]
    cosine = torch.stack([torch.nn.functional.cosine_similarity(x, y, dim=0) for x, y in zip(*flat, strict=True)])
    assert_close(displacements.overlap(net, (state, ends[0]), (other, ends[1])), cosine, rtol=1e-4, atol=1e-6)
    one = torch.ones(3, dtype=torch.float64)
    assert_close(displacements.overlap(net, (state, ends[0]), (state, ends[0])), one)
    assert_close(displacements.overlap(net, (state, ends[0]), (ends[0], state)), -one)
    assert displacements.overlap(net, (state, state), (state, ends[0])).isnan().all()


@pytest.fixture(scope="module")
def three(net):
    return [twins.double(net.init(3, seed)) for seed in (0, 5, 10)]


def flat(net, state, r):
    return np.concatenate([state[name][r].flatten() for name in net.parameters])


def test_coordinates_are_the_nearest_point_of_the_plane(net, three):
    origin, first, second = three
    between = {name: 0.2 * origin[name] + 0.5 * first[name] + 0.3 * second[name] for name in net.parameters}
    outside = {name: second[name] + torch.randn_like(second[name]) for name in net.parameters}
    for r in range(3):
        o, a, b = (flat(net, state, r) for state in three)
        basis = np.linalg.qr(np.stack([a - o, b - o], 1))[0]
        basis *= np.sign([basis[:, 0] @ (a - o), basis[:, 1] @ (b - o)])
        for state in (origin, first, second, {**origin, **between}, {**origin, **outside}):
            expected = basis.T @ (flat(net, state, r) - o)
            found = displacements.coordinates(net, origin, first, second, state)[:, r]
            assert found.numpy() == pytest.approx(expected, abs=1e-9)


def test_corners_of_a_plane_are_coordinates(net, ds, three):
    drawn = landscape.plane(net, *three, twins.double(ds), steps=2)
    found = torch.stack([displacements.coordinates(net, *three, state) for state in three])
    assert_close(found, drawn.corners, rtol=1e-9, atol=1e-9)


def test_states_that_do_not_fit_are_named(net, three):
    origin, first, second = three
    less, fewer = {n: t for n, t in first.items() if n != "linear.bias"}, states.select(first, [0])
    for pair in ((less, first), (first, less)):
        with pytest.raises(ValueError, match="'linear.bias'"):
            displacements.overlap(net, pair, (origin, first))
    with pytest.raises(ValueError, match="states differ: .* numbers of replicates"):
        displacements.overlap(net, (fewer, fewer), (origin, first))
    for others in ((less, second, origin), (first, fewer, origin), (first, second, less)):
        with pytest.raises(ValueError, match="state lacks the entry 'linear.bias'|numbers of replicates"):
            displacements.coordinates(net, origin, *others)
