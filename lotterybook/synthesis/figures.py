"""The picture of the last chapter: the drawn landscape, with measured numbers in it."""

from .. import explorable, style
from ..verdicts import percent, points


def picture(told, step):
    """The landscape of the first page, and in it what was measured: ``told`` by ``findings.story``, rewind ``step``."""
    figure, (left, right) = style.canvas(1, 2, height=3.3)
    drawn = 0, explorable.LATE
    trips = [explorable.rewind(k) for k in drawn]
    for panel, k, trip, colour in zip((left, right), drawn, trips, (style.ORANGE, style.BLUE), strict=True):
        explorable.panel(panel, k, trip, colour)
    failing, barrier = points(told["failing"].mean(), 0), points(told["barrier"].mean(), 2)
    blow, at_once = percent(told["blow"].mean(), 0), percent(told["at_once"].mean(), 0)
    new, kept = percent(told["new_small"].mean(), 0), percent(told["density"], 0)
    left.set_title("rewound to the initialization: fails")
    right.set_title(f"rewound to step {step}: wins")
    _note(left, f"barrier {failing}", (0.0, -0.75))
    _note(right, f"barrier {barrier}", (1.75, -0.85))
    _note(right, f"blow: {blow} of\nits length", (-0.35, 0.4))
    _note(right, f"by its spectrum\n{at_once} at once", (2.0, 1.75))
    _note(right, f"{new} of the next\npruned are new", (-1.45, -1.2))
    return style.Drawing(
        figure,
        f"The drawn landscape with measured numbers. Rewound to the initialization, the mean barrier between "
        f"successive solutions is {failing}. Rewound to step {step}, down to {kept} of the weights: barrier {barrier}; "
        f"pruning and rewinding move the start by {blow} of its length; by the spectrum of the dense solution "
        f"{at_once} could be pruned at once at random; of the weights pruned next {new} are new small ones.",
        f"The drawn landscape with measured numbers: from the initialization successive solutions lie {failing} apart, "
        f"from step {step} {barrier}.",
    )


def _note(axes, text, place):
    axes.text(*place, text, ha="center", va="center", fontsize=9.5, linespacing=1.15)
