"""Findings of chapter 2."""

import torch

from ..tickets.experiments import contrast, winning_tickets
from ..verdicts import (
    AGREE,
    AGREE_PARTLY,
    FAILS,
    HOLDS,
    PARTLY,
    SPARSE,
    UNTESTED,
    Table,
    Verdict,
    connected,
    contingency,
    contrast_name,
    grade,
    matching,
    of,
    percent,
    points,
    rewind_steps,
    sparsest_matching,
    tolerance,
)
from . import experiments


def connected_and_matching(tickets, barriers) -> Table:
    """The verdicts on claim C1: for all pairs of successive levels, for those of many weights and of few."""
    split = {"": None, f", at least {percent(SPARSE, 0)} of the weights left": False, ", fewer left": True}
    claim = "Successive solutions are connected if and only if they match"
    return Table(_iff(f"{claim}{where}", tickets, barriers["height"], sparse) for where, sparse in split.items())


def in_lcs_set(tickets, barriers):
    """Which level L + 1 solutions lie in the LCS-set of ``w^(L)``, booleans (levels, K, R).

    Their error is at most that of ``w^(L)`` itself plus epsilon, and the barrier to it at most epsilon.
    """
    epsilon = tolerance(tickets)
    return (tickets["error"][1:] <= tickets["error"][:-1] + epsilon) & (barriers["height"] <= epsilon)


def block(pairs, epsilon):
    """For each rewind step the last level up to which any two are connected, by the mean over replicates."""
    near = pairs["height"].mean(-1) <= epsilon
    return [max(n for n in range(len(near)) if near[: n + 1, : n + 1, i].all()) for i in range(near.shape[-1])]


def distant_levels(tickets, barriers, pairs) -> Verdict:
    """The verdict on whether successive levels connect where distant ones do not."""
    far = _distant(tickets, barriers, pairs, 2)
    joined = int((far >= 0).sum())
    return Verdict(
        "Successive levels connect where distant ones do not",
        "runs, of those connected at level 1, in which the dense network has a barrier above 2 ε to some level "
        "though every step on the way there is connected; holds from one half of them, partly from one quarter",
        f"{int((far > 0).sum())} of {joined} runs",
        grade(int((far > 0).sum()) / joined, 0.5, 0.25) if joined else UNTESTED,
    )


def error_barriers(tickets, barriers, pairs, projected, failing, plain) -> Table:
    """The verdicts of chapter 2."""
    epsilon = tolerance(tickets)
    rows = connected_and_matching(tickets, barriers)
    rows.append(_iff("The same from the projection to the next solution", tickets, projected["height"], None))
    rows.append(_iff(f"The same {contrast_name(plain)}, all pairs", plain, plain["barrier"], None))
    rows.append(distant_levels(tickets, barriers, pairs))
    early = failing["density"] >= SPARSE
    away = {name: failing[name][early] for name in ("own", "failing", "random")}
    rows.append(
        Verdict(
            "The mask, not only the rewind point, leads back to the mode",
            f"barrier back to the level before, at least {percent(SPARSE, 0)} of the weights left: own mask; failing "
            "mask; random mask; holds if own is within ε and both others are above, partly if own is the lowest",
            "; ".join(points(value.flatten()) for value in away.values()),
            HOLDS
            if away["own"].mean() <= epsilon < min(away["failing"].mean(), away["random"].mean())
            else PARTLY
            if away["own"].mean() < min(away["failing"].mean(), away["random"].mean())
            else FAILS,
        )
    )
    return rows


def _iff(claim, tickets, barrier, sparse):
    """The verdict on one contingency table: as good as the worse of its two halves."""
    count = contingency(tickets, barrier, sparse=sparse)
    match, joined = count.both + count.only_matching, count.both + count.only_connected
    return Verdict(
        claim,
        f"*if*: matching pairs that are connected; *only if*: connected pairs that match; holds if both are at least "
        f"{percent(AGREE, 0)}, partly from {percent(AGREE_PARTLY, 0)}",
        f"*if* {count.both} of {match}; *only if* {count.both} of {joined}; both or neither "
        f"{percent(count.agreement, 0)} of {sum(count)} ({percent(count.chance, 0)} by chance)",
        grade(min(count.matching_connected, count.connected_matching)) if match and joined else UNTESTED,
    )


def _distant(tickets, barriers, pairs, multiple):
    """Per run, the first level apart from the dense one though all steps to it connect; 0: none; -1: apart at once."""
    epsilon = tolerance(tickets)
    joined = (barriers["height"] <= epsilon).long().cumprod(0).bool()
    apart = (pairs["height"][0, 1:] > multiple * epsilon) & joined
    first = torch.where(apart.any(0), apart.long().argmax(0) + 1, 0)
    return torch.where(joined[0], first, -1)


def numbers(preset) -> dict:
    """The numbers that chapter 2 quotes."""
    tickets, barriers = winning_tickets(preset), experiments.successive_barriers(preset)
    failing, plain = experiments.failing_masks(preset), contrast(preset)
    named = _by_step(preset, tickets, barriers) | _halves(tickets, barriers)
    count = contingency(plain, plain["barrier"])
    named |= {"plain pairs": str(sum(count)), "plain only matching": str(count.only_matching)}
    named["plain only connected"] = str(count.only_connected)
    named["mask weights"] = percent(failing["density"][1], 0)
    return named | {f"{arm} barrier": points(failing[arm][1]) for arm in ("own", "failing", "random")}


def _by_step(preset, tickets, barriers):
    """The numbers of each rewind step."""
    pairs, shown = experiments.all_pairs(preset), int(experiments.plane(preset)["level"])
    epsilon, far = tolerance(tickets), _distant(tickets, barriers, pairs, 1)
    named = {"distant above ε": f"{int((far > 0).sum())} of {int((far >= 0).sum())}"}
    joined = connected(barriers["height"], epsilon).long().cumprod(0).sum(0).tolist()
    found = in_lcs_set(tickets, barriers)[0]
    for i, (k, last) in enumerate(zip(rewind_steps(barriers), block(pairs, epsilon), strict=True)):
        named[f"barrier k={k}"] = points(barriers["height"][:, i].mean(0))
        named[f"recalibrated k={k}"] = points(barriers["recalibrated"][:, i].mean(0))
        named[f"connected k={k}"] = percent(barriers["density"][joined[i]], 0) if joined[i] else "no level"
        named[f"block k={k}"] = str(last)
        named[f"first barrier k={k}"] = points(barriers["height"][0, i])
        named[f"first connected k={k}"] = of(barriers["height"][0, i] <= epsilon)
        named[f"mean first k={k}"] = points(barriers["height"][0, i].mean(), 2)
        if joined[i] < len(barriers["height"]):
            named[f"leaves k={k}"] = percent(barriers["density"][joined[i] + 1], 0)
            named[f"highest leaving k={k}"] = points(barriers["height"][joined[i], i].max())
        named[f"first in LCS-set k={k}"] = of(found[i])
        named[f"first matching k={k}"] = of(matching(tickets)[1, i])
        named[f"highest on plane k={k}"] = points(barriers["height"][shown, i].max(), 0)
        one = {**tickets, "error": tickets["error"][:, [i]]}
        count = contingency(one, barriers["height"][:, [i]])
        named[f"if k={k}"] = f"{count.both} of {count.both + count.only_matching}"
    return named


def _halves(tickets, barriers):
    """The numbers of connected against matching."""
    every, sparse = (contingency(tickets, barriers["height"], sparse=part) for part in (None, True))
    named = {"if": f"{every.both} of {every.both + every.only_matching}"}
    named["only if"] = f"{every.both} of {every.both + every.only_connected}"
    named |= {"agreement all": percent(every.agreement, 0), "agreement sparse": percent(sparse.agreement, 0)}
    named |= {"chance sparse": percent(sparse.chance, 0), "sparse pairs": str(sum(sparse)), "pairs": str(sum(every))}
    wide = contingency(tickets, barriers["height"], 8 * tolerance(tickets), sparse=True)
    named["only if sparse at 8"] = percent(wide.connected_matching, 0)
    match, joined = matching(tickets), barriers["height"] <= tolerance(tickets)
    match = match[:-1] & match[1:]
    named |= {"only matching": str(every.only_matching), "first only matching": str(int((match & ~joined)[0].sum()))}
    named |= {"if pruned": of(joined[1:][match[1:]]), "only if pruned": of(match[1:][joined[1:]])}
    named["sparse matching"] = str(sparse.both + sparse.only_matching)
    named["sparse only connected"] = str(sparse.only_connected)
    for i, (k, level) in enumerate(zip(rewind_steps(tickets), sparsest_matching(tickets).tolist(), strict=True)):
        if level:
            named[f"highest while matching k={k}"] = points(barriers["height"][:level, i].mean(-1).max())
    return named
