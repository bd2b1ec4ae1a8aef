"""The numbers that a figure draws, read from the figure itself, as a table.

One row is a point. ``kind`` says what draws it: a line, a band (``low`` to ``high``), points, bars, steps, or a field
of values such as an image; ``line`` tells several of one name apart. Numbers are in the units of the axes' labels.
"""

import csv
import io

import numpy as np
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.contour import QuadContourSet
from matplotlib.patches import Rectangle, StepPatch

COLUMNS = ("pane", "panel", "kind", "series", "line", "x", "y", "low", "high", "value")
LABELS = {"x": "x axis", "y": "y axis", "value": "value of"}  # columns of their own where panels differ in them


def table(figures) -> str:
    """CSV of what figures draw, ``{pane: figure}``; columns that none of them needs are left out."""
    rows = [{"pane": pane, **row} for pane, figure in figures.items() for row in _rows(figure)]
    heads = {name: name for name in COLUMNS if any(row.get(name, "") != "" for row in rows)}
    for name, label in LABELS.items():
        words = {row[label] for row in rows if row.get(label) and name in heads}
        if len(words) == 1:
            heads[name] = f"{name}: {words.pop()}"
        elif words:
            heads[label] = label
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(heads.values())
    writer.writerows([_number(row.get(name, "")) for name in heads] for row in rows)
    return written.getvalue()


def _number(value):
    return f"{value:.6g}" if isinstance(value, float) else value


def _rows(figure):
    """The rows of a figure, panel by panel."""
    bars = {axes._colorbar.ax for axes in figure.axes if hasattr(axes, "_colorbar")}
    panels = [axes for axes in figure.axes if axes not in bars and axes.has_data()]
    for number, axes in enumerate(panels, 1):
        title = axes.get_title().replace("\n", " ")
        about = {
            "panel": (title or f"{number}") if len(panels) > 1 else title,
            "x axis": _label(panels, axes, "x"), "y axis": _label(panels, axes, "y"),
        }  # fmt: skip
        names = _names(axes)
        for line, (artist, kind, points) in enumerate(_artists(axes), 1):
            series = _series(artist, names)
            for point in points:
                yield {**about, "kind": kind, "series": series, "line": line, **point}


def _label(panels, axes, which):
    """What an axis is called, by itself or by a panel that shares it."""
    shared = [axes, *getattr(axes, f"get_shared_{which}_axes")().get_siblings(axes)]
    beside = [other for other in panels if _place(other, which) == _place(axes, which)]
    labels = (getattr(other, f"get_{which}label")().replace("\n", " ") for other in [*shared, *beside])
    return next(filter(None, labels), "")


def _place(axes, which):
    """The row of a panel, whose panels share what stands at their left, or its column."""
    spec = axes.get_subplotspec()
    return spec and (spec.rowspan if which == "y" else spec.colspan)


def _scaled(axes, which, numbers):
    """Numbers in the units of an axis's label: percent where its ticks are."""
    formatter = getattr(axes, f"{which}axis").get_major_formatter()
    return np.asarray(numbers, float) * getattr(formatter, "times", 1)


def _colour(artist):
    """The colour of a line, of points or of an area."""
    for name in ("get_color", "get_facecolor", "get_edgecolor"):
        if hasattr(artist, name):
            colour = getattr(artist, name)()
            colour = colour[0] if np.ndim(colour) == 2 and len(colour) else colour
            if len(colour) and not (len(colour) == 4 and not isinstance(colour, str) and colour[3] == 0):
                return to_hex(colour)
    return None


def _names(axes):
    """The names in a panel's legend, or in that of a panel beside it, by colour."""
    every = axes.get_figure().axes
    found = [pair for other in [*every, axes] for pair in zip(*other.get_legend_handles_labels(), strict=True)]
    return {_colour(handle): label for handle, label in found if not isinstance(handle, BarContainer)}


def _series(artist, names):
    """What an artist is called: by its own name, or that of one of the same colour."""
    label = str(artist.get_label())
    return names.get(_colour(artist), "") if label.startswith("_") or not label else label


def _artists(axes):
    """What draws data in a panel: ``(artist, kind, points)``."""
    for line in axes.lines:
        yield line, "points" if line.get_linestyle() == "None" else "line", _line(axes, line)
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            yield collection, "points", _scatter(axes, collection)
        elif isinstance(collection, QuadContourSet):
            if grid := getattr(collection, "drawn_from", None):
                yield collection, "field", _field(axes, collection, *grid)
        elif isinstance(collection, QuadMesh):
            corners = collection.get_coordinates()
            middle = (corners[:-1, :-1] + corners[1:, 1:]) / 2
            yield collection, "field", _field(axes, collection, *np.moveaxis(middle, -1, 0), collection.get_array())
        elif isinstance(collection, PolyCollection):
            yield collection, "band", _band(axes, collection)
    for image in axes.images:
        yield image, "field", _image(axes, image)
    for bars in axes.containers:
        if isinstance(bars, BarContainer):
            yield bars, "bars", _bars(axes, bars)
    for patch in axes.patches:
        in_x, in_y = patch.get_transform().contains_branch_seperately(axes.transData)
        if isinstance(patch, StepPatch):
            yield patch, "steps", _steps(axes, patch)
        elif isinstance(patch, Rectangle) and in_y and not in_x:  # across the panel
            low, high = _scaled(axes, "y", [patch.get_y(), patch.get_y() + patch.get_height()]).tolist()
            yield patch, "band", [{"low": low, "high": high}]


def _line(axes, line):
    """A line's points; one that spans the panel has only the coordinate at which it lies."""
    x, y = (np.atleast_1d(values) for values in line.get_data(orig=False))
    in_x, in_y = line.get_transform().contains_branch_seperately(axes.transData)
    points = zip(_scaled(axes, "x", x), _scaled(axes, "y", y), strict=True)
    points = [({"x": a} if in_x else {}) | ({"y": b} if in_y else {}) for a, b in points]
    return points if in_x and in_y else points[:1]


def _scatter(axes, collection):
    x, y = np.ma.getdata(collection.get_offsets()).T
    values = collection.get_array()
    values = [{}] * len(x) if values is None else [{"value": v} for v in np.ravel(values).astype(float)]
    points = zip(_scaled(axes, "x", x), _scaled(axes, "y", y), values, strict=True)
    return [{"x": a, "y": b, **value} for a, b, value in points]


def _band(axes, collection):
    """Both edges of what `fill_between` fills."""
    for path in collection.get_paths():
        corners = {}
        for x, y in path.vertices:
            corners.setdefault(float(x), []).append(float(y))
        for x, ys in corners.items():
            ends = _scaled(axes, "y", [min(ys), max(ys)]).tolist()
            yield {"x": float(_scaled(axes, "x", x)), "low": ends[0], "high": ends[1]}


def _bars(axes, bars):
    for patch in bars.patches:
        if bars.orientation == "horizontal":
            x, y = patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height() / 2
        else:
            x, y = patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height()
        yield {"x": float(_scaled(axes, "x", x)), "y": float(_scaled(axes, "y", y))}


def _steps(axes, patch):
    """The height of each step, with the ends between which it stands."""
    heights, edges, _ = patch.get_data()
    edges = _scaled(axes, "x", edges).tolist()
    for low, high, y in zip(edges[:-1], edges[1:], _scaled(axes, "y", heights).tolist(), strict=True):
        yield {"low": low, "high": high, "y": y}


def _image(axes, image):
    values = np.ma.getdata(image.get_array())
    left, right, bottom, top = image.get_extent()
    rows, columns = values.shape[:2]
    first, last = (bottom, top) if image.origin == "lower" else (top, bottom)
    x, y = (a + (np.arange(n) + 0.5) * (b - a) / n for a, b, n in ((left, right, columns), (first, last, rows)))
    return _field(axes, image, x, y, values)


def _field(axes, mappable, x, y, values):
    """A value at each place, in the units of the colour bar where there is one; colours have no value."""
    bar = getattr(mappable, "colorbar", None)
    label = {"value of": (bar.ax.get_ylabel() or bar.ax.get_xlabel())} if bar else {}
    values = np.asarray(values, float)
    if values.ndim == 2:
        x, y = np.meshgrid(x, y) if np.ndim(x) == 1 else (x, y)
        values = _scaled(bar.ax, "y", values) if bar else values
        places = zip(_scaled(axes, "x", np.ravel(x)), _scaled(axes, "y", np.ravel(y)), values.ravel(), strict=True)
        for a, b, value in places:
            yield {"x": a, "y": b, "value": value, **label}
