"""Perturbations of an initialization: directions of known length.

A level L initialization is ``m^(L) * w_k``. Its *axial subspace* holds all weights that are zero outside ``m^(L)``. IMP
itself perturbs it: the next level takes away the weights in ``m^(L) - m^(L+1)``, which moves it by the
*successive-rewind distance* ``||(m^(L) - m^(L+1)) * w_k||``. Perturbations are measured in multiples of it.
"""

import torch

from . import checks
from .pruning import noise, pruned, remaining
from .states import Mask, State, check_alike, check_mask, length, replicates, times


def random_direction(state: State, mask: Mask, norm, seed=0) -> State:
    """Draw a direction inside the axial subspace of ``mask``: Gaussian, and of exactly the length ``norm``.

    ``norm``: one number or ``(R,)``; replicate r is drawn as ``seed + r``. It is zero in all that is not in the mask;
    with a mask's complement it lies outside the subspace. Raises ``ValueError`` for a norm < 0 or an empty subspace.
    """
    check_mask(state, mask)
    if (remaining(mask) == 0).any():
        raise ValueError("the axial subspace is empty: the mask keeps no weight in some replicate")
    norm = _per_replicate("norm", norm, state)
    drawn = noise(mask, seed, torch.randn)
    inside = _embedded(state, {name: torch.where(keep, drawn[name], 0.0) for name, keep in mask.items()})
    return times(inside, norm / length(inside))


def pruning_direction(rewind: State, before: Mask, after: Mask) -> State:
    """What pruning does to a rewind point: ``-(m^(L) - m^(L+1)) * w_k``. Raises ``ValueError`` as ``pruned`` does."""
    check_mask(rewind, before, "before")
    removed = pruned(before, after)
    return _embedded(rewind, {name: torch.where(gone, -rewind[name], 0.0) for name, gone in removed.items()})


def perturb(state: State, direction: State, scale) -> State:
    """Return ``state + scale * direction``, one scale or ``(R,)``. Raises ``ValueError`` for one < 0 or not finite."""
    check_alike(state, checks.tree("direction", direction))
    moved = times(direction, _per_replicate("scale", scale, state))
    return {name: tensor + moved[name] for name, tensor in state.items()}


def _embedded(state, entries):
    """The entries as a direction with all entries of the state, and their types; zero elsewhere."""
    return {name: entries[name].to(t) if name in entries else torch.zeros_like(t) for name, t in state.items()}


def _per_replicate(argument, value, state):
    """A number or ``(R,)`` as ``(R,)``, checked to be finite and at least 0."""
    values = checks.array(argument, value).to(next(iter(state.values())).device)
    if values.dim() and values.shape != (replicates(state),):
        raise ValueError(f"{argument} has shape {tuple(values.shape)}; it must be one number or ({replicates(state)},)")
    for each in values.flatten().tolist():
        checks.within(argument, each, 0, float("inf"), open_high=True)
    return values.expand(replicates(state))
