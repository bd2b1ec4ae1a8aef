"""Findings of chapter 4."""

import torch

from lotterylib import limits

from ..presets import PRESETS
from ..tickets.experiments import controls, winning_tickets
from ..verdicts import (
    FAILS,
    HOLDS,
    PARTLY,
    STABLE,
    Table,
    Verdict,
    grade,
    largest_error,
    of,
    percent,
    points,
    rewind_steps,
    sparsest_matching,
    spread,
    tolerance,
)
from . import experiments, wells

EPSILON = 0.02  # nats; the size of the wells that the chapter speaks of
CLOSE = 0.1  # mean difference of fractions up to which a prediction holds
RELATED = 0.9, 0.7  # correlation from which it holds, or holds partly


def predicted(spectra, epsilon=EPSILON):
    """Gordon's fraction, (n, 2, K, R): level, order (magnitude, random), rewind step, replicate."""
    return spectra["predicted"][:, spectra["epsilon"].tolist().index(epsilon)]


def by_projection(projected, epsilon=EPSILON):
    """Largest fraction whose projection lies in the well, (n, 2, K, R)."""
    losses = projected["loss"].movedim(2, 0)
    return wells.crossing(projected["fraction"], losses - losses[0], epsilon)


def by_descent(descents, epsilon=EPSILON):
    """Largest fraction at which a short training in the axial subspace ends in the well, connected: (n, 2, K, R)."""
    rise = descents["loss"] - descents["solution"][:, None, None]
    rise = torch.where(descents["barrier"] > STABLE, torch.inf, rise).movedim(2, 0)
    fraction = torch.cat([torch.zeros(1, dtype=torch.float64), descents["fraction"]])
    return wells.crossing(fraction, torch.cat([torch.zeros_like(rise[:1]), rise]), epsilon)


def by_model(exact, epsilon=EPSILON):
    """Largest fraction at which the subspace meets the well of the exact quadratic model, (n, R, 2)."""
    rise = exact["lowest"].movedim(-1, 0)
    fraction = torch.cat([torch.zeros(1, dtype=torch.float64), exact["fraction"]])
    return wells.crossing(fraction, torch.cat([torch.zeros_like(rise[:1]), rise]), epsilon)


def by_level(values):
    """Values (n, ..., K, R) of the networks of each level, n tensors (..., N), every network once.

    The dense network, level 0, is the same for every rewind step. What differs there between rewind steps, measurements
    on random choices of its weights, is averaged.
    """
    return [values[0].mean(-2), *values[1:].flatten(-2)]


def each_once(values, centred=False):
    """Values (n, ..., K, R) of every network once, (..., N); ``centred``: less the mean of its level."""
    levels = by_level(values)
    if centred:
        levels = [level - level.mean(-1, keepdim=True) for level in levels]
    return torch.cat(levels, -1)


def correlation(a, b):
    """Pearson's correlation over all entries."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def ranking(a, b, within_levels=False):
    """Correlation over networks of two quantities (n, K, R), of all levels together or each level's mean removed."""
    return correlation(each_once(a, within_levels), each_once(b, within_levels))


def log_density(spectra):
    """The logarithm of the weights that each network has left, (n, K, R): what the spectrum must beat as a ranking."""
    return spectra["density"].log()[:, None, None].expand_as(spectra["largest"])


def trainings_to(density, error, level_density):
    """Number of trainings that a run needs to keep at most ``level_density`` of the weights; density and error there.

    ``None`` if it never comes so far.
    """
    reached = (density <= level_density * 1.001).nonzero().flatten().tolist()
    return (reached[0] + 1, density[reached[0]], error[reached[0]]) if reached else None


def pruning_limits(spectra, projected, descents, tickets, control, adaptive) -> Table:
    """The verdicts of chapter 4, on claim C3."""
    promise, inside, met = predicted(spectra), by_projection(projected), by_descent(descents)
    rows = []
    for o, called in ((1, "random pruning"), (0, "pruning by magnitude")):
        tried = _tried(met[:, o], descents["fraction"])
        rows.append(_number(called, promise[:, o], met[:, o], tried))
        rows += _ranks(called, promise[:, o], met[:, o], inside[:, o], log_density(spectra), tried)
    along = each_once(spectra["along"])
    flatter = (along[0] < along[1]).double()
    rows.append(
        Verdict(
            "Magnitude pruning removes flatter directions than random pruning",
            "networks in which the curvature along one pruning by magnitude is the smaller; holds from 90 %, partly "
            "from 75 %",
            f"{of(flatter)}; median ratio {float((along[0] / along[1]).quantile(0.5)):.2f}",
            grade(float(flatter.mean())),
        )
    )
    first, last = spectra["level"].tolist()[0], spectra["level"].tolist()[-1]
    rows.append(_shrinks(first, last, promise, met))
    return Table([*rows, _one_shot(promise, tickets, control), _adaptive(tickets, adaptive, control)])


def _tried(measured, fractions):
    """A note for a measure by short training: where every network leaves the well before the smallest fraction."""
    below = measured.max() < fractions[0]
    return f"; read off below {percent(fractions[0], 0)}, the smallest fraction tried" if below else ""


def _number(called, promise, measured, tried=""):
    """The verdict on the predicted number."""
    promise, measured = each_once(promise), each_once(measured)
    gap = abs(float((promise - measured).mean()))
    return Verdict(
        f"The spectrum predicts how far {called} can go",
        f"largest fraction predicted, and measured by a short training in the subspace, ε = {EPSILON} nats{tried}; "
        f"holds if the means over networks differ by at most {points(CLOSE, 0)}, partly by at most "
        f"{points(2 * CLOSE, 0)}",
        f"{percent(promise, 0)}; {percent(measured, 0)}",
        grade(-gap, -CLOSE, -2 * CLOSE),
    )


def _ranks(called, promise, measured, inside, sparsity, tried=""):
    """The verdicts on the order of networks: of all levels together, and of those of one level."""
    (across, across_inside), (within, within_inside), (plain, plain_inside) = [
        [ranking(guess, values, centred) for values in (measured, inside)]
        for guess, centred in ((promise, False), (promise, True), (sparsity, False))
    ]
    return [
        Verdict(
            f"It ranks networks of different levels by how far {called} can go",
            f"correlation of the two over networks; holds from {RELATED[0]}, partly from {RELATED[1]} (in brackets: "
            "with the projection's); beside it that of the logarithm of the number of weights, without any spectrum"
            f"{tried}",
            f"{signed(across)} ({signed(across_inside)}); number of weights {signed(plain)} ({signed(plain_inside)})",
            grade(across, *RELATED),
        ),
        Verdict(
            f"It ranks networks of one level by how far {called} can go",
            f"the same correlation, the mean of its level taken from each network; holds from {RELATED[0]}, partly "
            f"from {RELATED[1]}",
            f"{signed(within)} ({signed(within_inside)})",
            grade(within, *RELATED),
        ),
    ]


def _shrinks(first, last, promise, met):
    """The verdict on sparse networks against dense ones; at random the measured fraction of a dense one is a mean."""
    ends = {"predicted": promise, "measured": met}
    falls = {name: (x[-1] < x[0].mean(-2, keepdim=True)).double().mean() for name, x in ends.items()}
    return Verdict(
        "A sparse network can lose a smaller fraction of its weights than the dense one",
        f"fraction by magnitude at levels {first} and {last}, predicted, and measured by a short training; share of "
        f"the networks of level {last}, in both orders, in which it is the smaller; holds if both shares are 90 % or "
        "more, partly from 75 %",
        "; ".join(
            f"{name} {percent(by_level(x)[0][0], 0)} and {percent(by_level(x)[-1][0], 0)}, {percent(falls[name], 0)} "
            "of the networks" for name, x in ends.items()
        ),
        grade(float(min(falls.values()))),
    )  # fmt: skip


def one_shot_matching(tickets, control):
    """At which of the sparsities of the controls one-shot pruning matches, as a mean over replicates: booleans (n,)."""
    return control["one_shot"].mean(-1) <= largest_error(tickets)


def one_shot_limit(promise):
    """The weights that one pruning by magnitude of the dense network must leave, as its spectrum predicts."""
    return 1 - float(promise[0, 0].mean())


def _one_shot(promise, tickets, control):
    limit, matching = one_shot_limit(promise), one_shot_matching(tickets, control)
    beyond = control["density"] < limit
    return Verdict(
        "One pruning beyond the limit of the dense network does not match, one within it does",
        "one-shot pruning of chapter 1, trained again, at the sparsities measured there on both sides of the limit "
        f"predicted for ε = {EPSILON} nats; holds if all are as predicted, partly if all beyond it fail",
        f"limit {percent(limit, 0)} of the weights left; matching within {int((matching & ~beyond).sum())} of "
        f"{int((~beyond).sum())}, beyond {int((matching & beyond).sum())} of {int(beyond.sum())}",
        HOLDS if bool((matching == ~beyond).all()) else PARTLY if not (matching & beyond).any() else FAILS,
    )


def _adaptive(tickets, adaptive, control):
    """Against fixed pruning, at the sparsest level at which fixed pruning still matches and at equal trainings."""
    i = rewind_steps(tickets).index(int(control["rewind_step"]))
    fixed, better, said = tickets["error"][:, i], [], []
    level = int(sparsest_matching(tickets)[i])
    for rise, density, error in zip(adaptive["rise"].tolist(), adaptive["density"], adaptive["error"], strict=True):
        found = trainings_to(density, error, float(tickets["density"][level]))
        if found:
            count, kept, there = found
            cheaper = count < level + 1 and there.mean() <= fixed[level].mean() + tolerance(tickets)
            better.append(bool(cheaper))
            near = int((tickets["density"].log() - kept.log()).abs().argmin())
            said.append(
                f"{rise:g} nats: {count} trainings, {percent(there)} at {percent(kept, 0)} of the weights (fixed: "
                f"{near + 1} trainings, {percent(fixed[near])} at {percent(tickets['density'][near], 0)})"
            )
    return Verdict(
        "Adaptive pruning needs fewer trainings than a fixed fraction for the same sparsity and error",
        f"down to {percent(tickets['density'][level], 0)} of the weights, where fixed pruning needs {level + 1} "
        f"trainings and has {percent(fixed[level])}; holds if every threshold needs fewer at an error within ε of "
        "that, partly if one does",
        "; ".join(said) or "not reached",
        HOLDS if better and all(better) else PARTLY if any(better) else FAILS,
    )


def signed(value):
    """Write a correlation."""
    return f"{value:.2f}".replace("-", "−")


def listed(values, unit="%"):
    """Write rates, one a level, as a list in percent."""
    *first, last = [f"{100 * value:.0f}" for value in values.tolist()]
    return f"{', '.join(first)} and {last} {unit}"


def numbers(preset) -> dict:
    """The numbers that chapter 4 quotes."""
    spectra, descents = experiments.spectra(preset), experiments.descents(preset)
    promise, met = predicted(spectra), by_descent(descents)
    inside = by_projection(experiments.projected(preset))
    named = {
        "limit replicates": str(promise.shape[-1]), "limit networks": str(each_once(promise).shape[-1]),
        "iterations": str(PRESETS[preset].limits.iterations),
    }  # fmt: skip
    for name, values in {"predicted": promise, "projected": inside, "met": met}.items():
        named[f"mean {name} magnitude"] = percent(each_once(values[:, 0]), 0)
    for name, values in {"projected": inside, "met": met}.items():
        named[f"correlation {name} magnitude"] = signed(ranking(promise[:, 0], values[:, 0]))
        named[f"correlation within {name} magnitude"] = signed(ranking(promise[:, 0], values[:, 0], True))
        named[f"correlation density {name} magnitude"] = signed(ranking(log_density(spectra), values[:, 0]))
    named["mean predicted random"] = percent(each_once(promise[:, 1]), 0)
    for o, order in enumerate(limits.ORDERS):
        for epsilon in spectra["epsilon"].tolist()[:: len(spectra["epsilon"]) - 1]:  # the smallest and the largest
            gap = predicted(spectra, epsilon)[:, o] - by_descent(descents, epsilon)[:, o]
            named[f"gap {order} epsilon={epsilon:g}"] = points(each_once(gap), 0)
    # the dense network counted for every rewind step, as we did at first
    named["correlation repeated met magnitude"] = signed(correlation(promise[:, 0], met[:, 0]))
    i = rewind_steps(spectra).index(PRESETS[preset].tickets.control_step)
    left = inside[:, 0, i].mean(-1) < spectra["fraction"]
    named["projection leaves"] = str(spectra["level"][left].tolist()[0])
    named |= _range(preset, spectra, descents)
    return named | _steep(spectra) | _about_the_bowl(preset, promise[:, :, i], met[:, :, i]) | _in_time(preset, promise)


def _range(preset, spectra, descents):
    """Numbers on what was tried: the fractions and steps of the short training, the sizes of the well."""
    settings, smallest = PRESETS[preset], float(descents["fraction"][0])
    return {
        "descent smallest": percent(smallest, 0),
        "descent steps": str(settings.main.config.recipe.steps - settings.limits.descent_step),
        "descent barrier": points(STABLE, 0),
        "random at least": str(int(each_once(predicted(spectra)[:, 1]).mean() / smallest)),
        "smallest well": f"{float(spectra['epsilon'][0]):g}", "largest well": f"{float(spectra['epsilon'][-1]):g}",
    }  # fmt: skip


def _steep(spectra):
    """Numbers on curvature: the largest eigenvalue, the share of those above 0.1, and along what is pruned."""
    named, share = {}, spectra["above"][:, (spectra["grid"] - 0.1).abs().argmin()].mean(-1)
    along, flatter = spectra["along"], spectra["along"][:, 0] < spectra["along"][:, 1]
    quoted = {  # by name: at which levels of the record, and the number of one of them at one rewind step
        "largest": ((0, -1), lambda n, i: spread(spectra["largest"][n, i])),
        "median largest": ((-1,), lambda n, i: f"{spectra['largest'][n, i].quantile(0.5):.1f}"),
        "turned": ((-2, -1), lambda n, i: of(~flatter[n, i])),
        "steep": ((0, -1), lambda n, i: percent(share[n, i])),
        "steep of all": ((-2, -1), lambda n, i: percent(share[n, i] * spectra["density"][n])),
    }
    for i, k in enumerate(rewind_steps(spectra)):
        for name, (rows, number) in quoted.items():
            named |= {f"{name} level={int(spectra['level'][n])} k={k}": number(n, i) for n in rows}
    named["along dense"] = f"{along[0, 0, 0].mean() / along[0, 1, 0].mean():.2f}"
    return named


def _about_the_bowl(preset, promise, met):
    """Numbers on the exact quadratic model, by level, beside Lanczos's prediction and the short training there."""
    exact, spectra = experiments.exact(preset), experiments.spectra(preset)
    at, named = exact["epsilon"].tolist().index(EPSILON), {"exact levels": ", ".join(map(str, exact["level"].tolist()))}
    rows = [spectra["level"].tolist().index(level) for level in exact["level"].tolist()]
    for o, order in enumerate(limits.ORDERS):
        model, formula = by_model(exact)[..., o].mean(-1), exact["predicted"][..., at, o].mean(-1)
        named |= {
            f"model {order}": listed(model), f"exact {order}": listed(formula),
            f"lanczos {order}": listed(promise[rows, o].mean(-1)),
            f"formula to bowl {order}": listed(formula - model, "points"),
            f"bowl to training {order}": listed(model - met[rows, o].mean(-1), "points"),
        }  # fmt: skip
    named["through zero"] = listed(exact["through_zero"][..., at].mean(-1))
    return named


def _in_time(preset, promise):
    """Numbers on the course of dense training, and on one-shot pruning of the network that it ends in."""
    during, tickets = experiments.during_training(preset), winning_tickets(preset)
    control, named = controls(preset), {}
    inside = by_projection(during)[:, 0]
    foreseen = during["predicted"][:, during["epsilon"].tolist().index(EPSILON), 0]
    lowest = int(foreseen.mean(-1).argmin())
    for at, name in ((0, "first"), (lowest, "lowest"), (-1, "last")):
        named[f"during step {name}"] = str(during["step"].tolist()[at])
        named[f"during largest {name}"] = spread(during["largest"][at])
        named[f"during predicted {name}"] = percent(foreseen[at], 0)
        named[f"during projected {name}"] = percent(inside[at], 0)
    matching = one_shot_matching(tickets, control)
    named["one-shot limit"] = percent(one_shot_limit(promise), 0)
    spectra = experiments.spectra(preset)
    smallest = predicted(spectra, float(spectra["epsilon"][0]))
    named["one-shot limit smallest well"] = percent(one_shot_limit(smallest), 0)
    projected = experiments.projected(preset)
    dense = [projected[entry][0, 0, :, 0] for entry in ("loss", "error")]
    named["tolerance nats"] = f"{wells.in_nats(*dense, tolerance(tickets)).nanmean():.3f}"
    named["one-shot matches"] = percent(control["density"][matching].min(), 0)
    named["one-shot fails"] = percent(control["density"][~matching].max(), 0)
    i = rewind_steps(tickets).index(int(control["rewind_step"]))
    named["IMP matches"] = percent(tickets["density"][sparsest_matching(tickets)[i]], 0)
    named["IMP matches level"] = str(int(sparsest_matching(tickets)[i]))
    return named
