"""Networks beside the main one: IMP as far as it goes, barriers between successive levels, and instability."""

from functools import partial
from itertools import pairwise

import torch

from lotterylib import imp, landscape, networks, training

from ..tickets import experiments as tickets


def as_far_as_it_goes(net, ds, config, folder):
    """The IMP run of a network, or what there is of it: to the level before one in which a layer would be emptied.

    Where a replicate diverges the run ends with that level, and its error is NaN there.
    """
    try:
        return imp.run(net, ds, config, folder)
    except (ValueError, training.Diverged) as stopped:
        if not hasattr(stopped, "run"):
            raise
        return stopped.run


def successive(arm, ds, folder, points):
    """Run IMP on the network of an ``Arm``; return what the levels are, and how they are connected.

    ``error`` (levels + 1, K, R), ``barrier`` (levels, K, R) on ``points`` places of a line, ``density`` (levels + 1,),
    ``rewind_step`` (K,), and ``weights`` (), the number of those that may be pruned. Levels that were not reached
    are NaN.
    """
    net = networks.build(arm.network, ds, **arm.options)
    run = as_far_as_it_goes(net, ds, arm.config, folder)
    error = partial(landscape.error, net, x=ds.test_x, y=ds.test_y)
    barriers = [
        landscape.barrier(error, a.state, b.state, points, ends=(a.error, b.error)).height
        for a, b in pairwise(run.levels)
    ]
    steps, levels = torch.tensor(arm.config.rewind_step), arm.config.levels
    groups = len(steps), arm.config.replicates
    return {
        "error": padded(run.errors, (levels + 1, *groups)),
        "barrier": padded(torch.stack(barriers).unflatten(1, groups), (levels, *groups)),
        "density": padded(run.densities, (levels + 1,)),
        "rewind_step": steps,
        "weights": torch.tensor(sum(keep[0].numel() for keep in run[0].mask.values())),
    }


def unstable(arm, ds, folder, points):
    """Instability of the dense network of an ``Arm``: ``height`` (K, R) on ``points`` places, ``rewind_step`` (K,)."""
    net, config = networks.build(arm.network, ds, **arm.options), arm.config

    def train(shift, state, mask, starts, seeds):
        return training.train(net, state, ds, config.recipe, mask, starts, None, seeds, folder / str(shift))

    found = tickets.unstable(net, ds, config, config.rewind_step, points, train)
    return {name: found[name] for name in ("height", "rewind_step")}


def padded(values, shape):
    """``values`` in a tensor of a larger shape, at the beginning of every axis; NaN elsewhere."""
    whole = values.new_full(shape, torch.nan)
    whole[tuple(slice(n) for n in values.shape)] = values
    return whole


def side_by_side(networks):
    """The results of several networks, dicts of the same names, on a first axis, padded to the largest of them.

    Whole numbers, which have no NaN, are padded with −1.
    """
    return {name: _side_by_side([found[name] for found in networks]) for name in networks[0]}


def _side_by_side(tensors):
    shape = tuple(map(max, zip(*(tensor.shape for tensor in tensors), strict=True)))
    if tensors[0].is_floating_point():
        return torch.stack([padded(tensor, shape) for tensor in tensors])
    return torch.stack([padded(tensor.double(), shape).nan_to_num(-1).long() for tensor in tensors])
