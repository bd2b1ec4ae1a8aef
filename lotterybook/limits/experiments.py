"""Experiments of chapter 4: the Hessian's spectrum, the pruning that it allows, and the pruning that succeeds."""

import torch

from lotterylib import curvature, limits, pruning, training
from lotterylib.states import concatenate, select

from ..experiment import OTHER, append, experiment, grouped, stacked
from . import wells
from .adaptive import Adaptive

EPSILONS = torch.tensor([0.005, 0.01, 0.02, 0.05, 0.1, 0.2], dtype=torch.float64)  # sizes of a well, in nats
FRACTIONS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
DESCENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
GRID = torch.logspace(-4, 1.5, 56, dtype=torch.float64)  # eigenvalues
_NETWORKS = ("main", "limits.levels", "limits.replicates")


@experiment(*_NETWORKS, "limits.probes", "limits.iterations")
def spectra(s):
    """Spectra of the training loss's Hessian on the unpruned weights, by Lanczos, and the pruning that they allow.

    At ``level`` (n,), ``rewind_step`` (K,): ``above`` (n, G, K, R): share of eigenvalues above those of ``grid`` (G,);
    ``largest`` (n, K, R); ``predicted`` (n, E, 2, K, R): Gordon's fraction at ``epsilon`` (E,), in magnitude and in
    random order; ``removed`` and ``along`` (n, 2, K, R): length of, and curvature along, what one pruning by
    ``fraction`` () takes away in either order; ``norm`` (n, K, R): length of the weights.
    """
    run, found = s.run().first(s.preset.limits.replicates), {}
    for level in s.preset.limits.levels:
        here = run[level]
        if level == 0:  # the same for every rewind step
            here = run.at(run.config.rewind_step[0])[0]
        seen = _spectrum(s, here.state, here.mask, run.config.fraction)
        repeat = len(run.config.rewind_step) if level == 0 else 1
        append(found, **{name: grouped(torch.cat([value] * repeat, -1), run) for name, value in seen.items()})
    return {
        **stacked(found), "grid": GRID, "epsilon": EPSILONS, "level": torch.tensor(s.preset.limits.levels),
        "fraction": torch.tensor(run.config.fraction, dtype=torch.float64),
        "density": run.densities[list(s.preset.limits.levels)], "rewind_step": torch.tensor(run.config.rewind_step),
    }  # fmt: skip


@experiment(*_NETWORKS)
def projected(s):
    """Training ``loss`` (nats) and test ``error`` of projections, (n, 2, F + 1, K, R), after pruning ``fraction``.

    ``fraction`` (F + 1,) begins with 0, the solution; the orders are by magnitude and random, at ``level`` (n,).
    """
    run, found = s.run().first(s.preset.limits.replicates), {}
    for level in s.preset.limits.levels:
        losses, errors = _projections(s, run[level].state, run[level].mask)
        append(found, loss=grouped(losses, run), error=grouped(errors, run))
    return {
        **stacked(found), "fraction": _from_none(FRACTIONS),
        "level": torch.tensor(s.preset.limits.levels), "rewind_step": torch.tensor(run.config.rewind_step),
    }  # fmt: skip


@experiment(*_NETWORKS, "limits.descent_step", "tickets.points")
def descents(s):
    """A short training inside the axial subspace, from the projection: does the subspace meet the well?

    From step ``descent_step`` of the schedule to its end, weights kept: training ``loss`` (nats) and ``barrier`` back
    to the solution, (n, 2, F, K, R), at ``level`` (n,), in magnitude and random order, after pruning ``fraction``
    (F,); ``solution`` (n, K, R) is the solution's own loss.
    """
    run, found = s.run().first(s.preset.limits.replicates), {}
    x, y = s.ds.training_set()
    for level in s.preset.limits.levels:
        here = run[level]
        masks = [
            wells.prune(here.state, here.mask, fraction, order, OTHER)
            for order in limits.ORDERS for fraction in DESCENTS
        ]  # fmt: skip
        starts, seeds = [s.preset.limits.descent_step] * len(masks) * len(run.seeds), run.seeds * len(masks)
        states, masks = concatenate([here.state] * len(masks)), concatenate(masks)
        ends = s.train(f"descent_{level}", states, masks, starts, seeds)
        back = s.barrier(states, ends).height
        shape = (2, len(DESCENTS), len(run.config.rewind_step), -1)
        append(
            found, loss=training.evaluate(s.net(), ends, x, y)[0].view(shape), barrier=back.view(shape),
            solution=grouped(training.evaluate(s.net(), here.state, x, y)[0], run),
        )  # fmt: skip
    return {
        **stacked(found),
        "fraction": torch.tensor(DESCENTS, dtype=torch.float64),
        "level": torch.tensor(s.preset.limits.levels), "rewind_step": torch.tensor(run.config.rewind_step),
    }  # fmt: skip


@experiment(*_NETWORKS, "tickets.control_step", "limits.exact_levels")
def exact(s):
    """The exact Hessian at rewind step ``control_step``: a check of ``spectra``, and what the quadratic model says.

    At ``level`` (n,): ``above`` (n, R, G) on ``grid`` (G,) and ``predicted`` (n, R, E, 2) as there; ``lowest`` (n, R,
    2, F): least rise of the loss (nats) in the axial subspace under the quadratic model, after pruning ``fraction``;
    ``through_zero`` (n, R, E): share at which random subspaces through w = 0 no longer meet the well.
    """
    run, found = s.run().first(s.preset.limits.replicates).at(s.preset.tickets.control_step), {}
    for level in s.preset.limits.exact_levels:
        for r in range(len(run.seeds)):
            state, mask = select(run[level].state, [r]), select(run[level].mask, [r])
            matrix = curvature.hessian(s.net(), state, *s.ds.training_set(), mask)[0]
            weights, values = curvature.weights(state, mask)[0].cpu(), torch.linalg.eigvalsh(matrix.double()).cpu()
            curves = [wells.subspace_losses(matrix, weights, order, OTHER + r) for order in limits.ORDERS]
            counts = (torch.tensor(FRACTIONS) * len(weights)).ceil().long() - 1
            append(
                found, above=_above(values, torch.full_like(values, 1 / len(values))),
                predicted=_predictions(values, weights), lowest=torch.stack(curves)[:, counts],
                through_zero=torch.tensor([
                    wells.meeting_fraction(values, float(weights.norm()), float(e)) for e in EPSILONS
                ], dtype=torch.float64),
            )  # fmt: skip
    shaped = {name: values.unflatten(0, (-1, len(run.seeds))) for name, values in stacked(found).items()}
    return {
        **shaped, "grid": GRID, "epsilon": EPSILONS, "fraction": torch.tensor(FRACTIONS, dtype=torch.float64),
        "level": torch.tensor(s.preset.limits.exact_levels),
    }  # fmt: skip


@experiment("main", "limits.replicates", "limits.steps", "limits.probes", "limits.iterations")
def during_training(s):
    """The limit in the course of dense training, at ``step`` (T,): where no minimum is reached yet, read with care.

    ``predicted`` (T, E, 2, R), ``largest`` (T, R), ``removed`` (T, 2, R) as in ``spectra``; ``loss`` (T, 2, F + 1, R)
    as in ``projected``.
    """
    config, count, found = s.preset.main.config, s.preset.limits.replicates, {}
    seeds = [config.seed + r for r in range(count)]
    start = s.net().init(count, config.seed)
    steps = s.preset.limits.steps
    for point in training.trajectory(s.net(), start, s.ds, config.recipe, None, 0, max(steps), seeds, steps):
        mask = pruning.full(s.net(), point.state)
        seen = _spectrum(s, point.state, mask, config.fraction)
        losses, _ = _projections(s, point.state, mask)
        append(found, loss=losses, **{name: seen[name] for name in ("predicted", "largest", "removed")})
    return {
        **stacked(found), "step": torch.tensor(steps),
        "epsilon": EPSILONS, "fraction": _from_none(FRACTIONS),
    }  # fmt: skip


@experiment("main", "tickets.control_step", "limits.adaptive_rises")
def adaptive(s):
    """IMP that prunes at each level as much as the training loss allows: a run for each ``rise`` (A,) in nats.

    At rewind step ``control_step``: ``error`` (A, levels + 1, R) and ``density`` (A, levels + 1).
    """
    k = s.preset.tickets.control_step
    runs = [s.run(rewind_step=k, fraction=Adaptive(rise)) for rise in s.preset.limits.adaptive_rises]
    return {
        "error": torch.stack([run.errors[:, 0] for run in runs]), "density": torch.stack([r.densities for r in runs]),
        "rise": torch.tensor(s.preset.limits.adaptive_rises, dtype=torch.float64),
    }  # fmt: skip


def _spectrum(s, state, mask, fraction):
    """What ``spectra`` records of each replicate of one level, (..., R)."""
    x, y = s.ds.training_set()
    spectrum = curvature.spectrum(s.net(), state, x, y, mask, s.preset.limits.probes, s.preset.limits.iterations)
    nodes = [spectrum.nodes(r) for r in range(len(spectrum.eigenvalues))]
    weights = curvature.weights(state, mask)
    gone = torch.stack([
        weights - curvature.weights(pruning.apply(state, wells.prune(state, mask, fraction, order, OTHER)), mask)
        for order in limits.ORDERS
    ], 1)  # fmt: skip
    bent = (gone * curvature.hvp(s.net(), state, x, y, gone, mask)).sum(-1) / gone.square().sum(-1)
    predicted = [_predictions(values, w, shares) for (values, shares), w in zip(nodes, weights, strict=True)]
    return {
        "above": torch.stack([_above(*pair) for pair in nodes], -1),
        "largest": spectrum.eigenvalues.amax((1, 2)), "predicted": torch.stack(predicted, -1),
        "removed": gone.norm(dim=-1).T.double(), "along": bent.T.double(), "norm": weights.norm(dim=-1).double(),
    }  # fmt: skip


def _predictions(eigenvalues, weights, quadrature=None):
    """Gordon's fraction for every epsilon and order, (E, 2)."""
    return torch.tensor([
        [curvature.gordon_fraction(eigenvalues, weights, float(e), quadrature, order) for order in limits.ORDERS]
        for e in EPSILONS
    ], dtype=torch.float64)  # fmt: skip


def _above(eigenvalues, shares):
    return ((eigenvalues > GRID[:, None]) * shares).sum(-1)


def _projections(s, state, mask):
    """Losses and errors of the projections in both orders, each (2, F + 1, R)."""
    pairs = [wells.projections(s.net(), state, mask, s.ds, FRACTIONS, order, OTHER) for order in limits.ORDERS]
    return tuple(torch.stack(values) for values in zip(*pairs, strict=True))


def _from_none(fractions):
    return torch.tensor((0, *fractions), dtype=torch.float64)
