"""The book's experiments: each is one function that composes the public interface and returns arrays.

Called as ``experiments.winning_tickets("book")`` an experiment gives its record, or runs and records itself. From a
shell, ``python -m lotterylib.experiments --preset book`` makes all records of a preset again.
"""

import argparse
import functools
import shutil
from dataclasses import replace
from itertools import pairwise

import torch

from . import checks, data, imp, landscape, networks, pruning, records, training
from .networks import concatenate, select
from .presets import PRESETS

OTHER = 1000  # added to a seed for a second, independent draw


class Setup:
    """What the experiments of one preset share: dataset, networks, and the IMP runs, each made when first asked for."""

    def __init__(self, name, device, recompute):
        self.name, self.preset = name, PRESETS[name]
        self.device, self.recompute = device, recompute

    @functools.cached_property
    def ds(self):
        return data.load(self.preset.dataset, self.device)

    @functools.cache  # noqa: B019 (there are as many setups as presets)
    def net(self, arm="main"):
        chosen = getattr(self.preset, arm)
        return networks.build(chosen.network, self.ds, **chosen.options)

    @functools.cache  # noqa: B019
    def run(self, arm="main", **changes) -> imp.Run:
        """The IMP run of an arm; ``changes`` replace fields of its configuration."""
        folder = "_".join(["imp", arm, *map(str, changes.values())])
        folder = records.checkpoint_folder(self.name, folder, self.recompute)
        config = replace(getattr(self.preset, arm).config, **changes)
        return imp.run(self.net(arm), self.ds, config, checkpoint=folder)

    def train(self, name, state, mask=None, start=0, order_seed=1, arm="main"):
        """Train with an arm's recipe, resumably under this name."""
        checkpoint = records.work_folder() / self.name / "training" / f"{name}.safetensors"
        recipe = getattr(self.preset, arm).config.recipe
        return training.train(self.net(arm), state, self.ds, recipe, mask, start, None, order_seed, checkpoint)

    def error(self, state):
        return landscape.error(self.net(), state, self.ds.test_x, self.ds.test_y)

    def barrier(self, a, b, arm="main"):
        return landscape.error_barrier(self.net(arm), a, b, self.ds.test_x, self.ds.test_y, self.preset.points)


def setup(preset, device="auto", recompute=False) -> Setup:
    """Return the shared dataset, networks and runs of a preset. Raises ``ValueError`` for an unknown one."""
    return _setup(checks.choice("preset", preset, PRESETS), data.find_device(device), recompute)


_setup = functools.cache(Setup)


EXPERIMENTS = {}


def experiment(*needs):
    """Make ``function(setup) -> dict`` into ``(preset, recompute=False, device="auto") -> Record``, kept on disk.

    ``needs`` names the fields of the preset that determine the result, besides the dataset. ``recompute=True`` passes
    over the published records and runs; what it computes is kept in ``runs/``.
    """

    def decorate(function):
        @functools.wraps(function)
        def recorded(preset, recompute=False, device="auto"):
            return _record(function.__name__, setup(preset, device, recompute), recompute)

        EXPERIMENTS[function.__name__] = function, ("dataset", *needs)
        return recorded

    return decorate


def _record(name, shared, recompute):
    function, needs = EXPERIMENTS[name]
    settings = {field: getattr(shared.preset, field) for field in needs}
    return records.load_or_compute(
        name, shared.name, settings, lambda: function(shared), recompute, lambda: shared.ds.fingerprint
    )


@experiment("main")
def winning_tickets(s):
    """Test ``error`` (levels + 1, K, R) of every level, with ``density`` (levels + 1,) and ``rewind_step`` (K,)."""
    return {"error": s.run().errors, **_axes(s.run())}


@experiment("main", "control_step", "control_levels")
def controls(s):
    """Test error of what is not a winning ticket, at rewind step ``control_step``: by name (n, R), at ``level`` (n,).

    ``random_mask``: as many weights, at random places. ``shuffled_mask``: the IMP mask, permuted within each layer.
    ``reinitialized``: the IMP mask on a fresh initialization, trained from step 0. ``one_shot``: all pruned at once.
    ``learning_rate_rewinding``: the weights kept, the schedule rewound. ``density`` (n,) is that of all of them,
    ``rewind_step`` () too.
    """
    run, levels = s.run().at(s.preset.control_step), list(s.preset.control_levels)
    k, seeds = s.preset.control_step, run.seeds * len(levels)
    masks = concatenate([run[level].mask for level in levels])
    rewound = concatenate([run.rewind] * len(levels))
    fresh = concatenate([s.net().init(len(run.seeds), run.config.seed + OTHER)] * len(levels))
    starts = {
        "random_mask": (rewound, concatenate([_random_mask(run, level) for level in levels]), k),
        "shuffled_mask": (rewound, pruning.shuffle(masks, OTHER), k),
        "reinitialized": (fresh, masks, 0),
    }
    error = {name: s.error(s.train(name, *start, seeds)).view(len(levels), -1) for name, start in starts.items()}
    error["one_shot"] = s.run(rewind_step=k, pruning="one_shot").errors[levels, 0]
    error["learning_rate_rewinding"] = s.run(rewind_step=k, rewinding="learning_rate").errors[levels, 0]
    axes = {"level": torch.tensor(levels), "density": run.densities[levels], "rewind_step": torch.tensor(k)}
    return {**error, **axes}


@experiment("main", "instability_steps", "points")
def instability(s):
    """Barrier between two dense trainings from the same ``w_k``: ``height`` (n, R), ``curve`` (points, n, R)."""
    return _instability(s, "main", s.preset.instability_steps)


@experiment("plain", "points")
def contrast(s):
    """The contrasting network: error, density, successive barriers (levels, K, R) and instability (K, R)."""
    run = s.run("plain")
    heights = [s.barrier(a.state, b.state, "plain").height for a, b in pairwise(run.levels)]
    unstable = _instability(s, "plain", run.config.rewind_step)["height"]
    return {"error": run.errors, "barrier": _grouped(torch.stack(heights), run), "instability": unstable, **_axes(run)}


@experiment("main", "points", "pair_points")
def successive_barriers(s):
    """Barrier between levels L and L + 1: ``height`` (levels, K, R), ``curve`` (levels, points, K, R), gamma = 1 at L.

    ``recalibrated`` (levels, K, R): the same with BatchNorm statistics measured anew along the line.
    """
    run = s.run()
    barriers = [s.barrier(a.state, b.state) for a, b in pairwise(run.levels)]
    return {
        "height": _grouped(torch.stack([b.height for b in barriers]), run),
        "curve": _grouped(torch.stack([b.curve for b in barriers]), run),
        "recalibrated": _grouped(torch.stack([_recalibrated(s, a, b) for a, b in pairwise(run.levels)]), run),
        **_axes(run),
    }


@experiment("main", "pair_points")
def all_pairs(s):
    """Barrier between any two levels: ``height`` (levels + 1, levels + 1, K, R)."""
    run, ds = s.run(), s.ds
    states = [level.state for level in run.levels]
    heights = landscape.all_pairs(s.net(), states, ds.test_x, ds.test_y, s.preset.pair_points)
    return {"height": _grouped(heights, run), **_axes(run)}


@experiment("main", "points")
def projections(s):
    """Each level's projection: its test ``error``, and the ``height`` from it to the next solution (levels, K, R)."""
    run, error, height = s.run(), [], []
    for before, after in pairwise(run.levels):
        projection = pruning.apply(before.state, after.mask)
        error.append(s.error(projection))
        height.append(s.barrier(projection, after.state).height)
    return {"error": _grouped(torch.stack(error), run), "height": _grouped(torch.stack(height), run), **_axes(run)}


@experiment("main", "control_step", "control_levels", "points")
def failing_masks(s):
    """Level L + 1 trained from ``w_k`` inside other axial subspaces, and its barrier back to ``w^(L)``.

    ``own``: the mask that IMP found from ``w_k``; ``failing``: that of the first rewind step, which IMP found from
    another point; ``random``: as many weights at random places. Each (n, R), with its error in ``own_error`` and so on,
    at ``level`` (n,), which is L + 1.
    """
    run, levels = s.run().at(s.preset.control_step), list(s.preset.control_levels)
    other = s.run().at(s.run().config.rewind_step[0])
    before = concatenate([run[level - 1].state for level in levels])
    rewound = concatenate([run.rewind] * len(levels))
    masks = {
        "own": concatenate([run[level].mask for level in levels]),
        "failing": concatenate([other[level].mask for level in levels]),
        "random": concatenate([_random_mask(run, level) for level in levels]),
    }
    result = {"level": torch.tensor(levels), "density": run.densities[levels]}
    for name, mask in masks.items():
        if name == "own":
            solution = concatenate([run[level].state for level in levels])
        else:  # the random masks are those of the controls, and so is their training
            name_of_training = "random_mask" if name == "random" else "failing_mask"
            seeds = run.seeds * len(levels)
            solution = s.train(name_of_training, rewound, mask, s.preset.control_step, seeds)
        result[name] = s.barrier(before, solution).height.view(len(levels), -1)
        result[f"{name}_error"] = s.error(solution).view(len(levels), -1)
    return result


@experiment("main", "plane_steps", "plane_level")
def plane(s):
    """Test error on the plane through ``w^(L)``, its projection and ``w^(L+1)``, first replicate of each rewind step.

    ``error`` (steps, steps, K), ``horizontal`` and ``vertical`` (steps, K), ``corners`` (3, 2, K).
    """
    run, level = s.run(), s.preset.plane_level
    first = [run.rewind_steps.index(k) for k in run.config.rewind_step]
    before, after = run[level], run[level + 1]
    states = before.state, pruning.apply(before.state, after.mask), after.state
    drawn = landscape.plane(s.net(), *(select(state, first) for state in states), s.ds, s.preset.plane_steps)
    return {**drawn._asdict(), "level": torch.tensor(level), **_axes(run)}


def _axes(run):
    return {"density": run.densities, "rewind_step": torch.tensor(run.config.rewind_step)}


def _grouped(values, run):
    """Split the replicate axis, the last one, into rewind step and replicate, (K, R / K)."""
    return values.unflatten(-1, (len(run.config.rewind_step), -1))


def _random_mask(run, level):
    """A mask with as many weights as the IMP mask of a level, at random places."""
    mask = run[0].mask
    for step in range(level):
        mask = pruning.random(run[0].state, mask, run.config.fraction, seed=OTHER * (step + 1))
    return mask


def _recalibrated(s, before, after):
    def error(state):
        return s.error(landscape.recalibrate(s.net(), state, s.ds))

    return landscape.barrier(error, before.state, after.state, s.preset.pair_points).height


def _instability(s, arm, steps):
    net, config = s.net(arm), getattr(s.preset, arm).config
    seeds = [config.seed + r for r in range(config.replicates)]
    start = net.init(config.replicates, config.seed)
    dense = training.trajectory(net, start, s.ds, config.recipe, stop=max(steps), order_seed=seeds, at=steps)
    points = {point.step: point.state for point in dense}
    rewound = concatenate([points[step] for step in steps])
    starts, orders = [step for step in steps for _ in seeds], seeds * len(steps)
    children = [
        s.train(f"instability_{arm}_{shift}", rewound, None, starts, [seed + shift for seed in orders], arm)
        for shift in (0, OTHER)
    ]
    height, curve, _ = s.barrier(*children, arm)
    shape = (len(steps), config.replicates)
    return {"height": height.view(shape), "curve": curve.unflatten(1, shape), "rewind_step": torch.tensor(steps)}


def main(arguments=None):
    """Make records again: all of a preset from nothing, or those named on the runs that are published."""
    parser = argparse.ArgumentParser(prog="python -m lotterylib.experiments", description=main.__doc__)
    parser.add_argument("names", nargs="*", help=f"experiments (default: all): {', '.join(EXPERIMENTS)}")
    parser.add_argument("--preset", required=True, help=", ".join(PRESETS))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        names = [checks.choice("experiment", name, EXPERIMENTS) for name in options.names] or list(EXPERIMENTS)
        shared = setup(options.preset, options.device, recompute=not options.names)
    except ValueError as error:
        parser.error(str(error))
    for name in names:
        record = _record(name, shared, recompute=True)
        print(f"{name}: {record.about['seconds']} s on {record.about['device']}, {record.about['date']}", flush=True)
    records.publish(options.preset, ["imp_main"] if shared.preset.weights and not options.names else [])
    if not options.names:
        shutil.rmtree(records.work_folder() / options.preset)


if __name__ == "__main__":
    main()
