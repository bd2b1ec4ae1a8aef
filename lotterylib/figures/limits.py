"""Figures of chapter 4."""

import math

import torch
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator

from .. import curvature, findings, limits
from . import style
from .panes import Panes

_ORDERS = dict(zip(limits.ORDERS, (("by magnitude", "o"), ("at random", "s")), strict=True))


def _fractions(axes):
    axes.set_ylim(0, 1)
    style.percent_axis(axes.yaxis)


def well(eigenvalues, epsilon, simulated):
    """Random subspaces and a well, a pane for each distance: in two dimensions drawn, in D dimensions counted.

    ``simulated``: what ``limits.meeting`` gives, by distance.
    """
    drawings = {
        f"{distance:g}": _well(eigenvalues, epsilon, distance, shares) for distance, shares in simulated.items()
    }
    return Panes("distance", drawings, list(drawings)[len(drawings) // 2])


def _well(eigenvalues, epsilon, distance, shares):
    figure, (left, right) = style.canvas(1, 2, height=3.9)
    radii = [math.sqrt(2 * epsilon / float(v)) for v in (eigenvalues.quantile(0.5), eigenvalues.quantile(0.05))]
    left.add_patch(Ellipse((0, 0), 2 * radii[1], 2 * radii[0], color=style.BLUE, alpha=0.35))
    left.add_patch(Ellipse((0, 0), 2 * distance, 2 * distance, fill=False, color=style.GREY, linestyle=":"))
    generator, hits, count = torch.Generator().manual_seed(0), 0, 40
    for at, toward in (2 * math.pi * torch.rand(count, 2, generator=generator)).tolist():
        x, y, u, v = distance * math.cos(at), distance * math.sin(at), math.cos(toward), math.sin(toward)
        nearest = (x * v - y * u) ** 2 <= (radii[1] * v) ** 2 + (radii[0] * u) ** 2
        hits += nearest
        reach = torch.tensor([-30.0, 30.0])
        left.plot(x + reach * u, y + reach * v, linewidth=0.8, alpha=0.7, color=style.GREEN if nearest else style.RED)
    extent = 1.3 * max(radii[1], 8)
    left.set_xlim(-extent, extent)
    left.set_ylim(-extent, extent)
    left.set_aspect("equal")
    left.grid(False)
    left.set_title(f"2 dimensions: {hits} of {count} meet it")
    order = shares.sort().values
    right.step([0, *order.tolist(), 1], [*torch.linspace(1, 0, len(order) + 1).tolist(), 0], where="post",
               color="black", label="simulated")  # fmt: skip
    bound = curvature.angular_dimension(eigenvalues, distance, epsilon)
    sharp = limits.meeting_fraction(eigenvalues, distance, epsilon)
    right.axvline(bound, color=style.ORANGE, linestyle="--", label="Gordon's bound")
    right.axvline(sharp, color=style.PURPLE, linestyle=":", linewidth=2, label="limit for large D")
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
        f"{count} random lines meet it. In {len(eigenvalues)} dimensions half of the simulated subspaces meet it up to "
        f"{findings.percent(shares.median(), 0)} of D conditions; Gordon's bound says {findings.percent(bound, 0)}, "
        f"the limit for large D {findings.percent(sharp, 0)}.",
    )


def sharper_with_dimension(simulated, bound, sharp):
    """Simulated shares against the number of dimensions: ``simulated`` by D; the two formulas as lines."""
    figure, axes = style.canvas(height=3.3)
    sizes = list(simulated)
    style.spread(axes, sizes, torch.stack(list(simulated.values())), "simulated", "black")
    axes.axhline(bound, color=style.ORANGE, linestyle="--", label="Gordon's bound")
    axes.axhline(sharp, color=style.PURPLE, linestyle=":", linewidth=2, label="limit for large D")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("dimensions D")
    axes.set_ylabel("conditions at the edge (% of D)")
    style.percent_axis(axes.yaxis)
    style.legend(axes)
    said = ", ".join(f"{size} dimensions {findings.percent(shares)}" for size, shares in simulated.items())
    return style.Drawing(
        figure,
        f"Share of conditions at which random subspaces lose the well: {said}. Gordon's bound "
        f"{findings.percent(bound)}, the limit for large D {findings.percent(sharp)}.",
    )


def spectra(record, steps):
    """Share of eigenvalues above each size, a line for each level, a panel for some rewind steps."""
    figure, panels = style.panels(len(steps), 3.7, sharey=True)
    levels, said = record["level"].tolist(), []
    for panel, step in zip(panels, steps, strict=True):
        i = record["rewind_step"].tolist().index(step)
        for n, (level, colour) in enumerate(zip(levels, style.shades(len(levels)), strict=True)):
            style.spread(panel, record["grid"], record["above"][n, :, i], f"level {level}", colour, marker="")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_ylim(2e-4, 1)
        panel.set_yticks([1e-3, 1e-2, 1e-1, 1], ["0.1", "1", "10", "100"])
        panel.minorticks_off()
        panel.set_xlabel("eigenvalue λ")
        panel.set_title(f"k = {step}")
        largest = ", ".join(f"{value:.1f}" for value in record["largest"][:, i].mean(-1).tolist())
        said.append(f"k = {step}: {largest}")
    panels[0].set_ylabel("eigenvalues above λ (% of the weights)")
    style.legend(panels[0])
    return style.Drawing(
        figure,
        "Share of the Hessian's eigenvalues above each size. Mean largest eigenvalue at levels "
        f"{', '.join(map(str, levels))}: {'; '.join(said)}.",
    )


def against_measured(spectra, projected, descents):
    """Predicted against measured fraction, a dot for each network: of the projection, and of the subspace."""
    promise = findings.predicted(spectra)
    measured = {
        "the projection stays in the well": findings.by_projection(projected),
        "the subspace meets the well": findings.by_descent(descents),
    }
    figure, panels = style.canvas(1, 2, height=4.4, sharey=True)
    levels, said = spectra["level"].tolist(), []
    for panel, (name, values) in zip(panels, measured.items(), strict=True):
        for o, (called, marker) in enumerate(_ORDERS.values()):
            for n, colour in enumerate(style.shades(len(levels))):
                panel.scatter(promise[n, o], values[n, o], color=[colour], marker=marker, s=24, alpha=0.8,
                              label=f"level {levels[n]}" if o == 0 else None)  # fmt: skip
            said.append(
                f"{name}, pruned {called}: predicted {findings.percent(promise[:, o].flatten(), 0)}, measured "
                f"{findings.percent(values[:, o].flatten(), 0)}, correlation "
                f"{findings.correlation(promise[:, o], values[:, o]):.2f}"
            )
        panel.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", linewidth=1)
        panel.set_xlim(0, 1)
        _fractions(panel)
        style.percent_axis(panel.xaxis)
        panel.set_xlabel("predicted fraction (%)")
        panel.set_title(name)
    panels[0].set_ylabel("measured fraction (%)")
    style.legend(panels[0])
    return style.Drawing(figure, f"Circles: pruned by magnitude; squares: at random. {'; '.join(said)}.")


def readings(record):
    """The exact quadratic model beside what the formulas say of it, by level, a panel for each order."""
    figure, panels = style.canvas(1, 2, height=3.7, sharey=True)
    at, levels, said = record["epsilon"].tolist().index(findings.EPSILON), record["level"].tolist(), []
    model = findings.by_model(record)
    for o, (panel, (called, _)) in enumerate(zip(panels, _ORDERS.values(), strict=True)):
        lines = {
            "quadratic model, exact": (model[..., o], "black", "o"),
            "Gordon, distance of the projection": (record["predicted"][..., at, o], style.ORANGE, "s"),
        }
        if o == 1:
            lines["large D, through the origin"] = record["through_zero"][..., at], style.PURPLE, "D"
        for name, (values, colour, marker) in lines.items():
            style.spread(panel, levels, values, name, colour, marker)
            said.append(f"{called}, {name}: {findings.percent(values.flatten(), 0)}")
        panel.set_xticks(levels)
        _fractions(panel)
        panel.set_xlabel("level")
        panel.set_title(f"pruned {called}")
        style.legend(panel)
    panels[0].set_ylabel("largest fraction (%)")
    return style.Drawing(figure, f"Largest prunable fraction, means over levels. {'; '.join(said)}.")


def along(record):
    """Curvature along what one pruning takes away, by magnitude and at random, against the level."""
    steps, levels, said = record["rewind_step"].tolist(), record["level"].tolist(), []
    figure, panels = style.panels(len(steps), 2.7, sharex=True, sharey=True)
    for i, (panel, step) in enumerate(zip(panels, steps, strict=True)):
        for o, (colour, (called, marker)) in enumerate(zip((style.BLUE, style.RED), _ORDERS.values(), strict=True)):
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
    return style.Drawing(
        figure,
        f"Curvature along what a pruning by magnitude takes away, as a multiple of that of a random one, at levels "
        f"{', '.join(map(str, levels))}. {'; '.join(said)}.",
    )


def during(record):
    """The predicted and the measured fraction in the course of dense training."""
    figure, (left, right) = style.canvas(1, 2, height=3.5)
    at, steps = record["epsilon"].tolist().index(findings.EPSILON), record["step"].tolist()
    inside = findings.by_projection(record)
    style.spread(left, steps, record["predicted"][:, at, 0], "predicted, by magnitude", style.ORANGE, "s")
    style.spread(left, steps, record["predicted"][:, at, 1], "predicted, at random", style.PURPLE, "D")
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
        f"step {step}: {findings.percent(record['predicted'][t, at, 0], 0)}, {findings.percent(inside[t, 0], 0)}, "
        f"{record['largest'][t].mean():.1f}"
        for t, step in enumerate(steps)
    )
    return style.Drawing(
        figure,
        "In the course of dense training: fraction predicted by magnitude, fraction whose projection stays in the "
        f"well, largest eigenvalue. {said}.",
    )


def well_size(spectra, projected, step):
    """What the size of the well decides, a pane for each epsilon: predicted and measured fractions by level."""
    sizes = spectra["epsilon"].tolist()
    drawings = {f"{epsilon:g}": _well_size(spectra, projected, step, epsilon) for epsilon in sizes}
    return Panes("ε (nats)", drawings, f"{findings.EPSILON:g}")


def _well_size(spectra, projected, step, epsilon):
    figure, panels = style.canvas(1, 2, height=3.6, sharey=True)
    i, levels, said = spectra["rewind_step"].tolist().index(step), spectra["level"].tolist(), []
    promise, inside = findings.predicted(spectra, epsilon)[:, :, i], findings.by_projection(projected, epsilon)[:, :, i]
    for o, (panel, (called, _)) in enumerate(zip(panels, _ORDERS.values(), strict=True)):
        style.spread(panel, levels, promise[:, o], "predicted", style.ORANGE, "s")
        style.spread(panel, levels, inside[:, o], "projection stays in the well", "black", "o")
        panel.axhline(float(spectra["fraction"]), color=style.GREY, linestyle="--", linewidth=1, label="pruned by IMP")
        panel.set_xticks(levels)
        _fractions(panel)
        panel.set_xlabel("level")
        panel.set_title(f"pruned {called}")
        pairs = zip(promise[:, o].mean(-1).tolist(), inside[:, o].mean(-1).tolist(), strict=True)
        said.append(f"{called}: {', '.join(f'{100 * a:.0f} and {100 * b:.0f}' for a, b in pairs)}")
    panels[0].set_ylabel("largest fraction (%)")
    style.legend(panels[0])
    return style.Drawing(
        figure,
        f"Wells of ε = {epsilon:g} nats at rewind step {step}, levels {', '.join(map(str, levels))}: predicted "
        f"fraction and fraction whose projection stays in the well, in percent. {'; '.join(said)}.",
    )


def one_shot(tickets, control, promise):
    """Error of one-shot pruning and of IMP, with the predicted limit of the dense network."""
    figure, axes = style.canvas()
    i = tickets["rewind_step"].tolist().index(int(control["rewind_step"]))
    style.dense(axes, tickets)
    style.spread(axes, tickets["density"], tickets["error"][:, i], "IMP", style.BLUE, "o")
    style.spread(axes, control["density"], control["one_shot"], "one-shot", style.RED, "^")
    limit = 1 - float(promise[0, 0].mean())
    axes.axvline(limit, color=style.ORANGE, linestyle="--", label="predicted limit of one pruning")
    style.remaining_axis(axes, tickets["density"])
    style.error_axis(axes)
    style.legend(axes)
    return style.Drawing(
        figure,
        f"Error of one-shot pruning, trained again: {_row(control['density'], control['one_shot'])}. The spectrum of "
        f"the dense network predicts that one pruning can leave {findings.percent(limit, 0)} of the weights at least.",
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
    said = "; ".join(f"{name}: {_row(density, error)}" for name, (density, error, *_) in runs.items())
    return style.Drawing(figure, f"Error in percent at the weights remaining, by the rule of pruning. {said}.")


def _row(density, error):
    return ", ".join(f"{100 * e:.1f} at {100 * d:.0f} %" for d, e in zip(density, error.mean(-1), strict=True))
