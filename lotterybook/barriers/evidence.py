"""The evidence for claim C1: at higher sparsities successive networks are connected if and only if they match.

Written before the records of this testbed were made: what a pair is, when it matches and is connected, and the
rules of the verdicts, are in ``halves`` and in the rows.
"""

import torch

from ..experiment import recorded
from ..tickets.evidence import EPSILON, excess, within
from ..verdicts import FAILS, HOLDS, PARTLY, UNTESTED, Verdict, of, percent, points, rewind_steps
from .halves import HIGHER, MIXED, SHARE, SHARE_PARTLY, TOLERANCES, Pairs, count, judge, midway, pairs, told

KINDS = {"resnet1d": "residual", "cnn1d": "plain", "cnn1d_plain": "plain, without BatchNorm"}
WIDTH = 24  # of a network whose settings name none


def if_and_only_if(tickets, barriers) -> Verdict:
    """The verdict on C1: both halves at higher sparsities, by means over replicates."""
    found = pairs(tickets["error"], barriers["height"])
    higher, lower = found.levels(HIGHER), found.levels(1, HIGHER - 1)
    counted = count(higher.mean())
    return Verdict(
        "At higher sparsities, pairs of pruned networks at successive pruning iterations are connected by a linear "
        "path with zero error barrier if and only if they are matching",
        f"pairs of rewind step and level from level {HIGHER} on, means over replicates, both tolerances half a point; "
        "a pair matches if its sparser network does; *if*: matching pairs that are connected; *only if*: connected "
        f"pairs that match; holds if both are at least {percent(SHARE, 0)}, partly from {percent(SHARE_PARTLY, 0)}",
        f"{told(counted)}; per replicate {told(count(higher))}; at levels 1 to {HIGHER - 1}, means: "
        f"{lower_levels(lower.mean())}",
        judge(counted),
    )


def lower_levels(some) -> str:
    """The caveat in words: how many pairs match, and how many of these are connected."""
    counted = count(some)
    match = counted.both + counted.only_matching
    return f"{match} of {sum(counted)} match, {counted.both} of these are connected"


def mask_leads_back(found, tickets, control_step) -> Verdict:
    """The verdict on C1's second sentence: masks that IMP did not find lead a robust rewind point to their mode."""
    dense, steps = tickets["error"][0].mean(), found["rewind_step"].tolist()
    levels = found["level"].tolist()
    tried = within(found["error"][levels].mean(-1) - dense, EPSILON)
    back = within(found["return_barrier"].mean(-1), EPSILON) & within(found["return_error"].mean(-1) - dense, EPSILON)
    column = steps.index(control_step)
    came, others = back[tried, column], back[tried][:, [i for i, k in enumerate(steps) if k == 0]]
    if not tried.any() or not found["return_barrier"].isfinite().all():
        verdict = UNTESTED
    else:
        share = float(came.double().mean())
        verdict = HOLDS if share == 1 and not others.any() else PARTLY if share >= 0.5 else FAILS
    told_back = "; ".join(
        f"level {level} ({percent(found['density'][level], 0)}): "
        + ", ".join(f"{points(b, 2)} from k = {k}" for k, b in zip(steps, found["return_barrier"][n], strict=True))
        for n, level in enumerate(levels)
    )
    return Verdict(
        "The mask conveys to the rewind point an axial subspace that intersects a desired linearly connected mode",
        "masks found without rewinding, put on a rewind point and trained: barrier to the solution that they were "
        f"found with; holds if from k = {control_step} at every level where that solution matches the network comes "
        "back within half a point and matches, and from k = 0 at none; partly if at half of these levels or more",
        told_back,
        verdict,
    )


def connected_to_dense(heights):
    """Per rewind step the last level down to which the mean barrier to the dense network stays within half a point.

    ``heights`` (levels + 1, levels + 1, K, R); returns (K,).
    """
    return within(heights[0].mean(-1), EPSILON).long().cumprod(0).sum(0) - 1


def plain_and_recalibrated(plain, recalibrated):
    """The heights of all pairs of the same networks, as they are and with statistics measured anew, two tensors."""
    columns = [rewind_steps(plain).index(k) for k in rewind_steps(recalibrated)]
    return plain["height"][:, :, columns, : recalibrated["height"].shape[-1]], recalibrated["height"]


def named(arm) -> str:
    """What a network is called, from the settings of an arm in a record."""
    blocks = ", two blocks" if arm.get("blocks") == 2 else ""
    return f"{KINDS.get(arm['network'], arm['network'])} {arm.get('width', WIDTH)}{blocks}"


def by_network(tickets, barriers, contrast, others) -> dict:
    """``Pairs`` of means at higher sparsities by the name of the network: main, contrast and ``architectures``.

    Of the main one only the rewind steps that another network has too, where there are such.
    """
    asked = set(others["rewind_step"].flatten().tolist())
    common = [i for i, k in enumerate(rewind_steps(tickets)) if k in asked]
    main = pairs(tickets["error"], barriers["height"])
    found = {named(tickets.about["settings"]["main"]): main.at(common) if common else main}
    found[named(contrast.about["settings"]["contrast"])] = pairs(contrast["error"], contrast["barrier"])
    for n, arm in enumerate(others.about["settings"]["barriers.networks"]):
        found[named(arm)] = pairs(others["error"][n], others["barrier"][n])
    return {name: some.mean().levels(HIGHER) for name, some in found.items()}


def row(preset) -> Verdict:
    """The row of claim C1, its first sentence."""
    return if_and_only_if(recorded("winning_tickets", preset), recorded("successive_barriers", preset))


def mask_row(preset) -> Verdict:
    """The row of claim C1's second sentence."""
    tickets, found = recorded("winning_tickets", preset), recorded("found_masks", preset)
    return mask_leads_back(found, tickets, int(recorded("controls", preset)["rewind_step"]))


def sentences(preset) -> list:
    """What was found about C1, for the editor."""
    tickets, barriers = recorded("winning_tickets", preset), recorded("successive_barriers", preset)
    return [
        *_law(tickets, barriers),
        *_distant(recorded("all_pairs", preset), recorded("recalibrated_pairs", preset)),
        *_projections(recorded("projections", preset), tickets),
        *_masks(recorded("found_masks", preset), recorded("failing_masks", preset), tickets),
        *_networks(tickets, barriers, recorded("contrast", preset), recorded("architectures", preset)),
    ]


def _law(tickets, barriers):
    """Both halves: by means and per replicate, by level, by rewind step, over the tolerance, by other readings."""
    found = pairs(tickets["error"], barriers["height"])
    mean, higher = found.mean(), found.levels(HIGHER)
    yield f"From level {HIGHER} on, means over replicates, half a point for both: {told(count(mean.levels(HIGHER)))}."
    yield f"The same per replicate: {told(count(higher))}."
    yield f"At levels 1 to {HIGHER - 1}, means: {lower_levels(mean.levels(1, HIGHER - 1))}; " + (
        f"without the pair of level 1 and the dense network, whose momentum differs: "
        f"{lower_levels(mean.levels(2, HIGHER - 1))}."
    )
    for i, k in enumerate(rewind_steps(tickets)):
        one = mean.at([i])
        yield (
            f"From k = {k}: {told(count(one.levels(HIGHER)))}; levels 1 to {HIGHER - 1}: "
            f"{lower_levels(one.levels(1, HIGHER - 1))}, the mean barrier at level 1 is "
            f"{points(barriers['height'][0, i])}."
        )
    for epsilon in TOLERANCES:
        yield f"With {points(epsilon, 2)} for both: {told(count(mean.levels(HIGHER), epsilon))}."
    for match, joined in MIXED:
        counted = count(mean.levels(HIGHER), match, joined)
        yield f"With {points(match, 2)} for matching and {points(joined, 2)} for connection: {told(counted)}."
    if barriers["curve"].shape[1] % 2:
        half = Pairs(found.excess, midway(tickets["error"], barriers["curve"])).mean().levels(HIGHER)
        yield f"By the error midway, as in the authors' pilot figure: {told(count(half))}."
    both = torch.maximum(excess(tickets)[:-1], excess(tickets)[1:])
    strict = Pairs(both, barriers["height"]).mean().levels(HIGHER)
    yield f"If both networks of a pair have to match: {told(count(strict))}."
    anew = Pairs(found.excess, barriers["recalibrated"]).mean().levels(HIGHER)
    yield f"With recalibrated statistics on the line: {told(count(anew))}."


def _distant(plain, recalibrated):
    """Successive against distant levels, and what recalibration does to distant ones."""
    here, anew = plain_and_recalibrated(plain, recalibrated)
    kept = recalibrated["density"]
    for i, k in enumerate(rewind_steps(plain)):
        level = int(connected_to_dense(plain["height"])[i])
        next_to = percent(kept[level], 0)
        last = points(plain["height"][0, -1, i])
        yield f"From k = {k} the dense network is connected down to level {level} ({next_to}); to the last, {last}."
    for i, k in enumerate(rewind_steps(recalibrated)):
        downs = [int(connected_to_dense(heights)[i]) for heights in (here, anew)]
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
    match, height = within(excess(tickets)[1:].mean(-1), EPSILON), projected["height"].mean(-1)
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
    for name, some in by_network(tickets, barriers, contrast, others).items():
        counted = count(some)
        yield f"From level {HIGHER} on, means, {name}: {told(counted)}; the law: {judge(counted)}."
    for n, arm in enumerate(others.about["settings"]["barriers.networks"]):
        error = others["error"][n, 0, 0]
        reached = int(others["error"][n].isfinite().flatten(1).any(1).sum()) - 1
        yield (
            f"The network {named(arm)} has {int(others['weights'][n])} weights, errs on "
            f"{percent(error[error.isfinite()], 2)} when dense, and was pruned to level {reached}."
        )
