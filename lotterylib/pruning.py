"""Masks: which weights stay, and the rules that prune.

Every rule removes ``ceil(fraction * remaining)`` weights of each replicate (as open_lth does) and never brings one
back. All raise ``ValueError`` for a mask that does not fit its state.
"""

import math

import torch
from torch import Tensor

from . import checks
from .networks import Network
from .states import Mask, State, check, check_alike, check_mask, replicates


def full(net: Network, state: State) -> Mask:
    """Return the mask that keeps every prunable weight. Raises ``ValueError`` for the state of another network."""
    checks.kind("net", net, Network).check(state)
    return {name: torch.ones_like(state[name], dtype=torch.bool) for name in net.prunable}


def apply(state: State, mask: Mask) -> State:
    """Return the state with pruned weights set to exactly zero; other entries are shared, not copied."""
    check_mask(state, mask)
    return {**state, **{name: torch.where(keep, state[name], 0.0) for name, keep in mask.items()}}


def remaining(mask: Mask) -> Tensor:
    """Return the number of weights kept by each replicate, int64 ``(R,)``. Raises ``ValueError`` for no mask."""
    return sum(keep.flatten(1).sum(1) for keep in checks.tree("mask", mask).values())


def density(mask: Mask) -> float:
    """Return the fraction of prunable weights kept, the mean over replicates."""
    return float(remaining(mask).double().mean()) / sum(keep[0].numel() for keep in mask.values())


def pruned(before: Mask, after: Mask) -> Mask:
    """What ``after`` prunes from ``before``, as a mask. Raises ``ValueError`` unless that is some of each replicate."""
    check_alike(checks.tree("before", before), checks.tree("after", after))
    if any((after[name] & ~keep).any() for name, keep in before.items()):
        raise ValueError("after keeps weights that before prunes; it must be the mask of a later level of the same run")
    gone = {name: keep & ~after[name] for name, keep in before.items()}
    if (remaining(gone) == 0).any():
        raise ValueError("before and after are the same in some replicate; something must be pruned between them")
    return gone


def magnitude(state: State, mask: Mask, fraction: float) -> Mask:
    """Prune the smallest ``fraction`` of the remaining weights by magnitude, all layers ranked together.

    Raises ``ValueError`` unless 0 < ``fraction`` < 1, for weights that are NaN, and if a layer would be empty.
    """
    check_mask(state, mask)
    return _prune_lowest({name: state[name].abs() for name in mask}, mask, fraction)


def layerwise(state: State, mask: Mask, fraction: float | dict[str, float]) -> Mask:
    """Prune the smallest ``fraction`` of the remaining weights of each layer by magnitude.

    A dict holds an own one for each entry of the mask, for instance half of it for the last layer (Frankle & Carbin
    2019). Raises ``ValueError`` as ``magnitude`` does, and if the dict's names are not the mask's.
    """
    check_mask(state, mask)
    fractions = fraction if isinstance(fraction, dict) else dict.fromkeys(mask, fraction)
    for name in fractions:
        checks.choice("fraction entry", name, mask)
    for name in [name for name in mask if name not in fractions]:
        raise ValueError(f"fraction lacks the entry {name!r}; it must be one number or hold {', '.join(mask)}")
    layers = [_prune_lowest({n: state[n].abs()}, {n: keep}, fractions[n]) for n, keep in mask.items()]
    return {name: keep for layer in layers for name, keep in layer.items()}


def random(state: State, mask: Mask, fraction: float, seed=0) -> Mask:
    """Prune a random ``fraction``, all together, drawn by ``seed + r``, not by ``state``. Raises as ``magnitude``."""
    check_mask(state, mask)
    return _prune_lowest(noise(mask, seed), mask, fraction)


def shuffle(mask: Mask, seed=0) -> Mask:
    """Permute each layer's mask within it (Su et al. 2020, Frankle et al. 2021); replicate r drawn as ``seed + r``."""
    check("mask", mask, {name: keep.shape[1:] for name, keep in checks.tree("mask", mask).items()}, kind=torch.bool)
    order = {name: drawn.flatten(1).argsort(1) for name, drawn in noise(mask, seed).items()}
    return {name: keep.flatten(1).gather(1, order[name]).view_as(keep) for name, keep in mask.items()}


def noise(mask: Mask, seed: int, draw=torch.rand) -> State:
    """Random numbers like the mask, drawn on the CPU as ``seed + r``. Raises ``ValueError`` for a seed below 0."""
    checks.whole("seed", seed, 0, 2**63)
    generators = [torch.Generator().manual_seed(seed + r) for r in range(replicates(mask))]
    return {
        name: torch.stack([draw(keep.shape[1:], generator=g) for g in generators]).to(keep.device)
        for name, keep in mask.items()
    }


def share(fraction: float, counts: Tensor) -> Tensor:
    """``ceil(fraction * counts)``, int64, 0.1 + 0.2 of 100 is 30. Raises ``ValueError`` unless 0 < ``fraction`` < 1."""
    checks.within("fraction", fraction, 0, 1, open_low=True, open_high=True)
    return (counts.double() * fraction * (1 - 1e-9)).ceil().long()


def lowest(scores: State, mask: Mask, fraction: float) -> Mask:
    """Prune the ``fraction`` of the remaining weights that score lowest, all together; a layer may be emptied."""
    counts = share(fraction, remaining(mask))
    scores = torch.cat([scores[name].masked_fill(~keep, math.inf).flatten(1) for name, keep in mask.items()], 1)
    if scores.isnan().any():
        raise ValueError("state holds weights that are NaN; the training has diverged")
    rank = scores.argsort(dim=1, stable=True).argsort(1)
    goes = (rank < counts[:, None]).split([keep[0].numel() for keep in mask.values()], 1)
    return {name: keep & ~low.view_as(keep) for (name, keep), low in zip(mask.items(), goes, strict=True)}


def _prune_lowest(scores, mask, fraction):
    """As ``lowest``, but an emptied layer is refused."""
    after = lowest(scores, mask, fraction)
    for name, keep in after.items():
        for r in (~keep.flatten(1).any(1)).nonzero()[:, 0].tolist():
            layer = f"layer {name!r} of replicate {r} ({int(mask[name][r].sum())} weights are left there)"
            raise ValueError(f"fraction is {fraction}, which empties {layer}: keep one or more, prune less")
    return after
