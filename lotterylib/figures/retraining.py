"""Figures of chapter 5."""

import torch

from .. import findings
from . import style
from .panes import Panes

_ARMS = {
    "rewound": ("IMP: rewound, then retrained", "black", "o"),
    "kept": ("weights kept, schedule rewound", style.BLUE, "s"),
    "short": ("weights kept, short retraining", style.GREEN, "D"),
    "none": ("no retraining", style.RED, "^"),
}


def _histogram(axes, edges, shares, name, colour, **options):
    """Shares of bins that are equally wide on a logarithmic axis; the first bin, down to zero, is not drawn."""
    axes.stairs(shares[1:], edges[1:], color=colour, label=name, **options)


def _magnitude_axis(axes, top):
    axes.set_xscale("log")
    axes.set_xlim(1e-3, 3)
    axes.set_ylim(0, 1.1 * float(top))
    axes.set_xlabel("magnitude")
    style.percent_axis(axes.yaxis)


_TRIO = (
    ("solution", "#C4C4C4", {"fill": True}),
    ("projection", style.ORANGE, {"linewidth": 1.8}),
    ("next solution", style.BLUE, {"linewidth": 1.8}),
)


def magnitudes(record):
    """Magnitudes of solution, projection and next solution, mean over replicates; a pane for each level."""
    shares = record["all"].mean(2)
    drawings = {f"{level}": _magnitudes(record, shares, level) for level in range(len(shares))}
    return Panes("level", drawings, list(drawings)[len(drawings) // 2])


def _magnitudes(record, shares, level):
    figure, axes = style.canvas(height=3.5)
    edges = record["edges"]
    for (name, colour, options), share in zip(_TRIO, shares[level], strict=True):
        _histogram(axes, edges, share, name, colour, **options)
    if level:
        _histogram(axes, edges, shares[0, 0], "dense solution", "black", linewidth=1.5, linestyle=":")
    _magnitude_axis(axes, shares.max())
    axes.set_title(f"level {level}, {findings.percent(record['density'][level], 0)} of the weights")
    axes.set_ylabel("weights (% a bin)")
    style.legend(axes, loc="upper left")
    lowest = [float(edges[int((share.cumsum(0) >= 0.05).long().argmax()) + 1]) for share in shares[level]]
    return style.Drawing(
        figure,
        f"Histograms of the magnitudes of weights at level {level}. Magnitude below which 5 percent lie: "
        f"{lowest[0]:.2f} in the solution, {lowest[1]:.2f} in its projection, {lowest[2]:.2f} in the next solution.",
    )


def layers(record, level, names):
    """The same for each layer, at one level."""
    figure, panels = style.panels(len(names), 2.7, sharex=True, sharey=True)
    edges = record["edges"]
    for panel, name, shares in zip(panels, names, record["layer"][:, level], strict=True):
        for (part, colour, options), share in zip(_TRIO, shares, strict=True):
            _histogram(panel, edges, share, part, colour, **options)
        _magnitude_axis(panel, record["layer"][:, level].max())
        panel.set_title(name.removesuffix(".weight"))
        panel.set_ylabel("weights (% a bin)")
        panel.label_outer()
    style.legend(panels[0])
    medians = [
        f"{name.removesuffix('.weight')} {float(edges[int((shares[2].cumsum(0) >= 0.5).long().argmax()) + 1]):.2f}"
        for name, shares in zip(names, record["layer"][:, level], strict=True)
    ]
    return style.Drawing(
        figure,
        f"Magnitudes of solution, projection and next solution in each layer at level {level}. Median magnitude of the "
        f"next solution: {', '.join(medians)}.",
    )


def _lines(axes, record, entry, density):
    style.by_step(axes, density, record[entry], record)
    style.remaining_axis(axes, density)
    style.percent_axis(axes.yaxis)


def _means(record, entry):
    means = record[entry].mean((0, 2)).tolist()
    return ", ".join(f"k = {k} {100 * m:.0f}" for k, m in zip(record["rewind_step"].tolist(), means, strict=True))


def refilled(record):
    """New small weights, and how many of the weights pruned next were small already, against weights remaining."""
    figure, (left, right) = style.canvas(1, 2, height=3.7)
    density, fraction = record["density"][1:-1], float(record["fraction"])
    _lines(left, record, "refilled", density)
    left.axhline(fraction, color="black", linestyle=":", linewidth=1.2, label="pruned next")
    left.set_ylim(0, 1.6 * fraction)
    left.set_ylabel("below the last threshold (% of weights)")
    _lines(right, record, "already", density)
    right.axhline(fraction, color="black", linestyle=":", linewidth=1.2, label="chance")
    right.set_ylim(0, 1)
    right.set_ylabel("of those pruned next, small already (%)")
    style.legend(left, ncols=2)
    return style.Drawing(
        figure,
        "After retraining, means over levels in percent. Weights below the threshold of the last pruning: "
        f"{_means(record, 'refilled')}. Of the weights pruned next, small already before retraining: "
        f"{_means(record, 'already')}; chance would give {100 * fraction:.0f}.",
    )


def removed(record):
    """Length that the next pruning removes, after retraining and without it."""
    steps, density = record["rewind_step"].tolist(), record["density"][1:-1]
    figure, panels = style.panels(len(steps), 2.7, sharex=True, sharey=True)
    for i, (panel, step) in enumerate(zip(panels, steps, strict=True)):
        style.spread(panel, density, record["removed_without"][:, i], "without retraining", style.RED, "^")
        style.spread(panel, density, record["removed"][:, i], "after retraining", style.BLUE, "o")
        style.remaining_axis(panel, density)
        style.percent_axis(panel.yaxis)
        panel.set_title(f"k = {step}")
        panel.set_ylabel("length removed (%)")
        panel.label_outer()
    panels[0].set_ylim(0)
    style.legend(panels[0])
    return style.Drawing(
        figure,
        "Length of what the next pruning removes, in percent of the weights' length, means over levels. After "
        f"retraining: {_means(record, 'removed')}. Without: {_means(record, 'removed_without')}.",
    )


def survivors(record):
    """Signs and magnitudes of surviving weights: from projection to next solution, and from the rewind point to it."""
    figure, panels = style.canvas(1, 2, height=3.6, sharey=True)
    density, said = record["density"][1:-1], []
    for panel, prefix, title in (
        (panels[0], "", "projection and next solution"), (panels[1], "start_", "rewind point and next solution"),
    ):  # fmt: skip
        steps = record["rewind_step"].tolist()
        for i, (step, colour) in enumerate(zip(steps, style.shades(len(steps)), strict=True)):
            style.spread(panel, density, record[f"{prefix}signs"][:, i], f"k = {step}", colour, style.MARKERS[i])
            panel.plot(density, record[f"{prefix}magnitudes"][:, i].mean(-1), color=colour, linestyle=":")
        style.remaining_axis(panel, density)
        panel.set_title(title)
        said.append(f"{title}: equal signs {_means(record, f'{prefix}signs')}")
    panels[0].set_ylim(0, 1.02)
    panels[0].set_ylabel("equal signs (solid), correlation (dotted)", fontsize=10)
    style.legend(panels[0])
    return style.Drawing(figure, f"Surviving weights, means over levels in percent. {'; '.join(said)}.")


def arms(record, tickets):
    """Test error at the same sparsities with less and less retraining."""
    figure, axes = style.canvas(height=4)
    style.dense(axes, tickets)
    for key, (name, colour, marker) in _ARMS.items():
        style.spread(axes, record["density"], record[key], name, colour, marker)
    style.remaining_axis(axes, record["density"])
    style.error_axis(axes)
    style.legend_below(figure, axes, 3)
    last = "; ".join(f"{name} {100 * float(record[key][-1].mean()):.1f}" for key, (name, *_) in _ARMS.items())
    kept = findings.percent(record["density"][-1], 0)
    return style.Drawing(figure, f"Error with less and less retraining, in percent, at {kept} of the weights: {last}.")


def barriers(record):
    """Barriers between successive solutions: short retraining beside IMP."""
    figure, axes = style.canvas()
    for key in ("rewound", "short"):
        name, colour, marker = _ARMS[key]
        style.spread(axes, record["density"][1:], record[f"{key}_barrier"], name, colour, marker)
    style.remaining_axis(axes, record["density"])
    style.percent_axis(axes.yaxis)
    axes.set_ylim(0)
    axes.set_ylabel("barrier to the previous solution (points)")
    style.legend(axes)
    top = {key: 100 * float(torch.amax(record[f"{key}_barrier"].mean(-1))) for key in ("rewound", "short")}
    largest = "; ".join(f"{_ARMS[key][0]} {value:.1f}" for key, value in top.items())
    return style.Drawing(figure, f"Barriers between successive solutions; largest mean, in points of error: {largest}.")
