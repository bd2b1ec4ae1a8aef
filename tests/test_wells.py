"""Projections, subspaces and wells against brute force on small quadratic wells and plain loops."""

import math

import numpy as np
import pytest
import torch
import twins
from torch.testing import assert_close

from lotterybook.limits import wells
from lotterylib import limits, pruning


def well(size, negative=False, seed=0):
    """A random Hessian with a wide spectrum, and weights."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    values = np.logspace(-3, 1, size)
    if negative:
        values[:2] = -0.01, 0
    return basis @ np.diag(values) @ basis.T, rng.normal(size=size), values


@pytest.mark.parametrize("order", limits.ORDERS)
@pytest.mark.parametrize("negative", [False, True])
def test_the_lowest_loss_in_a_subspace_is_that_of_solving_for_it(order, negative):
    matrix, weights, values = well(12, negative)
    found = wells.subspace_losses(torch.from_numpy(matrix), torch.from_numpy(weights), order, seed=3)
    first = np.argsort(abs(weights))
    if order == "random":
        first = torch.randperm(12, generator=torch.Generator().manual_seed(3)).numpy()
    values, vectors = np.linalg.eigh(matrix)
    damped = vectors @ np.diag(np.maximum(values, 1e-5 * values.max())) @ vectors.T
    for count in (1, 4, 11, 12):
        gone, kept = first[:count], first[count:]
        v = np.zeros(12)
        v[gone] = -weights[gone]
        if len(kept):  # the stationary point over the kept coordinates
            v[kept] = -np.linalg.solve(damped[np.ix_(kept, kept)], damped[np.ix_(kept, gone)] @ v[gone])
        assert float(found[count - 1]) == pytest.approx(v @ damped @ v / 2, rel=1e-6)
    assert (found.diff() >= 0).all()


def test_the_lowest_loss_is_at_most_that_of_the_projection():
    matrix, weights, _ = well(40)
    found = wells.subspace_losses(torch.from_numpy(matrix), torch.from_numpy(weights))
    for count in (3, 20, 40):
        v = np.where(np.argsort(np.argsort(abs(weights))) < count, weights, 0)
        assert float(found[count - 1]) <= v @ matrix @ v / 2 * (1 + 1e-9)
    assert float(found[-1]) == pytest.approx(weights @ matrix @ weights / 2)  # nothing is left to move


def test_projections_are_pruned_networks(net, ds, small_run):
    state, mask = small_run[1].state, small_run[1].mask
    losses, errors = wells.projections(net, state, mask, ds, (0.3, 0.6), "random", seed=5)
    assert losses.shape == errors.shape == (3, 6)
    assert_close(errors[0], small_run[1].error)
    x, y = ds.gather(torch.arange(len(ds.train_y)))
    for row, fraction in enumerate((None, 0.3, 0.6)):
        keep = mask if fraction is None else pruning.random(state, mask, fraction, 5)
        model = twins.module(net, {n: t * keep[n] if n in keep else t for n, t in state.items()}, 4)
        assert float(errors[row, 4]) == pytest.approx(twins.error(model, ds.test_x, ds.test_y))
        loss = torch.nn.functional.cross_entropy(model.eval()(x), y).detach()
        assert float(losses[row, 4]) == pytest.approx(float(loss), rel=1e-4)
    small, _ = wells.projections(net, state, mask, ds, (0.3,))
    pruned = pruning.apply(state, pruning.magnitude(state, mask, 0.3))
    model = twins.module(net, pruned, 2).eval()
    loss = torch.nn.functional.cross_entropy(model(x), y).detach()
    assert float(small[1, 2]) == pytest.approx(float(loss), rel=1e-4)
    with pytest.raises(ValueError, match="order is 'smallest'"):
        wells.prune(state, mask, 0.2, "smallest")


def test_a_crossing_is_found_on_a_straight_line():
    x = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    rise = torch.tensor([[0, 0, 0, 5], [1, 4, 0, 5], [3, 0, 1, 5]], dtype=torch.float64)
    assert_close(wells.crossing(x, rise, 2.0), torch.tensor([0.2, 0.05, 0.3, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("rise", "found"),
    [
        ([5, 1, 5], 0.0),  # beyond at once, whatever comes
        ([5, 1, 0], 0.0),
        ([2, 2, 2], 0.3),  # at the limit is not beyond
        ([0, math.inf, 0], 0.0),  # a loss that is not finite is beyond from the point before on
        ([0, 1, math.inf], 0.1),
        ([0, math.nan, 5], math.nan),  # unknown before it is beyond
        ([0, 1, math.nan], math.nan),
        ([math.nan, 5, 5], math.nan),
        ([0, 4, math.nan], 0.05),  # beyond before it is unknown
    ],
)
def test_a_crossing_at_once_or_of_values_that_are_not_finite(rise, found):
    x = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    assert float(wells.crossing(x, torch.tensor(rise, dtype=torch.float64), 2.0)) == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize("x", [[0.0, 0.1], [0.0, 0.2, 0.1], [0.0, 0.1, math.nan], [[0.0], [0.1], [0.2]]])
def test_points_that_do_not_fit_are_refused(x):
    with pytest.raises(ValueError, match=r"x is \[.*\]; it must be two or more increasing numbers, here 3 as rise has"):
        wells.crossing(x, torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="x is .*two or more"):
        wells.crossing([0.0], torch.zeros(1), 1.0)


def test_bad_wells_are_refused():
    matrix, weights, _ = well(5)
    matrix, weights = torch.from_numpy(matrix), torch.from_numpy(weights)
    with pytest.raises(ValueError, match="no eigenvalue of the Hessian is positive"):
        wells.subspace_losses(-matrix, weights)
    with pytest.raises(ValueError, match=r"hessian has shape \(5, 5\); it must be \(4, 4\) as weights are"):
        wells.subspace_losses(matrix, weights[:4])
    with pytest.raises(ValueError, match="order is"):
        wells.subspace_losses(matrix, weights, "largest")
    with pytest.raises(ValueError, match="hessian or weights hold values that are not finite"):
        wells.subspace_losses(matrix * math.nan, weights)
    with pytest.raises(ValueError, match="seed is 0.5; it must be a whole number"):
        wells.subspace_losses(matrix, weights, "random", 0.5)
    with pytest.raises(ValueError, match="distance is -1"):
        wells.meeting([1.0], -1.0, 0.1)


@pytest.mark.parametrize("distance", [1.0, 5.0])
def test_simulated_subspaces_meet_the_well_as_random_matrix_theory_says(distance):
    eigenvalues = torch.logspace(-2, 1, 200, dtype=torch.float64)
    simulated = wells.meeting(eigenvalues, distance, 0.3, count=40, seed=1)
    expected = wells.meeting_fraction(eigenvalues, distance, 0.3)
    error = 1.25 * float(simulated.std()) / 40**0.5 + 1 / 200
    assert float(simulated.median()) == pytest.approx(expected, abs=2.5 * error)
    assert limits.angular_dimension(eigenvalues, distance, 0.3) < expected - 0.005
    radius = (2 * 0.3 / eigenvalues) / ((1 - expected) * distance**2 + 2 * 0.3 / eigenvalues)
    assert float(radius.mean()) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="not positive"):
        wells.meeting(torch.tensor([1.0, 0.0]), 1.0, 0.1)


def test_a_round_well_is_left_where_the_nearest_point_leaves_it():
    """All radii r: the subspace through a point at distance R is at distance sqrt(p) R, so p = r^2 / R^2."""
    eigenvalues = torch.full((300,), 2.0, dtype=torch.float64)  # r^2 = epsilon
    assert wells.meeting_fraction(eigenvalues, 2.0, 1.0) == pytest.approx(0.25, abs=1e-9)
    assert float(wells.meeting(eigenvalues, 2.0, 1.0, count=20).median()) == pytest.approx(0.25, abs=0.02)
