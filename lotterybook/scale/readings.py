"""What chapter 7 reads off a record of any scale: both halves of C1, where they end, and where training is stable."""

import torch

from ..barriers import halves
from ..barriers.halves import EPSILON, HIGHER, within
from ..barriers.readings import named
from ..verdicts import STABLE, Contingency, rewind_steps


def at_steps(record, steps) -> dict:
    """A record of tickets or of successive barriers at some of its rewind steps."""
    columns = [rewind_steps(record).index(k) for k in steps]
    chosen = {name: record[name][..., columns, :] for name in ("error", "height", "recalibrated") if name in record}
    return {**chosen, "density": record["density"], "rewind_step": record["rewind_step"][columns]}


def means(tickets, barriers, entry="height") -> halves.Pairs:
    """The pairs of successive levels as means over replicates, (levels, K)."""
    return halves.pairs(tickets["error"], barriers[entry]).mean()


def count(tickets, barriers, entry="height") -> Contingency:
    """C1 counted by the rule of chapter 2: from level ``HIGHER`` on, means over replicates, half a point for both."""
    return halves.count(means(tickets, barriers, entry).levels(HIGHER))


def apart(some, steps, unstable):
    """Pairs of rewind ``steps``, counted where the dense network is stable, and at the steps before: two counts."""
    first = stable_from(unstable)
    stable = torch.tensor([first is not None and k >= first for k in steps])
    return halves.count(some.at(stable)), halves.count(some.at(~stable))


def others(contrast, networks, unstable) -> dict:
    """What ``apart`` takes of each network of chapter 2 beside the main one, by its name.

    ``unstable``: the record of their instabilities; the contrasting network's own says it.
    """
    own = {"height": contrast["instability"], "rewind_step": contrast["rewind_step"]}
    records = {named(contrast.about["settings"]["contrast"]): (contrast["error"], contrast["barrier"], own)}
    for n, arm in enumerate(networks.about["settings"]["barriers.networks"]):
        there = networks["rewind_step"][n] >= 0
        own = {name: unstable[name][n][there] for name in ("height", "rewind_step")}
        records[named(arm)] = networks["error"][n][:, there], networks["barrier"][n][:, there], own
    return {
        name: (halves.pairs(error, barrier).mean().levels(HIGHER), rewind_steps(own), own)
        for name, (error, barrier, own) in records.items()
    }


def together(counts) -> Contingency:
    """The sum of several counts."""
    return Contingency(*map(sum, zip(*counts, strict=True)))


def told_by_step(tickets, barriers) -> int:
    """How many of the pairs that ``count`` counts are told right by their rewind step alone: all alike for each k."""
    joined = within(means(tickets, barriers).levels(HIGHER).barrier, EPSILON)
    return int(torch.maximum(joined.sum(0), (~joined).sum(0)).sum())


def last_levels(tickets, barriers):
    """For each k the last level down to which all match, and the last down to which all pairs are connected.

    By means, without a gap, from level ``HIGHER`` on; one less than that where none is: two lists.
    """
    some = means(tickets, barriers).levels(HIGHER)
    return [
        (within(values, EPSILON).long().cumprod(0).sum(0) + HIGHER - 1).tolist()
        for values in (some.excess, some.barrier)
    ]


def stable_from(unstable):
    """The first k from which on the mean instability stays below ``STABLE``; ``None`` if there is none."""
    stable = (unstable["height"].mean(-1) < STABLE).flip(0).long().cumprod(0).flip(0).tolist()
    return rewind_steps(unstable)[stable.index(1)] if 1 in stable else None
