"""Maps of chapter 2: barriers between any two levels, and the landscape between a solution and the next one."""

from .. import style, verdicts
from ..narrow import WIDTH as NARROW
from .halves import EPSILON, within
from .readings import connected_to_dense, plain_and_recalibrated


def pairs(plain, recalibrated):
    """Barrier between any two levels, with statistics interpolated above, recalibrated below; the same networks."""
    from matplotlib.colors import SymLogNorm

    rows = plain_and_recalibrated(plain, recalibrated)
    names, said, reach = style.step_names(recalibrated), [], []
    figure, panels = style.canvas(2, len(names), height=6.4, sharex=True, sharey=True, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.08)
    ticks = range(0, len(rows[0]), 2 if len(rows[0]) > 8 else 1)
    for line, heights, how in zip(panels, rows, ("interpolated", "recalibrated"), strict=True):
        down = connected_to_dense(heights).tolist()
        reach.append(f"level {down[-1]} with statistics {how}")
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
    return style.Drawing(
        figure, f"Heatmaps of the barrier between any two levels. {'; '.join(said)}.",
        f"With {names[-1]} the dense network is connected, level after level, down to {' and '.join(reach)}.",
    )  # fmt: skip


def strips(planes, steps):
    """Test error on the plane through a solution, its projection and the next one, to scale, for some rewind steps.

    The axial subspace runs from left to right: the projection and the next solution both lie in it. Below, the error in
    that subspace. BatchNorm's statistics are measured anew everywhere.
    """
    level, said, tops = int(planes["level"]), [], []
    for step in steps:
        along, _, inside, corners = _plane(planes, step)
        top = inside[(along >= 0) & (along <= corners[2, 1])].max()
        tops.append(f"{verdicts.percent(top)} with k = {step}")
        said.append(
            f"k = {step}: pruning moves it by {corners[1, 0]:.1f}, the next solution is {corners[2, 1]:.1f} from there "
            f"along the subspace, where the error reaches {style.points(top)} on the way"
        )
    return style.Drawing(
        _strips(planes, steps, style.WIDTH),
        f"Contours of test error in percent around the solution of level {level}. {'; '.join(said)}.",
        f"From the projection to the solution of level {level + 1}, inside the axial subspace, the error rises to "
        f"{' and '.join(tops)}.",
        _strips(planes, steps, NARROW),
    )  # fmt: skip


def _plane(planes, step):
    """Of a rewind step: places along the axial subspace and above it, the error in it, each (n,), and the corners."""
    i = verdicts.rewind_steps(planes).index(step)
    corners, error = planes["corners"][..., i], planes["error"][..., i]
    above = corners[1, 0] - planes["horizontal"][:, i]
    return planes["vertical"][:, i], above, _between(above, error), corners


def _strips(planes, steps, width):
    from matplotlib.colors import BoundaryNorm

    level, wide = int(planes["level"]), width == style.WIDTH
    names, base = (f"solution {level}", "projection", f"solution {level + 1}"), planes["corners"][1, 0]
    tall = 0.65 if wide else 0.4
    grid = {"height_ratios": [tall] * len(steps) + [1.9]}
    figure, panels = style.canvas(len(steps) + 1, 1, (tall + 0.4) * len(steps) + 3.6, sharex=True, gridspec_kw=grid)
    figure.set_figwidth(width)
    bounds = [0, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6, 0.9]
    norm = BoundaryNorm(bounds, 256, extend="max")
    for axes, step in zip(panels, steps, strict=False):
        along, above, inside, corners = _plane(planes, step)
        error = planes["error"][..., verdicts.rewind_steps(planes).index(step)]
        picture = axes.contourf(along, above, error.T, bounds, cmap="cividis", norm=norm, extend="max")
        for (away, place), marker, name in zip(corners.tolist(), style.MARKERS, names, strict=False):
            axes.plot(place, corners[1, 0] - away, marker, color=style.ORANGE, markeredgecolor="white", label=name)
        axes.axhline(0, color=style.ORANGE, linestyle=":", label=f"axial subspace of level {level + 1}")
        axes.set_ylim(-0.25 * float(base.max()), 1.25 * float(base.max()))
        axes.set_aspect("equal")
        axes.grid(False)
        axes.set_title(f"k = {step}", loc="left")
        panels[-1].plot(along, inside, label=f"k = {step}", color=style.look(planes, step)[0], marker=".")
    panels[-1].set_xlabel("distance along the axial subspace" if wide else "along the axial subspace")
    panels[-1].set_ylabel("error in it (%)")
    panels[-1].set_ylim(bottom=0)
    style.percent_axis(panels[-1].yaxis)
    style.legend(panels[-1])
    bar = figure.colorbar(picture, ax=panels[:-1], ticks=bounds, label="test error (%)", location="top", aspect=40)
    style.percent_axis(bar.ax.xaxis)
    style.legend_below(figure, panels[0], 4 if wide else 2)
    return figure


def _between(above, error):
    """Error (n,) where ``above`` (n,), which falls, is zero: between two columns of ``error`` (n, n)."""
    after = int((above <= 0).long().argmax())
    share = above[after - 1] / (above[after - 1] - above[after])
    return error[:, after - 1] + share * (error[:, after] - error[:, after - 1])
