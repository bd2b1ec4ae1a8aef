"""Experiments of chapter 5: what retraining does to magnitudes, and what becomes of pruning without it."""

from dataclasses import replace
from itertools import pairwise

import torch

from lotterylib import imp, pruning

from ..experiment import append, axes, experiment, grouped, stacked
from . import magnitudes, weight_changes

EDGES = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logspace(-4, 0.5, 37, dtype=torch.float64)])


@experiment("main")
def refilling(s):
    """What the next pruning finds after retraining, and what it would find without, per level, (levels - 1, K, R).

    For level L + 1, of the weights in ``m^(L+1)``: ``refilled``: share of those in ``w^(L+1)`` that lie below the
    threshold of the pruning before. ``already``: share of the next pruned that were among the smallest in the
    projection too; ``fraction`` () is what chance would give. ``removed``: length of what the next pruning takes from
    ``w^(L+1)``, as a share of its length; ``removed_without``: the same if it is taken from the projection at once.
    ``signs``, ``magnitudes``: share of equal signs and correlation of magnitudes between projection and ``w^(L+1)``;
    ``start_signs``, ``start_magnitudes``: between the rewind point and ``w^(L+1)``.
    """
    run, found = s.run(), {}
    for before, here, after in zip(run.levels, run.levels[1:], run.levels[2:], strict=False):
        limit = magnitudes.threshold(before.state, before.mask, here.mask)
        at_once = pruning.magnitude(before.state, here.mask, run.config.fraction)
        signs, sizes = weight_changes.agreement(before.state, here.state, here.mask)
        start_signs, start_sizes = weight_changes.agreement(run.rewind, here.state, here.mask)
        values = {
            "refilled": magnitudes.refilled(here.state, here.mask, limit),
            "already": weight_changes.already_small(before.state, here.state, here.mask, run.config.fraction),
            "removed": weight_changes.removed(here.state, here.mask, after.mask),
            "removed_without": weight_changes.removed(before.state, here.mask, at_once),
            "signs": signs, "magnitudes": sizes, "start_signs": start_signs, "start_magnitudes": start_sizes,
        }  # fmt: skip
        append(found, **{name: value.double() for name, value in values.items()})
    fraction = torch.tensor(run.config.fraction, dtype=torch.float64)
    shaped = {name: grouped(values, run) for name, values in stacked(found).items()}
    return {**shaped, "fraction": fraction, **axes(run)}


@experiment("main", "tickets.control_step")
def histograms(s):
    """Magnitudes of solution, projection and next solution at rewind step ``control_step``: shares of bins.

    ``all`` (levels, 3, R, bins), and ``layer`` (layers, levels, 3, bins), the mean over replicates, with the layers in
    the order of the network; ``edges`` (bins + 1,).
    """
    run = s.run().at(s.preset.tickets.control_step)
    every, layers = [], []
    for before, after in pairwise(run.levels):
        trio = [(before.state, before.mask), (before.state, after.mask), (after.state, after.mask)]
        every.append(torch.stack([magnitudes.histogram(state, mask, EDGES) for state, mask in trio]))
        layers.append(torch.stack([
            torch.stack([magnitudes.histogram(state, {name: mask[name]}, EDGES).mean(0) for state, mask in trio])
            for name in after.mask
        ]))  # fmt: skip
    return {"all": torch.stack(every), "layer": torch.stack(layers, 1), "edges": EDGES, "density": run.densities}


@experiment(
    "main", "tickets.control_step", "retraining.short_step", "tickets.points", "retraining.fine_steps",
    "retraining.fine_rates",
)  # fmt: skip
def without_retraining(s):
    """The same sparsities with less and less retraining, at rewind step ``control_step``: errors (levels + 1, R).

    ``none``: pruned from the dense solution at once, not retrained. ``short``: after each level the weights stay and
    only the schedule's end, from ``short_step`` on, is trained again. ``kept``: the weights stay, the schedule goes
    back to the rewind step. ``rewound``: IMP. ``fine`` (F, levels + 1, R): after each level the weights stay and are
    fine-tuned, with a first rate of ``fine_rate`` (F,), if the preset has some. ``short_barrier`` and so on (levels,
    R): barriers between successive solutions; ``short_new_small`` and so on (levels - 1, R): of the weights that the
    next level prunes, the share at or below the threshold of the last pruning, which had left none there.
    """
    k, short, rates = s.preset.tickets.control_step, s.preset.retraining.short_step, s.preset.retraining.fine_rates
    rewound = s.run().at(k)
    runs = {
        "rewound": rewound.levels,
        "kept": s.run(rewind_step=k, rewinding="learning_rate").levels,
        "short": s.run(rewind_step=short, rewinding="learning_rate").levels,
    }
    found = {name: value for arm, levels in runs.items() for name, value in _measured(s, arm, levels).items()}
    fine = {}
    for rate in rates or ():
        append(fine, **_measured(s, "fine", _fine_tuned(s, rewound, rate)))
    if rates:
        found |= {**stacked(fine), "fine_rate": torch.tensor(rates, dtype=torch.float64)}
    none = [s.error(pruning.apply(rewound[0].state, mask)) for mask in _one_shot(rewound, rewound.config.levels)]
    return {**found, "none": torch.stack(none), "density": rewound.densities}


@experiment(
    "main", "tickets.control_step", "retraining.cycle_levels", "retraining.cycle_replicates",
    only_with="retraining.cycle_levels",
)  # fmt: skip
def cycles(s):
    """As many retrainings as IMP has, with a mask that stays: the control of a competing account of them.

    Gadhikar et al. (2024) hold that the repeated schedule itself explains much of what iterative pruning gains. For
    each of ``cycle_levels`` the mask with as many weights that prunes the dense solution at once; from its projection
    the schedule, from ``control_step`` on, is trained as many times as IMP prunes, the weights kept, as in learning
    rate rewinding. One row a cycle: test ``error`` (C, R) after it, ``level`` (C,), ``cycle`` (C,) from 1 on, and
    ``density`` (C,).
    """
    k, chosen = s.preset.tickets.control_step, s.preset.retraining
    run, found = s.run().at(k).first(chosen.cycle_replicates), {}
    for level in chosen.cycle_levels:
        state, mask = run[0].state, _one_shot(run, level)[-1]
        for cycle in range(1, level + 1):
            state = s.train(f"cycle_{level}_{cycle}", state, mask, k, run.seeds)
            about = {"level": torch.tensor(level), "cycle": torch.tensor(cycle), "density": run.densities[level]}
            append(found, error=s.error(state), **about)
    return stacked(found)


def _one_shot(run, level):
    """The masks of levels 0 to ``level`` if the weights of the dense solution are ranked for all of them."""
    masks = [run[0].mask]
    for _ in range(level):
        masks.append(pruning.magnitude(run[0].state, masks[-1], run.config.fraction))
    return masks


def _fine_tuned(s, run, rate):
    """Levels that are pruned as IMP's are and fine-tuned from their projections, by a schedule of their own."""
    recipe = replace(run.config.recipe, steps=s.preset.retraining.fine_steps, lr=rate)
    levels = [run[0]]
    for level in range(1, run.config.levels + 1):
        last = levels[-1]
        mask = pruning.magnitude(last.state, last.mask, run.config.fraction)
        state = s.train(f"fine_{rate}_{level}", last.state, mask, 0, run.seeds, recipe=recipe)
        levels.append(imp.Level(state, mask, s.error(state), {}))
    return levels


def _measured(s, arm, levels):
    """An arm's errors, its barriers between successive solutions, and its share of new small weights."""
    triples = zip(levels, levels[1:], levels[2:], strict=False)
    return {
        arm: torch.stack([level.error for level in levels]),
        f"{arm}_barrier": torch.stack([s.barrier(a.state, b.state).height for a, b in pairwise(levels)]),
        f"{arm}_new_small": torch.stack([_new_small(*triple) for triple in triples]),
    }


def _new_small(before, here, after):
    """Of the weights that are pruned from ``here``, the share at or below the threshold of the pruning before, (R,)."""
    limit = magnitudes.threshold(before.state, before.mask, here.mask)
    return magnitudes.refilled(here.state, pruning.pruned(here.mask, after.mask), limit)
