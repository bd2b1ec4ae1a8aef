"""What was found on claim C3, in plain sentences for the editor: ``make findings``."""

import torch

from ..presets import PRESETS
from ..tickets.experiments import controls, winning_tickets
from ..verdicts import deviation, largest_error, of, percent, points
from . import experiments
from .readings import (
    EPSILON,
    MAGNITUDE,
    RANDOM,
    TREATMENTS,
    above_chance,
    at_noise,
    by_length,
    by_loss,
    by_mode,
    by_projection,
    flatter,
    of_level,
    of_step,
    predicted,
    steep_share,
    trainings,
)
from .rules import CLOSE, JUDGED, MATCHING, SETTLED, gaps, least_left, long_enough, measured, one_shot, parts


def sentences(preset) -> list:
    """The sentences: of the control's rewind step, if not said."""
    step = PRESETS[preset].tickets.control_step
    descents, projected = (of_step(find(preset), step) for find in (experiments.descents, experiments.projected))
    every = experiments.spectra(preset)
    spectra, tickets, control = of_step(every, step), winning_tickets(preset), controls(preset)
    return [
        _parts_said(every, experiments.descents(preset), step),
        *_number_said(spectra, descents, projected),
        *_length_said(experiments.convergence(preset), PRESETS[preset].limits.descent.steps),
        *_spectra_said(every),
        *_noise_said(spectra, descents),
        *_exact_said(experiments.exact(preset), spectra, descents),
        *_overlap_said(experiments.overlap(preset)),
        *_pruned_said(spectra, experiments.adaptive(preset), tickets, control),
        *_during_said(experiments.during_training(preset)),
    ]


def _parts_said(spectra, descents, step):
    """On the three parts that the verdict is made of."""
    gap, far, flat, (number, magnitude, flatness) = parts(spectra, descents, step)
    return (
        f"(1) Random pruning, mean gap {points(gap, 0)}, largest {points(gap.max(), 0)}, {of(gap <= CLOSE)} at most "
        f"{points(CLOSE, 0)}: {number}; (2) by magnitude as far as predicted {of(far)}: {magnitude}; (3) the flatter "
        f"way {of(flat)}: {flatness}."
    )


def _number_said(spectra, descents, projected):
    """On predicted and measured fractions, by level and order."""
    said, levels = [], descents["level"].tolist()
    for order, called in ((RANDOM, "at random"), (MAGNITUDE, "by magnitude")):
        met, kept, bare = measured(descents, order), by_mode(descents, order), by_projection(projected, EPSILON, order)
        promise, absolute = (predicted(spectra, descents, JUDGED, order, treated) for treated in TREATMENTS)
        for i, level in enumerate(levels):
            each = "; ".join(
                f"{e:g} nats {percent(promise[j, i], 0)} ({percent(absolute[j, i], 0)} with |λ|) / "
                f"{percent(met[j, i], 0)}" for j, e in enumerate(JUDGED)
            )  # fmt: skip
            said.append(
                f"Level {level}, pruned {called}, predicted / measured by loss: {each}. By mode: "
                f"{percent(kept[i], 0)}. The bare projection stays within {EPSILON:g} nats up to {percent(bare[i], 0)}."
            )
        mean, other = (float(gaps(spectra, descents, order, treated).mean()) for treated in TREATMENTS)
        said.append(
            f"Pruned {called}, mean distance of predicted from measured over levels, ε and networks: {points(mean)}; "
            f"with |λ| {points(other)}."
        )
    drift = descents["control_loss"] - descents["solution"]
    said.append(
        f"The rise is read against the untouched solution (loss {descents['solution'].mean():.4f} nats). Trained on by "
        f"the same steps without pruning, its loss changes by {drift.mean():+.4f} nats (from {drift.min():+.4f} to "
        f"{drift.max():+.4f}), behind a barrier of {points(descents['control_barrier'])}: so much of a rise, or of "
        "none, is not the pruning's."
    )
    return said


def _length_said(record, steps):
    """On how long a descent has to be."""
    for n, level in enumerate(record["level"].tolist()):
        yield from _length_of_level(of_level(record, n), level, steps)


def _length_of_level(record, level, steps):
    change, settled = long_enough(record, steps)
    for order, called in ((RANDOM, "at random"), (MAGNITUDE, "by magnitude")):
        reached = "; ".join(
            f"{n} steps {percent(found, 0)}"
            for n, found in zip(record["steps"].tolist(), by_length(record, order), strict=True)
        )
        yield (
            f"Level {level}, pruned {called}, largest fraction within {EPSILON:g} nats by the length of the descent "
            f"(below {percent(_first(record, order), 0)} in a straight line to 0): "
            f"{reached}. From {steps} steps to the longest it changes by {points(change[order])}."
        )
    rule = f"change of the mean by at most {points(SETTLED, 0)} in both orders"
    yield f"So at level {level} {steps} steps are {'' if settled else 'not '}long enough ({rule})."


def _first(record, order):
    """The smallest fraction that was tried in an order."""
    return record["fraction"][record["loss"][0, order, :, 0].isfinite()][0]


def _spectra_said(spectra):
    """On flatness, of all rewind steps that were looked at."""
    said, levels = [], spectra["level"].tolist()
    for i, k in enumerate(spectra["rewind_step"].tolist()):
        largest = ", ".join(f"{v:.2f} ± {w:.2f}" for v, w in zip(*_moments(spectra["largest"][:, i]), strict=True))
        steep = ", ".join(percent(share) for share in steep_share(spectra)[:, i])
        negative = ", ".join(percent(share, 0) for share in spectra["negative"][:, i])
        ratio = spectra["along"][:, MAGNITUDE, i] / spectra["along"][:, RANDOM, i]
        said.append(
            f"k = {k}, levels {_listed(levels)}: largest eigenvalue {largest}; eigenvalues above 0.1 {steep}; below 0 "
            f"{negative}. One pruning by magnitude goes the flatter way in {of(flatter(spectra)[:, i])} networks; "
            f"curvature along it as a share of that at random: {', '.join(percent(r, 0) for r in ratio)}."
        )
    return said


def _noise_said(spectra, descents):
    """On the epsilon that is the noise of a batch."""
    each = ", ".join(f"{v:.4f} ± {w:.4f}" for v, w in zip(*_moments(spectra["batch_noise"][:, 0]), strict=True))
    said = [f"Standard deviation of the loss over batches, levels {_listed(spectra['level'].tolist())}: {each} nats."]
    for order, called in ((RANDOM, "at random"), (MAGNITUDE, "by magnitude")):
        pairs = [
            f"level {level} {percent(promise, 0)} / {percent(met, 0)}"
            for level, promise, met in zip(descents["level"].tolist(), *at_noise(spectra, descents, order), strict=True)
        ]
        said.append(f"With that as ε, pruned {called}, predicted / measured by loss: {'; '.join(pairs)}.")
    return said


def _exact_said(exact, spectra, descents):
    """On the exact Hessian, of the first replicates, beside Lanczos's prediction and the descents of the same."""
    said, at = [], exact["epsilon"].tolist().index(EPSILON)
    for n, level in enumerate(exact["level"].tolist()):
        i, count = spectra["level"].tolist().index(level), exact["predicted"].shape[1]
        for order, called in ((RANDOM, "at random"), (MAGNITUDE, "by magnitude")):
            formula, lanczos = exact["predicted"][n, :, :, order], spectra["predicted"][i, :, order, 0, :count].mT
            met = by_loss(descents, EPSILON, order)[descents["level"].tolist().index(level), 0, :count]
            said.append(
                f"Level {level}, pruned {called}, exact spectrum of {count} network(s), ε = {EPSILON:g}: predicted "
                f"{percent(formula[:, at], 1)} (Lanczos {percent(lanczos[:, at], 1)}; over all ε they differ by at "
                f"most {points(abs(formula - lanczos).max(), 1)}); the quadratic model itself stays within ε up to "
                f"{percent(exact['model'][n, :, at, order], 0)}, the descents up to {percent(met, 0)}."
            )
    return said


def _overlap_said(record):
    """On where the top eigenvectors lie."""
    said, more = [], above_chance(record)
    for n, level in enumerate(record["level"].tolist()):
        parts = [
            f"{percent(1 - f, 0)} kept: {percent(record['kept'][n, MAGNITUDE, j].mean(0), 0)} by magnitude, "
            f"{percent(record['kept'][n, RANDOM, j].mean(0), 0)} at random"
            for j, f in enumerate(record["fraction"].tolist())
        ]
        said.append(
            f"Level {level}, share of the top {record['kept'].shape[3]} eigenvectors' squared length on the weights "
            f"kept, by chance as many as are kept: {'; '.join(parts)}. By magnitude it is above chance in "
            f"{of(more[n, MAGNITUDE] > 0)} networks and fractions, at random in {of(more[n, RANDOM] > 0)}."
        )
    return said


def _pruned_said(spectra, adaptive, tickets, control):
    """On one-shot pruning and pruning by a threshold, beside a fixed fraction."""
    limit, (good, bad) = least_left(spectra), one_shot(tickets, control)
    said = [
        f"One pruning by magnitude of the dense network must leave {percent(limit, 0)} of the weights, as predicted "
        f"for ε = {EPSILON:g}. Trained again, one-shot pruning matches (half a point; the standard deviation of the "
        f"dense error is {points(deviation(tickets), 2)}) at {', '.join(percent(d, 0) for d in good) or 'none'} of the "
        f"sparsities tried, and not at {', '.join(percent(d, 0) for d in bad) or 'none'}."
    ]
    dense = largest_error(tickets, MATCHING)
    for rise, density, error in zip(adaptive["rise"].tolist(), adaptive["density"], adaptive["error"], strict=True):
        shares = ", ".join(percent(1 - b / a, 0) for a, b in zip(density[:-1], density[1:], strict=True))
        same, last = trainings(tickets["density"], density[-1]), error[-1].mean() <= dense
        said.append(
            f"Pruned until the projection's loss has risen by {rise:g} nats: {shares} of the weights, in "
            f"{len(density)} trainings to {percent(density[-1], 0)} (a fixed 20 %: {same or 'not reached'}); error "
            f"there {percent(error[-1])}, which {'matches' if last else 'does not match'}."
        )
    return said


def _during_said(record):
    """On the course of dense training."""
    at = record["epsilon"].tolist().index(EPSILON)
    steps = [
        f"step {step}: {percent(share, 0)}, largest eigenvalue {largest.mean():.1f}"
        for step, share, largest in zip(
            record["step"].tolist(), record["predicted"][:, at, RANDOM], record["largest"], strict=True
        )
    ]
    return [f"In the course of dense training, fraction predicted at random for ε = {EPSILON:g}: {'; '.join(steps)}."]


def _moments(values):
    """Mean and standard deviation over the last axis, two lists; one value has no spread."""
    spread = values.std(-1) if values.shape[-1] > 1 else torch.zeros_like(values[..., 0])
    return values.mean(-1).tolist(), spread.tolist()


def _listed(values):
    return ", ".join(f"{value:g}" for value in values)
