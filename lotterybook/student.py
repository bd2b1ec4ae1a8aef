"""The student edition: every chapter with its exercises open, ``make student``.

Where the book folds a solution, a student's notebook has a cell with gaps, ``...``, and a cell that checks what is
written there. Nothing is stored of what the cells once showed. The chapters stay as they are, and are the solutions.
"""

import copy
import json
import re
from pathlib import Path

from lotterylib import store

from . import build, exercises

FOLDER = build.ROOT / "_build" / "student"
ABOUT = """\
*This is the student edition of a chapter of* Unmasking Winning Tickets. *In the exercises write your code where there \
is `...`; the cell after it checks the result, and says nothing if it is right. Run the cells above them first.*"""
_PAGE = re.compile(r"\[([^\]]+)\]\(([\w/]+\.md)(#[\w-]+)?\)")
_REFUSED = """\
try:
    exec({code!r}, dict(globals()))
except Exception as error:
    print(f"refused: {{type(error).__name__}}")
else:
    raise AssertionError("exercise {number}: its checks accept the gaps")
"""


def edition(notebook, solved=False) -> dict:
    """The student edition of a chapter, both as the content of a notebook's file.

    With ``solved`` the reference solutions are put back into it, each behind a cell that fails unless the checks refuse
    the gaps: that is how the edition is tested.
    """
    cells = [_markdown(ABOUT)]
    for cell in notebook["cells"]:
        tasks = exercises.parse("".join(cell["source"])) if cell["cell_type"] == "markdown" else []
        cells += _opened("".join(cell["source"]), tasks, solved) if tasks else [_emptied(cell)]
    bootstrap = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "code")
    cells.insert(0, cells.pop(bootstrap))  # first also here
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:02d}"
    metadata = {name: value for name, value in notebook["metadata"].items() if name not in ("lotterybook", "widgets")}
    return {**notebook, "cells": cells, "metadata": metadata}


def _opened(text, tasks, solved):
    """The cells of a Markdown cell that holds exercises."""
    cells, done = [], 0
    for task in tasks:
        cells.append(_markdown(text[done : task.start] + task.question))
        done = task.end
        if task.code:
            cells += _solved(task) if solved else [_code(exercises.open_up(task.code, task.checks), "task")]
        else:
            cells.append(_markdown("*Your answer:*"))
        cells += [_code(task.checks, "check")] if task.checks else []
    return [*cells, _markdown(text[done:])] if text[done:].strip() else cells


def _solved(task):
    """The cells that prove a task: its checks refuse the gaps, and its reference solution passes them (after these)."""
    gaps = exercises.open_up(task.code, task.checks) + task.checks
    refused = _REFUSED.format(code=gaps, number=task.number)
    marks = re.compile(rf"^ *(?:{exercises.BEGIN}|{exercises.END})\n", re.MULTILINE)
    return [_code(refused, "refused")] * bool(task.checks) + [_code(marks.sub("", task.code), "solution")]


def _emptied(cell):
    """A copy of a cell without outputs, whose links lead to pages that are there."""
    cell = copy.deepcopy(cell)
    if cell["cell_type"] == "markdown":
        return _markdown("".join(cell["source"]))
    return {**cell, "outputs": [], "execution_count": None}


def _markdown(text):
    """A Markdown cell. Links to pages that are no notebooks lead to the repository, if it is published."""
    url, branch = build.address()
    there = rf"[\1]({url}/blob/{branch}/chapters/\2\3)" if url else r"\1"
    return {"cell_type": "markdown", "metadata": {}, "source": _PAGE.sub(there, text).strip("\n")}


def _code(source, tag):
    """A code cell with a tag."""
    about = {"execution_count": None, "metadata": {"tags": [tag]}, "outputs": []}
    return {"cell_type": "code", **about, "source": source.strip("\n")}


def main(folder=FOLDER):
    """Write the student edition of every chapter into ``_build/student``."""
    for path in exercises.chapters():
        made = edition(json.loads(path.read_text(encoding="utf-8")))
        store.write_bytes(Path(folder) / path.name, (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"The student edition is in {folder}.")


if __name__ == "__main__":
    main()
