"""Figures of the evidence for claim C1."""

from itertools import groupby

import torch

from .. import style, verdicts
from ..panes import Panes
from ..tickets.evidence import EPSILON, excess, within
from . import evidence, halves

HALVES = {"if": ("connected, of the matching (if)", style.BLUE, "o"),
          "only if": ("matching, of the connected (only if)", style.ORANGE, "s")}  # fmt: skip


def law(tickets, barriers):
    """Error of the sparser network against what lies between a pair: the authors' figure by means, and the strict one.

    On the left the error midway, as the authors plotted it, on the right the barrier.
    """
    found = halves.pairs(tickets["error"], barriers["height"])
    middle = barriers["curve"][:, barriers["curve"].shape[1] // 2]
    drawings = {
        "means over replicates": _law(found.mean(), middle.mean(-1), tickets),
        "every replicate": _law(found, middle, tickets),
    }
    return Panes("a point for", drawings, "means over replicates")


def _law(some, middle, tickets):
    figure, panels = style.canvas(1, 2, height=4.6, sharex=True)
    dense, low = float(tickets["error"][0].mean()), min(-0.006, float(some.excess.min()) - 0.001)
    for axes, values, line in zip(panels, (middle, some.barrier), (dense + EPSILON, EPSILON), strict=True):
        for i, step in enumerate(verdicts.rewind_steps(tickets)):
            colour, marker = style.look(tickets, step)
            for part, face, edge in (
                (slice(0, 1), "none", ":"), (slice(1, halves.HIGHER - 1), "none", "-"),
                (slice(halves.HIGHER - 1, None), colour, "-"),
            ):  # fmt: skip
                x, y = some.excess[part, i].flatten(), values[part, i].flatten()
                axes.scatter(
                    x, y, s=24, marker=marker, facecolors=face, edgecolors=[colour], alpha=0.75,
                    linestyle=edge, label=f"k = {step}" if face != "none" else None,
                )  # fmt: skip
        axes.axhline(line, color=style.GREY, linestyle="--", linewidth=1)
        axes.axvline(EPSILON, color=style.GREY, linestyle="--", linewidth=1)
        style.rate_scale(axes, "x", low, high=0.5)
        axes.set_xticks([0, 0.01, 0.05, 0.2])
        axes.set_xlabel("sparser network above dense (points)")
    style.rate_scale(panels[1], "y", -0.003, high=1)
    panels[0].set_yscale("log")
    panels[0].set_yticks([t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1) if float(middle.min()) / 2 < t])
    panels[0].set_yticks([], minor=True)
    style.percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("test error midway (%)")
    panels[1].set_ylabel("barrier (points of error)")
    style.legend_below(figure, panels[0], 6)
    counted = halves.count(some.levels(halves.HIGHER))
    return style.Drawing(
        figure,
        f"What lies between a pair of successive levels against the error of the sparser one, dashed at half a point; "
        f"filled from level {halves.HIGHER} on, hollow before, dotted for level 1. From level {halves.HIGHER} on: "
        f"{_plain(halves.told(counted))}. At levels 1 to {halves.HIGHER - 1}: "
        f"{evidence.lower_levels(some.levels(1, halves.HIGHER - 1))}.",
    )


def _plain(text):
    return text.replace("*", "")


def over_tolerance(tickets, barriers):
    """Both halves of the law at higher sparsities, agreement and chance agreement, against the tolerance."""
    found = halves.pairs(tickets["error"], barriers["height"]).levels(halves.HIGHER)
    figure, panels = style.panels(2, 4.0, sharey=True)
    said = []
    for axes, (title, some) in zip(
        panels, {"means over replicates": found.mean(), "single replicates": found}.items(), strict=True
    ):
        counts = [halves.count(some, epsilon) for epsilon in halves.TOLERANCES]
        shares = [[halves.share(*half) for half in halves.halves(counted)] for counted in counts]
        for n, (name, colour, marker) in enumerate(HALVES.values()):
            axes.plot(halves.TOLERANCES, [both[n] for both in shares], color=colour, marker=marker, label=name)
        axes.plot(halves.TOLERANCES, [c.agreement for c in counts], color="black", marker="D", label="agreement")
        chance = [c.chance for c in counts]
        axes.plot(halves.TOLERANCES, chance, ":", color=style.GREY, marker="^", label="agreement by chance")
        axes.axvline(EPSILON, color=style.GREY, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_xticks((0.001, 0.0025, 0.005, 0.01, 0.02), ("0.1", "0.25", "0.5", "1", "2"))
        axes.set_xticks([], minor=True)
        axes.set_xlabel("tolerance ε (points)")
        axes.set_title(title)
        at = counts[halves.TOLERANCES.index(EPSILON)]
        said.append(f"By {title}, at half a point: {_plain(halves.told(at))}")
    panels[0].set_ylim(-0.03, 1.03)
    style.percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("share of pairs (%)")
    style.legend_below(figure, panels[0], 2)
    return style.Drawing(figure, f"Both halves of the law from level {halves.HIGHER} on. {'. '.join(said)}.")


def by_level(tickets, barriers):
    """Barrier to the level before, by level and rewind step; a marker is filled where the level matches."""
    figure, axes = style.canvas(height=4.2)
    density, height = tickets["density"][1:], barriers["height"].mean(-1)
    match = within(excess(tickets)[1:].mean(-1), EPSILON)
    for i, step in enumerate(verdicts.rewind_steps(tickets)):
        colour, marker = style.look(tickets, step)
        axes.plot(density, height[:, i], color=colour, alpha=0.6, linewidth=1.2)
        for chosen, face in ((match[:, i], colour), (~match[:, i], "white")):
            axes.plot(density[chosen], height[chosen, i], marker, color=colour, markerfacecolor=face, markersize=6)
        axes.plot([], [], marker=marker, color=colour, label=f"k = {step}")
    style.barrier_axes(axes, tickets["density"], "barrier to the level before; filled: the level matches", EPSILON)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9.5)
    joined = within(height, EPSILON)
    said = "; ".join(
        f"{name} matches at {_listed(match[:, i])} and is connected at {_listed(joined[:, i])}"
        for i, name in enumerate(style.step_names(tickets))
    )
    return style.Drawing(figure, f"Mean barrier to the level before, within half a point or not: {said}.")


def _listed(yes):
    """The levels, counted from 1, at which something is so, in runs."""
    runs = [list(run) for there, run in groupby(range(len(yes)), yes.tolist().__getitem__) if there]
    spans = [f"{run[0] + 1}" if len(run) == 1 else f"{run[0] + 1} to {run[-1] + 1}" for run in runs]
    return f"level {', '.join(spans)}" if spans else "no level"


def pairs(plain, recalibrated):
    """Barrier between any two levels, with statistics interpolated above, recalibrated below; the same networks."""
    from matplotlib.colors import SymLogNorm

    rows = evidence.plain_and_recalibrated(plain, recalibrated)
    names, said = style.step_names(recalibrated), []
    figure, panels = style.canvas(2, len(names), height=6.4, sharex=True, sharey=True, squeeze=False)
    ticks = range(0, len(rows[0]), 2 if len(rows[0]) > 8 else 1)
    for line, heights, how in zip(panels, rows, ("interpolated", "recalibrated"), strict=True):
        down = evidence.connected_to_dense(heights).tolist()
        for i, (axes, name) in enumerate(zip(line, names, strict=True)):
            mean = heights[..., i, :].mean(-1)
            scale = SymLogNorm(style.LINEAR, vmin=0, vmax=0.9)
            picture = axes.imshow(mean, cmap="cividis", norm=scale, origin="lower")
            near = within(mean, EPSILON).nonzero()
            axes.plot(near[:, 1], near[:, 0], ".", color="white", markersize=4)
            axes.grid(False)
            axes.set_xticks(ticks)
            axes.set_yticks(ticks)
            axes.set_title(f"{name}, {how}")
            axes.set_xlabel("level")
            axes.set_ylabel("level")
            axes.label_outer()
            far = verdicts.points(mean[0, -1])
            said.append(f"{name}, {how}: dense connected down to level {down[i]}, {far} to the last")
    bar = figure.colorbar(picture, ax=panels, shrink=0.7, label="barrier (points); dot: at most half a point")
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5])
    bar.ax.minorticks_off()
    style.percent_axis(bar.ax.yaxis)
    return style.Drawing(figure, f"Heatmaps of the barrier between any two levels. {'; '.join(said)}.")


def found_masks(found, tickets):
    """A walk without rewinding, and what is trained inside its masks from rewind points: how far from the walk."""
    figure, (left, right) = style.canvas(1, 2, height=4.2)
    density = found["density"]
    style.spread(left, density[1:], found["step"], "to the level before", style.BLUE)
    style.spread(left, density[1:], found["away"], "to the dense network", style.ORANGE, "s")
    over = found["error"] - tickets["error"][0].mean()
    style.spread(left, density, over, "error above dense", style.GREY, "^")
    kept = density[found["level"]]
    for i, step in enumerate(verdicts.rewind_steps(found)):
        colour, marker = style.shades(len(found["rewind_step"]))[i], style.MARKERS[i]
        style.spread(right, kept, found["return_barrier"][:, i], f"k = {step}", colour, marker)
    for axes, title in ((left, "prune, train on, repeat: barriers"), (right, "its mask on a rewind point")):
        style.barrier_axes(axes, density, title, EPSILON)
        style.legend(axes)
    style.rate_scale(left, "y", min(-0.003, float(over.min()) - 0.001))
    left.set_ylabel("points of error")
    right.set_ylabel("barrier to the walk's solution (points)")
    returns = "; ".join(
        f"k = {k} {style.points(*found['return_barrier'][:, i].mean(-1))}"
        for i, k in enumerate(verdicts.rewind_steps(found))
    )
    levels = ", ".join(map(str, found["level"].tolist()))
    return style.Drawing(
        figure,
        f"Without rewinding the barrier of a step is at most {verdicts.points(found['step'].mean(-1).max(), 2)}, "
        f"from the dense network to the end of the walk {verdicts.points(found['away'][-1].mean())}. From networks "
        f"trained in the masks of levels {levels} to the walk's solutions, in points: {returns}.",
    )


def networks(by_network):
    """Both halves of the law at higher sparsities for each network, with their counts, and agreement by chance."""
    figure, axes = style.canvas(height=0.62 * len(by_network) + 1.7)
    said, places = [], torch.arange(len(by_network)).flip(0).tolist()
    for place, (name, some) in zip(places, by_network.items(), strict=True):
        counted = halves.count(some)
        for n, ((_, colour, marker), half) in enumerate(zip(HALVES.values(), halves.halves(counted), strict=True)):
            height = place + 0.17 - 0.34 * n
            axes.plot(halves.share(*half), height, marker, color=colour, markersize=7)
            axes.text(1.04, height, f"{half[0]} of {half[1]}", va="center", fontsize=9.5)
        if sum(counted):
            axes.plot(counted.agreement, place, "D", color="black", markersize=4)
            axes.plot(counted.chance, place, "^", color=style.GREY, markersize=5)
        said.append(f"{name}: {_plain(halves.told(counted))}")
    for name, colour, marker in [*HALVES.values(), ("agreement", "black", "D"), ("by chance", style.GREY, "^")]:
        axes.plot([], [], marker, color=colour, label=name)
    axes.axvline(halves.SHARE, color=style.GREY, linestyle="--", linewidth=1)
    axes.set_yticks(places, list(by_network))
    axes.set_ylim(-0.6, len(by_network) - 0.4)
    axes.set_xlim(-0.03, 1.2)
    axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
    style.percent_axis(axes.xaxis)
    axes.set_xlabel("share of pairs (%)")
    style.legend_below(figure, axes, 2)
    return style.Drawing(
        figure, f"Both halves of the law from level {halves.HIGHER} on, means, at half a point. {'; '.join(said)}."
    )
