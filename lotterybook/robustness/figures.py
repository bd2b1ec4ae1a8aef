"""Figures of chapter 3."""

import torch

from .. import style, verdicts
from ..panes import Panes
from . import findings

_LENGTH = "length (rewind distances)"


def _barrier_axis(axes):
    """Barriers: linear to one point of error, logarithmic above."""
    axes.set_yscale("symlog", linthresh=0.01)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.01, 0.03, 0.1, 0.3, 1])
    axes.minorticks_off()
    style.percent_axis(axes.yaxis)
    axes.axhline(verdicts.STABLE, color=style.GREY, linestyle="--", linewidth=1)


def _scale_axis(axes, scales):
    axes.set_xscale("log")
    axes.set_xticks(scales, [f"{scale:g}" for scale in scales])
    axes.minorticks_off()
    axes.set_xlabel(_LENGTH)


def _looks(scales):
    """Name, colour and marker of each length of a perturbation: the same in all figures; none, of length 0, is grey."""
    some = [scale for scale in scales if scale]
    looks = {s: (f"{s:g}", *look) for s, *look in zip(some, style.shades(len(some)), style.MARKERS, strict=False)}
    return [looks.get(scale, ("none", style.GREY, ".")) for scale in scales]


def barriers(record, direction="random"):
    """Barrier back to ``w^(L)`` against the length of the perturbation, a panel for each level."""
    levels, scales = record["level"].tolist(), findings.scales(record, direction)
    steps = record["rewind_step"].tolist()
    figure, panels = style.panels(len(levels), 3.8, sharey=True)
    said = []
    for n, (panel, level) in enumerate(zip(panels, levels, strict=True)):
        style.by_step(panel, scales, record[direction][n], record)
        _barrier_axis(panel)
        _scale_axis(panel, scales)
        panel.set_title(f"level {level}: {verdicts.percent(record['density'][n], 0)} left")
        means = "; ".join(f"k = {k}: {style.points(*record[direction][n, :, i].mean(-1))}" for i, k in enumerate(steps))
        said.append(f"level {level}, {means}")
    panels[0].set_ylabel("barrier back to the solution (points)")
    style.legend_below(figure, panels[0], len(steps))
    lengths = ", ".join(f"{scale:g}" for scale in scales)
    back = zip(steps, findings.returns(record, direction, 1.0).sum(0).tolist(), strict=True)
    found = ", ".join(f"{count} at k = {k}" for k, count in back)
    where = "in a random direction" if direction == "random" else "along the pruning direction"
    return style.Drawing(
        figure,
        f"After a perturbation {where} of one rewind distance the mean barrier back to the unperturbed solution is at "
        f"most 2 points at so many of {len(levels)} levels: {found}. Barriers in points of error after {lengths} "
        f"rewind distances: {'. '.join(said)}. The dashed line is at 2 points.",
    )


def returned(record):
    """How many replicates return to their mode, rewind step by level; a pane for each length of the perturbation."""
    scales = record["scale"].tolist()
    drawings = {f"{scale:g}": _returned(record, n) for n, scale in enumerate(scales)}
    return Panes("length", drawings, "1")


def _returned(record, n):
    back = (record["random"][:, n] < verdicts.STABLE).sum(-1).T
    replicates, steps, levels = record["random"].shape[-1], record["rewind_step"].tolist(), record["level"].tolist()
    figure, axes = style.canvas(height=0.5 * len(back) + 1.4)
    style.counts(axes, back, replicates)
    axes.set_yticks(range(len(steps)), [f"k = {step}" for step in steps])
    axes.set_xticks(range(len(levels)), [f"level {level}" for level in levels])
    scale = float(record["scale"][n])
    axes.set_title(f"replicates, of {replicates}, that return after a perturbation of length {scale:g}")
    total = ", ".join(f"{sum(row)} at k = {k}" for k, row in zip(steps, back.tolist(), strict=True))
    said = "; ".join(f"k = {k}: {', '.join(map(str, row))}" for k, row in zip(steps, back.tolist(), strict=True))
    return style.Drawing(
        figure,
        f"After a random perturbation of length {scale:g} so many of {replicates * len(levels)} trainings end within 2 "
        f"points of their mode: {total}. Of {replicates} replicates at levels {', '.join(map(str, levels))}: {said}.",
    )


def kinds(record, level):
    """Random direction, pruning direction and another data order side by side; a pane for each level."""
    drawings = {f"{here}": _kinds(record, n, here) for n, here in enumerate(record["level"].tolist())}
    return Panes("level", drawings, f"{level}")


def _kinds(record, n, level):
    steps, scales = record["rewind_step"].tolist(), record["scale"].tolist()
    along = findings.scales(record, "pruning")
    figure, panels = style.panels(len(steps), 2.7, sharex=True, sharey=True)
    said = []
    for i, (panel, step) in enumerate(zip(panels, steps, strict=True)):
        style.spread(panel, scales, record["random"][n, :, i], "random direction", style.BLUE, "o")
        style.spread(panel, along, record["pruning"][n, :, i], "pruning direction", style.ORANGE, "s")
        order = record["order"][n, i].expand(len(scales), -1)
        style.spread(panel, scales, order, "another data order", style.GREEN, "", linestyle="-.")
        _barrier_axis(panel)
        _scale_axis(panel, scales)
        panel.set_ylabel("barrier (points)")
        panel.set_title(f"level {level}, k = {step}")
        panel.label_outer()
        tried = [(s, kind) for s in (1.0, 2.0) for kind in ("random", "pruning")]
        means = [record[kind][n, findings.scales(record, kind).index(s), i].mean() for s, kind in tried]
        said.append(f"k = {step}: {style.points(*means, order.mean())}")
    style.legend(panels[0])
    return style.Drawing(
        figure,
        f"Level {level}: mean barriers in points of error after a perturbation of one rewind distance in a random "
        "direction and along the pruning direction, after two in each, and with another data order. "
        f"{'; '.join(said)}.",
    )


def critical(record):
    """The length at which the mode is lost, in rewind distances and as a share of the initialization's length."""
    figure, (left, right) = style.canvas(1, 2, height=3.6)
    scale, share = findings.critical(record), findings.critical_share(record)
    steps, levels, said = record["rewind_step"].tolist(), record["level"].tolist(), []
    shortest = float(record["scale"][0])
    for i, step in enumerate(steps):
        means = [f"{c:.1f}" if c >= shortest else f"below {shortest:g}" for c in scale[:, i].mean(-1).tolist()]
        said.append(f"k = {step}: {', '.join(means)}")
    unresolved = [i for i in range(len(steps)) if bool((scale[:, i].mean(-1) < shortest).all())]
    names = ", ".join(f"k = {steps[i]}" for i in unresolved)
    ratio = (record["distance"] / record["norm"])[:, unresolved]
    for axes, values, unit in ((left, scale, torch.ones_like(ratio)), (right, share, ratio)):
        if unresolved:
            limit, name = shortest * unit.mean((1, 2)), f"{names}: < {shortest:g}"
            axes.fill_between(levels, 0, limit, color=style.GREY, alpha=0.25, linewidth=0, label=name)
        for i in sorted(set(range(len(steps))) - set(unresolved)):
            style.spread(axes, levels, values[:, i], f"k = {steps[i]}", *style.look(record, steps[i]))
        axes.set_xticks(levels)
        axes.set_xlabel("level")
        axes.set_ylim(0)
    left.axhline(1, color=style.GREY, linestyle="--", linewidth=1)
    left.set_ylabel("critical length (rewind distances)")
    right.set_ylabel("critical length (% of the initialization's)")
    style.percent_axis(right.yaxis)
    style.legend(left)
    band = f" For {names} a grey band stands for all below {shortest:g}, the shortest length tried." if names else ""
    return style.Drawing(
        figure,
        "Length of a random perturbation at which the barrier reaches 2 points, in a straight line between the lengths "
        f"measured, mean in rewind distances, at levels {', '.join(map(str, levels))}. {'; '.join(said)}. IMP itself "
        f"needs 1.{band}",
    )


def forgiveness(record, k):
    """Barrier and error against the step at which a perturbation of fixed length comes, a line for each length."""
    figure, panels = style.canvas(1, 2, height=4.5)
    steps, scales = record["step"].tolist(), record["scale"].tolist()
    for axes, entry in zip(panels, ("barrier", "error"), strict=True):
        for i, look in enumerate(_looks(scales)):
            style.spread(axes, steps, record[entry][:, i], *look)
        axes.set_xscale("log")
        axes.set_xticks(steps, [str(step) for step in steps])
        axes.minorticks_off()
        axes.set_xlabel("step at which training is perturbed")
    _barrier_axis(panels[0])
    panels[0].set_ylabel("barrier back to the solution (points)")
    style.error_axis(panels[1])
    figure.suptitle(f"level {int(record['level'])}, rewound to k = {k}", fontsize=11)
    style.legend_below(figure, panels[1], 4, title="length")
    means = {entry: record[entry].mean(-1) for entry in ("barrier", "error")}
    said = [
        f"{name}: barriers {style.points(*means['barrier'][:, i])}, errors {style.points(*means['error'][:, i])}"
        for i, (name, *_) in enumerate(_looks(scales))
    ]
    barrier, error = (means[entry][:, scales.index(2.0)].tolist() for entry in ("barrier", "error"))
    return style.Drawing(
        figure,
        f"After a perturbation of 2 rewind distances at step {steps[0]} the mean barrier back to the unperturbed "
        f"solution is {100 * barrier[0]:.1f} points and the mean error {100 * error[0]:.1f} percent; after one at step "
        f"{steps[-1]} they are {100 * barrier[-1]:.1f} and {100 * error[-1]:.1f}. Means at steps "
        f"{', '.join(map(str, steps))}, by length. {'; '.join(said)}.",
    )


def returning(record):
    """Distance between perturbed and unperturbed training, and the cosine of their displacements, against the step."""
    figure, (left, right) = style.canvas(1, 2, height=4.5)
    steps, said = record["step"], []
    for i, (name, *look) in enumerate(_looks(record["scale"].tolist())):
        distance = record["distance"][:, i]
        style.spread(left, steps, distance, name, *look)
        style.spread(right, steps[1:], record["cosine"][1:, i], name, *look)
        mean = distance.mean(-1)
        start, most, end = (f"{float(d):.1f}" for d in (mean[0], mean.max(), mean[-1]))
        said.append(f"{name}: {start}, {most}, {end}, cosine {record['cosine'][-1, i].mean():.2f}")
    left.plot(steps, record["travelled"].mean(-1), color="black", linestyle=":", label="travelled")
    left.set_ylabel("distance to the unperturbed training")
    right.set_ylabel("cosine of the two displacements")
    right.set_ylim(-0.15, 1.05)
    for axes in (left, right):
        axes.set_xlabel("step")
    figure.suptitle(f"level {int(record['level'])}, rewound to k = {int(steps[0])}", fontsize=11)
    style.legend_below(figure, left, 4, title="length")
    return style.Drawing(
        figure,
        "Perturbed and unperturbed training side by side. By length of the perturbation in rewind distances: their "
        "mean distance at the start, at most and at the end, and the cosine of their displacements at the end. "
        f"{'; '.join(said)}. The unperturbed training travels {record['travelled'][-1].mean():.1f} from its start.",
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
        said.append(f"{apart:.1f} after length {scale:g}")
    panels[0].set_ylabel("distance across")
    figure.supxlabel("distance from the initialization towards its solution", fontsize=11)
    bar = figure.colorbar(filled, ax=panels, label="test error (%)")
    bar.set_ticks([-1.5, -1, -0.5], labels=["3", "10", "32"])
    panels[0].legend(fontsize=9, facecolor="#555555", labelcolor="white")
    return style.Drawing(
        figure,
        f"The ends of the unperturbed and the perturbed training are apart by {', '.join(said)}. Test error on the "
        "plane through the initialization, its solution and the solution of a perturbed training, with both trainings "
        "projected on it.",
    )
