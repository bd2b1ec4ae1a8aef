"""Sphinx extension: what pages take from the library and its records when the book is built.

In a page, ``<!-- api: data networks -->`` becomes the reference of these modules, ``<!-- records -->`` the table of
published records, and ``<!-- machine -->`` what the book is built on.
"""

import ast
import functools
import importlib
import inspect
import re
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from docutils import nodes
from myst_nb.ext import execution_tables

from lotterylib import findings, records, store

ROOT = Path(__file__).resolve().parent.parent
LONG = 120  # characters of a constant's value; a longer one is not shown


def definitions(path):
    """The public names that a file defines at its top: ``{name: (syntax node, source of a constant, its comment)}``."""
    source = path.read_text(encoding="utf-8")
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node, "", ""
        elif isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple)
            comment = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode().strip(" #")
            for name, part in zip(target.elts, value.elts, strict=True) if several else [(target, value)]:
                found[name.id] = node, ast.unparse(part), comment.removesuffix("fmt: skip")
    return {name: what for name, what in found.items() if not name.startswith("_")}


def public(module):
    """The definitions that a module offers. A folder offers, besides its own, those that its ``__all__`` names."""
    path = Path(module.__file__)
    found, offered = definitions(path), getattr(module, "__all__", ())
    for file in sorted(path.parent.glob("*.py")) if offered else ():
        found |= {name: what for name, what in definitions(file).items() if name in offered}
    return found


def entry(name, node, value, comment):
    """One definition of the current module in reStructuredText."""
    if isinstance(node, ast.FunctionDef):
        return f".. autofunction:: {name}"
    if isinstance(node, ast.ClassDef):
        return f".. autoclass:: {name}\n   :members:\n   :undoc-members:\n   :member-order: bysource"
    return f".. py:data:: {name}" + f"\n   :value: {value}" * (len(value) <= LONG) + f"\n\n   {comment}"


def section(name, level=2):
    """The docstring of a module and all that it offers, in Markdown; after it the modules of a folder of modules."""
    module = importlib.import_module(f"lotterylib.{name}")
    entries = [entry(item, *what) for item, what in public(module).items()]
    body = "\n\n".join([f".. py:module:: {module.__name__}", inspect.getdoc(module), *entries])
    text = f"{'#' * level} {name}\n\n```{{eval-rst}}\n{body}\n```\n\n"
    folder = Path(module.__file__).parent if not entries else None
    inside = sorted(path.stem for path in folder.glob("[!_]*.py")) if folder else []
    return text + "".join(section(f"{name}.{part}", level + 1) for part in inside)


def api(names):
    """The reference of modules."""
    return "".join(section(name) for name in names.split())


def published():
    """All records in ``records/`` that are whole, by what they say about themselves, and the machines they name."""
    files = [path for path in sorted(records.PUBLISHED.glob("*/*.safetensors")) if records.is_published(path)]
    rows, machines = [], []
    for about in (store.read(path)[1] for path in files):
        machine = {"Device": about["device"], **about["versions"]}
        if machine not in machines:
            machines.append(machine)
        link = f"{{py:func}}`{about['experiment']} <lotterylib.experiments.{about['experiment']}>`"
        number = machines.index(machine) + 1
        rows.append([link, *(str(value) for value in (about["preset"], about["seconds"], about["date"], number))])
    fields = list(dict.fromkeys(name for machine in machines for name in machine))
    numbered = [[str(n), *(machine.get(name, "") for name in fields)] for n, machine in enumerate(machines, 1)]
    made = findings.table(["Experiment", "Preset", "Seconds", "Date", "Machine"], rows)
    return "\n".join([*made, "", *findings.table(["Machine", *fields], numbered)])


def machine():
    """The device that the book is built on, and the installed version of everything in requirements.txt."""
    here = records.provenance()
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    names = sorted(set(re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)), key=str.lower)
    rows = [["Python", here["versions"]["python"]], *([name, metadata.version(name)] for name in names)]
    return f"Device: {here['device']}.\n\n" + "\n".join(findings.table(["Package", "Version"], rows))


def fill(text):
    """Put what is generated into the text of a page."""
    text = re.sub("<!-- api: (.*?) -->", lambda match: api(match[1]), text, flags=re.DOTALL)
    return text.replace("<!-- records -->", published()).replace("<!-- machine -->", machine())


def sign(app, what, name, obj, options, signature, returns):
    """Give a decorated function the parameters that it is called with, not those of the function inside."""
    if what == "function" and hasattr(obj, "__wrapped__"):
        return str(inspect.signature(obj, follow_wrapped=False)), returns


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
        if app.env.doc2path(page).endswith(".md"):
            content[0] = fill(content[0])

    execution_tables._key2header = {"mtime": "Executed (UTC)", "runtime": "Seconds"}
    execution_tables._key2transform |= {
        "mtime": lambda seconds: datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "runtime": lambda seconds: f"{seconds:.1f}",
    }
    app.connect("source-read", read)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-skip-member", skip)
    app.connect("doctree-resolved", name_pages)
    return {"parallel_read_safe": True}
