"""Figures of the evidence for claim C0."""

from .. import style, verdicts
from . import evidence

ARMS = {  # of the controls, as the legend calls them, from the worst that is expected to the best
    "random_mask": ("random mask", style.PINK),
    "shuffled_mask": ("mask shuffled in layers", style.ORANGE),
    "reinitialized": ("mask, fresh weights", style.GREY),
    "fresh_start": ("mask, fresh weights trained to k", style.BROWN),
    "one_shot": ("one-shot magnitude", style.GREEN),
    "learning_rate_rewinding": ("learning-rate rewinding", style.BLUE),
}


def errors(tickets, control, fresh):
    """Test error against weights remaining: IMP from every rewind step, and at one of them beside all controls."""
    figure, (left, right) = style.canvas(1, 2, height=4.9, sharey=True)
    density, step = tickets["density"], int(control["rewind_step"])
    style.by_step(left, density, tickets["error"], tickets)
    column = verdicts.rewind_steps(tickets).index(step)
    style.spread(right, density, tickets["error"][:, column], f"IMP, k = {step}", "black")
    for marker, (name, (called, colour)) in zip(style.MARKERS[1:], ARMS.items(), strict=False):
        record, entry = (fresh, "error") if name == "fresh_start" else (control, name)
        style.spread(right, record["density"], record[entry], called, colour, marker)
    dense = float(tickets["error"][0].mean())
    for axes in (left, right):
        axes.axhspan(dense, dense + evidence.EPSILON, color=style.GREY, alpha=0.25, linewidth=0, label="matching")
        style.remaining_axis(axes, density)
    style.error_axis(left)
    left.set_title("IMP, rewound to step k")
    right.set_title(f"controls, k = {step}")
    style.legend(left)
    lines, names = right.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    reached = "; ".join(
        f"{name} to {verdicts.percent(density[level], 0)}"
        for name, level in zip(style.step_names(tickets), evidence.reach(tickets).tolist(), strict=True)
    )
    last = "; ".join(
        f"{ARMS[name][0]} {100 * float(value[-1].mean()):+.1f}"
        for name, value in evidence.above_imp(tickets, control, fresh).items()
    )
    return style.Drawing(
        figure,
        f"Test error against weights remaining. IMP stays within half a point of the dense network: {reached} of the "
        f"weights. At the controls' last level, in points above IMP from k = {step}: {last}.",
    )
