"""The one figure of the book, for the landing page and the README."""

from . import style, verdicts
from .tickets.matching import EPSILON, reach


def ticket(tickets, barriers, failing, winning):
    """Test error, and barrier between successive levels, for a failing and a winning rewind step."""
    figure, (left, right) = style.canvas(1, 2, height=3.5)
    dense = float(tickets["error"][0].mean())
    left.axhspan(dense, dense + EPSILON, color=style.GREY, alpha=0.25, linewidth=0, label="as good as dense")
    steps, density = tickets["rewind_step"].tolist(), tickets["density"]
    said = []
    for k, colour, marker in ((failing, style.ORANGE, "s"), (winning, style.BLUE, "o")):
        column = steps.index(k)
        name = "rewound to initialization" if k == 0 else f"rewound to step {k}"
        style.spread(left, density, tickets["error"][:, column], name, colour, marker)
        style.spread(right, density[1:], barriers["height"][:, column], name, colour, marker)
        level = int(reach(tickets)[column])
        height = barriers["height"][: level or None, column].mean(-1)
        span = f"{verdicts.points(height.min(), 2)} to {verdicts.points(height.max(), 2)}"
        said.append(
            f"{name} it matches down to {verdicts.percent(density[level], 0)} of the weights, and to there the mean "
            f"barrier between successive levels is {span}"
            if level
            else f"{name} it never matches, and the mean barrier between successive levels is {span}"
        )
    style.remaining_axis(left, density)
    style.error_axis(left)
    style.legend(left)
    style.remaining_axis(right, density)
    style.percent_axis(right.yaxis)
    right.set_ylabel("barrier to the previous level (points)")
    return style.Drawing(figure, f"Iterative magnitude pruning: {'; '.join(said)}.")
