"""Experiments of chapter 2: what lies between the levels."""

from itertools import pairwise

import torch

from lotterylib import landscape, pruning
from lotterylib.states import concatenate, select

from ..experiment import axes, experiment, grouped, random_mask


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
    run, ds = s.run(), s.ds
    states = [level.state for level in run.levels]
    heights = landscape.all_pairs(s.net(), states, ds.test_x, ds.test_y, s.preset.barriers.pair_points)
    return {"height": grouped(heights, run), **axes(run)}


@experiment("main", "tickets.points")
def projections(s):
    """Each level's projection: its test ``error``, and the ``height`` from it to the next solution (levels, K, R)."""
    run, error, height = s.run(), [], []
    for before, after in pairwise(run.levels):
        projection = pruning.apply(before.state, after.mask)
        error.append(s.error(projection))
        height.append(s.barrier(projection, after.state).height)
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


def _recalibrated(s, before, after):
    def error(state):
        return s.error(landscape.recalibrate(s.net(), state, s.ds))

    return landscape.barrier(error, before.state, after.state, s.preset.barriers.pair_points).height
