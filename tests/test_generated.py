"""The pages that the build fills in: the reference has every public name, the status page every record."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
from test_library import LADDER

from lotterylib import experiments, presets, records, store

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "_ext"))
import generated  # noqa: E402


def modules():
    """All modules of the library that the reference describes by themselves: those of ``figures``, not of others."""
    names = [f"lotterylib.{name}" for name in LADDER]
    names += [f"lotterylib.figures.{path.stem}" for path in (ROOT / "lotterylib" / "figures").glob("[!_]*.py")]
    return [importlib.import_module(name) for name in names]


def public_names():
    """Every public name, as modules that are imported show it."""
    for module in modules():
        source = inspect.getsource(module)
        offered = set(getattr(module, "__all__", ())) - set(dir(presets))
        for name, value in vars(module).items():
            made_here = inspect.isfunction(value) or inspect.isclass(value)
            made_here = made_here and value.__module__ == module.__name__
            constant = name.isupper() and re.search(rf"^([A-Z]+, )*{name}(, [A-Z]+)* = ", source, re.MULTILINE)
            if not name.startswith("_") and (made_here or constant or name in offered):
                yield f"{module.__name__}.{name}"


@pytest.fixture(scope="module")
def reference():
    """The page of the library as Sphinx reads it, and the names on it."""
    text = generated.fill((ROOT / "chapters" / "api.md").read_text(encoding="utf-8"))
    names, module = [], None
    for kind, name in re.findall(r"^\.\. (py:module|autofunction|autoclass|py:data):: (\S+)$", text, re.MULTILINE):
        module = name if kind == "py:module" else module
        names += [name] if kind == "py:module" else [f"{module}.{name}"]
    return text, names


def test_every_public_name_is_in_the_reference_once(reference):
    expected = {*public_names(), *(module.__name__ for module in modules())}
    assert len(expected) > 150
    assert sorted(reference[1]) == sorted(expected)


def test_sections_of_the_reference_stand_in_the_order_of_the_ladder(reference):
    assert tuple(re.findall(r"^## (.*)$", reference[0], re.MULTILINE)) == LADDER


def test_public_names_have_docstrings():
    for name in public_names():
        module, _, attribute = name.rpartition(".")
        value = getattr(importlib.import_module(module), attribute)
        assert not callable(value) or inspect.getdoc(value), name


def test_an_experiment_is_signed_as_it_is_called():
    signature, _ = generated.sign(None, "function", "", experiments.all_pairs, None, "(s)", None)
    assert signature == "(preset, recompute=False, device='auto')"


def test_every_record_is_in_the_table_with_what_it_says_of_itself():
    table = generated.fill("<!-- records -->")
    files = sorted(records.PUBLISHED.glob("*/*.safetensors"))
    assert files and len(re.findall(r"lotterylib\.experiments\.\w+>", table)) == len(files)
    for path in files:
        about = store.read(path)[1]
        named = [line for line in table.splitlines() if f".{path.stem}>`" in line]
        row = next(line for line in named if f"| {path.parent.name} |" in line)
        number = re.search(rf"\| {about['seconds']} \| {about['date']} \| (\d+) \|$", row)[1]
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
