"""Gordon's escape theorem against brute force and simulated wells."""

import pytest
import torch
from torch.nn import functional as F

from lotterylib import curvature, limits

FLOAT64 = {"dtype": torch.float64}


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
