"""Figures of chapter 4."""

import math

from matplotlib.ticker import MaxNLocator

from lotterylib import limits

from .. import style, verdicts
from ..panes import Panes
from . import findings

_DASHES = "-", (0, (7, 2)), (0, (4, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2))  # of levels
_ORDERS = dict(zip(limits.ORDERS, (("by magnitude", "o"), ("at random", "s")), strict=True))


def _fractions(axes):
    axes.set_ylim(0, 1)
    style.percent_axis(axes.yaxis)


def spectra(record, steps):
    """Share of eigenvalues above each size, a line for each level, a panel for some rewind steps."""
    figure, panels = style.panels(len(steps), 3.7, sharey=True)
    levels, said, steep = record["level"].tolist(), [], (record["grid"] - 0.1).abs().argmin()
    for panel, step in zip(panels, steps, strict=True):
        i = record["rewind_step"].tolist().index(step)
        for n, (level, colour) in enumerate(zip(levels, style.shades(len(levels)), strict=True)):
            options = {"marker": "", "linestyle": _DASHES[n % len(_DASHES)]}
            style.spread(panel, record["grid"], record["above"][n, :, i], f"level {level}", colour, **options)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_ylim(2e-4, 1)
        panel.set_yticks([1e-3, 1e-2, 1e-1, 1], ["0.1", "1", "10", "100"])
        panel.minorticks_off()
        panel.set_xlabel("eigenvalue λ")
        panel.set_title(f"k = {step}")
        above = [verdicts.percent(share) for share in record["above"][:, steep, i].mean(-1).tolist()]
        largest = ", ".join(f"{value:.1f}" for value in record["largest"][:, i].mean(-1).tolist())
        said.append(f"k = {step}: above 0.1 {', '.join(above)}; largest {largest}")
    panels[0].set_ylabel("eigenvalues above λ (% of the weights)")
    style.legend(panels[0], handlelength=3)
    return style.Drawing(
        figure,
        f"Share of the Hessian's eigenvalues above each size. Those above 0.1, and the mean largest eigenvalue, at "
        f"levels {', '.join(map(str, levels))}. {'. '.join(said)}.",
    )


def against_measured(spectra, projected, descents):
    """Predicted against measured fraction, a dot for each network: a row for each order, a column for each reading."""
    promise = findings.predicted(spectra)
    measured = {
        "projection stays in the well": findings.by_projection(projected),
        "subspace meets the well": findings.by_descent(descents),
    }
    figure, panels = style.canvas(2, 2, height=6.4, sharex=True, sharey="row")
    levels, said = spectra["level"].tolist(), []
    for o, (row, (called, _)) in enumerate(zip(panels, _ORDERS.values(), strict=True)):
        for panel, (name, values) in zip(row, measured.items(), strict=True):
            panel.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", linewidth=1, label="as predicted")
            pairs = zip(levels, findings.by_level(promise[:, o]), findings.by_level(values[:, o]), strict=True)
            for n, (colour, (level, x, y)) in enumerate(zip(style.shades(len(levels)), pairs, strict=True)):
                panel.scatter(x, y, color=[colour], marker=style.MARKERS[n], s=24, alpha=0.8, label=f"level {level}")
            across, within = [findings.ranking(promise[:, o], values[:, o], centred) for centred in (False, True)]
            means = [verdicts.percent(findings.each_once(fraction[:, o]), 0) for fraction in (promise, values)]
            said.append(
                f"{name}, pruned {called}: predicted {means[0]}, measured {means[1]}, correlation "
                f"{findings.signed(across)} over all levels, {findings.signed(within)} within levels"
            )
            panel.set_title(f"pruned {called}:\n{name}")
        largest = max(float(values[:, o].max()) for values in measured.values())  # little, at random
        row[0].set(xlim=(0, 1), ylim=(0, 0.1 if largest < 0.1 else 1))
        row[0].set_ylabel("measured fraction (%)")
        style.percent_axis(row[0].yaxis)
    for panel in panels[1]:
        style.percent_axis(panel.xaxis)
        panel.set_xlabel("predicted fraction (%)")
    style.legend_below(figure, panels[0, 0], 3)
    return style.Drawing(figure, f"Measured against predicted fractions of each network. {'; '.join(said)}.")


def readings(record):
    """The exact quadratic model beside what the formulas say of it, by level, a panel for each order."""
    figure, panels = style.canvas(1, 2, height=3.7, sharey=True)
    at, levels, said = record["epsilon"].tolist().index(findings.EPSILON), record["level"].tolist(), []
    model = findings.by_model(record)
    for o, (panel, (called, _)) in enumerate(zip(panels, _ORDERS.values(), strict=True)):
        lines = {
            "quadratic model, exact": (model[..., o], "black", "o"),
            "closed form, distance of the projection": (record["predicted"][..., at, o], style.ORANGE, "s"),
        }
        if o == 1:
            lines["limit for large D, through the origin"] = record["through_zero"][..., at], style.PINK, "D"
        for name, (values, colour, marker) in lines.items():
            style.spread(panel, levels, values, name, colour, marker)
            said.append(f"{called}, {name}: {_listed(values)}")
        panel.set_xticks(levels)
        _fractions(panel)
        panel.set_xlabel("level")
        panel.set_title(f"pruned {called}")
        style.legend(panel)
    panels[0].set_ylabel("largest fraction (%)")
    gaps = [
        f"{called} by {_listed(record['predicted'][..., at, o] - model[..., o])} points"
        for o, (called, _) in enumerate(_ORDERS.values())
    ]
    return style.Drawing(
        figure,
        f"At levels {', '.join(map(str, levels))} the closed form exceeds the exact quadratic model "
        f"{' and '.join(gaps)}. Largest prunable fractions in percent: {'; '.join(said)}.",
    )


def along(record):
    """Curvature along what one pruning takes away, by magnitude and at random, against the level."""
    steps, levels, said = record["rewind_step"].tolist(), record["level"].tolist(), []
    figure, panels = style.panels(len(steps), 2.7, sharex=True, sharey=True)
    for i, (panel, step) in enumerate(zip(panels, steps, strict=True)):
        for o, (colour, (called, marker)) in enumerate(zip((style.BLUE, style.BROWN), _ORDERS.values(), strict=True)):
            style.spread(panel, levels, record["along"][:, o, i], called, colour, marker)
        panel.set_yscale("log")
        panel.set_xticks(levels)
        panel.set_xlabel("level")
        panel.set_ylabel("curvature (nats)")
        panel.set_title(f"k = {step}")
        panel.label_outer()
        ratio = record["along"][:, 0, i].mean(-1) / record["along"][:, 1, i].mean(-1)
        said.append(f"k = {step}: {', '.join(f'{value:.2f}' for value in ratio.tolist())}")
    style.legend(panels[0])
    one, other = findings.each_once(record["along"])
    return style.Drawing(
        figure,
        f"Pruning by magnitude takes the flatter step in {verdicts.of(one < other)} networks. Mean "
        f"curvature along it, as a multiple of that of a random one, at levels {', '.join(map(str, levels))}: "
        f"{'; '.join(said)}.",
    )


def during(record):
    """The predicted and the measured fraction in the course of dense training."""
    figure, (left, right) = style.canvas(1, 2, height=3.5)
    at, steps = record["epsilon"].tolist().index(findings.EPSILON), record["step"].tolist()
    inside = findings.by_projection(record)
    style.spread(left, steps, record["predicted"][:, at, 0], "predicted, by magnitude", style.ORANGE, "s")
    style.spread(left, steps, record["predicted"][:, at, 1], "predicted, at random", style.PINK, "D")
    style.spread(left, steps, inside[:, 0], "projection stays in the well", "black", "o")
    _fractions(left)
    left.set_ylabel("fraction (%)")
    style.legend_below(figure, left, 3)
    style.spread(right, steps, record["largest"], "largest eigenvalue", style.BLUE, "o")
    right.set_ylim(0)
    right.set_ylabel("largest eigenvalue")
    for axes in (left, right):
        axes.set_xlabel("step of dense training")
    said = "; ".join(
        f"step {step}: {verdicts.percent(record['predicted'][t, at, 0], 0)}, {verdicts.percent(inside[t, 0], 0)}, "
        f"{record['largest'][t].mean():.1f}"
        for t, step in enumerate(steps)
    )
    lowest = int(record["predicted"][:, at, 0].mean(-1).argmin())
    return style.Drawing(
        figure,
        f"In the course of dense training the fraction predicted by magnitude is lowest at step {steps[lowest]}. That "
        f"fraction, the one whose projection stays in the well, and the largest eigenvalue: {said}.",
    )


def well_size(spectra, projected, descents, step):
    """What the size of the well decides, a pane for each epsilon: predicted and measured fractions by level."""
    sizes = spectra["epsilon"].tolist()
    drawings = {f"{epsilon:g}": _well_size(spectra, projected, descents, step, epsilon) for epsilon in sizes}
    return Panes("ε (nats)", drawings, f"{findings.EPSILON:g}")


def _well_size(spectra, projected, descents, step, epsilon):
    figure, panels = style.canvas(1, 2, height=4, sharey=True)
    i, levels, said = spectra["rewind_step"].tolist().index(step), spectra["level"].tolist(), []
    lines = {
        "predicted": (findings.predicted(spectra, epsilon)[:, :, i], style.ORANGE, "s"),
        "subspace meets the well": (findings.by_descent(descents, epsilon)[:, :, i], style.BLUE, "^"),
        "projection stays in the well": (findings.by_projection(projected, epsilon)[:, :, i], "black", "o"),
    }
    for o, (panel, (called, _)) in enumerate(zip(panels, _ORDERS.values(), strict=True)):
        for name, (values, colour, marker) in lines.items():
            style.spread(panel, levels, values[:, o], name, colour, marker)
            said.append(f"{called}, {name}: {_listed(values[:, o])}")
        panel.axhline(float(spectra["fraction"]), color=style.GREY, linestyle="--", linewidth=1, label="pruned by IMP")
        panel.set_xticks(levels)
        _fractions(panel)
        panel.set_xlabel("level")
        panel.set_title(f"pruned {called}")
    panels[0].set_ylabel("largest fraction (%)")
    style.legend_below(figure, panels[0], 2)
    promise, met, _ = [values[:, 0].mean() for values, *_ in lines.values()]
    return style.Drawing(
        figure,
        f"In a well of {epsilon:g} nats at rewind step {step} the prediction by magnitude lies above what the subspace "
        f"allows by {verdicts.points(promise - met, 0)} on average. Fractions in percent at levels "
        f"{', '.join(map(str, levels))}: {'; '.join(said)}.",
    )


def one_shot(tickets, control, spectra):
    """Error of one-shot pruning and of IMP, with the dense network's predicted limit in two sizes of the well."""
    figure, axes = style.canvas()
    i = tickets["rewind_step"].tolist().index(int(control["rewind_step"]))
    style.dense(axes, tickets)
    style.spread(axes, tickets["density"], tickets["error"][:, i], "IMP", style.BLUE, "o")
    style.spread(axes, control["density"], control["one_shot"], "one-shot", style.BROWN, "^")
    sizes, foreseen = (findings.EPSILON, float(spectra["epsilon"][0])), []
    for epsilon, colour, dashes in zip(sizes, (style.ORANGE, style.PINK), ("--", ":"), strict=True):
        limit = findings.one_shot_limit(findings.predicted(spectra, epsilon))
        axes.axvline(limit, color=colour, linestyle=dashes, label=f"predicted limit, {epsilon:g} nats")
        foreseen.append(f"{verdicts.percent(limit, 0)} in a well of {epsilon:g} nats")
    style.remaining_axis(axes, tickets["density"])
    style.error_axis(axes)
    style.legend(axes)
    matching = findings.one_shot_matching(tickets, control)
    kept = [verdicts.percent(density, 0) for density in control["density"][matching].tolist()]
    return style.Drawing(
        figure,
        f"One-shot pruning, trained again, matches at {', '.join(kept) or 'none'} of the weights, IMP down to "
        f"{verdicts.reach(tickets)[i]}; the spectrum of the dense network predicts that one pruning must leave "
        f"{', '.join(foreseen)}. Error in percent: one-shot {_row(control['density'], control['one_shot'])}; "
        f"IMP {_row(tickets['density'], tickets['error'][:, i])}.",
    )


def adaptive(tickets, record, step):
    """Error against weights remaining, and against trainings, for fixed and adaptive fractions."""
    figure, (left, right) = style.canvas(1, 2, height=3.8, sharey=True)
    i = tickets["rewind_step"].tolist().index(step)
    runs = {"fixed, 20 %": (tickets["density"], tickets["error"][:, i], "black", "o")}
    for a, (rise, colour) in enumerate(zip(record["rise"].tolist(), style.shades(len(record["rise"])), strict=True)):
        runs[f"adaptive, {rise:g} nats"] = record["density"][a], record["error"][a], colour, style.MARKERS[a + 1]
    for axes in (left, right):
        style.dense(axes, tickets)
    for name, (density, error, colour, marker) in runs.items():
        style.spread(left, density, error, name, colour, marker)
        style.spread(right, range(1, len(density) + 1), error, name, colour, marker)
    style.remaining_axis(left, tickets["density"])
    style.error_axis(left)
    right.set_xlabel("trainings")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(left)
    reached, said = max(float(density[-1]) for density, *_ in runs.values()), []
    for name, (density, error, *_) in runs.items():
        n = int((density.log() - math.log(reached)).abs().argmin())
        said.append(f"{name}: {n + 1} trainings, error {_row(density[n : n + 1], error[n : n + 1])}")
    last = "; ".join(f"{name}: {_row(density[-1:], error[-1:])}" for name, (density, error, *_) in runs.items())
    return style.Drawing(
        figure,
        f"To come near {verdicts.percent(reached, 0)} of the weights the rules of pruning need different numbers of "
        f"trainings, errors in percent: {'; '.join(said)}. After the last training: {last}.",
    )


def _listed(values):
    """Means over replicates, a number for each level, in percent."""
    return ", ".join(f"{100 * value:.0f}" for value in values.mean(-1).tolist())


def _row(density, error):
    return ", ".join(f"{100 * e:.1f} at {100 * d:.0f} %" for d, e in zip(density, error.mean(-1), strict=True))
