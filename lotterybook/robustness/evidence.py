"""What the second edition's records say of claim C2. The rules stand here since before there was a record of it.

The paper [P]: at higher sparsities, networks trained from rewind points that yield matching solutions are not only
stable to SGD noise, but any two that are apart by the distance of successive pruned rewind points train to the same
linearly connected mode. A *case* is a rewind step and a level L >= ``HIGHER``. It *yields a match* if the mean error
of level L + 1 is within ``EPSILON`` of the mean dense error, and training *returns* if the mean barrier from the
perturbed training's solution back to ``w^(L)`` is within ``RETURNS``.
"""

from typing import NamedTuple

import torch

from ..barriers.experiments import successive_barriers
from ..barriers.halves import HIGHER
from ..presets import PRESETS
from ..tickets.experiments import winning_tickets
from ..tickets.matching import EPSILON
from ..verdicts import (
    Verdict,
    crossed,
    grade,
    largest_error,
    of,
    percent,
    points,
    rewind_steps,
    spread,
    tolerance,
)
from . import experiments, findings

RETURNS = 0.01  # largest mean barrier back at which training has returned; others are printed beside it
LIMITS = (0.005, RETURNS, 0.02)


class Cases(NamedTuple):
    """Levels (n,) and rewind steps (K,), and for each case the barrier back after a random perturbation of length 1.

    ``back`` (n, K, R); ``matches``, ``connected`` (n, K): whether the next level matches, and whether the mean barrier
    from level L to it is within ``RETURNS``; ``each_connected`` (n, K, R): the same for each replicate.
    """

    level: torch.Tensor
    rewind_step: torch.Tensor
    back: torch.Tensor
    matches: torch.Tensor
    connected: torch.Tensor
    each_connected: torch.Tensor

    @property
    def returns(self):
        """Whether training returns, (n, K)."""
        return self.back.mean(-1) <= RETURNS


def at_length(record, scale, direction="random"):
    """The barriers back after a perturbation of length ``scale`` in a direction, (n, K, R)."""
    return record[direction][:, findings.scales(record, direction).index(scale)]


def cases(record, tickets, barriers) -> Cases:
    """All cases that were tried, those at levels that were perturbed at length 1 alone among them, by level."""
    level, back = record["level"], at_length(record, 1.0)
    if "unit" in record:
        further = ~torch.isin(record["unit_level"], level)
        level = torch.cat([level, record["unit_level"][further]])
        back = torch.cat([back, record["unit"][further]])
    order = level.argsort()
    order = order[level[order] >= HIGHER]
    level, back = level[order], back[order]
    columns = _columns(record, tickets)
    error, height = tickets["error"][level + 1][:, columns], barriers["height"][level][:, columns]
    return Cases(
        level, record["rewind_step"], back, error.mean(-1) <= largest_error(tickets, EPSILON),
        height.mean(-1) <= RETURNS, height[..., : back.shape[-1]] <= RETURNS,
    )  # fmt: skip


def critical(record, direction="random"):
    """The length, in rewind distances, at which the barrier back first exceeds ``RETURNS``, (n, K, R).

    Between two lengths that were tried the barrier is taken to grow in a straight line, from 0 at length 0. Infinite
    where it never does.
    """
    return findings.critical(record, RETURNS, direction, never=float("inf"))


def judged(record, tickets, barriers) -> Verdict:
    """The row of claim C2."""
    some = cases(record, tickets, barriers)
    back, yes = some.back.mean(-1), some.matches
    shares = ", ".join(f"{of(back[yes] <= limit)} within {points(limit)}" for limit in LIMITS)
    order = record["order"].mean(-1)[record["level"] >= HIGHER] <= RETURNS  # at the levels that rise in all presets
    same = yes[torch.isin(some.level, record["level"])]
    return Verdict(
        "SGD exploits this through a strong robustness: it returns to this mode despite strong perturbations early in "
        "training",
        f"rewind steps and levels from {HIGHER} on whose next level matches (mean error at most {points(EPSILON)} "
        "above the dense): share at which, after a random perturbation of the initialization as long as IMP's own, the "
        f"mean barrier back to the solution is at most {points(RETURNS)}; holds from 90 %, partly from 75 %",
        f"{shares}; where the next level does not match {of(back[~yes] <= RETURNS)} within {points(RETURNS)}; after "
        f"another data order instead {of(order[same])} and {of(order[~same])}; standard deviation of the dense error "
        f"{points(tolerance(tickets), 2)}",
        grade(float((back[yes] <= RETURNS).double().mean())),
    )


def row(preset) -> Verdict:
    """The row of claim C2 from the records of a preset."""
    return judged(experiments.robustness(preset), winning_tickets(preset), successive_barriers(preset))


def sentences(preset) -> list:
    """What was found on claim C2, in plain sentences for the editor."""
    record, tickets, barriers = experiments.robustness(preset), winning_tickets(preset), successive_barriers(preset)
    some = cases(record, tickets, barriers)
    return [
        *_blow(experiments.blows(preset), PRESETS[preset].tickets.control_step),
        *_who(some, record),
        *_ends_with_imp(some),
        *_how_far(record),
        *_directions(record),
        *_later(experiments.forgiveness(preset)),
        *_way_back(experiments.return_path(preset)),
    ]


def _columns(record, tickets):
    """Where the perturbed rewind steps stand among those of the run."""
    every = tickets["rewind_step"].tolist()
    return [every.index(k) for k in rewind_steps(record)]


def _blow(record, k):
    i, levels = rewind_steps(record).index(k), record["level"].tolist()
    masked, moved = record["masked"][:, i], record["perturbed"][:, i]
    anew = record["masked_recalibrated"][:, i]
    share = record["distance"][:, i] / record["norm"][:-1, i]
    return [
        f"The rewind point w_{k} itself errs on {percent(masked[0])} of the test set; masked it errs on "
        + ", ".join(f"{percent(masked[n])} (level {n})" for n in levels if n)
        + "; after a random perturbation of length 1 besides on "
        + ", ".join(f"{percent(moved[n])} (level {level})" for n, level in enumerate(levels))
        + "; guessing errs on 90 %.",
        "With BatchNorm statistics measured anew the masked errors are "
        + ", ".join(f"{percent(anew[n])} (level {n})" for n in levels)
        + f" and the perturbed ones {', '.join(percent(e) for e in record['perturbed_recalibrated'][:, i])}: that "
        "part of the blow is not stale statistics.",
        f"Successive rewind points at k = {k} are apart by {percent(share.mean(0))} of the weights' length, mean over "
        f"levels (from {percent(share.mean(-1).min(), 0)} to {percent(share.mean(-1).max(), 0)}).",
    ]


def _who(some, record):
    back, yes = some.back.mean(-1), some.matches
    each = (some.back <= RETURNS)[yes]
    said = [
        f"After a random perturbation of length 1, training returns (mean barrier back at most {points(RETURNS)}) in "
        f"{of(some.returns[yes])} cases whose next level matches, and in {of(some.returns[~yes])} of the others; by "
        f"replicate {of(each)} and {of((some.back <= RETURNS)[~yes])}. There are {some.back.shape[-1]} replicates."
    ]
    for i, k in enumerate(some.rewind_step.tolist()):
        heights = zip(some.level.tolist(), some.back[:, i], yes[:, i].tolist(), strict=True)
        cells = [f"{level}{'*' if match else ''} {points(height)}" for level, height, match in heights]
        said.append(f"Barriers back from length 1 at k = {k}, by level (* the next level matches): {'; '.join(cells)}.")
    for name, odd in (
        ("match and do not return", yes & ~some.returns),
        ("return and do not match", ~yes & some.returns),
    ):
        where = [f"k = {some.rewind_step[i]}, level {some.level[n]} ({points(back[n, i])})" for n, i in odd.nonzero()]
        said.append(f"Cases that {name}: {'; '.join(where) or 'none'}.")
    order = record["order"].mean(-1) <= RETURNS
    random = at_length(record, 1.0).mean(-1) <= RETURNS
    said.append(
        f"Another data order leads back in {of(order)} cases at levels {', '.join(map(str, record['level'].tolist()))},"
        f" the perturbation in {of(random)} of the same; the two agree in {of(order == random)}."
    )
    return said


def _ends_with_imp(some):
    means = crossed(some.returns, some.connected)
    each = crossed(some.back <= RETURNS, some.each_connected)
    return [
        f"Robustness and IMP {name}: of {sum(count)} the training returns and IMP's own next level is connected "
        f"in {count.both}, neither in {count.neither}, only the first in {count.only_matching}, only the second in "
        f"{count.only_connected}; they agree in {percent(count.agreement, 0)} (independent: "
        f"{percent(count.chance, 0)})."
        for name, count in (("by cases, of means", means), ("by replicate", each))
    ]


def _how_far(record):
    lengths, said = critical(record), []
    share = record["distance"] / record["norm"]
    most = float(record["scale"].max())
    for n, level in enumerate(record["level"].tolist()):
        cells = []
        for i, k in enumerate(rewind_steps(record)):
            found = lengths[n, i]
            within = found[found.isfinite()]
            never = f", never up to {most:g} in {len(found) - len(within)}" if len(within) < len(found) else ""
            cells.append(f"k = {k} {_about(within)}{never}")
        cells = "; ".join(cells)
        said.append(
            f"Level {level}: the barrier back exceeds {points(RETURNS)} from so many rewind distances on: {cells}. One "
            f"is {percent(share[n].mean(), 0)} of the weights' length."
        )
    return said


def _about(values, digits=1):
    """Numbers as text: the one, or mean ± standard deviation."""
    return spread(values, digits) if len(values) > 1 else f"{float(values):.{digits}f}" if len(values) else "none"


def _directions(record):
    said = []
    for scale in record["pruning_scale"].tolist():
        counts = [of(at_length(record, scale, kind).mean(-1) <= RETURNS) for kind in ("random", "pruning")]
        said.append(
            f"At length {scale:g} training returns in {counts[0]} cases from a random direction, in {counts[1]} from "
            "the pruning direction."
        )
    return said


def _later(record):
    steps, scales = record["step"].tolist(), record["scale"].tolist()
    return [
        f"Level {int(record['level'])}, perturbed by {scale:g} rewind distances at step "
        + "; ".join(f"{step}: barrier {points(record['barrier'][t, s])}, error {percent(record['error'][t, s])}"
                    for t, step in enumerate(steps)) + "."
        for s, scale in enumerate(scales)
    ]  # fmt: skip


def _way_back(record):
    level, travelled = int(record["level"]), _about(record["travelled"][-1])
    return [
        f"Level {level}, length {scale:g}: perturbed and unperturbed training are apart by "
        f"{_about(record['distance'][0, s])} at the start and {_about(record['distance'][-1, s])} at the end (the "
        f"unperturbed one travels {travelled}); the cosine of the ways is {_about(record['cosine'][-1, s], 2)}."
        for s, scale in enumerate(record["scale"].tolist())
    ]
