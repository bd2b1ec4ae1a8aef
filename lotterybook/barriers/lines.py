"""Barriers on lines whose ends have been measured already: between many pairs of states, each stands on many lines."""

from itertools import combinations

import torch

from lotterylib import landscape


def height(error, a, b, ends, points):
    """Barrier ``(R,)`` of a function ``error`` of states on the line between ``a`` and ``b``.

    As ``landscape.barrier`` gives it on ``points`` places, two or more, without measuring the ends again: ``ends`` are
    the errors of ``a`` and ``b``, ``(R,)`` each. NaN where an error is.
    """
    gamma = torch.linspace(0, 1, points, dtype=torch.float64)
    inside = [error(landscape.interpolate(a, b, place)) for place in gamma[1:-1].tolist()]
    curve = torch.stack([ends[1], *inside, ends[0]])
    return (curve - torch.lerp(ends[1], ends[0], gamma[:, None])).amax(0)


def all_pairs(error, states, points):
    """Barriers between all pairs of n ``states``, ``(n, n, R)``."""
    ends = [error(state) for state in states]
    heights = torch.zeros(len(states), len(states), len(ends[0]), dtype=torch.float64)
    for i, j in combinations(range(len(states)), 2):
        found = height(error, states[i], states[j], (ends[i], ends[j]), points)
        heights[i, j] = heights[j, i] = found
    return heights
