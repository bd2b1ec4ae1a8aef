"""Figures of chapter 6; the map of weights and examples is drawn by ``maps``."""

import torch

from .. import narrow, style, verdicts
from ..panes import Panes
from ..settings import ORDERS
from . import readings

LOOKS = {"easiest": (style.GREEN, "s"), "random": (style.BLUE, "o"), "hardest": (style.ORANGE, "^")}
WHOLE = ("black", "D")  # where all examples are seen
SHARES = ("-", "--", ":", "-.")  # shares of one order, from the largest down


def examples(ds, record):
    """The easiest and the hardest training example of three classes: those of least, middling and highest scores."""
    score, labels = record["score"][readings.scored(record)], ds.train_y.cpu()
    by_class = torch.stack([score[labels == label].mean() for label in range(ds.num_classes)]).argsort()
    chosen = by_class[[0, ds.num_classes // 2, -1]].tolist()
    figure, wide = style.canvas(2, 3, height=4.0, sharex=True, sharey=True)
    small, below = style.canvas(3, 2, height=4.8, sharex=True, sharey=True)
    small.set_figwidth(narrow.WIDTH)
    found = []
    for label, *places in zip(chosen, wide.T, below, strict=True):
        own = (labels == label).nonzero()[:, 0]
        for pick, *panels in zip((score[own].argmin(), score[own].argmax()), *places, strict=True):
            at = int(own[pick])
            for axes, name in zip(panels, (f"class {label}, EL2N", f"class {label}:"), strict=True):
                axes.plot(ds.train_x[at].cpu().flatten(), color=style.BLUE)
                axes.set_title(f"{name} {score[at]:.2f}")
                axes.set(xlabel="position", ylabel="value")
                axes.label_outer()
            found.append(f"{score[at]:.2f}")
    low, high = ", ".join(found[::2]), ", ".join(found[1::2])
    named = ", ".join(map(str, chosen))
    return style.Drawing(
        figure,
        f"Top, the easiest training example of the classes {named}, with EL2N of {low}; below, the hardest, with "
        f"{high}. Each is a curve over 40 positions.",
        caption=f"The easiest training example of three classes (EL2N {low}), and the hardest of each ({high}).",
        narrow=small,
    )


def ranking(record):
    """How reliable the ranking is, by step, and which classes its two ends are made of."""
    figure, (left, right) = style.canvas(1, 2, height=3.9)
    steps, here = record["step"].tolist(), readings.scored(record)
    places = range(len(steps))
    style.spread(left, places, record["halves"], "two halves of them", style.BLUE)
    style.spread(left, places, record["single"], "one and the others", style.ORANGE, "s")
    left.plot(places, record["between"][here], color=style.GREY, marker="^", label=f"step {steps[here]} and this one")
    left.set_xticks(list(places), [str(step) for step in steps])
    left.set_xlabel("steps of training")
    left.set_ylabel("rank correlation")
    left.set_ylim(top=1.02)
    style.legend(left, loc="lower center")
    easy, hard = record["classes"].double()
    classes = range(len(easy))
    right.bar([c - 0.2 for c in classes], easy.tolist(), 0.4, color=style.GREEN, label="easiest")
    look = {"color": style.ORANGE, "hatch": "//", "edgecolor": "white"}
    right.bar([c + 0.2 for c in classes], hard.tolist(), 0.4, label="hardest", **look)
    right.set_xticks(list(classes))
    right.set_xlabel("class")
    right.set_ylabel("examples")
    style.legend(right)
    halves, single, count = record["halves"][here].mean(), record["single"][here].mean(), int(easy.sum())
    full = [int((end > 0).sum()) for end in (easy, hard)]
    return style.Drawing(
        figure,
        f"Rank correlations at step {steps[here]}: {halves:.2f} between the means over two halves of the "
        f"initializations, {single:.2f} between one and the mean of the others; by step, between halves "
        f"{_listed(record['halves'].mean(-1))}, of one with the others {_listed(record['single'].mean(-1))}. The "
        f"{count} easiest examples by class: {_counts(easy)}; the {count} hardest: {_counts(hard)}.",
        caption=f"After {steps[here]} steps the rankings by two halves of the initializations correlate by "
        f"{halves:.2f}, that by a single one with the others by {single:.2f}; the {count} easiest examples come from "
        f"{full[0]} classes, the {count} hardest from {full[1]}.",
    )


def noise(record):
    """Scores of true and of false labels, a pane for each step, and how well the one are told from the other."""
    steps = [str(step) for step in record["step"].tolist()]
    drawings = {name: _noise(record, i) for i, name in enumerate(steps)}
    here, last = readings.scored(record), len(steps) - 1
    told = [verdicts.percent(record["precision"][i], 0) for i in (here, last)]
    return Panes(
        "step", drawings, steps[here],
        caption=f"Of the {len(record['wrong'])} highest scores {told[0]} belong to false labels after {steps[here]} "
        f"steps, and {told[1]} after {steps[last]}.",
    )  # fmt: skip


def _noise(record, i):
    figure, (left, right) = style.canvas(1, 2, height=3.6)
    score, wrong = record["mislabelled"][i], record["wrong"]
    true = torch.ones(len(score), dtype=torch.bool)
    true[wrong] = False
    edges = torch.linspace(0, 2**0.5, 29)
    for values, name, options in (
        (score[true], "true labels", {"color": style.BLUE, "alpha": 0.55}),
        (score[~true], "false labels", {"color": style.ORANGE, "hatch": "//", "edgecolor": "white"}),
    ):
        left.hist(values.numpy(), edges.numpy(), weights=[1 / len(values)] * len(values), label=name, **options)
    style.percent_axis(left.yaxis)
    left.set_xlabel("EL2N, mean over initializations")
    left.set_ylabel("share of the labels (%)")
    step = int(record["step"][i])
    left.set_title(f"after {step} steps")
    style.legend(left)
    places = range(len(record["step"]))
    right.plot(places, record["precision"], color="black", marker="D", label="mean over initializations")
    style.spread(right, places, record["precision_single"], "one initialization", style.GREY, "v")
    right.axvline(i, color=style.ORANGE, linestyle=":", linewidth=1.2)
    chance = len(wrong) / len(score)
    right.axhline(chance, color=style.GREY, linestyle="--", linewidth=1, label="chance")
    right.set_xticks(list(places), [str(step) for step in record["step"].tolist()])
    right.set_xlabel("steps of training")
    right.set_ylim(0, 1.02)
    style.percent_axis(right.yaxis)
    right.set_ylabel("false among the highest (%)")
    style.legend(right, loc="lower right")
    return style.Drawing(
        figure,
        f"After {step} steps the median score of true labels is {score[true].median():.2f}, of false ones "
        f"{score[~true].median():.2f}; a false one has the higher score in {verdicts.percent(record['auc'][i])} of "
        f"all pairs. Of the {len(wrong)} highest scores {verdicts.percent(record['precision'][i], 0)} are false by the "
        f"mean over initializations and {verdicts.percent(record['precision_single'][i].mean(), 0)} by a single one.",
    )


def starts(record, k):
    """IMP from rewind points that saw a share of the examples: errors and barriers; a pane for each rewind step."""
    some = readings.starts(record)
    drawings = {f"{step}": _starts(record, readings.pick(some, step)) for step in record["all_step"].tolist()}
    (whole,) = readings.pick(some, k, None)
    level = readings.reach(whole.error, readings.dense(record))
    others = readings.pick(some, k, "random")
    told = "; ".join(f"{one.name}, {verdicts.percent(one.error[level].mean(), 2)}" for one in [*others, whole])
    where = verdicts.percent(record["density"][level], 0)
    return Panes(
        "rewind step", drawings, f"{k}",
        caption=f"Mean error at {where} of the weights, by what the first {k} steps saw: {told}.",
    )  # fmt: skip


def _starts(record, some):
    figure, (left, right) = style.canvas(1, 2, height=4.7)
    density, dense = record["density"], readings.dense(record)
    for one in some:
        look, line = _look(one)
        style.spread(left, density, one.error, one.name, *look, linestyle=line)
        style.spread(right, density[1:], one.barrier, one.name, *look, linestyle=line)
    left.axhline(dense + readings.EPSILON, color=style.GREY, linestyle="--", linewidth=1, label="matching")
    style.remaining_axis(left, density)
    style.error_axis(left)
    style.barrier_axes(right, density, "", readings.EPSILON)
    right.set_ylabel("barrier to the level before (points)")
    style.legend_below(figure, left, 3)
    told = "; ".join(
        f"{one.name} {verdicts.percent(one.error[-1].mean(), 2)}, matching down to "
        f"{_weights(record, readings.reach(one.error, dense))}, highest mean barrier "
        f"{verdicts.points(one.barrier.mean(-1).max())}"
        for one in some
    )
    last = verdicts.percent(density[-1], 0)
    return style.Drawing(figure, f"Rewind points of {some[0].step} steps, error at {last} of the weights: {told}.")


def _look(start):
    """Colour and marker of a start, and its dashes, which tell its share."""
    if start.order is None:
        return WHOLE, "-"
    return LOOKS[start.order], "--" if start.share < 0.1 else "-"


def _weights(record, level):
    return f"{verdicts.percent(record['density'][level], 0)} of the weights" if level > 0 else "no level"


def cost(record, k):
    """How much worse IMP gets by a start on a share of the examples, at the last level where all of them let it match.

    A panel a rewind step, a line an order, against the share; the error with all examples at step ``k`` is zero.
    """
    some = readings.starts(record)
    (whole,) = readings.pick(some, k, None)
    level, steps = readings.reach(whole.error, readings.dense(record)), record["all_step"].tolist()
    figure, panels = style.panels(len(steps), 3.9, sharey=True)
    for axes, step in zip(panels, steps, strict=True):
        (here,) = readings.pick(some, step, None)
        for order, (colour, marker) in LOOKS.items():
            line = [*sorted(readings.pick(some, step, order), key=lambda one: one.share), here]
            if len(line) > 1:
                gaps = torch.stack([one.error[level] for one in line]) - whole.error[level].mean()
                style.spread(axes, [one.share for one in line], gaps, order, colour, marker)
        axes.axhline(readings.EPSILON, color=style.GREY, linestyle="--", linewidth=1, label="half a point")
        style.share_axis(axes.xaxis, sorted({one.share for one in readings.pick(some, step)}))
        axes.set_xlabel("examples seen before step k (%)")
        style.percent_axis(axes.yaxis)
        axes.set_ylabel("error above all examples (points)")
        axes.set_title(f"k = {step}")
        axes.label_outer()
    style.legend_below(figure, panels[0], 4)
    told = [
        f"k = {one.step}, {one.name} {verdicts.points(readings.gap(one, whole, level), 2)}"
        for one in some
        if one.order is not None or one.step != k
    ]
    least = min(one.share for one in some)
    few = readings.pick(some, k, share=least)
    brief = ", ".join(f"{one.order} {verdicts.points(readings.gap(one, whole, level), 2)}" for one in few)
    where = _weights(record, level)
    return style.Drawing(
        figure,
        f"At {where}, where IMP from step {k} with all examples matches last, mean error above it: {'; '.join(told)}.",
        caption=f"What it costs at {where} if the first {k} steps saw {verdicts.percent(least, 0)} of the examples: "
        f"{brief}.",
    )


def sizes(record):
    """Error of dense networks against the number of examples kept, a panel for each size of the training set."""
    figure, panels = style.panels(len(record["size"]), 3.7, sharey=True)
    told, brief = [], []
    for axes, size, full, errors, kept in zip(
        panels, *(record[name] for name in ("size", "full", "error", "examples")), strict=True
    ):
        counts = [*kept.tolist(), int(size)]
        for order, error in zip(ORDERS, errors, strict=True):
            style.spread(axes, counts, torch.cat([error, full[None]]), order, *LOOKS[order])
        style.share_axis(axes.xaxis, [count / int(size) for count in counts], counts)
        axes.set_xlabel("examples kept (%)")
        axes.set_title(f"of {int(size):,}")
        least = errors[:, int(kept.argmin())].mean(-1)
        named = ", ".join(f"{order} {verdicts.percent(e, 2)}" for order, e in zip(ORDERS, least, strict=True))
        told.append(f"{int(size):,} examples: all {verdicts.percent(full.mean(), 2)}; {min(counts):,} of them: {named}")
        brief.append(f"{ORDERS[int(least.argmin())]} of {int(size):,}")
    low = min(float(record["full"].min()), float(record["error"].min()))
    panels[0].set_yscale("log")
    panels[0].set_ylim(0.85 * low)
    style.error_axis(panels[0])
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    style.legend_below(figure, panels[0], 3)
    share = verdicts.percent(record["share"].min(), 0)
    return style.Drawing(
        figure,
        f"Mean error of dense networks. {'. '.join(told)}.",
        caption=f"Where {share} of the examples are kept, the lowest mean error is that with the {_and(brief)}.",
    )


def valley(record, curved):
    """Barriers between successive levels by what is kept of the examples, and what the curvature allows to prune."""
    figure, (left, right) = style.canvas(1, 2, height=4.4)
    density, order = record["density"][1:], (-record["share"]).argsort()
    style.spread(left, density, record["all_barrier"], "all examples", *WHOLE)
    told = [f"all examples {verdicts.points(record['all_barrier'].mean(-1).max())}"]
    for name, barriers in zip((ORDERS[int(o)] for o in record["order"]), record["barrier"], strict=True):
        for share, line in zip(order.tolist(), SHARES[1:], strict=False):
            label = f"{name} {verdicts.percent(record['share'][share], 0)}"
            style.spread(left, density, barriers[share], label, *LOOKS[name], linestyle=line)
            told.append(f"{label} {verdicts.points(barriers[share].mean(-1).max())}")
    style.barrier_axes(left, record["density"], "", readings.EPSILON)
    left.set_ylabel("barrier to the level before (points)")
    promised = []
    shares = [1.0, *curved["share"][order].tolist()]
    whole = curved["all_predicted"][1, 0]
    for name, values in zip((ORDERS[int(o)] for o in curved["order"]), curved["predicted"], strict=True):
        line = torch.cat([whole[None], values[order, 1, 0]])
        style.spread(right, shares, line, name, *LOOKS[name])
        promised.append(f"{name} {verdicts.percent(line[-1].mean(), 0)}")
    style.share_axis(right.xaxis, shares)
    right.set_xlim(1.15, shares[-1] / 1.15)
    right.set_xlabel("examples kept (%)")
    style.percent_axis(right.yaxis)
    right.set_ylabel("allowed at once, at random (%)")
    style.legend(right)
    style.legend_below(figure, left, 3)
    share = verdicts.percent(shares[-1], 0)
    fractions = f"{verdicts.percent(whole.mean(), 0)} with all examples; with {share} of them, {', '.join(promised)}"
    return style.Drawing(
        figure,
        f"Highest mean barrier between successive levels: {'; '.join(told)}. Fraction of the dense network's weights "
        f"that the curvature allows to prune at random: {fractions}.",
        caption=f"The curvature of the dense network's valley allows to prune at random {fractions}.",
    )


def _listed(values):
    return ", ".join(f"{value:.2f}" for value in values.tolist())


def _counts(values):
    return ", ".join(f"{value:.0f}" for value in values.tolist())


def _and(words):
    return words[0] if len(words) == 1 else f"{', the '.join(words[:-1])} and the {words[-1]}"
