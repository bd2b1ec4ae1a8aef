"""Figures of chapter 4."""

import math

import torch
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator

from lotterylib import curvature, limits

from .. import style, verdicts
from ..panes import Panes
from . import findings

LINES = 40  # that are drawn at random beside a well in the plane
_DASHES = "-", (0, (7, 2)), (0, (4, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2))  # of levels
_ORDERS = dict(zip(limits.ORDERS, (("by magnitude", "o"), ("at random", "s")), strict=True))


def _fractions(axes):
    axes.set_ylim(0, 1)
    style.percent_axis(axes.yaxis)


def well(eigenvalues, epsilon, simulated):
    """Random subspaces and a well in two and in D dimensions, a pane for each distance.

    ``simulated``: what ``limits.meeting`` gives, by distance; the last is shown first.
    """
    drawings = {f"{distance:g}": _well(eigenvalues, epsilon, distance, found) for distance, found in simulated.items()}
    return Panes("distance", drawings, list(drawings)[-1])


def _well(eigenvalues, epsilon, distance, shares):
    figure, (left, right) = style.canvas(1, 2, height=4.2)
    hits = _lines(left, eigenvalues, epsilon, distance)
    steps = [0, *shares.sort().values.tolist(), 1], [*torch.linspace(1, 0, len(shares) + 1).tolist(), 0]
    right.step(*steps, where="post", color="black", label="simulated")
    closed = curvature.angular_dimension(eigenvalues, distance, epsilon)
    sharp = limits.meeting_fraction(eigenvalues, distance, epsilon)
    right.axvline(closed, color=style.ORANGE, linestyle="--", label="closed form")
    right.axvline(sharp, color=style.PINK, linestyle=":", linewidth=2, label="limit for large D")
    right.set_xlim(0, 1)
    right.set_ylim(0, 1.02)
    right.set_xlabel("conditions on the subspace (% of D)")
    right.set_ylabel("subspaces that meet the well (%)")
    for axis in (right.xaxis, right.yaxis):
        style.percent_axis(axis)
    right.set_title(f"{len(eigenvalues)} dimensions")
    style.legend(right)
    return style.Drawing(
        figure,
        f"Subspaces through points at distance {distance:g} from the middle of a well. In two dimensions {hits} of "
        f"{LINES} random lines meet it. In {len(eigenvalues)} dimensions half of the simulated subspaces meet it up to "
        f"{verdicts.percent(shares.median(), 0)} of D conditions; the closed form says {verdicts.percent(closed, 0)}, "
        f"the limit for large D {verdicts.percent(sharp, 0)}.",
    )


def _lines(axes, eigenvalues, epsilon, distance):
    """Draw a well in the plane and random lines through points at ``distance``; how many meet it."""
    long, short = [math.sqrt(2 * epsilon / float(eigenvalues.quantile(q))) for q in (0.05, 0.5)]
    axes.add_patch(Ellipse((0, 0), 2 * long, 2 * short, color=style.BLUE, alpha=0.5, label="well"))
    axes.add_patch(Ellipse((0, 0), 2 * distance, 2 * distance, fill=False, color=style.GREY, linestyle=":"))
    kinds = {True: ("meets it", style.GREEN, "-"), False: ("misses it", style.BROWN, (0, (4, 2)))}
    for called, colour, dashes in kinds.values():
        axes.plot([], [], alpha=0.7, color=colour, linestyle=dashes, label=called)
    generator, hits = torch.Generator().manual_seed(0), 0
    for at, toward in (2 * math.pi * torch.rand(LINES, 2, generator=generator)).tolist():
        x, y, u, v = distance * math.cos(at), distance * math.sin(at), math.cos(toward), math.sin(toward)
        meets = (x * v - y * u) ** 2 <= (long * v) ** 2 + (short * u) ** 2
        hits += meets
        reach = torch.tensor([-30.0, 30.0])
        _, colour, dashes = kinds[meets]
        axes.plot(x + reach * u, y + reach * v, linewidth=0.8, alpha=0.7, color=colour, linestyle=dashes)
    extent = 1.3 * max(long, 8)
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_aspect("equal")
    axes.grid(False)
    axes.set_title(f"2 dimensions: {hits} of {LINES} meet it")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False, fontsize=9.5, columnspacing=1)
    return hits


def sharper_with_dimension(simulated, closed, sharp):
    """Simulated shares against the number of dimensions: ``simulated`` by D; the two formulas as lines."""
    figure, axes = style.canvas(height=3.3)
    sizes = list(simulated)
    style.spread(axes, sizes, torch.stack(list(simulated.values())), "simulated", "black")
    axes.axhline(closed, color=style.ORANGE, linestyle="--", label="closed form")
    axes.axhline(sharp, color=style.PINK, linestyle=":", linewidth=2, label="limit for large D")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("dimensions D")
    axes.set_ylabel("conditions at the edge (% of D)")
    style.percent_axis(axes.yaxis)
    style.legend(axes)
    said = ", ".join(f"{size} dimensions {verdicts.percent(shares)}" for size, shares in simulated.items())
    return style.Drawing(
        figure,
        f"Share of conditions at which random subspaces lose the well: {said}. The closed form "
        f"{verdicts.percent(closed)}, the limit for large D {verdicts.percent(sharp)}.",
    )


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
            said.append(
                f"{name}, pruned {called}: predicted {verdicts.percent(findings.each_once(promise[:, o]), 0)}, "
                f"measured {verdicts.percent(findings.each_once(values[:, o]), 0)}, correlation "
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
