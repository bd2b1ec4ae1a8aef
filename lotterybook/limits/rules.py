"""The rules by which the records of chapter 4 are judged. Those of claim C3 were fixed before there was a record of it.

The theorem speaks of the axial subspace *meeting* the well of solutions whose training loss is within epsilon nats, and
says nothing of modes. So the verdict goes by what ``readings`` measures by loss; the fraction by mode stands beside it.
"""

import torch

from lotterylib.limits import ORDERS

from ..tickets.matching import EPSILON as MATCHING  # half a point of test error
from ..verdicts import FAILS, HOLDS, PARTLY, UNTESTED, grade, largest_error, points
from .readings import EPSILON, MAGNITUDE, RANDOM, by_length, by_loss, by_mode, flatter, of_step, predicted, trainings

JUDGED = 0.005, 0.02, 0.05, 0.1  # nats; the wells that the verdict goes by
CLOSE, NEAR = 0.1, 0.2  # mean gap of predicted and measured up to which a prediction holds, or holds partly
READ = 0.025  # half the smallest distance of the fractions tried: what is read off is no finer
SETTLED = 0.05  # change of the largest fraction when a descent's length doubles, up to which it is long enough


def gaps(spectra, descents, order=RANDOM, treatment="predicted"):
    """The distance of predicted from measured by loss for each of ``JUDGED``, (E, n, K, R)."""
    return abs(predicted(spectra, descents, JUDGED, order, treatment) - measured(descents, order))


def gaps_said(spectra, descents):
    """The mean gap at random of each level, over ``JUDGED`` and networks, in words."""
    each = [points(gap.mean(), 0) for gap in gaps(spectra, descents).movedim(1, 0)]
    at = [f"{gap} at level {level}" for gap, level in zip(each, descents["level"].tolist(), strict=True)]
    return f"predicted and measured differ by {' and '.join(', '.join(at).rsplit(', ', 1))}"


def measured(descents, order):
    """The largest fraction by loss for each of ``JUDGED``, (E, n, K, R)."""
    return torch.stack([by_loss(descents, epsilon, order) for epsilon in JUDGED])


def number(gaps):
    """The verdict on the number, from mean gaps by size of the well and level, (E, n).

    Holds if all are at most ``CLOSE``, partly if all are at most ``NEAR`` or more than half at most ``CLOSE``.
    """
    if not gaps.numel() or gaps.isnan().any():
        return UNTESTED
    if (gaps <= CLOSE).all():
        return HOLDS
    return PARTLY if (gaps <= NEAR).all() or (gaps <= CLOSE).double().mean() > 0.5 else FAILS


def spread(spectra, descents):
    """The largest standard deviation, over replicates, of the fractions predicted at random for ``JUDGED``."""
    return float(predicted(spectra, descents, JUDGED, RANDOM).std(-1, correction=0).max())


def resolved(spectra, descents) -> bool:
    """Whether the predictions say anything: a spread above ``NEAR`` is that of too few steps of Lanczos's method.

    Added when the spectra of ``medium`` were there and none of its descents was; on the testbed it changes nothing.
    """
    return spread(spectra, descents) <= NEAR


def as_far(spectra, descents):
    """Whether pruning by magnitude gets at least as far as predicted, but for ``READ``: booleans (E, n, K, R)."""
    return measured(descents, MAGNITUDE) >= predicted(spectra, descents, JUDGED, MAGNITUDE) - READ


def whole(of_number, of_magnitude, of_flatness):
    """The verdict on the claim from those on its parts: no more than that on the number, and it holds if all do."""
    parts = of_number, of_magnitude, of_flatness
    if UNTESTED in parts:
        return UNTESTED
    return FAILS if of_number == FAILS else HOLDS if set(parts) == {HOLDS} else PARTLY


def parts(spectra, descents, step):
    """What claim C3 is judged by, of the networks of one rewind step, and its verdict.

    Mean gaps (E, n) at random; who gets as far by magnitude, who goes the flatter way, booleans; the verdicts on them.
    """
    spectra, descents = (of_step(record, step) for record in (spectra, descents))
    gap, far, flat = gaps(spectra, descents).mean((2, 3)), as_far(spectra, descents), flatter(spectra)
    told = number(gap) if resolved(spectra, descents) else UNTESTED
    return gap, far, flat, (told, grade(float(far.double().mean())), grade(float(flat.double().mean())))


def long_enough(record, steps):
    """Change of ``by_length`` (2, R) from ``steps`` to the longest descent, and whether its means are ``SETTLED``."""
    at = record["steps"].tolist().index(steps)
    change = torch.stack([by_length(record, order)[-1] - by_length(record, order)[at] for order in range(len(ORDERS))])
    return change, bool((change.mean(-1).abs() <= SETTLED).all())


# Questions of our own: their rules stand here since before there was a record of this room, but after a prototype.


def in_the_valley(descents, order):
    """Whether the fraction by mode is that by loss at ``EPSILON``, but for ``READ``: booleans (n, K, R)."""
    return by_mode(descents, order) >= by_loss(descents, EPSILON, order) - READ


def least_left(spectra, epsilon=EPSILON):
    """The weights that one pruning by magnitude of the dense network must leave, as predicted, (R,)."""
    return 1 - spectra["predicted"][0, spectra["epsilon"].tolist().index(epsilon), MAGNITUDE, 0]


def one_shot(tickets, control):
    """Densities at which one-shot pruning, trained again, matches in the mean, and those at which it does not."""
    match = control["one_shot"].mean(-1) <= largest_error(tickets, MATCHING)
    return control["density"][match], control["density"][~match]


def foretold(spectra, tickets, control):
    """The verdict on one-shot pruning: beyond the predicted limit none matches, within it all do; partly: none does."""
    limit, (good, bad) = float(least_left(spectra).mean()), one_shot(tickets, control)
    if (good < limit).any():
        return FAILS
    return PARTLY if (bad >= limit).any() else HOLDS


def cheaper(tickets, adaptive):
    """For each threshold: does it take fewer trainings than a fixed fraction, to the sparsest network that matches?

    The sparsest one down to which the mean error of its own run always matches; a list of booleans.
    """
    limit, found = largest_error(tickets, MATCHING), []
    for density, error in zip(adaptive["density"], adaptive["error"], strict=True):
        level = max(0, int((error.mean(-1) <= limit).long().cumprod(0).sum()) - 1)
        fixed = trainings(tickets["density"], density[level])
        found.append(fixed is None or level + 1 < fixed)
    return found
