"""What is read off the second edition's records of chapter 4: fractions predicted and measured, by loss and by mode.

A fraction is measured *by loss* by training inside the axial subspace, from the projection: the largest one after which
the loss ends within epsilon of the untouched solution's. *By mode* it is the largest one after which the line back to
the solution has a barrier of at most ``STABLE`` of test error. Both are read off between the fractions tried, in a
straight line, from 0 on; neither a predicted nor a measured one counts for more than the largest that was tried.
"""

import torch

from lotterylib.limits import ORDERS

from ..verdicts import STABLE
from . import wells

EPSILON = 0.02  # nats; the well that single numbers are given for
TREATMENTS = "predicted", "predicted_absolute"  # of eigenvalues that are not positive: as 0, or by their size
MAGNITUDE, RANDOM = map(ORDERS.index, ("magnitude", "random"))


def of_step(record, step):
    """The part of a record that is of one rewind step; entries without that axis stay."""
    count, column = len(record["rewind_step"]), at_steps(record, [step])

    def part(name, values):
        if name == "rewind_step":
            return values[column]
        return values[..., column, :] if values.dim() > 2 and values.shape[-2] == count else values

    return {name: part(name, values) for name, values in record.items()}


def at_steps(record, steps):
    """The columns of a record's networks at rewind ``steps``, a list of numbers."""
    return [record["rewind_step"].tolist().index(k) for k in steps]


def predicted(spectra, descents, epsilons, order, treatment="predicted"):
    """Gordon's fraction of the networks of ``descents``, cut at the largest fraction tried, (E, n, K, R).

    For each of ``epsilons``, a list of nats; ``treatment``: one of ``TREATMENTS``.
    """
    rows = [spectra["epsilon"].tolist().index(epsilon) for epsilon in epsilons]
    found = spectra[treatment][:, rows, order][:, :, at_steps(spectra, descents["rewind_step"].tolist())]
    return found.movedim(1, 0).clamp_max(float(_tried(descents, order)[1][-1]))


def by_loss(descents, epsilon, order):
    """Largest fraction after which a descent ends within epsilon of the solution's loss, (n, K, R).

    ``epsilon``: nats, or a tensor (n, K, R) of them.
    """
    rows, fraction = _tried(descents, order)
    rise = descents["loss"][:, order, rows] - descents["solution"][:, None]
    return _crossing(fraction, rise.movedim(1, 0), epsilon)


def by_mode(descents, order):
    """Largest fraction after which a descent ends within a barrier of ``STABLE`` of the solution, (n, K, R)."""
    rows, fraction = _tried(descents, order)
    return _crossing(fraction, descents["barrier"][:, order, rows].movedim(1, 0), STABLE)


def at_noise(spectra, descents, order):
    """Predicted and measured by loss for the well that is as deep as the noise of a batch, two tensors (n, K, R).

    Each network's own: predicted between the sizes of the record in the logarithm of epsilon.
    """
    noise = spectra["batch_noise"][:, at_steps(spectra, descents["rewind_step"].tolist())]
    sizes = spectra["epsilon"].tolist()
    each = predicted(spectra, descents, sizes, order)
    x = spectra["epsilon"].log()
    at = noise.log().clamp(float(x[0]), float(x[-1]))
    high = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    low = high - 1
    share = (at - x[low]) / (x[high] - x[low])
    ends = [each.gather(0, i[None])[0] for i in (low, high)]
    return torch.lerp(*ends, share), by_loss(descents, noise, order)


def of_level(record, n):
    """The part of ``convergence`` that is of its n-th level."""
    return {name: values if name in ("fraction", "steps") else values[n] for name, values in record.items()}


def by_length(record, order, epsilon=EPSILON):
    """In a part of ``convergence``, largest fraction by loss as descents of each length have it, (T, R)."""
    rows = record["loss"][0, order, :, 0].isfinite()
    fraction = torch.cat([torch.zeros(1, dtype=torch.float64), record["fraction"][rows]])
    return _crossing(fraction, (record["loss"][:, order, rows] - record["solution"]).movedim(1, 0), epsilon)


def by_projection(projected, epsilon, order):
    """Largest fraction whose bare projection stays within epsilon, (n, K, R)."""
    losses = projected["loss"][:, order].movedim(1, 0)
    return wells.crossing(projected["fraction"], losses - losses[0], epsilon)


def above_chance(record):
    """Kept share of the top eigenvectors' squared length less that of chance, (n, 2, F, R), their mean over k."""
    return record["kept"].mean(3) - (1 - record["fraction"])[:, None]


def steep_share(spectra, size=0.1):
    """Share of eigenvalues above ``size``, (n, K, R)."""
    return spectra["above"][:, (spectra["grid"] - size).abs().argmin()]


def flatter(spectra):
    """Whether one pruning by magnitude goes the flatter way than one at random: booleans (n, K, R)."""
    return spectra["along"][:, MAGNITUDE] < spectra["along"][:, RANDOM]


def trainings(density, target):
    """Trainings that a run of densities (levels + 1,) needs to keep at most ``target`` of the weights; or ``None``."""
    reached = (density <= target * 1.001).nonzero().flatten().tolist()
    return reached[0] + 1 if reached else None


def _tried(descents, order):
    """Rows of a record at which fractions were tried in an order, and the fractions with 0 before them."""
    rows = descents["loss"][0, order, :, 0, 0].isfinite()
    return rows, torch.cat([torch.zeros(1, dtype=torch.float64), descents["fraction"][rows]])


def _crossing(fraction, rise, limit):
    """Where a rise (F, ...), which is 0 at the first fraction, exceeds a limit."""
    return wells.crossing(fraction, torch.cat([torch.zeros_like(rise[:1]), rise]), limit)
