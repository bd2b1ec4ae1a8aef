"""The exercises of the chapters: what they ask, how long they take, what their solutions compute, and what checks it.

An exercise stands in a Markdown cell. It begins with number, title, minutes and difficulty, and ends with its solution,
folded. Code in a solution marks what readers should write themselves, by the comments ``# BEGIN SOLUTION`` and ``# END
SOLUTION``, and ends with assertions that fail without it. CONTRIBUTING.md shows one.
"""

import ast
import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"  # the marks around what the student edition leaves open
LEVELS = "easy", "medium", "hard"  # what an exercise may say of its difficulty
YOURS = "...  # your code"

_FOLDER = Path(__file__).resolve().parent.parent / "chapters"
_EXERCISE = re.compile(
    r"^(?P<question>\*\*(?P<number>\d+)\. (?P<title>.+?)\*\*"
    r"(?: \*(?P<minutes>\d+) minutes, (?P<difficulty>\w+)\.\*)? .+?)\n\n"
    r"<details><summary>Solution</summary>\n(?P<solution>.+?)\n</details>",
    re.MULTILINE | re.DOTALL,
)
_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
_MARKED = re.compile(rf"^[ ]*{BEGIN}\n(.*?)^[ ]*{END}\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Exercise:
    """An exercise: question and solution in Markdown, and where both stand in their cell."""

    number: int
    title: str
    minutes: int
    difficulty: str
    question: str
    solution: str
    start: int
    end: int

    @property
    def code(self) -> str:
        """The code of the solution without its checks; empty if there is none."""
        return _split("\n".join(_CODE.findall(self.solution)))[0]

    @property
    def checks(self) -> str:
        """The assertions at the end of the solution's code."""
        return _split("\n".join(_CODE.findall(self.solution)))[1]

    @property
    def kind(self) -> str:
        """What the student edition makes of it, in words."""
        return "code, checked" if self.checks else "code" if self.code else "on paper"


def parse(text) -> list[Exercise]:
    """The exercises in the text of a Markdown cell.

    Raises ``ValueError`` for one that does not say how many minutes it takes and how difficult it is.
    """
    found = []
    for match in _EXERCISE.finditer(text):
        fields = match.groupdict()
        if fields["difficulty"] not in LEVELS:
            form = f"`**1. Title.** *10 minutes, {LEVELS[0]}.* Question`, with one of {', '.join(LEVELS)}"
            raise ValueError(f"exercise {fields['number']}, {fields['title']!r}, must begin like {form}")
        numbers = {name: int(fields.pop(name)) for name in ("number", "minutes")}
        found.append(Exercise(**numbers, **fields, start=match.start(), end=match.end()))
    return found


def chapters() -> list[Path]:
    """The notebooks of all chapters, in their order."""
    return sorted(_FOLDER.glob("*.ipynb"))


def read(path) -> list[Exercise]:
    """The exercises of a chapter."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [task for cell in cells if cell["cell_type"] == "markdown" for task in parse("".join(cell["source"]))]


def without_marks(text) -> str:
    """The text of a notebook's file without the marks in its solutions, which in the published book would be noise."""
    return re.sub(rf'"[ ]*(?:{BEGIN}|{END})\\n",\s*', "", text)


def open_up(code, checks="") -> str:
    """Code as a student gets it: what is marked becomes gaps; code without a mark is all left out.

    A gap keeps the names that the code after it and its checks need: ``name = ...`` for each, or a bare ``...``.
    """
    if BEGIN not in code:
        return YOURS + "\n"
    parts = _MARKED.split(code)  # kept, marked, kept, marked, ..., kept
    for i in range(1, len(parts), 2):
        needed = set(re.findall(r"\w+", "".join(parts[i + 1 :]) + checks))
        parts[i] = _gap(parts[i], needed)
    return "".join(parts)


def _gap(marked, needed):
    """What stands in the place of marked lines, as far indented as these."""
    names = []
    for node in ast.walk(ast.parse(textwrap.dedent(marked))):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            names += [leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
    kept = [f"{name} = {YOURS}" for name in dict.fromkeys(names) if name in needed]
    return textwrap.indent("\n".join(kept or [YOURS]) + "\n", re.match(" *", marked)[0])


def _split(code):
    """Code, and the assertions that it ends with."""
    line = None
    for node in reversed(ast.parse(code).body):
        if not isinstance(node, ast.Assert):
            break
        line = node.lineno
    lines = code.splitlines(keepends=True)
    return ("".join(lines[: line - 1]), "".join(lines[line - 1 :])) if line else (code, "")
