"""Findings of chapter 5."""

import torch

from ..barriers.experiments import successive_barriers
from ..tickets.experiments import winning_tickets
from ..verdicts import (
    FAILS,
    HOLDS,
    PARTLY,
    UNTESTED,
    Table,
    Verdict,
    grade,
    last_matching,
    percent,
    points,
    rewind_steps,
    sparsest_matching,
    tolerance,
)
from . import experiments

ARMS = {"rewound": "IMP", "kept": "weights kept", "short": "short retraining", "none": "no retraining"}


def new_small(record):
    """Of the weights that the next level prunes, the share that lie below the last threshold, (levels - 1, K, R)."""
    return (record["refilled"] / record["fraction"]).clamp(max=1)


def split(values, tickets):
    """Values of solutions from level 1 on, (levels - 1, K, R), as two lists of K parts: levels that match, and others.

    A rewind step matches as far as its mean error stays within epsilon; a part is (its levels, R), of none if empty.
    """
    last = sparsest_matching(tickets).tolist()
    return [values[:n, i] for i, n in enumerate(last)], [values[n:, i] for i, n in enumerate(last)]


def role_of_retraining(record, without, tickets) -> Table:
    """The verdicts of chapter 5, on claim C4."""
    less = (record["removed"] < record["removed_without"]).double()
    return Table([
        Verdict(
            "Retraining makes new small weights",
            "of the weights that the next level prunes, the share that lie below the last threshold, where the pruning "
            "had left none; holds from 90 % where IMP matches, partly from 50 %",
            *_where_matching(new_small(record), record, tickets, 0.9, 0.5),
        ),
        Verdict(
            "The weights pruned next become small in retraining",
            "share of them that were not among the smallest before it (chance: "
            f"{percent(1 - record['fraction'], 0)}); holds from 75 % where IMP matches, partly from 50 %",
            *_where_matching(1 - record["already"], record, tickets, 0.75, 0.5),
        ),
        Verdict(
            "So the next pruning removes less than it would without",
            "length removed by the next pruning, after retraining against without; share of levels and replicates in "
            "which it is less; holds from 90 %, partly from 75 %",
            "; ".join(f"k = {k}: {percent(less[:, i].mean(0), 0)}" for i, k in enumerate(rewind_steps(record))),
            grade(float(less[:, 1:].mean())),
        ),
        *_reaches(without, tickets),
    ])  # fmt: skip


def _where_matching(values, record, tickets, holds, partly):
    """Value and verdict of a share (levels - 1, K, R), graded where IMP matches and told elsewhere too."""
    parts, steps = split(values, tickets), rewind_steps(record)
    said = [
        ", ".join(f"k = {k}: {percent(part.mean(0), 0)}" for k, part in zip(steps, some, strict=True) if len(part))
        for some in parts
    ]
    matching = torch.cat(parts[0]).flatten()
    verdict = grade(float(matching.mean()), holds, partly) if len(matching) else UNTESTED
    return f"where IMP matches: {said[0] or 'no level'}; at other levels: {said[1] or 'none'}", verdict


def _reaches(without, tickets):
    """The verdicts on how far pruning gets with less than retraining from the rewind point."""
    reach = {arm: int(last_matching(without[arm], tickets)) for arm in ARMS}
    reached = {arm: f"{ARMS[arm]} {percent(without['density'][level], 0)}" for arm, level in reach.items()}
    gap = (without["short"] - without["rewound"])[-1]
    return [
        Verdict(
            "Without retraining the sparsity is out of reach",
            "fewest weights down to which the mean error is within ε of the dense; holds if IMP reaches fewer than "
            "pruning without retraining",
            "; ".join(reached.values()),
            HOLDS if reach["rewound"] > reach["none"] else FAILS,
        ),
        Verdict(
            "Short retraining without rewinding does not replace it",
            "the same, and the error of short retraining minus IMP's; holds if IMP reaches fewer weights, partly if "
            "only its error at the sparsest level is lower by more than ε",
            f"{reached['rewound']}; {reached['short']}; {points(gap)} at the sparsest level",
            HOLDS if reach["rewound"] > reach["short"] else PARTLY if gap.mean() > tolerance(tickets) else FAILS,
        ),
    ]


def numbers(preset) -> dict:
    """The numbers that chapter 5 quotes."""
    record, without = experiments.refilling(preset), experiments.without_retraining(preset)
    tickets, named = winning_tickets(preset), {}
    shares = {"new small": new_small(record), "already": record["already"]}
    fresh, elsewhere = split(shares["new small"], tickets)
    old, _ = split(shares["already"], tickets)
    barrier = successive_barriers(preset)["height"]
    for i, k in enumerate(rewind_steps(record)):
        parts = {"new small matching": fresh[i], "new small other": elsewhere[i], "already matching": old[i]}
        for name, part in parts.items():
            named[f"{name} k={k}"] = percent(part.mean(0), 0) if len(part) else "none"
        named[f"refilled k={k}"] = percent(record["refilled"][:, i].mean(0), 0)
        named |= {f"{name} k={k}": percent(values[:, i].mean(0), 0) for name, values in shares.items()}
        named[f"removed k={k}"] = percent(record["removed"][:, i].mean(0), 0)
        named[f"removed without k={k}"] = percent(record["removed_without"][:, i].mean(0), 0)
        named[f"signs k={k}"] = percent(record["signs"][:, i].mean(0), 0)
        named[f"start signs k={k}"] = percent(record["start_signs"][:, i].mean(0), 0)
        named[f"first signs k={k}"] = percent(record["signs"][0, i].mean(), 0)
        named[f"last signs k={k}"] = percent(record["signs"][-1, i].mean(), 0)
        named[f"last signs barrier k={k}"] = points(barrier[len(record["signs"]) - 1, i].mean(), 0)
    named["last signs density"] = percent(record["density"][len(record["signs"])])
    last = {arm: int(last_matching(without[arm], tickets)) for arm in ARMS}
    named |= {f"reach {arm}": percent(without["density"][level], 0) for arm, level in last.items()}
    named["leaves short"] = percent(without["density"][min(last["short"] + 1, len(without["density"]) - 1)], 0)
    short = without["short_barrier"].mean(-1)
    named["short within"] = percent(without["density"][int((short <= tolerance(tickets)).long().cumprod(0).sum())])
    named["short barrier before last"] = points(short[:-1].max())
    named["short barrier largest"] = points(short.max())
    return named
