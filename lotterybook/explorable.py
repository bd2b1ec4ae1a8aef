"""The idea as a drawing: two valleys, a path of SGD, an axial subspace. Drawn, not measured.

A landscape of errors over two weights, made up so that what the book speaks of can be seen in it. Both are trained; w2
ends as the smaller one, so magnitude pruning removes it, and the axial subspace is the line w2 = 0. IMP goes back to
the weights of step k, without w2, and trains w1 alone. ``_static/landscape.js`` is the same in JavaScript, for readers
to play with; a test compares the two.
"""

import numpy as np

from . import style, verdicts

STEPS, RATE, MOMENTUM = 120, 0.06, 0.85  # of SGD; the rate falls to zero along a cosine
NOISE, SEED = 0.5, 7  # width and seed of the noise that stands for the batches
TOP = 0.9  # the error far from any valley
# Each valley: depth, place of its floor, half width along and across, angle.
VALLEYS = ((0.86, (1.7, 0.24), (1.9, 0.5), -0.72), (0.84, (-1.75, -0.75), (0.8, 0.75), 0.3))
START = (-1.2, 1.9)  # the initialization
LATEST = 60  # rewind step
TOLERANCE = 0.02  # within it an error is as good as the dense one, and a barrier none
POINTS = 100  # parts of the line between two solutions
EARLY, LATE = 8, 32  # rewind steps of the still picture
BOX = (-3.0, 3.2, -1.6, 2.4)  # what the map shows: w1 from, to, w2 from, to


def _metrics():
    """Each valley as (depth, floor, matrix): its error is depth * exp(-r' matrix r / 2) below the top."""
    for depth, floor, widths, angle in VALLEYS:
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        yield depth, np.array(floor), turn.T @ np.diag(1 / np.square(widths)) @ turn


def error(w):
    """Error at the weights ``w`` (..., 2)."""
    total = np.full(np.shape(w)[:-1], TOP)
    for depth, floor, matrix in _metrics():
        away = w - floor
        total = total - depth * np.exp(-0.5 * np.einsum("...i,ij,...j", away, matrix, away))
    return total


def gradient(w):
    """Gradient of ``error`` at one point (2,)."""
    total = np.zeros(2)
    for depth, floor, matrix in _metrics():
        pull = matrix @ (w - floor)
        total = total + depth * np.exp(-0.5 * (w - floor) @ pull) * pull
    return total


def noise():
    """What is added to the gradient at each step (STEPS, 2): the same at each training, like the order of the data."""
    seed, values = SEED, []
    for _ in range(2 * STEPS):
        seed = (1664525 * seed + 1013904223) % 2**32
        values.append(NOISE * (seed / 2**32 - 0.5))
    return np.reshape(values, (STEPS, 2))


def train(w, step, mask):
    """SGD with momentum from ``w`` at ``step`` to the end, where the mask allows: all points on its way (n, 2)."""
    w, mask, velocity, batch = np.multiply(w, mask), np.asarray(mask), np.zeros(2), noise()
    path = [w]
    for t in range(step, STEPS):
        velocity = MOMENTUM * velocity + mask * (gradient(w) + batch[t])
        w = w - RATE * 0.5 * (1 + np.cos(np.pi * t / STEPS)) * velocity
        path.append(w)
    return np.array(path)


def rewind(step):
    """Dense training, pruning, and training again from ``step``: paths, profile of the line between the solutions."""
    dense = train(START, 0, (1, 1))
    again = train(dense[step], step, (1, 0))
    along = np.linspace(0, 1, POINTS + 1)
    profile = error((1 - along[:, None]) * dense[-1] + along[:, None] * again[-1])
    barrier = (profile - (1 - along) * profile[0] - along * profile[-1]).max()
    wins = profile[-1] <= profile[0] + TOLERANCE and barrier <= TOLERANCE
    return {"dense": dense, "again": again, "profile": profile, "barrier": barrier, "wins": bool(wins)}


def _told(step):
    """What happens after rewinding to a step, in words."""
    trip = rewind(step)
    ends, rise = verdicts.percent(trip["profile"][-1], 0), verdicts.points(trip["barrier"], 0)
    where = "in the valley of the solution" if trip["wins"] else "at the rim of the other valley"
    so = "wins" if trip["wins"] else f"fails, behind a barrier of {rise}"
    return f"rewound to step {step}, training along the axis ends {where} with an error of {ends} and {so}"


def panel(axes, step, trip, colour):
    """Draw one journey, of `rewind`, on the map."""
    left, right, bottom, top = BOX
    x, y = np.meshgrid(np.linspace(left, right, 249), np.linspace(bottom, top, 161))
    axes.contourf(x, y, error(np.stack([x, y], -1)), np.linspace(0, TOP, 10), cmap="Blues_r", alpha=0.45)
    axes.axhline(0, color=style.GREY, linewidth=1, linestyle="--")
    dense, again = trip["dense"], trip["again"]
    (x0, y0), (xk, yk), (xs, ys) = dense[0], dense[step], dense[-1]
    axes.plot(*dense.T, color=style.GREY, linewidth=1.5)
    axes.plot(*again.T, color=colour, linewidth=3)
    for x, y in ((xk, yk), (xs, ys)):
        axes.plot([x, x], [y, 0], color=style.GREY, linewidth=1, linestyle=":")
    marks = ((x0, y0, "o", "white", "$w_0$", (-5, 8)), (xk, yk, "D", "white", "$w_k$" if step else "", (7, 5)),
             (xs, ys, "o", style.GREY, "$w^{(0)}$", (7, 7)), (xs, 0, "s", "white", "", (0, 0)),
             (again[-1, 0], 0, "*", colour, "$w^{(1)}$", (3, -17)))  # fmt: skip
    for x, y, marker, face, name, shift in marks:
        size = 13 if marker == "*" else 6
        axes.plot(x, y, marker, color=face, markeredgecolor=colour if marker == "*" else style.GREY, markersize=size)
        axes.annotate(name, (x, y), shift, textcoords="offset points", fontsize=11)
    axes.set(xlim=BOX[:2], ylim=BOX[2:], aspect="equal", xlabel="$w_1$", ylabel="$w_2$", xticks=[], yticks=[])
    axes.set_title(f"rewound to step {step}: {'wins' if trip['wins'] else 'fails'}")
    axes.grid(False)


def alt():
    """The still picture in words."""
    return (
        "Drawn, not measured: a map of errors over two weights with two valleys. Training ends in one of them, near "
        f"the axis w2 = 0, on which pruning drops the solution; {_told(EARLY)}; {_told(LATE)}."
    )


def still():
    """The picture for readers without scripts and on paper: an early rewind point, and a late one."""
    figure, axes = style.canvas(1, 2, height=2.7)
    for one, step, colour in zip(axes, (EARLY, LATE), (style.ORANGE, style.BLUE), strict=True):
        panel(one, step, rewind(step), colour)
    projection = rewind(EARLY)["dense"][-1, 0], 0
    axes[0].annotate("projection", projection, (0, -17), textcoords="offset points", ha="center")
    return style.Drawing(figure, alt())
