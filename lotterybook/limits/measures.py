"""What the experiments of chapter 4 measure of a network: its spectrum, its projections, descents from them."""

from dataclasses import replace

import torch

from lotterylib import checks, curvature, limits, pruning, training
from lotterylib.order import epoch_order
from lotterylib.states import concatenate

from ..experiment import OTHER
from . import wells

EPSILONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # sizes of a well, in nats, where a preset names none
FRACTIONS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
DESCENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # fractions, likewise
GRID = torch.logspace(-4, 1.5, 56, dtype=torch.float64)  # eigenvalues


def networks(s, steps=None):
    """The main run of the replicates and rewind steps that are looked at: ``steps``, else those of the preset.

    Down to the last level that is looked at: where that is the dense network, nothing is pruned for it.
    """
    about = s.preset.limits
    run, steps = s.run(levels=max(about.levels)).first(about.replicates), steps or about.rewind_steps
    if steps is None:
        return run
    steps = tuple(k for k in run.config.rewind_step if k in steps)
    return run._part([r for r, k in enumerate(run.rewind_steps) if k in steps], rewind_step=steps)


def epsilons(s):
    """The sizes of a well, in nats, float64 ``(E,)``."""
    return torch.tensor(s.preset.limits.epsilons or EPSILONS, dtype=torch.float64)


def spectrum(s, state, mask, probes, iterations):
    """What ``spectra`` records of each replicate of one level, by name, ``(..., R)``."""
    x, y = s.ds.training_set()
    found = curvature.spectrum(s.net(), state, x, y, mask, probes, iterations)
    nodes = [found.nodes(r) for r in range(len(found.eigenvalues))]
    weights, fraction = curvature.weights(state, mask), s.preset.main.config.fraction
    gone = torch.stack([
        weights - curvature.weights(pruning.apply(state, wells.prune(state, mask, fraction, order, OTHER)), mask)
        for order in limits.ORDERS
    ], 1)  # fmt: skip
    bent = (gone * curvature.hvp(s.net(), state, x, y, gone, mask)).sum(-1) / gone.square().sum(-1)
    each = [_of_one(s, *pair, w) for pair, w in zip(nodes, weights, strict=True)]
    return {
        **{name: torch.stack([one[name] for one in each], -1) for name in each[0]},
        "largest": found.eigenvalues.amax((1, 2)),
        "removed": gone.norm(dim=-1).T.double(), "along": bent.T.double(), "norm": weights.norm(dim=-1).double(),
    }  # fmt: skip


def top(net, state, x, y, mask, count=1, iterations=40, seed=0):
    """The ``count`` largest eigenvalues, descending, float64 ``(R, count)``, with their eigenvectors ``(R, count, D)``.

    The residual ``||H v - lambda v||`` of every pair is at most 1e-4 of the largest eigenvalue in size: until it is,
    the ``iterations`` of Lanczos's method (1950) are doubled. Of equal eigenvalues only one may be found. Raises
    ``ValueError`` unless ``count`` is from 1 to D, and as ``curvature.hvp`` does.
    """
    weights = curvature.weights(state, mask)
    checks.whole("count", count, 1, weights.shape[1])
    iterations = max(count, checks.whole("iterations", iterations, 1))
    start = pruning.noise({"": weights[:, None]}, seed, torch.randn)[""].to(weights)
    while True:
        basis, alpha, beta = curvature.lanczos(lambda v: curvature.hvp(net, state, x, y, v, mask), start, iterations)
        values, vectors = (found[:, 0] for found in torch.linalg.eigh(curvature.tridiagonal(alpha, beta)))
        residual = beta[:, 0, -1, None] * vectors[:, -1].abs()
        values, vectors, residual = (found.flip(-1)[..., :count] for found in (values, vectors, residual))
        if iterations >= weights.shape[1] or (residual <= 1e-4 * values.abs().amax(1, keepdim=True)).all():
            return values, vectors.mT.to(basis) @ basis[:, 0]
        iterations *= 2


def _of_one(s, values, shares, weights):
    """What the spectrum of one network says: eigenvalues ``values`` (K,) with their ``shares``."""
    return {
        "above": above(values, shares), "negative": shares[values < 0].sum(),
        "predicted": predictions(values, weights, epsilons(s), shares),
        "predicted_absolute": predictions(values.abs(), weights, epsilons(s), shares),
    }  # fmt: skip


def predictions(eigenvalues, weights, sizes, quadrature=None):
    """Gordon's fraction for every size of the well (E,) and order, (E, 2)."""
    return torch.tensor([
        [limits.gordon_fraction(eigenvalues, weights, float(e), quadrature, order) for order in limits.ORDERS]
        for e in sizes
    ], dtype=torch.float64)  # fmt: skip


def above(eigenvalues, shares):
    """Share of the eigenvalues above each of ``GRID``, (G,)."""
    return ((eigenvalues > GRID[:, None]) * shares).sum(-1)


def batch_noise(s, state):
    """Standard deviation of the loss (nats, evaluation mode) over the batches of one epoch, float64 (R,)."""
    recipe, order = s.preset.main.config.recipe, s.preset.main.config.seed
    x, y = s.ds.training_set()
    batches = epoch_order(s.ds, recipe, order, 0)[0].to(s.ds.device)
    return torch.stack([training.evaluate(s.net(), state, x[rows], y[rows])[0] for rows in batches]).std(0)


def projections(s, state, mask):
    """Losses and errors of the projections in both orders, each (2, F + 1, R)."""
    pairs = [wells.projections(s.net(), state, mask, s.ds, FRACTIONS, order, OTHER) for order in limits.ORDERS]
    return tuple(torch.stack(values) for values in zip(*pairs, strict=True))


def from_none(fractions):
    """The fractions, float64, with 0 before them."""
    return torch.tensor((0, *fractions), dtype=torch.float64)


def descend(s, name, level, seeds, fractions, steps=None, control=False):
    """Train inside axial subspaces from the projections of a level; the loss at the end, and the states.

    ``fractions``: of either order, by magnitude and at random. ``steps`` of the preset's descent, or ``None``: the end
    of the main schedule. With ``control`` a training of the whole network by the same steps comes first. Returns losses
    (nats) (C, R) and states, C times as many as the level has, one for each fraction.
    """
    pairs = [(order, f) for order, each in zip(limits.ORDERS, fractions, strict=True) for f in each]
    masks = [level.mask] * control + [wells.prune(level.state, level.mask, f, order, OTHER) for order, f in pairs]
    recipe, start = s.preset.main.config.recipe, 0
    if steps is None:
        start = s.preset.limits.descent_step
    else:
        recipe = replace(recipe, steps=steps, lr=s.preset.limits.descent.lr)
    states = concatenate([level.state] * len(masks))
    ends = s.train(name, states, concatenate(masks), start, seeds * len(masks), recipe=recipe)
    loss = training.evaluate(s.net(), ends, *s.ds.training_set())[0]
    return loss.view(len(masks), -1), ends


def union(*fractions):
    """All fractions that occur in any of the tuples, once, increasing."""
    return sorted({f for each in fractions for f in each})


def in_orders(values, fractions, places):
    """Values (C, ...), one for each of the ``fractions`` of either order, at their ``places``: (2, F, ...), or NaN."""
    placed = values.new_full((len(fractions), len(places), *values.shape[1:]), torch.nan)
    for row, (order, f) in enumerate((o, f) for o, each in enumerate(fractions) for f in each):
        placed[order, places.index(f)] = values[row]
    return placed
