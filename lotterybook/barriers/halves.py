"""Counting connected against matching pairs: both halves of "if and only if".

A pair is a level and the one before. It matches if its *sparser* network does, as in the authors' pilot figure: the
denser one has fewer weights to miss. It is connected if the barrier between the two is within the tolerance.
"""

from typing import NamedTuple

import torch

from ..tickets.matching import EPSILON, excess, within
from ..verdicts import FAILS, HOLDS, PARTLY, UNTESTED, Contingency, crossed, percent

__all__ = "EPSILON", "excess", "within"  # of chapter 1, which the modules of this room take from here

HIGHER = 4  # the first level of "higher sparsities": the authors' pilot figure begins there
SHARE, SHARE_PARTLY = 0.85, 0.75  # of either half; the authors' pilot figure has 19 of 20 and 19 of 22 (86 %)
TOLERANCES = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02)  # over which both halves are shown
MIXED = ((0.005, 0.01), (0.0025, 0.005))  # of matching and of connection, where they differ


class Pairs(NamedTuple):
    """Error of the sparser network above the mean dense one, and barrier of a pair, both (levels, K, R).

    Or their means over replicates, (levels, K). The first is the pair of level 1 and the dense network.
    """

    excess: torch.Tensor
    barrier: torch.Tensor

    def mean(self):
        """The same as means over replicates."""
        return Pairs(self.excess.mean(-1), self.barrier.mean(-1))

    def levels(self, first, last=None):
        """The pairs whose sparser network is of a level from ``first`` to ``last``."""
        return Pairs(*(values[first - 1 : last] for values in self))

    def at(self, columns):
        """The pairs of some rewind steps, by their indices."""
        return Pairs(*(values[:, columns] for values in self))


def pairs(error, barrier) -> Pairs:
    """Pairs of successive levels from test errors (levels + 1, K, R) and barriers (levels, K, R)."""
    return Pairs(error[1:] - error[0][error[0].isfinite()].mean(), barrier)


def midway(error, curve) -> torch.Tensor:
    """How far the error midway lies above the mean of the two ends, (levels, K, R); at least 0.

    ``curve`` (levels, points, K, R), of an odd number of points. Raises ``ValueError`` for an even one.
    """
    if curve.shape[1] % 2 == 0:
        raise ValueError(f"curve has {curve.shape[1]} points; midway lies one of them only if their number is odd")
    return (curve[:, curve.shape[1] // 2] - (error[1:] + error[:-1]) / 2).clamp_min(0)


def count(some, matching=EPSILON, connection=None) -> Contingency:
    """Count pairs by matching and connected; those without a number do not count.

    ``matching`` and ``connection`` are the two tolerances; the second is as the first unless it is given.
    """
    there = some.excess.isfinite() & some.barrier.isfinite()
    match = within(some.excess, matching)
    joined = within(some.barrier, matching if connection is None else connection)
    return crossed(match[there], joined[there])


def halves(counted):
    """Of how many matching pairs so many are connected, and of how many connected ones so many match."""
    return (counted.both, counted.both + counted.only_matching), (counted.both, counted.both + counted.only_connected)


def share(part, whole):
    """A share; NaN where there is no case."""
    return part / whole if whole else float("nan")


def judge(counted) -> str:
    """The verdict: as good as the worse half. Without a case of either, or where no pair could fail, there is none."""
    worse = min((share(*half) for half in halves(counted)), key=lambda value: -1 if value != value else value)
    if worse != worse or counted.both == sum(counted):
        return UNTESTED
    return HOLDS if worse >= SHARE else PARTLY if worse >= SHARE_PARTLY else FAILS


def told(counted) -> str:
    """Both halves, agreement and chance agreement in words."""
    if not sum(counted):
        return "no pair"
    named = zip(("*if*", "*only if*"), halves(counted), strict=True)
    both = ", ".join(
        f"{name} {part} of {whole}" + (f" ({percent(part / whole, 0)})" if whole else "")
        for name, (part, whole) in named
    )
    return (
        f"{both}; agreement {percent(counted.agreement, 0)} of {sum(counted)} pairs "
        f"({percent(counted.chance, 0)} by chance)"
    )
