"""Experiments of chapter 3: initializations that are perturbed, and where training takes them."""

import torch

from lotterylib import landscape, perturbation, pruning, training
from lotterylib.states import concatenate, length, select

from ..experiment import OTHER, append, experiment, stacked
from . import displacements

_FIELDS = ("main", "robustness.levels", "robustness.scales", "robustness.replicates", "tickets.points")


@experiment(*_FIELDS)
def robustness(s):
    """Level L initializations perturbed and trained again with the same data order: barriers back to ``w^(L)``.

    ``random``: a random direction inside the axial subspace, ``pruning``: the direction of IMP's next pruning, each
    (n, S, K, R) at ``level`` (n,), ``scale`` (S,) and ``rewind_step`` (K,), with the test error in ``random_error`` and
    so on. ``order`` (n, K, R): not perturbed, but trained with another data order. ``distance`` (n, K, R): the
    successive-rewind distance, one unit of scale; ``norm`` (n, K, R): length of the initialization's weights.
    """
    levels, scales = s.preset.robustness.levels, s.preset.robustness.scales
    run, steps = s.run().first(s.preset.robustness.replicates), s.run().config.rewind_step
    found = {}
    for level in levels:
        before, after = run[level], run[level + 1]
        start = pruning.apply(run.rewind, before.mask)
        prune = perturbation.pruning_direction(run.rewind, before.mask, after.mask)
        distance = length(prune)
        directions = {
            "random": perturbation.random_direction(start, before.mask, distance, seed=OTHER),
            "pruning": prune,
        }
        append(found, distance=distance, norm=length({name: start[name] for name in before.mask}))
        for name, direction in directions.items():
            moved = concatenate([perturbation.perturb(start, direction, scale) for scale in scales])
            masks = concatenate([before.mask] * len(scales))
            starts, seeds = run.rewind_steps * len(scales), run.seeds * len(scales)
            ends = s.train(f"perturbed_{name}_{level}", moved, masks, starts, seeds)
            back = s.barrier(concatenate([before.state] * len(scales)), ends).height
            append(found, **{name: back.view(len(scales), -1), f"{name}_error": s.error(ends).view(len(scales), -1)})
        seeds = [seed + OTHER for seed in run.seeds]
        ends = s.train(f"other_order_{level}", run.rewind, before.mask, run.rewind_steps, seeds)
        append(found, order=s.barrier(before.state, ends).height, order_error=s.error(ends))
    shaped = {name: value.unflatten(-1, (len(steps), -1)) for name, value in stacked(found).items()}
    return {
        **shaped,
        "level": torch.tensor(levels), "scale": torch.tensor(scales, dtype=torch.float64),
        "rewind_step": torch.tensor(steps), "density": run.densities[list(levels)],
    }  # fmt: skip


@experiment(*_FIELDS, "tickets.control_step", "robustness.times")
def forgiveness(s):
    """A perturbation of the same length at later and later steps of one training: is it still forgiven?

    At rewind step ``control_step`` and ``level`` () in a random direction: ``barrier`` and ``error`` (T, S, R) at
    ``step`` (T,) and ``scale`` (S,), in units of the successive-rewind distance. Momentum starts at zero where the
    training is perturbed; scale 0 shows what that alone does.
    """
    run, level, start, direction = _perturbed(s)
    times, scales, k = s.preset.robustness.times, (0.0, *s.preset.robustness.scales), s.preset.tickets.control_step
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
        "scale": torch.tensor(scales, dtype=torch.float64), "level": torch.tensor(level),
    }  # fmt: skip


@experiment(*_FIELDS, "tickets.control_step")
def return_path(s):
    """Training from an initialization and from perturbed ones side by side, at rewind step ``control_step``.

    At ``step`` (T,): ``distance`` (T, S, R) of the perturbed from the unperturbed training, ``travelled`` (T, R) by the
    latter, ``cosine`` (T, S, R) between the displacements of the two, each from its own start; none at the first step,
    where it is 0. ``scale`` (S,) in a random direction, ``level`` ().
    """
    run, level, start, direction = _perturbed(s)
    begun = [perturbation.perturb(start, direction, scale) for scale in (0.0, *s.preset.robustness.scales)]
    found = {}
    points = _tracks(s, run, level, begun)
    for _, (calm, *moved) in points:
        pairs = zip(begun[1:], moved, strict=True)
        cosines = [displacements.overlap(s.net(), (begun[0], calm), pair) for pair in pairs]
        append(
            found, travelled=landscape.distance(s.net(), begun[0], calm), cosine=torch.stack(cosines).nan_to_num(),
            distance=torch.stack([landscape.distance(s.net(), calm, state) for state in moved]),
        )  # fmt: skip
    scales = torch.tensor(s.preset.robustness.scales, dtype=torch.float64)
    steps = torch.tensor([step for step, _ in points])
    return {**stacked(found), "step": steps, "scale": scales, "level": torch.tensor(level)}


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
    return {**planes, "step": steps, "scale": torch.tensor(scales, dtype=torch.float64), "level": torch.tensor(level)}


def _perturbed(s):
    """The middle level at the control step: run, level, initialization, and a random direction one unit long."""
    run = s.run().first(s.preset.robustness.replicates).at(s.preset.tickets.control_step)
    level = s.preset.robustness.levels[1]
    mask = run[level].mask
    start = pruning.apply(run.rewind, mask)
    unit = length(perturbation.pruning_direction(run.rewind, mask, run[level + 1].mask))
    return run, level, start, perturbation.random_direction(start, mask, unit, seed=OTHER)


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
