"""A slice of every record of the book comes out again: today's library, from the weights that are published.

A slice is made by the experiment itself, of a ``Slice`` of its setup: fewer replicates, levels and settings, always the
first ones, so that what it returns is the leading corner of the record's arrays. Random draws go by the place on the
replicate axis, and there they are the record's own.

Measurements train nothing. Another machine rounds differently, which moves a test example that lies between two classes
to the other side, and a ratio in its last digits: so errors agree within a few examples, lengths within 1e-3. Lanczos's
method runs for a few iterations, not for the 40 or 80 of a record: the largest eigenvalue is there by then.

Trainings are chaotic: a difference in the last bit grows, within some hundred steps, until the solution is another one
of the same valley. What must agree is what all such solutions share. Errors do, within several times the spread of the
replicates; barriers do, where they are low, and roughly where they are high; and so do distances early on, before the
difference has grown, but not the loss there, which halves or doubles while the rate is at its peak, nor the largest
eigenvalue, which was 46 on one machine and 189 on another. The tolerances are several times what trainings differed by
whose starts differed by 1e-6. One replicate of one arm is trained, for up to 400 steps, and for a whole schedule once
for controls and failing masks, and once for the contrasting network.

The other trainings of a whole schedule take more than a minute together: ``pytest -m slow`` makes them too. The same
slices are made of the records of ``smoke``, which are computed here, with all trainings.
"""

import dataclasses
import functools
import importlib
import tempfile
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from lotterybook import experiment, records
from lotterybook.barriers import others
from lotterybook.diet import starts
from lotterybook.limits import measures, readings
from lotterylib import data, imp, landscape, networks, progress, pruning, store, training
from lotterylib.states import concatenate, select

for room in sorted(Path(records.__file__).parent.glob("*/experiments.py")):
    importlib.import_module(f"lotterybook.{room.parent.name}.experiments")

SMALL = 600  # test examples of smoke
SHORT = 300  # steps of training
WHERE = {  # arrays that say where something was measured: they agree exactly
    "level", "rewind_step", "density", "scale", "pruning_scale", "unit_level", "step", "steps", "cycle", "fraction",
    "epsilon", "rise", "fine_rate", "grid", "edges", "weights",
}  # fmt: skip


class Within(NamedTuple):
    """How far a number may be off: test examples, so much as it is, and a share of it."""

    examples: float = 0
    absolute: float = 0
    relative: float = 0

    def of(self, values, count):
        """The tolerance of each of ``values``, with ``count`` test examples."""
        return self.examples / count + self.absolute + self.relative * values.abs()


ERROR, LINE = Within(examples=3.5), Within(examples=7)  # an error; a barrier, which has three of them
EXACT = Within(absolute=1e-4, relative=1e-3)  # lengths, shares, losses
EARLY = Within(absolute=0.02, relative=0.1)  # after some ten steps of training
TRAINED = Within(examples=5, absolute=0.008)  # errors after a training; replicates spread by 0.002
BARRIER = Within(examples=10, absolute=0.02, relative=0.4)  # from a solution that was trained
TRAINED_ON_LITTLE = Within(examples=5, absolute=0.01, relative=0.2)  # few examples tell less, and replicates spread
ON_LITTLE = Within(examples=10, absolute=0.1, relative=0.8)  # from a start that saw few


class Cut(NamedTuple):
    """What of a record is made again: ``within``, the arrays that are compared, and how far they may be off.

    ``long``: likewise, arrays that take trainings of more than ``SHORT`` steps. ``settings``: how many of a setting's
    entries are kept (below 0: of the last), at most how large it is, or what it is instead. ``replicates`` of the run
    are seen, of all its rewind steps or the ``first_step``, and so many ``levels``; ``None``: all. ``trains``: patterns
    of the names of trainings that are made, in their last row. ``again``: what makes the slice, if not the experiment
    as it is. ``rows``: how many of the first axis are compared. ``last``: they are the record's last ones. ``unlike``:
    what a setting makes another place. ``book``: bounds for the book's record, where other dense networks were trained
    than the published ones: smaller stacks round differently.
    """

    within: dict = {}
    settings: dict = {}
    long: dict = {}
    replicates: int | None = 1
    first_step: bool = False
    levels: int | None = None
    trains: tuple = ()
    again: object = None
    rows: int | None = None
    last: bool = False
    unlike: tuple = ()
    book: dict = {}


def made(s, name):
    """What the experiment of this name returns for a slice of its setup."""
    return experiment.EXPERIMENTS[name][0](s)


def with_few_fractions(name):
    """The experiment with the first of the fractions that the limits are measured at."""

    def again(s, patch):
        few = measures.FRACTIONS[:2]
        for module in (measures, importlib.import_module("lotterybook.limits.experiments")):
            patch.setattr(module, "FRACTIONS", few)
        return made(s, name)

    return again


def on_a_grid(values, axes, steps):
    """Values at 3 places of a grid of ``steps``, along each of ``axes``: NaN at all others."""
    for axis in axes:
        shape = [steps if i == axis else n for i, n in enumerate(values.shape)]
        places = torch.linspace(0, steps - 1, 3).long()
        values = torch.full(shape, torch.nan, dtype=values.dtype).index_copy(axis, places, values)
    return values


def winning_tickets(s, _):
    """With the errors as they are measured today."""
    return made(s, "winning_tickets") | {"error": torch.stack([s.error(level.state) for level in s.run()])[:, None]}


def plane(s, _):
    steps, found = s.whole.preset.barriers.plane_steps, made(s, "plane")
    axes = {"error": (0, 1), "horizontal": (0,), "vertical": (0,)}
    return found | {name: on_a_grid(found[name], each, steps) for name, each in axes.items()}


def return_path(s, patch):
    """The first points of both trainings."""
    path = training.trajectory
    patch.setattr(training, "trajectory", lambda *arguments: islice(path(*arguments), 3))
    return made(s, "return_path")


def return_plane(s, patch):
    """Both trainings by their ends: the published solution, and that of the smallest perturbation, at scale 1.

    Where the latter is not trained, only the track of the former says something: the plane is another one.
    """
    steps, made_again, path = s.whole.preset.barriers.plane_steps, [], training.trajectory
    calm = s.run().at(s.preset.tickets.control_step)[s.preset.robustness.levels[1]].state

    def ends(net, state, ds, recipe, mask, start, stop, seeds, at=(), **options):
        if not at:
            return path(net, state, ds, recipe, mask, start, stop, seeds, **options)
        begun = select(state, [1])
        moved = s.train("return_plane", begun, select(mask, [1]), start, seeds[:1])
        made_again.append(bool(s.error(moved).isfinite()))
        last = concatenate([calm, *[moved if made_again[0] else begun] * (len(seeds) - 1)])
        return [training.Point(step, state if step == at[0] else last, {}) for step in at]

    patch.setattr(training, "trajectory", ends)
    found = made(s, "return_plane")
    found["track"][:, :, 1:-1] = torch.nan
    if not made_again[0]:
        found["track"][:, 1] = torch.nan
        found |= {name: found[name] * torch.nan for name in ("error", "horizontal", "vertical")}
    axes = {"error": (1, 2), "horizontal": (1,), "vertical": (1,)}
    return found | {name: on_a_grid(found[name], each, steps) for name, each in axes.items()}


def instability(s, _):
    """The heights of the recorded curves; and of the curves, the end at the dense network that is published.

    That is one of the two trainings from step 0. With the other one, the curve between them.
    """
    curve = s.source.record("instability")["curve"]
    line = torch.lerp(curve[0], curve[-1], torch.linspace(0, 1, len(curve), dtype=curve.dtype)[:, None, None])
    again = torch.full_like(curve, torch.nan)
    again[-1, 0] = s.error(s.whole.run().at(s.whole.preset.main.config.rewind_step[0])[0].state)
    if s.source.full:
        again[:, :1, :1] = made(s, "instability")["curve"]
    return {"height": (curve - line).amax(0), "curve": again}


def top(s, patch):
    """The largest eigenvalue with its eigenvector, of the same network once."""
    found = measures.top

    def once(net, state, x, y, mask, *_):
        key = store.digest(state, str(len(y)))
        if key not in s.source.made:
            s.source.made[key] = found(net, state, x, y, mask, 1, 13)
        return s.source.made[key]

    patch.setattr(measures, "top", once)
    return once


def overlap(s, patch):
    top(s, patch)
    return made(s, "overlap")


def exact(s, patch):
    """The largest eigenvalue by Lanczos's method, in place of the whole Hessian."""
    here = s.run().at(s.preset.tickets.control_step)[s.preset.limits.exact_levels[0]]
    x, y = (each[: s.preset.limits.exact_examples] for each in s.ds.training_set())
    return {"largest": top(s, patch)(s.net(), here.state, x, y, here.mask)[0]}


def convergence(s, _):
    """Losses at the fractions that were tried, in the places that the record has for them."""
    found, places = made(s, "convergence"), s.source.record("convergence")["fraction"]
    loss = torch.full((*found["loss"].shape[:3], len(places), found["loss"].shape[-1]), torch.nan).double()
    loss[..., [places.tolist().index(fraction) for fraction in found["fraction"].tolist()], :] = found["loss"]
    return {**found, "loss": loss, "fraction": places}


def descents(s, _):
    """The losses of the solutions; those at the end are as in ``convergence``, where the same trainings are made."""
    found, there = made(s, "descents"), readings.of_level(s.source.record("convergence"), 0)
    at, count = there["steps"].tolist().index(s.preset.limits.descent.steps), found["solution"].shape[-1]
    found["control_loss"][0, 0] = there["control"][at, :count]
    for place, fraction in enumerate(there["fraction"].tolist()):
        found["loss"][0, :, found["fraction"].tolist().index(fraction), 0] = there["loss"][at, :, place, :count]
    return found


def dense(net, ds, config):
    """The dense network of the first replicate: errors, densities, rewind step."""
    config = dataclasses.replace(config, levels=0, replicates=1, rewind_step=config.rewind_step[:1])
    run = imp.run(net, ds, config)
    return {"error": run.errors, **experiment.axes(run)}


def contrast(s, _):
    return dense(s.net("contrast"), s.ds, s.preset.contrast.config)


def architectures(s, _):
    """How many weights the networks have; in full, the first one's dense network too."""
    arms = s.preset.barriers.networks
    nets = [networks.build(arm.network, s.ds, **arm.options) for arm in arms]
    weights = [sum(torch.Size(net.shapes[name]).numel() for name in net.prunable) for net in nets]
    found = dense(nets[0], s.ds, arms[0].config) if s.source.full else {}
    return {"weights": torch.tensor(weights), **{name: value[None] for name, value in found.items()}}


def other_instabilities(s, _):
    """Where the networks were rewound; in full, the first one's instability too, of its first step and replicate."""
    first, *_ = arms = s.preset.barriers.networks
    steps = others.side_by_side([{"rewind_step": torch.tensor(arm.config.rewind_step)} for arm in arms])
    if not s.source.full:
        return steps
    config = dataclasses.replace(first.config, replicates=1, rewind_step=first.config.rewind_step[:1])
    with tempfile.TemporaryDirectory() as folder:
        arm = dataclasses.replace(first, config=config)
        return steps | {"height": others.unstable(arm, s.ds, Path(folder), s.preset.tickets.points)["height"][None]}


def finite(state):
    return all(t.isfinite().all() for t in state.values())


def without_training(s, patch):
    """Of networks on other data what is known before they are trained, unless all trainings are made."""
    if s.source.full:
        return
    measured = starts.measured

    def levels(net, config, state):
        return [(unmade(state, net), None)] * (config.levels + 1)

    def of_made(net, ds, states, points):
        if finite(states[0]):
            return measured(net, ds, states, points)
        error = torch.full((len(states), len(states[0][net.prunable[0]])), torch.nan, dtype=torch.float64)
        return {"error": error, "barrier": error[1:]}

    patch.setattr(starts, "trained", lambda net, portions, recipe, state, *_, **__: unmade(state, net))
    patch.setattr(starts, "levels", lambda net, ds, config, rewind, *_: levels(net, config, rewind))
    patch.setattr(starts, "fed", lambda net, portions, config, _: levels(net, config, net.init(config.replicates)))
    patch.setattr(starts, "measured", of_made)


def on_other_data(name):
    def again(s, patch):
        without_training(s, patch)
        return made(s, name)

    return again


def landscape_of_data(s, patch):
    if not s.source.full:
        patch.setattr(importlib.import_module("lotterybook.diet.experiments"), "_fed", lambda s: ())
    return made(s, "landscape_of_data")


ONE_LIMIT = {"limits.levels": 1, "limits.replicates": 1, "limits.rewind_steps": 1, "limits.probes": 1}
ONE_PERTURBED = {
    "robustness.replicates": 1, "robustness.rewind_steps": 1, "robustness.few_scales": 1, "robustness.times": 1,
}  # fmt: skip
CUTS = {  # by the name of the experiment, the cheap ones first
    "histograms": Cut({"all": EXACT, "layer": EXACT}, replicates=None, levels=3),
    "refilling": Cut(
        dict.fromkeys(("refilled", "already", "removed", "removed_without", "signs", "magnitudes"), EXACT)
        | dict.fromkeys(("start_signs", "start_magnitudes"), EXACT),
        first_step=True,
    ),
    "winning_tickets": Cut({"error": ERROR}, first_step=True, levels=4, again=winning_tickets),
    "all_pairs": Cut({"height": LINE}, first_step=True, levels=3),
    "recalibrated_pairs": Cut(
        {"height": LINE}, {"barriers.recalibrated_steps": 1, "barriers.recalibrated_replicates": 1}, levels=2
    ),
    "projections": Cut({"error": ERROR, "height": LINE}, first_step=True, levels=4),
    "successive_barriers": Cut({"height": LINE, "curve": ERROR, "recalibrated": LINE}, first_step=True, levels=2),
    "blows": Cut(
        dict.fromkeys(("masked", "masked_recalibrated", "perturbed", "perturbed_recalibrated"), LINE)
        | {"distance": EXACT, "norm": EXACT},
        {"robustness.levels": 1}, first_step=True, levels=6,
    ),
    "plane": Cut(
        {"error": LINE, "horizontal": EXACT, "vertical": EXACT, "corners": EXACT}, {"barriers.plane_steps": 3},
        first_step=True, again=plane,
    ),
    "projected": Cut({"loss": EXACT, "error": ERROR}, ONE_LIMIT, again=with_few_fractions("projected")),
    "adaptive": Cut(  # the density of level 1 is what the rule says; the rule asks for both replicates
        {"error": ERROR}, {"limits.adaptive_rises": 1, "limits.adaptive_levels": 1}, replicates=None,
        book={"error": TRAINED, "density": Within(absolute=0.05)},  # two steps of the rule
    ),
    "exact": Cut({"largest": Within(relative=0.01)}, again=exact),
    "overlap": Cut(
        {"kept": Within(absolute=0.02), "eigenvalue": Within(relative=0.01)},
        {"limits.replicates": 1, "limits.overlap.levels": -1, "limits.overlap.count": 1}, again=overlap, last=True,
    ),
    "spectra": Cut(
        {"norm": EXACT, "removed": EXACT, "largest": Within(relative=0.01), "batch_noise": Within(relative=0.01),
         "along": Within(absolute=1e-4, relative=0.01)},
        ONE_LIMIT | {"limits.iterations": 9},
    ),
    "return_path": Cut({"distance": EARLY, "travelled": EARLY, "cosine": EARLY}, ONE_PERTURBED, again=return_path),
    "during_training": Cut(
        {"removed": Within(relative=0.2), "loss": Within(absolute=0.05, relative=0.7), "largest": Within(relative=0.9)},
        {"limits.steps": 1, "limits.during.replicates": 1, "limits.during.probes": 1, "limits.during.iterations": 3},
        again=with_few_fractions("during_training"),
    ),
    "convergence": Cut(
        {"solution": EXACT, "loss": Within(absolute=0.01, relative=0.05)},
        {"limits.convergence.levels": 1, "limits.convergence.steps": 1, "limits.convergence.replicates": 1,
         "limits.convergence.by_magnitude": ((),), "limits.convergence.at_random": 1},
        trains=("convergence_*",), again=convergence,
    ),
    "descents": Cut(
        {"solution": EXACT, **dict.fromkeys(("loss", "control_loss"), Within(absolute=0.01, relative=0.2))},
        {"limits.levels": 1, "limits.replicates": 2}, replicates=2, again=descents,
    ),
    "found_masks": Cut(
        {"error": TRAINED, "step": BARRIER, "away": BARRIER},
        {"barriers.walk.levels": 1, "barriers.walk.return_levels": (1,), "barriers.walk.return_steps": 1},
        unlike=("level",),
    ),
    "without_retraining": Cut(
        {"none": ERROR, "rewound": ERROR, "rewound_barrier": LINE, "rewound_new_small": EXACT, "short": TRAINED,
         "short_barrier": BARRIER, "short_new_small": Within(absolute=0.05)},
        long={"kept": TRAINED, "fine": TRAINED},
        levels=3, trains=("learning_rate_level_01", "fine_*_1"),
    ),
    "contrast": Cut({"error": TRAINED}, again=contrast),
    "architectures": Cut({}, long={"error": TRAINED}, again=architectures),
    "other_instabilities": Cut({}, long={"height": BARRIER}, again=other_instabilities),
    "controls": Cut({"random_mask": TRAINED}, {"tickets.control_levels": 1}, levels=3, trains=("random_mask",)),
    "failing_masks": Cut(
        {"own": LINE, "own_error": ERROR, "random": BARRIER, "random_error": TRAINED}, {"tickets.control_levels": 1},
        levels=3, trains=("random_mask",),
    ),
    "fresh_starts": Cut(
        {}, {"tickets.fresh_levels": 1}, {"error": TRAINED}, levels=3, trains=("fresh_start",)
    ),
    "instability": Cut(
        {"height": EXACT, "curve": Within(10, 0.02, 0.8)},
        {"tickets.instability_steps": 1, "main.config.replicates": 1},
        trains=("instability_main_*",), again=instability,
    ),
    "robustness": Cut(
        {"distance": EXACT, "norm": EXACT},
        ONE_PERTURBED | {"robustness.levels": 1, "robustness.scales": 1, "robustness.unit_levels": 0},
        {"random": BARRIER, "random_error": TRAINED}, trains=("perturbed_random_*",),
    ),
    "forgiveness": Cut({}, ONE_PERTURBED, {"barrier": BARRIER, "error": TRAINED}, trains=("perturbed_later",)),
    "return_plane": Cut(
        {"track": Within(0, 0.1, 0.1)}, ONE_PERTURBED | {"barriers.plane_steps": 3},
        {"error": Within(absolute=0.1), **dict.fromkeys(("horizontal", "vertical"), Within(0, 0.1, 0.1))},
        trains=("return_plane",), again=return_plane, rows=1,
    ),
    "scores": Cut(
        {"wrong": Within(), "auc_single": Within(absolute=0.02), "precision_single": Within(absolute=0.15)},
        {"diet.score_replicates": 2, "diet.score_steps": 3},
    ),
    "early_data": Cut(
        {"all_error": ERROR, "all_barrier": LINE, "examples": Within(), "order": Within(), "share": Within()},
        {"diet.replicates": 1, "diet.starts": 1, "diet.start_levels": 1}, {"error": TRAINED, "barrier": ON_LITTLE},
        again=on_other_data("early_data"),
    ),
    "pruned_data": Cut(
        {"examples": Within(), "size": Within()}, {"diet.replicates": 1, "diet.sizes": 1, "diet.shares": 1},
        {"full": TRAINED_ON_LITTLE, "error": TRAINED_ON_LITTLE}, again=on_other_data("pruned_data"),
    ),
    "both": Cut(
        {"all_error": ERROR, "all_barrier": LINE, "examples": Within(), "order": Within(), "share": Within()},
        {"diet.replicates": 1, "diet.both_orders": 1, "diet.both_shares": 1, "diet.both_levels": 1},
        {"error": TRAINED_ON_LITTLE, "barrier": BARRIER}, again=on_other_data("both"),
    ),
    "landscape_of_data": Cut(
        {"all_largest": Within(relative=0.01), "all_loss": EXACT, "order": Within(), "share": Within()},
        {"diet.replicates": 1, "diet.both_orders": 1, "diet.both_shares": 1, "diet.both_levels": 1,
         "diet.spectrum_levels": 1, "diet.iterations": 9},
        {"largest": Within(relative=0.7), "loss": Within(absolute=0.01)}, again=landscape_of_data,
    ),
    "cycles": Cut(
        {}, {"retraining.cycle_levels": 1, "retraining.cycle_replicates": 1}, {"error": TRAINED}, trains=("cycle_*_1",)
    ),
}  # fmt: skip


def narrowed(value, wanted):
    """A setting with ``wanted`` of its entries, at most that large, or what is wanted instead; ``None`` stays."""
    if value is None or not isinstance(wanted, int):
        return value and wanted
    if isinstance(value, tuple):
        return value[:wanted] if wanted >= 0 else value[wanted:]
    return min(value, wanted)


def replaced(part, path, wanted):
    """A dataclass with the setting at a dotted path narrowed."""
    field, _, rest = path.partition(".")
    value = getattr(part, field)
    return dataclasses.replace(part, **{field: replaced(value, rest, wanted) if rest else narrowed(value, wanted)})


def unmade(state, net):
    """A state that was not trained: its prunable weights as they were, for masks, and NaN, so that nothing else is."""
    return {name: t * torch.nan if name in {*net.parameters} - {*net.prunable} else t for name, t in state.items()}


class Slice(experiment.Setup):
    """What an experiment sees of a whole setup."""

    def __init__(self, source, cut):
        super().__init__(source.whole.name, False, source.whole.device)
        self.source, self.whole, self.cut = source, source.whole, cut
        vars(self)["ds"] = self.whole.ds
        for path, wanted in cut.settings.items():
            self.preset = replaced(self.preset, path, wanted)

    @functools.cached_property
    def _seen(self):
        run = self.whole.run()
        run = run.first(self.cut.replicates) if self.cut.replicates else run
        run = run.at(run.config.rewind_step[0]) if self.cut.first_step else run
        levels = run.levels[: self.cut.levels]
        return imp.Run(dataclasses.replace(run.config, levels=len(levels) - 1), run.rewind, levels)

    def run(self, arm="main", **changes):
        """What is seen of the published run; with ``changes`` one that goes on from its dense network, in memory."""
        run = self._seen
        if set(changes) <= {"levels"}:  # the whole of it, or its beginning
            return run
        config = dataclasses.replace(run.config, **changes)
        k = config.rewind_step[0] if config.rewind_step[0] in run.config.rewind_step else run.config.rewind_step[0]
        run = run.at(k).first(config.replicates)
        run = imp.Run(config, run.rewind, run.levels[:1])

        def train(name, state, mask, start, seeds):
            solution = self.train(f"{config.rewinding}_{name}", state, mask, start, seeds)
            return imp.Level(solution, mask, self.error(solution), {})

        with progress.bar(total=0) as bar:
            work = imp._Work(self.net(), self.ds, config, store.Folder(None, {}), bar, {})
            object.__setattr__(work, "train", train)
            while len(run) <= config.levels:
                run = work.next(run)
        return run

    def train(self, name, state, mask=None, start=0, order_seed=1, arm="main", recipe=None):
        """The last row trained, if the cut asks for that; all others are unmade. The same training is made once."""
        recipe, net = recipe or getattr(self.preset, arm).config.recipe, self.net(arm)
        row, asked = len(order_seed) - 1, any(fnmatch(name, pattern) for pattern in self.cut.trains)
        start = start[row] if isinstance(start, list) else start
        long = self.cut.long and recipe.steps - start > SHORT
        if not asked or (long and not self.source.full):
            return unmade(state, net)
        one, mask = select(state, [row]), select(mask or pruning.full(net, state), [row])
        given = {**one, **{f"mask of {entry}": keep for entry, keep in mask.items()}}
        key = store.digest(given, f"{recipe} {start} {order_seed[row]}")
        if key not in self.source.made:
            self.source.made[key] = training.train(net, one, self.ds, recipe, mask, start, None, order_seed[row:])
        return concatenate([unmade(select(state, slice(row)), net), self.source.made[key]])

    def error(self, state):
        """As the whole setup measures it; NaN, without measuring, of what is unmade."""
        return self._of_made(lambda state: super(Slice, self).error(state), state)

    def barrier(self, a, b, arm="main"):
        """Likewise; without the curve where something is unmade."""
        found = []

        def height(a, b):
            found.append(super(Slice, self).barrier(a, b, arm))
            return found[0].height

        heights = self._of_made(height, a, b)
        return found[0] if heights.isfinite().all() else landscape.Barrier(heights, heights[None], None)

    def _of_made(self, function, *states):
        made = torch.stack([t.reshape(len(t), -1).isfinite().all(1) for state in states for t in state.values()]).all(0)
        result = torch.full(made.shape, torch.nan, dtype=torch.float64)
        if made.any():
            rows = made.nonzero()[:, 0].tolist()
            result[rows] = function(*(select(state, rows) for state in states))
        return result


class Source:
    """A preset whose records are published, or smoke; with what has been made again of them.

    ``full``: with all trainings.
    """

    def __init__(self, name):
        self.preset, self.full, self.made = "smoke" if name == "smoke" else "book", name != "book", {}

    @functools.cached_property
    def whole(self):
        whole = experiment.setup(self.preset, device="cpu")
        assert self.preset == "smoke" or whole.published, "the weights that the records were measured of"
        return whole

    def record(self, name):
        path = records.PUBLISHED / self.preset / f"{name}.safetensors"
        if self.preset != "smoke" and not path.exists():
            pytest.skip(f"the record {name} of {self.preset} is not published yet")
        return experiment.recorded(name, self.preset, device="cpu")

    @functools.cache  # noqa: B019
    def again(self, name):
        """The slice of a record, made again once."""
        with pytest.MonkeyPatch.context() as patch:
            cut, s = CUTS[name], Slice(self, CUTS[name])
            found = cut.again(s, patch) if cut.again else made(s, name)
        found = {key: torch.as_tensor(value) for key, value in found.items()}
        return {key: value[: cut.rows] if cut.rows and value.dim() else value for key, value in found.items()}

    def compared(self, name):
        """Arrays by name that have been made again, with the tolerance of each."""
        cut, found = CUTS[name], self.again(name)
        places = dict.fromkeys(WHERE & set(found) - set(cut.unlike), Within())
        made = {key for key, value in found.items() if value.isfinite().any()}
        long = {key: within for key, within in cut.long.items() if self.full or key in made}
        own = cut.book if self.preset == "book" else {}
        return {key: (found[key], within) for key, within in {**places, **cut.within, **long, **own}.items()}

    def differing(self, name, record):
        """The arrays of a record that do not come out again: what was made, and what is recorded."""
        wrong = {}
        for key, (value, within) in self.compared(name).items():
            there, numbers = corner(record[key], value, CUTS[name].last), value.isfinite()
            off = (value - there).abs() - within.of(value, len(self.whole.ds.test_y)) - 1e-9
            if not numbers.any() or not (off[numbers] <= 0).all():
                wrong[key] = value[numbers], there[numbers]
        return wrong


def corner(recorded, value, last=False):
    """The part of a recorded array, a view, that a value was made of."""
    recorded = recorded[-len(value) :] if last and value.dim() else recorded
    return recorded[tuple(slice(n) for n in value.shape)]


@pytest.fixture(scope="module", params=["smoke", "book", pytest.param("book in full", marks=pytest.mark.slow)])
def source(request, mnist1d, smoke_folder, tmp_path_factory):
    """The records of smoke, computed on a smaller test set, and the published ones of the book."""
    folder, ds = tmp_path_factory.mktemp("again"), mnist1d
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "smoke":
            folder, ds = smoke_folder, dataclasses.replace(ds, test_x=ds.test_x[:SMALL], test_y=ds.test_y[:SMALL])
            patch.setattr(records, "PUBLISHED", folder / "records")
        patch.setenv("LOTTERYLIB_RUNS", str(folder / "runs"))
        patch.setattr(data, "load", lambda name, device="auto": {"mnist1d": ds}[name])
        experiment._setup.cache_clear()
        yield Source(request.param)
    experiment._setup.cache_clear()


def test_every_record_of_the_book_has_a_slice():
    assert set(experiment.experiments_of("book")) == set(CUTS), "add to CUTS how a slice of the record is made again"


@pytest.mark.parametrize("name", CUTS)
def test_a_slice_of_the_record_comes_out_again(source, name):
    assert source.differing(name, source.record(name)) == {}


@pytest.mark.parametrize("name", CUTS)
def test_a_number_that_is_moved_beyond_its_tolerance_is_noticed(source, name):
    """The first one of every array that is compared."""
    record = source.record(name)
    for key, (value, within) in source.compared(name).items():
        moved, first = record[key].clone(), tuple(value.isfinite().nonzero()[0])
        by = 2.5 * within.of(value[first].double(), len(source.whole.ds.test_y)) + 1e-6
        corner(moved, value, CUTS[name].last)[first] += by if moved.is_floating_point() else 1
        assert key in source.differing(name, {**record, key: moved})
