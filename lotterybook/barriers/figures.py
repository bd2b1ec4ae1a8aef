"""Figures of chapter 2."""

import torch

from .. import style, verdicts
from ..panes import Panes
from . import findings


def _column(record, step):
    return record["rewind_step"].tolist().index(step)


def curves(barriers, steps):
    """Error on the line from level L to level L + 1, a pane for each L, a panel for each of two rewind steps.

    The lines of all levels stand behind it. An early one is shown first, where what wins at all still matches.
    """
    drawings = {f"{level} to {level + 1}": _curve(barriers, steps, level) for level in range(len(barriers["height"]))}
    return Panes("levels", drawings, list(drawings)[min(2, len(drawings) - 1)])


def _curve(barriers, steps, level):
    figure, panels = style.panels(len(steps), 3.5, sharey=True)
    gamma, said = torch.linspace(0, 1, barriers["curve"].shape[1], dtype=torch.float64), []
    for axes, step in zip(panels, steps, strict=True):
        k = _column(barriers, step)
        curve, height = barriers["curve"][:, :, k], verdicts.points(barriers["height"][level, k].mean())
        every = axes.plot(gamma, curve.mean(-1).T, color=style.GREY, alpha=0.35, linewidth=0.9)
        every[0].set_label("all levels")
        style.spread(axes, gamma, curve[level], "error", style.look(barriers, step)[0], None)
        ends = curve[level][[0, -1]].mean(-1)
        axes.plot((0, 1), ends, color="black", linestyle=":", marker="o", label="straight line")
        axes.invert_xaxis()
        axes.set_xlabel(f"γ (1: level {level}, 0: level {level + 1})")
        axes.set_title(f"k = {step}: barrier {height}")
        style.percent_axis(axes.yaxis)
        style.legend(axes, loc="upper left")
        said.append(f"at k = {step} it rises above the straight line by {height}")
    panels[0].set_ylabel("test error (%)")
    return style.Drawing(figure, f"Test error between level {level} and level {level + 1}: {'; '.join(said)}.")


def along_gamma(barriers):
    """Error at one place on the line between successive levels, for all levels and rewind steps; a pane a place."""
    points = barriers["curve"].shape[1]
    chosen = torch.linspace(0, points - 1, 11).round().int().tolist()
    drawings = {f"{place / (points - 1):.2f}": _place(barriers, place) for place in chosen}
    return Panes("γ", drawings, list(drawings)[len(drawings) // 2])


def _place(barriers, place):
    figure, axes = style.canvas()
    density, curve = barriers["density"], barriers["curve"][:, place]
    gamma = place / (barriers["curve"].shape[1] - 1)
    style.by_step(axes, density[1:], curve, barriers)
    style.remaining_axis(axes, density)
    axes.set_yscale("log")
    axes.set_ylim(0.025, 1)
    axes.set_yticks((0.03, 0.1, 0.3, 1))
    axes.minorticks_off()
    style.percent_axis(axes.yaxis)
    axes.set_ylabel("test error (%)")
    axes.set_title(f"{verdicts.percent(1 - gamma, 0)} of the way to the next level")
    style.legend(axes)
    said = ", ".join(
        f"k = {k} {style.points(mean)}"
        for k, mean in zip(barriers["rewind_step"].tolist(), curve.mean((0, 2)).tolist(), strict=True)
    )
    where = f"at γ = {gamma:.2f} on the lines between successive levels"
    return style.Drawing(figure, f"Test error in percent {where}, mean over levels: {said}.")


def successive(barriers, tickets):
    """Barrier to the previous level against weights remaining, as it is and with recalibrated BatchNorm statistics."""
    epsilon, density = verdicts.tolerance(tickets), barriers["density"][1:]
    panels = {"height": "statistics interpolated", "recalibrated": "statistics recalibrated"}
    figure, both = style.canvas(1, 2, height=4, sharey=True)
    for axes, (entry, title) in zip(both, panels.items(), strict=True):
        style.by_step(axes, density, barriers[entry], barriers)
        for band in axes.collections:
            band.set_alpha(0.1)
        for i, step in enumerate(barriers["rewind_step"].tolist()):
            colour, marker = style.look(barriers, step)
            axes.plot(density, barriers[entry][:, i], marker, color=colour, alpha=0.4, markersize=3, zorder=1.5)
        style.barrier_axes(axes, density, title, epsilon)
    both[1].set_ylabel("")
    style.legend_below(figure, both[1], 5)
    means = "; recalibrated ".join(style.points(*barriers[entry].mean((0, 2))) for entry in panels)
    return style.Drawing(
        figure,
        f"Barrier between successive levels. {style.within(barriers, barriers['height'], epsilon)} Means over levels, "
        f"in points of error and in the same order: {means}.",
    )


def along(position, errors, record, dense=None):
    """Error along a path through the levels: ``position`` (P,), ``errors`` of (P, R) by rewind step of a record."""
    figure, axes = style.canvas()
    if dense is not None:
        axes.axhline(dense, color=style.GREY, linewidth=1, linestyle="--", label="dense")
    corner = (position == position.round()).nonzero()[:, 0]
    for step, error in errors.items():
        style.spread(axes, position, error, f"k = {step}", *style.look(record, step), markevery=corner.tolist())
    style.percent_axis(axes.yaxis)
    axes.set_xticks(range(int(position[-1]) + 1))
    axes.set_xlabel("level (dots), and the straight lines between levels")
    axes.set_ylabel("test error (%)")
    style.legend(axes)
    said = "; ".join(
        f"k = {step}: {style.points(*error[corner].mean(-1))} at the levels, at most "
        f"{style.points(error.mean(-1).max())} on the path"
        for step, error in errors.items()
    )
    return style.Drawing(figure, f"Test error in percent along straight lines from level to level. {said}.")


def path(barriers, steps):
    """Error along the piecewise-linear path through all levels, for each of the given rewind steps."""
    levels, points = barriers["curve"].shape[:2]
    position = torch.linspace(0, 1, points, dtype=torch.float64)[:-1] + torch.arange(levels)[:, None]
    position = torch.cat([position.flatten(), torch.tensor([levels], dtype=torch.float64)])
    onward = barriers["curve"].flip(1)  # stored from level L + 1 to level L
    onward = torch.cat([onward[:, :-1].flatten(0, 1), onward[-1, -1:]])
    errors = {step: onward[:, _column(barriers, step)] for step in steps}
    return along(position, errors, barriers, float(onward[0].mean()))


def pairs(pairs, tickets):
    """Barrier between any two levels, mean over replicates, a heatmap for each rewind step."""
    from matplotlib.colors import SymLogNorm

    epsilon, names, height = verdicts.tolerance(tickets), style.step_names(pairs), pairs["height"].mean(-1)
    figure, panels = style.panels(len(names), 3.5, sharex=True, sharey=True)
    ticks = range(0, len(height), 2 if len(height) > 8 else 1)
    for i, (axes, name) in enumerate(zip(panels, names, strict=True)):
        scale = SymLogNorm(style.LINEAR, vmin=0, vmax=0.5)
        picture = axes.imshow(height[..., i], cmap="cividis", norm=scale, origin="lower")
        near = (height[..., i] <= epsilon).nonzero()
        axes.plot(near[:, 1], near[:, 0], ".", color="white", markersize=4)
        axes.grid(False)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.set_title(name)
        axes.set_xlabel("level")
        axes.set_ylabel("level")
        axes.label_outer()
    bar = figure.colorbar(picture, ax=panels, shrink=0.7, label="barrier (points); dot: at most ε", extend="max")
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5])
    bar.ax.minorticks_off()
    style.percent_axis(bar.ax.yaxis)
    said = "; ".join(
        f"{name}: {style.points(torch.diagonal(height[..., i], 1).mean())}, {style.points(height[0, -1, i])}"
        for i, name in enumerate(names)
    )
    blocks = ", ".join(
        f"{name}: {last or 'none'}" for name, last in zip(names, findings.block(pairs, epsilon), strict=True)
    )
    return style.Drawing(
        figure,
        "Heatmaps of the barrier between any two levels. In points of error, mean over neighbouring levels, and from "
        f"the dense network to the sparsest level: {said}. Last level up to which any two have a barrier within ε: "
        f"{blocks}.",
    )


def projections(tickets, projected, step):
    """Errors before and after pruning and after retraining, at one rewind step; barriers of the retraining, at all."""
    figure, (left, right) = style.canvas(1, 2, height=3.6)
    density, k = projected["density"][1:], _column(projected, step)
    error = tickets["error"][:, k]
    style.spread(left, density, projected["error"][:, k], "projection", style.ORANGE, "s")
    style.spread(left, density, error[:-1], "solution before pruning", "black", "o")
    style.spread(left, density, error[1:], "next solution", style.BLUE, "^")
    style.percent_axis(left.yaxis)
    left.set_ylabel("test error (%)")
    left.set_title(f"k = {step}")
    style.legend(left)
    style.remaining_axis(left, density)
    names = style.step_names(projected)
    style.by_step(right, density, projected["height"], projected)
    style.barrier_axes(right, density, "projection to next solution", verdicts.tolerance(tickets))
    style.legend(right)
    rise = style.points(*(projected["error"][:, k] - error[:-1]).mean(-1))
    highest = style.points(*projected["height"].mean(-1).amax(0))
    return style.Drawing(
        figure,
        f"At k = {step} pruning alone raises the test error by {rise} points, level by level. Highest mean barrier "
        f"from projection to next solution, in points of error, for {', '.join(names)}: {highest}.",
    )


def failing_masks(failing, tickets):
    """Barrier back to the level before, and error, of networks trained from the same point inside three subspaces."""
    figure, (left, right) = style.canvas(1, 2, height=3.6)
    arms = {
        "own": ("own mask", style.BLUE), "failing": ("mask of a failing run", style.ORANGE),
        "random": ("random mask", style.PINK),
    }  # fmt: skip
    right.axhline(float(tickets["error"][0].mean()), color=style.GREY, linestyle="--", linewidth=1, label="dense")
    for marker, (arm, (name, colour)) in zip(style.MARKERS, arms.items(), strict=False):
        style.spread(left, failing["density"], failing[arm], name, colour, marker)
        style.spread(right, failing["density"], failing[f"{arm}_error"], name, colour, marker)
    style.barrier_axes(left, failing["density"], "barrier back to the level before", verdicts.tolerance(tickets))
    style.remaining_axis(right, failing["density"])
    right.set_ylabel("test error (%)")
    right.set_title("test error")
    style.percent_axis(right.yaxis)
    style.legend(right)
    said = "; ".join(f"{name} {style.points(*failing[arm].mean(-1))}" for arm, (name, _) in arms.items())
    levels = failing["level"].tolist()
    return style.Drawing(figure, f"Barrier back to the level before, at levels {levels}, in points of error: {said}.")


def plane(planes, failing, chosen):
    """Test error on the plane through a solution, its projection and the next solution.

    On the left for the rewind step ``failing``, on the right for another: a pane for each, first that of ``chosen``.
    """
    others = [step for step in planes["rewind_step"].tolist() if step != failing]
    drawings = {f"{step}": _plane(planes, (failing, step)) for step in others}
    return Panes("rewind step on the right", drawings, f"{chosen}")


def _plane(planes, steps):
    from matplotlib.colors import BoundaryNorm

    figure, panels = style.panels(len(steps), 4.1)
    bounds = [0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9]
    top = max(float(planes["error"].max()), bounds[1])
    bounds = [bound for bound, below in zip(bounds, [0, *bounds], strict=False) if below < top]
    level, said = int(planes["level"]), []
    names = (f"solution {level}", "projection", f"solution {level + 1}")
    for axes, step in zip(panels, steps, strict=True):
        k = _column(planes, step)
        norm = BoundaryNorm(bounds, 256, extend="both")
        x, y, error = planes["horizontal"][:, k], planes["vertical"][:, k], planes["error"][..., k]
        picture = axes.contourf(x, y, error, bounds, cmap="cividis", norm=norm, extend="both")
        axes.contour(x, y, error, bounds, colors="white", linewidths=0.4, alpha=0.5)
        for (cx, cy), marker, name in zip(planes["corners"][..., k].tolist(), style.MARKERS, names, strict=False):
            axes.plot(cx, cy, marker, color=style.ORANGE, markeredgecolor="white", markersize=10, label=name)
        subspace = float(planes["corners"][1, 0, k])  # both states in it are zero in the coordinates that were pruned
        name = f"axial subspace of level {level + 1}"
        axes.axvline(subspace, color=style.ORANGE, linestyle=":", label=name, zorder=1.5)
        axes.grid(False)
        axes.set_title(f"k = {step}")
        axes.set_xlabel("distance towards the projection")
        said.append(f"k = {step}: {_seen(planes, k)}")
    panels[0].set_ylabel("distance across")
    bar = figure.colorbar(picture, ax=panels, ticks=bounds, label="test error (%)", shrink=0.85)
    style.percent_axis(bar.ax.yaxis)
    style.legend_below(figure, panels[0], 2)
    alt = f"Contours of test error on the plane through {', '.join(names)}, in percent."
    return style.Drawing(figure, f"{alt} {' '.join(said)}")


def _seen(planes, k):
    """What a plane shows, for an alternative text: between the solutions, and on the axial subspace's near half."""
    corners, across = planes["corners"][..., k], planes["vertical"][:, k]
    middle, apart = corners[[0, 2]].mean(0), float((corners[2] - corners[0]).norm())
    before, projection, after, between = (_nearest(planes, k, point) for point in (*corners, middle))
    ridge = "a ridge" if between > max(before, after) + verdicts.STABLE else "no ridge"
    column = int((planes["horizontal"][:, k] - corners[1, 0]).abs().argmin())
    return (
        f"{style.points(before)} at the solution, {style.points(projection)} at its projection, "
        f"{style.points(between)} midway to the next solution, {style.points(after)} there, {apart:.1f} away: {ridge} "
        "between. On the axial subspace, on the projection's side, "
        f"{style.points(planes['error'][across < middle[1], column, k].min())} at least."
    )


def _nearest(planes, k, point):
    """Error at the grid point nearest to a point of the plane."""
    column = int((planes["horizontal"][:, k] - point[0]).abs().argmin())
    return planes["error"][int((planes["vertical"][:, k] - point[1]).abs().argmin()), column, k]
