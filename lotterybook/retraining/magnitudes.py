"""The magnitudes of kept weights: histograms, thresholds, and what retraining *refills*. Float64 on the CPU.

A level prunes the weights below a threshold. If nothing changed afterwards, the next level would have to prune larger
ones. Retraining may make new small weights instead: it refills the region below the threshold.
"""

import torch
from torch import Tensor

from lotterylib import checks, pruning
from lotterylib.states import Mask, State, check_mask


def flat(state: State, mask: Mask) -> list[Tensor]:
    """The magnitudes of kept weights, one vector for each replicate, in the order of the mask's entries."""
    count = check_mask(state, mask)
    rows = [torch.cat([state[name][r][keep[r]] for name, keep in mask.items()]) for r in range(count)]
    return [row.abs().double().cpu() for row in rows]


def histogram(state: State, mask: Mask, edges) -> Tensor:
    """Share of kept weights in each bin, ``(R, len(edges) - 1)``. Raises ``ValueError`` unless ``edges`` increase."""
    edges = checks.array("edges", edges)
    if edges.dim() != 1 or len(edges) < 2 or not (edges.diff() > 0).all():
        raise ValueError(f"edges are {edges.tolist()}; they must be two or more increasing numbers")
    return torch.stack([torch.histogram(w, edges)[0] / len(w) for w in flat(state, mask)])


def threshold(state: State, before: Mask, after: Mask) -> Tensor:
    """The largest magnitude that pruning from ``before`` to ``after`` takes, ``(R,)``. Raises as ``pruned`` does."""
    return torch.stack([w.max() for w in flat(state, pruning.pruned(before, after))])


def refilled(state: State, mask: Mask, limit) -> Tensor:
    """Share of kept weights, ``(R,)``, of magnitude <= ``limit`` ``(R,)``. Raises ``ValueError`` for another shape."""
    limit, rows = checks.array("limit", limit), flat(state, mask)
    if limit.shape != (len(rows),):
        raise ValueError(f"limit has shape {tuple(limit.shape)}; it must be ({len(rows)},), one for each replicate")
    return torch.stack([(w <= t).double().mean() for w, t in zip(rows, limit, strict=True)])
