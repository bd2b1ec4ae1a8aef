"""Findings of chapter 4."""

import torch

from .. import experiments, limits
from .shared import (
    FAILS,
    HOLDS,
    PARTLY,
    STABLE,
    Table,
    Verdict,
    grade,
    percent,
    rewind_steps,
    sparsest_matching,
    tolerance,
)

EPSILON = 0.02  # nats; the size of the wells that the chapter speaks of
CLOSE = 0.1  # mean difference of fractions up to which a prediction holds
RELATED = 0.9, 0.7  # correlation from which it holds, or holds partly


def predicted(spectra, epsilon=EPSILON):
    """Gordon's fraction, (n, 2, K, R): level, order (magnitude, random), rewind step, replicate."""
    return spectra["predicted"][:, spectra["epsilon"].tolist().index(epsilon)]


def by_projection(projected, epsilon=EPSILON):
    """Largest fraction whose projection lies in the well, (n, 2, K, R)."""
    losses = projected["loss"].movedim(2, 0)
    return limits.crossing(projected["fraction"], losses - losses[0], epsilon)


def by_descent(descents, epsilon=EPSILON):
    """Largest fraction at which a short training in the axial subspace ends in the well, connected: (n, 2, K, R)."""
    rise = descents["loss"] - descents["solution"][:, None, None]
    rise = torch.where(descents["barrier"] > STABLE, torch.inf, rise).movedim(2, 0)
    fraction = torch.cat([torch.zeros(1, dtype=torch.float64), descents["fraction"]])
    return limits.crossing(fraction, torch.cat([torch.zeros_like(rise[:1]), rise]), epsilon)


def by_model(exact, epsilon=EPSILON):
    """Largest fraction at which the subspace meets the well of the exact quadratic model, (n, R, 2)."""
    rise = exact["lowest"].movedim(-1, 0)
    fraction = torch.cat([torch.zeros(1, dtype=torch.float64), exact["fraction"]])
    return limits.crossing(fraction, torch.cat([torch.zeros_like(rise[:1]), rise]), epsilon)


def correlation(a, b):
    """Pearson's correlation over all entries."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def trainings_to(density, error, level_density):
    """Number of trainings that a run needs to keep at most ``level_density`` of the weights, and its error there.

    ``None`` if it never comes so far.
    """
    reached = (density <= level_density * 1.001).nonzero()
    return (int(reached[0]) + 1, error[int(reached[0])]) if len(reached) else None


def pruning_limits(spectra, projected, descents, tickets, control, adaptive) -> Table:
    """The verdicts of chapter 4, on claim C3."""
    promise, inside, met = predicted(spectra), by_projection(projected), by_descent(descents)
    rows = []
    for o, called in ((1, "random pruning"), (0, "pruning by magnitude")):
        rows.append(_number(called, promise[:, o], met[:, o]))
        rows.append(_rank(called, promise[:, o], met[:, o], inside[:, o]))
    flatter = (spectra["along"][:, 0] < spectra["along"][:, 1]).double()
    rows.append(
        Verdict(
            "Magnitude pruning removes flatter directions than random pruning",
            "networks in which the curvature along one pruning by magnitude is the smaller; holds from 90 %, partly "
            "from 75 %",
            f"{int(flatter.sum())} of {flatter.numel()}; median ratio "
            f"{float((spectra['along'][:, 0] / spectra['along'][:, 1]).median()):.2f}",
            grade(float(flatter.mean())),
        )
    )
    shrinks = (promise[-1] < promise[0]).double()
    rows.append(
        Verdict(
            "The sparser the network, the smaller the fraction that can be pruned next",
            f"predicted fraction by magnitude at levels {int(spectra['level'][0])} and {int(spectra['level'][-1])}; "
            "share of networks, in both orders, in which it falls; holds from 90 %, partly from 75 %",
            f"{percent(promise[0, 0].flatten(), 0)}; {percent(promise[-1, 0].flatten(), 0)}; "
            f"{percent(shrinks.mean(), 0)} of the networks",
            grade(float(shrinks.mean())),
        )
    )
    return Table([*rows, _one_shot(promise, tickets, control), _adaptive(tickets, adaptive, control)])


def _number(called, promise, measured):
    """The verdict on the predicted number."""
    gap = abs(float((promise - measured).mean()))
    return Verdict(
        f"The spectrum predicts how far {called} can go",
        f"largest fraction predicted, and measured by a short training in the subspace, ε = {EPSILON} nats; holds if "
        f"the means differ by at most {percent(CLOSE, 0)}, partly by at most {percent(2 * CLOSE, 0)}",
        f"{percent(promise.flatten(), 0)}; {percent(measured.flatten(), 0)}",
        grade(-gap, -CLOSE, -2 * CLOSE),
    )


def _rank(called, promise, measured, inside):
    """The verdict on the order of networks."""
    related = correlation(promise, measured)
    return Verdict(
        f"It ranks networks by how far {called} can go",
        f"correlation of the two over levels, rewind steps and replicates; holds from {RELATED[0]}, partly from "
        f"{RELATED[1]} (in brackets: with the projection's)",
        f"{related:.2f} ({correlation(promise, inside):.2f})",
        grade(related, *RELATED),
    )


def _one_shot(promise, tickets, control):
    limit = 1 - float(promise[0, 0].mean())
    dense, epsilon = float(tickets["error"][0].mean()), tolerance(tickets)
    beyond = control["density"] < limit
    matching = control["one_shot"].mean(-1) <= dense + epsilon
    return Verdict(
        "One pruning beyond the limit of the dense network does not match, one within it does",
        "one-shot pruning of chapter 1, trained again, at the sparsities measured there on both sides of the predicted "
        "limit; holds if all are as predicted, partly if all beyond it fail",
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
            count, there = found
            cheaper = count < level + 1 and there.mean() <= fixed[level].mean() + tolerance(tickets)
            better.append(bool(cheaper))
            said.append(f"{rise:g} nats: {count} trainings, {percent(there)}")
    return Verdict(
        "Adaptive pruning needs fewer trainings than a fixed fraction for the same sparsity and error",
        f"down to {percent(tickets['density'][level], 0)} of the weights, where fixed pruning needs {level + 1} "
        f"trainings and has {percent(fixed[level])}; holds if every threshold needs fewer at an error within ε of "
        "that, partly if one does",
        "; ".join(said) or "not reached",
        HOLDS if better and all(better) else PARTLY if any(better) else FAILS,
    )


def numbers(preset) -> dict:
    """The numbers that chapter 4 quotes."""
    spectra, exact = experiments.spectra(preset), experiments.exact(preset)
    promise = predicted(spectra)
    measured = {
        "projected": by_projection(experiments.projected(preset)), "met": by_descent(experiments.descents(preset)),
    }  # fmt: skip
    named = {
        "limit replicates": str(promise.shape[-1]), "iterations": str(experiments.PRESETS[preset].iterations),
    }  # fmt: skip
    at = exact["epsilon"].tolist().index(EPSILON)
    for o, order in enumerate(limits.ORDERS):
        for name, values in {"predicted": promise, **measured}.items():
            named[f"mean {name} {order}"] = percent(values[:, o].flatten(), 0)
        for name, values in measured.items():
            named[f"correlation {name} {order}"] = f"{correlation(promise[:, o], values[:, o]):.2f}"
        named[f"model {order}"] = percent(by_model(exact)[..., o].flatten(), 0)
        named[f"exact {order}"] = percent(exact["predicted"][..., at, o].flatten(), 0)
    named["through zero"] = percent(exact["through_zero"][..., at].flatten(), 0)
    last = int(spectra["level"][-1])
    named["largest level=0"] = f"{spectra['largest'][0].mean():.1f}"
    for i, k in enumerate(rewind_steps(spectra)):
        named[f"largest level={last} k={k}"] = f"{spectra['largest'][-1, i].mean():.0f}"
    during = experiments.during_training(preset)
    inside = by_projection(during)[:, 0]
    for at, name in ((0, "first"), (-1, "last")):
        named[f"during largest {name}"] = f"{during['largest'][at].mean():.1f}"
        named[f"during projected {name}"] = percent(inside[at], 0)
    return named
