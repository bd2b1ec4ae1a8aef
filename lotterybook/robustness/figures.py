"""Figures of chapter 3."""

import torch
from matplotlib.ticker import LogLocator

from .. import style, verdicts
from ..panes import Panes
from . import cases

GUESS = 0.9  # the error of guessing among ten classes
_RETURNS = verdicts.points(cases.RETURNS, 0)
_KINDS = {"random": "random direction", "pruning": "pruning direction", "order": "another data order"}


def _barrier_axis(axes, first=True):
    """Barriers back, with the limit within which training has returned; named in the ``first`` panel of a row."""
    style.rate_scale(axes, "y", high=1)
    axes.axhline(cases.RETURNS, color=style.GREY, linestyle="--", linewidth=1)
    axes.set_ylabel("barrier back (points)" if first else "")
    axes.tick_params(labelleft=first)


def _listed(words):
    return ", ".join(map(str, words))


def blow(record, tickets, k):
    """Error of the rewind point masked, and perturbed besides, before any training; and after it. A pane for each k."""
    steps = verdicts.rewind_steps(record)
    return Panes("rewind step", {f"{step}": _blow(record, tickets, i, step) for i, step in enumerate(steps)}, f"{k}")


def _blow(record, tickets, i, step):
    figure, axes = style.canvas(height=4.2)
    density, levels = record["density"], record["level"].tolist()
    after = tickets["error"][:, i]
    for end, name, colour, marker in (
        ("", "statistics as they are", style.ORANGE, "s"),
        ("_recalibrated", "statistics measured anew", style.BLUE, "o"),
    ):
        style.spread(axes, density, record[f"masked{end}"][:, i], f"masked, {name}", colour, marker)
        moved = record[f"perturbed{end}"][:, i].mean(-1)
        look = {"color": colour, "fillstyle": "none", "markersize": 9, "linestyle": "none"}
        axes.plot(density[levels], moved, marker, label="and perturbed by one unit", **look)
    style.spread(axes, density, after, "after training", style.GREEN, "D")
    axes.axhline(GUESS, color="black", linestyle=":", linewidth=1.2, label="guessing")
    style.remaining_axis(axes, density)
    style.percent_axis(axes.yaxis)
    axes.set_ylim(0, 1)
    axes.set_ylabel("test error (%)")
    axes.set_title(f"rewound to step {step}")
    style.legend_below(figure, axes, 3)
    found = {name: record[name][:, i].mean(-1) for name in record if name.startswith(("masked", "perturbed"))}
    told = "; ".join(
        f"{name.replace('_', ', statistics ')} {style.points(*(e[[0, *levels]] if 'masked' in name else e))}"
        for name, e in found.items()
    )
    level, anew = levels[1], found["masked_recalibrated"]
    return style.Drawing(
        figure,
        f"Test error in percent before any training at rewind step {step}, at levels {_listed(levels)}, masked also at "
        f"level 0: {told}; after training {style.points(*after[levels].mean(-1))}. Dotted: guessing.",
        f"Masked by level {level}, the rewind point of step {step} errs on "
        f"{verdicts.percent(found['masked'][level], 0)} of the test set; with statistics measured anew the error goes "
        f"from {verdicts.percent(anew[0], 0)} unmasked to {verdicts.percent(anew[level], 0)} masked and "
        f"{verdicts.percent(found['perturbed_recalibrated'][1], 0)} perturbed besides, and after training it is "
        f"{verdicts.percent(after[level].mean())}.",
    )


def lines_back(back):
    """Error on the line from a solution to where perturbed training ended: a line for each length and replicate.

    ``back``: by length, what `lotterylib.landscape.error_barrier` gave for the perturbed training and the solution.
    """
    figure, axes = style.canvas(height=3.4)
    said = []
    for (scale, found), colour, marker in zip(back.items(), style.shades(len(back)), style.MARKERS, strict=False):
        for r, curve in enumerate(found.curve.cpu().T):
            name = f"length {scale:g}" if r == 0 else None
            axes.plot(found.gamma, curve, color=colour, marker=marker, markersize=4, label=name)
        said.append(f"after length {scale:g} by {style.points(*found.height)} points")
    style.percent_axis(axes.yaxis)
    axes.set_ylim(0, 1)
    axes.set_ylabel("test error (%)")
    axes.set_xlabel("γ: 0 at the solution, 1 where the perturbed training ended")
    style.legend(axes)
    text = f"On the line back to the solution the error rises {', '.join(said)}"
    return style.Drawing(figure, f"{text}. A line for each replicate.", f"{text}, one number a replicate.")


def back(record):
    """Barrier back to ``w^(L)`` against the length of a random perturbation, a panel for each level."""
    levels, scales, steps = record["level"].tolist(), cases.scales(record, "random"), verdicts.rewind_steps(record)
    figure, panels = style.panels(len(levels), 3.9)
    for n, (axes, level) in enumerate(zip(panels, levels, strict=True)):
        style.by_step(axes, scales, record["random"][n], record)
        _barrier_axis(axes, first=n == 0)
        axes.axvline(1, color=style.GREY, linestyle=":", linewidth=1)
        axes.set_xscale("log")
        axes.set_xticks(scales, [f"{scale:g}" for scale in scales])
        axes.minorticks_off()
        axes.set_xlabel("length (units)")
        axes.set_title(f"level {level}: {verdicts.percent(record['density'][n], 0)} left")
    style.legend_below(figure, panels[0], len(steps))
    home = [
        f"{verdicts.of(cases.at_length(record, scale).mean(-1) <= cases.RETURNS)} after length {scale:g}"
        for scale in scales
    ]
    told = "; ".join(
        f"level {level}, k = {k}: {style.points(*record['random'][n, :, i].mean(-1))}"
        for n, level in enumerate(levels) for i, k in enumerate(steps)
    )  # fmt: skip
    text = "Of the rewind steps and levels tried, training returns from a random perturbation in"
    return style.Drawing(
        figure,
        f"{text} {', '.join(home)}. Mean barrier back in points, by length: {told}. Dashed: {_RETURNS}. Dotted: length "
        "1, IMP's own.",
        f"{text} {home[0]} and in {home[-1]}; the dashed line is the bound, {_RETURNS}.",
    )


def critical(record):
    """The length of a random perturbation from which on training does not return, by level; IMP needs 1."""
    lengths, levels = cases.critical(record, never=float(record["scale"].max())), record["level"].tolist()
    shortest, longest = record["scale"].min().item(), record["scale"].max().item()
    figure, axes = style.canvas(height=3.6)
    axes.axhspan(0, shortest, color=style.GREY, alpha=0.2, linewidth=0, label="shorter than any tried")
    style.by_step(axes, levels, lengths, record)
    axes.axhline(1, color=style.GREY, linestyle="--", linewidth=1, label="what IMP needs")
    axes.set_xticks(levels)
    axes.set_xlabel("level")
    axes.set_ylim(0, min(longest, 1.15 * float(lengths.max()) + 0.5))
    axes.set_ylabel("critical length (units)")
    style.legend_below(figure, axes, 3)

    def told(length):
        return f"below {shortest:g}" if length < shortest else f"{length:.1f}"

    means = lengths.mean(-1)
    steps = list(enumerate(verdicts.rewind_steps(record)))
    rows = [f"k = {k}: {_listed(told(length) for length in means[:, i])}" for i, k in steps]
    ends = [f"from {verdicts.of(means[n] >= 1)} rewind steps at level {levels[n]}" for n in (0, -1)]
    return style.Drawing(
        figure,
        f"Length of a random perturbation at which the barrier back reaches {_RETURNS}, in a straight line between the "
        f"lengths measured, mean, at levels {_listed(levels)}. {'; '.join(rows)}. Dashed: 1, which IMP needs.",
        f"The critical length is as long as IMP needs (dashed) {' and '.join(ends)}.",
    )


def who_returns(record, tickets, barriers):
    """Mean barrier back after a random perturbation of length 1, rewind step by level, and where the next matches."""
    some = cases.cases(record, tickets, barriers)
    height, steps, levels = some.back.mean(-1), some.rewind_step.tolist(), some.level.tolist()
    figure, axes = style.canvas(height=0.55 * len(steps) + 1.7)
    axes.imshow(some.returns.T.double(), vmin=0, vmax=1.6, cmap="Blues", aspect="auto")
    axes.grid(False)
    for n, i in torch.cartesian_prod(torch.arange(len(levels)), torch.arange(len(steps))).tolist():
        mark = "*" if some.matches[n, i] else ""
        odd = some.matches[n, i] != some.returns[n, i]
        colour = "white" if some.returns[n, i] else "black"
        frame = {"boxstyle": "round", "facecolor": "none", "edgecolor": style.ORANGE, "linewidth": 2}
        text = f"{100 * height[n, i]:.{0 if height[n, i] >= 0.1 else 1}f}{mark}"
        box = frame if odd else None
        axes.text(n, i, text, ha="center", va="center", color=colour, fontsize=10, bbox=box)
    axes.set_yticks(range(len(steps)), [f"k = {step}" for step in steps])
    axes.set_xticks(range(len(levels)), [f"level {level}" for level in levels], fontsize=10)
    axes.set_title("barrier back in points; dark: returns; *: the next level matches; framed: only one of both")
    axes.title.set_fontsize(10)
    rows = zip(steps, some.returns.T.tolist(), some.matches.T.tolist(), height.T, strict=True)
    said = [
        f"k = {k}: returns at {_chosen(levels, yes)}, the next level matches after {_chosen(levels, match)}, barriers "
        f"{style.points(*row)}"
        for k, yes, match, row in rows
    ]
    yes = some.matches
    text = (
        f"Training returns from a random perturbation of length 1 in {verdicts.of(some.returns[yes])} cases whose next "
        f"level matches and in {verdicts.of(some.returns[~yes])} of the others."
    )
    return style.Drawing(figure, f"{text} By levels {_listed(levels)}. {'. '.join(said)}.", text)


def _chosen(levels, chosen):
    return ", ".join(f"{level}" for level, yes in zip(levels, chosen, strict=True) if yes) or "none"


def kinds(record):
    """Barrier back after three kinds of blow, by level and rewind step: a pane for each length along pruning."""
    return Panes("length", {f"{s:g}": _kinds(record, s) for s in cases.scales(record, "pruning")}, "1")


def _kinds(record, scale):
    levels, steps, said = record["level"].tolist(), verdicts.rewind_steps(record), []
    found = {kind: cases.at_length(record, scale, kind) for kind in ("random", "pruning")}
    found["order"] = record["order"]
    figure, panels = style.panels(len(levels), 3.9)
    for n, (axes, level) in enumerate(zip(panels, levels, strict=True)):
        looks = zip(_KINDS.items(), (style.BLUE, style.ORANGE, style.GREEN), "osD", strict=True)
        for place, ((kind, name), colour, marker) in enumerate(looks):
            x = torch.arange(len(steps)) + 0.25 * (place - 1)
            axes.plot(x, found[kind][n].mean(-1), marker, color=colour, label=name, linestyle="none", markersize=7)
            for at, values in zip(x.tolist(), found[kind][n], strict=True):
                axes.plot([at, at], [values.min(), values.max()], color=colour, linewidth=1.2)
            said.append(f"level {level}, {name}: {style.points(*found[kind][n].mean(-1))}")
        _barrier_axis(axes, first=n == 0)
        axes.set_xticks(range(len(steps)), steps)
        axes.set_xlabel("rewind step")
        axes.set_title(f"level {level}")
    figure.suptitle(f"perturbed by length {scale:g}; with another data order not perturbed", fontsize=11)
    style.legend_below(figure, panels[0], 3)
    home = {kind: verdicts.of(values.mean(-1) <= cases.RETURNS) for kind, values in found.items()}
    text = (
        f"After length {scale:g} training returns in {home['random']} cases from a random direction and in "
        f"{home['pruning']} from the pruning direction; with another data order, not perturbed, in {home['order']}."
    )
    return style.Drawing(
        figure, f"{text} Mean barriers back in points at rewind steps {_listed(steps)}: {'; '.join(said)}.", text
    )


def forgiveness(record):
    """Barrier and error against the step at which a perturbation comes, beside none; a pane for each length."""
    scales = [scale for scale in record["scale"].tolist() if scale]
    return Panes("length", {f"{scale:g}": _forgiveness(record, scale) for scale in scales}, "2")


def _forgiveness(record, scale):
    figure, panels = style.canvas(1, 2, height=3.8)
    steps, scales = record["step"].tolist(), record["scale"].tolist()
    for axes, entry in zip(panels, ("barrier", "error"), strict=True):
        for length, name, colour, marker in (
            (scale, f"perturbed by length {scale:g}", style.BLUE, "o"),
            (0.0, "not perturbed, momentum set to zero", style.GREY, "."),
        ):
            style.spread(axes, steps, record[entry][:, scales.index(length)], name, colour, marker)
        axes.set_xscale("log")
        axes.set_xticks(steps, [f"{step}" for step in steps])
        axes.minorticks_off()
        axes.set_xlabel("step of the perturbation")
    _barrier_axis(panels[0])
    style.error_axis(panels[1])
    panels[1].yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 6)))  # a narrow range or a wide one
    panels[1].set_ylabel("test error at the end (%)")
    figure.suptitle(f"level {int(record['level'])}", fontsize=11)
    style.legend_below(figure, panels[1], 2)
    barrier, error = (record[entry][:, scales.index(scale)].mean(-1) for entry in ("barrier", "error"))
    text = (
        f"A perturbation of length {scale:g} leaves a barrier of {verdicts.points(barrier[0])} and an error of "
        f"{verdicts.percent(error[0])} at step {steps[0]:,}, and {verdicts.points(barrier[-1])} and "
        f"{verdicts.percent(error[-1])} at step {steps[-1]:,}."
    )
    told = f"barriers {style.points(*barrier)}, errors {style.points(*error)}"
    return style.Drawing(figure, f"{text} Means at steps {_listed(steps)}: {told}.", text)


def apart(record):
    """Distance between perturbed and unperturbed training over the steps, in units of the perturbation."""
    steps, scales, said = record["step"], record["scale"].tolist(), []
    unit = record["distance"][0, scales.index(1.0)]
    figure, axes = style.canvas(height=3.8)
    for i, (scale, colour, marker) in enumerate(zip(scales, style.shades(len(scales)), style.MARKERS, strict=False)):
        distance = record["distance"][:, i] / unit
        style.spread(axes, steps, distance, f"perturbed by length {scale:g}", colour, marker)
        mean, cosine = distance.mean(-1), record["cosine"][-1, i].mean()
        start, most, end = (f"{float(d):.1f}" for d in (mean[0], mean.max(), mean[-1]))
        said.append(f"length {scale:g}: {start}, {most}, {end}, cosine {cosine:.2f}")
        if scale == 1:
            text = (
                f"After a perturbation of length 1 the two trainings are at most {most} units apart and end {end} "
                f"apart; the cosine of their displacements is {cosine:.2f}."
            )
    travelled = (record["travelled"] / unit).mean(-1)
    axes.plot(steps, travelled, color="black", linestyle=":", label="travelled, unperturbed")
    axes.set_ylim(0)
    axes.set_xlabel("step")
    axes.set_ylabel("distance (units)")
    style.legend_below(figure, axes, 2)
    return style.Drawing(
        figure,
        f"{text} Mean distance in units at the start, at most and at the end, and cosine: {'; '.join(said)}. Dotted: "
        f"the unperturbed training travels {travelled[-1]:.1f} units.",
        text,
    )


def planes(record):
    """The plane through a start, its solution and a perturbed training's solution, and the line between the two ends.

    A column for each length; all planes at one scale. The line is read off the plane, BatchNorm measured anew.
    """
    scales, said = record["scale"].tolist(), []
    figure, (upper, lower) = style.canvas(2, len(scales), height=6.2, squeeze=False)
    for i, (panel, below, scale) in enumerate(zip(upper, lower, scales, strict=True)):
        x, y, error = record["horizontal"][i], record["vertical"][i], record["error"][i]
        filled = panel.contourf(
            x, y, error.clamp(0.01, 0.9).log10(), levels=torch.linspace(-2, -0.05, 14), cmap="cividis", extend="both"
        )
        for track, name, colour, marker in zip(
            record["track"][i], ("unperturbed", "perturbed"), ("white", style.ORANGE), "os", strict=True
        ):
            edge = {"markeredgecolor": "black", "markeredgewidth": 0.5, "markersize": 5}
            panel.plot(track[:, 0], track[:, 1], color=colour, marker=marker, label=name, **edge)
        panel.set_aspect("equal")
        panel.set_xlim(float(record["horizontal"].min()), float(record["horizontal"].max()))
        panel.grid(False)
        panel.set_title(f"length {scale:g}")
        ends = record["track"][i][:, -1]
        position, line = _between(x, y, error, *ends)
        straight = line[0] + (line[-1] - line[0]) * position
        below.plot(position * (ends[1] - ends[0]).norm(), line, color=style.BLUE)
        below.set_ylim(0, 1)
        below.set_xlabel("distance from the solution")
        style.percent_axis(below.yaxis)
        rise, away = verdicts.points((line - straight).max()), float((ends[1] - ends[0]).norm())
        said.append(f"after length {scale:g} the ends are {away:.1f} apart and the error between them rises by {rise}")
    upper[0].set_ylabel("across")
    lower[0].set_ylabel("test error (%)")
    for panel in upper:
        panel.set_xlabel("towards the solution")
    bar = figure.colorbar(filled, ax=list(upper), label="test error (%)")
    bar.set_ticks([-2, -1.5, -1, -0.5], labels=["1", "3", "10", "32"])
    style.legend_below(figure, upper[0], 2)
    text = "; ".join(said)
    text = f"{text[0].upper()}{text[1:]}."
    return style.Drawing(
        figure,
        f"{text} Above: test error on the plane through the initialization, its solution and the solution of a "
        "perturbed training, with both trainings projected on it. Below: along the line between the two solutions.",
        text,
    )


def _between(x, y, error, start, end, points=41):
    """Positions from 0 to 1 between two places of a plane, and the error there, interpolated on its grid."""
    position = torch.linspace(0, 1, points, dtype=torch.float64)
    places = start.double() + position[:, None] * (end - start).double()
    (row, up), (column, right) = (_cell(axis.double(), place) for axis, place in ((y, places[:, 1]), (x, places[:, 0])))
    low, high = (error[row + n, column] * (1 - right) + error[row + n, column + 1] * right for n in (0, 1))
    return position, low * (1 - up) + high * up


def _cell(axis, place):
    """The cell of an even grid in which each place lies, and how far along it, from 0 to 1."""
    at = ((place - axis[0]) / (axis[1] - axis[0])).clamp(0, len(axis) - 1)
    cell = at.long().clamp_max(len(axis) - 2)
    return cell, at - cell
