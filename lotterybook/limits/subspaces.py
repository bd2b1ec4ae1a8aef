"""The figure of chapter 4 on Gordon's theorem: random subspaces and a well, drawn before anything is measured."""

import math

import torch
from matplotlib.patches import Ellipse

from lotterylib import limits

from .. import style, verdicts
from ..panes import Panes

LINES = 40  # that are drawn at random beside a well in the plane


def well(eigenvalues, epsilon, simulated, distance):
    """Random subspaces and a well in two and in D dimensions, a pane for each distance.

    ``simulated``: what ``wells.meeting`` gives, by distance; that of ``distance`` is shown first.
    """
    drawings = {f"{R:g}": _well(eigenvalues, epsilon, R, found) for R, found in simulated.items()}
    hits, lost = _hits(eigenvalues, epsilon, distance), verdicts.percent(simulated[distance].mean(), 0)
    caption = (
        f"From distance {distance:g}, {hits} of {LINES} random lines in the plane meet the well; in {len(eigenvalues)} "
        f"dimensions all subspaces lose it near the same number of conditions, {lost} of D."
    )
    return Panes("distance", drawings, f"{distance:g}", caption=caption)


def _well(eigenvalues, epsilon, distance, shares):
    figure, (left, right) = style.canvas(1, 2, height=4.2)
    _lines(left, eigenvalues, epsilon, distance)
    hits = _hits(eigenvalues, epsilon, distance)
    steps = [0, *shares.sort().values.tolist(), 1], [*torch.linspace(1, 0, len(shares) + 1).tolist(), 0]
    right.step(*steps, where="post", color="black", label="simulated")
    closed = limits.angular_dimension(eigenvalues, distance, epsilon)
    right.axvline(closed, color=style.ORANGE, linestyle="--", label="closed form")
    right.set_xlim(0, 1)
    right.set_ylim(0, 1.02)
    right.set_xlabel("conditions on the subspace (% of D)")
    right.set_ylabel("subspaces that meet the well (%)")
    for axis in (right.xaxis, right.yaxis):
        style.percent_axis(axis)
    right.set_title(f"{len(eigenvalues)} dimensions")
    style.legend(right)
    return style.Drawing(
        figure,
        f"Subspaces through points at distance {distance:g} from the middle of a well. In two dimensions {hits} of "
        f"{LINES} random lines meet it. In {len(eigenvalues)} dimensions half of the simulated subspaces meet it up to "
        f"{verdicts.percent(shares.median(), 0)} of D conditions; the closed form says {verdicts.percent(closed, 0)}.",
    )


def _random_lines(eigenvalues, epsilon, distance):
    """Radii of a well in the plane; random lines through points at ``distance``: point, direction, whether they meet.

    The radii are those at two places of the spectrum, a flat and a middling one.
    """
    long, short = [math.sqrt(2 * epsilon / float(eigenvalues.quantile(q))) for q in (0.05, 0.5)]
    generator, lines = torch.Generator().manual_seed(0), []
    for at, toward in (2 * math.pi * torch.rand(LINES, 2, generator=generator)).tolist():
        x, y, u, v = distance * math.cos(at), distance * math.sin(at), math.cos(toward), math.sin(toward)
        lines.append(((x, y), (u, v), (x * v - y * u) ** 2 <= (long * v) ** 2 + (short * u) ** 2))
    return (long, short), lines


def _hits(eigenvalues, epsilon, distance):
    """How many of the random lines meet the well in the plane."""
    return sum(meets for *_, meets in _random_lines(eigenvalues, epsilon, distance)[1])


def _lines(axes, eigenvalues, epsilon, distance):
    """Draw a well in the plane and random lines through points at ``distance``."""
    (long, short), lines = _random_lines(eigenvalues, epsilon, distance)
    axes.add_patch(Ellipse((0, 0), 2 * long, 2 * short, color=style.BLUE, alpha=0.5, label="well"))
    axes.add_patch(Ellipse((0, 0), 2 * distance, 2 * distance, fill=False, color=style.GREY, linestyle=":"))
    kinds = {True: ("meets it", style.GREEN, "-"), False: ("misses it", style.BROWN, (0, (4, 2)))}
    for called, colour, dashes in kinds.values():
        axes.plot([], [], alpha=0.7, color=colour, linestyle=dashes, label=called)
    reach = torch.tensor([-30.0, 30.0])
    for (x, y), (u, v), meets in lines:
        _, colour, dashes = kinds[meets]
        axes.plot(x + reach * u, y + reach * v, linewidth=0.8, alpha=0.7, color=colour, linestyle=dashes)
    extent = 1.3 * max(long, distance)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.grid(False)
    axes.set_title(f"2 dimensions: {_hits(eigenvalues, epsilon, distance)} of {LINES} meet it")
    axes.set(xlabel="the flat direction", ylabel="the steep direction")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize=9.5, columnspacing=1)
