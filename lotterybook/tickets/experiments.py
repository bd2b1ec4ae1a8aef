"""Experiments of chapter 1: tickets, controls, stability."""

from itertools import pairwise

import torch

from lotterylib import landscape, pruning, training
from lotterylib.states import concatenate

from ..experiment import OTHER, axes, experiment, grouped, random_mask


@experiment("main")
def winning_tickets(s):
    """Test ``error`` (levels + 1, K, R) of every level, with ``density`` (levels + 1,) and ``rewind_step`` (K,)."""
    return {"error": s.run().errors, **axes(s.run())}


@experiment("main", "tickets.control_step", "tickets.control_levels")
def controls(s):
    """Test error of what is not a winning ticket, at rewind step ``control_step``: by name (n, R), at ``level`` (n,).

    ``random_mask``: as many weights, at random places. ``shuffled_mask``: the IMP mask, permuted within each layer.
    ``reinitialized``: the IMP mask on a fresh initialization, trained from step 0. ``one_shot``: all pruned at once.
    ``learning_rate_rewinding``: the weights kept, the schedule rewound. ``density`` (n,) is that of all of them,
    ``rewind_step`` () too.
    """
    run, levels = s.run().at(s.preset.tickets.control_step), list(s.preset.tickets.control_levels)
    k, seeds = s.preset.tickets.control_step, run.seeds * len(levels)
    masks = concatenate([run[level].mask for level in levels])
    rewound = concatenate([run.rewind] * len(levels))
    fresh = concatenate([s.net().init(len(run.seeds), run.config.seed + OTHER)] * len(levels))
    starts = {
        "random_mask": (rewound, concatenate([random_mask(run, level) for level in levels]), k),
        "shuffled_mask": (rewound, pruning.shuffle(masks, OTHER), k),
        "reinitialized": (fresh, masks, 0),
        "one_shot": (rewound, concatenate(_one_shot(run, levels)), k),
    }
    error = {name: s.error(s.train(name, *start, seeds)).view(len(levels), -1) for name, start in starts.items()}
    error["learning_rate_rewinding"] = s.run(rewind_step=k, rewinding="learning_rate").errors[levels, 0]
    axes = {"level": torch.tensor(levels), "density": run.densities[levels], "rewind_step": torch.tensor(k)}
    return {**error, **axes}


@experiment("main", "tickets.control_step", "tickets.fresh_levels", only_with="tickets.fresh_levels")
def fresh_starts(s):
    """Test ``error`` (n, R) of a fresh initialization in IMP's masks: dense for k steps, then masked and trained on.

    As ``reinitialized`` among the controls, but with the steps before the rewind point, which IMP had without a mask.
    Other weights at the start, ``config.seed + OTHER + r``; the same data order. At ``level`` and ``density`` (n,);
    ``rewind_step`` (), k.
    """
    k, levels = s.preset.tickets.control_step, list(s.preset.tickets.fresh_levels)
    run = s.run().at(k)
    fresh = s.net().init(len(run.seeds), run.config.seed + OTHER)
    begun = training.train(s.net(), fresh, s.ds, run.config.recipe, stop=k, order_seed=run.seeds)
    masks = concatenate([run[level].mask for level in levels])
    solution = s.train("fresh_start", concatenate([begun] * len(levels)), masks, k, run.seeds * len(levels))
    axes = {"level": torch.tensor(levels), "density": run.densities[levels], "rewind_step": torch.tensor(k)}
    return {"error": s.error(solution).view(len(levels), -1), **axes}


@experiment("main", "tickets.instability_steps", "tickets.points")
def instability(s):
    """Barrier between two dense trainings from the same ``w_k``: ``height`` (n, R), ``curve`` (points, n, R).

    At ``rewind_step`` (n,), with different data orders from step k on: the instability of Frankle et al. (2020).
    """
    return _unstable(s, "main", s.preset.tickets.instability_steps)


@experiment("contrast", "tickets.points")
def contrast(s):
    """The contrasting network: error, density, successive barriers (levels, K, R) and instability (K, R)."""
    run = s.run("contrast")
    heights = [s.barrier(a.state, b.state, "contrast").height for a, b in pairwise(run.levels)]
    unstable = _unstable(s, "contrast", run.config.rewind_step)["height"]
    return {"error": run.errors, "barrier": grouped(torch.stack(heights), run), "instability": unstable, **axes(run)}


def _one_shot(run, levels):
    """The masks that rank the dense solution's weights, at some of the levels: those of ``pruning="one_shot"``."""
    masks = [run[0].mask]
    for _ in range(max(levels)):
        masks.append(pruning.magnitude(run[0].state, masks[-1], run.config.fraction))
    return [masks[level] for level in levels]


def _unstable(s, arm, steps):
    def train(shift, *what):
        return s.train(f"instability_{arm}_{shift}", *what, arm=arm)

    return unstable(s.net(arm), s.ds, getattr(s.preset, arm).config, steps, s.preset.tickets.points, train)


def unstable(net, ds, config, steps, points, train):
    """What ``instability`` records, of any dense network, on ``points`` places of a line.

    ``train(shift, state, mask, starts, seeds)`` trains on from the rewind points, which are ``state``, to the end.
    """
    seeds = [config.seed + r for r in range(config.replicates)]
    start = net.init(config.replicates, config.seed)
    dense = training.trajectory(net, start, ds, config.recipe, stop=max(steps), order_seed=seeds, at=steps)
    rewind = {point.step: point.state for point in dense}
    rewound = concatenate([rewind[step] for step in steps])
    starts, orders = [step for step in steps for _ in seeds], seeds * len(steps)
    ends = [train(shift, rewound, None, starts, [seed + shift for seed in orders]) for shift in (0, OTHER)]
    height, curve, _ = landscape.error_barrier(net, *ends, ds.test_x, ds.test_y, points)
    shape = (len(steps), config.replicates)
    return {"height": height.view(shape), "curve": curve.unflatten(1, shape), "rewind_step": torch.tensor(steps)}
