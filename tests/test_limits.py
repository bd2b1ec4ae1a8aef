"""Predicted and measured pruning limits against brute force on small quadratic wells and plain loops."""

import math

import numpy as np
import pytest
import torch
import twins
from torch.nn import functional as F
from torch.testing import assert_close

from lotterylib import curvature, limits, pruning

FLOAT64 = {"dtype": torch.float64}


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
    found = limits.subspace_losses(torch.from_numpy(matrix), torch.from_numpy(weights), order, seed=3)
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
    found = limits.subspace_losses(torch.from_numpy(matrix), torch.from_numpy(weights))
    for count in (3, 20, 40):
        v = np.where(np.argsort(np.argsort(abs(weights))) < count, weights, 0)
        assert float(found[count - 1]) <= v @ matrix @ v / 2 * (1 + 1e-9)
    assert float(found[-1]) == pytest.approx(weights @ matrix @ weights / 2)  # nothing is left to move


def test_projections_are_pruned_networks(net, ds, small_run):
    state, mask = small_run[1].state, small_run[1].mask
    losses, errors = limits.projections(net, state, mask, ds, (0.3, 0.6), "random", seed=5)
    assert losses.shape == errors.shape == (3, 6)
    assert_close(errors[0], small_run[1].error)
    x, y = ds.gather(torch.arange(len(ds.train_y)))
    for row, fraction in enumerate((None, 0.3, 0.6)):
        keep = mask if fraction is None else pruning.random(state, mask, fraction, 5)
        model = twins.module(net, {n: t * keep[n] if n in keep else t for n, t in state.items()}, 4)
        assert float(errors[row, 4]) == pytest.approx(twins.error(model, ds.test_x, ds.test_y))
        loss = torch.nn.functional.cross_entropy(model.eval()(x), y).detach()
        assert float(losses[row, 4]) == pytest.approx(float(loss), rel=1e-4)
    small, _ = limits.projections(net, state, mask, ds, (0.3,))
    pruned = pruning.apply(state, pruning.magnitude(state, mask, 0.3))
    model = twins.module(net, pruned, 2).eval()
    loss = torch.nn.functional.cross_entropy(model(x), y).detach()
    assert float(small[1, 2]) == pytest.approx(float(loss), rel=1e-4)
    with pytest.raises(ValueError, match="order is 'smallest'"):
        limits.prune(state, mask, 0.2, "smallest")


def test_a_crossing_is_found_on_a_straight_line():
    x = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    rise = torch.tensor([[0, 0, 0, 5], [1, 4, 0, 5], [3, 0, 1, 5]], dtype=torch.float64)
    assert_close(limits.crossing(x, rise, 2.0), torch.tensor([0.2, 0.05, 0.3, 0.0], dtype=torch.float64))


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
    assert float(limits.crossing(x, torch.tensor(rise, dtype=torch.float64), 2.0)) == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize("x", [[0.0, 0.1], [0.0, 0.2, 0.1], [0.0, 0.1, math.nan], [[0.0], [0.1], [0.2]]])
def test_points_that_do_not_fit_are_refused(x):
    with pytest.raises(ValueError, match=r"x is \[.*\]; it must be two or more increasing numbers, here 3 as rise has"):
        limits.crossing(x, torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="x is .*two or more"):
        limits.crossing([0.0], torch.zeros(1), 1.0)


def test_a_tolerance_in_nats_is_read_off_where_the_error_has_risen():
    errors = torch.tensor([[0.1, 0.1], [0.11, 0.1], [0.15, 0.1]], dtype=torch.float64)
    losses = torch.tensor([[1.0, 1.0], [2.0, 5.0], [4.0, 9.0]], dtype=torch.float64)
    found = limits.in_nats(losses, errors, 0.02)
    assert float(found[0]) == pytest.approx(1 + 2 * 0.25) and math.isnan(found[1])
    lost = torch.tensor([[0.1, math.nan], [math.nan, 0.2], [0.15, 0.3]], dtype=torch.float64)
    assert limits.in_nats(losses, lost, 0.02).isnan().all()
    with pytest.raises(ValueError, match="two or more increasing numbers"):
        limits.in_nats(losses[:1], errors[:1], 0.02)
    with pytest.raises(ValueError, match="tolerance is 0"):
        limits.in_nats(losses, errors, 0)


def test_bad_wells_are_refused():
    matrix, weights, _ = well(5)
    matrix, weights = torch.from_numpy(matrix), torch.from_numpy(weights)
    with pytest.raises(ValueError, match="no eigenvalue of the Hessian is positive"):
        limits.subspace_losses(-matrix, weights)
    with pytest.raises(ValueError, match=r"hessian has shape \(5, 5\); it must be \(4, 4\) as weights are"):
        limits.subspace_losses(matrix, weights[:4])
    with pytest.raises(ValueError, match="order is"):
        limits.subspace_losses(matrix, weights, "largest")
    with pytest.raises(ValueError, match="hessian or weights hold values that are not finite"):
        limits.subspace_losses(matrix * math.nan, weights)
    with pytest.raises(ValueError, match="seed is 0.5; it must be a whole number"):
        limits.subspace_losses(matrix, weights, "random", 0.5)
    with pytest.raises(ValueError, match="distance is -1"):
        limits.meeting([1.0], -1.0, 0.1)


@pytest.mark.parametrize("distance", [1.0, 5.0])
def test_simulated_subspaces_meet_the_well_as_random_matrix_theory_says(distance):
    eigenvalues = torch.logspace(-2, 1, 200, dtype=torch.float64)
    simulated = limits.meeting(eigenvalues, distance, 0.3, count=40, seed=1)
    expected = limits.meeting_fraction(eigenvalues, distance, 0.3)
    error = 1.25 * float(simulated.std()) / 40**0.5 + 1 / 200
    assert float(simulated.median()) == pytest.approx(expected, abs=2.5 * error)
    assert limits.angular_dimension(eigenvalues, distance, 0.3) < expected - 0.005
    radius = (2 * 0.3 / eigenvalues) / ((1 - expected) * distance**2 + 2 * 0.3 / eigenvalues)
    assert float(radius.mean()) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="not positive"):
        limits.meeting(torch.tensor([1.0, 0.0]), 1.0, 0.1)


def test_a_round_well_is_left_where_the_nearest_point_leaves_it():
    """All radii r: the subspace through a point at distance R is at distance sqrt(p) R, so p = r^2 / R^2."""
    eigenvalues = torch.full((300,), 2.0, dtype=torch.float64)  # r^2 = epsilon
    assert limits.meeting_fraction(eigenvalues, 2.0, 1.0) == pytest.approx(0.25, abs=1e-9)
    assert float(limits.meeting(eigenvalues, 2.0, 1.0, count=20).median()) == pytest.approx(0.25, abs=0.02)


# Gordon's escape theorem


@pytest.mark.parametrize("order", limits.ORDERS)
def test_equal_eigenvalues_and_weights_make_a_quadratic_equation(order):
    """``p (lambda D a^2 p + 2 epsilon) = 2 epsilon``."""
    size, eigenvalue, weight, epsilon = 50, 0.7, 0.3, 0.2
    c = eigenvalue * size * weight**2
    solution = (-2 * epsilon + ((2 * epsilon) ** 2 + 8 * epsilon * c) ** 0.5) / (2 * c)
    eigenvalues, weights = torch.full((size,), eigenvalue), torch.full((size,), -weight)
    assert limits.gordon_fraction(eigenvalues, weights, epsilon, order=order) == pytest.approx(solution, abs=1e-6)


def brute_force(eigenvalues, weights, epsilon, order):
    """The first of many fractions at which the subspace is expected to miss the well."""
    total = torch.cat([torch.zeros(1, **FLOAT64), (weights**2).sort().values.cumsum(0)]).tolist()
    for i in range(20001):
        p = i / 20000
        at, part = divmod(p * len(weights), 1)
        squared = p * total[-1]
        if order == "magnitude":
            squared = total[int(at)] + (part * (total[int(at) + 1] - total[int(at)]) if part else 0)
        radii = [2 * epsilon / v if v > 0 else float("inf") for v in eigenvalues.tolist()]
        shares = [1 if r == float("inf") else r / (squared + r) for r in radii]
        if p >= sum(shares) / len(shares):
            return p


def test_the_fraction_is_where_dimension_and_well_meet():
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(40, generator=generator, **FLOAT64)
    eigenvalues = torch.randn(40, generator=generator, **FLOAT64) ** 3  # a good part of them negative
    found = {}
    for order in limits.ORDERS:
        found[order] = limits.gordon_fraction(eigenvalues, weights, 0.05, order=order)
        assert found[order] == pytest.approx(brute_force(eigenvalues, weights, 0.05, order), abs=1e-4)
    assert found["magnitude"] > found["random"] + 0.05  # the smallest weights are nearer
    values, counts = torch.tensor([-0.3, 0.5, 2.0]), torch.tensor([10, 25, 5])
    exact = limits.gordon_fraction(values.repeat_interleave(counts), weights, 0.05)
    assert limits.gordon_fraction(values, weights, 0.05, counts / 40) == pytest.approx(exact, abs=1e-9)
    growing = [limits.gordon_fraction(eigenvalues, weights, 10.0**e) for e in range(-6, 9)]
    assert growing == sorted(growing) and len(set(growing)) == 15
    assert growing[-1] == pytest.approx(1, abs=1e-5)
    assert limits.gordon_fraction(eigenvalues, weights, 1e30) == 1
    flat = float((eigenvalues <= 0).double().mean())  # nothing stops pruning there, however small epsilon is
    assert growing[0] == pytest.approx(flat, abs=0.03)


@pytest.mark.parametrize("distance", [1.0, 3.0, 10.0, 30.0])
def test_random_subspaces_meet_a_well_as_the_theorem_says(distance):
    """A quadratic well in 400 dimensions, and k random linear conditions C v = c = C x0 on v.

    The least loss is c^T (C H^-1 C^T)^-1 c / 2, which one Cholesky factor gives for all k. Random matrix theory says
    exactly where it crosses epsilon as D grows: at the share p = mean(r_i^2 / ((1 - p) R^2 + r_i^2)). The closed form,
    without the factor 1 - p, says a bit less, and the same where p is small.
    """
    size, epsilon, count = 400, 0.5, 60
    eigenvalues = torch.logspace(-3, 2, size, **FLOAT64)
    generator = torch.Generator().manual_seed(1)
    critical = []
    for _ in range(count):
        conditions = torch.randn(size, size, generator=generator, **FLOAT64)
        start = F.normalize(torch.randn(size, generator=generator, **FLOAT64), dim=0) * distance
        factor = torch.linalg.cholesky(conditions / eigenvalues @ conditions.T)
        solved = torch.linalg.solve_triangular(factor, (conditions @ start)[:, None], upper=False)[:, 0]
        critical.append(int((solved.square().cumsum(0) / 2 <= epsilon).sum()) / size)
    simulated = float(torch.tensor(critical).median())
    error = 1.25 * float(torch.tensor(critical).std()) / count**0.5 + 1 / size
    exact = 0.0
    for _ in range(500):
        exact = float((1 / (1 + eigenvalues * (1 - exact) * distance**2 / (2 * epsilon))).mean())
    assert simulated == pytest.approx(exact, abs=2 * error)
    promised = limits.angular_dimension(eigenvalues, distance, epsilon)
    assert 0.85 * exact < promised < exact
    if distance == 30:
        assert simulated == pytest.approx(promised, abs=2 * error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0}, "epsilon is 0; it must be > 0"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"order": "largest"}, "order is 'largest', which is unknown; allowed are 'magnitude', 'random'"),
        ({"weights": [1.0, float("nan")]}, "weights hold none, or values that are not finite"),
        ({"weights": [1.0, 2.0, 3.0]}, "there are 2 eigenvalues and 3 weights; without quadrature"),
        ({"eigenvalues": [1.0, float("nan")]}, "eigenvalues hold values that are not finite"),
        ({"eigenvalues": [0.0, -1.0]}, "no eigenvalue is positive"),
        ({"quadrature": [0.5, 0.6]}, r"quadrature sums to 1\.1; it must sum to 1"),
        ({"weights": []}, "weights hold none"),
        ({"eigenvalues": [[1.0, 2.0]]}, r"eigenvalues have shape \(1, 2\); it must be \(K,\)"),
        ({"eigenvalues": 1.0}, r"eigenvalues have shape \(\); it must be \(K,\)"),
        ({"quadrature": [1.0]}, r"quadrature has shape \(1,\) and eigenvalues \(2,\); they must be equal"),
    ],
)
def test_a_bad_prediction_says_what_is_wrong(change, message):
    good = {"eigenvalues": [1.0, 2.0], "weights": [1.0, 2.0], "epsilon": 0.1}
    assert 0 < limits.gordon_fraction(**good) < 1
    with pytest.raises(ValueError, match=message):
        limits.gordon_fraction(**{**good, **change})


def test_a_negative_distance_is_none():
    with pytest.raises(ValueError, match=r"distance is -1\.0; it must be >= 0"):
        limits.angular_dimension([1.0], -1.0, 0.1)


def test_the_theorem_keeps_its_earlier_names():
    assert curvature.gordon_fraction is limits.gordon_fraction
    assert curvature.angular_dimension is limits.angular_dimension
