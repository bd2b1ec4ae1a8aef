"""Findings of chapter 5."""

import torch

from .. import experiments
from .shared import FAILS, HOLDS, PARTLY, Table, Verdict, grade, percent, points, rewind_steps, tolerance

ARMS = {"rewound": "IMP", "kept": "weights kept", "short": "short retraining", "none": "no retraining"}


def new_small(record):
    """Of the weights that the next level prunes, the share that lie below the last threshold, (levels - 1, K, R)."""
    return (record["refilled"] / record["fraction"]).clamp(max=1)


def role_of_retraining(record, without, tickets) -> Table:
    """The verdicts of chapter 5, on claim C4."""
    new, less = new_small(record), (record["removed"] < record["removed_without"]).double()

    def by_step(values):
        return "; ".join(f"k = {k}: {percent(values[:, i].mean(0), 0)}" for i, k in enumerate(rewind_steps(record)))

    reach = {arm: _reach(without[arm], tickets) for arm in ARMS}
    reached = "; ".join(f"{ARMS[arm]}: {percent(without['density'][level], 0)}" for arm, level in reach.items())
    return Table([
        Verdict(
            "Retraining makes new small weights",
            "of the weights that the next level prunes, the share that lie below the last threshold, where the pruning "
            "had left none; holds from 90 %, partly from 50 %",
            by_step(new),
            grade(float(new[:, 1:].mean()), 0.9, 0.5),
        ),
        Verdict(
            "The weights pruned next become small in retraining",
            "share of them that were not among the smallest before it (chance: "
            f"{percent(1 - record['fraction'], 0)}); holds from 75 %, partly from 50 %",
            by_step(1 - record["already"]),
            grade(float(1 - record["already"][:, 1:].mean()), 0.75, 0.5),
        ),
        Verdict(
            "So the next pruning removes less than it would without",
            "length removed by the next pruning, after retraining against without; share of levels and replicates in "
            "which it is less; holds from 90 %, partly from 75 %",
            by_step(less),
            grade(float(less[:, 1:].mean())),
        ),
        Verdict(
            "Without retraining the sparsity is out of reach",
            "fewest weights down to which the mean error is within ε of the dense; holds if IMP reaches fewer than "
            "pruning without retraining",
            reached,
            HOLDS if reach["rewound"] > reach["none"] else FAILS,
        ),
        Verdict(
            "Short retraining without rewinding does not replace it",
            "the same; holds if IMP reaches fewer weights than short retraining, partly if its error is lower at the "
            "sparsest level only",
            points((without["short"] - without["rewound"])[-1]) + " at the sparsest level",
            HOLDS if reach["rewound"] > reach["short"]
            else PARTLY if (without["short"] - without["rewound"])[-1].mean() > tolerance(tickets) else FAILS,
        ),
    ])  # fmt: skip


def _reach(error, tickets):
    """The last level down to which the mean error always stays within epsilon of the dense."""
    ok = error.mean(-1) <= float(tickets["error"][0].mean()) + tolerance(tickets)
    return int(ok.long().cumprod(0).sum()) - 1


def numbers(preset) -> dict:
    """The numbers that chapter 5 quotes."""
    record, without = experiments.refilling(preset), experiments.without_retraining(preset)
    tickets, named = experiments.winning_tickets(preset), {}
    for i, k in enumerate(rewind_steps(record)):
        named[f"refilled k={k}"] = percent(record["refilled"][:, i].mean(0), 0)
        named[f"new small k={k}"] = percent(new_small(record)[:, i].mean(0), 0)
        named[f"already k={k}"] = percent(record["already"][:, i].mean(0), 0)
        named[f"removed k={k}"] = percent(record["removed"][:, i].mean(0), 0)
        named[f"removed without k={k}"] = percent(record["removed_without"][:, i].mean(0), 0)
        named[f"signs k={k}"] = percent(record["signs"][:, i].mean(0), 0)
        named[f"start signs k={k}"] = percent(record["start_signs"][:, i].mean(0), 0)
    for arm in ARMS:
        named[f"reach {arm}"] = percent(without["density"][_reach(without[arm], tickets)], 0)
        named[f"last {arm}"] = percent(without[arm][-1])
    named["short barrier"] = points(without["short_barrier"].mean(0))
    largest = torch.amax(without["short_barrier"].mean(-1))
    named["short barrier largest"] = points(largest)
    return named
