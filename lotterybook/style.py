"""One style for all figures: colours that the colour-blind can tell apart, mean and spread, alt text from the data."""

import io

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from PIL import Image

from . import plotted
from .captions import Shown
from .narrow import narrow

# Apart for the colour-blind, and three to one against the page, in the light theme and turned round for the dark one.
BLUE, ORANGE, GREEN, BROWN, PINK, GREY = "#0B4FC4", "#F36C03", "#3EA67A", "#782400", "#C878C8", "#5E5E5E"
MARKERS = "osD^vP*X"
WIDTH = 7.2  # inches, the page's, for every figure: then lettering has one size throughout the book
LINEAR = 0.01  # rates below it are drawn on a linear scale, larger ones on a logarithmic scale
_RC = {
    "font.size": 11, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "lines.linewidth": 1.8, "lines.markersize": 5,
}  # fmt: skip


class Drawing(Shown):
    """A figure with its alternative text; a notebook shows it as a PNG that carries the text, and a caption below.

    The caption is one sentence of Markdown that states the finding; without one it is the text's first sentence. For a
    phone the panels are stacked (`lotterybook.narrow`), unless the figure function gives a figure of its own for it.
    The page may turn its lightness round in the dark theme, but not where a colour bar says what light and dark mean.
    """

    def __init__(self, figure, alt, caption="", narrow=None):
        self.figure, self.alt, self.caption, self.small = figure, alt, caption, narrow

    def png(self) -> bytes:
        """The picture, at twice the resolution that it is shown at, in 256 colours to keep notebooks small."""
        return _png(self.figure)

    def narrow(self) -> bytes:
        """The picture for a narrow window."""
        return _png(self.small or narrow(self.figure))

    def csv(self) -> str:
        """The numbers that the figure draws, as a table."""
        return plotted.table({"": self.figure})

    def _repr_mimebundle_(self, include=None, exclude=None):
        kind = "drawing map" if self.figure.findobj(QuadMesh) else "drawing"
        about = {"alt": self.alt, "width": int(self.figure.get_figwidth() * 100), "class": kind}
        return {"image/png": self.png(), "text/plain": self.alt}, {"image/png": about}


def _png(figure):
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=200)
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    return packed.getvalue()


class _Axes(Axes):
    """Axes whose filled contours keep the numbers that they were drawn from."""

    def contourf(self, x, y, values, *args, **options):
        drawn = super().contourf(x, y, values, *args, **options)
        drawn.drawn_from = x, y, values
        return drawn


def canvas(rows=1, columns=1, height=3.6, **options):
    """Return a figure outside pyplot's state, and its axes as ``Figure.subplots`` gives them."""
    from matplotlib import rc_context

    with rc_context(_RC):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        return figure, figure.subplots(rows, columns, subplot_kw={"axes_class": _Axes}, **options)


def panels(count, height=3.6, **options):
    """Return a figure and ``count`` axes of equal rank: up to three in a row, or else two. ``height`` is a row's."""
    columns = count if count <= 3 else 2
    rows = -(-count // columns)
    figure, axes = canvas(rows, columns, height * rows, squeeze=False, **options)
    for spare in axes.flat[count:]:
        spare.axis("off")
    return figure, axes.flat[:count]


def shades(count):
    """``count`` colours from dark to light, for an ordered quantity such as the rewind step.

    They end where a line still stands out from the page, three to one, and in the dark theme too.
    """
    return [colormaps["viridis"](0.6 * i / max(1, count - 1)) for i in range(count)]


def step_names(record):
    """What each rewind step of a record is called."""
    return [f"k = {k}" for k in record["rewind_step"].tolist()]


def look(record, step):
    """Colour and marker of a rewind step of a record: the same in every figure of the chapter."""
    steps = record["rewind_step"].tolist()
    return shades(len(steps))[steps.index(step)], MARKERS[steps.index(step)]


def spread(axes, x, values, label, colour, marker="o", **options):
    """Draw the mean over the last axis, replicates, of ``values`` (n, R), with a band of one standard deviation.

    The band ends where the replicates do: a rate has none below zero.
    """
    mean, std = values.mean(-1), values.std(-1)
    axes.plot(x, mean, color=colour, marker=marker, label=label, **options)
    low, high = torch.maximum(mean - std, values.amin(-1)), torch.minimum(mean + std, values.amax(-1))
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def by_step(axes, x, values, record, **options):
    """Draw ``values`` (n, K, R) against ``x``, a line for each of the K rewind steps of a record."""
    for i, (step, name) in enumerate(zip(record["rewind_step"].tolist(), step_names(record), strict=True)):
        spread(axes, x, values[:, i], name, *look(record, step), **options)


def points(*values):
    """Points of error, for an alternative text."""
    return ", ".join(f"{100 * float(value):.1f}" for value in values)


def counts(axes, counted, total, **options):
    """Draw a table of counts (rows, columns), each out of ``total``, the darker the more."""
    axes.imshow(counted, vmin=0, vmax=total, cmap="Blues", aspect="auto")
    axes.grid(False)
    for row, column in torch.cartesian_prod(*map(torch.arange, counted.shape)).tolist():
        number = int(counted[row, column])
        colour = "white" if number > 0.6 * total else "black"
        axes.text(column, row, f"{number}", ha="center", va="center", color=colour, **options)


def legend(axes, **options):
    """A legend that stays readable where it lies over a line."""
    axes.legend(**{"fontsize": 9.5, "framealpha": 0.7, "edgecolor": "none", **options})


def legend_below(figure, axes, ncols, **options):
    """One legend for all panels, below them, of the lines of ``axes``."""
    lines = axes.get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=ncols, frameon=False, fontsize=9.5, **options)


def remaining_axis(axes, density):
    """Label a logarithmic x-axis with weights remaining, from all at the left to few at the right."""
    axes.set_xscale("log")
    axes.set_xlim(1.08, float(density[-1]) / 1.08)
    axes.xaxis.set_major_locator(NullLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    ticks = [float(d) for d in density[:: -(-len(density) // 8)]]
    axes.set_xticks(ticks, [f"{100 * d:.0f}" if d > 0.095 else f"{100 * d:.1f}" for d in ticks])
    axes.xaxis.get_major_formatter().times = 100  # for the table of what is plotted, here and below
    axes.set_xlabel("weights remaining (%)")


def share_axis(axis, shares, places=None):
    """Label a logarithmic axis with these shares alone, in percent, or the ``places`` where they are."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(shares if places is None else places, [f"{100 * share:.0f}" for share in shares])
    if places is None:
        axis.get_major_formatter().times = 100


def error_axis(axes):
    """A logarithmic y-axis of error rates, in percent: matching is decided among small ones."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = [t for t in (0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 0.8) if low < t < high]
    if len(ticks) < 3:  # a narrow range
        ticks = [t for t in (0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.2, 0.25, 0.3, 0.4) if low < t < high]
    axes.set_yticks(ticks)
    axes.yaxis.set_minor_locator(NullLocator())
    percent_axis(axes.yaxis)
    axes.set_ylabel("test error (%)")


def percent_axis(axis):
    """Write an axis of rates in [0, 1] in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axis.get_major_formatter().times = 100  # the formatter is that of all axes that share this one


def rate_scale(axes, which, low=-0.001, high=0.9):
    """A scale for rates that shows both a tenth of a point and fifty points."""
    getattr(axes, f"set_{which}scale")("symlog", linthresh=LINEAR, linscale=0.8)
    axis = getattr(axes, f"{which}axis")
    axis.set_ticks([t for t in (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if low <= t <= high])
    axis.set_ticks([], minor=True)
    percent_axis(axis)
    getattr(axes, f"set_{which}lim")(low, high)


def barrier_axes(axes, density, title, epsilon):
    """Barriers against weights remaining, with the tolerance; call it after drawing."""
    axes.axhline(epsilon, color=GREY, linestyle="--", linewidth=1, label="ε")
    remaining_axis(axes, density)
    rate_scale(axes, "y")
    axes.set_ylabel("barrier (points of error)")
    axes.set_title(title)
