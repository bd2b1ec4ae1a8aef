"""Captions: what a cell shows as a figure has a sentence, a number by chapter, and a name that prose links to.

A figure's number is its place in its chapter, so nobody writes it: the build counts (``_ext/captions.py``), and so
does ``make chapters`` in the notebooks that it keeps. A reader's kernel looks the number up in the notebooks of the
checkout. Its name is the room and the function that drew it, such as ``barriers-successive``, unless the author gives
another.
"""

import ast
import base64
import json
import os
import re
from collections import Counter
from pathlib import Path

from .verdicts import inert

PARTS = "application/vnd.lotterybook.figure+json"  # what a page needs besides: the narrow picture, the data
FOR_PAGE = "LOTTERYBOOK_PAGE"  # set while the book is built: only then are these made
NARROW = "screen and (max-width: 576px)"  # windows that get the narrow picture
CHAPTERS = Path(__file__).resolve().parent.parent / "chapters"
_LINK = re.compile(r"\[(?:Figure [\d.]+)?\]\(#fig-([\w-]+)\)")
_NUMBER = re.compile(r"^\*\*Figure( [\d.]+)?\.\*\*")


class Shown:
    """What a cell shows as a figure: with ``_repr_mimebundle_`` the picture, below it the caption."""

    caption = name = ""

    def captioned(self, caption="", name=""):
        """Set, in the cell, the caption, one sentence of Markdown, or the name that prose links to as ``#fig-name``."""
        self.caption, self.name = caption or self.caption, name or self.name
        return self

    def _ipython_display_(self):
        from IPython import get_ipython
        from IPython.display import display

        shell = get_ipython()
        source = shell.user_ns["In"][-1] if shell else ""
        name = self.name or called(source, shell.user_ns if shell else {})
        data, metadata = self._repr_mimebundle_()
        metadata = {**metadata, "figure": name}
        if os.environ.get(FOR_PAGE):
            picture = base64.b64encode(self.narrow()).decode()
            data = {**data, PARTS: {"narrow": picture, "csv": self.csv()}}
        display(data, metadata=metadata, raw=True)
        text = inert(self.caption) if self.caption else escape(first_sentence(data["text/plain"]))
        number = numbers().get(_nth(name, source), "")
        written = f"**Figure{number and f' {number}'}.** {text}"
        display({"text/markdown": written, "text/plain": written}, metadata={"caption": name}, raw=True)


_cells = {}  # by name: the cells that have shown such a figure here


def _nth(name, source):
    """The name with the suffix of `in_order`, by the order in which cells first showed a figure of that name."""
    cells = _cells.setdefault(name, [])
    if source not in cells:
        cells.append(source)
    return suffixed(name, cells.index(source) + 1)


def suffixed(name, time) -> str:
    """The name of the figure that is the first, second, ... of its name on a page."""
    return name if time == 1 else f"{name}-{time}"


def first_sentence(text) -> str:
    """The first sentence of a text."""
    return re.split(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+", text, maxsplit=1)[0]


def escape(text) -> str:
    """A text as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#$~|&])", r"\\\1", " ".join(text.splitlines()))


def called(source, namespace) -> str:
    """The name of a figure by the call that ends the cell it is shown by: room and function, or ``figure``."""
    try:
        node = ast.parse(source).body[-1].value
    except (SyntaxError, IndexError, AttributeError):
        return "figure"
    while isinstance(node, ast.Call):
        inner = node.func.value if isinstance(node.func, ast.Attribute) else next(iter(node.args), None)
        if not isinstance(inner, ast.Call):  # neither figures.path().captioned() nor display(figures.path())
            break
        node = inner
    path = ast.unparse(node.func).split(".") if isinstance(node, ast.Call) else [""]
    function = namespace.get(path[0])
    for part in path[1:]:
        function = getattr(function, part, None)
    rooms = getattr(function, "__module__", "").split(".")
    words = ([rooms[1]] if rooms[0] == "lotterybook" and len(rooms) == 3 else []) + [getattr(function, "__name__", "")]
    return "-".join(filter(None, words)).replace("_", "-") or "figure"


def chapter(page) -> str:
    """The number of a page in the contents: 2 of ``chapters/02_error_barriers``; empty if it has none."""
    found = re.match(r"0*(\d+)_", Path(page).name)
    return found[1] if found else ""


def in_order(names, page):
    """Names and numbers of a page's figures: a name that comes again gets a suffix, ``[(name, "2.3")]``."""
    times, listed = Counter(), []
    for place, name in enumerate(names, 1):
        times[name] += 1
        number = ".".join(filter(None, [chapter(page), f"{place}"]))
        listed.append((suffixed(name, times[name]), number))
    return listed


def captions(notebook):
    """The captions in a notebook's outputs."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return [output for output in outputs if output.get("metadata", {}).get("caption")]


def number_outputs(notebook, page):
    """Write the numbers into the captions that a notebook keeps."""
    found = captions(notebook)
    for output, (_, number) in zip(found, in_order([o["metadata"]["caption"] for o in found], page), strict=True):
        for kind, text in output["data"].items():
            text = text if isinstance(text, str) else "".join(text)
            output["data"][kind] = _NUMBER.sub(f"**Figure {number}.**", text)


def numbers(folder=CHAPTERS):
    """The numbers of all figures by name, from the captions that the notebooks of a folder keep."""
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        kept = captions(json.loads(path.read_text(encoding="utf-8")))
        found.update(in_order([output["metadata"]["caption"] for output in kept], path.stem))
    return found


def fill(text, numbers) -> str:
    """Write the numbers into a text's links to figures, ``[](#fig-name)``.

    Raises ``ValueError`` for an unknown name.
    """

    def link(match):
        if match[1] not in numbers:
            raise ValueError(f"the prose links to the figure {match[1]!r}; there are {', '.join(sorted(numbers))}")
        return f"[Figure {numbers[match[1]]}](#fig-{match[1]})"

    return _LINK.sub(link, text)
