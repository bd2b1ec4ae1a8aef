"""Figures of chapter 7. ``scales`` are records of winning tickets and of barriers by the name of their scale."""

from itertools import cycle

import torch

from .. import style, verdicts
from ..barriers import halves
from ..barriers.halves import EPSILON, within
from ..panes import Panes
from ..presets import PRESETS
from ..verdicts import percent, points, rewind_steps
from . import costs, findings, readings
from .experiments import PUBLISHED

STATISTICS = {"interpolated": "height", "measured anew": "recalibrated"}  # of BatchNorm on the line, and their entries
BARRIER = "barrier (points of error)\nfilled: the level matches"
WAYS = {  # of training ResNet-20, as they are called in the benchmark: what stands at the bar
    "eager, bfloat16, one at a time": "plain PyTorch, 1",
    "library, bfloat16, 1 graphs": "CUDA graph, 1",
    "library, float32, 4 graphs": "4 graphs, float32",
    "library, bfloat16, 4 graphs": "4 graphs",
    "library, bfloat16, 4 stacked": "4 stacked",
    "library, bfloat16, 8 stacked": "8 stacked",
    "library, bfloat16, 16 stacked": "16 stacked",
    "library, float16, 16 stacked": "16 stacked, float16",
}


def errors(scales):
    """Test error against weights remaining, a panel for each scale, with half a point above its dense error."""
    said, (figure, panels) = [], _panels(scales)
    for panel, (name, (tickets, _)) in panels:
        limit = float(tickets["error"][0].mean()) + EPSILON
        panel.axhline(limit, color=style.GREY, linestyle="--", linewidth=1, label="dense + ½ point")
        for i, k in enumerate(rewind_steps(tickets)):
            if tickets["error"].shape[-1] > 1:
                style.spread(panel, tickets["density"], tickets["error"][:, i], f"k = {k}", *_look(tickets, k))
            else:
                colour, marker = _look(tickets, k)
                panel.plot(tickets["density"], tickets["error"][:, i, 0], color=colour, marker=marker, label=f"k = {k}")
        _few_densities(panel, tickets["density"])
        style.error_axis(panel)
        panel.set_ylabel("test error (%)" if panel.get_subplotspec().is_first_col() else "")
        style.legend(panel, handlelength=1.5, fontsize=9)
        excess = 100 * halves.pairs(tickets["error"], tickets["error"][1:]).mean().excess
        ends = zip(rewind_steps(tickets), excess.amin(0).tolist(), excess.amax(0).tolist(), strict=True)
        told = [f"k = {k} {low:+.2f} to {high:+.2f}".replace("-", "−") for k, low, high in ends]
        said.append(f"{name} (dense {percent(tickets['error'][0].mean())}) {', '.join(told)}")
    tickets, _ = scales[findings.BLOCK]
    below = -halves.pairs(tickets["error"], tickets["error"][1:]).mean().excess.amin(0)[-1]
    return style.Drawing(
        figure,
        f"Test error against weights remaining. The lowest and the highest mean error of pruned networks, in points "
        f"above the dense one: {'; '.join(said)}.",
        caption=f"Rewound to step {rewind_steps(tickets)[-1]:,}, the best pruned ResNet-20 on our lossy copy of "
        f"CIFAR-10 is {points(below.abs())} {'better' if below > 0 else 'worse'} than the dense one.",
    )


def law(tickets, barriers, where, first=halves.HIGHER):
    """C1 as the paper's authors plot it, on what was run at ``where``: barrier against how far the network matches."""
    figure, axes = style.canvas(height=4)
    found = readings.means(tickets, barriers)
    for column, k in enumerate(rewind_steps(tickets)):
        colour, marker = style.look(tickets, k)
        for part, face in ((slice(0, first - 1), "none"), (slice(first - 1, None), colour)):
            x, y = 100 * found.excess[part, column], found.barrier[part, column]
            name = f"k = {k}" + (f", levels below {first}" if face == "none" else "")
            axes.scatter(x, y, marker=marker, edgecolors=[colour], facecolors=[face], label=name)
    for line, at in ((axes.axvline, 100 * EPSILON), (axes.axhline, EPSILON)):
        line(at, color=style.GREY, linestyle="--", linewidth=1)
    style.rate_scale(axes, "y", -0.003)
    axes.set_xlabel("sparser network above dense (points)")
    axes.set_ylabel("barrier (points of error)")
    style.legend_below(figure, axes, 2)
    counted = halves.count(found.levels(first))
    (part, whole), (other, others) = halves.halves(counted)
    return style.Drawing(
        figure,
        f"{where}, a point for each rewind step and level, means over replicates; hollow ones, of levels below "
        f"{first}, are not counted. Of {whole} points that match {part} are connected, of "
        f"{counted.only_connected + counted.neither} that do not {counted.neither} are not, each up to half a point, "
        f"where the dashed lines are. {'. '.join(_where(tickets, found))}.",
        caption=f"{where}: {part} of {whole} matching pairs are connected, {other} of {others} connected pairs match.",
    )


def _where(tickets, found):
    """Between which barriers the points of each rewind step lie."""
    for i, k in enumerate(rewind_steps(tickets)):
        low, high = (100 * float(value) for value in (found.barrier[:, i].min(), found.barrier[:, i].max()))
        yield f"From k = {k} barriers lie between {low:.2f} and {high:.2f} points"


def side_by_side(scales):
    """Barrier to the level before against weights remaining, a panel for each scale; filled where the level matches."""
    said, (figure, panels) = [], _panels(scales, sharey=True)
    for panel, (name, (tickets, barriers)) in panels:
        density, found = tickets["density"], readings.means(tickets, barriers)
        for i, k in enumerate(rewind_steps(tickets)):
            _filled(panel, density[1:], found.excess[:, i], found.barrier[:, i], *_look(tickets, k), f"k = {k}")
        _limit(panel)
        _few_densities(panel, density)
        panel.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize=9.5,
            handletextpad=0.2, columnspacing=0.8, handlelength=1.4,
        )  # fmt: skip
        ends = [
            f"k = {k} matches down to {_level(match)} and is connected down to {_level(joined)}"
            for k, match, joined in zip(
                rewind_steps(tickets), *readings.last_levels(tickets, barriers), strict=True
            )
        ]  # fmt: skip
        said.append(f"{name}: {', '.join(ends)}")
    style.rate_scale(figure.axes[0], "y", -0.003)
    figure.axes[0].set_yticks([0, 0.005, 0.02, 0.1, 0.5])
    for panel in figure.axes:
        panel.set_ylabel(BARRIER if panel.get_subplotspec().is_first_col() else "")
    match, joined = (levels[0] for levels in readings.last_levels(*findings.published()))
    tickets, barriers = scales[findings.BLOCK]
    ends = [levels[-1] for levels in readings.last_levels(tickets, barriers)]
    here, there = (_level(end) + ", the last" * (end == len(barriers["height"])) for end in ends)
    return style.Drawing(
        figure,
        f"Mean barrier to the level before against weights remaining; filled where the level matches; the published "
        f"one is the rise halfway. From level {halves.HIGHER} on, without a gap, {'; '.join(said)}.",
        caption=f"The published networks, rewound to step {PUBLISHED['rewind_step']:,}, match down to level {match} "
        f"and are connected down to level {joined}; ours, rewound to step {rewind_steps(tickets)[-1]:,}, match down "
        f"to {here} and are connected down to {there}.",
    )


def _level(level):
    return "no level" if level < halves.HIGHER else f"level {level}"


def replicates(tickets, barriers, seeds):
    """Barrier to the level before of each replicate, a panel for each rewind step; a pane for each statistics."""
    drawings = {name: _single(tickets, barriers, entry, seeds) for name, entry in STATISTICS.items()}
    return Panes("statistics on the line", drawings, "interpolated")


def _single(tickets, barriers, entry, seeds):
    some, steps = halves.pairs(tickets["error"], barriers[entry]), rewind_steps(tickets)
    figure, panels = style.panels(len(steps), 3.6, sharey=True)
    colours = cycle((style.BLUE, style.ORANGE, style.GREEN, style.BROWN, style.PINK))
    looks = list(zip(colours, style.MARKERS, strict=False))
    for i, (panel, k) in enumerate(zip(panels, steps, strict=True)):
        for r, (seed, look) in enumerate(zip(seeds, looks, strict=False)):
            _filled(panel, tickets["density"][1:], some.excess[:, i, r], some.barrier[:, i, r], *look, f"seed {seed}")
        _limit(panel)
        style.remaining_axis(panel, tickets["density"])
        panel.set_title(f"k = {k}")
    style.rate_scale(panels[0], "y", -0.003)
    panels[0].set_ylabel(BARRIER)
    style.legend(panels[-1], loc="upper right")
    last, most = 100 * some.barrier[-1, 0], 100 * float(some.barrier[:, -1].max())
    alone = halves.count(some.levels(halves.HIGHER))
    kind = "interpolated" if entry == "height" else "measured anew"
    *others, end = (f"{value:.1f}" for value in last.tolist())
    ends = " and ".join([", ".join(others), end] if others else [end])
    return style.Drawing(
        figure,
        f"Barrier to the level before of each replicate, with BatchNorm's statistics {kind}; filled where its sparser "
        f"network matches. From k = {steps[0]} the last barriers are {ends} points; from k = {steps[-1]:,} the highest "
        f"of all is {most:.2f}. From level {halves.HIGHER} on, each replicate by itself: "
        f"{halves.told(alone).replace('*', '')}.",
        caption=f"Rewound to initialization, the replicates end with barriers of {ends} points; rewound to step "
        f"{steps[-1]:,}, the highest of any level is {most:.2f} points.",
    )


def instability(records, steps):
    """Instability against k, as a step and as a share of training: ``steps`` of each of the ``records``, by name."""
    drawings = {"steps": _clock(records, dict.fromkeys(records, 1)), "share of training": _clock(records, steps)}
    return Panes("clock", drawings, "steps")


def _clock(records, whole):
    figure, axes = style.canvas(height=3.8)
    said, counted = [], set(whole.values()) == {1}
    looks = ((style.BLUE, "o"), (style.ORANGE, "s"), (style.GREEN, "D"))
    for (name, record), look in zip(records.items(), looks, strict=False):
        style.spread(axes, record["rewind_step"].double() / whole[name], record["height"], name, *look)
        first = readings.stable_from(record)
        said.append(f"{name} {'at none of its steps' if first is None else _when(first, whole[name])}")
    theirs = PUBLISHED["stable from"]
    length = 1 if counted else PRESETS["paper"].main.config.recipe.steps
    said.append(f"the published ResNet-20 {_when(theirs, length)}")
    axes.axvline(theirs / length, color=style.GREY, linestyle=":", label="published: stable from here on")
    axes.axhline(verdicts.STABLE, color=style.GREY, linestyle="--", linewidth=1, label="stable below 2 points")
    style.rate_scale(axes, "y")
    if counted:
        axes.set_xscale("symlog", linthresh=10, linscale=0.4)
        axes.set_xticks((0, 10, 30, 100, 300, 1000), ("0", "10", "30", "100", "300", "1,000"))
        axes.set_xticks([], minor=True)
        axes.set_xlim(-1, 1.3 * theirs)
        axes.set_xlabel("step k at which the two trainings part")
    else:
        style.percent_axis(axes.xaxis)
        axes.set_xlabel("step k at which the two trainings part (% of the training)")
    axes.set_ylabel("instability (points of error)")
    style.legend(axes)
    means = "; ".join(f"{name} {', '.join(_heights(record))}" for name, record in records.items())
    clock = "in steps" if counted else "as a share of training"
    return style.Drawing(
        figure,
        f"The dense network is stable from this k on, {clock}: {'; '.join(said)}. Mean instability in points: {means}.",
        caption=f"Of the steps that were tried, the dense network is stable: {'; '.join(said)}.",
    )


def _heights(record):
    for k, height in zip(rewind_steps(record), record["height"].mean(-1).tolist(), strict=True):
        yield f"{100 * height:.1f} at k = {k}"


def _when(step, whole):
    return f"from step {step:,}" if whole == 1 else f"from {percent(step / whole)}"


def speeds():
    """Replicate-steps of ResNet-20 a second on the card that was measured, by the way of training."""
    card = costs.measured()
    rates = {name: card["rates"][way] for way, name in WAYS.items()}
    figure, axes = style.canvas(height=3.4)
    bars = axes.barh(list(rates), list(rates.values()), color=style.BLUE)
    axes.bar_label(bars, [f"{rate:,}" for rate in rates.values()], padding=3, fontsize=9.5)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1.12 * max(rates.values()))
    axes.set_xlabel("replicate-steps a second")
    alone, best = card["rates"][costs.ALONE], card["rates"][costs.FASTEST]
    return style.Drawing(
        figure,
        f"Replicate-steps of ResNet-20 a second at batch 128 on one {card['device']}, {card['date']}, in bfloat16 "
        f"unless said: {', '.join(f'{name}: {rate:,}' for name, rate in rates.items())}.",
        caption=f"On one {card['device']}, 16 stacked replicates of ResNet-20 take {best:,} steps a second together, "
        f"{best / alone:.0f} times as many as one network in plain PyTorch.",
    )


def bills():
    """Hours of training on the card that was measured, of each run, and the least that it could take."""
    found, card = costs.bills(), costs.measured()
    figure, axes = style.canvas(height=2.9)
    rows, hours, least = range(len(found)), [b.seconds / 3600 for b in found], [b.least / 3600 for b in found]
    axes.hlines(rows, least, hours, color=style.GREY, linewidth=1)
    axes.plot(least, rows, "|", color=style.BROWN, markersize=11, label="if it only multiplied")
    for extrapolated, face, label in ((False, style.BLUE, "at the measured speed"), (True, "white", "extrapolated")):
        chosen = [i for i in rows if found[i].extrapolated == extrapolated]
        axes.plot([hours[i] for i in chosen], chosen, "o", color=style.BLUE, markerfacecolor=face, label=label)
    axes.set_yticks(rows, [bill.name.replace(", ", ",\n") for bill in found])
    axes.invert_yaxis()
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xscale("log")
    ticks = {1 / 60: "a minute", 1: "an hour", 24: "a day", 30 * 24: "a month"}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)
    axes.set_xlabel(f"time of training on one {card['device']}")
    style.legend_below(figure, axes, 3)
    said = "; ".join(f"{bill.name} {costs.told(bill)}" for bill in found)
    return style.Drawing(
        figure,
        f"Training on one {card['device']}: {said}.",
        caption=f"On one {card['device']} a block trains in {costs.duration(found[0].seconds)}, the published setting "
        f"of ResNet-20 in {costs.duration(found[1].seconds)}; for ResNet-50 on ImageNet the same rate of operations "
        f"gives {costs.duration(found[-1].seconds)}.",
    )


def _panels(scales, **options):
    figure, panels = style.panels(len(scales), 3.7, **options)
    for panel, name in zip(panels, scales, strict=True):
        panel.set_title(name)
    return figure, zip(panels, scales.items(), strict=True)


def _few_densities(axes, density):
    """Weights remaining with as many ticks as a third of the page has room for."""
    style.remaining_axis(axes, density)
    ticks = [float(d) for d in density[:: max(1, -(-len(density) // 4))]]
    axes.set_xticks(ticks, [f"{100 * d:.0f}" if d > 0.095 else f"{100 * d:.1f}" for d in ticks])
    axes.xaxis.get_major_formatter().times = 100


def _filled(axes, x, excess, barrier, colour, marker, name):
    """A line of barriers whose markers are filled where the network matches."""
    match = within(excess, EPSILON)
    axes.plot(x, barrier, color=colour, alpha=0.6, linewidth=1.2)
    for chosen, face in ((match, colour), (~match, "white")):
        axes.plot(x[chosen], barrier[chosen], marker, color=colour, markerfacecolor=face, markersize=6)
    axes.plot([], [], marker=marker, color=colour, label=name)


def _look(record, step):
    """Colour and marker of a rewind step: of two where there is but one, so that a late one never looks like k = 0."""
    shown = {"rewind_step": torch.tensor([0, step])} if len(record["rewind_step"]) == 1 else record
    return style.look(shown, step)


def _limit(axes):
    axes.axhline(EPSILON, color=style.GREY, linestyle="--", linewidth=1)
