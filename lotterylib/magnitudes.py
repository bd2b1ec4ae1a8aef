"""What training does to the magnitudes of weights: small ones, new small ones, signs, histograms.

A level prunes the weights below a threshold. If nothing changed afterwards, the next level would have to prune larger
ones. Retraining may make new small weights instead: it *refills* the region below the threshold. All results are
float64 on the CPU.
"""

import torch
from torch import Tensor

from . import pruning
from .states import Mask, State, check_mask, dot, select


def flat(state: State, mask: Mask) -> list[Tensor]:
    """The magnitudes of kept weights, one vector for each replicate, in the order of the mask's entries."""
    count = check_mask(state, mask)
    rows = [torch.cat([state[name][r][keep[r]] for name, keep in mask.items()]) for r in range(count)]
    return [row.abs().double().cpu() for row in rows]


def histogram(state: State, mask: Mask, edges) -> Tensor:
    """Share of the kept weights in each bin of magnitude, ``(R, len(edges) - 1)``; what lies outside counts nowhere.

    Raises ``ValueError`` unless ``edges`` are two or more increasing numbers.
    """
    edges = torch.as_tensor(edges, dtype=torch.float64).cpu()
    if edges.dim() != 1 or len(edges) < 2 or not (edges.diff() > 0).all():
        raise ValueError(f"edges are {edges.tolist()}; they must be two or more increasing numbers")
    return torch.stack([torch.histogram(w, edges)[0] / len(w) for w in flat(state, mask)])


def threshold(state: State, before: Mask, after: Mask) -> Tensor:
    """The largest magnitude among the weights that ``after`` prunes from ``before``, ``(R,)``.

    Raises ``ValueError`` as ``pruning.pruned`` does.
    """
    return torch.stack([w.max() for w in flat(state, pruning.pruned(before, after))])


def refilled(state: State, mask: Mask, limit) -> Tensor:
    """Share of the kept weights whose magnitude is at most ``limit`` ``(R,)``; ``(R,)``.

    For a projection this is 0 by construction, with ``limit`` the threshold of the pruning that made it.
    """
    limit, rows = torch.as_tensor(limit, dtype=torch.float64).cpu(), flat(state, mask)
    if limit.shape != (len(rows),):
        raise ValueError(f"limit has shape {tuple(limit.shape)}; it must be ({len(rows)},), one for each replicate")
    return torch.stack([(w <= t).double().mean() for w, t in zip(rows, limit, strict=True)])


def removed(state: State, before: Mask, after: Mask) -> Tensor:
    """Length of what the pruning from ``before`` to ``after`` takes from a state, as a share of its length, ``(R,)``.

    The distance from a solution to its projection, relative to its kept weights. Raises as ``threshold`` does.
    """
    gone, kept = ({n: pruning.apply(state, m)[n] for n in m} for m in (pruning.pruned(before, after), before))
    return (dot(gone, gone) / dot(kept, kept)).sqrt().cpu()


def already_small(earlier: State, later: State, mask: Mask, fraction: float) -> Tensor:
    """Share of the weights that are smallest in ``later`` which were smallest in ``earlier`` too, ``(R,)``.

    Smallest: the ``fraction`` of the weights in ``mask`` that the next pruning takes. With no relation between the two
    it is ``fraction``. Raises ``ValueError`` unless that is strictly between 0 and 1.
    """
    shares = []
    for a, b in zip(flat(earlier, mask), flat(later, mask), strict=True):
        count = int(pruning.share(fraction, torch.tensor(len(a))))
        small = [set(w.argsort()[:count].tolist()) for w in (a, b)]
        shares.append(len(small[0] & small[1]) / count)
    return torch.tensor(shares, dtype=torch.float64)


def agreement(a: State, b: State, mask: Mask) -> tuple[Tensor, Tensor]:
    """Between the kept weights of two states: share of equal signs, and correlation of magnitudes, each ``(R,)``."""
    check_mask(b, mask)
    signs, correlations = [], []
    for r in range(check_mask(a, mask)):
        one = {name: keep[r : r + 1] for name, keep in mask.items()}
        u, v = (torch.cat([select(s, [r])[name][keep] for name, keep in one.items()]).double() for s in (a, b))
        signs.append((u.sign() == v.sign()).double().mean())
        correlations.append(torch.corrcoef(torch.stack([u.abs(), v.abs()]))[0, 1])
    return torch.stack(signs).cpu(), torch.stack(correlations).cpu()
