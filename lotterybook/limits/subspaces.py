"""Figures of chapter 4 on Gordon's theorem: random subspaces and a well, drawn before anything is measured."""

import math

import torch
from matplotlib.patches import Ellipse

from lotterylib import limits

from .. import style, verdicts
from ..panes import Panes
from . import wells

LINES = 40  # that are drawn at random beside a well in the plane


def well(eigenvalues, epsilon, simulated):
    """Random subspaces and a well in two and in D dimensions, a pane for each distance.

    ``simulated``: what ``wells.meeting`` gives, by distance; the last is shown first.
    """
    drawings = {f"{distance:g}": _well(eigenvalues, epsilon, distance, found) for distance, found in simulated.items()}
    return Panes("distance", drawings, list(drawings)[-1])


def _well(eigenvalues, epsilon, distance, shares):
    figure, (left, right) = style.canvas(1, 2, height=4.2)
    hits = _lines(left, eigenvalues, epsilon, distance)
    steps = [0, *shares.sort().values.tolist(), 1], [*torch.linspace(1, 0, len(shares) + 1).tolist(), 0]
    right.step(*steps, where="post", color="black", label="simulated")
    closed = limits.angular_dimension(eigenvalues, distance, epsilon)
    sharp = wells.meeting_fraction(eigenvalues, distance, epsilon)
    right.axvline(closed, color=style.ORANGE, linestyle="--", label="closed form")
    right.axvline(sharp, color=style.PINK, linestyle=":", linewidth=2, label="limit for large D")
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
        f"{verdicts.percent(shares.median(), 0)} of D conditions; the closed form says {verdicts.percent(closed, 0)}, "
        f"the limit for large D {verdicts.percent(sharp, 0)}.",
    )


def _lines(axes, eigenvalues, epsilon, distance):
    """Draw a well in the plane and random lines through points at ``distance``; how many meet it."""
    long, short = [math.sqrt(2 * epsilon / float(eigenvalues.quantile(q))) for q in (0.05, 0.5)]
    axes.add_patch(Ellipse((0, 0), 2 * long, 2 * short, color=style.BLUE, alpha=0.5, label="well"))
    axes.add_patch(Ellipse((0, 0), 2 * distance, 2 * distance, fill=False, color=style.GREY, linestyle=":"))
    kinds = {True: ("meets it", style.GREEN, "-"), False: ("misses it", style.BROWN, (0, (4, 2)))}
    for called, colour, dashes in kinds.values():
        axes.plot([], [], alpha=0.7, color=colour, linestyle=dashes, label=called)
    generator, hits = torch.Generator().manual_seed(0), 0
    for at, toward in (2 * math.pi * torch.rand(LINES, 2, generator=generator)).tolist():
        x, y, u, v = distance * math.cos(at), distance * math.sin(at), math.cos(toward), math.sin(toward)
        meets = (x * v - y * u) ** 2 <= (long * v) ** 2 + (short * u) ** 2
        hits += meets
        reach = torch.tensor([-30.0, 30.0])
        _, colour, dashes = kinds[meets]
        axes.plot(x + reach * u, y + reach * v, linewidth=0.8, alpha=0.7, color=colour, linestyle=dashes)
    extent = 1.3 * max(long, 8)
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_aspect("equal")
    axes.grid(False)
    axes.set_title(f"2 dimensions: {hits} of {LINES} meet it")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False, fontsize=9.5, columnspacing=1)
    return hits


def sharper_with_dimension(simulated, closed, sharp):
    """Simulated shares against the number of dimensions: ``simulated`` by D; the two formulas as lines."""
    figure, axes = style.canvas(height=3.3)
    sizes = list(simulated)
    style.spread(axes, sizes, torch.stack(list(simulated.values())), "simulated", "black")
    axes.axhline(closed, color=style.ORANGE, linestyle="--", label="closed form")
    axes.axhline(sharp, color=style.PINK, linestyle=":", linewidth=2, label="limit for large D")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("dimensions D")
    axes.set_ylabel("conditions at the edge (% of D)")
    style.percent_axis(axes.yaxis)
    style.legend(axes)
    said = ", ".join(f"{size} dimensions {verdicts.percent(shares)}" for size, shares in simulated.items())
    return style.Drawing(
        figure,
        f"Share of conditions at which random subspaces lose the well: {said}. The closed form "
        f"{verdicts.percent(closed)}, the limit for large D {verdicts.percent(sharp)}.",
    )
