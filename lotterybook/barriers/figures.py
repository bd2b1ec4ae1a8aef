"""Figures of chapter 2."""

from itertools import groupby

import torch

from .. import style, verdicts
from ..narrow import WIDTH as NARROW
from ..panes import Panes
from . import halves
from .halves import EPSILON, HIGHER, excess, within
from .readings import leads_back

HALVES = {"if": ("connected, of the matching (if)", style.BLUE, "o"),
          "only if": ("matching, of the connected (only if)", style.ORANGE, "s")}  # fmt: skip


def lines(found, rewind_steps):
    """Error on lines between two solutions, a panel for each rewind step of ``found``, each a ``landscape.Barrier``.

    The barrier of the first replicate is drawn in: how far the error rises above the straight line between its ends.
    """
    figure, panels = style.panels(len(found), 3.5, sharey=True)
    record, said = {"rewind_step": torch.tensor(rewind_steps)}, []
    for axes, (step, line) in zip(panels, found.items(), strict=True):
        colour, _ = style.look(record, step)
        axes.plot(line.gamma, line.curve, color=colour)
        axes.lines[0].set_label("error")
        ends = line.curve[[0, -1]]
        axes.plot((0, 1), ends, color="black", linestyle=":", marker="o", markersize=4)
        axes.lines[-1].set_label("straight line")
        straight = torch.lerp(ends[0], ends[1], line.gamma[:, None])
        top = int((line.curve - straight)[:, 0].argmax())
        axes.vlines(line.gamma[top], straight[top, 0], line.curve[top, 0], color=style.ORANGE, label="barrier")
        axes.set_title(f"rewound to step {step}")
        axes.set_xlabel("γ (0: level 0, 1: level 1)")
        style.percent_axis(axes.yaxis)
        heights = ", ".join(verdicts.points(height) for height in line.height)
        said.append(f"rewound to step {step} the barrier is {heights} in {len(line.height)} replicates")
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("test error (%)")
    style.legend_below(figure, panels[0], 3)
    alt = f"Test error on the straight line from the dense solution to that of level 1: {'; '.join(said)}."
    means = " and ".join(f"{verdicts.points(line.height.mean())} to level 1 from step {k}" for k, line in found.items())
    return style.Drawing(figure, alt, f"On the line from the dense solution the mean barrier is {means}.")


def by_level(tickets, barriers):
    """Barrier to the level before, a panel for each rewind step; a marker is filled where the level matches."""
    height, match = barriers["height"], within(excess(tickets)[1:].mean(-1), EPSILON)
    counted = halves.count(halves.pairs(tickets["error"], barriers["height"]).mean().levels(HIGHER))
    joined, (of_match, of_joined) = within(height.mean(-1), EPSILON), halves.halves(counted)
    said = "; ".join(
        f"k = {k} matches at {_listed(match[:, i])} and is connected at {_listed(joined[:, i])}"
        for i, k in enumerate(verdicts.rewind_steps(tickets))
    )
    return style.Drawing(
        _levels(tickets, height, match, 3), f"Mean barrier to the level before, within half a point or not: {said}.",
        f"From level {HIGHER} on, {of_match[0]} of {of_match[1]} symbols of levels that match, the filled ones, lie "
        f"within half a point, and {of_joined[0]} of the {of_joined[1]} within half a point are filled.",
        _levels(tickets, height, match, 2, NARROW),
    )  # fmt: skip


def _levels(tickets, height, match, columns, width=style.WIDTH):
    """A panel for each rewind step, so many in a row: barriers (levels, K, R), and which levels match, (levels, K)."""
    steps, level = verdicts.rewind_steps(tickets), torch.arange(1, len(height) + 1)
    columns = min(columns, len(steps))
    rows = -(-len(steps) // columns)
    figure, panels = style.canvas(rows, columns, 2.3 * rows + 0.5, squeeze=False, sharex=True, sharey=True)
    figure.set_figwidth(width)
    for axes in panels.flat[len(steps) :]:
        axes.axis("off")
    for i, (axes, step) in enumerate(zip(panels.flat, steps, strict=False)):
        colour, _ = style.look(tickets, step)
        axes.axvspan(0.4, HIGHER - 0.5, color=style.GREY, alpha=0.1, linewidth=0, label="low sparsity")
        axes.axhline(EPSILON, color=style.GREY, linestyle="--", linewidth=1, label="half a point")
        mean = height[:, i].mean(-1)
        axes.plot(level, mean, color=colour, alpha=0.6, linewidth=1.2)
        each = axes.plot(level, height[:, i], ".", color=colour, alpha=0.4, markersize=3)
        each[0].set_label("a replicate")
        for chosen, face, name in ((match[:, i], colour, "matches"), (~match[:, i], "white", "does not match")):
            axes.plot(level[chosen], mean[chosen], "o", color=colour, markerfacecolor=face, label=name)
        axes.set_title(f"k = {step}")
        axes.set_xlim(0.4, len(height) + 0.6)
        axes.set_xticks([n for n in (1, 4, 7, 10, 13) if n <= len(height)])
        style.rate_scale(axes, "y", -0.002, 1)
        axes.set_yticks([0, 0.005, 0.02, 0.1, 0.5])
    for axes in panels.flat[max(0, len(steps) - columns) : len(steps)]:
        axes.set_xlabel("level")
    for axes in panels[:, 0]:
        axes.set_ylabel("barrier (points)")
    style.legend_below(figure, panels[0, 0], 5 if width == style.WIDTH else 2)
    return figure


def _listed(yes):
    """The levels, counted from 1, at which something is so, in runs."""
    runs = [list(run) for there, run in groupby(range(len(yes)), yes.tolist().__getitem__) if there]
    spans = [f"{run[0] + 1}" if len(run) == 1 else f"{run[0] + 1} to {run[-1] + 1}" for run in runs]
    return f"level {', '.join(spans)}" if spans else "no level"


def law(tickets, barriers):
    """Barrier of a pair against the error of its sparser network; and both halves of the law against the tolerance.

    A pane for each way of counting: means over replicates, single replicates, and, as the authors' pilot figure plots
    it, means and only the error midway.
    """
    some = halves.pairs(tickets["error"], barriers["height"])
    midway = halves.Pairs(some.excess, halves.midway(tickets["error"], barriers["curve"]))
    ways = {
        "means over replicates": some.mean(), "single replicates": some, "means, only midway": midway.mean(),
    }  # fmt: skip
    drawings = {name: _law(found, name, tickets) for name, found in ways.items()}
    return Panes("a point for", drawings, "means over replicates")


def _law(some, name, tickets):
    figure, (left, right) = style.canvas(1, 2, height=4.6)
    low = min(-0.006, float(some.excess.min()) - 0.001)
    for i, step in enumerate(verdicts.rewind_steps(tickets)):
        colour, marker = style.look(tickets, step)
        for part, face, edge in (
            (slice(0, 1), "none", ":"), (slice(1, HIGHER - 1), "none", "-"), (slice(HIGHER - 1, None), colour, "-"),
        ):  # fmt: skip
            x, y = some.excess[part, i].flatten(), some.barrier[part, i].flatten()
            left.scatter(
                x, y, s=24, marker=marker, facecolors=face, edgecolors=[colour], alpha=0.75,
                linestyle=edge, label=f"k = {step}" if face != "none" else None,
            )  # fmt: skip
    for line in (left.axhline, left.axvline):
        line(EPSILON, color=style.GREY, linestyle="--", linewidth=1)
    style.rate_scale(left, "x", low, 0.5)
    left.set_xticks([0, 0.005, 0.02, 0.1])
    style.rate_scale(left, "y", -0.003, 1)
    left.set_yticks([0, 0.005, 0.02, 0.1, 0.5])
    left.set_xlabel("sparser network above dense (points)")
    left.set_ylabel("rise midway (points)" if "midway" in name else "barrier (points)")
    left.set_title("every pair of levels")
    at = _over_tolerance(right, some.levels(HIGHER))
    drawn = [sum(both, []) for both in zip(*(axes.get_legend_handles_labels() for axes in (left, right)), strict=True)]
    figure.legend(*drawn, loc="outside lower center", ncols=5, frameon=False, fontsize=9.5)
    told = _plain(halves.told(at))
    lower = halves.count(some.levels(1, HIGHER - 1))
    (of_match, of_joined) = halves.halves(at)
    return style.Drawing(
        figure,
        f"Pairs of successive levels, {name}; filled from level {HIGHER} on, hollow before, dotted for level 1. From "
        f"level {HIGHER} on, at half a point: {told}. At levels 1 to {HIGHER - 1}, {lower.both + lower.only_matching} "
        f"of {sum(lower)} match, {lower.both} of these are connected.",
        f"From level {HIGHER} on, {of_match[0]} of {of_match[1]} matching pairs are connected, and {of_joined[0]} of "
        f"{of_joined[1]} connected pairs match ({name}, half a point); hollow: levels 1 to "
        f"{HIGHER - 1}.",
    )


def _over_tolerance(axes, some):
    """Draw both halves of the law, agreement and chance agreement against the tolerance; return the count at ours."""
    counts = [halves.count(some, epsilon) for epsilon in halves.TOLERANCES]
    shares = [[halves.share(*half) for half in halves.halves(counted)] for counted in counts]
    for n, (half, (_, colour, marker)) in enumerate(HALVES.items()):
        axes.plot(halves.TOLERANCES, [both[n] for both in shares], color=colour, marker=marker, label=half)
    axes.plot(halves.TOLERANCES, [c.agreement for c in counts], color="black", marker="D", label="both or neither")
    axes.plot(halves.TOLERANCES, [c.chance for c in counts], ":", color=style.GREY, marker="^", label="by chance")
    axes.axvline(EPSILON, color=style.GREY, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks((0.001, 0.0025, 0.005, 0.01, 0.02))
    axes.set_xticks([], minor=True)
    style.percent_axis(axes.xaxis)
    axes.set_xlabel("tolerance ε (points)")
    axes.set_ylim(-0.03, 1.03)
    style.percent_axis(axes.yaxis)
    axes.set_ylabel("share of pairs (%)")
    axes.set_title(f"shares, from level {HIGHER} on")
    return counts[halves.TOLERANCES.index(EPSILON)]


def _plain(text):
    return text.replace("*", "")


def path(barriers, steps):
    """Error along the piecewise-linear path through all levels, for each of the given rewind steps."""
    levels, points = barriers["curve"].shape[:2]
    position = torch.linspace(0, 1, points, dtype=torch.float64)[:-1] + torch.arange(levels)[:, None]
    position = torch.cat([position.flatten(), torch.tensor([levels], dtype=torch.float64)])
    onward = barriers["curve"].flip(1)  # stored from level L + 1 to level L
    onward = torch.cat([onward[:, :-1].flatten(0, 1), onward[-1, -1:]])
    corner, said = (position == position.round()).nonzero()[:, 0], []
    figure, axes = style.canvas()
    axes.axhline(float(onward[0].mean()), color=style.GREY, linewidth=1, linestyle="--", label="dense")
    for step in steps:
        error = onward[:, _column(barriers, step)]
        style.spread(axes, position, error, f"k = {step}", *style.look(barriers, step), markevery=corner.tolist())
        said.append(
            f"k = {step}: {style.points(*error[corner].mean(-1))} at the levels, at most "
            f"{style.points(error.mean(-1).max())} on the path"
        )
    style.percent_axis(axes.yaxis)
    axes.set_xticks(range(levels + 1))
    axes.set_xlabel("level (symbols), and the straight lines between levels")
    axes.set_ylabel("test error (%)")
    style.legend_below(figure, axes, 3)
    half = levels // 2 * (points - 1) + 1
    tops = " and ".join(
        f"{verdicts.percent(onward[:half, _column(barriers, step)].mean(-1).max())} with k = {step}" for step in steps
    )
    return style.Drawing(
        figure, f"Test error in percent along straight lines from level to level. {'; '.join(said)}.",
        f"On the way from level to level, down to level {levels // 2}, the mean error reaches {tops}.",
    )  # fmt: skip


def _column(record, step):
    return verdicts.rewind_steps(record).index(step)


def found_masks(found, tickets):
    """A walk without rewinding, and what is trained inside its masks from rewind points: how far from the walk."""
    figure, (left, right) = style.canvas(1, 2, height=4.2)
    density = found["density"]
    style.spread(left, density[1:], found["step"], "to the level before", style.BLUE)
    style.spread(left, density[1:], found["away"], "to the dense network", style.ORANGE, "s")
    over = found["error"] - tickets["error"][0].mean()
    style.spread(left, density, over, "error above dense", style.GREY, "^")
    kept, steps = density[found["level"]], verdicts.rewind_steps(found)
    for i, step in enumerate(steps):
        colour, marker = style.look(tickets, step)
        style.spread(right, kept, found["return_barrier"][:, i], f"k = {step}", colour, marker)
    for axes, title in ((left, "prune, train on, repeat"), (right, "its masks on rewind points")):
        style.barrier_axes(axes, density, title, EPSILON)
        style.legend(axes)
    style.rate_scale(left, "y", min(-0.003, float(over.min()) - 0.001))
    left.set_yticks([0, 0.005, 0.02, 0.1, 0.5])
    right.set_ylim(top=1)
    left.set_ylabel("points of error")
    right.set_ylabel("barrier to the walk's solution (points)")
    returns = "; ".join(f"k = {k} {style.points(*found['return_barrier'][:, i].mean(-1))}" for i, k in enumerate(steps))
    levels, back = ", ".join(map(str, found["level"].tolist())), leads_back(found, tickets)[0].sum(0).tolist()
    came = ", ".join(f"{number} from k = {k}" for k, number in zip(steps, back, strict=True))
    return style.Drawing(
        figure,
        f"Without rewinding the barrier of a step is at most {verdicts.points(found['step'].mean(-1).max(), 2)}, "
        f"from the dense network to the end of the walk {verdicts.points(found['away'][-1].mean())}. From networks "
        f"trained in the masks of levels {levels} to the walk's solutions, in points: {returns}.",
        f"Of {len(kept)} masks found without rewinding, so many lead back to the solution they were found with: "
        f"{came}.",
    )


def failing_masks(failing, tickets):
    """Barrier back to the level before, and error, of networks trained from the same point inside three subspaces."""
    figure, (left, right) = style.canvas(1, 2, height=3.8)
    arms = {
        "own": ("own mask", style.BLUE), "failing": ("mask of a failing run", style.ORANGE),
        "random": ("random mask", style.PINK),
    }  # fmt: skip
    dense = float(tickets["error"][0].mean())
    right.axhspan(dense, dense + EPSILON, color=style.GREY, alpha=0.25, linewidth=0, label="matching")
    for marker, (arm, (name, colour)) in zip(style.MARKERS, arms.items(), strict=False):
        style.spread(left, failing["density"], failing[arm], name, colour, marker)
        style.spread(right, failing["density"], failing[f"{arm}_error"], name, colour, marker)
    style.barrier_axes(left, failing["density"], "barrier back to the level before", EPSILON)
    left.set_ylim(top=1)
    style.remaining_axis(right, failing["density"])
    style.error_axis(right)
    right.set_title("test error")
    style.legend_below(figure, right, 4)
    said = "; ".join(f"{name} {style.points(*failing[arm].mean(-1))}" for arm, (name, _) in arms.items())
    levels, count = failing["level"].tolist(), len(failing["level"])
    near = ", ".join(
        f"{name} at {int(within(failing[arm].mean(-1), EPSILON).sum())}" for arm, (name, _) in arms.items()
    )
    return style.Drawing(
        figure, f"Barrier back to the level before, at levels {levels}, in points of error: {said}.",
        f"Of {count} levels, training from the same rewind point leads back within half a point with the {near}.",
    )  # fmt: skip


def networks(by_network):
    """Both halves of the law at higher sparsities for each network, with their counts, and agreement by chance."""
    counts = {name: halves.count(some) for name, some in by_network.items()}
    said = "; ".join(f"{name}: {_plain(halves.told(counted))}" for name, counted in counts.items())
    kinds = {name: halves.judge(counted) for name, counted in counts.items()}
    caption = "; ".join(
        f"{verdict}: {', '.join(name for name, found in kinds.items() if found == verdict)}"
        for verdict in verdicts.VERDICTS if verdict in kinds.values()
    )  # fmt: skip
    return style.Drawing(
        _networks(counts, style.WIDTH),
        f"Both halves of the law from level {HIGHER} on, means, at half a point. {said}.",
        f"By network, the law of connected if and only if matching {caption}.", _networks(counts, NARROW),
    )  # fmt: skip


def _networks(counts, width):
    wide = width == style.WIDTH
    figure, axes = style.canvas(height=0.62 * len(counts) + (1.7 if wide else 2.1))
    figure.set_figwidth(width)
    places = torch.arange(len(counts)).flip(0).tolist()
    for place, counted in zip(places, counts.values(), strict=True):
        for n, ((_, colour, marker), half) in enumerate(zip(HALVES.values(), halves.halves(counted), strict=True)):
            height = place + 0.17 - 0.34 * n
            if half[1]:  # none of none is no share
                axes.plot(halves.share(*half), height, marker, color=colour, markersize=7)
            axes.text(1.04 if wide else 1.1, height, f"{half[0]} of {half[1]}", va="center", fontsize=9.5)
        if sum(counted):
            axes.plot(counted.agreement, place, "D", color="black", markersize=4)
            axes.plot(counted.chance, place, "^", color=style.GREY, markersize=5)
    for name, colour, marker in [*HALVES.values(), ("agreement", "black", "D"), ("by chance", style.GREY, "^")]:
        axes.plot([], [], marker, color=colour, label=name)
    axes.axvline(halves.SHARE, color=style.GREY, linestyle="--", linewidth=1)
    axes.set_yticks(places, [name if wide else name.replace(", ", ",\n") for name in counts])
    axes.set_ylim(-0.6, len(counts) - 0.4)
    axes.set_xlim(-0.06, 1.2 if wide else 1.55)
    axes.set_xticks((0, 0.25, 0.5, 0.75, 1) if wide else (0, 0.5, 1))
    style.percent_axis(axes.xaxis)
    axes.set_xlabel("share of pairs (%)")
    style.legend_below(figure, axes, 2 if wide else 1)
    return figure
