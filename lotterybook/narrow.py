"""A figure laid out again for a narrow window, such as a phone's: its panels below each other, its words as large."""

import copy
import math
import textwrap

import numpy as np
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FixedLocator

WIDTH = 3.6  # inches, at 100 pixels each: what a phone shows of the page
LINE = 44  # characters of a legend in one line


def narrow(figure):
    """A copy of a figure made by `style.canvas` or `style.panels`, as wide as a phone's window.

    Panels stand below each other; small ones stay side by side as far as they fit. What a panel shared with its
    neighbours, such as the label of an axis, it has for itself. Legends get fewer columns, or move below the axes.
    """
    figure = copy.deepcopy(figure)
    grid = _panels(figure)
    old_rows, old_columns = (max(place[i] for _, place in grid) + 1 for i in (0, 1))
    width, height = figure.get_size_inches()
    columns = max(1, min(old_columns, int(WIDTH / (0.9 * width / old_columns))))
    rows = math.ceil(len(grid) / columns)
    if columns == 1:
        _own_labels(grid)
    else:
        _outer_labels(grid, columns)
    spec = GridSpec(rows, columns, figure=figure)
    for number, (axes, _) in enumerate(grid):
        axes.set_subplotspec(spec[number // columns, number % columns])
    each = WIDTH / columns
    high = min(height / old_rows * max(1, each * old_columns / width), 0.9 * each)
    figure.set_size_inches(WIDTH, rows * high)
    extra = sum(_refit(legend, figure) for legend in list(figure.legends))
    if len(grid) == 1:
        extra += _move_below(figure, grid[0][0])
    figure.set_size_inches(WIDTH, rows * high + extra)
    _wrap(figure)
    _thin(figure)
    figure.set_layout_engine("none")  # everything has its place: saves finding it once more
    return figure


def _panels(figure):
    """The panels of a figure in reading order, each with its row and column; spare ones are removed."""
    for axes in list(figure.axes):
        if axes.get_subplotspec() and not axes.axison and not axes.has_data():
            figure.delaxes(axes)
    places = [(axes, axes.get_subplotspec()) for axes in figure.axes if axes.get_subplotspec()]
    placed = [(axes, (spec.rowspan.start, spec.colspan.start)) for axes, spec in places]
    step = [sorted({place[i] for _, place in placed}) for i in (0, 1)]  # a layout may double the grid
    found = [(axes, (step[0].index(row), step[1].index(column))) for axes, (row, column) in placed]
    return sorted(found, key=lambda pair: pair[1])


def _own_labels(grid):
    """Give each panel the title and the labels that it shared with its row or its column."""
    for axes, (row, column) in grid:
        beside = [other for other, place in grid if place[0] == row]
        below = [other for other, place in grid if place[1] == column]
        if not axes.get_ylabel():
            axes.set_ylabel(next((other.get_ylabel() for other in beside if other.get_ylabel()), ""))
        if not axes.get_xlabel():
            axes.set_xlabel(next((other.get_xlabel() for other in below if other.get_xlabel()), ""))
        if not axes.get_title():
            axes.set_title(next((other.get_title() for other in below if other.get_title()), ""))
        _show_ticks(axes, "y", beside)
        _show_ticks(axes, "x", below)


def _show_ticks(axes, which, others):
    """Write the numbers along an axis if any of the others has them."""
    side = {"x": "labelbottom", "y": "labelleft"}[which]
    if any(getattr(other, f"{which}axis").get_tick_params().get(side, True) for other in others):
        axes.tick_params(axis=which, which="both", **{side: True})


def _outer_labels(grid, columns):
    """Label the outer panels of a grid of small ones alone, if it had labels."""
    every = [axes for axes, _ in grid]
    words = {which: next(filter(None, (getattr(axes, f"get_{which}label")() for axes in every)), "") for which in "xy"}
    for number, axes in enumerate(every):
        for which, outer in (("x", number + columns >= len(every)), ("y", number % columns == 0)):
            getattr(axes, f"set_{which}label")(words[which] if outer else "")
            if outer:
                _show_ticks(axes, which, every)


def _move_below(figure, axes):
    """Move the legend of the only panel, which has become half as wide, below it; return how high it is, in inches."""
    legend, axes.legend_ = axes.get_legend(), None
    return _below(legend, figure) * 1.5 * legend.get_texts()[0].get_fontsize() / 72 if legend else 0


def _refit(legend, figure):
    """Put a figure's legend into as many columns as fit; return how much higher it has become, in inches."""
    texts = legend.get_texts()
    was_below = (legend._outside_loc or "").startswith("lower")
    before = _lines([text.get_text() for text in texts], legend._ncols) if was_below else 0
    figure.legends.remove(legend)  # its own `remove` knows the figure that it was copied from
    return (_below(legend, figure) - before) * 1.5 * texts[0].get_fontsize() / 72


def _below(legend, figure):
    """Write a legend anew below the panels; return how many lines it has."""
    texts, title = legend.get_texts(), legend.get_title().get_text() or None
    words, size = [textwrap.fill(text.get_text(), LINE) for text in texts], texts[0].get_fontsize()
    widths = [text.get_window_extent().width / figure.dpi for text in texts]
    columns = next(n for n in range(min(len(words), 6), 0, -1) if n == 1 or _width(widths, n, size) < WIDTH)
    options = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": size, "title": title}
    figure.legend(legend.legend_handles, words, **options)
    return _lines(words, columns) + bool(title)


def _split(things, columns):
    """Divide what a legend lists into columns, as Matplotlib does."""
    return [part.tolist() for part in np.array_split(things, columns)]


def _width(widths, columns, size):
    """Width of a legend in inches: in each column its longest text, a handle and the spaces around them."""
    return sum(max(part) + 4.8 * size / 72 for part in _split(widths, columns))


def _lines(words, columns):
    """How many lines a legend has."""
    return max(sum(text.count("\n") + 1 for text in part) for part in _split(words, columns))


def _wrap(figure):
    """Break titles and labels that are longer than there is room."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.get_window_extent()
        middle = (box.x0 + box.x1) / 2
        _break(axes.title, 2 * min(middle, figure.bbox.x1 - middle), "width")
        _break(axes.xaxis.label, 2 * min(middle, figure.bbox.x1 - middle), "width")
        _break(axes.yaxis.label, 1.05 * box.height, "height")
    for text in figure.texts:
        _break(text, figure.bbox.width, "width")


def _break(text, room, along):
    """Break a text into lines that fit into the room, in pixels."""
    length, lines = getattr(text.get_window_extent(), along), text.get_text().split("\n")
    if text.get_text() and length > room:
        fitting = max(8, int(max(map(len, lines)) * room / length) - 1)
        text.set_text("\n".join(textwrap.fill(line, fitting) for line in lines))


def _thin(figure):
    """Leave out of an axis's own ticks each whose words would touch those of the last one that stays."""
    thinned = True
    while thinned:  # without them the panels may become wider
        figure.draw_without_rendering()
        thinned = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if _leave_out(axis)]


def _leave_out(axis):
    """Leave out what touches on one axis; return whether anything did."""
    shown, stays = _labelled(axis), []
    for label in shown:
        if not stays or _ends(axis, stays[-1])[1] + 2 <= _ends(axis, label)[0]:
            stays.append(label)
    places = [label.get_position()["xy".index(axis.axis_name)] for label in stays]
    if len(stays) < len(shown):
        axis.set_ticks(places, [label.get_text() for label in stays])
    return len(stays) < len(shown)


def _labelled(axis):
    """The words at ticks that were set by hand, from left to right or from below."""
    if not isinstance(axis.get_major_locator(), FixedLocator):
        return []
    words = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
    return sorted(words, key=lambda label: _ends(axis, label))


def _ends(axis, label):
    """Where a word begins and ends along its axis, in pixels."""
    return tuple(getattr(label.get_window_extent(), f"interval{axis.axis_name}").tolist())
