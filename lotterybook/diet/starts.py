"""Trainings on some of the examples: scores, rewind points, IMP from there, IMP on them throughout."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch

from lotterylib import imp, landscape, pruning, scores, training
from lotterylib.states import concatenate, select


def scored(net, ds, recipe, steps, replicates, seed):
    """Yield the ``Scores`` of ``replicates`` initializations after each of ``steps`` of training, increasing.

    By BatchNorm statistics that are measured anew: the running ones lag behind weights that move this fast.
    """
    begin = net.init(replicates, seed)
    for point in training.trajectory(net, begin, ds, recipe, stop=max(steps), order_seed=seed, at=steps):
        yield scores.el2n(net, landscape.recalibrate(net, point.state, ds), ds)


def trained(net, portions, recipe, state, seeds, stop=None, folder=None):
    """The state after ``stop`` steps, or all, each group of replicates on its own examples: ``examples.portions``."""
    ends = []
    for ds, rows in portions:
        order = [seeds[r] for r in rows]
        ends.append(training.train(net, select(state, rows), ds, recipe, None, 0, stop, order, folder))
    return concatenate(ends)


def levels(net, ds, config, rewind, steps, seeds, folder):
    """Yield ``(state, mask)`` of every level of IMP on ``ds`` from the rewind points ``rewind``, level 0 first.

    As ``imp.run`` trains and prunes, but level 0, too, begins at the rewind point, and with momentum zero. ``steps``:
    one rewind step for each replicate. ``folder`` keeps the trainings.
    """
    mask = pruning.full(net, rewind)
    for level in range(config.levels + 1):
        state = training.train(net, rewind, ds, config.recipe, mask, steps, None, seeds, folder)
        yield state, mask
        if level < config.levels:
            mask = pruning.magnitude(state, mask, config.fraction)


def fed(net, portions, config, folder):
    """The levels of IMP, ``(state, mask)`` each, of replicates that all along see their own portion of the examples."""
    runs = []
    for ds, rows in portions:
        own = replace(config, replicates=len(rows), seed=config.seed + rows[0])
        runs.append(imp.run(net, ds, own, folder))
    each = zip(*(run.levels for run in runs), strict=True)
    return [(concatenate([one.state for one in level]), concatenate([one.mask for one in level])) for level in each]


def measured(net, ds, states, points):
    """Test ``error`` (n, R) of n states, and the ``barrier`` (n - 1, R) between neighbours, on ``points`` places."""
    error = partial(landscape.error, net, x=ds.test_x, y=ds.test_y)
    errors = torch.stack([error(state) for state in states])
    lines = zip(pairwise(states), pairwise(errors), strict=True)
    barriers = [landscape.barrier(error, *two, points, ends=ends).height for two, ends in lines]
    return {"error": errors, "barrier": torch.stack(barriers)}
