"""Findings of chapter 2: at higher sparsities successive networks are connected if and only if they match.

The rules of the verdicts were written before the records of this testbed were made: what a pair is, when it matches and
is connected, in ``halves``, the rest in the rows.
"""

import torch

from ..experiment import recorded
from ..presets import PRESETS
from ..verdicts import FAILS, HOLDS, PARTLY, UNTESTED, Table, Text, Verdict, of, percent, points, rewind_steps, table
from . import halves, readings
from .halves import EPSILON, HIGHER, Pairs, count, judge, pairs, told, within


def verdict(tickets, barriers, found, control_step) -> Table:
    """The verdicts on C1, a row for each of its two sentences."""
    return Table([if_and_only_if(tickets, barriers), mask_leads_back(found, tickets, control_step)])


def questions(pairs, anew, failing, networks) -> Table:
    """The verdicts on questions of our own; ``networks``: ``Pairs`` by name, the main network's first."""
    return Table([successive_not_distant(pairs, anew), other_masks_miss(failing), other_networks(networks)])


def if_and_only_if(tickets, barriers) -> Verdict:
    """The verdict on C1: both halves at higher sparsities, by means over replicates."""
    counted = count(pairs(tickets["error"], barriers["height"]).mean().levels(HIGHER))
    (both, match), (_, joined) = halves.halves(counted)
    return Verdict(
        "At higher sparsities, pairs of pruned networks at successive pruning iterations are connected by a linear "
        "path with zero error barrier if and only if they are matching",
        f"pairs of rewind step and level from level {HIGHER} on, means over replicates, both tolerances half a point; "
        "a pair matches if its sparser network does; *if*: matching pairs that are connected; *only if*: connected "
        f"pairs that match; holds if both are at least {percent(halves.SHARE, 0)}, partly from "
        f"{percent(halves.SHARE_PARTLY, 0)}",
        f"*if*: {both} of {match} matching pairs are connected; *only if*: {both} of {joined} connected pairs match",
        judge(counted),
    )


def mask_leads_back(found, tickets, control_step) -> Verdict:
    """The verdict on C1's second sentence: masks that IMP did not find lead a robust rewind point to their mode."""
    steps = rewind_steps(found)
    back, tried = readings.leads_back(found, tickets)
    column = steps.index(control_step)
    came, others = back[tried, column], back[tried][:, [i for i, k in enumerate(steps) if k == 0]]
    if not tried.any() or not found["return_barrier"].isfinite().all():
        verdict = UNTESTED
    else:
        share = float(came.double().mean())
        verdict = HOLDS if share == 1 and not others.any() else PARTLY if share >= 0.5 else FAILS
    number = {1: "the one mask"}.get(int(tried.sum()), f"the {int(tried.sum())} masks")
    return Verdict(
        "The mask conveys to the rewind point an axial subspace that intersects a desired linearly connected mode",
        "masks found without rewinding, put on a rewind point and trained: barrier to the solution that they were "
        f"found with; holds if from k = {control_step} at every level where that solution matches the network comes "
        "back within half a point and matches, and from k = 0 at none; partly if at half of these levels or more",
        f"of {number} found without rewinding, {int(came.sum())} {'leads' if came.sum() == 1 else 'lead'} back from "
        f"k = {control_step}, "
        f"{int(others.sum())} from k = 0",
        verdict,
    )


def successive_not_distant(pairs, anew) -> Verdict:
    """Whether solutions that connect step by step lie on a bend: ends of such a row that do not see each other.

    ``anew``: the same with recalibrated statistics, which is told, and decides nothing.
    """
    bent, recalibrated = (
        [bend for bend in readings.bends(record["height"]) if bend is not None] for record in (pairs, anew)
    )
    return Verdict(
        "Successive levels are connected where distant ones are not",
        "rewind steps at which two or more steps in a row are connected, by means and half a point: at how many of "
        "them the barrier between some two levels of such a row is above one point; holds if at all, partly if at some",
        f"at {sum(bent)} of {len(bent)} rewind steps whose levels connect step by step; with recalibrated statistics "
        f"at {sum(recalibrated)} of {len(recalibrated)}",
        UNTESTED if not bent else HOLDS if all(bent) else PARTLY if any(bent) else FAILS,
    )


def other_masks_miss(failing) -> Verdict:
    """Whether masks that do not fit the solution lead a good rewind point elsewhere."""
    own, *others = (within(failing[arm].mean(-1), EPSILON) for arm in ("own", "failing", "random"))
    missed = [~other[own] for other in others]
    share = float(torch.stack(missed).all(0).double().mean())  # NaN without a level
    return Verdict(
        "From a good rewind point, a mask that does not fit the last solution leads elsewhere",
        "levels at which the own mask leads back within half a point, by means; holds if at all of them neither the "
        "mask of a failing run nor a random one does, partly if at half or more",
        "of {} levels at which the own mask leads back, the mask of a failing run misses at {}, a random one at "
        "{}".format(int(own.sum()), *(int(miss.sum()) for miss in missed)),
        UNTESTED if share != share else HOLDS if share == 1 else PARTLY if share >= 0.5 else FAILS,
    )


def other_networks(networks) -> Verdict:
    """Whether C1 holds for the networks beside the main one too."""
    judged = {name: judge(count(some)) for name, some in list(networks.items())[1:]}
    cases = [verdict for verdict in judged.values() if verdict != UNTESTED]
    by_verdict = "; ".join(
        f"{verdict}: {', '.join(name for name, found in judged.items() if found == verdict)}"
        for verdict in (HOLDS, PARTLY, FAILS, UNTESTED) if verdict in judged.values()
    )  # fmt: skip
    return Verdict(
        "The law holds for other networks too",
        "each network judged as the main one in the table of the paper's claims; holds if it does for all that give a "
        "case, partly if for some at least in part",
        by_verdict,
        UNTESTED if not cases
        else HOLDS if set(cases) == {HOLDS}
        else FAILS if set(cases) == {FAILS}
        else PARTLY,
    )  # fmt: skip


def row(preset, recompute=False, device="auto") -> Verdict:
    """The row of claim C1, its first sentence."""
    names = "winning_tickets", "successive_barriers"
    return if_and_only_if(*(recorded(name, preset, recompute, device) for name in names))


def mask_row(preset, recompute=False, device="auto") -> Verdict:
    """The row of claim C1's second sentence."""
    tickets, found = (recorded(name, preset, recompute, device) for name in ("winning_tickets", "found_masks"))
    return mask_leads_back(found, tickets, PRESETS[preset].tickets.control_step)


def sentences(preset) -> list:
    """What was found about C1, for the editor."""
    tickets, barriers = recorded("winning_tickets", preset), recorded("successive_barriers", preset)
    return [
        *(f"Counted by {name}: {told(counted)}." for name, counted in ways(tickets, barriers)),
        *_distant(recorded("all_pairs", preset), recorded("recalibrated_pairs", preset)),
        *_projections(recorded("projections", preset), tickets),
        *_masks(recorded("found_masks", preset), recorded("failing_masks", preset), tickets),
        *_networks(tickets, barriers, recorded("contrast", preset), recorded("architectures", preset)),
    ]


def numbers(preset="book") -> dict:
    """The numbers that chapter 2 quotes, by name, as text."""
    tickets, barriers = recorded("winning_tickets", preset), recorded("successive_barriers", preset)
    mean, steps = pairs(tickets["error"], barriers["height"]).mean(), rewind_steps(tickets)
    higher, lower = count(mean.levels(HIGHER)), count(mean.levels(1, HIGHER - 1))
    named = {**_both("", higher), "agreement": percent(higher.agreement, 0), "chance": percent(higher.chance, 0)}
    for name, chosen in (("early", [k <= 10 for k in steps]), ("late", [k >= 40 for k in steps])):
        columns = [i for i, yes in enumerate(chosen) if yes]
        named |= _both(f" {name}", count(mean.at(columns).levels(HIGHER)))
    named |= _both(" strict", count(mean.levels(HIGHER), *halves.MIXED[1]))
    named["lower matching"] = f"{lower.both + lower.only_matching} of {sum(lower)}"
    named["lower connected"] = f"{lower.both}"
    contrast, others = recorded("contrast", preset), recorded("architectures", preset)
    for name, some in readings.by_network(tickets, barriers, contrast, others).items():
        named |= _both(f" {name}", count(some))
    return named | _of_distant(preset) | _of_masks(preset)


def _of_distant(preset):
    """The numbers of the maps of all pairs."""
    plain, anew = recorded("all_pairs", preset), recorded("recalibrated_pairs", preset)
    named, (here, there) = {}, readings.plain_and_recalibrated(plain, anew)
    for i, k in enumerate(rewind_steps(anew)):
        first, last = max(readings.rows_of_steps(here)[i], key=lambda row: row[1] - row[0], default=(0, 0))
        named[f"row k={k}"] = f"{first} to {last}"
        for how, heights in (("", here), (" anew", there)):
            named[f"dense reach{how} k={k}"] = f"{int(readings.connected_to_dense(heights)[i])}"
    least = recorded("successive_barriers", preset)["recalibrated"][:, 0].mean(-1).min()
    return named | {"recalibrated k=0": points(least)}


def _of_masks(preset):
    """The numbers of masks found without rewinding, and of masks that do not fit."""
    found, failing = recorded("found_masks", preset), recorded("failing_masks", preset)
    named = {f"{arm} barrier": points(failing[arm][1]) for arm in ("own", "failing", "random")}
    for i, k in enumerate(rewind_steps(found)):
        for n, level in enumerate(found["level"].tolist()):
            named[f"found barrier level={level} k={k}"] = points(found["return_barrier"][n, i])
    return named | {"found overlap": percent(found["overlap"][0, -1].mean(), 0)}


def _both(name, counted):
    """Both halves of a count, each as ``5 of 6``, by their names."""
    said = (f"{part} of {whole}" for part, whole in halves.halves(counted))
    return dict(zip((f"if{name}", f"only if{name}"), said, strict=True))


def ways(tickets, barriers):
    """Yield every way to count connected against matching: what is counted, in words, and a ``Contingency``."""
    found = pairs(tickets["error"], barriers["height"])
    mean, higher = found.mean(), found.mean().levels(HIGHER)
    half, begin = points(EPSILON), f"from level {HIGHER} on"
    yield f"means over replicates, {begin}", count(higher)
    yield f"single replicates, {begin}", count(found.levels(HIGHER))
    yield f"means, levels 1 to {HIGHER - 1}", count(mean.levels(1, HIGHER - 1))
    yield f"means, levels 2 to {HIGHER - 1}", count(mean.levels(2, HIGHER - 1))
    for i, k in enumerate(rewind_steps(tickets)):
        yield f"means, k = {k}, {begin}", count(mean.at([i]).levels(HIGHER))
    for epsilon in halves.TOLERANCES:
        if epsilon != EPSILON:
            yield f"{points(epsilon, 2)} in place of {half}", count(higher, epsilon)
    for match, joined in halves.MIXED:
        yield f"{points(match, 2)} for matching, {points(joined, 2)} for connection", count(higher, match, joined)
    both = torch.maximum(halves.excess(tickets)[:-1], halves.excess(tickets)[1:])
    others = {"both networks of a pair have to match": Pairs(both, barriers["height"])}
    if barriers["curve"].shape[1] % 2:
        rise = halves.midway(tickets["error"], barriers["curve"])
        others["error midway, as the authors plot it"] = Pairs(found.excess, rise)
    if "recalibrated" in barriers:
        others["recalibrated statistics"] = Pairs(found.excess, barriers["recalibrated"])
    for name, some in others.items():
        yield name, count(some.mean().levels(HIGHER))


def counts(tickets, barriers) -> Text:
    """Both halves of the law, agreement and chance agreement, by every way to count: a table."""
    rows = [
        [name, *(f"{part} of {whole}" for part, whole in halves.halves(counted)), f"{percent(counted.agreement, 0)}",
         percent(counted.chance, 0)]
        for name, counted in ways(tickets, barriers)
    ]  # fmt: skip
    both = "*if*: connected, of the matching", "*only if*: matching, of the connected"
    return table(["counted", *both, "agree", "by chance"], rows)


def returns(found) -> Text:
    """What is trained inside the masks that were found without rewinding: a table, a row for each mask and step."""
    rows = [
        [
            f"{level} ({percent(found['density'][level], 0)})", f"{k}", percent(found["error"][level], 2),
            percent(found["return_error"][n, i], 2), points(found["return_barrier"][n, i]),
            of(within(found["return_barrier"][n, i], EPSILON)), percent(found["overlap"][n, i], 0),
        ]
        for n, level in enumerate(found["level"].tolist()) for i, k in enumerate(rewind_steps(found))
    ]  # fmt: skip
    header = ["level (weights)", "k", "error on the walk", "error from k"]
    return table([*header, "barrier between", "connected", "shared with IMP"], rows)


def _distant(plain, recalibrated):
    """Successive against distant levels, and what recalibration does to distant ones."""
    here, anew = readings.plain_and_recalibrated(plain, recalibrated)
    kept = recalibrated["density"]
    for i, k in enumerate(rewind_steps(plain)):
        level = int(readings.connected_to_dense(plain["height"])[i])
        next_to = percent(kept[level], 0)
        last = points(plain["height"][0, -1, i])
        yield f"From k = {k} the dense network is connected down to level {level} ({next_to}); to the last, {last}."
    for i, k in enumerate(rewind_steps(recalibrated)):
        downs = [int(readings.connected_to_dense(heights)[i]) for heights in (here, anew)]
        tenth = int((kept - 0.1).abs().argmin())
        at = [points(heights[0, tenth, i]) for heights in (here, anew)]
        yield (
            f"From k = {k} ({here.shape[-1]} replicates): connected to the dense network down to level {downs[0]} with "
            f"statistics interpolated, to level {downs[1]} with recalibrated ones; at {percent(kept[tenth], 0)} of the "
            f"weights the barrier to it is {at[0]} and {at[1]}."
        )


def _projections(projected, tickets):
    """What pruning does to a solution, and the line from there to the next one."""
    rise = (projected["error"] - tickets["error"][:-1]).mean(-1)
    match, height = within(halves.excess(tickets)[1:].mean(-1), EPSILON), projected["height"].mean(-1)
    for i, k in enumerate(rewind_steps(tickets)):
        there = height[:, i][match[:, i]]
        highest = f"is at most {points(there.max(), 2)} where that matches" if len(there) else "never ends in a match"
        yield (
            f"From k = {k} pruning alone raises the error by {points(rise[:, i].min())} to {points(rise[:, i].max())}; "
            f"the mean barrier from a projection to the next solution {highest}."
        )


def _masks(found, failing, tickets):
    """What masks do: those found without rewinding, and those of failing runs."""
    dense = tickets["error"][0].mean()
    yield (
        f"The walk without rewinding: barrier of a step at most {points(found['step'].mean(-1).max(), 2)} in the mean, "
        f"from the dense network to its end {points(found['away'][-1])}; error {percent(found['error'][-1], 2)} at "
        f"{percent(found['density'][-1], 0)} of the weights, dense {percent(dense, 2)}."
    )
    for n, level in enumerate(found["level"].tolist()):
        for i, k in enumerate(found["rewind_step"].tolist()):
            yield (
                f"The mask of its level {level} ({percent(found['density'][level], 0)}) from k = {k}: error "
                f"{percent(found['return_error'][n, i], 2)} (on the walk {percent(found['error'][level], 2)}), barrier "
                f"to the walk's solution {points(found['return_barrier'][n, i], 2)} "
                f"({of(within(found['return_barrier'][n, i], EPSILON))} within half a point); IMP's own mask has "
                f"{percent(found['overlap'][n, i], 0)} of its weights, {percent(found['density'][level], 0)} by chance."
            )
    for n, level in enumerate(failing["level"].tolist()):
        arms = ", ".join(f"{arm} mask {points(failing[arm][n])}" for arm in ("own", "failing", "random"))
        yield f"At level {level}, trained from the control's rewind point, barrier to the level before: {arms}."


def _networks(tickets, barriers, contrast, others):
    """Which networks obey the law."""
    for name, some in readings.by_network(tickets, barriers, contrast, others).items():
        counted = count(some)
        yield f"From level {HIGHER} on, means, {name}: {told(counted)}; the law: {judge(counted)}."
    for n, arm in enumerate(others.about["settings"]["barriers.networks"]):
        error = others["error"][n, 0, 0]
        reached = int(others["error"][n].isfinite().flatten(1).any(1).sum()) - 1
        yield (
            f"The network {readings.named(arm)} has {int(others['weights'][n])} weights, errs on "
            f"{percent(error[error.isfinite()], 2)} when dense, and was pruned to level {reached}."
        )
