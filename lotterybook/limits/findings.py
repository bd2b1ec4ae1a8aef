"""Findings of chapter 4, on claim C3: verdicts, by ``rules``, and the numbers that the prose quotes."""

import torch

from ..presets import PRESETS
from ..tickets.experiments import controls, winning_tickets
from ..verdicts import FAILS, HOLDS, PARTLY, Table, Verdict, grade, last_matching, of, percent, points, rewind_steps
from . import experiments, readings, rules
from .readings import EPSILON, MAGNITUDE, RANDOM, by_loss, by_mode, of_step
from .rules import CLOSE, JUDGED, NEAR, READ
from .sentences import sentences as sentences

_ENDS = ("dense", 0), ("sparse", -1)  # the first and the last level, in names of numbers


def judged(spectra, descents, step) -> Verdict:
    """The row of claim C3, of the networks of one rewind step."""
    _, far, _, verdicts = rules.parts(spectra, descents, step)
    own = [of_step(record, step) for record in (spectra, descents)]
    levels, count = descents["level"].tolist(), descents["loss"].shape[-1]
    sizes = ", ".join(f"{e:g}" for e in JUDGED)
    return Verdict(
        "The flatness of the landscape at the end of training limits the fraction that can be pruned at each "
        "iteration: a quantitative link between IMP and the Hessian eigenspectrum",
        f"at k = {step}, levels {', '.join(map(str, levels))}, {count} replicates, ε = {sizes} nats. (1) Random "
        "pruning: mean distance of predicted from measured by level and ε, measured by loss after long training inside "
        f"the subspace; holds if all are at most {points(CLOSE, 0)}, partly if all are at most {points(NEAR, 0)} or "
        f"more than half at most {points(CLOSE, 0)}. (2) By magnitude, networks and ε that get as far as predicted, or "
        f"{points(READ)} less; (3) networks in which one pruning by magnitude goes the flatter way (vᵀHv/‖v‖²) than "
        "one at random; each holds from 90 %, partly from 75 %. The claim holds if all three do, and not if (1) does "
        "not; it is untested where the predictions of the replicates have a standard deviation of more than "
        f"{points(NEAR, 0)}, which is that of an estimate from too few steps of Lanczos's method. The largest fraction "
        "by mode (barrier at most 2 points) is told, not judged: the theorem speaks of loss",
        f"At random, {rules.gaps_said(*own)}{_unsure(*own)}. By magnitude {percent(far.double().mean(), 0)} get as "
        f"far as predicted; that it goes the flatter way {verdicts[2]}",
        rules.whole(*verdicts),
    )


def _unsure(spectra, descents):
    """What to add where the spectrum does not tell."""
    if rules.resolved(spectra, descents):
        return ""
    return f", but the predictions of the replicates spread by {points(rules.spread(spectra, descents), 0)}"


def row(preset, recompute=False, device="auto") -> Verdict:
    """The row of claim C3 from the records of a preset."""
    used = (made(preset, recompute, device) for made in (experiments.spectra, experiments.descents))
    return judged(*used, PRESETS[preset].tickets.control_step)


def verdict(spectra, descents, step) -> Table:
    """The verdict of chapter 4: one row, for claim C3."""
    return Table([judged(spectra, descents, step)])


def questions(spectra, descents, tickets, control, adaptive) -> Table:
    """Verdicts on questions of our own, at the rewind step of the controls."""
    spectra, descents = (of_step(record, int(control["rewind_step"])) for record in (spectra, descents))
    return Table([
        _shrinks(spectra, descents), _one_valley(descents), _one_shot(spectra, tickets, control),
        _adaptive(tickets, adaptive),
    ])  # fmt: skip


def _shrinks(spectra, descents):
    """On sparse networks against dense ones, predicted and measured."""
    promise = readings.predicted(spectra, descents, [EPSILON], MAGNITUDE)[0]
    ends = [promise, by_loss(descents, EPSILON, MAGNITUDE)]
    both = [
        *ends, readings.predicted(spectra, descents, [EPSILON], RANDOM)[0], by_loss(descents, EPSILON, RANDOM),
    ]  # fmt: skip
    falls = [float((values[-1] < values[0]).double().mean()) for values in both]
    dense, sparse = [[percent(values[n].mean(), 0) for values in ends] for n in (0, -1)]
    first, last = descents["level"].tolist()[0], descents["level"].tolist()[-1]
    return Verdict(
        "A sparse network can lose a smaller fraction of its weights than the dense one",
        f"the fraction at level {last} beside that at level {first} of the same replicate, ε = {EPSILON:g} nats, "
        "predicted and measured by loss, at random and by magnitude; holds if it is the smaller one in 90 % of the "
        "networks in each of these four, partly from 75 %",
        f"By magnitude, predicted {dense[0]} of the dense network and {sparse[0]} at level {last}; measured "
        f"{dense[1]} and {sparse[1]}",
        grade(min(falls)),
    )


def _one_valley(descents):
    """On the fraction by mode against that by loss."""
    share = {order: float(rules.in_the_valley(descents, order).double().mean()) for order in (RANDOM, MAGNITUDE)}
    means = {
        order: [percent(found.mean(), 0) for found in (by_loss(descents, EPSILON, order), by_mode(descents, order))]
        for order in share
    }
    good = [grade(value) == HOLDS for value in share.values()]
    return Verdict(
        "Where the subspace meets the well, it meets the valley of the solution",
        f"networks whose largest fraction by mode (barrier to the solution at most 2 points) is at least that by loss "
        f"({EPSILON:g} nats), or {points(READ)} less; holds if 90 % are, at random and by magnitude, partly if they "
        "are in one of the two",
        "At random {} by loss and {} by mode; by magnitude {} and {}".format(*means[RANDOM], *means[MAGNITUDE]),
        HOLDS if all(good) else PARTLY if any(good) else FAILS,
    )


def _one_shot(spectra, tickets, control):
    """On one-shot pruning and the limit predicted for the dense network."""
    good, bad = rules.one_shot(tickets, control)
    limit = rules.least_left(spectra).mean()
    fewest = percent(good.min(), 0) if len(good) else "none of the weights tried"
    return Verdict(
        "One pruning beyond the limit of the dense network does not match, one within it does",
        f"one-shot pruning by magnitude, trained again from k = {int(control['rewind_step'])}, within half a point of "
        f"the dense error or not, on both sides of the limit predicted for ε = {EPSILON:g} nats; holds if all are as "
        "predicted, partly if all beyond the limit fail",
        f"The spectrum asks for {percent(limit, 0)} of the weights; one-shot pruning matches down to {fewest}",
        rules.foretold(spectra, tickets, control),
    )


def _adaptive(tickets, record):
    """On pruning by a threshold."""
    fewer = rules.cheaper(tickets, record)
    return Verdict(
        "To prune until the loss has risen by a threshold needs fewer trainings than a fixed fraction",
        "trainings to the sparsest network down to which a threshold's run always matches (half a point), beside those "
        "of a fixed 20 % to as few weights; holds if every threshold needs fewer, partly if one does",
        f"Fewer with {of(torch.tensor(fewer))} thresholds",
        HOLDS if all(fewer) else PARTLY if any(fewer) else FAILS,
    )


def numbers(preset="book") -> dict:
    """The numbers that the prose quotes, by name, as text: means over replicates at the rewind step of the controls."""
    step, about = PRESETS[preset].tickets.control_step, PRESETS[preset].limits
    spectra, descents = (of_step(find(preset), step) for find in (experiments.spectra, experiments.descents))
    tickets, control = winning_tickets(preset), controls(preset)
    gap = rules.gaps(spectra, descents).mean((0, 2, 3))
    good, _ = rules.one_shot(tickets, control)
    column = rewind_steps(tickets).index(step)
    named = {
        "limit replicates": str(descents["loss"].shape[-1]),
        "limit levels": ", ".join(map(str, descents["level"].tolist())),
        **{f"limit gap {end}": points(gap[n], 0) for end, n in _ENDS},
        "limit asked": percent(rules.least_left(spectra).mean(), 0),
        "limit one-shot": percent(good.min(), 0) if len(good) else "none",
        "limit IMP": percent(tickets["density"][last_matching(tickets["error"], tickets, rules.MATCHING)[column]], 0),
    }  # fmt: skip
    for order, called in ((RANDOM, "random"), (MAGNITUDE, "magnitude")):
        found = {
            "predicted": readings.predicted(spectra, descents, [EPSILON], order)[0],
            "loss": by_loss(descents, EPSILON, order), "mode": by_mode(descents, order),
        }  # fmt: skip
        for name, values in found.items():
            named |= {f"limit {called} {name} {end}": percent(values[n].mean(), 0) for end, n in _ENDS}
    return named | _curved(spectra, experiments.overlap(preset)) | _length(experiments.convergence(preset), about)


def _curved(spectra, overlap):
    """Numbers on why magnitude gets further: curvature along the dense network's step, overlap with what stays."""
    along, stay = spectra["along"][0, :, 0], (1 - overlap["fraction"] - 0.2).abs().argmin()
    return {
        "limit along": percent((along[MAGNITUDE] / along[RANDOM]).mean(), 0),
        "limit overlap": percent(overlap["kept"][0, MAGNITUDE, stay].mean(), 0),
    }


def _length(record, about):
    """Numbers on how long a descent has to be, dense and at the last level looked at."""
    steps, named = record["steps"].tolist(), {}
    used = steps.index(about.descent.steps)
    for n, called in ((0, ""), (-1, " sparse")):
        reached = readings.by_length(readings.of_level(record, n), RANDOM).mean(-1)
        for name, row in (("short", min(1, used)), ("long", used), ("longest", -1)):
            named[f"limit {name}{called}"] = percent(reached[row], 0)
    return named
