"""What Gordon's theorem is measured against: projections, subspaces and wells.

The theorem says from where on a random subspace *misses* the well around a solution; up to there an axial one may meet
it. That the projection itself, its nearest point, lies in the well is more than that. So there are two things to
measure: the loss of the projection, and the lowest loss in the subspace, under the quadratic model here, or by training
inside the subspace. Arguments may lie on any device; all results are float64 on the CPU, masks excepted.
"""

import torch
from torch import Tensor

from lotterylib import checks, progress, pruning, training
from lotterylib.data import Dataset
from lotterylib.limits import ORDERS, angular_dimension
from lotterylib.networks import Network
from lotterylib.states import Mask, State, check_mask


def prune(state: State, mask: Mask, fraction: float, order="magnitude", seed=0) -> Mask:
    """The mask without a ``fraction`` of its weights: the smallest ones, or a random choice as drawn by ``seed``.

    As ``pruning.magnitude`` and ``pruning.random`` choose them, but a layer may be emptied: what is left is a subspace
    all the same. Raises ``ValueError`` for an unknown order, otherwise as they do.
    """
    check_mask(state, mask)
    chosen = checks.choice("order", order, ORDERS) == "magnitude"
    scores = {name: state[name].abs() for name in mask} if chosen else pruning.noise(mask, seed)
    return pruning.lowest(scores, mask, fraction)


def projections(
    net: Network, state: State, mask: Mask, ds: Dataset, fractions, order="magnitude", seed=0
) -> tuple[Tensor, Tensor]:
    """Training loss (nats) and test error after pruning each of ``fractions``, two tensors ``(F + 1, R)``.

    The first row is the solution itself. Nothing is trained or recalibrated.
    """
    net.check(state, mask)
    x, y = ds.training_set()
    losses, errors = [], []
    for fraction in (0, *fractions):
        pruned = pruning.apply(state, prune(state, mask, fraction, order, seed) if fraction else mask)
        losses.append(training.evaluate(net, pruned, x, y)[0])
        errors.append(training.evaluate(net, pruned, ds.test_x, ds.test_y)[1])
    return torch.stack(losses).cpu(), torch.stack(errors).cpu()


def subspace_losses(hessian: Tensor, weights: Tensor, order="magnitude", seed=0, damping=1e-5) -> Tensor:
    """Lowest rise of the loss in each axial subspace, under the quadratic model, in nats: ``(D,)``.

    Entry n - 1 is for n pruned weights P. Of all v that take them to zero, ``v_P = -w_P``, the least ``v^T H v / 2`` is
    ``w_P^T (H_PP - H_PK H_KK^-1 H_KP) w_P / 2`` (K: those kept). The matrix in it is the inverse of ``(H^-1)_PP`` (for
    one weight Hassibi & Stork 1993): with the weights in the order in which they are pruned, one Cholesky factor of
    ``H^-1`` serves all P, our derivation. ``hessian`` ``(D, D)`` and ``weights`` ``(D,)`` are one replicate's;
    eigenvalues below ``damping`` times the largest count as that much, so that the model has a minimum. Raises
    ``ValueError`` if these shapes differ, a value is not finite, or no eigenvalue is positive.
    """
    checks.choice("order", order, ORDERS)
    checks.within("damping", damping, 0, 1, open_low=True)
    checks.kind("hessian", hessian, Tensor)
    checks.kind("weights", weights, Tensor)
    if not (hessian.isfinite().all() and weights.isfinite().all()):
        raise ValueError("hessian or weights hold values that are not finite; the training may have diverged")
    if hessian.shape != (len(weights),) * 2:
        raise ValueError(f"hessian has shape {tuple(hessian.shape)}; it must be {(len(weights),) * 2} as weights are")
    values, vectors = torch.linalg.eigh(hessian.double())
    if not values[-1] > 0:
        raise ValueError("no eigenvalue of the Hessian is positive: the point is no minimum")
    draw = torch.Generator().manual_seed(checks.whole("seed", seed, 0))
    first = weights.abs().argsort() if order == "magnitude" else torch.randperm(len(weights), generator=draw)
    weights, first = weights.double().to(vectors.device), first.to(vectors.device)
    rows = vectors[first]
    inverse = (rows / values.clamp_min(damping * values[-1])) @ rows.mT
    factor = torch.linalg.cholesky(inverse)
    solved = torch.linalg.solve_triangular(factor, weights[first, None], upper=False)
    return (solved[:, 0].square().cumsum(0) / 2).cpu()


def meeting(eigenvalues, distance: float, epsilon: float, count=60, seed=0) -> Tensor:
    """Simulate how many random conditions on v keep it out of the well ``{v: v^T H v / 2 <= epsilon}``: ``(count,)``.

    Each of ``count`` random subspaces runs through a point at ``distance`` from the minimum; conditions are added one
    by one, and the result is the share of D at which the least loss in the subspace exceeds epsilon (nats). For
    conditions ``C v = b`` it is ``b^T (C H^-1 C^T)^-1 b / 2``, and one Cholesky factor serves all numbers of them; our
    simulation. ``eigenvalues`` ``(D,)`` are those of H. Raises ``ValueError`` unless all are positive, and for a
    ``count`` below 1.
    """
    checks.within("distance", distance, 0)
    values = checks.array("eigenvalues", eigenvalues)
    size, draw = len(values), torch.Generator().manual_seed(checks.whole("seed", seed, 0))
    options = {"generator": draw, "dtype": torch.float64}
    if not (values > 0).all():
        raise ValueError("eigenvalues hold some that are not positive; a simulated well must end in every direction")
    shares = []
    for _ in progress.bar(range(checks.whole("count", count, 1)), desc="subspaces"):
        conditions = torch.randn(size, size, **options)
        point = torch.nn.functional.normalize(torch.randn(size, **options), dim=0) * distance
        factor = torch.linalg.cholesky(conditions / values @ conditions.T)
        solved = torch.linalg.solve_triangular(factor, (conditions @ point)[:, None], upper=False)[:, 0]
        shares.append(int((solved.square().cumsum(0) / 2 <= epsilon).sum()) / size)
    return torch.tensor(shares, dtype=torch.float64)


def meeting_fraction(eigenvalues, distance: float, epsilon: float) -> float:
    """Where ``meeting`` lies as D grows: ``p = mean r_i^2 / ((1 - p) distance^2 + r_i^2)``, our derivation.

    ``r_i^2 = 2 epsilon / lambda_i`` with ``eigenvalues`` ``(D,)``; p is a share of D. The closed form
    ``angular_dimension`` is the same without the factor ``1 - p``, and so a bit lower.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        p = (low + high) / 2
        if p < angular_dimension(eigenvalues, distance * (1 - p) ** 0.5, epsilon):
            low = p
        else:
            high = p
    return low


def crossing(x, rise, limit) -> Tensor:
    """Where ``rise`` ``(n, ...)`` first exceeds ``limit``, between the points of ``x`` ``(n,)`` in a straight line.

    The result, ``(...)``, is in units of ``x``: its first value where the limit is exceeded at once, its last where it
    never is, NaN where a value is NaN before it is. An infinite value exceeds it from the point before on. Raises
    ``ValueError`` unless ``x`` are two or more increasing numbers, as many as ``rise`` has rows.
    """
    x, rise, limit = checks.array("x", x), checks.array("rise", rise), checks.array("limit", limit)
    if x.dim() != 1 or len(x) < 2 or not (x.diff() > 0).all() or len(rise) != len(x):
        raise ValueError(f"x is {x.tolist()}; it must be two or more increasing numbers, here {len(rise)} as rise has")
    above = rise > limit
    j = above.long().argmax(0).clamp_min(1)
    low, high = rise.gather(0, (j - 1)[None])[0], rise.gather(0, j[None])[0]
    inside = x[j - 1] + (x[j] - x[j - 1]) * ((limit - low) / (high - low)).clamp(0, 1)
    found = torch.where(above[0], x[0], torch.where(above.any(0), inside, x[-1]))
    return found.masked_fill((rise.isnan() & (above.long().cumsum(0) == 0)).any(0), torch.nan)
