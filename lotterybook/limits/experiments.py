"""Experiments of chapter 4: the Hessian's spectrum, the pruning that it allows, and the pruning that succeeds."""

import torch

from lotterylib import curvature, limits, pruning, training
from lotterylib.states import concatenate, select

from ..experiment import OTHER, append, experiment, grouped, stacked
from . import measures, wells
from .adaptive import Adaptive
from .measures import DESCENTS, FRACTIONS, GRID

_LOOKED_AT = ("main", "limits.levels", "limits.replicates", "limits.rewind_steps")


@experiment(*_LOOKED_AT, "limits.probes", "limits.iterations", "limits.epsilons")
def spectra(s):
    """Spectra of the training loss's Hessian on the unpruned weights, by Lanczos, and the pruning that they allow.

    At ``level`` (n,), ``rewind_step`` (K,): ``above`` (n, G, K, R): share of eigenvalues above those of ``grid`` (G,);
    ``negative`` (n, K, R), the share below 0; ``largest`` (n, K, R); ``predicted`` (n, E, 2, K, R): Gordon's fraction
    at ``epsilon`` (E,), in magnitude and in random order; ``predicted_absolute``, the same with absolute eigenvalues
    (Zhang et al. 2024); ``removed`` and ``along`` (n, 2, K, R): length of, and curvature along, what one pruning by
    ``fraction`` () takes away in either order; ``norm`` (n, K, R): length of the weights; ``batch_noise`` (n, K, R):
    standard deviation of the loss over batches, nats.
    """
    run, found, about = measures.networks(s), {}, s.preset.limits
    for level in about.levels:
        here = run[level]
        if level == 0:  # the same for every rewind step
            here = run.at(run.config.rewind_step[0])[0]
        seen = measures.spectrum(s, here.state, here.mask, about.probes, about.iterations)
        seen["batch_noise"] = measures.batch_noise(s, here.state)
        repeat = len(run.config.rewind_step) if level == 0 else 1
        append(found, **{name: grouped(torch.cat([value] * repeat, -1), run) for name, value in seen.items()})
    return {
        **stacked(found), "grid": GRID, "epsilon": measures.epsilons(s),
        "fraction": torch.tensor(run.config.fraction, dtype=torch.float64),
        "density": run.densities[list(about.levels)], **_where(about.levels, run),
    }  # fmt: skip


@experiment(*_LOOKED_AT)
def projected(s):
    """Training ``loss`` (nats) and test ``error`` of projections, (n, 2, F + 1, K, R), after pruning ``fraction``.

    ``fraction`` (F + 1,) begins with 0, the solution; the orders are by magnitude and random, at ``level`` (n,).
    """
    run, found = measures.networks(s), {}
    for level in s.preset.limits.levels:
        losses, errors = measures.projections(s, run[level].state, run[level].mask)
        append(found, loss=grouped(losses, run), error=grouped(errors, run))
    return {**stacked(found), "fraction": measures.from_none(FRACTIONS), **_where(s.preset.limits.levels, run)}


@experiment(*_LOOKED_AT, "limits.descent_step", "limits.descent", "tickets.points")
def descents(s):
    """A training inside the axial subspace, from the projection: does the subspace meet the well?

    With the steps and the rate of ``descent``, in the same order of the data, or, where a preset has none, from step
    ``descent_step`` of the schedule to its end: training ``loss`` (nats) and ``barrier`` back to the solution, (n, 2,
    F, K, R), at ``level`` (n,), in magnitude and random order, after pruning ``fraction`` (F,), NaN where that was not
    tried in this order; ``solution`` (n, K, R) is the solution's own loss. With a ``descent`` besides ``control_loss``
    and ``control_barrier`` (n, K, R): the same training of the network without pruning.
    """
    about = s.preset.limits.descent
    run, found = measures.networks(s, about and about.rewind_steps), {}
    fractions = (about.by_magnitude, about.at_random) if about else (DESCENTS, DESCENTS)
    union = measures.union(*fractions)
    for level in s.preset.limits.levels:
        here, steps = run[level], about and about.steps
        loss, ends = measures.descend(s, f"descent_{level}", here, run.seeds, fractions, steps, control=bool(about))
        back = s.barrier(concatenate([here.state] * len(loss)), ends).height.view(loss.shape)
        loss, back = grouped(loss, run), grouped(back, run)
        if about:
            append(found, control_loss=loss[0], control_barrier=back[0])
        pruned = {"loss": loss[bool(about) :], "barrier": back[bool(about) :]}
        append(found, **{name: measures.in_orders(values, fractions, union) for name, values in pruned.items()})
        append(found, solution=grouped(training.evaluate(s.net(), here.state, *s.ds.training_set())[0], run))
    where = _where(s.preset.limits.levels, run)
    return {**stacked(found), "fraction": torch.tensor(union, dtype=torch.float64), **where}


@experiment("main", "limits.descent", "limits.convergence", only_with="limits.convergence")
def convergence(s):
    """How long a descent has to be: those of some levels at the rate of ``descent``, by their ``steps`` (T,).

    At ``level`` (n,) of the rewind step whose descents are made: training ``loss`` (nats) at the end (n, T, 2, F, R),
    in magnitude and random order, after pruning ``fraction`` (F,), NaN where that was not tried; ``control`` (n, T, R):
    without pruning; ``solution`` (n, R): untrained.
    """
    about, found = s.preset.limits.convergence, {}
    union = measures.union(*about.by_magnitude, *about.at_random)
    step = (s.preset.limits.descent.rewind_steps or s.preset.main.config.rewind_step)[0]
    run = s.run().first(about.replicates).at(step)
    for level, *fractions in zip(about.levels, about.by_magnitude, about.at_random, strict=True):
        here, by_steps = run[level], {}
        for steps in about.steps:
            name = f"convergence_{level}_{steps}"
            loss, _ = measures.descend(s, name, here, run.seeds, fractions, steps, control=True)
            append(by_steps, control=loss[0], loss=measures.in_orders(loss[1:], fractions, union))
        solution = training.evaluate(s.net(), here.state, *s.ds.training_set())[0]
        append(found, solution=solution, **stacked(by_steps))
    return {
        **stacked(found), "fraction": torch.tensor(union, dtype=torch.float64),
        "level": torch.tensor(about.levels), "steps": torch.tensor(about.steps),
    }  # fmt: skip


@experiment(*_LOOKED_AT, "tickets.control_step", "limits.exact_levels", "limits.exact_replicates",
            "limits.exact_examples", "limits.epsilons")  # fmt: skip
def exact(s):
    """The exact Hessian at rewind step ``control_step``: a check of ``spectra``, and what the quadratic model says.

    At ``level`` (n,): ``above`` (n, R, G) on ``grid`` (G,), ``predicted`` and ``predicted_absolute`` (n, R, E, 2) as
    there, ``largest`` (n, R); ``lowest`` (n, R, 2, F): least rise of the loss (nats) in the axial subspace under the
    quadratic model, after pruning ``fraction``; ``model`` (n, R, E, 2): largest fraction at which that is within
    epsilon; ``through_zero`` (n, R, E): share at which random subspaces through w = 0 no longer meet the well.
    """
    count = s.preset.limits.exact_replicates or s.preset.limits.replicates
    run, sizes, found = s.run().first(count).at(s.preset.tickets.control_step), measures.epsilons(s), {}
    x, y = (each[: s.preset.limits.exact_examples] for each in s.ds.training_set())
    for level in s.preset.limits.exact_levels:
        for r in range(len(run.seeds)):
            state, mask = select(run[level].state, [r]), select(run[level].mask, [r])
            matrix = curvature.hessian(s.net(), state, x, y, mask)[0]
            weights, values = curvature.weights(state, mask)[0].cpu(), torch.linalg.eigvalsh(matrix.double()).cpu()
            curves = [wells.subspace_losses(matrix, weights, order, OTHER + r) for order in limits.ORDERS]
            curves = torch.stack(curves)
            counts = (torch.tensor(FRACTIONS) * len(weights)).ceil().long() - 1
            append(
                found, above=measures.above(values, torch.full_like(values, 1 / len(values))), largest=values[-1],
                predicted=measures.predictions(values, weights, sizes), lowest=curves[:, counts],
                predicted_absolute=measures.predictions(values.abs(), weights, sizes),
                model=(curves <= sizes[:, None, None]).double().mean(-1),
                through_zero=torch.tensor([
                    wells.meeting_fraction(values, float(weights.norm()), float(e)) for e in sizes
                ], dtype=torch.float64),
            )  # fmt: skip
    shaped = {name: values.unflatten(0, (-1, len(run.seeds))) for name, values in stacked(found).items()}
    return {
        **shaped, "grid": GRID, "epsilon": sizes, "fraction": torch.tensor(FRACTIONS, dtype=torch.float64),
        "level": torch.tensor(s.preset.limits.exact_levels),
    }  # fmt: skip


@experiment("main", "limits.replicates", "tickets.control_step", "limits.overlap", only_with="limits.overlap")
def overlap(s):
    """Where the top eigenvectors of the Hessian lie: on weights that the next pruning keeps, or on those that it takes?

    At rewind step ``control_step`` and ``level`` (n,), after pruning ``fraction`` (F,) of the network's weights:
    ``kept`` (n, 2, F, k, R), in magnitude and random order, is the share of the squared length of each of the k top
    eigenvectors that lies on the weights that stay; by chance it is ``1 - fraction``. ``eigenvalue`` (n, k, R).
    """
    about, found = s.preset.limits.overlap, {}
    run = s.run().first(s.preset.limits.replicates).at(s.preset.tickets.control_step)
    fractions = (run.config.fraction, 0.5, 0.8, 0.95)
    for level in about.levels:
        state, mask = run[level].state, run[level].mask
        values, vectors = measures.top(s.net(), state, *s.ds.training_set(), mask, about.count, about.iterations)
        ones = {name: torch.ones_like(tensor) for name, tensor in state.items()}
        stay = torch.stack([
            curvature.weights(pruning.apply(ones, wells.prune(state, mask, f, order, OTHER)), mask)
            for order in limits.ORDERS for f in fractions
        ])  # fmt: skip
        shares = torch.einsum("crd,rkd->ckr", stay.double(), vectors.double().square()).cpu()
        append(found, kept=shares.unflatten(0, (2, -1)), eigenvalue=values.T)
    return {
        **stacked(found), "fraction": torch.tensor(fractions, dtype=torch.float64),
        "level": torch.tensor(about.levels), "density": run.densities[list(about.levels)],
    }  # fmt: skip


@experiment("main", "limits.replicates", "limits.steps", "limits.probes", "limits.iterations", "limits.epsilons",
            "limits.during")  # fmt: skip
def during_training(s):
    """The limit in the course of dense training, at ``step`` (T,): where no minimum is reached yet, read with care.

    ``predicted`` and ``predicted_absolute`` (T, E, 2, R), ``largest`` (T, R), ``removed`` (T, 2, R) as in ``spectra``;
    ``loss`` (T, 2, F + 1, R) as in ``projected``.
    """
    config, about, found = s.preset.main.config, s.preset.limits, {}
    set_ = about.during or about
    seeds = [config.seed + r for r in range(set_.replicates)]
    start = s.net().init(set_.replicates, config.seed)
    for point in training.trajectory(
        s.net(), start, s.ds, config.recipe, None, 0, max(about.steps), seeds, about.steps
    ):  # fmt: skip
        mask = pruning.full(s.net(), point.state)
        seen = measures.spectrum(s, point.state, mask, set_.probes, set_.iterations)
        losses, _ = measures.projections(s, point.state, mask)
        names = "predicted", "predicted_absolute", "largest", "removed"
        append(found, loss=losses, **{name: seen[name] for name in names})
    return {
        **stacked(found), "step": torch.tensor(about.steps),
        "epsilon": measures.epsilons(s), "fraction": measures.from_none(FRACTIONS),
    }  # fmt: skip


@experiment("main", "tickets.control_step", "limits.adaptive_rises", "limits.adaptive_levels",
            "limits.adaptive_replicates")  # fmt: skip
def adaptive(s):
    """IMP that prunes at each level as much as the training loss allows: a run for each ``rise`` (A,) in nats.

    At rewind step ``control_step``: ``error`` (A, levels + 1, R) and ``density`` (A, levels + 1).
    """
    about = s.preset.limits
    fewer = {"levels": about.adaptive_levels, "replicates": about.adaptive_replicates}
    fewer = {name: value for name, value in fewer.items() if value is not None}
    k = s.preset.tickets.control_step
    runs = [s.run(rewind_step=k, fraction=Adaptive(rise), **fewer) for rise in about.adaptive_rises]
    return {
        "error": torch.stack([run.errors[:, 0] for run in runs]), "density": torch.stack([r.densities for r in runs]),
        "rise": torch.tensor(about.adaptive_rises, dtype=torch.float64),
    }  # fmt: skip


def _where(levels, run):
    """The axes that the networks of a run have, for some of its levels."""
    return {"level": torch.tensor(levels), "rewind_step": torch.tensor(run.config.rewind_step)}
