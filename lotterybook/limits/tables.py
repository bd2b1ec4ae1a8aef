"""Tables of chapter 4 that a page folds: every fraction, the exact Hessian beside Lanczos, the course of training."""

import torch

from ..verdicts import percent, table
from . import readings, rules
from .readings import EPSILON, MAGNITUDE, RANDOM

_ORDERS = {RANDOM: "at random", MAGNITUDE: "by magnitude"}


def fractions(spectra, descents, projected, step):
    """Predicted and measured fractions of each level in both orders, in percent, means and deviations by replicate."""
    spectra, descents, projected = (readings.of_step(record, step) for record in (spectra, descents, projected))
    rows = []
    for n, level in enumerate(descents["level"].tolist()):
        for order, called in _ORDERS.items():
            promise = readings.predicted(spectra, descents, rules.JUDGED, order)[:, n, 0]
            met = rules.measured(descents, order)[:, n, 0]
            mode = readings.by_mode(descents, order)[n, 0]
            bare = readings.by_projection(projected, EPSILON, order)[n, 0]
            pairs = [f"{_plain(a)} / {_plain(b)}" for a, b in zip(promise, met, strict=True)]
            rows.append([f"{level}", called, *pairs, _plain(mode), _plain(bare)])
    sizes = [f"ε = {e:g}" for e in rules.JUDGED]
    return table(["level", "pruned", *sizes, "by mode", f"projection, {EPSILON:g}"], rows)


def other_wells(spectra, descents, step):
    """What is predicted with absolute eigenvalues, and in the well as deep as the noise of a batch, in percent."""
    spectra, descents = (readings.of_step(record, step) for record in (spectra, descents))
    rows = []
    for n, level in enumerate(descents["level"].tolist()):
        noise = spectra["batch_noise"][spectra["level"].tolist().index(level), 0].mean()
        for order, called in _ORDERS.items():
            absolute = readings.predicted(spectra, descents, rules.JUDGED, order, "predicted_absolute")[:, n, 0]
            own = [_plain(values[n, 0]) for values in readings.at_noise(spectra, descents, order)]
            rows.append([f"{level}", called, *map(_plain, absolute), f"{noise:.4f}", " / ".join(own)])
    sizes = [f"with \\|λ\\|, {e:g}" for e in rules.JUDGED]
    return table(["level", "pruned", *sizes, "noise of a batch (nats)", "in that well"], rows)


def exact(record, spectra, descents, step):
    """The prediction from the exact spectrum beside Lanczos's, the quadratic model and the descents, in percent.

    Of the first replicates, whose Hessians were formed; ``step``: the rewind step of these networks.
    """
    spectra, descents = (readings.of_step(other, step) for other in (spectra, descents))
    at, count, rows = record["epsilon"].tolist().index(EPSILON), record["predicted"].shape[1], []
    for n, level in enumerate(record["level"].tolist()):
        seen, trained = (other["level"].tolist().index(level) for other in (spectra, descents))
        for order, called in _ORDERS.items():
            met = readings.by_loss(descents, EPSILON, order)[trained, 0, :count]
            lanczos = spectra["predicted"][seen, at, order, 0, :count]
            values = record["predicted"][n, :, at, order], lanczos, record["model"][n, :, at, order], met
            rows.append([f"{level}", called, *map(_plain, values)])
    return table(["level", "pruned", "exact spectrum", "Lanczos", "quadratic model", "measured by loss"], rows)


def during(record):
    """What is predicted in the course of dense training, with the largest eigenvalue and the length of the step."""
    at = record["epsilon"].tolist().index(EPSILON)
    rows = [
        [
            f"{step}", *(_plain(record["predicted"][t, at, order]) for order in _ORDERS),
            f"{record['largest'][t].mean():.1f}",
        ]
        for t, step in enumerate(record["step"].tolist())
    ]  # fmt: skip
    return table(["step", "predicted at random", "by magnitude", "largest eigenvalue"], rows)


def _plain(values):
    """Percent without its sign."""
    return percent(torch.as_tensor(values), 0).removesuffix(" %")
