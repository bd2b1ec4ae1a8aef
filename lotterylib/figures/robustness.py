"""Figures of chapter 3."""

import torch

from .. import findings
from . import style
from .panes import Panes

_LENGTH = "length (rewind distances)"


def _said(values):
    return ", ".join(f"{100 * value:.1f}" for value in values)


def _barrier_axis(axes):
    """Barriers: linear to one point of error, logarithmic above."""
    axes.set_yscale("symlog", linthresh=0.01)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.01, 0.03, 0.1, 0.3, 1])
    axes.minorticks_off()
    style.percent_axis(axes.yaxis)
    axes.axhline(findings.STABLE, color=style.GREY, linestyle="--", linewidth=1)


def _scale_axis(axes, scales):
    axes.set_xscale("log")
    axes.set_xticks(scales, [f"{scale:g}" for scale in scales])
    axes.minorticks_off()
    axes.set_xlabel(_LENGTH)


def barriers(record, direction="random"):
    """Barrier back to ``w^(L)`` against the length of the perturbation, a panel for each level."""
    levels, scales = record["level"].tolist(), record["scale"].tolist()
    steps = record["rewind_step"].tolist()
    figure, panels = style.panels(len(levels), 3.8, sharey=True)
    said = []
    for n, (panel, level) in enumerate(zip(panels, levels, strict=True)):
        style.by_step(panel, scales, record[direction][n], record)
        _barrier_axis(panel)
        _scale_axis(panel, scales)
        panel.set_title(f"level {level}: {findings.percent(record['density'][n], 0)} left")
        means = "; ".join(
            f"k = {k}: {_said(record[direction][n, :, i].mean(-1).tolist())}" for i, k in enumerate(steps)
        )
        said.append(f"level {level}, {means}")
    panels[0].set_ylabel("barrier back to the solution (points)")
    style.legend_below(figure, panels[0], len(steps))
    lengths = ", ".join(f"{scale:g}" for scale in scales)
    where = "in a random direction" if direction == "random" else "along the pruning direction"
    return style.Drawing(
        figure,
        f"Barrier back to the unperturbed solution, in points of error, after a perturbation {where} of {lengths} "
        f"rewind distances. {'. '.join(said)}. The dashed line is at 2 points.",
    )


def returned(record):
    """How many replicates return to their mode, rewind step by level; a pane for each length of the perturbation."""
    scales = record["scale"].tolist()
    drawings = {f"{scale:g}": _returned(record, n) for n, scale in enumerate(scales)}
    return Panes("length", drawings, f"{scales[len(scales) // 2]:g}")


def _returned(record, n):
    back = (record["random"][:, n] < findings.STABLE).sum(-1).T
    replicates, steps, levels = record["random"].shape[-1], record["rewind_step"].tolist(), record["level"].tolist()
    figure, axes = style.canvas(height=0.5 * len(back) + 1.4)
    style.counts(axes, back, replicates)
    axes.set_yticks(range(len(steps)), [f"k = {step}" for step in steps])
    axes.set_xticks(range(len(levels)), [f"level {level}" for level in levels])
    scale = float(record["scale"][n])
    axes.set_title(f"replicates, of {replicates}, that return after {scale:g} rewind distances")
    said = "; ".join(f"k = {k}: {', '.join(map(str, row))}" for k, row in zip(steps, back.tolist(), strict=True))
    return style.Drawing(
        figure,
        f"After a random perturbation of {scale:g} rewind distances so many replicates of {replicates} end within 2 "
        f"points of their mode, at levels {', '.join(map(str, levels))}. {said}.",
    )


def kinds(record, level):
    """Random direction, pruning direction and another data order side by side, a panel for each rewind step."""
    n, steps, scales = record["level"].tolist().index(level), record["rewind_step"].tolist(), record["scale"].tolist()
    figure, panels = style.panels(len(steps), 2.7, sharex=True, sharey=True)
    said = []
    for i, (panel, step) in enumerate(zip(panels, steps, strict=True)):
        style.spread(panel, scales, record["random"][n, :, i], "random direction", style.BLUE, "o")
        style.spread(panel, scales, record["pruning"][n, :, i], "pruning direction", style.ORANGE, "s")
        order = float(record["order"][n, i].mean())
        panel.axhline(order, color=style.GREEN, label="another data order")
        _barrier_axis(panel)
        _scale_axis(panel, scales)
        panel.set_ylabel("barrier (points)")
        panel.set_title(f"k = {step}")
        panel.label_outer()
        at_one = scales.index(1.0)
        means = [record[kind][n, at_one, i].mean() for kind in ("random", "pruning")]
        said.append(f"k = {step}: {_said([*map(float, means), order])}")
    style.legend(panels[0])
    return style.Drawing(
        figure,
        f"Level {level}: mean barriers in points of error after a perturbation of one rewind distance in a random "
        f"direction, along the pruning direction, and with another data order. {'; '.join(said)}.",
    )


def critical(record):
    """The length at which the mode is lost, in rewind distances and as a share of the initialization's length."""
    figure, (left, right) = style.canvas(1, 2, height=3.6)
    scale, share = findings.critical(record), findings.critical_share(record)
    steps, levels, said = record["rewind_step"].tolist(), record["level"].tolist(), []
    for i, step in enumerate(steps):
        said.append(f"k = {step}: {', '.join(f'{value:.1f}' for value in scale[:, i].mean(-1).tolist())}")
    for axes, values in ((left, scale), (right, share)):
        style.by_step(axes, levels, values, record)
        axes.set_xticks(levels)
        axes.set_xlabel("level")
        axes.set_ylim(0)
    left.axhline(1, color=style.GREY, linestyle="--", linewidth=1)
    left.set_ylabel("critical length (rewind distances)")
    right.set_ylabel("critical length (% of the initialization's)")
    style.percent_axis(right.yaxis)
    style.legend(left)
    return style.Drawing(
        figure,
        "Length of a random perturbation at which the barrier reaches 2 points, mean in rewind distances, at levels "
        f"{', '.join(map(str, levels))}. {'; '.join(said)}. IMP itself needs 1.",
    )


def forgiveness(record):
    """Barrier and error against the step at which a perturbation of fixed length comes, a line for each length."""
    figure, panels = style.canvas(1, 2, height=4.3)
    steps, scales = record["step"].tolist(), record["scale"].tolist()
    names = ["none" if scale == 0 else f"{scale:g}" for scale in scales]
    for axes, entry in zip(panels, ("barrier", "error"), strict=True):
        for i, colour in enumerate(style.shades(len(scales))):
            style.spread(axes, steps, record[entry][:, i], names[i], colour, style.MARKERS[i])
        axes.set_xscale("log")
        axes.set_xticks(steps, [str(step) for step in steps])
        axes.minorticks_off()
        axes.set_xlabel("step at which training is perturbed")
    _barrier_axis(panels[0])
    panels[0].set_ylabel("barrier back to the solution (points)")
    style.error_axis(panels[1])
    style.legend_below(figure, panels[1], 4, title="length")
    said = [
        f"{name}: barriers {_said(record['barrier'][:, i].mean(-1).tolist())}, errors "
        f"{_said(record['error'][:, i].mean(-1).tolist())}"
        for i, name in enumerate(names)
    ]
    return style.Drawing(
        figure,
        f"Training perturbed at steps {', '.join(map(str, steps))}: mean barrier back to the unperturbed solution in "
        f"points of error, and mean test error in percent, by length in rewind distances. {'; '.join(said)}.",
    )


def returning(record):
    """Distance between perturbed and unperturbed training, and the cosine of their displacements, against the step."""
    figure, (left, right) = style.canvas(1, 2, height=4.3)
    steps, scales, said = record["step"], record["scale"].tolist(), []
    for i, (scale, colour) in enumerate(zip(scales, style.shades(len(scales)), strict=True)):
        distance = record["distance"][:, i]
        style.spread(left, steps, distance, f"{scale:g}", colour, style.MARKERS[i])
        style.spread(right, steps[1:], record["cosine"][1:, i], f"{scale:g}", colour, style.MARKERS[i])
        start, most, end = (float(d) for d in (distance.mean(-1)[0], distance.mean(-1).max(), distance.mean(-1)[-1]))
        said.append(f"{scale:g}: {start:.1f}, {most:.1f}, {end:.1f}, cosine {record['cosine'][-1, i].mean():.2f}")
    left.plot(steps, record["travelled"].mean(-1), color="black", linestyle=":", label="travelled")
    left.set_ylabel("distance to the unperturbed training")
    right.set_ylabel("cosine of the two displacements")
    right.set_ylim(-0.15, 1.05)
    for axes in (left, right):
        axes.set_xlabel("step")
    style.legend_below(figure, left, 4, title="length")
    return style.Drawing(
        figure,
        "Perturbed and unperturbed training side by side. By length of the perturbation in rewind distances: their "
        f"distance at the start, at most and at the end, and the cosine of their displacements at the end. "
        f"{'; '.join(said)}.",
    )


def planes(record):
    """The two trainings in the plane through their start, the solution and the perturbed solution."""
    scales, said = record["scale"].tolist(), []
    figure, panels = style.panels(len(scales), 3.6)
    for i, (panel, scale) in enumerate(zip(panels, scales, strict=True)):
        x, y, error = record["horizontal"][i], record["vertical"][i], record["error"][i].clamp(0.03, 0.9).log10()
        filled = panel.contourf(x, y, error, levels=torch.linspace(-1.5, -0.05, 12), cmap="cividis", extend="both")
        for track, name, colour, marker in zip(
            record["track"][i], ("unperturbed", "perturbed"), ("white", style.ORANGE), "os", strict=True
        ):
            panel.plot(track[:, 0], track[:, 1], color=colour, marker=marker, markersize=4, label=name)
        panel.grid(False)
        panel.set_title(f"length {scale:g}")
        apart = float((record["track"][i][0, -1] - record["track"][i][1, -1]).norm())
        said.append(f"{scale:g}: {apart:.1f} apart at the end")
    panels[0].set_ylabel("distance across")
    figure.supxlabel("distance from the initialization towards its solution", fontsize=11)
    bar = figure.colorbar(filled, ax=panels, label="test error (%)")
    bar.set_ticks([-1.5, -1, -0.5], labels=["3", "10", "32"])
    panels[0].legend(fontsize=9, facecolor="#555555", labelcolor="white")
    return style.Drawing(
        figure,
        "Test error on the plane through the initialization, its solution and the solution of a perturbed training, "
        f"with both trainings projected on it. By length of the perturbation in rewind distances: {'; '.join(said)}.",
    )
