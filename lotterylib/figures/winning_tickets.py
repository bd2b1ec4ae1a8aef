"""Figures of chapter 1."""

import torch

from .. import findings
from . import style


def _names(tickets):
    return [f"k = {k}" for k in tickets["rewind_step"].tolist()]


def _dense(axes, tickets):
    dense, epsilon = float(tickets["error"][0].mean()), findings.tolerance(tickets)
    axes.axhspan(dense - epsilon, dense + epsilon, color=style.GREY, alpha=0.25, linewidth=0)
    axes.axhline(dense, color=style.GREY, linewidth=1, linestyle="--", label="dense ± ε")


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
        panel.set_title(f"class {label}")
    what = "pictures" if ds.train_x.dtype == torch.uint8 else "noisy curves"
    shown = f"each of the {ds.num_classes}" if ds.num_classes <= 10 else f"the first 10 of {ds.num_classes}"
    return style.Drawing(figure, f"One example of {shown} classes of {ds.name}: {what}.")


def errors(tickets):
    """Test error against weights remaining, one line a rewind step."""
    figure, axes = style.canvas()
    _dense(axes, tickets)
    steps = _names(tickets)
    for i, (name, colour) in enumerate(zip(steps, style.shades(len(steps)), strict=True)):
        style.spread(axes, tickets["density"], tickets["error"][:, i], name, colour, style.MARKERS[i])
    _finish(axes, tickets["density"])
    last = findings.sparsest_matching(tickets).tolist()
    said = "; ".join(
        f"{name} matches the dense network down to {findings.percent(tickets['density'][level], 0)} of the weights"
        if level > 0 else f"{name} never matches"
        for name, level in zip(steps, last, strict=True)
    )  # fmt: skip
    return style.Drawing(figure, f"Test error against weights remaining, a line for each rewind step: {said}.")


def matching(tickets):
    """Share of replicates that match, level by rewind step."""
    share = findings.matching(tickets).double().mean(-1).T
    figure, axes = style.canvas(height=0.5 * len(share) + 1.4)
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.grid(False)
    replicates = tickets["error"].shape[-1]
    for (row, column), value in ((divmod(i, share.shape[1]), v) for i, v in enumerate(share.flatten().tolist())):
        colour = "white" if value > 0.6 else "black"
        axes.text(column, row, f"{round(value * replicates)}", ha="center", va="center", color=colour)
    axes.set_yticks(range(len(share)), _names(tickets))
    axes.set_xticks(range(share.shape[1]), [f"{100 * d:.0f}" for d in tickets["density"].tolist()])
    axes.set_xlabel("weights remaining (%)")
    axes.set_title(f"replicates, of {replicates}, that match the dense network")
    said = "; ".join(
        f"{name}: {', '.join(str(round(v * replicates)) for v in row)}"
        for name, row in zip(_names(tickets), share.tolist(), strict=True)
    )
    return style.Drawing(figure, f"Replicates of {replicates} that match, from dense to the sparsest level. {said}.")


def controls(tickets, control):
    """Test error of IMP and of every control, at the rewind step of the controls."""
    figure, axes = style.canvas()
    _dense(axes, tickets)
    step = int(control["rewind_step"])
    column = tickets["rewind_step"].tolist().index(step)
    style.spread(axes, tickets["density"], tickets["error"][:, column], f"IMP, k = {step}", "black")
    arms = {
        "learning_rate_rewinding": ("learning-rate rewinding", style.BLUE),
        "one_shot": ("one-shot magnitude", style.GREEN),
        "reinitialized": ("IMP mask, reinitialized", style.PURPLE),
        "shuffled_mask": ("IMP mask, shuffled in layers", style.ORANGE),
        "random_mask": ("random mask", style.RED),
    }
    for marker, (key, (name, colour)) in zip(style.MARKERS[1:], arms.items(), strict=False):
        style.spread(axes, control["density"], control[key], name, colour, marker)
    _finish(axes, tickets["density"])
    imp = tickets["error"][control["level"], column].mean(-1)
    excess = {name: control[key].mean(-1) - imp for key, (name, _) in arms.items()}
    said = "; ".join(f"{name} {100 * e[-1]:+.1f}" for name, e in excess.items())
    kept = findings.percent(control["density"][-1], 0)
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
    axes.axhline(findings.STABLE, color=style.GREY, linestyle="--", linewidth=1, label="stable below 2 points")
    axes.set_xticks(list(positions), [str(int(k)) for k in steps])
    axes.set_xlabel("step k at which the two trainings part")
    axes.set_ylabel("instability (points of error)")
    style.percent_axis(axes.yaxis)
    style.legend(axes)
    said = ", ".join(f"{100 * m:.1f} at k = {int(k)}" for k, m in zip(steps, height.mean(1).tolist(), strict=True))
    return style.Drawing(figure, f"Instability of the dense network in points of error falls with k: {said}.")


def contrast(plain):
    """The contrast to the main network: errors, and barriers between successive levels, for every rewind step."""
    figure, (left, right) = style.canvas(1, 2, width=9, height=3.6)
    _dense(left, plain)
    for i, (name, colour) in enumerate(zip(_names(plain), style.shades(len(plain["rewind_step"])), strict=True)):
        style.spread(left, plain["density"], plain["error"][:, i], name, colour, style.MARKERS[i])
        style.spread(right, plain["density"][1:], plain["barrier"][:, i], name, colour, style.MARKERS[i])
    _finish(left, plain["density"])
    style.remaining_axis(right, plain["density"])
    style.percent_axis(right.yaxis)
    right.set_ylabel("barrier to the previous level (points)")
    levels = findings.sparsest_matching(plain).tolist()
    said = ", ".join(
        f"{findings.percent(plain['density'][level], 0)} for {name}" if level else f"nothing for {name}"
        for name, level in zip(_names(plain), levels, strict=True)
    )
    top = torch.amax(plain["barrier"].mean(-1), 0).tolist()
    highest = ", ".join(f"{100 * t:.0f}" for t in top)
    return style.Drawing(
        figure,
        f"The network {findings.contrast_name(plain)}. It matches down to {said}. Largest mean barriers between "
        f"successive levels, in points of error, in the same order: {highest}.",
    )
