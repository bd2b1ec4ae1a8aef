"""What training does to the magnitudes of weights: small ones, new small ones, signs, histograms.

A level prunes the weights below a threshold. If nothing changed afterwards, the next level would have to prune larger
ones. Retraining may make new small weights instead: it *refills* the region below the threshold.
"""

import torch

from . import checks, pruning
from .states import dot, select


def flat(state, mask):
    """The magnitudes of kept weights, one float64 vector for each replicate, in the order of the mask's entries."""
    count = len(pruning.remaining(mask))
    return [torch.cat([state[name][r][keep[r]] for name, keep in mask.items()]).abs().double() for r in range(count)]


def histogram(state, mask, edges):
    """Share of the kept weights in each bin of magnitude, ``(R, len(edges) - 1)``; what lies outside counts nowhere.

    Raises ``ValueError`` unless ``edges`` are two or more increasing numbers.
    """
    edges = torch.as_tensor(edges, dtype=torch.float64)
    if edges.dim() != 1 or len(edges) < 2 or (edges.diff() <= 0).any():
        raise ValueError("edges must be two or more increasing numbers")
    return torch.stack([torch.histogram(w.cpu(), edges)[0] / len(w) for w in flat(state, mask)])


def threshold(state, before, after):
    """The largest magnitude among the weights that ``after`` prunes from ``before``, float64 ``(R,)``.

    Raises ``ValueError`` if nothing was pruned between them in some replicate.
    """
    pruned = {name: keep & ~after[name] for name, keep in before.items()}
    if (pruning.remaining(pruned) == 0).any():
        raise ValueError("before and after are the same in some replicate: nothing was pruned between them")
    return torch.stack([w.max() for w in flat(state, pruned)])


def refilled(state, mask, limit):
    """Share of the kept weights whose magnitude is at most ``limit`` ``(R,)``; ``(R,)``.

    For a projection this is 0 by construction, with ``limit`` the threshold of the pruning that made it.
    """
    return torch.stack([(w <= t).double().mean() for w, t in zip(flat(state, mask), limit, strict=True)])


def removed(state, before, after):
    """Length of what the pruning from ``before`` to ``after`` takes from a state, as a share of its length, ``(R,)``.

    The distance from a solution to its projection, R in ``limits``, relative to the weights.
    """
    gone = {name: torch.where(keep & ~after[name], state[name], 0.0) for name, keep in before.items()}
    kept = {name: torch.where(keep, state[name], 0.0) for name, keep in before.items()}
    return (dot(gone, gone) / dot(kept, kept)).sqrt()


def already_small(earlier, later, mask, fraction):
    """Share of the weights that are smallest in ``later`` which were smallest in ``earlier`` too, ``(R,)``.

    Smallest: the ``fraction`` of the weights in ``mask`` that the next pruning takes. With no relation between the two
    it is ``fraction``. Raises ``ValueError`` unless that is strictly between 0 and 1.
    """
    checks.within("fraction", fraction, 0, 1, open_low=True, open_high=True)
    shares = []
    for a, b in zip(flat(earlier, mask), flat(later, mask), strict=True):
        count = -(-len(a) * fraction // 1)
        small = [set(w.argsort()[: int(count)].tolist()) for w in (a, b)]
        shares.append(len(small[0] & small[1]) / count)
    return torch.tensor(shares, dtype=torch.float64)


def agreement(a, b, mask):
    """Between the kept weights of two states: share of equal signs, and correlation of magnitudes, each ``(R,)``."""
    signs, correlations = [], []
    for r in range(len(pruning.remaining(mask))):
        one = {name: keep[r : r + 1] for name, keep in mask.items()}
        u, v = (torch.cat([select(s, [r])[name][keep] for name, keep in one.items()]).double() for s in (a, b))
        signs.append((u.sign() == v.sign()).double().mean())
        correlations.append(torch.corrcoef(torch.stack([u.abs(), v.abs()]))[0, 1])
    return torch.stack(signs), torch.stack(correlations)
