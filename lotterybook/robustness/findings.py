"""Findings of chapter 3, on claim C2. The rules stand here since before there was a record of it.

The paper [P]: at higher sparsities, networks trained from rewind points that yield matching solutions are not only
stable to SGD noise, but any two that are apart by the distance of successive pruned rewind points train to the same
linearly connected mode. What a case is, when it matches and when training returns, is in ``cases``.
"""

from ..barriers.experiments import successive_barriers
from ..barriers.halves import HIGHER
from ..presets import PRESETS
from ..tickets.experiments import winning_tickets
from ..tickets.matching import EPSILON
from ..verdicts import (
    Table,
    Text,
    Verdict,
    crossed,
    deviation,
    grade,
    majority,
    of,
    percent,
    points,
    rewind_steps,
    spread,
    table,
)
from . import experiments
from .cases import LIMITS, RETURNS, at_length, cases, critical


def judged(record, tickets, barriers) -> Verdict:
    """The row of claim C2."""
    some = cases(record, tickets, barriers)
    back, yes = some.back.mean(-1), some.matches
    return Verdict(
        "SGD exploits this through a strong robustness: it returns to this mode despite strong perturbations early in "
        "training",
        f"rewind steps and levels from {HIGHER} on whose next level matches (mean error at most {points(EPSILON)} "
        "above the dense): share at which, after a random perturbation of the initialization as long as IMP's own, the "
        f"mean barrier back to the solution is at most {points(RETURNS)}; holds from 90 %, partly from 75 %",
        f"where the next level matches, training returns in {of(some.returns[yes])} cases; where it does not, in "
        f"{of(some.returns[~yes])}",
        grade(float((back[yes] <= RETURNS).double().mean())),
    )


def verdict(record, tickets, barriers) -> Table:
    """The verdict table of chapter 3."""
    return Table([judged(record, tickets, barriers)])


def row(preset, recompute=False, device="auto") -> Verdict:
    """The row of claim C2 from the records of a preset."""
    used = experiments.robustness, winning_tickets, successive_barriers
    return judged(*(made(preset, recompute, device) for made in used))


def questions(record, tickets, barriers, later) -> Table:
    """Our own questions, which the paper does not ask. Their rules, too, stand here since before the records."""
    some = cases(record, tickets, barriers)
    ends = crossed(some.returns, some.connected)
    kinds = {kind: at_length(record, 1.0, kind).mean(-1) <= RETURNS for kind in ("random", "pruning")}
    kinds["order"] = record["order"].mean(-1) <= RETURNS
    limit = f"mean barrier back at most {points(RETURNS)}"
    shares = "holds from 90 %, partly from 75 %"
    rows = [
        Verdict(
            "Robustness ends where IMP's own chain breaks",
            f"cases in which training returns from a random perturbation of length 1 and the mean barrier from level L "
            f"to IMP's own level L + 1 is at most {points(RETURNS)}, or neither; {shares}",
            f"the two agree in {ends.both + ends.neither} of {sum(ends)} cases; by chance in {percent(ends.chance, 0)}",
            grade(ends.agreement if sum(ends) else float("nan")),
        )
    ]
    for kind, claim in (
        ("pruning", "IMP's own direction is borne where a random one is"),
        ("order", "Another data order is borne where a random perturbation is"),
    ):
        same = kinds[kind] == kinds["random"]
        rows.append(
            Verdict(
                claim,
                f"rewind steps and levels perturbed in both ways at which training returns ({limit}) from both, or "
                f"from neither; {shares}",
                f"the two agree in {of(same)}; training returns in {int(kinds[kind].sum())} and "
                f"{int(kinds['random'].sum())}",
                grade(float(same.double().mean())),
            )
        )
    return Table([*rows, _forgiven(later)])


def _forgiven(later, scale=2.0):
    """Whether the same perturbation is forgiven less at the last step than at the first."""
    s, steps = later["scale"].tolist().index(scale), later["step"].tolist()
    barrier, error = later["barrier"][:, s].mean(-1), later["error"][:, s].mean(-1)
    return Verdict(
        "The later a blow comes, the less it is forgiven",
        f"mean barrier back and mean error after length {scale:g}, at step {steps[0]} and at step {steps[-1]}; holds "
        "if both are higher at the later step, partly if one is",
        f"barrier {points(barrier[0])}, then {points(barrier[-1])}; error {percent(error[0])}, then "
        f"{percent(error[-1])}",
        majority([bool(value[-1] > value[0]) for value in (barrier, error)]),
    )


def numbers(preset="book") -> dict:
    """The numbers that chapter 3 quotes."""
    record, chosen, tickets = experiments.robustness(preset), PRESETS[preset], winning_tickets(preset)
    k, level = chosen.tickets.control_step, chosen.robustness.levels[1]
    blows, path = experiments.blows(preset), experiments.return_path(preset)
    some, i = cases(record, tickets, successive_barriers(preset)), rewind_steps(blows).index(k)
    back, yes = some.back.mean(-1), some.matches
    masked, anew = (blows[name][:, i].mean(-1) for name in ("masked", "masked_recalibrated"))
    share = blows["distance"][level, i] / blows["norm"][level, i]
    low, _, high = (of(back[yes] <= limit) for limit in LIMITS)
    return {
        "perturbed replicates": str(record["random"].shape[-1]),
        "blow masked": percent(masked[level], 0),
        "blow before, measured anew": percent(anew[0], 0),
        "blow masked, measured anew": percent(anew[level], 0),
        "unit share": percent(share.mean(), 0),
        "returns where the next matches": of(some.returns[yes]),
        "returns elsewhere": of(some.returns[~yes]),
        "returns within half a point": low,
        "returns within two points": high,
        "match without returning": _named(some, yes & ~some.returns),
        "return without matching": _named(some, ~yes & some.returns),
        "return cosine": f"{path['cosine'][-1, path['scale'].tolist().index(1.0)].mean():.2f}",
        "dense deviation": points(deviation(tickets), 2),
    }


def _named(some, chosen) -> str:
    """Cases in words, by rewind step."""
    words = []
    for i, k in enumerate(some.rewind_step.tolist()):
        if levels := some.level[chosen[:, i]].tolist():
            words.append(f"step {k} at level{'s' * (len(levels) > 1)} {', '.join(map(str, levels))}")
    return "; ".join(words) or "none"


def told_cases(record, tickets, barriers) -> Text:
    """Each case as a row: the barriers back and to IMP's own next level, and that level's error above the dense."""
    some, dense = cases(record, tickets, barriers), float(tickets["error"][0].mean())
    rows = [
        [
            f"{int(some.level[n])}", f"{k}", points(some.back[n, i]), points(some.own[n, i].mean()),
            points(some.error[n, i] - dense, 2), "yes" if some.matches[n, i] else "no",
        ]
        for i, k in enumerate(rewind_steps(record)) for n in range(len(some.level))
    ]  # fmt: skip
    head = ["level", "rewind step", "barrier back from length 1", "IMP's own barrier", "next level's error above"]
    return table([*head, "matches"], rows)


def told_lengths(record) -> Text:
    """The critical lengths, and how long one unit is, by level and rewind step."""
    lengths, share = critical(record), record["distance"] / record["norm"]
    rows = [
        [f"{int(level)}", f"{k}", percent(share[n, i].mean(), 0), _length(lengths[n, i], record["scale"].max())]
        for i, k in enumerate(rewind_steps(record)) for n, level in enumerate(record["level"])
    ]  # fmt: skip
    return table(["level", "rewind step", "one unit, share of the length", "critical length (units)"], rows)


def _length(found, most):
    """Critical lengths of the replicates as text."""
    within = found[found.isfinite()]
    never = f"never up to {most:g} in {len(found) - len(within)}" if len(within) < len(found) else ""
    return ", ".join(filter(None, [_about(within) if len(within) else "", never]))


def sentences(preset) -> list:
    """What was found on claim C2, in plain sentences for the editor."""
    record, tickets, barriers = experiments.robustness(preset), winning_tickets(preset), successive_barriers(preset)
    some = cases(record, tickets, barriers)
    return [
        *_blow(experiments.blows(preset), PRESETS[preset].tickets.control_step),
        *_who(some, record, tickets),
        *_ends_with_imp(some),
        *_how_far(record),
        *_directions(record),
        *_later(experiments.forgiveness(preset)),
        *_way_back(experiments.return_path(preset)),
    ]


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


def _who(some, record, tickets):
    back, yes = some.back.mean(-1), some.matches
    each = (some.back <= RETURNS)[yes]
    shares = ", ".join(f"{of(back[yes] <= limit)} within {points(limit)}" for limit in LIMITS)
    said = [
        f"After a random perturbation of length 1, training returns (mean barrier back at most {points(RETURNS)}) in "
        f"{of(some.returns[yes])} cases whose next level matches, and in {of(some.returns[~yes])} of the others; by "
        f"replicate {of(each)} and {of((some.back <= RETURNS)[~yes])}. There are {some.back.shape[-1]} replicates.",
        f"By the limit of the barrier back, where the next level matches: {shares}; standard deviation of the dense "
        f"error {points(deviation(tickets), 2)}.",
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
    each = crossed(some.back <= RETURNS, some.own <= RETURNS)
    return [
        f"Robustness and IMP {name}: of {sum(count)} the training returns and IMP's own next level is connected "
        f"in {count.both}, neither in {count.neither}, only the first in {count.only_matching}, only the second in "
        f"{count.only_connected}; they agree in {percent(count.agreement, 0)} (independent: "
        f"{percent(count.chance, 0)})."
        for name, count in (("by cases, of means", means), ("by replicate", each))
    ]


def _how_far(record):
    lengths, share, most = critical(record), record["distance"] / record["norm"], record["scale"].max()
    said = []
    for n, level in enumerate(record["level"].tolist()):
        cells = "; ".join(f"k = {k} {_length(lengths[n, i], most)}" for i, k in enumerate(rewind_steps(record)))
        said.append(
            f"Level {level}: the barrier back exceeds {points(RETURNS)} from so many rewind distances on: {cells}. One "
            f"is {percent(share[n].mean(), 0)} of the weights' length."
        )
    return said


def _about(values, digits=1):
    """Numbers as text: the one, or mean ± standard deviation."""
    return spread(values, digits) if len(values) > 1 else f"{float(values):.{digits}f}"


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
    steps, lengths = record["step"].tolist(), record["scale"].tolist()
    return [
        f"Level {int(record['level'])}, perturbed by {scale:g} rewind distances at step "
        + "; ".join(f"{step}: barrier {points(record['barrier'][t, s])}, error {percent(record['error'][t, s])}"
                    for t, step in enumerate(steps)) + "."
        for s, scale in enumerate(lengths)
    ]  # fmt: skip


def _way_back(record):
    level, travelled = int(record["level"]), _about(record["travelled"][-1])
    return [
        f"Level {level}, length {scale:g}: perturbed and unperturbed training are apart by "
        f"{_about(record['distance'][0, s])} at the start and {_about(record['distance'][-1, s])} at the end (the "
        f"unperturbed one travels {travelled}); the cosine of the ways is {_about(record['cosine'][-1, s], 2)}."
        for s, scale in enumerate(record["scale"].tolist())
    ]
