"""What retraining changes between one pruning and the next: lengths, small weights, signs.

All results are float64 ``(R,)`` on the CPU.
"""

import torch
from torch import Tensor

from lotterylib import pruning
from lotterylib.states import Mask, State, check_mask, dot, select

from . import magnitudes


def removed(state: State, before: Mask, after: Mask) -> Tensor:
    """Length of what the pruning from ``before`` to ``after`` takes from a state, as a share of its length, ``(R,)``.

    The distance from a solution to its projection, relative to its kept weights. Raises ``ValueError`` as
    ``pruning.pruned`` does.
    """
    gone, kept = ({n: pruning.apply(state, m)[n] for n in m} for m in (pruning.pruned(before, after), before))
    return (dot(gone, gone) / dot(kept, kept)).sqrt().cpu()


def already_small(earlier: State, later: State, mask: Mask, fraction: float) -> Tensor:
    """Share of the weights that are smallest in ``later`` which were smallest in ``earlier`` too, ``(R,)``.

    Smallest: the ``fraction`` of the weights in ``mask`` that the next pruning takes. With no relation between the two
    it is ``fraction``. Raises ``ValueError`` unless that is strictly between 0 and 1.
    """
    shares = []
    for a, b in zip(magnitudes.flat(earlier, mask), magnitudes.flat(later, mask), strict=True):
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
