"""Where trainings go: angles between displacements, and coordinates in a plane. Float64 on the CPU."""

import torch
from torch import Tensor

from lotterylib.networks import Network
from lotterylib.states import State, check_alike, dot, length


def overlap(net: Network, first: tuple[State, State], second: tuple[State, State]) -> Tensor:
    """Cosine between the displacements of two trainings' parameters, ``(R,)``.

    Each is a pair (start, end). 1: both went the same way. NaN where one did not move. Raises ``ValueError`` if a state
    is not one of the network, or has another number of replicates than the first.
    """
    check_alike(first[0], second[0])
    u, v = _displacement(net, *first), _displacement(net, *second)
    return (dot(u, v) / (length(u) * length(v))).cpu()


def coordinates(net: Network, origin: State, first: State, second: State, state: State) -> Tensor:
    """Where the parameters of ``state`` fall, orthogonally, on the plane that ``landscape.plane`` draws: ``(2, R)``.

    Not finite where the first three lie on a line. Raises as ``overlap`` does.
    """
    u, v, moved = (_displacement(net, origin, end) for end in (first, second, state))
    along = dot(u, v) / length(u)
    across = (dot(v, v) - along**2).clamp_min(0).sqrt()
    horizontal = dot(moved, u) / length(u)
    return torch.stack([horizontal, (dot(moved, v) - along * horizontal) / across]).cpu()


def _displacement(net, start, end):
    net.check(end)
    check_alike(start, end)
    return {name: end[name] - start[name] for name in net.parameters}
