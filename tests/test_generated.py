"""The pages that the build fills in: the reference has every public name, the status page every record."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from test_library import BOOK_LADDER, LADDER, ROOMS

from lotterybook import records
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
    pages = [ROOT / "chapters" / name for name in ("api.md", "lotterybook.md")]
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
    "lotterylib.architectures.NAMES": "'cnn1d', 'cnn1d_plain'", "lotterylib.training.SCHEDULES": "'cosine'",
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


def test_sections_of_the_reference_stand_in_the_order_of_the_ladder(reference):
    assert tuple(re.findall(r"^## (.*)$", reference[0], re.MULTILINE)) == (*LADDER, *BOOK_LADDER)


def test_the_list_of_what_is_needed_first_leads_to_sections(reference):
    first = re.findall(r"^- \[(.*?)\]\(#(.*?)\): ", reference[0], re.MULTILINE)
    assert len(first) == 9 and all(name == anchor and name in LADDER for name, anchor in first)


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


def raises(function, private, seen=()):
    """Whether a function raises or checks an argument, in its body or in private functions that it calls."""
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node.exc is not None:
            return True
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).removeprefix("self.")
            inside = called in private and called not in seen
            if called.startswith("checks.") or (inside and raises(private[called], private, (*seen, called))):
                return True
    return False


def silent(source):
    """The public functions, methods and classes of a source that raise, and whose docstrings do not say so."""
    tree, found = ast.parse(source), []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    private = {node.name: node for node in functions if re.match("_[^_]", node.name)}
    for top in tree.body:
        for node in top.body if isinstance(top, ast.ClassDef) else [top]:
            if isinstance(node, ast.FunctionDef) and not any(re.match("_[^_]", name) for name in (top.name, node.name)):
                described = top if node.name in ("__init__", "__post_init__") else node
                if raises(node, private) and "Raise" not in (ast.get_docstring(described) or ""):
                    found.append(described.name)
    return found


SILENT = [
    "def f(x):\n    'Do.'\n    if x:\n        raise ValueError(x)",
    "def f(x):\n    'Do.'\n    return [checks.whole('x', each, 0) for each in x]",
    "def f(x):\n    'Do.'\n    return g(_h(x))\ndef _h(x):\n    return _i(x)\ndef _i(x):\n    raise ValueError",
    "class C:\n    def f(self):\n        'Do.'\n        self._h()\n    def _h(self):\n        checks.whole()",
    "class f:\n    'Do.'\n    def __init__(self, x):\n        'Raises.'\n        raise ValueError",
    "@dataclass\nclass f:\n    'Do.'\n    def __post_init__(self):\n        checks.within('x', self.x, 0)",
]
OUTSPOKEN = [
    *(source.replace("Do.", "Raises ``ValueError``.") for source in SILENT),
    "def f(x):\n    'Do.'\n    try:\n        g(x)\n    except OSError:\n        raise",
    "def f(x):\n    'Do.'\n    return _f(x)\ndef _f(x):\n    return _f(x - 1)",
    "def _f(x):\n    raise ValueError",
    "class _F:\n    def f(self):\n        raise ValueError",
]


def test_silence_is_noticed():
    assert [silent(source) for source in SILENT] == [["f"]] * len(SILENT)
    assert silent("def f(x):\n    raise ValueError") == ["f"]
    assert [silent(source) for source in OUTSPOKEN] == [[]] * len(OUTSPOKEN)


SOURCES = sorted(path for package in ("lotterylib", "lotterybook") for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_raises_says_so(path):
    assert set(silent(path.read_text(encoding="utf-8"))) <= {"main"}  # a command says what it refuses, and ends


def test_every_record_is_in_the_table_with_what_it_says_of_itself():
    table = generated.fill("<!-- records -->")
    files = sorted(records.PUBLISHED.glob("*/*.safetensors"))
    assert files and len(re.findall(r"lotterybook\.\w+\.experiments\.\w+>", table)) == len(files)
    for path in files:
        about = store.read(path)[1]
        named = [line for line in table.splitlines() if f".{path.stem}>`" in line]
        row = next(line for line in named if f"| {path.parent.name} |" in line)
        library = re.escape(about["versions"].pop("lotterylib"))
        number = re.search(rf"\| {about['seconds']} \| {about['date']} \| {library} \| (\d+) \|$", row)[1]
        machine = next(line for line in table.splitlines() if line.startswith(f"| {number} |"))
        assert all(f" {value} " in machine for value in (about["device"], *about["versions"].values()))


def test_a_damaged_record_is_not_in_the_table(monkeypatch):
    whole = records.is_published
    monkeypatch.setattr(records, "is_published", lambda path: path.stem != "winning_tickets" and whole(path))
    table = generated.fill("<!-- records -->")
    assert "all_pairs" in table and "winning_tickets" not in table


def test_versions_of_this_machine():
    import numpy

    table = generated.fill("<!-- machine -->")
    assert f"| numpy | {numpy.__version__} |" in table and records.provenance()["device"] in table
    assert f"| lotterylib | {records.provenance()['versions']['lotterylib']} |" in table
