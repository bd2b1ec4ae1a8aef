"""Findings of chapter 7: what holds at each scale, side by side."""

import math

import torch

from .. import verdicts
from ..barriers import halves
from ..barriers.experiments import successive_barriers
from ..barriers.findings import connected_and_matching, distant_levels
from ..experiment import recorded
from ..presets import PRESETS
from ..retraining.experiments import refilling
from ..retraining.findings import new_small
from ..tickets.evidence import EPSILON as HALF_A_POINT
from ..tickets.experiments import instability, winning_tickets
from ..tickets.findings import first_stable, tickets_and_stability
from .costs import INPUTS, LARGER, LOSSY, Work
from .experiments import NEEDED, scales

LIMITS = {  # errors up to which a network matches, from a record of winning tickets: scalar or (K, R)
    "mean dense error + ε": verdicts.largest_error,
    "own dense error + ε": lambda tickets: tickets["error"][0] + verdicts.tolerance(tickets),
    "own dense error + half a point": lambda tickets: tickets["error"][0] + HALF_A_POINT,
}


def settings(names) -> verdicts.Text:
    """What each scale is: network, data, schedule, replicates, dense error."""
    rows = []
    for name in names:
        preset, tickets = PRESETS[name], winning_tickets(name)
        config, work = preset.main.config, Work.of(name)
        rows.append([
            f"**{name}**", f"{preset.main.network}, {work.weights:,} weights",
            LOSSY.get(preset.dataset, preset.dataset),
            f"{config.recipe.steps:,} × {config.recipe.batch_size}", f"{config.replicates}",
            ", ".join(map(str, config.rewind_step)), verdicts.percent(tickets["error"][0, 0]),
            verdicts.points(verdicts.tolerance(tickets), 2),
        ])  # fmt: skip
    header = ["preset", "network", "data", "steps × batch", "replicates", "rewind steps", "dense error", "ε"]
    return verdicts.table(header, rows)


def claims_by_scale(names) -> verdicts.Text:
    """The claims of chapters 1 and 2, one column for each scale: value and verdict."""
    columns = []
    for name in names:
        record = {needed: recorded(needed, name) for needed in NEEDED}
        tickets, barriers = record["winning_tickets"], record["successive_barriers"]
        columns.append([
            *tickets_and_stability(tickets, record["instability"]),
            *connected_and_matching(tickets, barriers),
            distant_levels(tickets, barriers, record["all_pairs"]),
        ])  # fmt: skip
    rows = [
        [column[0].claim, *(f"{v.value}: **{v.verdict}**" for v in column)] for column in zip(*columns, strict=True)
    ]
    return verdicts.table(["claim", *names], rows)


def matching_share(tickets, limit):
    """Share of the pruned networks, of all levels and replicates, up to one of ``LIMITS``, by rewind step: (K,)."""
    return (tickets["error"][1:] <= limit(tickets)).double().mean((0, 2))


def authors_points(tickets, barriers) -> dict:
    """C1 as the paper's authors plot it: a point for each level and rewind step, means over replicates, (levels, K).

    ``excess``: error of the sparser network minus the mean dense error. Between it and the level before: ``barrier``,
    and ``midpoint``, the error halfway minus the mean of the ends; they plot the error halfway itself.
    """
    some, curve = halves.pairs(tickets["error"], barriers["height"]).mean(), barriers["curve"].mean(-1)
    midpoint = curve[:, curve.shape[1] // 2] - (curve[:, 0] + curve[:, -1]) / 2
    return {**some._asdict(), "midpoint": midpoint}


def as_authors_count(tickets, barriers, measure="barrier", first=halves.HIGHER, limit=HALF_A_POINT):
    """How many of ``authors_points`` from level ``first`` on are connected, and matching: both up to ``limit``.

    Returns a ``verdicts.Contingency``.
    """
    found = authors_points(tickets, barriers)
    return halves.count(halves.Pairs(found["excess"], found[measure]).levels(first), limit)


def numbers(preset) -> dict:
    """The numbers that chapter 7 quotes: those of a preset and of each scale beside it."""
    named = {}
    for name in scales(preset):
        named |= {f"{name} {what}": text for what, text in {**_numbers(name), **_size(name)}.items()}
    return named | {f"larger {what}": str(count) for what, count in LARGER.items()}


def _numbers(name):
    """What the records of one scale say."""
    tickets, unstable = winning_tickets(name), instability(name)
    own = tickets["error"] - tickets["error"][0]
    named = {"replicates": str(own.shape[-1]), "epsilon": verdicts.points(verdicts.tolerance(tickets), 2)}
    for i, (k, reach) in enumerate(zip(tickets["rewind_step"].tolist(), verdicts.reach(tickets), strict=True)):
        named[f"matching k={k}"] = reach
        named[f"own k={k}"] = verdicts.points(own[4, i])
        for called, limit in LIMITS.items():
            named[f"{called} k={k}"] = verdicts.percent(matching_share(tickets, limit)[i], 0)
    named["minutes"] = f"{tickets.about['seconds'] / 60:.0f}"
    refill = refilling(name)
    for i, k in enumerate(refill["rewind_step"].tolist()):
        named[f"new small k={k}"] = verdicts.percent(new_small(refill)[:, i].mean(0), 0)
        named[f"already k={k}"] = verdicts.percent(refill["already"][:, i].mean(0), 0)
    for k, height in zip(unstable["rewind_step"].tolist(), unstable["height"], strict=True):
        named[f"instability k={k}"] = verdicts.points(height)
    first = first_stable(unstable)
    if first is not None:
        share = int(unstable["rewind_step"][first]) / PRESETS[name].main.config.recipe.steps
        named["stable from"] = verdicts.percent(share)
    return named | pairs(tickets, successive_barriers(name), PRESETS[name].barriers.pair_points)


def pairs(tickets, barriers, few) -> dict:
    """How high the barriers of successive levels are and how many pairs are connected, as texts by name.

    ``height`` is the barrier with interpolated BatchNorm statistics, ``recalibrated`` that with statistics measured
    anew at ``few`` points, ``thinned`` the first one at as many; ``if`` counts the matching pairs that are connected,
    ``others`` the connected ones of the rest.
    """
    named, curve = {}, barriers["curve"]
    chosen = torch.linspace(0, curve.shape[1] - 1, few).round().long()
    gamma = chosen[:, None, None].double() / (curve.shape[1] - 1)
    thinned = (curve[:, chosen] - torch.lerp(curve[:, :1], curve[:, -1:], gamma)).amax(1)
    kinds = {"height": barriers["height"], "recalibrated": barriers["recalibrated"], "thinned": thinned}
    for i, k in enumerate(barriers["rewind_step"].tolist()):
        error = tickets["error"][:, i : i + 1]
        counts = {
            kind: verdicts.contingency({"error": error}, barrier[:, i : i + 1]) for kind, barrier in kinds.items()
        }
        named |= {f"{kind} if k={k}": _of(count.both, count.only_matching) for kind, count in counts.items()}
        for kind in ("height", "recalibrated"):
            named[f"last {kind} k={k}"] = verdicts.points(barriers[kind][-1, i])
            named[f"{kind} others k={k}"] = _of(counts[kind].only_connected, counts[kind].neither)
        named[f"height k={k}"] = verdicts.points(barriers["height"][:-1, i].mean(0))
        connected = counts["height"].both + counts["height"].only_connected
        named[f"height connected k={k}"] = f"{connected} of {sum(counts['height'])}"
        named[f"highest k={k}"] = verdicts.percent(barriers["curve"][:, :, i].amax(1).mean(0), 0)
        height = barriers["height"][:, i]
        first = verdicts.contingency({"error": error[:2]}, height[:1, None])
        named[f"first if k={k}"] = _of(first.both, first.only_matching)
        named[f"first k={k}"] = f"{100 * height[0].min():.1f} to {verdicts.points(height[0].max())}"
    for where, epsilon in (("", None), (" at half a point", HALF_A_POINT)):
        count = verdicts.contingency(tickets, barriers["height"], epsilon, sparse=True)
        named[f"sparse if{where}"] = _of(count.both, count.only_matching)
        named[f"sparse only if{where}"] = _of(count.both, count.only_connected)
    return named


def _of(some, others):
    return f"{some} of {some + others}"


def _size(name):
    """How large one scale is: network, data, and the operations of a step as a multiple of the testbed's."""
    work, (shape, _, examples) = Work.of(name), INPUTS[PRESETS[name].dataset]
    factor = work.step_operations / Work.of("book").step_operations
    return {
        "weights": f"{work.weights:,}", "inputs": f"{math.prod(shape):,}", "examples": f"{examples:,}",
        "step factor": f"{factor:.0f}",
    }  # fmt: skip
