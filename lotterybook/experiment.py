"""What all experiments share: the dataset, networks and IMP runs of a preset, and how a record is kept.

Everything that takes a preset takes ``(preset, recompute=False, device="auto")``.
"""

import functools
import warnings
from dataclasses import replace
from operator import attrgetter

import torch

from lotterylib import checks, data, imp, landscape, networks, pruning, store, training

from . import records
from .presets import PRESETS
from .settings import Preset

OTHER = 1000  # added to a seed for a second, independent draw
GENERATED = ("mnist1d",)  # datasets that take no download


class Setup:
    """What the experiments of one preset share: dataset, networks, and the IMP runs, each made when first asked for.

    ``made_by``: by the name of each IMP run that was asked for, the revision of the code that made it. ``preset``: the
    settings, if not those of the preset ``name``; ``folder``: where all that is computed is kept, if not in its work
    folder.
    """

    def __init__(self, name, recompute, device, preset=None, folder=None):
        self.name, self.preset, self._folder = name, preset or PRESETS[name], folder
        self.recompute, self.device, self.made_by = recompute, device, {}
        self.net, self._run = functools.cache(self.net), functools.cache(self._run)

    def __reduce__(self):
        """Another process gets the description, and makes or reads the rest."""
        return Setup, (self.name, self.recompute, self.device, self.preset, self.folder)

    @property
    def folder(self):
        """Where all that is computed is kept."""
        return self._folder or records.work_folder(self.name)

    @functools.cached_property
    def ds(self):
        """The dataset, on the device."""
        ds, count = data.load(self.preset.dataset, self.device), self.preset.examples
        return subset(ds, range(count)) if count else ds

    @property
    def digest(self):
        """The dataset's digest; ``None`` for one that might have to be downloaded, until something needs its data.

        So a published record of Fashion-MNIST can be read where Fashion-MNIST is not: it is whole, was made with these
        settings, and names its data. Once the dataset is loaded, a record of other data is refused.
        """
        return self.ds.digest if self.preset.dataset in GENERATED or "ds" in vars(self) else None

    @functools.cached_property
    def published(self):
        """The published runs by name, each a ``records.Published``; none if everything is to be computed anew."""
        return {} if self.recompute else records.published_runs(self.name)

    @property
    def basis(self):
        """What tells apart the records that are computed from different published runs; empty if there are none."""
        digests = {name: run.digest for name, run in self.published.items()}
        return f"_on_{store.key(digests)[:8]}" if digests else ""

    def net(self, arm="main"):
        """The network of an arm, ``"main"`` or ``"contrast"``."""
        chosen = getattr(self.preset, arm)
        return networks.build(chosen.network, self.ds, **chosen.options)

    def run(self, arm="main", **changes) -> imp.Run:
        """The IMP run of an arm; ``changes`` replace fields of its configuration.

        A published one is read; any other is made, or gone on with, in the work folder. One with fewer ``levels`` is
        the beginning of the same run.
        """
        name = "_".join(["imp", arm, *(str(value) for field, value in changes.items() if field != "levels")])
        run, self.made_by[name] = self._run(name, arm, **changes)
        return run

    def _run(self, name, arm, **changes):
        described = self.net(arm), self.ds, replace(getattr(self.preset, arm).config, **changes)
        if there := self.published.get(name):
            if found := imp.load(*described, there.path):
                return found, there.made_by
            warnings.warn(f"{there.path} holds a run with other settings; this one is made in runs/", stacklevel=3)
        return imp.run(*described, self.folder / name), records.VERSION

    def finished_runs(self):
        """Names and folders of the IMP runs in the work folder that are published with the records of the preset."""
        if not self.preset.weights:
            return {}
        self.run()
        described = self.net(), self.ds, self.preset.main.config
        return {"imp_main": imp._folder(*described, self.folder / "imp_main").path}

    def train(self, name, state, mask=None, start=0, order_seed=1, arm="main", recipe=None):
        """Train with an arm's recipe, or with another one, resumably under this name."""
        folder = self.folder / "training" / name
        recipe = recipe or getattr(self.preset, arm).config.recipe
        return training.train(self.net(arm), state, self.ds, recipe, mask, start, None, order_seed, folder)

    def error(self, state):
        """Test error of a state of the main network, ``(R,)``."""
        return landscape.error(self.net(), state, self.ds.test_x, self.ds.test_y)

    def barrier(self, a, b, arm="main"):
        """Test-error barrier between two states of an arm's network, on ``tickets.points`` of the preset."""
        return landscape.error_barrier(self.net(arm), a, b, self.ds.test_x, self.ds.test_y, self.preset.tickets.points)


def settings(preset, recompute=False, device="auto") -> Preset:
    """Return the settings of the preset of this name, and check all that a chapter takes as a parameter.

    Raises ``ValueError`` that names the parameter, what came and what is allowed: for an unknown preset or device, and
    for a ``recompute`` that is neither ``True`` nor ``False``, as when it comes as text.
    """
    if not isinstance(recompute, bool):
        found = f"recompute is {checks.shown(recompute)} ({type(recompute).__name__})"
        raise ValueError(f"{found}; it must be True or False")
    data.find_device(device)
    return PRESETS[checks.choice("preset", preset, PRESETS)]


def setup(preset, recompute=False, device="auto") -> Setup:
    """Return the shared dataset, networks and runs of a preset. Raises ``ValueError`` as ``settings`` does."""
    settings(preset, recompute, device)
    return _setup(preset, recompute, data.find_device(device))


_setup = functools.cache(Setup)


EXPERIMENTS = {}  # by name: the function of a ``Setup``, and the settings of the preset that determine its result


def experiment(*needs, only_with=None):
    """Make ``function(setup) -> dict`` into ``(preset, recompute=False, device="auto") -> Record``, kept on disk.

    ``needs`` names the settings of the preset that determine the result, besides the dataset: ``"main"``, or with its
    group ``"tickets.points"``. ``only_with``: the setting without which, ``None``, a preset leaves the experiment out.
    ``recompute=True`` never reads ``records/``, neither records nor runs. What it computes
    is kept in ``runs/``, and what the same code has finished there, for the same settings and data, it takes up again:
    so it goes on after an interruption.
    """

    def decorate(function):
        @functools.wraps(function)
        def recorded_function(preset, recompute=False, device="auto"):
            return recorded(function.__name__, preset, recompute, device)

        function.only_with = only_with
        EXPERIMENTS[function.__name__] = function, ("dataset", "examples", *needs)
        return recorded_function

    return decorate


def experiments_of(preset):
    """Names of the experiments of a preset: all but those for which it sets nothing."""
    return [
        name for name, (function, _) in EXPERIMENTS.items()
        if not (needed := getattr(function, "only_with", None)) or attrgetter(needed)(PRESETS[preset]) is not None
    ]  # fmt: skip


def recorded(name, preset, recompute=False, device="auto"):
    """The record of the experiment of this name, for callers that go through all of them."""
    return record(name, setup(preset, recompute, device), recompute)


def record(name, shared, recompute):
    """The record of an experiment of one setup, which may use published runs where the record is recomputed."""
    function, described = EXPERIMENTS[name][0], _described(name, shared)
    if not recompute and (found := records.published(name, shared.name, described, shared.digest)):
        return found

    def compute():
        shared.made_by.clear()
        return function(shared), {"runs": dict(shared.made_by)}

    digest, basis = shared.ds.digest, shared.basis
    return records.load_or_compute(name, shared.name, described, digest, compute, basis, shared.device, shared.folder)


def finished(name, shared) -> records.Record | None:
    """The record of an experiment of one setup as it lies in the setup's folder; ``None`` before it is made."""
    own = records.key(name, _described(name, shared), shared.ds.digest)
    return records.computed(shared.folder / name / f"{own}{shared.basis}.safetensors", own)


def _described(name, shared):
    return {need: attrgetter(need)(shared.preset) for need in EXPERIMENTS[name][1]}


def subset(ds, indices):
    """The dataset whose training examples are only those at ``indices``, in this order; test set and scale stay.

    Training on it draws its batches from these alone, in as many steps as ever. Its digest is its own, since it is that
    of changed tensors, so that no run on other examples is taken for one on these.
    """
    indices = torch.as_tensor(indices, device=ds.device)
    return replace(ds, train_x=ds.train_x[indices], train_y=ds.train_y[indices])


def axes(run):
    """Density of the levels and rewind steps, which every record of a run has."""
    return {"density": run.densities, "rewind_step": torch.tensor(run.config.rewind_step)}


def grouped(values, run):
    """Split the replicate axis, the last one, into rewind step and replicate, (K, R / K)."""
    return values.unflatten(-1, (len(run.config.rewind_step), -1))


def append(lists, **values):
    """Append each value, a tensor, to the list of its name in the dict ``lists``; a new name begins a list."""
    for name, value in values.items():
        lists.setdefault(name, []).append(value)


def stacked(lists):
    """The lists that ``append`` made, each of n tensors of one shape ``(...)``, as tensors ``(n, ...)`` by name."""
    return {name: torch.stack(values) for name, values in lists.items()}


def random_mask(run, level):
    """A mask with as many weights as the IMP mask of a level, at random places."""
    mask = run[0].mask
    for step in range(level):
        mask = pruning.random(run[0].state, mask, run.config.fraction, seed=OTHER * (step + 1))
    return mask
