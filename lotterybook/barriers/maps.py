"""Maps of chapter 2: barriers between any two levels, and the landscape between a solution and the next one."""

from .. import style, verdicts
from .halves import EPSILON, within
from .readings import connected_to_dense, plain_and_recalibrated


def pairs(plain, recalibrated):
    """Barrier between any two levels, with statistics interpolated above, recalibrated below; the same networks."""
    from matplotlib.colors import SymLogNorm

    rows = plain_and_recalibrated(plain, recalibrated)
    names, said, reach = style.step_names(recalibrated), [], []
    figure, panels = style.canvas(2, len(names), height=6.4, sharex=True, sharey=True, squeeze=False)
    ticks = range(0, len(rows[0]), 2 if len(rows[0]) > 8 else 1)
    for line, heights, how in zip(panels, rows, ("interpolated", "recalibrated"), strict=True):
        down = connected_to_dense(heights).tolist()
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
            reach.append(f"level {down[i]} with {name}, statistics {how}")
    bar = figure.colorbar(picture, ax=panels, shrink=0.7, label="barrier (points); dot: at most half a point")
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5])
    bar.ax.minorticks_off()
    style.percent_axis(bar.ax.yaxis)
    return style.Drawing(
        figure, f"Heatmaps of the barrier between any two levels. {'; '.join(said)}.",
        f"The dense network is connected, level after level, down to {'; '.join(reach)}.",
    )  # fmt: skip


def strips(planes, steps):
    """Test error on the plane through a solution, its projection and the next one, to scale, for some rewind steps.

    The axial subspace runs from left to right: both the projection and the next solution lie in it.
    """
    from matplotlib.colors import BoundaryNorm

    level, columns = int(planes["level"]), [verdicts.rewind_steps(planes).index(step) for step in steps]
    figure, panels = style.canvas(len(steps), 1, height=1.15 * len(steps) + 1.2, squeeze=False, sharex=True)
    bounds = [0, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6, 0.9]
    names, said = (f"solution {level}", "projection", f"solution {level + 1}"), []
    for axes, i, step in zip(panels[:, 0], columns, steps, strict=True):
        across, along = planes["horizontal"][:, i], planes["vertical"][:, i]
        norm, base = BoundaryNorm(bounds, 256, extend="max"), planes["corners"][1, 0, i]
        picture = axes.contourf(
            along, base - across, planes["error"][..., i].T, bounds, cmap="cividis", norm=norm, extend="max"
        )
        for (away, place), marker, name in zip(planes["corners"][..., i].tolist(), style.MARKERS, names, strict=False):
            axes.plot(place, base - away, marker, color=style.ORANGE, markeredgecolor="white", label=name)
        axes.axhline(0, color=style.ORANGE, linestyle=":", label=f"axial subspace of level {level + 1}")
        axes.set_aspect("equal")
        axes.grid(False)
        axes.set_title(f"k = {step}", loc="left")
        said.append(f"k = {step}")
    panels[-1, 0].set_xlabel("distance along the axial subspace")
    bar = figure.colorbar(picture, ax=panels, ticks=bounds, label="test error (%)", shrink=0.85)
    style.percent_axis(bar.ax.yaxis)
    style.legend_below(figure, panels[0, 0], 4)
    return style.Drawing(figure, f"{'; '.join(said)}.")
