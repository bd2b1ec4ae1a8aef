"""What is read off the records of chapter 2: how far connections reach, who comes back, which networks are counted."""

import torch

from ..verdicts import rewind_steps
from .halves import EPSILON, HIGHER, excess, pairs, within

KINDS = {"resnet1d": "residual", "cnn1d": "plain", "cnn1d_plain": "plain, without BatchNorm"}
WIDTH = 24  # of a network whose settings name none


def connected_to_dense(heights):
    """Per rewind step the last level down to which the mean barrier to the dense network stays within half a point.

    ``heights`` (levels + 1, levels + 1, K, R); returns (K,).
    """
    return within(heights[0].mean(-1), EPSILON).long().cumprod(0).sum(0) - 1


def rows_of_steps(heights):
    """The levels that are joined step by step, by means: for each rewind step a list of (first, last), of two or more.

    ``heights`` (levels + 1, levels + 1, K, R).
    """
    near = within(heights.mean(-1), EPSILON)
    found = []
    for column in range(near.shape[-1]):
        joined, rows, first = torch.diagonal(near[..., column], 1).tolist(), [], 0
        for level, step in enumerate([*joined, False]):
            if not step:
                rows, first = [*rows, *([(first, level)] if level > first + 1 else [])], level + 1
        found.append(rows)
    return found


def bends(heights):
    """Whether some two levels of a row of steps are more than a point apart, per rewind step; ``None`` without a row.

    Twice the tolerance: a barrier just above it may be noise.
    """
    near = within(heights.mean(-1), 2 * EPSILON)
    return [
        not all(near[first : last + 1, first : last + 1, i].all() for first, last in rows) if rows else None
        for i, rows in enumerate(rows_of_steps(heights))
    ]


def plain_and_recalibrated(plain, recalibrated):
    """The heights of all pairs of the same networks, as they are and with statistics measured anew, two tensors."""
    columns = [rewind_steps(plain).index(k) for k in rewind_steps(recalibrated)]
    return plain["height"][:, :, columns, : recalibrated["height"].shape[-1]], recalibrated["height"]


def leads_back(found, tickets):
    """Which masks lead back, by means: connected to the walk's solution, and matching. Booleans (M, Q); and (M,).

    The second: which of the walk's solutions match themselves, so that it can be asked of their masks.
    """
    dense = tickets["error"][0].mean()
    tried = within(found["error"][found["level"]].mean(-1) - dense, EPSILON)
    return within(found["return_barrier"].mean(-1), EPSILON) & within(
        found["return_error"].mean(-1) - dense, EPSILON
    ), tried


def matching_projections(projected, tickets):
    """Mean barriers from the projection to the next solution, of pairs that match: for each rewind step (m,)."""
    match, height = within(excess(tickets)[1:].mean(-1), EPSILON), projected["height"].mean(-1)
    return [height[:, i][match[:, i]] for i in range(height.shape[1])]


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
