"""Figures of chapter 5."""

from .. import style, verdicts
from ..panes import Panes

_ARMS = {
    "rewound": ("IMP: rewound, then retrained", "black", "o"),
    "kept": ("weights kept, schedule rewound", style.BLUE, "s"),
    "short": ("weights kept, short retraining", style.GREEN, "D"),
    "none": ("no retraining", style.BROWN, "^"),
}
_LOWEST = 0.01  # where the axis of magnitudes begins


def _histogram(axes, edges, shares, name, colour, **options):
    """Shares of bins that are equally wide on a logarithmic axis; the first bin reaches to zero, and is not drawn."""
    axes.stairs(shares[1:], edges[1:], color=colour, label=name, **options)


def _magnitude_axis(axes, top):
    axes.set_xscale("log")
    axes.set_xlim(_LOWEST, 3)
    axes.set_ylim(0, 1.1 * float(top))
    axes.set_xlabel("magnitude")
    axes.set_ylabel("weights (% per bin)")
    style.percent_axis(axes.yaxis)


def _left_out(edges, shares):
    """The largest share of weights, among histograms (..., bins), that lies to the left of the axis, as text."""
    return verdicts.percent(shares[..., edges[1:] <= 1.001 * _LOWEST].sum(-1).max())


def _below(edges, share, quantile):
    """The edge of a bin below which a share of the weights lies."""
    return float(edges[int((share.cumsum(0) >= quantile).long().argmax()) + 1])


_TRIO = (
    ("solution", style.GREY, {"fill": True, "alpha": 0.35, "linewidth": 0}),
    ("projection", style.ORANGE, {"linewidth": 1.8, "linestyle": "--"}),
    ("next solution", style.BLUE, {"linewidth": 1.8}),
)


def magnitudes(record, level):
    """Magnitudes of solution, projection and next solution, mean over replicates; a pane for each level."""
    shares = record["all"].mean(2)
    drawings = {f"{here}": _magnitudes(record, shares, here) for here in range(len(shares))}
    return Panes("level", drawings, f"{level}")


def _magnitudes(record, shares, level):
    figure, axes = style.canvas(height=3.5)
    edges = record["edges"]
    for (name, colour, options), share in zip(_TRIO, shares[level], strict=True):
        _histogram(axes, edges, share, name, colour, **options)
    if level:
        _histogram(axes, edges, shares[0, 0], "dense solution", "black", linewidth=1.5, linestyle=":")
    _magnitude_axis(axes, shares.max())
    axes.set_title(f"level {level}, {verdicts.percent(record['density'][level], 0)} of the weights")
    style.legend(axes, loc="upper left")
    lowest = [_below(edges, share, 0.05) for share in shares[level]]
    return style.Drawing(
        figure,
        f"At level {level} the magnitude below which 5 percent of the weights lie is {lowest[0]:.2f} in the solution, "
        f"{lowest[1]:.2f} in its projection, {lowest[2]:.2f} in the next solution. Histograms of the three; at most "
        f"{_left_out(edges, shares[level])} of the weights lie below {_LOWEST:g}, left of the axis.",
    )


def layers(record, level, names):
    """The same for each layer, at one level."""
    figure, panels = style.panels(len(names), 2.7, sharex=True, sharey=True)
    edges = record["edges"]
    called, here = [_called(name) for name in names], record["layer"][:, level]
    for panel, name, shares in zip(panels, called, here, strict=True):
        for (part, colour, options), share in zip(_TRIO, shares, strict=True):
            _histogram(panel, edges, share, part, colour, **options)
        _magnitude_axis(panel, here.max())
        panel.set_title(name)
        panel.label_outer()
    style.legend(panels[0])
    medians = {name: _below(edges, shares[2], 0.5) for name, shares in zip(called, here, strict=True)}
    largest = max(medians, key=medians.get)
    return style.Drawing(
        figure,
        f"At level {level} the largest weights are those of {largest}. Magnitudes of solution, projection and next "
        "solution in each layer. Median magnitude of the next solution: "
        f"{', '.join(f'{name} {median:.2f}' for name, median in medians.items())}. At most {_left_out(edges, here)} "
        f"of a layer's weights lie below {_LOWEST:g}, left of the axis.",
    )


def _called(name):
    """A layer's name for readers: ``convolutions.0.weight`` is convolution 1."""
    layer, _, number = name.removesuffix(".weight").partition(".")
    return f"{layer.removesuffix('s')} {int(number) + 1}" if number.isdigit() else name.removesuffix(".weight")


def _lines(axes, record, entry, density):
    style.by_step(axes, density, record[entry], record)
    style.remaining_axis(axes, density)
    style.percent_axis(axes.yaxis)


def _means(record, entry, unit=0.01, digits=0):
    means = (record[entry].mean((0, 2)) / unit).tolist()
    return ", ".join(f"k = {k} {m:.{digits}f}" for k, m in zip(record["rewind_step"].tolist(), means, strict=True))


def refilled(record):
    """New small weights, and how many of the weights pruned next were small already, against weights remaining."""
    figure, (left, right) = style.canvas(1, 2, height=3.7)
    density, fraction = record["density"][1:-1], float(record["fraction"])
    _lines(left, record, "refilled", density)
    left.axhline(fraction, color="black", linestyle=":", linewidth=1.2, label="pruned next")
    left.set_ylim(0, 1.6 * fraction)
    left.set_ylabel("below the last threshold (% of weights)")
    _lines(right, record, "already", density)
    chance = right.axhline(fraction, color="black", linestyle=":", linewidth=1.2, label="chance")
    right.set_ylim(0, 1)
    right.set_ylabel("of those pruned next, small already (%)")
    style.legend(left, ncols=2)
    style.legend(right, handles=[chance])
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
        style.spread(panel, density, record["removed_without"][:, i], "without retraining", style.BROWN, "^")
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
    figure, panels = style.canvas(2, 2, height=5.6, sharex=True, sharey="row")
    density, said = record["density"][1:-1], []
    for (signs, sizes), prefix, title in (
        (panels[:, 0], "", "projection and next solution"),
        (panels[:, 1], "start_", "rewind point and next solution"),
    ):
        for axes, entry in ((signs, f"{prefix}signs"), (sizes, f"{prefix}magnitudes")):
            style.by_step(axes, density, record[entry], record)
            style.remaining_axis(axes, density)
            axes.set_ylim(0, 1.02)
        style.percent_axis(signs.yaxis)
        chance = signs.axhline(0.5, color="black", linestyle=":", linewidth=1.2, label="chance")
        signs.set_title(title)
        said.append(
            f"{title}: equal signs in percent {_means(record, f'{prefix}signs')}, correlation of magnitudes "
            f"{_means(record, f'{prefix}magnitudes', 1, 2)}"
        )
    panels[0, 0].set_ylabel("equal signs (%)")
    panels[1, 0].set_ylabel("correlation of magnitudes")
    for axes in panels.flat:
        axes.label_outer()
    style.legend(panels[1, 0], ncols=2)
    style.legend(panels[0, 1], handles=[chance])
    return style.Drawing(figure, f"Surviving weights, means over levels. {'; '.join(said)}.")


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
    kept = verdicts.percent(record["density"][-1], 0)
    reach = {name: int(verdicts.last_matching(record[key], tickets)) for key, (name, *_) in _ARMS.items()}
    reached = "; ".join(f"{name} {verdicts.percent(record['density'][n], 0)}" for name, n in reach.items())
    return style.Drawing(
        figure,
        f"Fewest weights down to which the mean error stays within ε of the dense: {reached}. Error in percent at "
        f"{kept} of the weights: {last}.",
    )


def barriers(record, tickets):
    """Barriers between successive solutions, with the tolerance: short retraining beside IMP."""
    figure, axes = style.canvas()
    epsilon = verdicts.tolerance(tickets)
    for key in ("rewound", "short"):
        name, colour, marker = _ARMS[key]
        style.spread(axes, record["density"][1:], record[f"{key}_barrier"], name, colour, marker)
    axes.axhline(epsilon, color=style.GREY, linestyle="--", linewidth=1, label="ε")
    style.remaining_axis(axes, record["density"])
    style.rate_scale(axes, "y", high=0.5)
    axes.set_ylabel("barrier to the previous solution (points)")
    style.legend(axes)
    means = {_ARMS[key][0]: record[f"{key}_barrier"].mean(-1) for key in ("rewound", "short")}
    said = "; ".join(
        f"{name} {verdicts.points(mean.max())} at most, {verdicts.points(mean[:-1].max())} before the last level"
        for name, mean in means.items()
    )
    return style.Drawing(
        figure, f"Mean barriers between successive solutions: {said}. ε is {verdicts.points(epsilon, 2)}."
    )
