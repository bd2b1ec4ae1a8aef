"""Figures of chapter 1."""

import re
from itertools import pairwise

import torch
from matplotlib.patches import Patch

from .. import narrow, style, verdicts
from ..panes import Panes
from . import matching
from .shapes import fitted

ARMS = {  # of the controls, as the legend calls them, from the worst that is expected to the best
    "random_mask": ("random mask", style.PINK),
    "shuffled_mask": ("shuffled mask", style.ORANGE),
    "reinitialized": ("fresh weights", style.GREY),
    "fresh_start": ("fresh weights trained to k", style.BROWN),
    "one_shot": ("one-shot", style.GREEN),
    "learning_rate_rewinding": ("learning-rate rewinding", style.BLUE),
}


def examples(ds, classes=(0, 1, 2, 3, 4)):
    """Two noisy examples of some classes of MNIST-1D, each before its class's template as it lies in the example."""
    found = [fitted(ds.train_x[ds.train_y == label][:40].cpu(), label) for label in classes]
    figure, axes = style.canvas(2, len(classes), height=2.9, sharex=True, sharey=True)
    small, below = style.canvas(len(classes), 2, height=1.3 * len(classes), sharex=True, sharey=True)
    small.set_figwidth(narrow.WIDTH)
    for column, row, label, pairs in zip(axes.T, below, classes, found, strict=True):
        for panel, (example, template) in zip((*column, *row), pairs * 2, strict=True):
            panel.plot(template, color=style.GREY, alpha=0.45, linewidth=6, label="template")
            panel.plot(example, color=style.BLUE, linewidth=1.3, label="example")
            panel.set(xlabel="position", ylabel="value", xticks=(0, 20, 39))
            panel.label_outer()
        for panel in (column[0], *row):
            panel.set_title(f"digit {label}")
    for whole, panel in ((figure, axes[0, 0]), (small, below[0, 0])):
        style.legend_below(whole, panel, 2)
    count = len(found[0][0][0])
    return style.Drawing(
        figure,
        f"Two examples of each of the digits {', '.join(map(str, classes))}: curves of {count} noisy values. "
        "Behind each lies the template of its digit, a line through twelve points such as a hump for 0, moved, "
        "stretched and tilted to where it lies in the example.",
        caption=f"MNIST-1D has {count} noisy values an example; behind them the digit's template, moved, "
        "stretched and tilted to where it lies.",
        narrow=small,
    )


_MAGNITUDES = ((9, 4, 7, 1, 6, 2, 8, 5, 10, 3), (7, 3, 9, 0, 4, 0, 6, 2, 9, 5), (8, 4, 6, 0, 2, 0, 7, 0, 10, 0))


def loop():
    """The loop of IMP, drawn: three levels on the axis of training steps, and what pruning takes of ten weights."""
    figure, (left, right) = style.canvas(1, 2, height=3.6, width_ratios=(5, 4), sharey=True)
    for level, sizes in enumerate(_MAGNITUDES):
        start = 0.25 if level else 0
        arrow = {"arrowstyle": "-|>", "color": style.BLUE, "linewidth": 1.8, "shrinkA": 4, "shrinkB": 5}
        left.annotate("", (1, -level), (start, -level), arrowprops=arrow)
        left.plot([0.25, 1], [-level, -level], "D", color=style.BLUE, markerfacecolor="white", markevery=[0])
        left.plot([1], [-level], "o", color=style.BLUE)
        if level:
            name = f"$m^{{({level})}} \\odot w_k$"
            left.annotate(name, (0.25, -level), (-8, 0), textcoords="offset points", ha="right", va="center")
        left.annotate(f"$w^{{({level})}}$", (1, -level), (6, 5), textcoords="offset points")
        left.annotate("train", (0.66, -level), (0, 4), textcoords="offset points", ha="center", color=style.BLUE)
        if level < len(_MAGNITUDES) - 1:
            back = arrow | {"color": style.ORANGE, "linestyle": "--", "linewidth": 1.4}
            left.annotate("", (0.27, -level - 0.93), (1, -level - 0.07), arrowprops=back)
            left.annotate(
                "prune, rewind", (0.6, -level - 0.52), (0, 0), textcoords="offset points", color=style.ORANGE,
                ha="center", va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
        _ten_weights(right, level, sizes)
    left.plot([0], [0], "s", color=style.BLUE, markerfacecolor="white")
    for place, name in ((0, "$w_0$"), (0.25, "$w_k$")):
        left.annotate(name, (place, 0), (0, 9), textcoords="offset points", ha="center")
    left.set(xlim=(-0.1, 1.2), ylim=(-2.4, 0.6), yticks=[0, -1, -2], xlabel="step of training")
    left.set_yticklabels(["level 0", "level 1", "level 2"])
    left.set_xticks([0, 0.25, 1], ["0", "k", "last"])
    right.set(xlabel="the same ten weights", xticks=[])
    right.set_title("magnitudes after training")
    left.set_title("the loop")
    for axes in (left, right):
        axes.grid(False)
    called = [Patch(color=style.BLUE, label="kept"), Patch(color=style.ORANGE, label="pruned next")]
    figure.legend(handles=called, loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
    return style.Drawing(
        figure,
        "Drawn, not measured: the loop of IMP. Level 0 trains from the initialization w_0 through the rewind point "
        "w_k, after k steps, to the solution w^(0). The 20 % of the weights that are smallest there are pruned, 2 of "
        "10; the others go back to their values in w_k, and level 1 trains from step k to its own solution w^(1). The "
        "same again prunes the 2 smallest of the 8 left, and gives level 2.",
        caption="The loop, drawn and not measured: train, prune the smallest weights, rewind the others, train.",
    )


def _ten_weights(axes, level, sizes):
    """Magnitudes of ten weights at the end of a level, upon its line: those that are pruned next stand out."""
    left = sorted(size for size in sizes if size)
    for place, size in enumerate(sizes):
        if size:
            pruned = size in left[:2] and level < len(_MAGNITUDES) - 1
            colour, hatch = (style.ORANGE, "///") if pruned else (style.BLUE, None)
            axes.bar(place, 0.065 * size, 0.7, -level - 0.25, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        else:
            axes.plot([place - 0.3, place + 0.3], [-level - 0.25] * 2, color=style.GREY, linewidth=1)


def errors(tickets):
    """Test error against weights remaining, a line for each rewind step, its markers full where the mean matches."""
    figure, axes = style.canvas(height=4.4)
    _matching_band(axes, tickets)
    style.by_step(axes, tickets["density"], tickets["error"], tickets)
    for band in axes.collections:
        band.set_alpha(0.1)  # there are many
    density, mean = tickets["density"], tickets["error"].mean(-1)
    for i, step in enumerate(verdicts.rewind_steps(tickets)):
        colour, marker = style.look(tickets, step)
        missed = ~matching.within(mean[:, i] - mean[0].mean(), matching.EPSILON)
        axes.plot(density[missed], mean[missed, i], marker, color=colour, markerfacecolor="white", zorder=3)
    _finish(axes, density)
    style.legend(axes)
    far = matching.reach(tickets).tolist()
    said = [
        f"k = {k} {_down_to(density, level)}"
        for k, level in zip(verdicts.rewind_steps(tickets), far, strict=True)
    ]  # fmt: skip
    return style.Drawing(
        figure,
        "Test error against weights remaining, a line for each rewind step. Within half a point of the dense network: "
        f"{'; '.join(said)} of the weights. Markers are hollow where the mean does not match.",
        caption=f"IMP errs at most half a point more than the dense network from {_first_and_best(tickets)}; hollow "
        "symbols err more.",
    )


def _down_to(density, level):
    return f"down to {verdicts.percent(density[level], 0)}" if level else "at no pruned level"


def _first_and_best(tickets):
    """How far IMP matches from its first rewind step, and from the step from which it matches furthest."""
    steps, far = verdicts.rewind_steps(tickets), matching.reach(tickets).tolist()
    shown = dict.fromkeys((0, far.index(max(far))))
    told = (f"k = {steps[i]} {_down_to(tickets['density'], far[i])}" for i in shown)
    return f"{', and from '.join(told)} of the weights"


def _matching_band(axes, tickets):
    """Shade the errors that match: at most half a point above the mean dense one."""
    dense = float(tickets["error"][0].mean())
    axes.axhspan(dense, dense + matching.EPSILON, color=style.GREY, alpha=0.25, linewidth=0, label="matching")


def _finish(axes, density):
    """Axes of errors from about one percent on, against weights remaining."""
    style.remaining_axis(axes, density)
    style.error_axis(axes)
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in (0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.8) if low < tick < high])


def controls(tickets, control, fresh):
    """Test error of IMP, from the rewind step of the controls, and of every control."""
    figure, axes = style.canvas(height=4.9)
    _matching_band(axes, tickets)
    step = int(control["rewind_step"])
    column = verdicts.rewind_steps(tickets).index(step)
    style.spread(axes, tickets["density"], tickets["error"][:, column], f"IMP, k = {step}", "black")
    for marker, (name, error) in zip(style.MARKERS[1:], matching.beside(control, fresh).items(), strict=False):
        called, colour = ARMS[name]
        density = (fresh if name == "fresh_start" else control)["density"]
        style.spread(axes, density, error, called, colour, marker)
    _finish(axes, tickets["density"])
    style.legend_below(figure, axes, 3)
    at = matching.compared_at(tickets, control)
    above = matching.above_imp(tickets, control, fresh)
    last = {ARMS[name][0]: value[-1 if at is None else at].mean() for name, value in above.items()}
    kept = verdicts.percent(control["density"][-1 if at is None else at], 0)
    ordered = sorted(last, key=last.get)
    last = {name: f"{100 * value:+.1f}".replace("-", "−") for name, value in last.items()}
    return style.Drawing(
        figure,
        f"Test error against weights remaining of IMP from k = {step} and of {len(ARMS)} controls. At {kept} of the "
        f"weights, in points above IMP: {'; '.join(f'{name} {last[name]}' for name in ordered)}.",
        caption=f"At {kept} of the weights, in points above IMP: {ordered[-1]} {last[ordered[-1]]}, "
        f"{ordered[-2]} {last[ordered[-2]]}, …, {ordered[0]} {last[ordered[0]]}.",
    )


def masks(run):
    """What IMP has kept of each layer, and what it prunes next, in its first replicate; a pane a level."""
    drawings = {f"{level}": _mask(*pair) for level, pair in enumerate(pairwise(run.levels))}
    return Panes("level", drawings, list(drawings)[len(drawings) // 3])


def _mask(before, after):
    figure, (left, right) = style.canvas(1, 2, height=3.5)
    share = {_layer(name): float(keep[0].double().mean()) for name, keep in before.mask.items()}
    left.barh(list(share), list(share.values()), color=style.BLUE)
    left.invert_yaxis()
    left.axvline(before.density, color=style.GREY, linestyle="--", linewidth=1)
    left.set_xlim(0, 1)
    style.percent_axis(left.xaxis)
    left.set(xlabel="weights remaining (%)", ylabel="layer", title="in each layer; dashed, in all")
    left.tick_params(axis="y", labelsize=9.5)
    kept, gone = [], []
    for name, here in before.mask.items():
        weights, there = before.state[name][0], after.mask[name][0]
        kept.append(weights[there])
        gone.append(weights[here[0] & ~there])
    kept, gone = torch.cat(kept).cpu(), torch.cat(gone).cpu()
    largest = float(torch.cat([kept, gone]).abs().quantile(0.99))
    edges = torch.linspace(-largest, largest, 61).tolist()
    right.hist([kept, gone], edges, stacked=True, color=[style.BLUE, style.ORANGE], label=["kept", "pruned next"])
    right.set(xlabel="weight", ylabel="number of weights", title="after training")
    right.locator_params(axis="x", nbins=4)
    style.legend_below(figure, right, 2)
    most, least = max(share, key=share.get), min(share, key=share.get)
    told = f"{verdicts.percent(share[most], 0)} of {most} and {verdicts.percent(share[least], 0)} of {least}"
    all_ = verdicts.percent(before.density, 0)
    return style.Drawing(
        figure,
        f"{len(kept) + len(gone)} weights, {all_} of all, among them {told}. The {len(gone)} that are pruned next lie "
        f"within {float(gone.abs().max()):.2f} of zero; of the others half are larger than "
        f"{float(kept.abs().median()):.2f}.",
        caption=f"Where {all_} of all weights remain, IMP has kept {told}.",
    )


def _layer(name):
    """What a figure calls a layer: ``blocks.0.conv1.weight`` is block 1, conv 1."""
    name = re.sub(r"blocks\.(\d+)\.", lambda match: f"block {int(match[1]) + 1}, ", name.removesuffix(".weight"))
    return re.sub(r"conv(\d)", r"conv \1", name.removesuffix(".0"))


def instability(record):
    """Instability of the dense network against the step k at which its two trainings part."""
    figure, axes = style.canvas()
    steps, height = record["rewind_step"], record["height"]
    positions = range(len(steps))
    for r in range(height.shape[1]):
        axes.plot(positions, height[:, r], "o", color=style.BLUE, alpha=0.35)
    axes.plot(positions, height.mean(1), color=style.BLUE, label="mean over replicates")
    axes.axhline(verdicts.STABLE, color=style.GREY, linestyle="--", linewidth=1, label="stable below 2 points")
    axes.set_xticks(list(positions), [str(int(k)) for k in steps])
    axes.set(xlabel="step k at which the two trainings part", ylabel="instability (points of error)")
    style.rate_scale(axes, "y", high=1.0)
    style.legend(axes)
    mean = dict(zip(steps.tolist(), height.mean(1).tolist(), strict=True))
    said = ", ".join(f"{100 * m:.1f} at k = {k}" for k, m in mean.items())
    falls = "falls with k" if (height.mean(1).diff() <= 0).all() else "against k"
    stable, first = matching.stable_from(record), next(iter(mean))
    below = "at no step that was tried" if stable is None else f"from step {stable} on"
    return style.Drawing(
        figure,
        f"Instability of the dense network in points of error {falls}: {said}.",
        caption=f"Between two trainings that part at step {first} lies a barrier of {verdicts.points(mean[first])}; "
        f"it stays below 2 points {below}.",
    )


def contrast(plain, tickets, instability):
    """The plain network's errors; for each rewind step of both networks, how unstable, and how far it matches."""
    figure, (left, right) = style.canvas(1, 2, height=4.2)
    _matching_band(left, plain)
    style.by_step(left, plain["density"], plain["error"], plain)
    _finish(left, plain["density"])
    left.set_title("plain network: test error")
    style.legend(left)
    found = {}
    unstable = dict(zip(verdicts.rewind_steps(instability), instability["height"].mean(1).tolist(), strict=True))
    own = dict(zip(verdicts.rewind_steps(plain), plain["instability"].mean(1).tolist(), strict=True))
    for record, heights, name, colour, marker in (
        (tickets, unstable, "residual", style.BLUE, "o"), (plain, own, "plain", style.ORANGE, "s"),
    ):  # fmt: skip
        kept = dict(zip(verdicts.rewind_steps(record), record["density"][matching.reach(record)].tolist(), strict=True))
        both = [(heights[k], kept[k], k) for k in kept if k in heights]
        right.plot(*zip(*[(x, y) for x, y, _ in both], strict=True), marker, color=colour, label=name)
        for place, (x, y, k) in enumerate(both):  # neighbours on opposite sides, and clear of the dashed line
            right.annotate(
                f"{k}", (x, y), (4, -13 if place % 2 else 5), textcoords="offset points", fontsize=9, color=colour,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
        found[name] = [(x < verdicts.STABLE, y) for x, y, _ in both]
    right.axvline(verdicts.STABLE, color=style.GREY, linestyle="--", linewidth=1)
    style.rate_scale(right, "x", high=1.2)
    right.set_xticks([0, 0.005, 0.02, 0.05, 0.2, 0.5])
    right.set_yscale("log")
    right.set_ylim(0.7 * min(y for points in found.values() for _, y in points), 1.15)
    right.set_yticks([1, 0.5, 0.3, 0.2, 0.1], ["100", "50", "30", "20", "10"])
    right.set_yticks([], minor=True)
    right.yaxis.get_major_formatter().times = 100
    right.set(xlabel="instability at step k (points)", ylabel="matches down to (% of the weights)")
    right.set_title("each rewind step, both networks")
    style.legend_below(figure, right, 2)
    steps = [f"k = {k} {_down_to(plain['density'], level)}" for k, level in _reached(plain)]
    told = (f"the {name} network down to {_by_stability(points)}" for name, points in reversed(found.items()))
    return style.Drawing(
        figure,
        f"The plain network matches within half a point: {'; '.join(steps)} of its weights. Each rewind step of both "
        "networks, by the instability there and the fewest weights at which IMP matches.",
        caption=f"IMP matches in {'; in '.join(told)}.",
    )


def _reached(record):
    return zip(verdicts.rewind_steps(record), matching.reach(record).tolist(), strict=True)


def _by_stability(points):
    """Which shares of the weights belong to stable rewind steps, and which to the others: of (stable, share)."""
    groups = [[share for stable, share in points if stable == wanted] for wanted in (True, False)]
    words = "where training is stable", "where it is not"
    return ", and ".join(
        f"{_range(group)} % of the weights {word}" for group, word in zip(groups, words, strict=True) if group
    )


def _range(shares):
    low, high = (f"{100 * limit(shares):.0f}" for limit in (min, max))
    return low if low == high else f"{low} to {high}"
