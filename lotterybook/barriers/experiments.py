"""Experiments of chapter 2: what lies between the levels."""

from functools import partial
from itertools import pairwise

import torch

from lotterylib import landscape, pruning
from lotterylib.states import concatenate, select

from .. import jobs
from ..experiment import axes, experiment, grouped, random_mask
from . import others, walks


@experiment("main", "tickets.points", "barriers.pair_points")
def successive_barriers(s):
    """Barrier between levels L and L + 1: ``height`` (levels, K, R), ``curve`` (levels, points, K, R), gamma = 1 at L.

    ``recalibrated`` (levels, K, R): the same with BatchNorm statistics measured anew along the line.
    """
    run = s.run()
    barriers = [s.barrier(a.state, b.state) for a, b in pairwise(run.levels)]
    return {
        "height": grouped(torch.stack([b.height for b in barriers]), run),
        "curve": grouped(torch.stack([b.curve for b in barriers]), run),
        "recalibrated": grouped(torch.stack([_recalibrated(s, a, b) for a, b in pairwise(run.levels)]), run),
        **axes(run),
    }


@experiment("main", "barriers.pair_points")
def all_pairs(s):
    """Barrier between any two levels: ``height`` (levels + 1, levels + 1, K, R)."""
    run = s.run()
    heights = landscape.all_pairs(s.error, [level.state for level in run.levels], s.preset.barriers.pair_points)
    return {"height": grouped(heights, run), **axes(run)}


@experiment(
    "main", "barriers.pair_points", "barriers.recalibrated_steps", "barriers.recalibrated_replicates",
    only_with="barriers.recalibrated_steps",
)  # fmt: skip
def recalibrated_pairs(s):
    """As ``all_pairs``, with BatchNorm statistics measured anew all along the line, for some of the networks.

    ``height`` (levels + 1, levels + 1, K, R), ``rewind_step`` (K,), ``density`` (levels + 1,). It is dear: each place
    on a line takes a pass over the training set, besides the test set.
    """
    run, asked, heights = s.run(), s.preset.barriers, []
    for step in asked.recalibrated_steps:
        states = [level.state for level in run.at(step).first(asked.recalibrated_replicates).levels]
        heights.append(landscape.all_pairs(partial(_recalibrated_error, s), states, asked.pair_points))
    return {
        "height": torch.stack(heights, 2), "density": run.densities,
        "rewind_step": torch.tensor(asked.recalibrated_steps),
    }  # fmt: skip


@experiment("main", "tickets.points", "barriers.projection_points")
def projections(s):
    """Each level's projection: its test ``error``, and the ``height`` from it to the next solution (levels, K, R)."""
    run, error, height = s.run(), [], []
    points = s.preset.barriers.projection_points or s.preset.tickets.points
    for before, after in pairwise(run.levels):
        projection = pruning.apply(before.state, after.mask)
        error.append(s.error(projection))
        ends = error[-1], after.error
        height.append(landscape.barrier(s.error, projection, after.state, points, ends=ends).height)
    return {"error": grouped(torch.stack(error), run), "height": grouped(torch.stack(height), run), **axes(run)}


@experiment("main", "tickets.control_step", "tickets.control_levels", "tickets.points")
def failing_masks(s):
    """Level L + 1 trained from ``w_k`` inside other axial subspaces, and its barrier back to ``w^(L)``.

    ``own``: the mask that IMP found from ``w_k``; ``failing``: that of the first rewind step, which IMP found from
    another point; ``random``: as many weights at random places. Each (n, R), with its error in ``own_error`` and so on,
    at ``level`` (n,), which is L + 1.
    """
    run, levels = s.run().at(s.preset.tickets.control_step), list(s.preset.tickets.control_levels)
    other = s.run().at(s.run().config.rewind_step[0])
    before = concatenate([run[level - 1].state for level in levels])
    rewound = concatenate([run.rewind] * len(levels))
    masks = {
        "own": concatenate([run[level].mask for level in levels]),
        "failing": concatenate([other[level].mask for level in levels]),
        "random": concatenate([random_mask(run, level) for level in levels]),
    }
    result = {"level": torch.tensor(levels), "density": run.densities[levels]}
    for name, mask in masks.items():
        if name == "own":
            solution = concatenate([run[level].state for level in levels])
        else:  # the random masks are those of the controls, and so is their training
            name_of_training = "random_mask" if name == "random" else "failing_mask"
            seeds = run.seeds * len(levels)
            solution = s.train(name_of_training, rewound, mask, s.preset.tickets.control_step, seeds)
        result[name] = s.barrier(before, solution).height.view(len(levels), -1)
        result[f"{name}_error"] = s.error(solution).view(len(levels), -1)
    return result


@experiment("main", "tickets.points", "barriers.walk", only_with="barriers.walk")
def found_masks(s):
    """Masks found without rewinding, and what is trained inside them from rewind points.

    The walk, with W levels after the dense one: test ``error`` and ``density`` (W + 1, R) and (W + 1,), the barrier of
    each of its solutions to the one before, ``step``, and to the dense one, ``away`` (W, R). The return, for M of its
    masks on Q rewind points, trained as IMP trains: ``return_error``; ``return_barrier`` to the walk's solution with
    that mask; ``overlap``, the share of the mask that IMP's own from there has too (M, Q, R). ``level`` (M,),
    ``rewind_step`` (Q,). The data order is each replicate's own throughout, and the same at every level.
    """
    run, plan = s.run(), s.preset.barriers.walk
    first = run.at(run.config.rewind_step[0])  # the dense network is one and the same for all rewind steps
    folder, levels = s.folder / "training", list(plan.return_levels)
    path = list(walks.walk(s.net(), s.ds, run.config, plan, first[0].state, first.seeds, folder))
    found = {
        "error": torch.stack([s.error(state) for state, _ in path]),
        "density": torch.tensor([pruning.density(mask) for _, mask in path], dtype=torch.float64),
        "step": torch.stack([s.barrier(a, b).height for (a, _), (b, _) in pairwise(path)]),
        "away": torch.stack([s.barrier(path[0][0], state).height for state, _ in path[1:]]),
    }
    starts = [(path[level], run.at(step), level, step) for level in levels for step in plan.return_steps]
    masks = concatenate([mask for (_, mask), *_ in starts])
    rewound = concatenate([own.rewind for _, own, *_ in starts])
    steps = [step for *_, step in starts for _ in first.seeds]
    solution = s.train("found_mask", rewound, masks, steps, first.seeds * len(starts))
    overlap = torch.cat([walks.shared(mask, own[level].mask) for (_, mask), own, level, _ in starts])
    back = s.barrier(concatenate([state for (state, _), *_ in starts]), solution).height
    shape = len(levels), len(plan.return_steps), -1
    found |= {"return_error": s.error(solution).view(shape), "return_barrier": back.view(shape)}
    found |= {"overlap": overlap.view(shape), "level": torch.tensor(levels)}
    return {**found, "rewind_step": torch.tensor(plan.return_steps)}


@experiment("barriers.networks", "barriers.pair_points", only_with="barriers.networks")
def architectures(s):
    """Successive levels of N networks beside the main one: where else are they connected if and only if they match?

    Test ``error`` (N, levels + 1, K, R), ``barrier`` to the level before (N, levels, K, R), ``density`` (N, levels +
    1), ``rewind_step`` (N, K), ``weights`` (N,) of the dense network. What a network lacks of levels or rewind steps
    that another has, or because its next mask would have emptied a layer, is NaN, and −1 in ``rewind_step``.
    """
    return _of_others(s, "imp", others.successive, s.preset.barriers.pair_points)


@experiment("barriers.networks", "tickets.points", only_with="barriers.networks")
def other_instabilities(s):
    """Instability of the dense networks of ``architectures``, as ``instability``: ``height`` (N, K, R).

    At ``rewind_step`` (N, K). Where a network has fewer rewind steps than another: NaN, and −1 in ``rewind_step``.
    """
    return _of_others(s, "instability", others.unstable, s.preset.tickets.points)


@experiment("main", "barriers.plane_steps", "barriers.plane_level")
def plane(s):
    """Test error on the plane through ``w^(L)``, its projection and ``w^(L+1)``, first replicate of each rewind step.

    ``error`` (steps, steps, K), ``horizontal`` and ``vertical`` (steps, K), ``corners`` (3, 2, K).
    """
    run, level = s.run(), s.preset.barriers.plane_level
    first = [run.rewind_steps.index(k) for k in run.config.rewind_step]
    before, after = run[level], run[level + 1]
    states = before.state, pruning.apply(before.state, after.mask), after.state
    drawn = landscape.plane(s.net(), *(select(state, first) for state in states), s.ds, s.preset.barriers.plane_steps)
    return {**drawn._asdict(), "level": torch.tensor(level), **axes(run)}


def _of_others(s, what, measure, points):
    """What ``measure(arm, ds, folder, points)`` finds of each network beside the main one, on a first axis."""
    calls = []
    for arm in s.preset.barriers.networks:
        name = "_".join([what, arm.network, *map(str, arm.options.values())])
        calls.append((name, measure, arm, s.ds, s.folder / name, points))
    return others.side_by_side(jobs.each(calls))


def _recalibrated(s, before, after):
    error, points = partial(_recalibrated_error, s), s.preset.barriers.pair_points
    return landscape.barrier(error, before.state, after.state, points).height


def _recalibrated_error(s, state):
    return s.error(landscape.recalibrate(s.net(), state, s.ds))
