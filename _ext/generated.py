"""Sphinx extension: what pages take from the library and its records when the book is built.

In a page, ``<!-- module lotterylib.data -->`` becomes the page of a module, ``<!-- api lotterylib: states order -->``
the sections on several modules of a package, ``<!-- example -->`` the example in the README, ``<!-- exercises -->`` the
table of exercises, ``<!-- records -->`` the table of published records, ``<!-- machine -->`` what the book is built on,
``<!-- authors -->`` the line with the authors, and ``<!-- cite -->`` how to cite the book.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import citing
from docutils import nodes
from myst_nb.ext import execution_tables

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # lotterybook is not installed

from lotterybook import captions, exercises, records, verdicts  # noqa: E402
from lotterybook.claims import EXPERIMENTS  # noqa: E402
from lotterybook.scale import blocks  # noqa: E402
from lotterylib import store  # noqa: E402

LONG = 160  # characters of a constant's value; a longer one is not shown
SPECIAL = "__call__", "__getitem__", "__len__"  # methods that a reader uses without their names


def definitions(path):
    """The public names that a file defines at its top: ``{name: (syntax node, comment)}``.

    A constant counts if it has a comment, behind it or behind the bracket that it opens with.
    """
    source = path.read_text(encoding="utf-8")
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node, ""
        elif isinstance(node, ast.Assign):
            behind = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode().strip(" #")
            opening = re.search(r"[({\[]  # (.*)$", lines[node.lineno - 1])
            target, comment = node.targets[0], behind.removesuffix("fmt: skip") or (opening[1] if opening else "")
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if comment:
                    found[name.id] = node, comment
    return {name: what for name, what in found.items() if not name.startswith("_")}


def shown(value):
    """How a constant is written, if that is short and no more than numbers and texts."""
    written = repr(value)
    try:
        return written if len(written) <= LONG and ast.literal_eval(written) == value else ""
    except (SyntaxError, ValueError):
        return ""


def bars(text):
    """Let a bar in a docstring be an absolute value: reStructuredText would take two for a substitution."""
    return re.sub(r"(``.*?``)|\|", lambda match: match[1] or r"\|", text, flags=re.DOTALL)


def entry(name, node, comment, value):
    """One definition of the current module in reStructuredText."""
    if isinstance(node, ast.FunctionDef):
        return f".. autofunction:: {name}"
    if isinstance(node, ast.ClassDef):
        special = f"\n   :special-members: {', '.join(SPECIAL)}"
        return f".. autoclass:: {name}\n   :members:{special}\n   :member-order: bysource"
    text = shown(value)
    return f".. py:data:: {name}" + f"\n   :value: {text}" * bool(text) + f"\n\n   {bars(comment)}"


def section(module, level=2):
    """The docstring of a module and all that it offers, in Markdown; after it the modules of a folder of modules."""
    imported = importlib.import_module(module)
    path, name = Path(imported.__file__), module.partition(".")[2]
    entries = [entry(item, *what, getattr(imported, item)) for item, what in definitions(path).items()]
    body = "\n\n".join([f".. py:module:: {module}", bars(inspect.getdoc(imported)), *entries])
    text = f"{'#' * level} {name}\n\n```{{eval-rst}}\n{body}\n```\n\n"
    inside = sorted(file.stem for file in path.parent.glob("[!_]*.py")) if path.name == "__init__.py" else []
    return text + "".join(section(f"{module}.{part}", level + 1) for part in inside)


def api(package, names):
    """The reference of modules of a package."""
    return "".join(section(f"{package}.{name}") for name in names.split())


def example():
    """The README's example of the library on a network of one's own."""
    return re.search("```python\n.*?\n```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]


def published():
    """All records in ``records/`` that are whole, by what they say about themselves, and the machines they name."""
    files = [path for path in sorted(records.PUBLISHED.glob("*/*.safetensors")) if records.is_published(path)]
    rows, machines = [], []
    for path in files:
        about = store.read(path)[1]
        machine = {"Device": about["device"], **about["versions"]}
        library = machine.pop("lotterylib")
        if machine not in machines:
            machines.append(machine)
        function = EXPERIMENTS[about["experiment"]][0] if "experiment" in about else blocks.joined  # of lent GPUs
        link = f"{{py:func}}`{function.__name__} <{function.__module__}.{function.__name__}>`"
        number = machines.index(machine) + 1
        told = path.parent.name, about.get("seconds", "not noted"), about["date"], library, number
        rows.append([link, *(captions.escape(str(each)) for each in told)])
    fields = list(dict.fromkeys(name for machine in machines for name in machine))
    numbered = [
        [str(n), *(captions.escape(machine.get(name, "")) for name in fields)] for n, machine in enumerate(machines, 1)
    ]
    made = verdicts.table(["Experiment", "Preset", "Seconds", "Date", "lotterylib", "Machine"], rows)
    return "\n".join([*made, "", *verdicts.table(["Machine", *fields], numbered)])


def machine():
    """The device that the book is built on, and the installed version of everything in requirements.txt."""
    here = records.provenance()
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    names = sorted(set(re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)), key=str.lower)
    own = [["Python", here["versions"]["python"]], ["lotterylib", here["versions"]["lotterylib"]]]
    rows = [*own, *([name, metadata.version(name)] for name in names)]
    device = captions.escape(here["device"])
    return f"Device: {device}.\n\n" + "\n".join(verdicts.table(["Package", "Version"], rows))


def listed():
    """Every exercise of the book: where it stands, how long it takes, and whether the student edition checks it."""
    rows = []
    for path in exercises.chapters():
        for task in exercises.read(path):
            link = f"[{path.stem[:2].lstrip('0')}.{task.number} {task.title}](/chapters/{path.name}#exercises)"
            rows.append([link, str(task.minutes), task.difficulty, task.kind])
    return "\n".join(verdicts.table(["Exercise", "Minutes", "Difficulty", "In the student edition"], rows))


def fill(text):
    """Put what is generated into the text of a page."""
    text = re.sub(r"<!-- api (\w+): (.*?) -->", lambda match: api(*match.groups()), text, flags=re.DOTALL)
    text = re.sub(r"<!-- module (\S+) -->", lambda match: section(match[1], level=1), text)
    generators = {
        "authors": citing.authors, "cite": citing.cite, "example": example, "exercises": listed, "records": published,
        "machine": machine,
    }  # fmt: skip
    return re.sub(f"<!-- ({'|'.join(generators)}) -->", lambda match: generators[match[1]](), text)


def sign(app, what, name, obj, options, signature, returns):
    """Give an experiment the parameters that it is called with, not those of the function inside."""
    if what == "function" and re.match(r"lotterybook\.\w+\.experiments\.", name) and hasattr(obj, "__wrapped__"):
        return str(inspect.signature(obj, follow_wrapped=False)), returns


def rewrite(app, what, name, obj, options, lines):
    """What autodoc reads of a docstring."""
    lines[:] = bars("\n".join(lines)).split("\n")


def skip(app, what, name, obj, skipped, options):
    """Leave out the fields of a class: they stand in its signature."""
    return what == "class" and not callable(obj) and not isinstance(obj, property | functools.cached_property) or None


def name_pages(app, tree, page):
    """Call a page by its title where myst-nb's table of executions calls it by its file."""
    for link in tree.findall(nodes.reference):
        if title := app.env.titles.get(link.astext()):
            link.children = [nodes.Text(title.astext())]


def setup(app):
    """Generate when a page is read; of the executions that myst-nb tells of, show when they were and how long."""

    def read(app, page, content):
        if Path(app.env.doc2path(page)).suffix == ".md":
            content[0] = fill(content[0])
        else:
            content[0] = exercises.without_marks(content[0])

    execution_tables._key2header = {"mtime": "Executed (UTC)", "runtime": "Seconds"}
    execution_tables._key2transform |= {
        "mtime": lambda seconds: datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "runtime": lambda seconds: f"{seconds:.1f}",
    }
    app.connect("source-read", read)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-skip-member", skip)
    app.connect("doctree-resolved", name_pages)
    return {"parallel_read_safe": True}
