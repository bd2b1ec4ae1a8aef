"""What all experiments share: the dataset, networks and IMP runs of a preset, and how a record is kept."""

import functools
from dataclasses import replace

import torch

from .. import checks, data, imp, landscape, networks, pruning, records, training
from ..presets import PRESETS

OTHER = 1000  # added to a seed for a second, independent draw


class Setup:
    """What the experiments of one preset share: dataset, networks, and the IMP runs, each made when first asked for."""

    def __init__(self, name, device, recompute):
        self.name, self.preset = name, PRESETS[name]
        self.device, self.recompute = device, recompute

    @functools.cached_property
    def ds(self):
        """The dataset, on the device."""
        return data.load(self.preset.dataset, self.device)

    @functools.cache  # noqa: B019 (there are as many setups as presets)
    def net(self, arm="main"):
        """The network of an arm, ``"main"`` or ``"plain"``."""
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
        """Test error of a state of the main network, ``(R,)``."""
        return landscape.error(self.net(), state, self.ds.test_x, self.ds.test_y)

    def barrier(self, a, b, arm="main"):
        """Test-error barrier between two states of an arm's network, on ``points`` of the preset."""
        return landscape.error_barrier(self.net(arm), a, b, self.ds.test_x, self.ds.test_y, self.preset.points)


def setup(preset, device="auto", recompute=False) -> Setup:
    """Return the shared dataset, networks and runs of a preset. Raises ``ValueError`` for an unknown one."""
    return _setup(checks.choice("preset", preset, PRESETS), data.find_device(device), recompute)


_setup = functools.cache(Setup)


EXPERIMENTS = {}  # by name: the function of a ``Setup``, and the fields of the preset that determine its result


def experiment(*needs):
    """Make ``function(setup) -> dict`` into ``(preset, recompute=False, device="auto") -> Record``, kept on disk.

    ``needs`` names the fields of the preset that determine the result, besides the dataset. ``recompute=True`` passes
    over the published records and runs; what it computes is kept in ``runs/``.
    """

    def decorate(function):
        @functools.wraps(function)
        def recorded(preset, recompute=False, device="auto"):
            return record(function.__name__, setup(preset, device, recompute), recompute)

        EXPERIMENTS[function.__name__] = function, ("dataset", *needs)
        return recorded

    return decorate


def record(name, shared, recompute):
    """The record of an experiment of one setup."""
    function, needs = EXPERIMENTS[name]
    settings = {field: getattr(shared.preset, field) for field in needs}
    return records.load_or_compute(
        name, shared.name, settings, lambda: function(shared), recompute, lambda: shared.ds.digest
    )


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
