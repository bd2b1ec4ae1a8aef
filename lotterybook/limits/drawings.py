"""Figures of the second edition's chapter 4."""

import torch
from matplotlib.ticker import MaxNLocator, NullLocator

from .. import style, verdicts
from ..panes import Panes
from . import evidence, readings
from .readings import EPSILON, MAGNITUDE, RANDOM

ORDERS = {RANDOM: ("at random", "s", style.BROWN), MAGNITUDE: ("by magnitude", "o", style.BLUE)}
_DASHES = "-", (0, (7, 2)), (0, (4, 1.5)), (0, (1, 1.2))  # of levels


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
        said.append(f"k = {step}: above 0.1 {_percents(steep[:, i])}; largest {largest}")
    panels[0].set_ylabel("eigenvalues above λ (% of the weights)")
    style.legend(panels[0], handlelength=3)
    return style.Drawing(
        figure,
        "Share of the Hessian's eigenvalues above each size. Percent of them above 0.1, and the mean largest one, at "
        f"levels {', '.join(map(str, levels))}. {'. '.join(said)}.",
    )


def over_wells(spectra, descents, step):
    """Predicted and measured fractions over epsilon, a panel for each order, a pane for each level."""
    spectra, descents = (readings.of_step(record, step) for record in (spectra, descents))
    levels = descents["level"].tolist()
    drawings = {f"{level}": _over_wells(spectra, descents, n) for n, level in enumerate(levels)}
    return Panes("level", drawings, f"{levels[0]}")


def _over_wells(spectra, descents, n):
    figure, panels = style.canvas(1, 2, height=4.1, sharey=True)
    sizes, said = spectra["epsilon"].tolist(), []
    for panel, (order, (called, *_)) in zip(panels, ORDERS.items(), strict=True):
        treated = (readings.predicted(spectra, descents, sizes, order, name) for name in readings.TREATMENTS)
        for name, values, colour, marker, dashes in zip(
            ("measured by loss", "predicted", "predicted with |λ|"),
            (torch.stack([readings.by_loss(descents, e, order) for e in sizes]), *treated),
            (style.BLUE, style.ORANGE, style.PINK), "osD", ("-", "--", ":"), strict=True,
        ):  # fmt: skip
            style.spread(panel, sizes, values[:, n, 0], name, colour, marker, linestyle=dashes)
            said.append(f"{called}, {name}: {_percents(values[:, n, 0])}")
        kept = readings.by_mode(descents, order)[n]
        style.spread(panel, sizes, kept.expand(len(sizes), -1), "measured by mode", "black", "", linestyle="-.")
        said.append(f"{called}, by mode: {_percents(kept)}")
    _against_wells(figure, panels)
    return style.Drawing(
        figure,
        f"Largest prunable fractions in percent in wells of {', '.join(f'{e:g}' for e in sizes)} nats. In that "
        f"of {EPSILON:g} nats what is predicted lies {_sign(spectra, descents, RANDOM, n)} what is measured by loss at "
        f"random, and {_sign(spectra, descents, MAGNITUDE, n)} it by magnitude. {'; '.join(said)}.",
    )


def _against_wells(figure, panels):
    """What the panels of ``ORDERS`` share in which fractions are drawn against the size of the well."""
    for panel, (called, *_) in zip(panels, ORDERS.values(), strict=True):
        panel.set(xscale="log", ylim=(0, 1), xlabel="ε (nats)", title=f"pruned {called}")
        style.percent_axis(panel.yaxis)
    panels[0].set_ylabel("largest fraction (%)")
    style.legend_below(figure, panels[0], 4)


def _sign(spectra, descents, order, n):
    """How far what is predicted lies from what is measured by loss, in words."""
    gap = readings.predicted(spectra, descents, [EPSILON], order)[0, n] - readings.by_loss(descents, EPSILON, order)[n]
    return f"{abs(100 * float(gap.mean())):.0f} points {'above' if gap.mean() > 0 else 'below'}"


def convergence(record, steps):
    """Training loss against the length of the descent, a panel for each order; ``steps``: the length that is used."""
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
        style.legend(panel)
    panels[0].set_ylabel("training loss (nats)")
    said = "; ".join(said).replace("-", "−")
    return style.Drawing(
        figure, f"Training loss after descents of {', '.join(map(str, lengths))} steps. From {steps} steps to "
        f"{lengths[-1]} it changes, in nats, by: {said}.",
    )  # fmt: skip


def flatness(record):
    """Curvature along what one pruning takes away, by magnitude and at random, a panel for each rewind step."""
    steps, levels, said = record["rewind_step"].tolist(), record["level"].tolist(), []
    figure, panels = style.panels(len(steps), 3.2, sharex=True, sharey=True)
    for i, (panel, step) in enumerate(zip(panels, steps, strict=True)):
        for order, (called, marker, colour) in ORDERS.items():
            style.spread(panel, levels, record["along"][:, order, i], called, colour, marker)
        panel.set(yscale="log", xlabel="level", ylabel="curvature (nats)", title=f"k = {step}")
        panel.set_xticks(levels)
        panel.label_outer()
        said.append(f"k = {step}: {_percents(record['along'][:, MAGNITUDE, i] / record['along'][:, RANDOM, i])}")
    style.legend(panels[0])
    return style.Drawing(
        figure,
        f"Pruning by magnitude takes the flatter step in {verdicts.of(readings.flatter(record))} networks. Curvature "
        f"along it in percent of that of a random one, at levels {', '.join(map(str, levels))}: {'; '.join(said)}.",
    )


def exact(record, spectra, descents, step):
    """The exact spectrum beside Lanczos's, the quadratic model and descents of the same networks, a pane a level.

    ``step``: the rewind step of these networks.
    """
    spectra, descents = (readings.of_step(other, step) for other in (spectra, descents))
    levels = record["level"].tolist()
    drawings = {f"{level}": _exact(record, spectra, descents, level) for level in levels}
    return Panes("level", drawings, f"{levels[0]}")


def _exact(record, spectra, descents, level):
    figure, panels = style.canvas(1, 2, height=4.1, sharey=True)
    n, count = record["level"].tolist().index(level), record["predicted"].shape[1]
    seen, trained = (r["level"].tolist().index(level) for r in (spectra, descents))
    sizes, said = record["epsilon"].tolist(), []
    for panel, (order, (called, *_)) in zip(panels, ORDERS.items(), strict=True):
        met = torch.stack([readings.by_loss(descents, e, order)[trained, 0, :count] for e in sizes])
        for name, values, colour, marker, dashes in (
            ("exact spectrum", record["predicted"][n, :, :, order].mT, style.ORANGE, "s", "-"),
            ("Lanczos", spectra["predicted"][seen, :, order, 0, :count], style.GREEN, "^", "--"),
            ("quadratic model", record["model"][n, :, :, order].mT, "black", "D", ":"),
            ("measured by loss", met, style.BLUE, "o", "-"),
        ):
            style.spread(panel, sizes, values, name, colour, marker, linestyle=dashes)
            said.append(f"{called}, {name}: {_percents(values)}")
    _against_wells(figure, panels)
    return style.Drawing(
        figure,
        f"Largest fractions in percent at level {level}, {count} network{'s' * (count > 1)}, in wells of "
        f"{', '.join(f'{e:g}' for e in sizes)} nats. {'; '.join(said)}.",
    )


def overlap(record):
    """Share of the top eigenvectors' length on the weights that stay, a panel for each level."""
    levels, kept = record["level"].tolist(), 1 - record["fraction"]
    figure, panels = style.panels(len(levels), 3.6, sharey=True)
    said = []
    for n, (panel, level) in enumerate(zip(panels, levels, strict=True)):
        panel.plot(kept, kept, color=style.GREY, linestyle="--", linewidth=1, label="chance")
        for order, (called, marker, colour) in ORDERS.items():
            values = record["kept"][n, order].mean(1)
            style.spread(panel, kept, values, f"kept {called}", colour, marker)
            said.append(f"level {level}, {called}: {_percents(values)}")
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="weights kept (%)", title=f"level {level}")
        for axis in (panel.xaxis, panel.yaxis):
            style.percent_axis(axis)
    panels[0].set_ylabel("squared length on them (%)")
    style.legend(panels[0])
    return style.Drawing(
        figure,
        f"Share of the squared length of the top {record['kept'].shape[3]} eigenvectors, in percent, that lies on the "
        f"{', '.join(f'{100 * share:.0f}' for share in kept)} % of the weights that are kept: {'; '.join(said)}.",
    )


def adaptive(tickets, record, step):
    """Error against weights remaining, and against trainings, for a fixed fraction and for thresholds in nats."""
    figure, (left, right) = style.canvas(1, 2, height=3.8, sharey=True)
    i, limit = tickets["rewind_step"].tolist().index(step), verdicts.largest_error(tickets, evidence.MATCHING)
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
    style.remaining_axis(left, min((density for density, *_ in runs.values()), key=lambda density: density[-1]))
    style.error_axis(left)
    right.set_xlabel("trainings")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(left)
    return style.Drawing(figure, f"Pruning by a fixed fraction and by thresholds. {'; '.join(said)}.")


def _percents(values):
    """Means over the last axis in percent, by rows."""
    means = values.mean(-1)
    return ", ".join(f"{100 * value:.0f}" for value in (means.tolist() if means.dim() else [float(means)]))
