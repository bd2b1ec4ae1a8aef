"""Iterative magnitude pruning (IMP): train, prune the smallest weights, rewind the rest, repeat.

Level 0 is the dense network. Level L + 1 prunes the level L solution, returns the surviving weights to the rewind
point ``w_k`` (the dense network after k steps) and trains again with the same data in the same order.
"""

from collections import deque
from dataclasses import dataclass, is_dataclass, replace
from functools import partial

import numpy as np
import torch

from . import checks, memory, progress, pruning, store, training
from .states import check_form, concatenate, select

REWINDING = ("weights", "learning_rate")  # what ``Config.rewinding`` may be
PRUNING = ("iterative", "one_shot")  # what ``Config.pruning`` may be


@dataclass(frozen=True)
class Config:
    """What determines an IMP run, besides network and dataset.

    ``rewind_step``: k, or a tuple of several that are run at once. ``levels``: number of prunings after level 0.
    ``fraction``: share of the remaining weights pruned at each level: a number, with all layers ranked together; a dict
    with one for each prunable entry, and each layer by itself (Frankle & Carbin 2019 prune the last one at half the
    rate); or a rule of one's own, a frozen dataclass that is called as ``rule(net, ds, state, mask)`` and returns the
    next mask. ``replicates``: runs for each rewind step; r is initialised, and its data ordered, by ``seed + r``.
    ``rewinding="learning_rate"`` keeps the weights and rewinds only the schedule (Renda et al. 2020).
    ``pruning="one_shot"`` ranks the dense solution's weights at every level. Raises ``ValueError`` out of bounds.
    """

    recipe: training.Recipe
    rewind_step: int | tuple = 0
    levels: int = 12
    fraction: object = 0.2
    replicates: int = 4
    seed: int = 0
    rewinding: str = "weights"
    pruning: str = "iterative"

    def __post_init__(self):
        checks.kind("recipe", self.recipe, training.Recipe)
        steps = self.rewind_step if isinstance(self.rewind_step, tuple | list) else (self.rewind_step,)
        steps = tuple(checks.whole("rewind_step", step, 0, self.recipe.steps - 1) for step in steps)
        if len(set(steps)) != len(steps) or not steps:
            raise ValueError(f"rewind_step is {self.rewind_step}; it must name at least one step, and each only once")
        object.__setattr__(self, "rewind_step", steps)
        checks.whole("levels", self.levels, 0)
        if not (callable(self.fraction) and is_dataclass(self.fraction)):
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
    """The solution of one level: ``state`` ``w^(L)``, ``mask`` ``m^(L)``, test ``error`` ``(R,)``."""

    state: dict
    mask: dict
    error: torch.Tensor
    diverged: dict  # the replicates whose loss ceased to be finite, with the step at which it did

    @property
    def density(self) -> float:
        """Fraction of weights kept, the mean over replicates."""
        return pruning.density(self.mask)


@dataclass(frozen=True, eq=False)
class Run:
    """The levels of an IMP run: ``run[L]`` is a ``Level``, -1 the last; ``rewind`` holds the rewind points ``w_k``.

    Replicates of several rewind steps stand one group after the other on the replicate axis: ``rewind_steps`` and
    ``seeds`` say for each of the R replicates which it is, and ``at`` picks one group.
    """

    config: Config
    rewind: dict
    levels: tuple

    def __getitem__(self, level) -> Level:
        """``run[L]``: the level L solution."""
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
        return torch.stack([level.error for level in self.levels]).unflatten(1, (len(self.config.rewind_step), -1))

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
        levels = []
        for level in self.levels:
            diverged = {chosen.index(r): step for r, step in level.diverged.items() if r in chosen}
            levels.append(Level(select(level.state, chosen), select(level.mask, chosen), level.error[chosen], diverged))
        return Run(replace(self.config, **changes), select(self.rewind, chosen), tuple(levels))


def run(net, ds, config, checkpoint=None) -> Run:
    """Run IMP on every replicate and rewind step at once, to the last of ``config.levels``. Raises as ``levels``."""
    return deque(levels(net, ds, config, checkpoint), maxlen=1).pop()


def levels(net, ds, config, checkpoint=None):
    """Run IMP and yield the ``Run`` as it stands after each level, the dense one first.

    ``checkpoint`` names a folder that receives every level and, every ``training.EVERY`` seconds, the state of its
    training, in a folder for these settings: the same call resumes from there, with the bit-identical result on the
    same machine; one with more ``levels`` goes on from the last.

    Raises ``training.Diverged`` if a loss becomes NaN or infinite, and ``ValueError`` if a layer would be emptied; the
    levels finished so far, one in which only some replicates diverged among them, are then in the folder and in the
    exception's attribute ``run``. ``ValueError`` before the first step for data, memory or a folder that do not fit.
    """
    training.check(net, ds, checks.kind("config", config, Config).recipe)
    net.check(net.init(1), x=ds.test_x, y=ds.test_y)
    count = config.replicates * len(config.rewind_step)
    fit = memory.fitting(net, ds, config.recipe, kept=(config.levels + 2) * 5 // 4)  # a level: a state and its mask
    if count > fit:
        raise ValueError(f"replicates are {count} in all; the memory of {ds.device} suffices for about {fit}")
    total = sum(config.steps_of(level) for level in range(config.levels + 1))
    with progress.bar(total=total, desc="IMP", unit="step") as bar:
        work, result = _Work(net, ds, config, _folder(net, ds, config, checkpoint).open(), bar, {}), None
        for level in range(config.levels + 1):
            result = work.next(result) if result else work.dense()
            work.files.drop(f"level_{level:02d}")
            yield _sound(result)


def load(net, ds, config, checkpoint) -> Run | None:
    """Return the finished run that lies in a folder, or ``None``, without training. Raises ``training.Diverged``."""
    files, read = _folder(net, ds, config, checkpoint), partial(_level, net, config)
    points = [files.load(f"rewind_{step}", partial(_point, net, config)) for step in config.rewind_step]
    found = all(points) and [files.load(f"level_{level:02d}", read) for level in range(config.levels + 1)]
    return _sound(Run(config, concatenate(points), tuple(found))) if found and all(found) else None


def _folder(net, ds, config, checkpoint):
    settings = vars(config) | {"levels": None, "rule": type(config.fraction).__name__}
    if checkpoint:
        settings |= {"network": net.identity(ds.test_x, config.seed), "data": ds.digest}
    return store.Folder(checkpoint, settings, ds.device)


def _sound(run):
    """The run, unless a replicate's loss ceased to be finite in its last level."""
    last, steps, seeds = run[-1], run.rewind_steps, run.seeds
    if not last.diverged:
        return run
    where = [f"replicate {r} (rewind step {steps[r]}, seed {seeds[r]}) at step {t}" for r, t in last.diverged.items()]
    where = f"level {len(run) - 1}: {', '.join(where)}"
    stopped = training.Diverged(last.diverged, last.state, run.config.recipe.lr, where)
    stopped.run = run
    raise stopped


@dataclass(frozen=True)
class _Work:
    """What the levels of one run share, and the way from one to the next."""

    net: object
    ds: object
    config: Config
    files: store.Folder
    bar: object
    kept: dict  # groups of one level's training, for the next

    def dense(self):
        """The run of level 0, trained once for each seed and repeated for every rewind step."""
        net, config = self.net, self.config
        points = {k: self.files.load(f"rewind_{k}", partial(_point, net, config)) for k in config.rewind_step}
        if (level := self.files.load("level_00", partial(_level, net, config))) and all(points.values()):
            self.bar.update(config.steps_of(0))
        else:
            start = net.init(config.replicates, config.seed)
            level = self.train("level_00", start, None, 0, config.seed, points)
        if not all(points.values()):  # one was lost from disk after the training had passed it
            self.files.drop("level_00")
            return self.dense()
        return Run(config, concatenate(list(points.values())), (level,))

    def next(self, run):
        """The run with one level more: pruned, rewound and trained, or as it lies in the folder."""
        config, name, last = self.config, f"level_{len(run):02d}", run[-1]
        if found := self.files.load(name, partial(_level, self.net, config)):
            self.bar.update(config.steps_of(len(run)))
            return replace(run, levels=(*run.levels, found))
        ranked, fraction = (run[0] if config.pruning == "one_shot" else last).state, config.fraction
        try:
            if callable(fraction):
                mask = fraction(self.net, self.ds, ranked, last.mask)
            else:
                rule = pruning.layerwise if isinstance(fraction, dict) else pruning.magnitude
                mask = rule(ranked, last.mask, fraction)
        except ValueError as error:
            error.run = run
            raise
        start = run.rewind if config.rewinding == "weights" else last.state
        return replace(run, levels=(*run.levels, self.train(name, start, mask, run.rewind_steps, run.seeds)))

    def train(self, name, state, mask, start, seeds, points=None):
        """Train a level, whatever diverges; measure and keep it. Level 0 has no ``mask``, and fills ``points``."""
        net, ds, config, files, at, diverged = self.net, self.ds, self.config, self.files, tuple(points or ()), {}
        folder = files.path and files.path / name
        path = training.trajectory(
            net, state, ds, config.recipe, mask, start, None, seeds, at, folder, self.bar, self.kept
        )
        try:
            for point in path:
                if point.step in at:
                    points[point.step] = point.state
                    files.save(f"rewind_{point.step}", point.state)
            state = point.state
        except training.Diverged as stopped:
            state, diverged = stopped.state, stopped.steps
        if mask is None:  # trained once for all rewind steps
            each = list(range(config.replicates)) * len(config.rewind_step)
            state, diverged = select(state, each), {r: diverged[i] for r, i in enumerate(each) if i in diverged}
            mask = pruning.full(net, state)
        error = training.evaluate(net, state, ds.test_x, ds.test_y)[1]
        kept = {entry: state[entry][keep] for entry, keep in mask.items()}
        bits = {entry: torch.from_numpy(np.packbits(keep.cpu().numpy())) for entry, keep in mask.items()}
        files.save(name, {"state": {**state, **kept}, "bits": bits, "error": error}, diverged=diverged)
        return Level(state, mask, error, diverged)


def _point(net, config, saved, about):
    """The rewind point of a file. Raises an exception if it has not the form of this run's."""
    return check_form("rewind point", saved, net.init(1), config.replicates)


def _level(net, config, saved, about):
    """The level of a file: surviving weights, and bits of masks. Raises an exception as ``_point`` does."""
    count = config.replicates * len(config.rewind_step)
    state, bits = (checks.tree(name, saved[name]) for name in ("state", "bits"))
    mask, error = {}, saved["error"].cpu()
    for name in net.prunable:  # in this order, which random draws go by
        shape = (count, *net.shapes[name])
        flat = np.unpackbits(bits[name].cpu().numpy())[: int(np.prod(shape))]
        mask[name] = torch.from_numpy(flat.astype(bool)).view(shape).to(state[name].device)
        if state[name].shape != (int(mask[name].sum()),):
            raise ValueError(f"its entry {name!r} does not hold as many weights as its mask keeps")
        state[name] = state[name].new_zeros(shape).masked_scatter(mask[name], state[name])
    state = check_form("level", state, net.init(1), count)
    check_form("level", {"error": error}, {"error": torch.zeros(1, dtype=torch.float64)}, count)
    diverged = {checks.whole("replicate", int(r), 0, count - 1): step for r, step in about["diverged"].items()}
    return Level(state, mask, error, diverged)
