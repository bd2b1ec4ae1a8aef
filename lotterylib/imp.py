"""Iterative magnitude pruning (IMP): train, prune the smallest weights, rewind the rest, repeat.

Level 0 is the dense network. Level L + 1 prunes the level L solution, returns the surviving weights to the rewind
point ``w_k`` (the dense network after k steps) and trains again with the same data in the same order.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from . import checks, memory, progress, pruning, store, training
from .states import concatenate, select

REWINDING = ("weights", "learning_rate")  # what ``Config.rewinding`` may be
PRUNING = ("iterative", "one_shot")  # what ``Config.pruning`` may be


@dataclass(frozen=True)
class Adaptive:
    """Prune, at each level, the largest fraction whose projection raises the training loss by at most ``rise`` nats.

    The rise is the mean over all replicates of the run; fractions are whole multiples of ``step``, one at least. Raises
    ``ValueError`` for a value out of bounds.
    """

    rise: float
    step: float = 0.02

    def __post_init__(self):
        checks.within("rise", self.rise, 0, float("inf"), open_low=True, open_high=True)
        checks.within("step", self.step, 0, 0.5, open_low=True)


@dataclass(frozen=True)
class Config:
    """What determines an IMP run, besides network and dataset.

    ``rewind_step``: k, or a tuple of several that are run at once. ``levels``: number of prunings after level 0.
    ``fraction``: share of the remaining weights pruned at each level, a number or ``Adaptive``. ``replicates``:
    runs for each rewind step; replicate r is initialised, and its data ordered, by ``seed + r``.

    ``rewinding="learning_rate"`` keeps the weights and rewinds only the schedule (Renda et al. 2020).
    ``pruning="one_shot"`` ranks the weights of the dense solution at every level. Raises ``ValueError`` for a value out
    of bounds.
    """

    recipe: training.Recipe
    rewind_step: int | tuple = 0
    levels: int = 12
    fraction: float | Adaptive = 0.2
    replicates: int = 4
    seed: int = 0
    rewinding: str = "weights"
    pruning: str = "iterative"

    def __post_init__(self):
        steps = self.rewind_step if isinstance(self.rewind_step, tuple | list) else (self.rewind_step,)
        for step in steps:
            checks.whole("rewind_step", step, 0, self.recipe.steps - 1)
        if len(set(steps)) != len(steps) or not steps:
            raise ValueError(f"rewind_step is {self.rewind_step}; it must name at least one step, and each only once")
        object.__setattr__(self, "rewind_step", tuple(steps))
        checks.whole("levels", self.levels, 0)
        if not isinstance(self.fraction, Adaptive):
            checks.within("fraction", self.fraction, 0, 1, open_low=True, open_high=True)
        checks.whole("replicates", self.replicates, 1)
        checks.choice("rewinding", self.rewinding, REWINDING)
        checks.choice("pruning", self.pruning, PRUNING)

    def steps_of(self, level) -> int:
        """Training steps of a level, all replicates together; one dense training serves all rewind steps."""
        starts = [0] if level == 0 else self.rewind_step
        return self.replicates * sum(self.recipe.steps - start for start in starts)


@dataclass(frozen=True, eq=False)
class Level:
    """The solution of one level: ``state`` ``w^(L)``, ``mask`` ``m^(L)``, test ``error`` ``(R,)``, ``density`` kept."""

    state: dict
    mask: dict
    error: torch.Tensor
    density: float


@dataclass(frozen=True, eq=False)
class Run:
    """The levels of an IMP run: ``run[L]`` is a ``Level``; ``rewind`` holds the rewind points ``w_k``.

    Replicates of several rewind steps stand one group after the other on the replicate axis: ``rewind_steps`` and
    ``seeds`` say for each of the R replicates which it is, and ``at`` picks one group.
    """

    config: Config
    rewind: dict
    levels: tuple

    def __getitem__(self, level) -> Level:
        """``run[L]``: the level L solution; -1 is the last."""
        return self.levels[level]

    def __len__(self):
        """``len(run)``: number of levels, with level 0."""
        return len(self.levels)

    @property
    def rewind_steps(self):
        """Rewind step of every replicate, a list of R numbers."""
        return [k for k in self.config.rewind_step for _ in range(self.config.replicates)]

    @property
    def seeds(self):
        """Seed of every replicate's initialisation and data order, a list of R numbers."""
        return list(range(self.config.seed, self.config.seed + self.config.replicates)) * len(self.config.rewind_step)

    @property
    def errors(self):
        """Test error ``(levels + 1, K, R / K)``: level, rewind step, replicate."""
        groups = len(self.config.rewind_step)
        return torch.stack([level.error for level in self.levels]).unflatten(1, (groups, -1))

    @property
    def densities(self):
        """Fraction of weights kept at each level, ``(levels + 1,)``."""
        return torch.tensor([level.density for level in self.levels], dtype=torch.float64)

    def at(self, rewind_step) -> "Run":
        """Return the run of one rewind step. Raises ``ValueError`` if the run has no such step."""
        checks.choice("rewind_step", rewind_step, self.config.rewind_step)
        chosen = [i for i, k in enumerate(self.rewind_steps) if k == rewind_step]
        return self._part(chosen, rewind_step=(rewind_step,))

    def first(self, replicates) -> "Run":
        """Return the run of the first ``replicates`` of every rewind step. Raises ``ValueError`` if it has fewer."""
        every = self.config.replicates
        checks.whole("replicates", replicates, 1, every)
        return self._part([r for r in range(len(self.seeds)) if r % every < replicates], replicates=replicates)

    def _part(self, chosen, **changes):
        levels = [
            Level(select(v.state, chosen), select(v.mask, chosen), v.error[chosen], v.density) for v in self.levels
        ]
        return Run(replace(self.config, **changes), select(self.rewind, chosen), tuple(levels))


def run(net, ds, config, checkpoint=None) -> Run:
    """Run IMP on every replicate and rewind step at once.

    ``checkpoint`` names a folder that receives every level and, ten times within a level, the state of the training;
    the same call resumes from there and ends with the bit-identical result on the same machine.

    Raises ``training.Diverged`` if a loss becomes NaN or infinite, and ``ValueError`` if a layer would be emptied. In
    both cases the levels finished so far are in the folder and in the exception's attribute ``run``; a level in which
    some replicates diverged is among them, for the sake of the others.
    """
    files = _Folder(checkpoint, net, ds, config)
    total = sum(config.steps_of(level) for level in range(config.levels + 1))
    with progress.bar(total=total, desc="IMP", unit="step") as bar:
        rewind, level, failed = _dense(net, ds, config, files, bar)
        result = Run(config, rewind, (level,))
        while not failed and len(result) <= config.levels:
            try:
                level, failed = _next(net, ds, result, files, bar)
            except ValueError as error:
                error.run = result
                raise
            result = replace(result, levels=(*result.levels, level))
    if failed:
        where = ", ".join(
            f"replicate {r} (rewind step {result.rewind_steps[r]}, seed {result.seeds[r]}) at step {step}"
            for r, step in failed.items()
        )
        where = f"level {len(result) - 1}: {where}"
        stopped = training.Diverged(failed, level.state, config.recipe.lr, where)
        stopped.run = result
        raise stopped
    return result


def _dense(net, ds, config, files, bar):
    """Train level 0 once for each seed, repeat it for every rewind step: rewind points, level, diverged steps."""
    points = {step: files.load(f"rewind_{step}") for step in config.rewind_step}
    level = files.load("level_00")
    if level and all(points.values()):
        bar.update(config.steps_of(0))
        return concatenate([point for point, _ in points.values()]), *_unpack(*level, net)

    def keep(point):
        if point.step in points:
            points[point.step] = point.state, None
            files.save(f"rewind_{point.step}", point.state)

    state = net.init(config.replicates, config.seed)
    seeds = [config.seed + r for r in range(config.replicates)]
    state, failed = _train(net, ds, config, state, None, 0, seeds, files.training("level_00"), bar, tuple(points), keep)
    if not all(points.values()):  # a rewind point was lost from disk after the training had passed it
        files.remove_training("level_00")
        return _dense(net, ds, config, files, bar)
    groups = list(range(config.replicates)) * len(config.rewind_step)
    failed = {r: failed[seed] for r, seed in enumerate(groups) if seed in failed}
    state = select(state, groups)
    solution = _finish(net, ds, state, pruning.full(net, state), failed, files, "level_00")
    return concatenate([point for point, _ in points.values()]), *solution


def _next(net, ds, result, files, bar):
    """Train the level after the last of ``result``, or load it: level, diverged steps."""
    config, name = result.config, f"level_{len(result):02d}"
    if found := files.load(name):
        bar.update(config.steps_of(len(result)))
        return _unpack(*found, net)
    before = result[-1]
    ranked = result[0] if config.pruning == "one_shot" else before
    fraction = config.fraction
    if isinstance(fraction, Adaptive):
        fraction = _largest(net, ds, ranked.state, before.mask, fraction)
    mask = pruning.magnitude(ranked.state, before.mask, fraction)
    start = result.rewind if config.rewinding == "weights" else before.state
    steps, seeds = result.rewind_steps, result.seeds
    state, failed = _train(net, ds, config, start, mask, steps, seeds, files.training(name), bar)
    return _finish(net, ds, state, mask, failed, files, name)


def _largest(net, ds, state, mask, rule):
    """The fraction that an adaptive rule allows."""
    x, y = ds.training_set()

    def loss(kept):
        return training.evaluate(net, pruning.apply(state, kept), x, y)[0].mean()

    limit, count = loss(mask) + rule.rise, 1
    while (count + 1) * rule.step < 1 and loss(pruning.magnitude(state, mask, (count + 1) * rule.step)) <= limit:
        count += 1
    return count * rule.step


def _train(net, ds, config, state, mask, start, seeds, checkpoint, bar, at=(), keep=lambda point: None):
    """Train to the end whatever diverges: the solution, and the failing step of each diverged replicate."""
    level = sum(tensor[0].nbytes for tensor in state.values()) * 5 // 4  # a state and its mask
    fit = memory.fitting(net, ds, config.recipe, kept=(config.levels + 2) * level)
    if (count := config.replicates * len(config.rewind_step)) > fit:
        raise ValueError(
            f"replicates is {config.replicates} at {len(config.rewind_step)} rewind steps, {count} in all; the memory "
            f"of {ds.device} suffices for about {fit} with {config.levels} levels. Run fewer at a time"
        )
    try:
        for point in training.trajectory(net, state, ds, config.recipe, mask, start, None, seeds, at, checkpoint, bar):
            keep(point)
    except training.Diverged as stopped:
        return stopped.state, stopped.steps
    return point.state, {}


def _finish(net, ds, state, mask, failed, files, name):
    """Measure and save a trained level: level, diverged steps."""
    level = Level(state, mask, training.evaluate(net, state, ds.test_x, ds.test_y)[1], pruning.density(mask))
    files.save(name, _pack(level), diverged=failed)
    files.remove_training(name)
    return level, failed


def _pack(level):
    """What a file holds of a level: the surviving weights and the mask's bits of prunable entries, all else whole."""
    kept = {name: level.state[name][keep] for name, keep in level.mask.items()}
    bits = {name: torch.from_numpy(np.packbits(keep.cpu().numpy())) for name, keep in level.mask.items()}
    return {"state": {**level.state, **kept}, "bits": bits, "error": level.error}


def _unpack(saved, about, net):
    state, mask, error = saved["state"], {}, saved["error"]
    for name in net.prunable:  # in this order, which random draws go by
        shape = (len(error), *net.module.get_parameter(name).shape)
        flat = np.unpackbits(saved["bits"][name].cpu().numpy(), count=int(np.prod(shape)))
        mask[name] = torch.from_numpy(flat.astype(bool)).view(shape).to(error.device)
        weights = torch.zeros(shape, dtype=state[name].dtype, device=error.device)
        state[name] = weights.masked_scatter(mask[name], state[name])
    level = Level(state, mask, error, pruning.density(mask))
    return level, {int(r): step for r, step in about["diverged"].items()}


class _Folder:
    """The checkpoint folder of one run; without a path nothing is kept."""

    def __init__(self, path, net, ds, config):
        self.path, self.device = None if path is None else Path(path), ds.device
        self.key = store.key([config, net.description, ds.digest])

    def load(self, name):
        return self.path and store.read(self.path / f"{name}.safetensors", self.key, self.device)

    def save(self, name, tree, **about):
        if self.path:
            store.write(self.path / f"{name}.safetensors", tree, {"key": self.key, **about})

    def training(self, name):
        return self.path and self.path / f"{name}.training.safetensors"

    def remove_training(self, name):
        if self.path:
            self.training(name).unlink(missing_ok=True)
