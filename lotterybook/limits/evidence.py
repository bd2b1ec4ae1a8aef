"""What the second edition's records say of claim C3. The rules stand here since before there was a record of it.

The theorem speaks of the axial subspace *meeting* the well of solutions whose training loss is within epsilon nats, and
says nothing of modes. So the verdict goes by what ``readings`` measures by loss; the fraction by mode stands beside it.
"""

import torch

from lotterylib.limits import ORDERS

from ..presets import PRESETS
from ..tickets.experiments import controls, winning_tickets
from ..tickets.matching import EPSILON as MATCHING
from ..verdicts import FAILS, HOLDS, PARTLY, UNTESTED, Verdict, grade, largest_error, of, percent, points
from ..verdicts import tolerance as deviation
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
    of_step,
    predicted,
    steep_share,
    trainings,
)

JUDGED = 0.005, 0.02, 0.05, 0.1  # nats; the wells that the verdict goes by
CLOSE, NEAR = 0.1, 0.2  # mean gap of predicted and measured up to which a prediction holds, or holds partly
READ = 0.025  # half the smallest distance of the fractions tried: what is read off is no finer
SETTLED = 0.05  # change of the largest fraction when a descent's length doubles, up to which it is long enough


def gaps(spectra, descents, order=RANDOM, treatment="predicted"):
    """The distance of predicted from measured by loss for each of ``JUDGED``, (E, n, K, R)."""
    return abs(predicted(spectra, descents, JUDGED, order, treatment) - measured(descents, order))


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


def as_far(spectra, descents):
    """Whether pruning by magnitude gets at least as far as predicted, but for ``READ``: booleans (E, n, K, R)."""
    return measured(descents, MAGNITUDE) >= predicted(spectra, descents, JUDGED, MAGNITUDE) - READ


def whole(of_number, of_magnitude, of_flatness):
    """The verdict on the claim from those on its parts: no more than that on the number, and it holds if all do."""
    parts = of_number, of_magnitude, of_flatness
    if UNTESTED in parts:
        return UNTESTED
    return FAILS if of_number == FAILS else HOLDS if set(parts) == {HOLDS} else PARTLY


def judged(spectra, descents, step) -> Verdict:
    """The row of claim C3, of the networks of one rewind step."""
    spectra, descents = (of_step(record, step) for record in (spectra, descents))
    gap = gaps(spectra, descents).mean((2, 3))
    far, flat = as_far(spectra, descents).double(), flatter(spectra).double()
    parts = number(gap), grade(float(far.mean())), grade(float(flat.mean()))
    levels, count = descents["level"].tolist(), descents["loss"].shape[-1]
    sizes = ", ".join(f"{e:g}" for e in JUDGED)
    beside = [f"level {n}: {percent(by_mode(descents, RANDOM)[i], 0)}" for i, n in enumerate(levels)]
    return Verdict(
        "The flatness of the landscape at the end of training limits the fraction that can be pruned at each "
        "iteration: a quantitative link between IMP and the Hessian eigenspectrum",
        f"at k = {step}, levels {_listed(levels)}, {count} replicates, ε = {sizes} nats. (1) Random pruning: mean "
        "distance of predicted from measured by level and ε, measured by loss after long training inside the subspace; "
        f"holds if all are at most {points(CLOSE, 0)}, partly if all are at most {points(NEAR, 0)} or more than half "
        f"at most {points(CLOSE, 0)}. (2) By magnitude, networks and ε that get as far as predicted, or {points(READ)} "
        "less; "
        "(3) networks in which one pruning by magnitude goes the flatter way (vᵀHv/‖v‖²) than one at random; each "
        "holds from 90 %, partly from 75 %. The claim holds if all three do, and not if (1) does not. The largest "
        "fraction by mode (barrier at most 2 points) is told, not judged: the theorem speaks of loss",
        f"(1) mean gap {points(gap.mean(), 0)}, largest {points(gap.max(), 0)}, {of(gap <= CLOSE)} at most "
        f"{points(CLOSE, 0)}: {parts[0]}; (2) {of(far)}: {parts[1]}; (3) {of(flat)}: {parts[2]}. By mode, random: "
        f"{'; '.join(beside)}",
        whole(*parts),
    )


def row(preset) -> Verdict:
    """The row of claim C3 from the records of a preset."""
    step = PRESETS[preset].tickets.control_step
    return judged(experiments.spectra(preset), experiments.descents(preset), step)


def long_enough(record, steps):
    """Change of ``by_length`` (2, R) from ``steps`` to the longest descent, and whether its means are ``SETTLED``."""
    at = record["steps"].tolist().index(steps)
    change = torch.stack([by_length(record, order)[-1] - by_length(record, order)[at] for order in range(len(ORDERS))])
    return change, bool((change.mean(-1).abs() <= SETTLED).all())


def one_shot(tickets, control):
    """Densities at which one-shot pruning, trained again, matches in the mean, and those at which it does not."""
    match = control["one_shot"].mean(-1) <= largest_error(tickets, MATCHING)
    return control["density"][match], control["density"][~match]


def sentences(preset) -> list:
    """What was found on claim C3, in plain sentences for the editor: of the control's rewind step, if not said."""
    step = PRESETS[preset].tickets.control_step
    descents, projected = (of_step(find(preset), step) for find in (experiments.descents, experiments.projected))
    every = experiments.spectra(preset)
    spectra, tickets, control = of_step(every, step), winning_tickets(preset), controls(preset)
    return [
        *_number_said(spectra, descents, projected),
        *_length_said(experiments.convergence(preset), PRESETS[preset].limits.descent.steps),
        *_spectra_said(every),
        *_noise_said(spectra, descents),
        *_exact_said(experiments.exact(preset), spectra, descents),
        *_overlap_said(experiments.overlap(preset)),
        *_pruned_said(spectra, experiments.adaptive(preset), tickets, control),
        *_during_said(experiments.during_training(preset)),
    ]


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
    said, (change, settled) = [], long_enough(record, steps)
    for order, called in ((RANDOM, "at random"), (MAGNITUDE, "by magnitude")):
        reached = "; ".join(
            f"{n} steps {percent(found, 0)}"
            for n, found in zip(record["steps"].tolist(), by_length(record, order), strict=True)
        )
        said.append(
            f"Dense network, pruned {called}, largest fraction within {EPSILON:g} nats by the length of the descent "
            f"(below {percent(_first(record, order), 0)} in a straight line to 0): "
            f"{reached}. From {steps} steps to the longest it changes by {points(change[order])}."
        )
    rule = f"change of the mean by at most {points(SETTLED, 0)} in both orders"
    return [*said, f"So {steps} steps are {'' if settled else 'not '}long enough ({rule})."]


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
    limit = 1 - spectra["predicted"][0, spectra["epsilon"].tolist().index(EPSILON), MAGNITUDE, 0]
    good, bad = one_shot(tickets, control)
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
