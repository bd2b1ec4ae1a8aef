"""What is read off the records of chapter 6: how far IMP matches, from which start, and what to compare it with."""

from typing import NamedTuple

import torch

from ..barriers.halves import EPSILON, HIGHER, Pairs, count, within
from ..settings import ORDERS


class Start(NamedTuple):
    """A way to make a rewind point: so many steps on a share of the examples, in this order; all of them, no order.

    With what IMP finds from there: test ``error`` (levels + 1, R), ``barrier`` (levels, R).
    """

    step: int
    order: str | None
    share: float
    error: torch.Tensor
    barrier: torch.Tensor

    @property
    def name(self):
        """What it is called in a legend."""
        return "all examples" if self.order is None else f"{self.order} {100 * self.share:.0f} %"


def starts(record) -> list:
    """All starts of ``early_data``, for each step those with all examples first."""
    found = [
        Start(step, None, 1.0, *ends)
        for step, *ends in zip(record["all_step"].tolist(), record["all_error"], record["all_barrier"], strict=True)
    ]
    own = (record[name] for name in ("rewind_step", "order", "share", "error", "barrier"))
    for step, order, share, error, barrier in zip(*own, strict=True):
        found.append(Start(int(step), ORDERS[int(order)], float(share), error, barrier))
    return sorted(found, key=lambda start: (start.step, start.order is not None))


def pick(some, step=None, order="any", share=None) -> list:
    """Those of the starts that have this step, order (``None``: all examples) and share."""
    return [
        one for one in some
        if (step is None or one.step == step) and order in ("any", one.order) and share in (None, one.share)
    ]  # fmt: skip


def reach(error, dense):
    """The last level down to which the mean error (levels + 1, R) is within half a point of ``dense``; −1 for none."""
    return int(within(error.mean(-1) - dense, EPSILON).long().cumprod(0).sum()) - 1


def dense(record):
    """The mean error of dense networks that saw all examples, in ``early_data``: what has to be matched."""
    return float(record["all_error"][0, 0].mean())


def gap(start, other, level) -> float:
    """By how much the mean error of a start exceeds that of another at a level."""
    return float(start.error[level].mean() - other.error[level].mean())


def as_good(start, other, level) -> bool:
    """Whether the mean error of a start exceeds that of another by half a point at most, at a level."""
    return bool(within(torch.tensor(gap(start, other, level)), EPSILON))


def place(values, wanted) -> int:
    """The index of the value (n,) nearest to the wanted one."""
    return int((values.double() - wanted).abs().argmin())


def scored(record) -> int:
    """The place, among the steps at which ``scores`` looks, of the one whose scores serve."""
    return record["step"].tolist().index(int(record["score_step"]))


def equal_work(record) -> tuple:
    """The smallest share of the examples, its index, and the level whose share of the weights is nearest to it."""
    share = float(record["share"].min())
    return share, place(record["share"], share), place(record["density"], share)


def fed_pairs(record) -> Pairs:
    """Successive levels of the networks of ``both`` on less data, matching by their own dense network: (levels, OF, R).

    A column is an order and a share of the examples.
    """
    error, barrier = (record[name].flatten(0, 1).movedim(0, 1) for name in ("error", "barrier"))
    return Pairs(error[1:] - error[:1].mean(-1, keepdim=True), barrier)


def fed_count(record):
    """The law counted on less data, by the rule of chapter 2: over orders and shares, from level ``HIGHER`` on."""
    return count(fed_pairs(record).mean().levels(HIGHER))
