"""Figures of chapter 4, but for the simulated wells (``subspaces``)."""

import torch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from lotterylib import limits

from .. import style, verdicts
from ..panes import Panes
from . import readings, rules
from .readings import EPSILON, MAGNITUDE, RANDOM

ORDERS = {RANDOM: ("at random", "s", style.BROWN), MAGNITUDE: ("by magnitude", "o", style.BLUE)}
_DASHES = "-", (0, (7, 2)), (0, (4, 1.5)), (0, (1, 1.2))  # of levels


def crossing(values, shares, weights, epsilon):
    """The closed form against the fraction pruned, for both orders, and where it meets that fraction.

    ``values`` and ``shares`` (K,): a spectrum; ``weights`` (D,): those of the network; on any device.
    """
    figure, axes = style.canvas(height=3.8)
    values, shares, weights = values.cpu(), shares.cpu(), weights.cpu()
    fractions, squares = torch.linspace(0.01, 1, 100), weights.double().square().flatten()
    axes.plot(fractions, fractions, color=style.GREY, linestyle="--", linewidth=1, label="weights pruned")
    found = {}
    for order, (called, marker, colour) in ORDERS.items():
        lengths = squares.sort().values.cumsum(0) if order == MAGNITUDE else squares.mean() * torch.arange(len(squares))
        ends = (fractions * (len(squares) - 1)).long()
        seen = [limits.angular_dimension(values, float(lengths[n]) ** 0.5, epsilon, shares) for n in ends]
        axes.plot(fractions, seen, color=colour, label=f"closed form, {called}")
        found[called] = limits.gordon_fraction(values, weights, epsilon, shares, limits.ORDERS[order])
        axes.plot([found[called]], [found[called]], color=colour, marker=marker, markersize=9, linestyle="")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="weights pruned (%)", ylabel="share of D (%)")
    for axis in (axes.xaxis, axes.yaxis):
        style.percent_axis(axis)
    style.legend(axes)
    said = " and ".join(f"{verdicts.percent(share, 0)} {called}" for called, share in found.items())
    return style.Drawing(
        figure,
        f"The closed form, as a share of D, falls with the fraction of weights pruned, at random faster than by "
        f"magnitude. In a well of {epsilon:g} nats it meets that fraction at {said}.",
        caption=f"Where the closed form meets the fraction pruned, the prediction lies: {said}.",
    )


def spectra(record):
    """Share of eigenvalues above each size, a line for each level, a panel for each rewind step."""
    steps, levels = record["rewind_step"].tolist(), record["level"].tolist()
    figure, panels = style.panels(len(steps), 3.7, sharey=True)
    said, steep = [], readings.steep_share(record)
    for i, (panel, step) in enumerate(zip(panels, steps, strict=True)):
        for n, (level, colour) in enumerate(zip(levels, style.shades(len(levels)), strict=True)):
            options = {"marker": "", "linestyle": _DASHES[n % len(_DASHES)]}
            style.spread(panel, record["grid"], record["above"][n, :, i], f"level {level}", colour, **options)
        panel.set(xscale="log", yscale="log", ylim=(2e-4, 1), xlabel="eigenvalue λ", title=f"k = {step}")
        panel.set_yticks([1e-3, 1e-2, 1e-1, 1], ["0.1", "1", "10", "100"])
        panel.minorticks_off()
        largest = ", ".join(f"{value:.1f}" for value in record["largest"][:, i].mean(-1).tolist())
        said.append(f"k = {step}: above 0.1: {_percents(steep[:, i], 1)}; largest {largest}")
    panels[0].set_ylabel("eigenvalues above λ (% of the weights)")
    style.legend(panels[0], handlelength=3)
    first, last = (verdicts.percent(steep[n].mean()) for n in (0, -1))
    return style.Drawing(
        figure,
        "Share of the Hessian's eigenvalues above each size. Percent of them above 0.1, and the mean largest one, at "
        f"levels {', '.join(map(str, levels))}. {'. '.join(said)}.",
        caption=f"Of the eigenvalues, {first} are above 0.1 at level {levels[0]} and {last} at level {levels[-1]}.",
    )


def convergence(record, steps):
    """Training loss against the length of the descent, a panel for each order, a pane for each level.

    ``steps``: the length that is used.
    """
    levels = record["level"].tolist()
    drawings = {f"{level}": _convergence(readings.of_level(record, n), level, steps) for n, level in enumerate(levels)}
    return Panes("level", drawings, f"{levels[0]}")


def _convergence(record, level, steps):
    figure, panels = style.canvas(1, 2, height=4, sharey=True)
    lengths, said = record["steps"].tolist(), []
    for panel, (order, (called, *_)) in zip(panels, ORDERS.items(), strict=True):
        rows = record["loss"][0, order, :, 0].isfinite().nonzero().flatten().tolist()
        style.spread(panel, lengths, record["control"], "not pruned", style.GREY, "^", linestyle="--")
        for row, colour, marker in zip(rows, style.shades(len(rows)), style.MARKERS, strict=False):
            name = f"{verdicts.percent(record['fraction'][row], 0)} pruned"
            style.spread(panel, lengths, record["loss"][:, order, row], name, colour, marker)
            change = (record["loss"][-1, order, row] - record["loss"][lengths.index(steps), order, row]).mean()
            said.append(f"{name} {called}: {change:+.4f}")
        solution = float(record["solution"].mean())
        panel.axhline(solution, color="black", linestyle=":", linewidth=1, label="solution")
        panel.axhline(solution + EPSILON, color=style.ORANGE, linestyle="-.", linewidth=1, label="ε above it")
        panel.axvline(steps, color=style.GREY, linewidth=1, alpha=0.5)
        panel.set(xscale="log", yscale="log", xlabel="steps of the descent", title=f"pruned {called}")
        panel.set_xticks(lengths, [f"{n}" for n in lengths], rotation=45)
        panel.xaxis.set_minor_locator(NullLocator())
        lines, names = panel.get_legend_handles_labels()
        style.legend(panel, handles=lines[1:-2], loc="upper right", ncols=2, columnspacing=1, handlelength=1.5)
    panels[0].set_ylim(top=10 * panels[0].get_ylim()[1])  # room for the legends
    panels[0].set_ylabel("training loss (nats)")
    shared = [lines[0], *lines[-2:]], [names[0], *names[-2:]]
    figure.legend(*shared, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    short, used, last = (
        verdicts.percent(readings.by_length(record, RANDOM)[lengths.index(n)].mean(), 0)
        for n in (lengths[1], steps, lengths[-1])
    )
    return style.Drawing(
        figure,
        f"Training loss at level {level} after descents of {', '.join(map(str, lengths))} steps. From {steps} steps to "
        f"{lengths[-1]} it changes, in nats, by: {'; '.join(said)}.".replace("-", "−"),
        caption=f"At level {level}, descents of {lengths[1]:,} steps reach the well of {EPSILON:g} nats after a random "
        f"pruning of up to {short}, those of {steps:,} steps up to {used}, of {lengths[-1]:,} up to {last}.",
    )  # fmt: skip


def over_wells(spectra, descents, step):
    """Predicted and measured fractions over epsilon, a panel for each order, a pane for each level."""
    spectra, descents = (readings.of_step(record, step) for record in (spectra, descents))
    levels = descents["level"].tolist()
    drawings = {f"{level}": _over_wells(spectra, descents, n) for n, level in enumerate(levels)}
    return Panes("level", drawings, f"{levels[0]}", caption=f"Pruned at random, {rules.gaps_said(spectra, descents)}.")


def _over_wells(spectra, descents, n):
    figure, panels = style.canvas(1, 2, height=4, sharey=True)
    sizes, said = spectra["epsilon"].tolist(), []
    for panel, (order, (called, *_)) in zip(panels, ORDERS.items(), strict=True):
        met = torch.stack([readings.by_loss(descents, e, order) for e in sizes])
        promise = readings.predicted(spectra, descents, sizes, order)
        for name, values, colour, marker, dashes in (
            ("measured, by loss", met, style.BLUE, "o", "-"), ("predicted", promise, style.ORANGE, "s", "--"),
        ):  # fmt: skip
            style.spread(panel, sizes, values[:, n, 0], name, colour, marker, linestyle=dashes)
            said.append(f"{called}, {name}: {_percents(values[:, n, 0])}")
        options = {"color": style.GREY, "alpha": 0.12, "linewidth": 0, "label": "in the verdict"}
        panel.axvspan(rules.JUDGED[0], rules.JUDGED[-1], **options)
        panel.set(xscale="log", ylim=(0, 1), xlabel="size of the well ε (nats)", title=f"pruned {called}")
        style.percent_axis(panel.yaxis)
    panels[0].set_ylabel("largest fraction (%)")
    style.legend_below(figure, panels[0], 3)
    return style.Drawing(
        figure,
        f"Level {descents['level'][n]}: largest fractions in percent in wells of {', '.join(f'{e:g}' for e in sizes)} "
        f"nats. {'; '.join(said)}.",
    )


def loss_and_mode(descents, step):
    """Rise of the loss, and barrier back, of descents from ever sparser projections; a pane for each level."""
    descents = readings.of_step(descents, step)
    levels = descents["level"].tolist()
    drawings = {f"{level}": _loss_and_mode(descents, n) for n, level in enumerate(levels)}
    ends = [
        f"{verdicts.percent(found[0].mean(), 0)}"
        for found in (readings.by_loss(descents, EPSILON, RANDOM), readings.by_mode(descents, RANDOM))
    ]
    caption = (
        f"Pruned at random, the {_network(levels[0])} finds a loss within {EPSILON:g} nats up to {ends[0]} of its "
        f"weights, a place in its own valley up to {ends[1]}."
    )
    return Panes("level", drawings, f"{levels[0]}", caption=caption)


def _loss_and_mode(descents, n):
    figure, (left, right) = style.canvas(1, 2, height=4)
    said = []
    for order, (called, marker, colour) in ORDERS.items():
        rows = descents["loss"][0, order, :, 0, 0].isfinite()
        fraction = descents["fraction"][rows]
        rise = descents["loss"][n, order, rows, 0] - descents["solution"][n, 0]
        back = descents["barrier"][n, order, rows, 0]
        style.spread(left, fraction, rise, called, colour, marker)
        style.spread(right, fraction, back, called, colour, marker)
        met, kept = (found[n, 0].mean() for found in (
            readings.by_loss(descents, EPSILON, order), readings.by_mode(descents, order)
        ))  # fmt: skip
        said.append(f"{called} {verdicts.percent(met, 0)} by loss, {verdicts.percent(kept, 0)} by mode")
    for panel, limit in ((left, EPSILON), (right, verdicts.STABLE)):
        name = f"limit: {EPSILON:g} nats, {verdicts.points(verdicts.STABLE, 0)}"
        panel.axhline(limit, color=style.ORANGE, linestyle="-.", linewidth=1, label=name)
    left.set_yscale("symlog", linthresh=0.01, linscale=0.8)
    left.set_yticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
    left.yaxis.set_minor_locator(NullLocator())
    style.rate_scale(right, "y")
    left.set(title="by loss", ylabel="rise of the training loss (nats)")
    right.set(title="by mode", ylabel="barrier to the solution (points)")
    for panel in (left, right):
        panel.set(xlim=(0, 1), xlabel="weights pruned (%)")
        style.percent_axis(panel.xaxis)
    style.legend_below(figure, left, 3)
    return style.Drawing(
        figure,
        f"The {_network(descents['level'][n])} after descents from its projections: within {EPSILON:g} nats by loss, "
        f"and within 2 points by mode, largest fractions: {'; '.join(said)}.",
    )


def _network(level):
    return f"network of level {int(level)}" if level else "dense network"


def flatter(spectra, overlap, step):
    """Curvature along one pruning by level, and the top eigenvectors' share on the weights that stay at some levels."""
    along, levels = readings.of_step(spectra, step)["along"][:, :, 0], spectra["level"].tolist()
    seen, kept = overlap["level"].tolist(), 1 - overlap["fraction"]
    figure, panels = style.panels(1 + len(seen), 3.6)
    first, said = panels[0], []
    for order, (called, marker, colour) in ORDERS.items():
        style.spread(first, levels, along[:, order], called, colour, marker)
        for n, panel in enumerate(panels[1:]):
            values = overlap["kept"][n, order].mean(1)
            style.spread(panel, kept, values, called, colour, marker)
            said.append(f"level {seen[n]}, {called}: {_percents(values)}")
    first.set(yscale="log", xlabel="level", ylabel="curvature (nats)", title="along the step")
    first.set_xticks(levels)
    for panel, level in zip(panels[1:], seen, strict=True):
        panel.plot(kept, kept, color=style.GREY, linestyle="--", linewidth=1, label="chance")
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="weights kept (%)", ylabel="squared length on them (%)")
        panel.set_title(f"top eigenvectors,\nlevel {level}")
        for axis in (panel.xaxis, panel.yaxis):
            style.percent_axis(axis)
    style.legend_below(figure, panels[-1], 3)
    ratio = along[:, MAGNITUDE] / along[:, RANDOM]
    of_all = verdicts.of(readings.flatter(readings.of_step(spectra, step)))
    return style.Drawing(
        figure,
        f"Curvature along one pruning by magnitude in percent of that along a random one, at levels "
        f"{', '.join(map(str, levels))}: {_percents(ratio)}. Share of the squared length of the top "
        f"{overlap['kept'].shape[3]} eigenvectors, in percent, on the {', '.join(f'{100 * k:.0f}' for k in kept)} % "
        f"of the weights that are kept: {'; '.join(said)}.",
        caption=f"In {of_all} networks one pruning by magnitude goes a flatter way than one at random; in the dense "
        f"network the curvature along it is {verdicts.percent(ratio[0].mean(), 0)} of the other.",
    )


def one_shot(tickets, control, spectra):
    """Error of one-shot pruning, trained again, and of IMP, with the limit predicted for the dense network."""
    figure, axes = style.canvas()
    step = int(control["rewind_step"])
    i, spectra = tickets["rewind_step"].tolist().index(step), readings.of_step(spectra, step)
    axes.axhline(verdicts.largest_error(tickets, rules.MATCHING), color=style.GREY, linestyle="--", linewidth=1,
                 label="half a point above dense")  # fmt: skip
    style.spread(axes, tickets["density"], tickets["error"][:, i], "IMP", style.BLUE, "o")
    style.spread(axes, control["density"], control["one_shot"], "one-shot", style.BROWN, "^")
    most, limit, least = (
        float(rules.least_left(spectra, epsilon).mean()) for epsilon in (rules.JUDGED[0], EPSILON, rules.JUDGED[-1])
    )
    axes.axvspan(least, most, color=style.ORANGE, alpha=0.2, linewidth=0,
                 label=f"predicted limit, {rules.JUDGED[0]:g} to {rules.JUDGED[-1]:g} nats")  # fmt: skip
    axes.axvline(limit, color=style.ORANGE, linestyle="-.", label=f"predicted limit, {EPSILON:g} nats")
    style.remaining_axis(axes, tickets["density"])
    style.error_axis(axes)
    style.legend(axes)
    good, _ = rules.one_shot(tickets, control)
    fewest = verdicts.percent(good.min(), 0) if len(good) else "none"
    return style.Drawing(
        figure,
        f"Error in percent of the weights left: one-shot {_row(control['density'], control['one_shot'])}; IMP "
        f"{_row(tickets['density'], tickets['error'][:, i])}. Predicted for one pruning of the dense network: it must "
        f"leave {verdicts.percent(limit, 0)} of the weights.",
        caption=f"The fewest weights at which one-shot pruning, trained again, matches: {fewest}. The spectrum of the "
        f"dense network says that {verdicts.percent(limit, 0)} must be left.",
    )


def adaptive(tickets, record, step):
    """Error against weights remaining, and against trainings, for a fixed fraction and for thresholds in nats."""
    figure, (left, right) = style.canvas(1, 2, height=3.8, sharey=True)
    i, limit = tickets["rewind_step"].tolist().index(step), verdicts.largest_error(tickets, rules.MATCHING)
    runs = {"fixed, 20 %": (tickets["density"], tickets["error"][:, i], "black", "o")}
    for a, (rise, colour) in enumerate(zip(record["rise"].tolist(), style.shades(len(record["rise"])), strict=True)):
        runs[f"until {rise:g} nats"] = record["density"][a], record["error"][a], colour, style.MARKERS[a + 1]
    said = []
    for name, (density, error, colour, marker) in runs.items():
        style.spread(left, density, error, name, colour, marker)
        style.spread(right, range(1, len(density) + 1), error, name, colour, marker)
        shares = [f"{100 * share:.0f}" for share in (1 - density[1:] / density[:-1]).tolist()]
        last = f"after {len(density)} trainings {verdicts.percent(error[-1])} at {verdicts.percent(density[-1], 0)}"
        said.append(f"{name}: prunes {', '.join(shares)} %, error {last} of the weights")
    for axes in (left, right):
        axes.axhline(limit, color=style.GREY, linestyle="--", linewidth=1, label="half a point above dense")
    style.remaining_axis(left, tickets["density"])
    left.set_xlim(right=min(float(density[-1]) for density, *_ in runs.values()) / 1.08)
    style.error_axis(left)
    left.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 6)))
    right.set_xlabel("trainings")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(left)
    rises = record["rise"].sort()
    first = [verdicts.percent(1 - record["density"][a, 1], 0) for a in rises.indices.tolist()]
    return style.Drawing(
        figure,
        f"Pruning by a fixed fraction and by thresholds. {'; '.join(said)}.",
        caption=f"Instead of 20 %, the first pruning takes {first[0]} of the weights with a threshold of "
        f"{rises.values[0]:g} nats, {first[-1]} with one of {rises.values[-1]:g}.",
    )


def _row(density, error):
    return ", ".join(f"{100 * e:.1f} at {100 * d:.0f} %" for d, e in zip(density, error.mean(-1), strict=True))


def _percents(values, digits=0):
    """Means over the last axis in percent, by rows."""
    means = values.mean(-1)
    return ", ".join(f"{100 * v:.{digits}f}" for v in (means.tolist() if means.dim() else [float(means)]))
