"""Figures of chapter 2."""

import torch

from .. import findings
from . import style

_LINEAR = 0.01  # rates below it are drawn on a linear scale, larger ones on a logarithmic scale
_TICKS = (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def _names(record):
    return [f"k = {k}" for k in record["rewind_step"].tolist()]


def _column(record, step):
    return record["rewind_step"].tolist().index(step)


def _points(*values):
    """Points of error, for an alternative text."""
    return ", ".join(f"{100 * float(value):.1f}" for value in values)


def _rate_scale(axes, which, low=-0.001, high=0.9):
    """A scale for rates that shows both a tenth of a point and fifty points."""
    getattr(axes, f"set_{which}scale")("symlog", linthresh=_LINEAR, linscale=0.8)
    axis = getattr(axes, f"{which}axis")
    axis.set_ticks([t for t in _TICKS if low <= t <= high])
    axis.set_ticks([], minor=True)
    style.percent_axis(axis)
    getattr(axes, f"set_{which}lim")(low, high)


def _barrier_axes(axes, density, title, epsilon):
    """Barriers against weights remaining, with the tolerance; call it after drawing."""
    axes.axhline(epsilon, color=style.GREY, linestyle="--", linewidth=1, label="ε")
    style.remaining_axis(axes, density)
    _rate_scale(axes, "y")
    axes.set_ylabel("barrier (points of error)")
    axes.set_title(title)


def curves(barriers, steps, levels=(0, 4, 8, 10, 12)):
    """Error on the line from level L to level L + 1, a panel for each of two rewind steps, a colour for each L."""
    figure, panels = style.canvas(1, len(steps), height=3.7, sharey=True, squeeze=False)
    levels = [level for level in levels if level < len(barriers["height"])]
    gamma = torch.linspace(0, 1, barriers["curve"].shape[1], dtype=torch.float64)
    for axes, step in zip(panels[0], steps, strict=True):
        k = _column(barriers, step)
        for level, colour, dash in zip(levels, style.shades(len(levels)), _DASHES, strict=False):
            curve = barriers["curve"][level, :, k]
            style.spread(axes, gamma, curve, f"{level} to {level + 1}", colour, None, linestyle=dash)
        axes.invert_xaxis()
        axes.set_xlabel("γ (1: level L, 0: level L + 1)")
        axes.set_title(f"k = {step}")
        style.percent_axis(axes.yaxis)
    panels[0][0].set_ylabel("test error (%)")
    figure.legend(*panels[0][0].get_legend_handles_labels(), title="levels", loc="outside right center", frameon=False)
    said = "; ".join(
        f"at k = {step} it rises above the line between the ends by "
        f"{_points(*barriers['height'][levels, _column(barriers, step)].mean(-1))} points"
        for step in steps
    )
    return style.Drawing(figure, f"Test error between levels L and L + 1, L in {levels}: {said}.")


def successive(barriers, tickets):
    """Barrier to the previous level against weights remaining, as it is and with recalibrated BatchNorm statistics."""
    epsilon, density, names = findings.tolerance(tickets), barriers["density"][1:], _names(barriers)
    panels = {"height": "statistics interpolated", "recalibrated": "statistics recalibrated"}
    figure, both = style.canvas(1, 2, height=3.6, sharey=True)
    for axes, (entry, title) in zip(both, panels.items(), strict=True):
        for i, (name, colour) in enumerate(zip(names, style.shades(len(names)), strict=True)):
            axes.plot(density, barriers[entry][:, i], ".", color=colour, alpha=0.4, markersize=4)
            style.spread(axes, density, barriers[entry][:, i], name, colour, style.MARKERS[i])
        _barrier_axes(axes, density, title, epsilon)
    both[1].set_ylabel("")
    both[1].legend(fontsize=9.5)
    connected = (barriers["height"].mean(-1) <= epsilon).long().cumprod(0).sum(0)
    reached = [findings.percent(kept, 0) for kept in barriers["density"][connected].tolist()]
    said = ", ".join(f"{name} within ε down to {kept}" for name, kept in zip(names, reached, strict=True))
    means = "; recalibrated ".join(_points(*barriers[entry].mean((0, 2))) for entry in panels)
    return style.Drawing(
        figure,
        f"Barrier between successive levels, mean over replicates: {said} of the weights. Means over levels, in points "
        f"of error and in the same order: {means}.",
    )


def along(position, errors, dense=None):
    """Error along a path through the levels: ``position`` (P,), ``errors`` a dict of (P, R) by name."""
    figure, axes = style.canvas()
    if dense is not None:
        axes.axhline(dense, color=style.GREY, linewidth=1, linestyle="--", label="dense")
    colours = (style.RED, style.BLUE, style.GREEN)
    corner = (position == position.round()).nonzero()[:, 0]
    for (name, error), colour, marker in zip(errors.items(), colours, style.MARKERS, strict=False):
        style.spread(axes, position, error, name, colour, marker, markevery=corner.tolist())
    style.percent_axis(axes.yaxis)
    axes.set_xticks(range(int(position[-1]) + 1))
    axes.set_xlabel("level (dots), and the straight lines between levels")
    axes.set_ylabel("test error (%)")
    axes.legend()
    said = "; ".join(
        f"{name}: {_points(*error[corner].mean(-1))} at the levels, at most {_points(error.mean(-1).max())} on the path"
        for name, error in errors.items()
    )
    return style.Drawing(figure, f"Test error in percent along straight lines from level to level. {said}.")


def path(barriers, steps):
    """Error along the piecewise-linear path through all levels, for each of the given rewind steps."""
    levels, points = barriers["curve"].shape[:2]
    position = torch.linspace(0, 1, points, dtype=torch.float64)[:-1] + torch.arange(levels)[:, None]
    position = torch.cat([position.flatten(), torch.tensor([levels], dtype=torch.float64)])
    onward = barriers["curve"].flip(1)  # stored from level L + 1 to level L
    onward = torch.cat([onward[:, :-1].flatten(0, 1), onward[-1, -1:]])
    errors = {f"k = {step}": onward[:, _column(barriers, step)] for step in steps}
    return along(position, errors, float(onward[0].mean()))


def pairs(pairs, tickets):
    """Barrier between any two levels, mean over replicates, a heatmap for each rewind step."""
    from matplotlib.colors import SymLogNorm

    epsilon, names, height = findings.tolerance(tickets), _names(pairs), pairs["height"].mean(-1)
    rows = -(-len(names) // 2)
    figure, grid = style.canvas(rows, 2, height=0.4 + 3.3 * rows, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    ticks = range(0, len(height), 2 if len(height) > 8 else 1)
    for i, (axes, name) in enumerate(zip(grid.flat, names, strict=False)):
        scale = SymLogNorm(_LINEAR, vmin=0, vmax=0.5)
        picture = axes.imshow(height[..., i], cmap="cividis", norm=scale, origin="lower")
        near = (height[..., i] <= epsilon).nonzero()
        axes.plot(near[:, 1], near[:, 0], ".", color="white", markersize=4)
        axes.grid(False)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.set_title(name)
    for axes in grid[:, 0]:
        axes.set_ylabel("level")
    for axes in grid[-1]:
        axes.set_xlabel("level")
    bar = figure.colorbar(picture, ax=grid, shrink=0.7, label="barrier (points of error); dot: at most ε", extend="max")
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5])
    bar.ax.minorticks_off()
    style.percent_axis(bar.ax.yaxis)
    said = "; ".join(
        f"{name}: {_points(torch.diagonal(height[..., i], 1).mean())}, {_points(height[0, -1, i])}"
        for i, name in enumerate(names)
    )
    return style.Drawing(
        figure,
        "Heatmaps of the barrier between any two levels. In points of error, mean over neighbouring levels, and from "
        f"the dense network to the sparsest level: {said}.",
    )


def projections(tickets, projected, step):
    """Errors before and after pruning and after retraining, at one rewind step; barriers of the retraining, at all."""
    figure, (left, right) = style.canvas(1, 2, height=3.6)
    density, k = projected["density"][1:], _column(projected, step)
    error = tickets["error"][:, k]
    style.spread(left, density, projected["error"][:, k], "projection", style.RED, "s")
    style.spread(left, density, error[:-1], "solution before pruning", "black", "o")
    style.spread(left, density, error[1:], "next solution", style.BLUE, "^")
    style.percent_axis(left.yaxis)
    left.set_ylabel("test error (%)")
    left.set_title(f"k = {step}")
    left.legend(fontsize=9.5)
    style.remaining_axis(left, density)
    names = _names(projected)
    for i, (name, colour) in enumerate(zip(names, style.shades(len(names)), strict=True)):
        style.spread(right, density, projected["height"][:, i], name, colour, style.MARKERS[i])
    _barrier_axes(right, density, "projection to next solution", findings.tolerance(tickets))
    right.legend(fontsize=9.5)
    rise = _points(*(projected["error"][:, k] - error[:-1]).mean(-1))
    highest = _points(*projected["height"].mean(-1).amax(0))
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
        "random": ("random mask", style.RED),
    }  # fmt: skip
    right.axhline(float(tickets["error"][0].mean()), color=style.GREY, linestyle="--", linewidth=1, label="dense")
    for marker, (arm, (name, colour)) in zip(style.MARKERS, arms.items(), strict=False):
        style.spread(left, failing["density"], failing[arm], name, colour, marker)
        style.spread(right, failing["density"], failing[f"{arm}_error"], name, colour, marker)
    _barrier_axes(left, failing["density"], "barrier back to the level before", findings.tolerance(tickets))
    style.remaining_axis(right, failing["density"])
    right.set_ylabel("test error (%)")
    right.set_title("test error")
    style.percent_axis(right.yaxis)
    right.legend(fontsize=9.5)
    said = "; ".join(f"{name} {_points(*failing[arm].mean(-1))}" for arm, (name, _) in arms.items())
    levels = failing["level"].tolist()
    return style.Drawing(figure, f"Barrier back to the level before, at levels {levels}, in points of error: {said}.")


def iff(tickets, barrier):
    """One dot a pair of successive levels: excess error of the worse end over dense, and barrier (levels, K, R)."""
    figure, axes = style.canvas(height=4.6)
    epsilon, dense = findings.tolerance(tickets), float(tickets["error"][0].mean())
    excess = torch.maximum(tickets["error"][:-1], tickets["error"][1:]) - dense
    sparse, names = tickets["density"][1:] < findings.SPARSE, _names(tickets)
    for i, (name, colour) in enumerate(zip(names, style.shades(len(names)), strict=True)):
        for chosen, face in ((~sparse, "none"), (sparse, colour)):
            x, y = excess[chosen, i].flatten(), barrier[chosen, i].flatten()
            label = name if face != "none" else None
            axes.plot(x, y, style.MARKERS[i], color=colour, markerfacecolor=face, alpha=0.7, label=label)
    for line in (axes.axhline, axes.axvline):
        line(epsilon, color=style.GREY, linestyle="--", linewidth=1)
    _rate_scale(axes, "x", min(-0.006, float(excess.min()) - 0.001), high=1)
    _rate_scale(axes, "y", -0.0035, high=1)  # room for words below zero
    corners = {
        ("left", "top"): "matching, not connected", ("right", "top"): "neither",
        ("left", "bottom"): "matching, connected", ("right", "bottom"): "connected, not matching",
    }  # fmt: skip
    for (ha, va), text in corners.items():
        at = {"left": 0.01, "right": 0.99}[ha], {"top": 0.97, "bottom": 0.02}[va]
        axes.text(*at, text, transform=axes.transAxes, style="italic", fontsize=10, ha=ha, va=va)
    axes.set_xlabel("error of the worse end above the dense network (points)")
    axes.set_ylabel("barrier (points of error)")
    title = f"filled: below {findings.percent(findings.SPARSE, 0)}\nof the weights"
    figure.legend(title=title, loc="outside right upper", frameon=False)
    count = findings.contingency(tickets, barrier)
    return style.Drawing(
        figure,
        f"Barrier against excess error for {sum(count)} pairs of successive levels: {count.both} are matching and "
        f"connected, {count.neither} neither, {count.only_connected} connected but not matching, {count.only_matching} "
        "matching but not connected.",
    )


def contingency(tickets, barrier):
    """Connected against matching, counted, for networks with many and with few weights."""
    parts = _parts(tickets, False, True)
    figure, panels = style.canvas(1, len(parts), height=2.9, sharey=True, squeeze=False)
    said, cells = [], ("matching and connected", "only matching", "only connected", "neither")
    for axes, (sparse, title) in zip(panels[0], parts.items(), strict=True):
        count = findings.contingency(tickets, barrier, sparse=sparse)
        table = torch.tensor([[count.both, count.only_matching], [count.only_connected, count.neither]])
        axes.imshow(table, vmin=0, vmax=max(1, int(table.sum())), cmap="Blues", aspect="auto")
        axes.grid(False)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            number = int(table[row, column])
            colour = "white" if number > 0.6 * sum(count) else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=16)
        axes.set_xticks((0, 1), ("connected", "not connected"))
        axes.set_yticks((0, 1), ("matching", "not matching"))
        axes.set_title(f"{title}\nagreement {findings.percent(count.agreement, 0)}")
        said.append(f"{title}: {', '.join(f'{n} {c}' for n, c in zip(cells, count, strict=True))}")
    return style.Drawing(figure, f"Counts of pairs of successive levels. {'; '.join(said)}.")


def _parts(tickets, *wanted):
    """Titles of the parts that ``findings.contingency`` counts, without those that hold no pair."""
    kept, sparse = findings.percent(findings.SPARSE, 0), tickets["density"][1:] < findings.SPARSE
    titles = {None: "all pairs", False: f"at least {kept} of the weights", True: f"less than {kept} of the weights"}
    return {part: titles[part] for part in wanted if part is None or (sparse == part).any()}


def agreement(tickets, barrier, multiples=(0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.7, 8)):
    """Agreement of connected with matching, and both conditional shares, against the tolerance."""
    parts, unit, said = _parts(tickets, None, True), findings.tolerance(tickets), []
    figure, (panels,) = style.canvas(1, len(parts), height=3.9, sharey=True, squeeze=False)
    for axes, (sparse, title) in zip(panels, parts.items(), strict=True):
        counts = [findings.contingency(tickets, barrier, unit * m, sparse) for m in multiples]
        lines = {
            "agreement": ([c.agreement for c in counts], "black", "-"),
            "connected, of the matching": ([_share(c.both, c.only_matching) for c in counts], style.BLUE, "--"),
            "matching, of the connected": ([_share(c.both, c.only_connected) for c in counts], style.ORANGE, "-."),
            "agreement by chance": ([_chance(c) for c in counts], style.GREY, ":"),
        }
        for marker, (name, (shares, colour, dash)) in zip(style.MARKERS, lines.items(), strict=False):
            axes.plot(multiples, shares, marker=marker, color=colour, linestyle=dash, label=name)
        axes.set_xscale("log")
        axes.set_xticks((0.5, 1, 2, 4, 8), ("0.5", "1", "2", "4", "8"))
        axes.set_xticks([], minor=True)
        axes.set_xlabel("tolerance ε (dense standard deviations)")
        axes.set_title(title)
        at_one = "; ".join(f"{name} {100 * shares[multiples.index(1)]:.0f}" for name, (shares, *_) in lines.items())
        said.append(f"{title}: {at_one}")
    panels[0].set_ylim(-0.03, 1.03)
    style.percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("share of pairs (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    alt = "Agreement of connected with matching against the tolerance. In percent at one dense standard deviation"
    return style.Drawing(figure, f"{alt}, {'. Of '.join(said)}.")


def _share(part, rest):
    return part / (part + rest) if part + rest else float("nan")


def _chance(count):
    """Agreement to expect if connected and matching were independent, each as frequent as it is."""
    total = sum(count)
    match, join = count.both + count.only_matching, count.both + count.only_connected
    return (match * join + (total - match) * (total - join)) / total**2


def plane(planes, steps):
    """Test error on the plane through a solution, its projection and the next solution, a panel a rewind step."""
    from matplotlib.colors import BoundaryNorm

    figure, panels = style.canvas(1, len(steps), height=4.1, squeeze=False)
    bounds = [0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9]
    level, said = int(planes["level"]), []
    names = (f"solution {level}", "projection", f"solution {level + 1}")
    for axes, step in zip(panels[0], steps, strict=True):
        k = _column(planes, step)
        norm = BoundaryNorm(bounds, 256, extend="both")
        x, y, error = planes["horizontal"][:, k], planes["vertical"][:, k], planes["error"][..., k]
        picture = axes.contourf(x, y, error, bounds, cmap="cividis_r", norm=norm, extend="both")
        axes.contour(x, y, error, bounds, colors="black", linewidths=0.4, alpha=0.5)
        for (cx, cy), marker, name in zip(planes["corners"][..., k].tolist(), style.MARKERS, names, strict=False):
            axes.plot(cx, cy, marker, color=style.RED, markeredgecolor="white", markersize=10, label=name)
        subspace = float(planes["corners"][1, 0, k])  # both states in it are zero in the coordinates that were pruned
        axes.axvline(subspace, color=style.RED, linestyle=":", label=f"axial subspace of level {level + 1}", zorder=1.5)
        axes.grid(False)
        axes.set_title(f"k = {step}")
        axes.set_xlabel("distance towards the projection")
        said.append(f"k = {step}: {_points(_midway(planes, k), error.min())}")
    panels[0][0].set_ylabel("distance across")
    bar = figure.colorbar(picture, ax=panels, ticks=bounds, label="test error (%)", shrink=0.85)
    style.percent_axis(bar.ax.yaxis)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    alt = (
        f"Contours of test error on the plane through {', '.join(names)}. Percent midway between the solutions, lowest"
    )
    return style.Drawing(figure, f"{alt}: {'; '.join(said)}.")


def _midway(planes, k):
    """Error at the grid point nearest to the middle of the line between the two solutions."""
    middle = planes["corners"][[0, 2], :, k].mean(0)
    column = int((planes["horizontal"][:, k] - middle[0]).abs().argmin())
    return planes["error"][int((planes["vertical"][:, k] - middle[1]).abs().argmin()), column, k]
