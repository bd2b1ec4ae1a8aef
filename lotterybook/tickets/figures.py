"""Figures of chapter 1."""

from itertools import pairwise

import torch
from matplotlib.colors import ListedColormap

from .. import style, verdicts
from ..panes import Panes


def _finish(axes, density):
    style.remaining_axis(axes, density)
    style.error_axis(axes)
    style.legend(axes)


def examples(ds):
    """One training example of each class: pictures, or features against position."""
    rows = 2
    columns = -(-min(ds.num_classes, 10) // rows)
    figure, axes = style.canvas(rows, columns, height=2.6, sharex=True, sharey=True)
    for label, panel in enumerate(axes.flat[: ds.num_classes]):
        example = ds.train_x[ds.train_y == label][0].cpu()
        if example.dtype == torch.uint8:
            panel.imshow(example, cmap="gray_r")
            panel.set_axis_off()
        else:
            panel.plot(example.flatten(), color=style.BLUE)
            panel.set(xlabel="position", ylabel="value")
            panel.label_outer()
        panel.set_title(f"class {label}")
    what = "pictures" if ds.train_x.dtype == torch.uint8 else "noisy curves"
    shown = f"each of the {ds.num_classes}" if ds.num_classes <= 10 else f"the first 10 of {ds.num_classes}"
    return style.Drawing(figure, f"One example of {shown} classes of {ds.name}: {what}.")


def errors(tickets):
    """Test error against weights remaining, one line a rewind step."""
    figure, axes = style.canvas()
    style.dense(axes, tickets)
    style.by_step(axes, tickets["density"], tickets["error"], tickets)
    _finish(axes, tickets["density"])
    last = verdicts.sparsest_matching(tickets).tolist()
    said = "; ".join(
        f"{name} matches the dense network down to {verdicts.percent(tickets['density'][level], 0)} of the weights"
        if level > 0 else f"{name} never matches"
        for name, level in zip(style.step_names(tickets), last, strict=True)
    )  # fmt: skip
    return style.Drawing(figure, f"Test error against weights remaining, a line for each rewind step: {said}.")


def matching(tickets):
    """Share of replicates that match, level by rewind step."""
    matching, replicates = verdicts.matching(tickets).sum(-1).T, tickets["error"].shape[-1]
    figure, axes = style.canvas(height=0.5 * len(matching) + 1.4)
    style.counts(axes, matching, replicates)
    names = style.step_names(tickets)
    axes.set_yticks(range(len(matching)), names)
    axes.set_xticks(range(matching.shape[1]), [f"{100 * d:.0f}" for d in tickets["density"].tolist()])
    axes.set_xlabel("weights remaining (%)")
    axes.set_title(f"replicates, of {replicates}, that match the dense network")
    said = "; ".join(f"{name}: {', '.join(map(str, row))}" for name, row in zip(names, matching.tolist(), strict=True))
    return style.Drawing(figure, f"Replicates of {replicates} that match, from dense to the sparsest level. {said}.")


def masks(run):
    """What IMP prunes at each level of its first replicate, a pane a level: in the largest layer, and by magnitude."""
    dense = run[0]
    layer = max(dense.mask, key=lambda name: dense.mask[name][0].numel())
    largest = max(float(dense.state[name][0].abs().max()) for name in dense.mask)
    edges = torch.linspace(-largest, largest, 61)
    drawings = {f"{n}": _mask(*pair, layer, edges) for n, pair in enumerate(pairwise(run.levels))}
    return Panes("level", drawings, list(drawings)[len(drawings) // 2])


def _mask(before, after, layer, edges):
    figure, (left, right) = style.canvas(1, 2, height=3.4, width_ratios=(5, 4))
    part = (before.mask[layer][0].int() + after.mask[layer][0].int()).cpu()  # 0 pruned, 1 pruned next, 2 kept
    colours = ListedColormap(["white", style.ORANGE, style.BLUE])
    left.imshow(part.flatten(1), cmap=colours, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    left.grid(False)
    left.set_xlabel("inputs × kernel positions" if part.dim() > 2 else "inputs")
    left.set_ylabel("outputs")
    share, all_ = verdicts.percent((part > 0).double().mean(), 0), verdicts.percent(before.density, 0)
    left.set_title(f"{layer.removesuffix('.weight')}, {share} of its weights")
    kept, gone = [], []
    for name, here in before.mask.items():
        weights, there = before.state[name][0], after.mask[name][0]
        kept.append(weights[there])
        gone.append(weights[here[0] & ~there])
    kept, gone = torch.cat(kept).cpu(), torch.cat(gone).cpu()
    right.hist([kept, gone], edges, stacked=True, color=[style.BLUE, style.ORANGE], label=["kept", "pruned next"])
    right.set_xlabel("weight")
    right.set_ylabel("number of weights")
    right.set_title(f"all layers, {all_} of the weights")
    style.legend(right)
    return style.Drawing(
        figure,
        f"{len(kept) + len(gone)} weights, {all_} of all. The {len(gone)} that are pruned next lie within "
        f"{float(gone.abs().max()):.2f} of zero; of the others half are larger than {float(kept.abs().median()):.2f}. "
        f"In the layer {layer} {share} of the weights are left.",
    )


def controls(tickets, control):
    """Test error of IMP and of every control, at the rewind step of the controls."""
    figure, axes = style.canvas()
    style.dense(axes, tickets)
    step = int(control["rewind_step"])
    column = tickets["rewind_step"].tolist().index(step)
    style.spread(axes, tickets["density"], tickets["error"][:, column], f"IMP, k = {step}", "black")
    arms = {
        "learning_rate_rewinding": ("learning-rate rewinding", style.BLUE),
        "one_shot": ("one-shot magnitude", style.GREEN),
        "reinitialized": ("IMP mask, reinitialized", style.GREY),
        "shuffled_mask": ("IMP mask, shuffled in layers", style.ORANGE),
        "random_mask": ("random mask", style.PINK),
    }
    for marker, (key, (name, colour)) in zip(style.MARKERS[1:], arms.items(), strict=False):
        style.spread(axes, control["density"], control[key], name, colour, marker)
    _finish(axes, tickets["density"])
    imp = tickets["error"][control["level"], column].mean(-1)
    excess = {name: control[key].mean(-1) - imp for key, (name, _) in arms.items()}
    said = "; ".join(f"{name} {100 * e[-1]:+.1f}" for name, e in excess.items())
    kept = verdicts.percent(control["density"][-1], 0)
    alt = f"Test error of IMP and five controls. At {kept} of the weights, in points above IMP: {said}."
    return style.Drawing(figure, alt)


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
    axes.set_xlabel("step k at which the two trainings part")
    axes.set_ylabel("instability (points of error)")
    style.percent_axis(axes.yaxis)
    style.legend(axes)
    said = ", ".join(f"{100 * m:.1f} at k = {int(k)}" for k, m in zip(steps, height.mean(1).tolist(), strict=True))
    falls = "falls with k" if (height.mean(1).diff() <= 0).all() else "against k"
    return style.Drawing(figure, f"Instability of the dense network in points of error {falls}: {said}.")


def contrast(plain):
    """The contrast to the main network: errors, and barriers between successive levels, for every rewind step."""
    figure, (left, right) = style.canvas(1, 2, height=3.6)
    style.dense(left, plain)
    style.by_step(left, plain["density"], plain["error"], plain)
    style.by_step(right, plain["density"][1:], plain["barrier"], plain)
    _finish(left, plain["density"])
    epsilon = verdicts.tolerance(plain)
    left.set_title("test error")
    style.barrier_axes(right, plain["density"], "barrier to the previous level", epsilon)
    style.legend(right, handles=right.get_lines()[-1:], loc="upper right")  # ε; the steps are those on the left
    levels, near = verdicts.sparsest_matching(plain).tolist(), style.within(plain, plain["barrier"], epsilon)
    said = "; ".join(
        f"{name} matches down to {verdicts.percent(plain['density'][level], 0)}" if level else f"{name} misses at once"
        for name, level in zip(style.step_names(plain), levels, strict=True)
    )
    top = torch.amax(plain["barrier"].mean(-1), 0).tolist()
    highest = ", ".join(f"{100 * t:.0f}" for t in top)
    return style.Drawing(
        figure,
        f"The network {verdicts.contrast_name(plain)}: {said} of the weights. Largest mean barriers between "
        f"successive levels, in points of error, in the same order: {highest}. {near}",
    )
