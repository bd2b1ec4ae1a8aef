"""How far a solution can be pruned, as Gordon's escape theorem predicts from the spectrum of its Hessian.

The theorem (1988): a random subspace through a point *misses* a set once it has more conditions than the set's squared
Gaussian width, as seen from the point. Up to there an axial subspace may meet the well around a solution.
"""

import torch

from . import checks

ORDERS = ("magnitude", "random")  # in which weights are pruned


def angular_dimension(eigenvalues, distance: float, epsilon: float, quadrature=None) -> float:
    """A closed form for the local angular dimension of the well ``{v: v^T H v / 2 <= epsilon}`` from ``distance``.

    The local angular dimension is the well's squared Gaussian width, as seen from there, as a share of D. The closed
    form of Larsen et al. (2022), ``sum_i q_i r_i^2 / (distance^2 + r_i^2)`` with ``r_i^2 = 2 epsilon / lambda_i``,
    approximates it; simulated random subspaces lose the well a little above it. In a direction with lambda <= 0 the
    well has no end, and r_i^2 / (distance^2 + r_i^2) is 1. ``eigenvalues`` ``(K,)``; ``quadrature`` ``(K,)`` are their
    shares of D, by default equal ones. Raises ``ValueError`` if no eigenvalue is positive or one is not finite,
    ``quadrature`` does not sum to 1, epsilon is not positive or ``distance`` negative.
    """
    checks.within("distance", distance, 0)
    values, shares = _well(eigenvalues, epsilon, quadrature)
    return float(shares @ (2 * epsilon / (values * distance**2 + 2 * epsilon)))


def gordon_fraction(eigenvalues, weights, epsilon: float, quadrature=None, order="magnitude") -> float:
    """The largest fraction of the ``weights`` ``(D,)`` that can be pruned, as predicted after Gordon's escape theorem.

    Pruning a share p of the weights puts p D conditions on the step, at distance R(p) from the solution; the result is
    the p at which they reach the well's ``angular_dimension`` (our reconstruction of Paul et al. 2023). R(p) is the
    length of the weights that go: the smallest first, or of a random choice, ``R^2 = p ||w||^2`` as expected.

    ``eigenvalues`` ``(K,)`` have the shares ``quadrature`` ``(K,)``, by default equal ones of an exact spectrum, K = D;
    ``epsilon`` is in nats. Raises ``ValueError`` as ``angular_dimension`` does, and for weights that are not finite.
    """
    checks.choice("order", order, ORDERS)
    squares = checks.array("weights", weights).flatten() ** 2
    if not len(squares) or not squares.isfinite().all():
        raise ValueError("weights hold none, or values that are not finite; the training may have diverged")
    values, shares = _well(eigenvalues, epsilon, quadrature)
    if quadrature is None and len(values) != len(squares):
        found = f"there are {len(values)} eigenvalues and {len(squares)} weights"
        raise ValueError(f"{found}; without quadrature the spectrum must be exact, one eigenvalue for each weight")
    squares = squares.sort().values if order == "magnitude" else squares.mean().expand(len(squares))
    sums = torch.cat([squares.new_zeros(1), squares.cumsum(0)])
    low, high = 0.0, 1.0
    for _ in range(40):
        fraction = (low + high) / 2
        whole, part = divmod(fraction * len(squares), 1)
        distance = float(sums[int(whole)] + part * squares[int(whole)]) ** 0.5
        met = fraction < angular_dimension(values, distance, epsilon, shares)
        low, high = (fraction, high) if met else (low, fraction)
    return high


def _well(eigenvalues, epsilon, quadrature):
    """Eigenvalues, none below 0, and their shares."""
    checks.within("epsilon", epsilon, 0, float("inf"), open_low=True, open_high=True)
    values = checks.array("eigenvalues", eigenvalues)
    if values.dim() != 1:
        raise ValueError(f"eigenvalues have shape {tuple(values.shape)}; it must be (K,), those of one replicate")
    if not values.isfinite().all():
        raise ValueError("eigenvalues hold values that are not finite; the training may have diverged")
    if not (values > 0).any():
        raise ValueError("no eigenvalue is positive: the point is no minimum, and nothing limits the pruning")
    shares = checks.array("quadrature", torch.full_like(values, 1 / len(values)) if quadrature is None else quadrature)
    if shares.shape != values.shape:
        found = f"quadrature has shape {tuple(shares.shape)} and eigenvalues {tuple(values.shape)}"
        raise ValueError(f"{found}; they must be equal")
    if not abs(float(shares.sum()) - 1) < 1e-4:
        raise ValueError(f"quadrature sums to {float(shares.sum()):.6g}; it must sum to 1: take nodes(r) of a spectrum")
    return values.clamp_min(0), shares
