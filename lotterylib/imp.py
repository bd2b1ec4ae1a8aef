"""Iterative magnitude pruning (IMP): train, prune the smallest weights, rewind the rest, repeat.

Level 0 is the dense network. Level L + 1 prunes the level L solution, returns the surviving weights to the rewind
point ``w_k`` (the dense network after k steps) and trains again with the same data in the same order.
"""

import shutil
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import torch

from . import checks, memory, progress, pruning, store, training
from .states import concatenate, select

REWINDING = ("weights", "learning_rate")  # what ``Config.rewinding`` may be
PRUNING = ("iterative", "one_shot")  # what ``Config.pruning`` may be
SCOPES = ("global", "layerwise")  # what ``Config.scope`` may be


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
    ``pruning="one_shot"`` ranks the weights of the dense solution at every level. ``scope="layerwise"`` prunes each
    layer by itself; ``fraction`` may then be a dict with a number for each prunable entry (Frankle & Carbin 2019 prune
    the last layer at half the rate). Raises ``ValueError`` for a value out of bounds.
    """

    recipe: training.Recipe
    rewind_step: int | tuple = 0
    levels: int = 12
    fraction: float | dict | Adaptive = 0.2
    replicates: int = 4
    seed: int = 0
    rewinding: str = "weights"
    pruning: str = "iterative"
    scope: str = "global"

    def __post_init__(self):
        steps = self.rewind_step if isinstance(self.rewind_step, tuple | list) else (self.rewind_step,)
        for step in steps:
            checks.whole("rewind_step", step, 0, self.recipe.steps - 1)
        if len(set(steps)) != len(steps) or not steps:
            raise ValueError(f"rewind_step is {self.rewind_step}; it must name at least one step, and each only once")
        object.__setattr__(self, "rewind_step", tuple(steps))
        checks.whole("levels", self.levels, 0)
        checks.choice("scope", self.scope, SCOPES)
        if self.scope == "global" and isinstance(self.fraction, dict):
            raise ValueError("fraction is a dict; a rate for each entry needs scope='layerwise'")
        if self.scope == "layerwise" and isinstance(self.fraction, Adaptive):
            raise ValueError("fraction is Adaptive; it ranks all layers together and needs scope='global'")
        if not isinstance(self.fraction, Adaptive):
            for rate in self.fraction.values() if isinstance(self.fraction, dict) else [self.fraction]:
                checks.within("fraction", rate, 0, 1, open_low=True, open_high=True)
        checks.whole("replicates", self.replicates, 1)
        checks.whole("seed", self.seed, 0)
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
    """Run IMP on every replicate and rewind step at once, to the last of ``config.levels``; arguments as in ``levels``.

    Raises as ``levels`` does.
    """
    return deque(levels(net, ds, config, checkpoint), maxlen=1).pop()


def levels(net, ds, config, checkpoint=None):
    """Run IMP and yield the ``Run`` as it stands after each level, the dense one first.

    ``checkpoint`` names a folder that receives every level and, ten times within a level, the state of the training, in
    a folder for these settings: the same call resumes from there, and ends with the bit-identical result on the same
    machine; one with more ``levels`` goes on from the last.

    Raises ``training.Diverged`` if a loss becomes NaN or infinite, and ``ValueError`` if a layer would be emptied. In
    both cases the levels finished so far are in the folder and in the exception's attribute ``run``; a level in which
    some replicates diverged is among them, for the sake of the others. ``ValueError`` before the first step for what
    does not fit: network and dataset, memory, a folder that cannot be written.
    """
    net.check(net.init(1), x=ds.test_x, y=ds.test_y)
    count = config.replicates * len(config.rewind_step)
    memory.require(net, ds, config.recipe, count, kept=(config.levels + 2) * 5 // 4)  # a level: a state and its mask
    files = _folder(net, ds, config, checkpoint).open()
    total = sum(config.steps_of(level) for level in range(config.levels + 1))
    with progress.bar(total=total, desc="IMP", unit="step") as bar:
        work = _Work(net, ds, config, files, bar)
        result = _sound(*work.dense())
        yield result
        while len(result) <= config.levels:
            result = _sound(*work.pruned(result))
            yield result


def load(net, ds, config, checkpoint):
    """Return the finished ``Run`` that lies in a folder, or ``None``; nothing is trained, and nothing written.

    Raises ``training.Diverged`` as ``levels`` does.
    """
    files = _folder(net, ds, config, checkpoint)
    points = [files.load(f"rewind_{step}") for step in config.rewind_step]
    found = [files.load(f"level_{level:02d}") for level in range(config.levels + 1)] if all(points) else [None]
    if not all(found):
        return None
    unpacked = [_unpack(*level, net) for level in found]
    result = Run(config, concatenate([state for state, _ in points]), tuple(level for level, _ in unpacked))
    return _sound(result, unpacked[-1][1])


def _folder(net, ds, config, checkpoint):
    fixed = {name: value for name, value in vars(config).items() if name != "levels"}
    described = {"network": net.identity(ds.test_x, config.seed), "data": ds.digest} if checkpoint else {}
    return store.Folder(checkpoint, {**fixed, **described}, ds.device)


def _sound(result, failed):
    """The run, unless a replicate's loss ceased to be finite in its last level."""
    if not failed:
        return result
    where = ", ".join(
        f"replicate {r} (rewind step {result.rewind_steps[r]}, seed {result.seeds[r]}) at step {step}"
        for r, step in failed.items()
    )
    where = f"level {len(result) - 1}: {where}"
    stopped = training.Diverged(failed, result[-1].state, result.config.recipe.lr, where)
    stopped.run = result
    raise stopped


@dataclass(frozen=True)
class _Work:
    """What the levels of one run share, and the way from one level to the next."""

    net: object
    ds: object
    config: Config
    files: store.Folder
    bar: object

    def dense(self):
        """Train level 0 once for each seed, repeat it for every rewind step: the run of it, diverged steps."""
        config, files = self.config, self.files
        points = {step: files.load(f"rewind_{step}") for step in config.rewind_step}
        found = files.load("level_00")
        if found and all(points.values()):
            self.bar.update(config.steps_of(0))
            level, failed = _unpack(*found, self.net)
            return Run(config, concatenate([point for point, _ in points.values()]), (level,)), failed

        def keep(point):
            if point.step in points:
                points[point.step] = point.state, None
                files.save(f"rewind_{point.step}", point.state)

        seeds = list(range(config.seed, config.seed + config.replicates))
        start = self.net.init(config.replicates, config.seed)
        state, failed = self.train("level_00", start, None, 0, seeds, tuple(points), keep)
        if not all(points.values()):  # a rewind point was lost from disk after the training had passed it
            self.forget("level_00")
            return self.dense()
        groups = list(range(config.replicates)) * len(config.rewind_step)
        failed = {r: failed[seed] for r, seed in enumerate(groups) if seed in failed}
        state = select(state, groups)
        level = self.finish("level_00", state, pruning.full(self.net, state), failed)
        return Run(config, concatenate([point for point, _ in points.values()]), (level,)), failed

    def pruned(self, run):
        """Prune, rewind and train the level after the last of ``run``, or load it: the run with it, diverged steps."""
        config, name = self.config, f"level_{len(run):02d}"
        if found := self.files.load(name):
            self.bar.update(config.steps_of(len(run)))
            level, failed = _unpack(*found, self.net)
        else:
            try:
                mask = self.prune(run[0] if config.pruning == "one_shot" else run[-1], run[-1].mask)
            except ValueError as error:
                error.run = run
                raise
            start = run.rewind if config.rewinding == "weights" else run[-1].state
            state, failed = self.train(name, start, mask, run.rewind_steps, run.seeds)
            level = self.finish(name, state, mask, failed)
        return replace(run, levels=(*run.levels, level)), failed

    def prune(self, ranked, mask):
        """The next mask, by the weights of the level ``ranked``."""
        if self.config.scope == "layerwise":
            return pruning.layerwise(ranked.state, mask, self.config.fraction)
        rule = self.config.fraction
        if not isinstance(rule, Adaptive):
            return pruning.magnitude(ranked.state, mask, rule)
        x, y = self.ds.training_set()

        def loss(kept):
            return training.evaluate(self.net, pruning.apply(ranked.state, kept), x, y)[0].mean()

        limit, best, count = loss(mask) + rule.rise, pruning.magnitude(ranked.state, mask, rule.step), 2
        while count * rule.step < 1:
            try:
                tried = pruning.magnitude(ranked.state, mask, count * rule.step)
            except ValueError:  # it would empty a layer
                break
            if loss(tried) > limit:
                break
            best, count = tried, count + 1
        return best

    def train(self, name, state, mask, start, seeds, at=(), keep=lambda point: None):
        """Train to the end whatever diverges: the solution, and the failing step of each diverged replicate."""
        folder = self.files.path and self.files.path / name
        try:
            for point in training.trajectory(
                self.net, state, self.ds, self.config.recipe, mask, start, None, seeds, at, folder, self.bar
            ):
                keep(point)
        except training.Diverged as stopped:
            return stopped.state, stopped.steps
        return point.state, {}

    def finish(self, name, state, mask, failed):
        """Measure and save a trained level."""
        error = training.evaluate(self.net, state, self.ds.test_x, self.ds.test_y)[1]
        level = Level(state, mask, error, pruning.density(mask))
        self.files.save(name, _pack(level), diverged=failed)
        self.forget(name)
        return level

    def forget(self, name):
        """Remove what the training of a level kept."""
        if self.files.path:
            shutil.rmtree(self.files.path / name, ignore_errors=True)


def _pack(level):
    """What a file holds of a level: the surviving weights and the mask's bits of prunable entries, all else whole."""
    kept = {name: level.state[name][keep] for name, keep in level.mask.items()}
    bits = {name: torch.from_numpy(np.packbits(keep.cpu().numpy())) for name, keep in level.mask.items()}
    return {"state": {**level.state, **kept}, "bits": bits, "error": level.error}


def _unpack(saved, about, net):
    state, mask, error = saved["state"], {}, saved["error"]
    for name in net.prunable:  # in this order, which random draws go by
        shape = (len(error), *net.shapes[name])
        flat = np.unpackbits(saved["bits"][name].cpu().numpy(), count=int(np.prod(shape)))
        mask[name] = torch.from_numpy(flat.astype(bool)).view(shape).to(error.device)
        weights = torch.zeros(shape, dtype=state[name].dtype, device=error.device)
        state[name] = weights.masked_scatter(mask[name], state[name])
    level = Level(state, mask, error, pruning.density(mask))
    return level, {int(r): step for r, step in about["diverged"].items()}
