"""Figures of the second edition's evidence on claim C2."""

import torch

from .. import style, verdicts
from ..panes import Panes
from . import evidence

GUESS = 0.9  # the error of guessing among ten classes


def blow(record):
    """Error of the rewind point, masked, and perturbed by one rewind distance besides: before any training."""
    figure, panels = style.canvas(1, 2, height=4.1, sharey=True)
    density, levels, said = record["density"], record["level"].tolist(), []
    for axes, end, title in (
        (panels[0], "", "statistics as they are"), (panels[1], "_recalibrated", "statistics measured anew"),
    ):  # fmt: skip
        masked, moved = record[f"masked{end}"], record[f"perturbed{end}"]
        style.by_step(axes, density, masked, record)
        for i, step in enumerate(verdicts.rewind_steps(record)):
            colour, marker = style.look(record, step)
            mean = moved[:, i].mean(-1)
            axes.plot(density[levels], mean, marker, color=colour, fillstyle="none", markersize=9, linestyle="none")
        axes.axhline(GUESS, color="black", linestyle=":", linewidth=1.2)
        style.remaining_axis(axes, density)
        style.percent_axis(axes.yaxis)
        axes.set_ylim(0, 1)
        axes.set_title(title)
    panels[0].set_ylabel("test error before training (%)")
    style.legend_below(figure, panels[0], 6)
    for i, step in enumerate(verdicts.rewind_steps(record)):
        before, after = (record[name][:, i].mean(-1) for name in ("masked", "perturbed"))
        said.append(f"k = {step}: {style.points(before[0])}, {style.points(*before[levels])}, {style.points(*after)}")
    return style.Drawing(
        figure,
        "Mean test error in percent before any training, of the rewind point, of it masked at levels "
        f"{', '.join(map(str, levels))}, and of these after a random perturbation of one rewind distance: "
        f"{'; '.join(said)}. Lines: masked. Open markers: perturbed besides. Dotted: guessing.",
    )


def back(record, level):
    """Barrier back to ``w^(L)`` against the length of the perturbation, at random and along pruning; a pane a level."""
    drawings = {f"{here}": _back(record, n, here) for n, here in enumerate(record["level"].tolist())}
    return Panes("level", drawings, f"{level}")


def _back(record, n, level):
    figure, panels = style.canvas(1, 2, height=4, sharey=True)
    said = []
    for axes, kind, title in ((panels[0], "random", "random direction"), (panels[1], "pruning", "pruning direction")):
        scales = record["pruning_scale" if kind == "pruning" else "scale"].tolist()
        style.by_step(axes, scales, record[kind][n], record)
        axes.axhline(evidence.RETURNS, color=style.GREY, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_xticks(scales, [f"{scale:g}" for scale in scales])
        axes.minorticks_off()
        axes.set_xlabel("length (rewind distances)")
        axes.set_title(title)
        style.rate_scale(axes, "y", high=1)
        means = [
            f"k = {k} {style.points(*record[kind][n, :, i].mean(-1))}"
            for i, k in enumerate(verdicts.rewind_steps(record))
        ]
        said.append(f"{title}, at lengths {', '.join(f'{s:g}' for s in scales)}: {'; '.join(means)}")
    panels[0].set_ylabel("barrier back to the solution (points)")
    figure.suptitle(f"level {level}: {verdicts.percent(record['density'][n], 0)} left", fontsize=11)
    style.legend_below(figure, panels[0], 6)
    counts = evidence.at_length(record, 1.0)[n].mean(-1) <= evidence.RETURNS
    return style.Drawing(
        figure,
        f"At level {level} training returns from a random perturbation of length 1 at {verdicts.of(counts)} rewind "
        f"steps. Mean barriers back in points. {'. '.join(said)}. Dashed: {verdicts.points(evidence.RETURNS)}.",
    )


def who_returns(record, tickets, barriers):
    """Mean barrier back after a random perturbation of length 1, rewind step by level, and where the next matches."""
    some = evidence.cases(record, tickets, barriers)
    height, steps, levels = some.back.mean(-1), some.rewind_step.tolist(), some.level.tolist()
    figure, axes = style.canvas(height=0.55 * len(steps) + 1.7)
    axes.imshow(some.returns.T.double(), vmin=0, vmax=1.6, cmap="Blues", aspect="auto")
    axes.grid(False)
    for n, i in torch.cartesian_prod(torch.arange(len(levels)), torch.arange(len(steps))).tolist():
        mark = "*" if some.matches[n, i] else ""
        colour = "white" if some.returns[n, i] else "black"
        axes.text(n, i, f"{100 * height[n, i]:.1f}{mark}", ha="center", va="center", color=colour)
    axes.set_yticks(range(len(steps)), [f"k = {step}" for step in steps])
    axes.set_xticks(range(len(levels)), [f"level {level}" for level in levels])
    axes.set_title("barrier back in points; dark: training returns; *: the next level matches")
    rows = zip(steps, some.returns.T.tolist(), some.matches.T.tolist(), height.T, strict=True)
    said = [
        f"k = {k}: returns at {_levels(levels, yes)}, the next level matches after {_levels(levels, match)}, barriers "
        f"{style.points(*row)}"
        for k, yes, match, row in rows
    ]
    yes = some.matches
    return style.Drawing(
        figure,
        f"Training returns from a random perturbation of length 1 in {verdicts.of(some.returns[yes])} cases whose next "
        f"level matches and in {verdicts.of(some.returns[~yes])} of the others. By levels "
        f"{', '.join(map(str, levels))}. {'. '.join(said)}.",
    )


def _levels(levels, chosen):
    return ", ".join(f"{level}" for level, yes in zip(levels, chosen, strict=True) if yes) or "none"
