"""The pages that the build fills in: the reference has every public name, the status page every record."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from test_chapters import toc_files
from test_library import BOOK_LADDER, LADDER, ROOMS

from lotterybook import captions, exercises, records
from lotterybook.barriers.experiments import plane
from lotterylib import store, training

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "_ext"))
import generated  # noqa: E402


def modules():
    """All modules of library and book that the reference describes, rooms and what is in them too."""
    names = [f"lotterylib.{name}" for name in LADDER] + [f"lotterybook.{name}" for name in BOOK_LADDER]
    rooms = [ROOT / "lotterybook" / room for room in ROOMS]
    names += [f"lotterybook.{room.name}.{path.stem}" for room in rooms for path in room.glob("[!_]*.py")]
    return [importlib.import_module(name) for name in names]


def public_names():
    """Every public function and class, as modules that are imported show it."""
    for module in modules():
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if not name.startswith("_") and own and (inspect.isfunction(value) or inspect.isclass(value)):
                yield f"{module.__name__}.{name}"


def find(name):
    """The object of a full name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def members(name):
    """The functions that an entry of the reference shows: a function itself, or a class's methods and properties."""
    value = find(name)
    if inspect.isfunction(value):
        return {name: value}
    own = {key: inside for key, inside in vars(value).items() if key[0] != "_" or key in generated.SPECIAL}
    own = {key: inspect.unwrap(getattr(v, "fget", getattr(v, "func", v))) for key, v in own.items()}
    return {f"{name}.{key}": method for key, method in own.items() if inspect.isfunction(method)}


@pytest.fixture(scope="module")
def reference():
    """The pages of library and book as Sphinx reads them, and the entries: ``{name: (kind, text below it)}``."""
    pages = [path for path in toc_files() if path.is_relative_to(ROOT / "chapters") and path.suffix == ".md"]
    pages = [path for path in pages if re.match("chapters/(api|library|lotterybook|book)", str(path.relative_to(ROOT)))]
    text = "".join(generated.fill(page.read_text(encoding="utf-8")) for page in pages)
    entries, module = {}, None
    directive = r"^\.\. (py:module|autofunction|autoclass|py:data):: (\S+)$(.*?)(?=^\.\. |^```)"
    for kind, name, below in re.findall(directive, text, re.MULTILINE | re.DOTALL):
        module = name if kind == "py:module" else module
        full = name if kind == "py:module" else f"{module}.{name}"
        assert full not in entries, f"{full} stands there twice"
        entries[full] = kind, below
    return text, entries


def names_of(reference, *kinds):
    """The names of these kinds on the page."""
    return sorted(name for name, (kind, _) in reference[1].items() if kind in kinds)


def test_every_public_name_is_in_the_reference_once(reference):
    expected = {*public_names(), *(module.__name__ for module in modules())}
    assert len(expected) > 150
    assert names_of(reference, "py:module", "autofunction", "autoclass") == sorted(expected)


CHOICES = {  # what a reader chooses from
    "lotterylib.data.NAMES": "'mnist1d', 'mnist'",
    "lotterylib.architectures.NAMES": "'cnn1d', 'cnn1d_plain', 'resnet1d'", "lotterylib.training.SCHEDULES": "'cosine'",
    "lotterylib.training.PRECISIONS": "'bfloat16'", "lotterylib.imp.REWINDING": "'learning_rate'",
    "lotterylib.imp.PRUNING": "'one_shot'", "lotterylib.landscape.DEFINITIONS": "'mean'",
    "lotterylib.limits.ORDERS": "'random'",
    "lotterybook.presets.PRESETS": "", "lotterybook.experiment.EXPERIMENTS": "",
}  # fmt: skip


def test_a_constant_in_the_reference_says_what_it_is(reference):
    constants = names_of(reference, "py:data")
    assert set(CHOICES) <= set(constants)
    for name in constants:
        written = generated.shown(find(name))
        value, comment = re.fullmatch(r"(?:\n   :value: (.*))?\n\n   (\S.*)\n+", reference[1][name][1]).groups()
        assert len(comment) > 5 and (value or "") == written, name
        assert CHOICES.get(name, "") in written, name


@pytest.mark.parametrize("value", ["x", 0.1, ("a", 1), {"a": [1, None]}])
def test_a_plain_value_is_shown(value):
    assert ast.literal_eval(generated.shown(value)) == value


@pytest.mark.parametrize("value", [Path("x"), torch.ones(2), {"a": len}, float("nan"), "x" * generated.LONG])
def test_what_is_long_or_belongs_to_this_machine_is_not_shown(value):
    assert generated.shown(value) == ""


CONSTANTS = """
A = "#"  # behind
B = 1
C, D = 1, "ä"  # both
E = {  # open
    "#": 1,
}  # fmt: skip
F = (
    1,  # inside
)
G = [
    1,
]  # close
_H = 1  # private
def f(): pass
"""


def test_comments_of_constants_are_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(CONSTANTS, encoding="utf-8")
    found = {name: comment for name, (_, comment) in generated.definitions(path).items()}
    assert found == {"A": "behind", "C": "both", "D": "both", "E": "open", "G": "close", "f": ""}


FIRST = (
    "imp", "landscape", "data", "networks", "training", "pruning", "limits", "curvature", "perturbation", "scores",
)  # fmt: skip


def test_what_readers_need_first_comes_first_and_the_rest_in_the_order_of_the_ladder(reference):
    """A page for each module that readers use, one for those underneath; what is below rooms, a page each, above."""
    titles = re.findall(r"^##? (.*)$", reference[0], re.MULTILINE)
    titles = [title for title in titles if title in (*LADDER, *BOOK_LADDER)]
    underneath = tuple(name for name in LADDER if name not in FIRST)
    assert tuple(titles) == (*FIRST, *underneath, *BOOK_LADDER)


def test_the_list_of_what_is_needed_first_leads_to_pages(reference):
    first = re.findall(r"^- \[(.*?)\]\(library/(.*?)\.md\): ", reference[0], re.MULTILINE)
    assert [name for name, page in first if name == page] == list(FIRST)


def test_bars_in_a_docstring_stay_bars():
    assert generated.bars("the mean |a - b|, ``|c|``, ``a\nor | b``") == "the mean \\|a - b\\|, ``|c|``, ``a\nor | b``"


def test_the_table_of_exercises_has_them_all():
    rows = generated.fill("<!-- exercises -->").splitlines()[2:]
    assert len(rows) == sum(len(exercises.read(path)) for path in exercises.chapters()) > 20
    assert rows[0].startswith("| [1.1 Count.](/chapters/01_winning_tickets.ipynb#exercises) | 10 | easy | on paper |")


def test_the_reference_holds_the_example_of_the_readme(reference):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    own = readme.partition("## On your own network\n")[2].partition("\n## ")[0]
    code = re.search("```python\n.*?\n```\n", own, re.DOTALL)[0]
    assert code in reference[0] and "imp.run(" in code


def test_methods_used_without_their_names_are_in_the_reference(reference):
    special = [member for name in names_of(reference, "autoclass") for member in members(name) if member.endswith("__")]
    expected = "networks.Network.__call__", "imp.Run.__getitem__", "imp.Run.__len__"
    assert {f"lotterylib.{name}" for name in expected} <= set(special)
    for member in special:
        assert ":special-members: __call__, __getitem__, __len__\n" in reference[1][member.rpartition(".")[0]][1]


def signature(name, function):
    """How the reference writes a function's parameters."""
    changed = generated.sign(None, "function", name, function, None, None, None)
    return changed[0] if changed else str(inspect.signature(function))


def test_a_function_is_signed_as_it_is_called(reference):
    assert signature("lotterybook.barriers.experiments.plane", plane) == "(preset, recompute=False, device='auto')"
    assert signature("lotterylib.training.evaluate", training.evaluate) == "(net, state, x, y)"
    for name in names_of(reference, "autofunction", "autoclass"):
        for member, function in members(name).items():
            assert "*args" not in signature(member, function), member


def test_every_record_is_in_the_table_with_what_it_says_of_itself():
    table = generated.fill("<!-- records -->")
    files = sorted(records.PUBLISHED.glob("*/*.safetensors"))
    assert files and len(re.findall(r"lotterybook\.\w+\.(experiments\.\w+|blocks\.joined)>", table)) == len(files)
    for path in files:
        about = store.read(path)[1]
        function = "joined" if path.stem == "blocks" else path.stem
        named = [line for line in table.splitlines() if f".{function}>`" in line]
        row = next(line for line in named if f"| {path.parent.name} |" in line)
        seconds, library = about.get("seconds", "not noted"), re.escape(about["versions"].pop("lotterylib"))
        number = re.search(rf"\| {seconds} \| {about['date']} \| {library} \| (\d+) \|$", row)[1]
        machine = next(line for line in table.splitlines() if line.startswith(f"| {number} |"))
        assert all(f" {captions.escape(value)} " in machine for value in (about["device"], *about["versions"].values()))


def test_a_damaged_record_is_not_in_the_table(monkeypatch):
    whole = records.is_published
    monkeypatch.setattr(records, "is_published", lambda path: path.stem != "winning_tickets" and whole(path))
    table = generated.fill("<!-- records -->")
    assert "all_pairs" in table and "winning_tickets" not in table


def test_versions_of_this_machine():
    import numpy

    table = generated.fill("<!-- machine -->")
    assert f"| numpy | {numpy.__version__} |" in table
    assert f"Device: {captions.escape(records.provenance()['device'])}." in table
    assert f"| lotterylib | {records.provenance()['versions']['lotterylib']} |" in table
