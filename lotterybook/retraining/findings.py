"""Findings of chapter 5: what the records say of claim C4, and of four questions beside it.

The rules stand here since before there was a record of them: that of C4 (``checks``, ``graded``) since before this
testbed had any, those of ``questions`` since before anybody had looked at the records that they judge.

Pruning leaves no weight at or below its threshold. *New small weights* are those that are there again after
retraining; their share of what the next level prunes says how much of it retraining has provided. IMP *matches* as far
as its mean error stays within ``EPSILON`` of the mean dense error.
"""

import torch

from ..presets import PRESETS
from ..tickets.experiments import winning_tickets
from ..tickets.matching import EPSILON
from ..verdicts import (
    FAILS,
    HOLDS,
    PARTLY,
    UNTESTED,
    Table,
    Text,
    Verdict,
    grade,
    last_matching,
    percent,
    points,
    rewind_steps,
    table,
)
from . import experiments

MOST = 0.5  # share of the next pruned weights that have to be new small ones
IMP, LRR, SHORT, NONE = "weight rewinding (IMP)", "learning-rate rewinding", "the schedule's end only", "none"
RETRAINED = {"rewound": IMP, "kept": LRR, "short": SHORT}  # arms of the record by their names for readers


def arms(record) -> dict:
    """Errors (levels + 1, R) of all arms by their names for readers, from IMP to none."""
    return {**_by_name(record, ""), NONE: record["none"]}


def measured(record, what) -> dict:
    """``"barrier"`` (levels, R) or ``"new_small"`` (levels - 1, R) of all arms that retrain, by name.

    The i-th share is that of ``w^(i+1)``, of what the pruning to level i + 2 takes.
    """
    return _by_name(record, f"_{what}")


def last_level(record, tickets) -> int:
    """The last level down to which IMP matches, at the rewind step of the arms."""
    return int(last_matching(record["rewound"], tickets, EPSILON))


def checks(record, tickets) -> list:
    """The three parts of the rule, booleans; none if IMP matches at no level after which something is pruned.

    At the control's rewind step, at the levels from 1 on down to the last at which IMP matches: (1) the mean share of
    new small weights is at least ``MOST``; (2) it is larger than after fine-tuning at the smallest rate at every level;
    (3) at the last of them every fine-tuned network and the one without retraining have a larger mean error than IMP.
    """
    last = last_level(record, tickets)
    shares = record["rewound_new_small"][:last]
    if not len(shares):
        return []
    smallest = int(record["fine_rate"].argmin())
    fine = record["fine_new_small"][smallest, :last]
    error = record["rewound"][last].mean()
    worse = [*record["fine"][:, last].mean(-1), record["none"][last].mean()]
    return [
        bool(shares.mean() >= MOST), bool((shares.mean(-1) > fine.mean(-1)).all()), all(bool(e > error) for e in worse),
    ]  # fmt: skip


def graded(parts) -> str:
    """Holds if all three parts do; partly if the first and one other; else not; no verdict without a case."""
    if not parts:
        return UNTESTED
    return FAILS if not parts[0] else HOLDS if all(parts) else PARTLY if any(parts[1:]) else FAILS


def judged(record, tickets, k) -> Verdict:
    """The row of claim C4, at rewind step k."""
    return Verdict(
        "The role of retraining in IMP is to find a network with new small weights to prune",
        f"at k = {k}, at the levels where IMP matches (mean error at most {points(EPSILON)} above the dense): the "
        "share of the weights pruned next that lie at or below the last threshold, where pruning had left none, is (1) "
        f"at least {percent(MOST, 0)} in the mean and (2) at every level larger than after fine-tuning at the smallest "
        "rate, and (3) at the last of them all fine-tuned networks and one without retraining err more than IMP; holds "
        "if all are true, partly if the first and one other",
        _found(record, tickets),
        graded(checks(record, tickets)),
    )


def _found(record, tickets):
    parts, last = checks(record, tickets), last_level(record, tickets)
    if not parts:
        return "IMP matches at no level after which something is pruned"
    rate = record["fine_rate"].min()
    fine = record["fine_new_small"][int(record["fine_rate"].argmin()), :last]
    always = "more at every level" if parts[1] else "not more at every level"
    worse = "All that retrain less err more there" if parts[2] else "Not all that retrain less err more there"
    return (
        f"Down to {percent(record['density'][last], 0)} of the weights, where IMP matches last, "
        f"{_percent(record['rewound_new_small'][:last])} of what is pruned next is new and small; fine-tuned at a rate "
        f"of {rate:g} it is {_percent(fine)} ({always}). {worse}"
    )


def verdict(record, tickets, k) -> Table:
    """The verdict of chapter 5, on claim C4, from the records of the arms and of IMP, at rewind step k."""
    return Table([judged(record, tickets, k)])


def row(preset, recompute=False, device="auto") -> Verdict:
    """The row of claim C4 from the records of a preset."""
    less, tickets = (made(preset, recompute, device) for made in (experiments.without_retraining, winning_tickets))
    return judged(less, tickets, PRESETS[preset].tickets.control_step)


# Questions beside the claim


def new_small(record):
    """Of the weights that the next level prunes, the share that lie below the last threshold, (levels - 1, K, R)."""
    return (record["refilled"] / record["fraction"]).clamp(max=1)


def split(values, tickets):
    """Values of solutions from level 1 on, (levels - 1, K, R), as two lists of K parts: levels that match, and others.

    A rewind step matches as far as its mean error stays within ``EPSILON``; a part is (its levels, R), of none if
    empty.
    """
    last = last_matching(tickets["error"], tickets, EPSILON).tolist()
    return [values[:n, i] for i, n in enumerate(last)], [values[n:, i] for i, n in enumerate(last)]


def questions(refill, less, repeated, tickets) -> Table:
    """The verdicts on what the chapter asks beside the claim, from the records of its figures."""
    fresh = new_small(refill).mean((0, 2))
    old = torch.cat([part.flatten() for part in split(1 - refill["already"], tickets)[0]])
    shorter = (refill["removed"] < refill["removed_without"]).double()
    level = int(repeated["level"].max())
    left = 1 - gap_closed(repeated, less, level)
    return Table([
        Verdict(
            "Retraining makes new small weights from every rewind step, also where IMP fails",
            "of the weights that the next level prunes, the mean share over all levels that is new and small; holds if "
            f"it is at least {percent(MOST, 0)} at all rewind steps, partly at three of four",
            f"{percent(fresh.min(), 0)} to {percent(fresh.max(), 0)}, by rewind step",
            grade(float((fresh >= MOST).double().mean()), 1.0),
        ),
        Verdict(
            "The weights pruned next were not small before",
            "share of them that were not among the smallest before retraining (chance: "
            f"{percent(1 - refill['fraction'], 0)}), where IMP matches; holds from 75 %, partly from 50 %",
            f"{percent(old.mean(), 0)} were not" if len(old) else "IMP matches at no level",
            grade(float(old.mean()), 0.75, 0.5) if len(old) else UNTESTED,
        ),
        Verdict(
            "The next pruning takes away less than it would without retraining",
            "length that the next pruning removes, after retraining and from the projection at once; share of rewind "
            "steps, levels and replicates in which it is less; holds from 90 %, partly from 75 %",
            f"less in {percent(shorter.mean(), 0)} of the cases",
            grade(float(shorter.mean())),
        ),
        Verdict(
            "As many trainings with a mask that stays do not replace it",
            "at the sparsest of these masks, the share of the gap between one training of it and learning-rate "
            "rewinding that further trainings leave open; holds from 50 %, partly from 25 %",
            f"at {percent(less['density'][level], 0)} of the weights {percent(left, 0)} of the gap stays"
            if left == left
            else f"at {percent(less['density'][level], 0)} of the weights there is no gap",
            grade(left, 0.5, 0.25),
        ),
    ])  # fmt: skip


def highest(barriers, last) -> str:
    """The highest mean barrier (levels, R) between successive solutions down to a level, in points."""
    return points(barriers[:last].mean(-1).max()) if last else "no level"


def by_cycle(record, level):
    """Errors (n, R) of a level's fixed mask after 1, 2, ... cycles."""
    return record["error"][record["level"] == level]


def gap_closed(record, without, level, arm="kept"):
    """How much of the gap between one training of the fixed mask and an arm further cycles close; NaN without a gap.

    1: as many cycles with a fixed mask are as good as the arm, whose mask is found anew after each. Of means over the
    replicates that both have.
    """
    error = by_cycle(record, level)
    target = without[arm][level, : error.shape[-1]].mean()
    gap = float(error[0].mean() - target)
    return float(error[0].mean() - error[-1].mean()) / gap if gap > 0 else float("nan")


# Numbers: in tables, for the editor, and in the prose


def _by_rewind_step(refill, tickets):
    """What retraining changes, for each rewind step: where IMP matches and, after a stroke, at the other levels."""
    last = last_matching(tickets["error"], tickets, EPSILON).tolist()
    measures = new_small(refill), *(refill[name] for name in ("already", "removed", "removed_without", "signs"))
    parts = [split(values, tickets) for values in measures]
    rows = [
        [f"k = {k}", percent(tickets["density"][last[i]], 0)]
        + [f"{_percent(matching[i])} / {_percent(other[i])}" for matching, other in parts]
        for i, k in enumerate(rewind_steps(refill))
    ]
    header = ["rewind step", "matches down to", "new and small", "small before", "length removed"]
    return [*header, "without retraining", "signs kept"], rows


def _by_arm(less, tickets):
    """How far each way to retrain matches, and what it has where IMP matches last."""
    last, shares, heights, rows = last_level(less, tickets), measured(less, "new_small"), measured(less, "barrier"), []
    for name, error in arms(less).items():
        reach = percent(less["density"][int(last_matching(error, tickets, EPSILON))], 0)
        row = [name, reach, percent(error[last], 2), _percent(shares[name][:last]) if name in shares else "none"]
        rows.append([*row, highest(heights[name], last) if name in heights else "not measured"])
    kept = percent(less["density"][last], 0)
    header = ["retraining", "matches down to", f"error at {kept}", f"new and small down to {kept}"]
    return [*header, f"highest mean barrier down to {kept}"], rows


def _by_fixed_mask(repeated, less):
    """A mask that stays, after one training and after as many as IMP prunes, and the networks beside it."""
    rows = []
    for level in repeated["level"].unique().tolist():
        error = by_cycle(repeated, level)
        others = [less[arm][level, : error.shape[-1]] for arm in ("rewound", "kept")]
        closed = gap_closed(repeated, less, level)
        row = [percent(less["density"][level], 0), *(percent(e, 2) for e in (error[0], error[-1], *others))]
        rows.append([*row, percent(closed, 0) if closed == closed else "no gap"])
    return ["mask of", "after one training", "after as many as IMP has", IMP, LRR, "gap to the last closed"], rows


def by_rewind_step(refill, tickets) -> Text:
    """What retraining changes, as a table: means ± standard deviations over replicates, in percent."""
    return table(*_by_rewind_step(refill, tickets))


def by_arm(less, tickets) -> Text:
    """The ways to retrain, as a table."""
    return table(*_by_arm(less, tickets))


def by_fixed_mask(repeated, less) -> Text:
    """The masks that stay, as a table."""
    return table(*_by_fixed_mask(repeated, less))


def sentences(preset) -> list:
    """What was found on claim C4, in plain sentences for the editor: the rows of the tables."""
    tickets, less = winning_tickets(preset), experiments.without_retraining(preset)
    tables = (
        _by_rewind_step(experiments.refilling(preset), tickets), _by_arm(less, tickets),
        _by_fixed_mask(experiments.cycles(preset), less),
    )  # fmt: skip
    return [
        "; ".join(f"{head}: {cell}" for head, cell in zip(header, row, strict=True)) + "."
        for header, rows in tables
        for row in rows
    ]


def numbers(preset="book") -> dict:
    """The numbers that the prose quotes, by name."""
    refill, less, tickets = (
        experiments.refilling(preset),
        experiments.without_retraining(preset),
        winning_tickets(preset),
    )
    repeated, last = experiments.cycles(preset), last_level(less, tickets)
    steps, k = rewind_steps(refill), PRESETS[preset].tickets.control_step
    i, errors, sparsest = steps.index(k), arms(less), int(repeated["level"].max())
    fine = f"fine-tuning at {float(less['fine_rate'].min()):g}"
    few = repeated["error"].shape[-1]
    return {
        "IMP matches down to": percent(less["density"][last], 0),
        "new small where IMP matches": _percent(less["rewound_new_small"][:last]),
        "new small after fine-tuning": _percent(measured(less, "new_small")[fine][:last]),
        f"new small k={steps[0]}": percent(new_small(refill)[:, 0].mean(0), 0),
        "small before where IMP matches": _percent(split(refill["already"], tickets)[0][i]),
        f"small before k={steps[0]}": percent(refill["already"][:, 0].mean(0), 0),
        "pruned length": percent(refill["removed"][:, i].mean(0), 0),
        "pruned length without retraining": percent(refill["removed_without"][:, i].mean(0), 0),
        f"signs kept k={steps[0]}": percent(refill["signs"][:, 0].mean(0), 0),
        "signs kept": percent(refill["signs"][:, i].mean(0), 0),
        "error weight rewinding": percent(errors[IMP][last]),
        "error fine-tuning": percent(errors[fine][last]),
        "barrier fine-tuning": highest(measured(less, "barrier")[fine], last),
        "fixed mask last": percent(by_cycle(repeated, sparsest)[-1]),
        "mask found anew": percent(less["kept"][sparsest, :few]),
    }


def _by_name(record, end):
    rates = [f"fine-tuning at {rate:g}" for rate in record["fine_rate"].tolist()]
    fine = dict(zip(rates, record[f"fine{end}"], strict=True))
    return {name: record[f"{arm}{end}"] for arm, name in RETRAINED.items()} | fine


def _percent(values):
    """Levels and replicates (n, R) as mean ± standard deviation over replicates of their means over levels."""
    return percent(values.mean(0), 0) if len(values) else "no level"
