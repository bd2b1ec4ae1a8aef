"""Experiments of chapter 5: what retraining does to magnitudes, and what becomes of pruning without it."""

from itertools import pairwise

import torch

from lotterylib import pruning

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


@experiment("main", "tickets.control_step", "retraining.short_step", "tickets.points")
def without_retraining(s):
    """The same sparsities with less and less retraining, at rewind step ``control_step``: errors (levels + 1, R).

    ``none``: pruned from the dense solution at once, not retrained. ``short``: after each level the weights stay and
    only the schedule's end, from ``short_step`` on, is trained again. ``kept``: the weights stay, the schedule goes
    back to the rewind step. ``rewound``: IMP. ``short_barrier`` and ``rewound_barrier`` (levels, R): barriers between
    successive solutions of the two.
    """
    k, short = s.preset.tickets.control_step, s.preset.retraining.short_step
    rewound = s.run().at(k)
    kept = s.run(rewind_step=k, rewinding="learning_rate")
    brief = s.run(rewind_step=short, rewinding="learning_rate")
    dense, mask, none = rewound[0].state, rewound[0].mask, [rewound[0].error]
    for _ in range(rewound.config.levels):
        mask = pruning.magnitude(dense, mask, rewound.config.fraction)
        none.append(s.error(pruning.apply(dense, mask)))
    barriers = {
        name: torch.stack([s.barrier(a.state, b.state).height for a, b in pairwise(run.levels)])
        for name, run in (("short", brief), ("rewound", rewound))
    }
    return {
        "none": torch.stack(none), "short": brief.errors[:, 0], "kept": kept.errors[:, 0],
        "rewound": rewound.errors[:, 0], **{f"{name}_barrier": height for name, height in barriers.items()},
        "density": rewound.densities,
    }  # fmt: skip
