"""What records of perturbed trainings hold: cases, whether training returns in them, and from how far.

A *case* is a rewind step and a level L >= ``HIGHER``. It *yields a match* if the mean error of level L + 1 is within
``EPSILON`` of the mean dense error, and training *returns* if the mean barrier from the perturbed training's solution
back to ``w^(L)`` is within ``RETURNS``. These stand here since before there was a record of it.
"""

from typing import NamedTuple

import torch

from ..barriers.halves import HIGHER
from ..tickets.matching import EPSILON
from ..verdicts import largest_error, rewind_steps

RETURNS = 0.01  # largest mean barrier back at which training has returned; others are printed beside it
LIMITS = (0.005, RETURNS, 0.02)


class Cases(NamedTuple):
    """Levels (n,) and rewind steps (K,), and for each case the barrier back after a random perturbation of length 1.

    ``back`` (n, K, R); ``error`` (n, K): mean error of the next level; ``matches``, ``connected`` (n, K): whether that
    level matches, and whether the mean barrier from level L to it is within ``RETURNS``; ``own`` (n, K, R): that
    barrier by replicate.
    """

    level: torch.Tensor
    rewind_step: torch.Tensor
    back: torch.Tensor
    error: torch.Tensor
    matches: torch.Tensor
    connected: torch.Tensor
    own: torch.Tensor

    @property
    def returns(self):
        """Whether training returns, (n, K)."""
        return self.back.mean(-1) <= RETURNS


def scales(record, direction):
    """The lengths that were tried in a direction, ``"random"`` or ``"pruning"``, a list."""
    return record.get(f"{direction}_scale", record["scale"]).tolist()


def at_length(record, scale, direction="random"):
    """The barriers back after a perturbation of length ``scale`` in a direction, (n, K, R)."""
    return record[direction][:, scales(record, direction).index(scale)]


def cases(record, tickets, barriers) -> Cases:
    """All cases that were tried, those that were perturbed at length 1 alone among them, by level.

    Where no level is as sparse as ``HIGHER``, as in the smoke preset, the sparsest one serves.
    """
    level, back = record["level"], at_length(record, 1.0)
    if "unit" in record:
        further = ~torch.isin(record["unit_level"], level)
        level = torch.cat([level, record["unit_level"][further]])
        back = torch.cat([back, record["unit"][further]])
    order = level.argsort()
    order = order[level[order] >= min(HIGHER, int(level.max()))]
    level, back = level[order], back[order]
    every = rewind_steps(tickets)
    columns = [every.index(k) for k in rewind_steps(record)]
    error, height = tickets["error"][level + 1][:, columns].mean(-1), barriers["height"][level][:, columns]
    return Cases(
        level, record["rewind_step"], back, error, error <= largest_error(tickets, EPSILON),
        height.mean(-1) <= RETURNS, height[..., : back.shape[-1]],
    )  # fmt: skip


def critical(record, direction="random", never=float("inf")):
    """The length, in rewind distances, at which the barrier back first exceeds ``RETURNS``, (n, K, R).

    Between two lengths that were tried the barrier is taken to grow in a straight line, from 0 at length 0. ``never``
    where it never does.
    """
    scale = torch.tensor([0.0, *scales(record, direction)], dtype=torch.float64)
    height = record[direction].movedim(1, 0)
    height = torch.cat([torch.zeros_like(height[:1]), height])
    j = (height > RETURNS).long().argmax(0).clamp_min(1)
    low, high = (height.gather(0, at[None])[0] for at in (j - 1, j))
    found = scale[j - 1] + (scale[j] - scale[j - 1]) * (RETURNS - low) / (high - low)
    return torch.where((height > RETURNS).any(0), found, never)
