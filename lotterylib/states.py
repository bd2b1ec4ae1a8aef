"""States: every parameter and buffer of a network, with a replicate axis.

A *state* is a plain ``dict[str, Tensor]`` whose tensors all begin with the replicate axis R. A *mask* is a
``dict[str, Tensor]`` of booleans for the prunable entries, and a *direction* the difference of two states. Everything
in this library is a function from states to states or to ``(R,)`` tensors.
"""

import torch

from . import checks


def check(argument, tree, shapes, count=None, kind=None) -> int:
    """Return the number of replicates of a state or mask whose entries have ``shapes``, a dict, without that axis.

    Raises ``ValueError`` that names the entry if one lacks, is unknown or of another shape, or if the replicates are
    not ``count`` (``None``: as many as the first entry has). ``kind``: the ``torch.dtype`` that all must have.
    """
    if not isinstance(tree, dict):
        raise ValueError(f"{argument} is a {type(tree).__name__}; it must be a dict of tensors with a replicate axis")
    for name in tree:
        checks.choice(f"{argument} entry", name, shapes)
    for name, shape in shapes.items():
        if name not in tree:
            raise ValueError(f"{argument} lacks the entry {name!r}; it must hold {', '.join(shapes)}")
        tensor = tree[name]
        found = tuple(tensor.shape)
        count = found[0] if count is None and found else count
        if found != (count, *shape):
            raise ValueError(
                f"{argument} entry {name!r} has shape {found}; it must be {('R', *shape)} with the replicate axis in "
                f"front, R = {count} as in the other entries".replace("'R'", "R")
            )
        if kind is not None and tensor.dtype != kind:
            raise ValueError(f"{argument} entry {name!r} has type {tensor.dtype}; it must be {kind}")
    if not count:
        raise ValueError(f"{argument} has {count} replicates; it must have at least 1")
    return count


def replicates(state) -> int:
    """Return the number of replicates R of a state."""
    return len(next(iter(state.values())))


def select(state, indices):
    """Return the replicates of a state or mask at ``indices``, a list or slice; one number drops the replicate axis."""
    return {name: tensor[indices] for name, tensor in state.items()}


def concatenate(states):
    """Join several states or masks along the replicate axis."""
    return {name: torch.cat([state[name] for state in states]) for name in states[0]}


def dot(u, v):
    """Inner product of two states or directions over the entries of ``u``, float64 ``(R,)``."""
    return sum((u[name].double() * v[name].double()).reshape(len(u[name]), -1).sum(1) for name in u)


def times(direction, factor):
    """Multiply each replicate of a direction by its ``factor`` ``(R,)``."""
    return {
        name: factor.to(tensor.dtype).view(-1, *[1] * (tensor.dim() - 1)) * tensor for name, tensor in direction.items()
    }


def length(direction):
    """Euclidean length of a direction, float64 ``(R,)``."""
    return dot(direction, direction).sqrt()
