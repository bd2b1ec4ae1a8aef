"""States: every parameter and buffer of a network, with a replicate axis.

A *state* is a plain ``dict[str, Tensor]`` whose tensors all begin with the replicate axis R. A *mask* is one of
booleans for the prunable entries alone, and a *direction* the difference of two states. What functions of states return
is states or ``(R,)`` tensors, on the device of the state unless a docstring says otherwise.
"""

import torch
from torch import Tensor

from . import checks

State = dict[str, Tensor]  # every tensor (R, ...)
Mask = dict[str, Tensor]  # of booleans, (R, ...)


def check(argument: str, tree: State, shapes: dict, count: int | None = None, kind: torch.dtype | None = None) -> int:
    """Return the number of replicates of a state or mask whose entries have ``shapes``, a dict, without that axis.

    Raises ``ValueError`` that names the entry if one lacks, is unknown or of another shape, or if the replicates are
    not ``count`` (``None``: as many as the first entry has). ``kind``: the ``torch.dtype`` that all must have.
    """
    for name in checks.tree(argument, tree):
        checks.choice(f"{argument} entry", name, shapes)
    for name, shape in shapes.items():
        if name not in tree:
            raise ValueError(f"{argument} lacks the entry {name!r}; it must hold {', '.join(shapes)}")
        tensor = tree[name]
        found, shape = tuple(tensor.shape), tuple(shape)
        if found[1:] != shape or not found or found[0] != (count or found[0]) or not found[0]:
            allowed = ", ".join(map(str, (count or "R", *shape)))
            hint = "; one replicate's state_dict lacks that axis" if found == shape else ""
            came = f"{argument} entry {name!r} has shape {found}; it must be ({allowed}), with at least one replicate"
            raise ValueError(f"{came}, equally many in every entry, on the first axis{hint}")
        count = found[0]
        if kind is not None and tensor.dtype != kind:
            raise ValueError(f"{argument} entry {name!r} has type {tensor.dtype}; it must be {kind}")
    return count


def check_mask(state: State, mask: Mask, argument="mask") -> int:
    """Return the number of replicates of a state and its mask, which need not cover every entry.

    Raises ``ValueError`` unless the mask holds booleans, shaped as the entries of ``state`` with its names.
    """
    checks.tree("state", state)
    shapes = {checks.choice(f"{argument} entry", n, state): state[n].shape[1:] for n in checks.tree(argument, mask)}
    return check(argument, mask, shapes, replicates(state), torch.bool)


def check_alike(a: State, b: State, axes=0) -> None:
    """Check that two states agree in names, and shapes after ``axes`` axes. Raises ``ValueError`` naming an entry."""
    for name in (*checks.tree("the first state", a), *checks.tree("the second state", b)):
        if name not in a or name not in b:
            raise ValueError(f"states differ: {name!r} is only in the {'first' if name in a else 'second'}")
        first, second = tuple(a[name].shape), tuple(b[name].shape)
        if first[axes:] != second[axes:]:
            equal = "shapes without the replicate axis" if axes else "shapes and numbers of replicates (first axis)"
            found = f"states differ: {name!r} is {first} in the first and {second} in the second"
            raise ValueError(f"{found}; {equal} must be equal")


def check_form(argument: str, state: State, like: State, count: int) -> State:
    """Return a state of ``count`` replicates with names, shapes and types of ``like``; ``ValueError`` for others."""
    check(argument, state, {name: tensor.shape[1:] for name, tensor in like.items()}, count)
    for name, tensor in like.items():
        check(argument, {name: state[name]}, {name: tensor.shape[1:]}, count, tensor.dtype)
    return state


def replicates(state: State) -> int:
    """Return the number of replicates R of a state."""
    return len(next(iter(state.values())))


def select(state: State, indices) -> State:
    """Return the replicates of a state or mask at ``indices``, a list or slice; one number drops the replicate axis."""
    return {name: tensor[indices] for name, tensor in state.items()}


def concatenate(states: list[State]) -> State:
    """Join one or more states or masks along the replicate axis. Raises ``ValueError`` if their entries differ."""
    checks.whole("number of states", len(states), 1)
    for state in states[1:]:
        check_alike(states[0], state, axes=1)
    return {name: torch.cat([state[name] for state in states]) for name in states[0]}


def dot(u: State, v: State) -> Tensor:
    """Inner product of two states or directions over the entries of ``u``, float64 ``(R,)``."""
    return sum((u[name].double() * v[name].double()).reshape(len(u[name]), -1).sum(1) for name in u)


def times(direction: State, factor: Tensor) -> State:
    """Multiply each replicate of a direction by its ``factor`` ``(R,)``."""
    return {n: factor.to(t.dtype).view(-1, *[1] * (t.dim() - 1)) * t for n, t in direction.items()}


def length(direction: State) -> Tensor:
    """Euclidean length of a direction, float64 ``(R,)``."""
    return dot(direction, direction).sqrt()
