"""Experiments of chapter 3: initializations that are perturbed, and where training takes them."""

from dataclasses import replace

import torch

from lotterylib import imp, landscape, perturbation, pruning, training
from lotterylib.states import concatenate, length, select

from ..experiment import OTHER, append, axes, experiment, grouped, stacked
from . import displacements

_FIELDS = ("main", "robustness.levels", "robustness.scales", "robustness.replicates", "tickets.points")


@experiment("main", "robustness.levels", only_with="robustness.unit_levels")
def blows(s):
    """How strong the blow is that training gets over: test errors of initializations, without any training.

    ``masked`` (levels + 1, K, R): error of ``m^(L) * w_k``, at level 0 of the rewind point itself; ``perturbed`` (n, K,
    R): after a random perturbation of length 1 inside the axial subspace, at ``level`` (n,). Each once more, as
    ``masked_recalibrated`` and so on, with BatchNorm statistics measured anew, which training uses from its first step
    on. ``distance`` (levels, K, R): successive-rewind distance from level L to L + 1; ``norm`` (levels + 1, K, R):
    length of the initialization's weights.
    """
    run, levels, found, moved = s.run(), s.preset.robustness.levels, {}, {}
    starts = [pruning.apply(run.rewind, level.mask) for level in run.levels]
    units = [_unit(run, level) for level in range(run.config.levels)]
    for start, level in zip(starts, run.levels, strict=True):
        append(found, **_errors(s, "masked", start), norm=length({name: start[name] for name in level.mask}))
    for level in levels:
        direction = perturbation.random_direction(starts[level], run[level].mask, units[level], seed=OTHER)
        append(moved, **_errors(s, "perturbed", perturbation.perturb(starts[level], direction, 1)))
    shaped = {name: grouped(values, run) for name, values in stacked({**found, **moved, "distance": units}).items()}
    return {**shaped, "level": torch.tensor(levels), **axes(run)}


@experiment(*_FIELDS, "robustness.rewind_steps", "robustness.few_scales", "robustness.unit_levels")
def robustness(s):
    """Level L initializations perturbed and trained again with the same data order: barriers back to ``w^(L)``.

    ``random``: a random direction inside the axial subspace, ``pruning``: the direction of IMP's next pruning, (n, S,
    K, R) at ``level`` (n,), ``scale`` (S,), of the other ``pruning_scale``, and ``rewind_step`` (K,), with the test
    error in ``random_error`` and so on. ``order`` (n, K, R): not perturbed, but trained with another data order.
    ``distance`` (n, K, R): the successive-rewind distance, one unit of scale; ``norm`` (n, K, R): length of the
    initialization's weights. ``unit`` (m, K, R), ``unit_error``: a random direction of length 1 at further levels,
    ``unit_level`` (m,), if the preset has some.
    """
    chosen, run, found, unit = s.preset.robustness, _chosen(s), {}, {}
    scales = {"random": chosen.scales, "pruning": _few_scales(s)}
    for level in chosen.levels:
        before, after = run[level], run[level + 1]
        start = pruning.apply(run.rewind, before.mask)
        distance = _unit(run, level)
        directions = {
            "random": perturbation.random_direction(start, before.mask, distance, seed=OTHER),
            "pruning": perturbation.pruning_direction(run.rewind, before.mask, after.mask),
        }
        append(found, distance=distance, norm=length({name: start[name] for name in before.mask}))
        for name, direction in directions.items():
            back, error = _trained(s, run, level, direction, scales[name], f"perturbed_{name}_{level}")
            append(found, **{name: back, f"{name}_error": error})
        seeds = [seed + OTHER for seed in run.seeds]
        ends = s.train(f"other_order_{level}", run.rewind, before.mask, run.rewind_steps, seeds)
        append(found, order=s.barrier(before.state, ends).height, order_error=s.error(ends))
    for level in chosen.unit_levels or ():
        direction = perturbation.random_direction(run.rewind, run[level].mask, _unit(run, level), seed=OTHER)
        back, error = _trained(s, run, level, direction, (1.0,), f"perturbed_unit_{level}")
        append(unit, unit=back[0], unit_error=error[0])
    shaped = {name: grouped(value, run) for name, value in stacked({**found, **unit}).items()}
    further = {"unit_level": torch.tensor(chosen.unit_levels)} if unit else {}
    return {
        **shaped, **further, "level": torch.tensor(chosen.levels), "scale": _tensor(scales["random"]),
        "pruning_scale": _tensor(scales["pruning"]), "rewind_step": torch.tensor(run.config.rewind_step),
        "density": run.densities[list(chosen.levels)],
    }  # fmt: skip


@experiment(*_FIELDS, "tickets.control_step", "robustness.times", "robustness.few_scales")
def forgiveness(s):
    """A perturbation of the same length at later and later steps of one training: is it still forgiven?

    At rewind step ``control_step`` and ``level`` () in a random direction: ``barrier`` and ``error`` (T, S, R) at
    ``step`` (T,) and ``scale`` (S,), in units of the successive-rewind distance. Momentum starts at zero where the
    training is perturbed; scale 0 shows what that alone does.
    """
    run, level, start, direction = _perturbed(s)
    times, scales, k = s.preset.robustness.times, (0.0, *_few_scales(s)), s.preset.tickets.control_step
    mask, net, recipe = run[level].mask, s.net(), run.config.recipe
    points = training.trajectory(net, start, s.ds, recipe, mask, k, max(times), run.seeds, times)
    passing = [point.state for point in points]
    moved = concatenate([perturbation.perturb(state, direction, scale) for state in passing for scale in scales])
    count = len(times) * len(scales)
    starts = [step for step in times for _ in range(len(scales) * len(run.seeds))]
    ends = s.train("perturbed_later", moved, concatenate([mask] * count), starts, run.seeds * count)
    back = s.barrier(concatenate([run[level].state] * count), ends).height
    shape = (len(times), len(scales), len(run.seeds))
    return {
        "barrier": back.view(shape), "error": s.error(ends).view(shape), "step": torch.tensor(times),
        "scale": _tensor(scales), "level": torch.tensor(level),
    }  # fmt: skip


@experiment(*_FIELDS, "tickets.control_step", "robustness.few_scales")
def return_path(s):
    """Training from an initialization and from perturbed ones side by side, at rewind step ``control_step``.

    At ``step`` (T,): ``distance`` (T, S, R) of the perturbed from the unperturbed training, ``travelled`` (T, R) by the
    latter, ``cosine`` (T, S, R) between the displacements of the two, each from its own start; none at the first step,
    where it is 0. ``scale`` (S,) in a random direction, ``level`` ().
    """
    run, level, start, direction = _perturbed(s)
    begun = [perturbation.perturb(start, direction, scale) for scale in (0.0, *_few_scales(s))]
    found = {}
    points = _tracks(s, run, level, begun)
    for _, (calm, *moved) in points:
        pairs = zip(begun[1:], moved, strict=True)
        cosines = [displacements.overlap(s.net(), (begun[0], calm), pair) for pair in pairs]
        append(
            found, travelled=landscape.distance(s.net(), begun[0], calm), cosine=torch.stack(cosines).nan_to_num(),
            distance=torch.stack([landscape.distance(s.net(), calm, state) for state in moved]),
        )  # fmt: skip
    steps = torch.tensor([step for step, _ in points])
    return {**stacked(found), "step": steps, "scale": _tensor(_few_scales(s)), "level": torch.tensor(level)}


@experiment(*_FIELDS, "tickets.control_step", "barriers.plane_steps")
def return_plane(s):
    """Two trainings drawn in a plane: from an initialization, and from one perturbed along a random direction.

    For each ``scale`` (S,), 1, 4 and the largest, and replicate 0: test ``error`` (S, steps, steps) on the plane
    through the initialization, its solution ``w^(L)`` and the perturbed training's solution, with ``horizontal`` and
    ``vertical`` (S, steps); ``track`` (S, 2, T, 2): coordinates of the unperturbed and the perturbed training at
    ``step`` (T,).
    """
    run, level, start, direction = _perturbed(s)
    scales, drawn = sorted({1.0, 4.0, s.preset.robustness.scales[-1]}), []
    begun = [perturbation.perturb(start, direction, scale) for scale in (0.0, *scales)]
    points = [(step, [select(state, [0]) for state in states]) for step, states in _tracks(s, run, level, begun)]
    origin, (solution, *ends) = select(start, [0]), points[-1][1]
    for i, end in enumerate(ends):
        plane = landscape.plane(s.net(), origin, solution, end, s.ds, s.preset.barriers.plane_steps, margin=0.5)
        track = [
            torch.stack([displacements.coordinates(s.net(), origin, solution, end, states[j]) for _, states in points])
            for j in (0, i + 1)
        ]
        drawn.append({"error": plane.error[..., 0], "horizontal": plane.horizontal[:, 0],
                      "vertical": plane.vertical[:, 0], "track": torch.stack(track)[..., 0]})  # fmt: skip
    planes = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    steps = torch.tensor([step for step, _ in points])
    return {**planes, "step": steps, "scale": _tensor(scales), "level": torch.tensor(level)}


def _tensor(scales):
    return torch.tensor(scales, dtype=torch.float64)


def _few_scales(s):
    return s.preset.robustness.few_scales or s.preset.robustness.scales


def _chosen(s):
    """The run's replicates and rewind steps that are perturbed."""
    run, steps = s.run().first(s.preset.robustness.replicates), s.preset.robustness.rewind_steps
    if not steps:
        return run
    some = [r for r, k in enumerate(run.rewind_steps) if k in steps]
    levels = [imp.Level(select(a.state, some), select(a.mask, some), a.error[some], {}) for a in run.levels]
    return imp.Run(replace(run.config, rewind_step=steps), select(run.rewind, some), tuple(levels))


def _unit(run, level):
    """The successive-rewind distance from a level to the next, (R,)."""
    return length(perturbation.pruning_direction(run.rewind, run[level].mask, run[level + 1].mask))


def _trained(s, run, level, direction, scales, name):
    """Perturb a level's initialization by each scale, train: barriers back to its solution and errors, each (S, R)."""
    before, count = run[level], len(scales)
    start = pruning.apply(run.rewind, before.mask)
    moved = concatenate([perturbation.perturb(start, direction, scale) for scale in scales])
    ends = s.train(name, moved, concatenate([before.mask] * count), run.rewind_steps * count, run.seeds * count)
    back = s.barrier(concatenate([before.state] * count), ends).height
    return back.view(count, -1), s.error(ends).view(count, -1)


def _errors(s, name, state):
    """Test error of a state with the statistics it has, and with statistics measured anew."""
    return {name: s.error(state), f"{name}_recalibrated": s.error(landscape.recalibrate(s.net(), state, s.ds))}


def _perturbed(s):
    """The middle level at the control step: run, level, initialization, and a random direction one unit long."""
    run = s.run().first(s.preset.robustness.replicates).at(s.preset.tickets.control_step)
    level = s.preset.robustness.levels[1]
    mask = run[level].mask
    start = pruning.apply(run.rewind, mask)
    return run, level, start, perturbation.random_direction(start, mask, _unit(run, level), seed=OTHER)


def _tracks(s, run, level, begun):
    """Train all of ``begun`` to the end: a list of (step, states), more of them early than late."""
    k, recipe, count = s.preset.tickets.control_step, run.config.recipe, len(run.seeds)
    steps = sorted({k + round((recipe.steps - k) * (i / 12) ** 2) for i in range(13)})
    points = training.trajectory(
        s.net(), concatenate(begun), s.ds, recipe, concatenate([run[level].mask] * len(begun)), k, None,
        run.seeds * len(begun), steps,
    )  # fmt: skip
    return [
        (point.step, [select(point.state, slice(i * count, (i + 1) * count)) for i in range(len(begun))])
        for point in points
    ]
