"""Masks: which weights stay.

A *mask* is a ``dict[str, Tensor]`` of booleans ``(R, ...)``, for the prunable entries of a state only. Every function
that prunes removes ``ceil(fraction * remaining)`` weights of each replicate (as open_lth does) and never brings one
back.
"""

import math

import torch

from . import checks
from .states import replicates


def full(net, state):
    """Return the mask that keeps every prunable weight."""
    return {name: torch.ones_like(state[name], dtype=torch.bool) for name in net.prunable}


def apply(state, mask):
    """Return the state with pruned weights set to exactly zero; other entries are shared, not copied."""
    return {**state, **{name: torch.where(keep, state[name], 0.0) for name, keep in mask.items()}}


def remaining(mask):
    """Return the number of weights kept by each replicate, int64 ``(R,)``."""
    return sum(keep.flatten(1).sum(1) for keep in mask.values())


def density(mask) -> float:
    """Return the fraction of prunable weights kept, the mean over replicates."""
    return float(remaining(mask).double().mean()) / sum(keep[0].numel() for keep in mask.values())


def magnitude(state, mask, fraction):
    """Prune the smallest ``fraction`` of the remaining weights by magnitude, all layers ranked together.

    Raises ``ValueError`` if ``fraction`` is not strictly between 0 and 1, or if a layer or the network would be empty.
    """
    return _prune_lowest({name: state[name].abs() for name in mask}, mask, fraction)


def layerwise(state, mask, fraction):
    """Prune the smallest ``fraction`` of the remaining weights of each layer by magnitude.

    Raises ``ValueError`` as ``magnitude`` does.
    """
    pruned = {}
    for name in mask:
        pruned |= _prune_lowest({name: state[name].abs()}, {name: mask[name]}, fraction)
    return pruned


def random(state, mask, fraction, seed=0):
    """Prune a random ``fraction`` of the remaining weights, all layers together; replicate r is drawn as ``seed + r``.

    The values in ``state`` do not matter: it is there so that the three rules can stand in for one another. Raises
    ``ValueError`` as ``magnitude`` does.
    """
    return _prune_lowest(noise(mask, seed), mask, fraction)


def shuffle(mask, seed=0):
    """Permute each layer's mask within the layer: the same number of weights stays in each, at random places.

    The control of Su et al. (2020) and Frankle et al. (2021); replicate r is drawn as ``seed + r``.
    """
    shuffled = {}
    for name, drawn in noise(mask, seed).items():
        order = drawn.flatten(1).argsort(1)
        shuffled[name] = mask[name].flatten(1).gather(1, order).view_as(mask[name])
    return shuffled


def noise(mask, seed, draw=torch.rand):
    """Random numbers shaped like the mask, ``(R, ...)`` by entry, on its device; replicate r is drawn as ``seed + r``.

    ``draw`` is ``torch.rand``, uniform in [0, 1), or another such function; it draws on the CPU, so alike on every
    device.
    """
    generators = [torch.Generator().manual_seed(seed + r) for r in range(replicates(mask))]
    return {
        name: torch.stack([draw(keep.shape[1:], generator=g) for g in generators]).to(keep.device)
        for name, keep in mask.items()
    }


def _prune_lowest(scores, mask, fraction):
    checks.within("fraction", fraction, 0, 1, open_low=True, open_high=True)
    scores = torch.cat([scores[name].masked_fill(~keep, math.inf).flatten(1) for name, keep in mask.items()], dim=1)
    counts = (remaining(mask).double() * fraction).ceil().long()
    rank = scores.argsort(dim=1, stable=True).argsort(dim=1)
    lowest = (rank < counts[:, None]).split([keep[0].numel() for keep in mask.values()], dim=1)
    pruned = {name: keep & ~low.view_as(keep) for (name, keep), low in zip(mask.items(), lowest, strict=True)}
    for name, keep in pruned.items():
        empty = ~keep.flatten(1).any(1)
        if empty.any():
            r = int(empty.nonzero()[0])
            raise ValueError(
                f"fraction is {fraction}, which would empty layer {name!r} of replicate {r} "
                f"({int(mask[name][r].sum())} weights are left there); every layer must keep at least one weight: "
                "prune a smaller fraction, or fewer levels"
            )
    return pruned
