"""The error landscape between solutions: barriers, paths, planes.

Errors are rates in [0, 1]. On a path every entry of the state is interpolated, BatchNorm's running statistics included;
``recalibrate`` measures them anew instead. All but states is float64 on the CPU.
"""

import copy
from collections.abc import Callable
from itertools import combinations, pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import checks, progress, training
from .data import Dataset
from .networks import Network, exact
from .states import State, check_alike, dot, length, replicates, times

DEFINITIONS = ("line", "mean")  # of a barrier


def error(net: Network, state: State, x: Tensor, y: Tensor) -> Tensor:
    """Return the error rate in [0, 1] of every replicate, ``(R,)``; arguments as in ``training.evaluate``."""
    return training.evaluate(net, state, x, y)[1]


def interpolate(a: State, b: State, gamma: float) -> State:
    """``gamma * a + (1 - gamma) * b``, whole numbers as in ``a``. Raises ``ValueError`` unless the two are alike."""
    check_alike(a, b)
    checks.within("gamma", gamma)
    return {name: torch.lerp(b[name], a[name], gamma) if a[name].is_floating_point() else a[name] for name in a}


class Barrier(NamedTuple):
    """``height`` ``(R,)``; ``curve`` ``(points, R)``, the error along the line; ``gamma`` ``(points,)``, 1 at ``a``."""

    height: Tensor
    curve: Tensor
    gamma: Tensor


def barrier(function, a: State, b: State, points=30, definition="line", ends=None) -> Barrier:
    """Barrier of any function from states to ``(R,)`` on the line from ``b`` (gamma = 0) to ``a`` (gamma = 1).

    ``definition="line"`` is the smallest epsilon with ``E(gamma a + (1 - gamma) b) <= gamma E(a) + (1 - gamma) E(b) +
    epsilon`` on a grid of ``points`` values of gamma, ends included (Paul et al. 2023, Def. 2.1, as we reconstruct it).
    ``"mean"`` is ``sup E - (E(a) + E(b)) / 2`` (Frankle et al. 2020). Both are at least 0 and symmetric in a and b.
    ``ends``: ``(E(a), E(b))``, if they are known and shall not be measured again. Raises ``ValueError`` for states that
    differ in names or shapes, an unknown definition, or fewer than two points.
    """
    checks.whole("points", points, 2)
    checks.choice("definition", definition, DEFINITIONS)
    checks.kind("function", function, Callable)
    check_alike(a, b)
    gamma, curve = torch.linspace(0, 1, points, dtype=torch.float64), []
    known = {} if ends is None else {1.0: ends[0], 0.0: ends[1]}
    for place in progress.bar(gamma.tolist(), desc="barrier"):
        found = known[place] if place in known else function(interpolate(a, b, place))
        curve.append(checks.kind("function's result", found, Tensor).cpu())
    curve = torch.stack(curve)
    line, mean = torch.lerp(curve[0], curve[-1], gamma.to(curve)[:, None]), (curve[0] + curve[-1]) / 2
    return Barrier((curve - (line if definition == "line" else mean)).amax(0), curve, gamma)


def error_barrier(net: Network, a: State, b: State, x: Tensor, y: Tensor, points=30, definition="line") -> Barrier:
    """Test-error barrier of every replicate between the states ``a`` and ``b``, as ``barrier`` defines it."""
    return barrier(lambda state: error(net, state, x, y), a, b, points, definition)


def all_pairs(function, states: list[State], points=11, definition="line") -> Tensor:
    """Barrier heights ``(n, n, R)`` of ``function`` between all pairs of one or more ``states``, each measured once.

    For the test error ``function`` is ``lambda state: error(net, state, x, y)``. Raises as ``barrier`` does.
    """
    checks.whole("number of states", len(checks.kind("states", states, list, tuple)), 1)
    checks.kind("function", function, Callable)
    for other in states[1:]:
        check_alike(states[0], other)
    ends = [function(state) for state in states]
    heights = torch.zeros(len(states), len(states), replicates(states[0]), dtype=torch.float64)
    for i, j in progress.bar(list(combinations(range(len(states)), 2)), desc="all pairs"):
        found = barrier(function, states[j], states[i], points, definition, (ends[j], ends[i]))
        heights[i, j] = heights[j, i] = found.height
    return heights


def path(net: Network, states: list[State], x: Tensor, y: Tensor, points=11) -> tuple[Tensor, Tensor]:
    """Error along the piecewise-linear path through two or more ``states``, with ``points`` a piece, corners once.

    Returns ``position`` ``(P,)``, where 0, 1, 2, ... are the states, and ``error`` ``(P, R)``. Raises as ``barrier``.
    """
    checks.whole("number of states", len(checks.kind("states", states, list, tuple)), 2)
    pieces = [error_barrier(net, b, a, x, y, points) for a, b in pairwise(states)]
    position = [i + piece.gamma[i > 0 :] for i, piece in enumerate(pieces)]  # after the first without the shared corner
    return torch.cat(position), torch.cat([piece.curve[i > 0 :] for i, piece in enumerate(pieces)])


class Plane(NamedTuple):
    """Test ``error`` ``(steps, steps, R)``, with the axes ``vertical`` and ``horizontal`` ``(steps, R)`` of the plane.

    The axes are distances from the first state; ``corners`` ``(3, 2, R)`` are (horizontal, vertical) of the states.
    """

    error: Tensor
    horizontal: Tensor
    vertical: Tensor
    corners: Tensor


def plane(net: Network, origin: State, first: State, second: State, ds: Dataset, steps=25, margin=0.25) -> Plane:
    """Test error on the 2-D plane through three states, which reaches ``margin`` of the triangle's extent beyond it.

    The axes are orthonormal in the space of parameters (Gram-Schmidt on ``first - origin``, then ``second - origin``).
    BatchNorm is recalibrated at every point: extrapolated variances could be negative. Raises ``ValueError`` for fewer
    than two steps, a negative margin, or three states on a line.
    """
    checks.whole("steps", steps, 2)
    checks.within("margin", margin, 0)
    checks.kind("ds", ds, Dataset)
    checks.kind("net", net, Network).check(origin)
    for other in (first, second):
        check_alike(origin, other)
    u, v = ({name: other[name] - origin[name] for name in net.parameters} for other in (first, second))
    base = length(u)
    along = dot(u, v) / base  # how far v reaches along u, and across it
    across = (dot(v, v) - along**2).clamp_min(0).sqrt()
    if not (across > 1e-4 * base).all():
        raise ValueError("states lie on one line, or origin and first are the same; a plane needs three not on a line")
    zero = torch.zeros_like(base)
    corners = torch.stack([zero, zero, base, zero, along, across]).unflatten(0, (3, 2))
    low, high = corners.amin(0), corners.amax(0)
    grid = torch.linspace(-margin, 1 + margin, steps, device=base.device, dtype=base.dtype)[:, None]
    horizontal, vertical = (low[i] + grid * (high[i] - low[i]) for i in (0, 1))
    errors = torch.empty(steps, steps, len(base), dtype=torch.float64)
    for row, column in progress.bar(list(product(range(steps), repeat=2)), desc="plane"):
        b = vertical[row] / across
        a = (horizontal[column] - b * along) / base
        along_u, along_v = times(u, a), times(v, b)
        moved = {name: origin[name] + along_u[name] + along_v[name] for name in u}
        errors[row, column] = error(net, recalibrate(net, {**origin, **moved}, ds), ds.test_x, ds.test_y)
    return Plane(errors, horizontal.cpu(), vertical.cpu(), corners.cpu())


@torch.no_grad()
def recalibrate(net: Network, state: State, ds: Dataset, batch_size=500) -> State:
    """Return the state with BatchNorm statistics measured anew on the training set (without augmentation).

    They are averages of each batch's mean and variance (Izmailov et al. 2018), whatever the layers' momentum is.
    Without running statistics the state stays. Raises as ``net.check``.
    """
    checks.kind("ds", ds, Dataset)
    checks.kind("net", net, Network).check(state)
    checks.whole("batch_size", batch_size, 1)
    alone, own = copy.copy(net), {}  # with a module of its own, since the momentum of some layers changes
    alone.module = copy.deepcopy(net.module)
    for path, m in alone.module.named_modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats:
            m.momentum = m.momentum or 1.0  # 0 would keep what was, None counts batches
            own |= {name: m.momentum for name, _ in m.named_buffers(path, recurse=False) if "running_" in name}
    total = {name: torch.zeros_like(state[name]) for name in own}
    size = min(batch_size, len(ds.train_y))
    batches = torch.arange(len(ds.train_y) // size * size, device=ds.device).split(size) if own else ()
    for x, _ in map(ds.gather, batches):
        fresh = {name: tensor if name in net.parameters else tensor.clone() for name, tensor in state.items()}
        fresh |= {name: torch.zeros_like(state[name]) for name in own}
        with exact():
            alone.map(lambda one, x=x: alone.forward(one, x, train=True))(fresh)
        for name, momentum in own.items():  # from zero, one update leaves the batch's statistics times momentum
            total[name] += fresh[name] / (momentum * len(batches))
    return {**state, **total}


def distance(net: Network, a: State, b: State) -> Tensor:
    """Euclidean distance between the parameters of two states, ``(R,)``. Raises ``ValueError`` unless alike."""
    checks.kind("net", net, Network).check(a)
    check_alike(a, b)
    return length({name: a[name] - b[name] for name in net.parameters}).cpu()
