"""Figures of chapter 5."""

from itertools import pairwise

import torch

from .. import style, verdicts
from ..panes import Panes
from . import findings, magnitudes

_LOOKS = {
    findings.IMP: ("black", "o"), findings.LRR: (style.BLUE, "s"), findings.SHORT: (style.GREEN, "D"),
    findings.NONE: (style.BROWN, "^"),
}  # fmt: skip
_FINE = ((style.ORANGE, "v"), (style.PINK, "P"))  # fine-tuning, by rate
_LOWEST = 0.003  # where the axis of magnitudes begins


def _look(name, names):
    """Colour and marker of an arm among ``names``: the same in every figure of the chapter."""
    fine = [other for other in names if other not in _LOOKS]
    return _LOOKS[name] if name in _LOOKS else _FINE[fine.index(name) % len(_FINE)]


def histogram(record, run, level):
    """Magnitudes of solution, projection and next solution, with what retraining has refilled; a pane for each level.

    ``run``: the IMP run of one rewind step, from which the last thresholds are read.
    """
    shares, drawings, refilled = record["all"].mean(2), {}, []
    for here, (before, after) in enumerate(pairwise(run.levels)):
        limit = magnitudes.threshold(before.state, before.mask, after.mask)
        refilled.append(magnitudes.refilled(after.state, after.mask, limit).mean())
        about = f"level {here}, {verdicts.percent(record['density'][here], 0)} of the weights"
        drawings[f"{here}"] = _histogram(record["edges"], shares[here], float(limit.mean()), float(refilled[-1]), about)
    return Panes(
        "level", drawings, f"{level}",
        f"Pruning leaves nothing at or below its threshold; after retraining {verdicts.percent(min(refilled), 0)} to "
        f"{verdicts.percent(max(refilled), 0)} of the weights, by level, lie there again (shaded).",
    )  # fmt: skip


def _histogram(edges, shares, limit, refilled, about):
    figure, axes = style.canvas(height=3.5)
    solution, projection, after = shares
    axes.stairs(solution, edges, color=style.GREY, fill=True, alpha=0.3, linewidth=0, label="solution")
    first = int((edges < limit).sum())  # the threshold lies in the bin before: the projection begins there, not before
    begun = torch.cat([projection[:first].sum()[None], projection[first:]])
    from_limit = torch.cat([edges.new_tensor([limit]), edges[first:]])
    axes.stairs(begun, from_limit, color=style.ORANGE, linewidth=1.8, linestyle="--", label="its projection")
    axes.stairs(after, edges, color=style.BLUE, linewidth=1.8, label="next solution")
    low = torch.cat([edges[:first], from_limit[:1]])
    heights = torch.cat([after[:first], after[first - 1 : first]])
    name = f"refilled: {verdicts.percent(refilled, 0)}"
    axes.fill_between(low, heights, step="post", color=style.BLUE, alpha=0.4, linewidth=0, label=name)
    axes.axvline(limit, color="black", linestyle=":", linewidth=1.5, label="last threshold")
    axes.set_xscale("log")
    axes.set_xlim(_LOWEST, 3)
    axes.set_ylim(0, 1.1 * float(shares.max()))
    axes.set_xlabel("magnitude")
    axes.set_ylabel("weights (% per bin)")
    style.percent_axis(axes.yaxis)
    axes.set_title(about)
    style.legend(axes, loc="upper left")
    left = verdicts.percent(shares[:, edges[1:] <= 1.001 * _LOWEST].sum(-1).max())
    return style.Drawing(
        figure,
        f"At {about}, pruning takes what is at most {limit:.3f} large, and after retraining "
        f"{verdicts.percent(refilled)} of the weights are as small as that again. Histograms of magnitudes on a "
        "logarithmic axis: the projection is the solution without its left end, and the next solution reaches to the "
        f"left of the threshold again. At most {left} of the weights lie below {_LOWEST:g}, left of the axis.",
    )


def along(curves, fraction):
    """Share of the weights at or below the last threshold in the course of retraining, a line for each way to do it.

    ``curves``: by name of the way, steps (n,) and shares (n, R); ``fraction``: what the next pruning takes.
    """
    figure, axes = style.canvas(height=3.8)
    for name, (steps, shares) in curves.items():
        style.spread(axes, steps, shares, name, *_look(name, curves))
    axes.axhline(fraction, color=style.GREY, linestyle="--", linewidth=1, label="pruned next")
    axes.set_ylim(-0.01, 1.15 * max(fraction, *(float(shares.max()) for _, shares in curves.values())))
    axes.set_xlabel("steps of retraining")
    axes.set_ylabel("at or below the last threshold (%)")
    style.percent_axis(axes.yaxis)
    style.legend_below(figure, axes, 2)
    ends = {name: float(shares[-1].mean()) for name, (_, shares) in curves.items()}
    said = "; ".join(
        f"{name} {100 * float(shares[0].mean()):.1f} at the start, {100 * float(shares.amin(0).mean()):.1f} at the "
        f"least, {100 * ends[name]:.1f} at the end"
        for name, (_, shares) in curves.items()
    )
    most, least = max(ends, key=ends.get), min(ends, key=ends.get)
    return style.Drawing(
        figure,
        f"Share of the weights at or below the last threshold, in percent: {said}. The next pruning takes "
        f"{100 * fraction:.0f}.",
        f"Retraining by {most} leaves most weights at or below the last threshold, {verdicts.percent(ends[most])}, and "
        f"{least} fewest, {verdicts.percent(ends[least])}.",
    )


def new_small(refill, tickets, steps):
    """Share of new small weights among those pruned next, and share of them that were small before, by level."""
    figure, (left, right) = style.canvas(1, 2, height=4.4)
    fresh, old, fraction = findings.new_small(refill), refill["already"], float(refill["fraction"])
    for axes, values in ((left, fresh), (right, old)):
        _where_matching(axes, refill, values, tickets, steps)
        axes.set_ylim(0, 1.02)
    left.set_ylabel("new and small (% of those pruned next)")
    right.set_ylabel("small before (% of those pruned next)")
    right.axhline(fraction, color=style.GREY, linestyle="--", linewidth=1, label="chance")
    style.legend_below(figure, right, len(steps) + 1)
    chosen = [verdicts.rewind_steps(refill).index(k) for k in steps]
    least = min(fresh[:, i].mean() for i in chosen)
    first, last = (verdicts.percent(old[:, i].mean(), 0) for i in (chosen[0], chosen[-1]))
    return style.Drawing(
        figure,
        "Of the weights pruned next, means over levels in percent. At or below the last threshold, where pruning had "
        f"left none: {_by_step(refill, fresh)}. Among the smallest before retraining: {_by_step(refill, old)}; chance "
        f"would give {100 * fraction:.0f}. Filled: IMP matches there.",
        f"From each rewind step drawn at least {verdicts.percent(least, 0)} of what the next pruning takes is new and "
        f"small; {first} of it from step {steps[0]} and {last} from step {steps[-1]} was among the smallest before "
        "(filled where IMP matches).",
    )


def removed(refill, steps):
    """Length that the next pruning removes, after retraining and without it; a panel for each of some rewind steps."""
    density, every = refill["density"][1:-1], verdicts.rewind_steps(refill)
    figure, panels = style.panels(len(steps), 3.2, sharex=True, sharey=True)
    for axes, k in zip(panels, steps, strict=True):
        i = every.index(k)
        style.spread(axes, density, refill["removed_without"][:, i], "without retraining", style.BROWN, "^")
        style.spread(axes, density, refill["removed"][:, i], "after retraining", "black", "o")
        style.remaining_axis(axes, density)
        style.percent_axis(axes.yaxis)
        axes.set_title(f"k = {k}")
        axes.set_ylabel("length removed (%)")
        axes.label_outer()
    panels[0].set_ylim(0)
    style.legend_below(figure, panels[0], 2)
    k, i = steps[-1], every.index(steps[-1])
    after, at_once = (refill[name][:, i].mean() for name in ("removed", "removed_without"))
    less = (refill["removed"] < refill["removed_without"]).double().mean()
    return style.Drawing(
        figure,
        "Length of what the next pruning removes, in percent of the weights' length, means over levels. After "
        f"retraining: {_by_step(refill, refill['removed'])}. Without: {_by_step(refill, refill['removed_without'])}.",
        f"After retraining the next pruning goes less far in {verdicts.percent(less, 0)} of the cases; from step {k} "
        f"by {verdicts.percent(after, 0)} of the weights' length instead of {verdicts.percent(at_once, 0)}.",
    )


def arms(record, tickets):
    """Test error and share of new small weights against weights remaining, a line an arm."""
    figure, (left, right) = style.canvas(1, 2, height=4.9)
    errors, shares = findings.arms(record), findings.measured(record, "new_small")
    density = record["density"]
    for name, error in errors.items():
        style.spread(left, density, error, name, *_look(name, errors))
    for name, share in shares.items():
        style.spread(right, density[1:-1], share, name, *_look(name, errors))
    limit = verdicts.largest_error(tickets, findings.EPSILON)
    left.axhline(limit, color=style.GREY, linestyle="--", linewidth=1, label="matching")
    right.axhline(findings.MOST, color="black", linestyle=":", linewidth=1.5, label="half of those pruned next")
    for axes in (left, right):
        style.remaining_axis(axes, density)
    left.set_yscale("log")
    left.set_ylim(top=6 * limit)  # what errs more than that has failed
    style.error_axis(left)
    style.percent_axis(right.yaxis)
    right.set_ylim(0, 1.02)
    right.set_ylabel("new and small (% of those pruned next)")
    lines = [axes.get_legend_handles_labels() for axes in (left, right)]
    handles, names = ([*every, own[-1]] for every, own in zip(*lines, strict=True))
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    last = findings.last_level(record, tickets)
    kept, fine = verdicts.percent(density[last], 0), [name for name in errors if name not in _LOOKS]
    said = "; ".join(
        f"{name} {style.points(error[last].mean())}"
        + (f" and {100 * float(shares[name][:last].mean()):.0f}" if name in shares and last else "")
        for name, error in errors.items()
    )
    own, other = (verdicts.percent(errors[name][last].mean()) for name in (findings.IMP, fine[0]))
    return style.Drawing(
        figure,
        f"At level {last}, the last at which IMP matches ({kept} of the weights), mean "
        "error in percent and, over the levels down to it, the mean share in percent of the weights pruned next that "
        f"lie at or below the last threshold: {said}. Dashed: half a point above the dense error; dotted: half.",
        f"At {kept} of the weights, where IMP matches last, it errs on {own}; {fine[0]} errs on {other}.",
    )


def barriers(record, tickets):
    """Barriers between successive solutions of every arm that retrains, against weights remaining."""
    figure, axes = style.canvas(height=4.2)
    heights, density = findings.measured(record, "barrier"), record["density"][1:]
    for name, height in heights.items():
        style.spread(axes, density, height, name, *_look(name, heights))
    axes.axhline(findings.EPSILON, color=style.GREY, linestyle="--", linewidth=1, label="half a point")
    style.remaining_axis(axes, density)
    style.rate_scale(axes, "y")
    axes.set_ylabel("barrier to the previous solution (points)")
    style.legend_below(figure, axes, 3)
    last = max(1, findings.last_level(record, tickets))
    highest = {name: height.mean(-1)[:last].max() for name, height in heights.items()}
    said = "; ".join(
        f"{name} {verdicts.points(highest[name])}, {verdicts.points(height.mean(-1).max())} at all levels"
        for name, height in heights.items()
    )
    kept, most = verdicts.percent(record["density"][last], 0), max(highest, key=highest.get)
    return style.Drawing(
        figure,
        f"Highest mean barrier between successive solutions down to {kept} of the weights, where IMP matches last: "
        f"{said}.",
        f"Down to {kept} of the weights no way to retrain has a mean barrier above {verdicts.points(highest[most])} "
        f"between successive solutions; IMP's highest is {verdicts.points(highest[findings.IMP])}.",
    )


def cycles(record, without):
    """Error of a fixed mask after each further cycle, with IMP and learning-rate rewinding; a panel a sparsity."""
    levels = record["level"].unique().tolist()
    figure, panels = style.panels(len(levels), 3.7, sharey=True)
    said = []
    for axes, level in zip(panels, levels, strict=True):
        error = findings.by_cycle(record, level)
        cycle = record["cycle"][record["level"] == level].tolist()
        style.spread(axes, cycle, error, "mask fixed", style.ORANGE, "v")
        means = []
        for arm, name in (("rewound", findings.IMP), ("kept", findings.LRR)):
            other = without[arm][level, : error.shape[-1]]
            lines = other.expand(len(cycle), -1)
            style.spread(axes, cycle, lines, name, _LOOKS[name][0], "", linestyle="--")
            means.append(f"{name} {style.points(other.mean())}")
        axes.set_xlabel("trainings")
        axes.set_xticks(cycle[:: -(-len(cycle) // 6)])
        axes.set_title(f"level {level}: {verdicts.percent(without['density'][level], 0)}")
        first, end = error[0].mean(), error[-1].mean()
        said.append(
            f"level {level}: {style.points(first)} after one training, {style.points(end)} after {len(error)}; "
            + ", ".join(means)
        )
    style.percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("test error (%)")
    style.legend_below(figure, panels[0], 3)
    return style.Drawing(
        figure,
        "Mean error in percent of a mask that was pruned at once and stays, trained as many times as IMP prunes, "
        f"beside those whose masks are found level by level. {'. '.join(said)}.",
        f"At {verdicts.percent(without['density'][level], 0)} of the weights the fixed mask errs on "
        f"{verdicts.percent(end)} after {len(error)} trainings; {findings.LRR}, with as many and a mask found level by "
        f"level, on {verdicts.percent(other.mean())}.",
    )


def signs(refill, tickets):
    """Share of the kept weights whose sign is that of the last solution again, by level and rewind step."""
    figure, axes = style.canvas(height=4)
    steps, means = verdicts.rewind_steps(refill), refill["signs"].mean((0, 2))
    _where_matching(axes, refill, refill["signs"], tickets, steps)
    axes.axhline(0.5, color=style.GREY, linestyle="--", linewidth=1, label="chance")
    axes.set_ylim(0.45, 1.02)
    axes.set_ylabel("signs as in the last solution (%)")
    style.legend_below(figure, axes, 4)
    return style.Drawing(
        figure,
        "Of the weights that survive a pruning, those that come out of retraining with the sign they had, means over "
        f"levels in percent: {_by_step(refill, refill['signs'])}; chance would give 50. Filled: IMP matches there.",
        f"Retrained from step {steps[0]}, {verdicts.percent(means[0], 0)} of the weights have the sign of the last "
        f"solution, and {verdicts.percent(means[-1], 0)} from step {steps[-1]} (filled where IMP matches).",
    )


def _where_matching(axes, refill, values, tickets, steps):
    """Values (levels - 1, K, R) of solutions from level 1 on, a line a rewind step; filled where IMP matches."""
    density, every = refill["density"][1:-1], verdicts.rewind_steps(refill)
    last = findings.last_matching(tickets["error"], tickets, findings.EPSILON).tolist()
    for k in steps:
        i, (colour, marker) = every.index(k), style.look(refill, k)
        style.spread(axes, density, values[:, i], f"k = {k}", colour, marker, markerfacecolor="white")
        axes.plot(density[: last[i]], values[: last[i], i].mean(-1), marker, color=colour)
    style.remaining_axis(axes, density)
    style.percent_axis(axes.yaxis)


def _by_step(record, values):
    """Means of values (levels, K, R) by rewind step, in percent, for a description."""
    means = values.mean((0, 2)).tolist()
    return ", ".join(f"k = {k} {100 * m:.0f}" for k, m in zip(verdicts.rewind_steps(record), means, strict=True))
