"""Figures of the second edition's evidence on claim C4."""

from .. import style, verdicts
from . import evidence

_COLOURS = {
    evidence.IMP: ("black", "o"), evidence.LRR: (style.BLUE, "s"), evidence.SHORT: (style.GREEN, "D"),
    evidence.NONE: (style.BROWN, "^"),
}  # fmt: skip
_FINE = ((style.ORANGE, "v"), (style.PINK, "P"))


def _look(name, fine):
    return _COLOURS[name] if name in _COLOURS else _FINE[fine.index(name) % len(_FINE)]


def arms(record, tickets):
    """Test error and share of new small weights against weights remaining, a line an arm."""
    figure, (left, right) = style.canvas(1, 2, height=4.9)
    errors, shares = evidence.arms(record), evidence.measured(record, "new_small")
    density, fine = record["density"], [name for name in errors if name not in _COLOURS]
    for name, error in errors.items():
        style.spread(left, density, error, name, *_look(name, fine))
    for name, share in shares.items():
        style.spread(right, density[1:-1], share, name, *_look(name, fine))
    limit = verdicts.largest_error(tickets, evidence.EPSILON)
    left.axhline(limit, color=style.GREY, linestyle="--", linewidth=1, label="matching")
    right.axhline(evidence.MOST, color=style.GREY, linestyle="--", linewidth=1)
    for axes in (left, right):
        style.remaining_axis(axes, density)
    style.error_axis(left)
    style.percent_axis(right.yaxis)
    right.set_ylim(0, 1.02)
    right.set_ylabel("new small among those pruned next (%)")
    style.legend_below(figure, left, 3)
    last = int(verdicts.last_matching(record["rewound"], tickets, evidence.EPSILON))
    said = "; ".join(
        f"{name} {style.points(error[last].mean())}"
        + (f" and {100 * float(shares[name][:last].mean()):.0f}" if name in shares and last else "")
        for name, error in errors.items()
    )
    return style.Drawing(
        figure,
        f"At level {last}, the last at which IMP matches ({verdicts.percent(density[last], 0)} of the weights), mean "
        "error in percent and, over the levels down to it, the mean share in percent of the weights pruned next that "
        f"lie at or below the last threshold: {said}. Dashed: half a point above the dense error, and half.",
    )


def cycles(record, without):
    """Error of a fixed mask after each further cycle, with IMP and learning-rate rewinding; a panel a sparsity."""
    levels = record["level"].unique().tolist()
    figure, panels = style.panels(len(levels), 3.7, sharey=True)
    said = []
    for axes, level in zip(panels, levels, strict=True):
        error = evidence.by_cycle(record, level)
        cycle = record["cycle"][record["level"] == level].tolist()
        style.spread(axes, cycle, error, "mask fixed", style.ORANGE, "v")
        means = []
        for arm, name in (("rewound", evidence.IMP), ("kept", evidence.LRR)):
            other = without[arm][level, : error.shape[-1]]
            lines = other.expand(len(cycle), -1)
            style.spread(axes, cycle, lines, name, _COLOURS[name][0], "", linestyle="--")
            means.append(f"{name} {style.points(other.mean())}")
        axes.set_xlabel("cycles")
        axes.set_xticks(cycle[:: -(-len(cycle) // 6)])
        axes.set_title(f"level {level}: {verdicts.percent(without['density'][level], 0)}")
        first, end = error[0].mean(), error[-1].mean()
        said.append(
            f"level {level}: {style.points(first)} after one cycle, {style.points(end)} after {len(cycle)}; "
            + ", ".join(means)
        )
    style.percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("test error (%)")
    style.legend_below(figure, panels[0], 3)
    return style.Drawing(
        figure,
        "Mean error in percent of a mask that was pruned at once and stays, trained as many times as IMP prunes, "
        f"beside those whose masks are found level by level. {'. '.join(said)}.",
    )
